#!/usr/bin/env bash
# build.sh <folder under build/> [CMake options]: configures and builds, installing what is missing. Quiet when all is well.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=build/$1
shift
./scripts/install.sh
mkdir -p "$folder"
log=$folder/build.log
options=(-G Ninja)
command -v ccache >/dev/null && options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
if ! cmake -S . -B "$folder" "${options[@]}" "$@" >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
echo "Building $folder (the first time takes some minutes)"
if [ -t 1 ]; then
  ninja -C "$folder"
elif ! ninja -C "$folder" >>"$log" 2>&1; then
  grep -E -A8 'error|FAILED' "$log" | head -60 >&2
  echo "build.sh: the build failed; all of its output is in $log" >&2
  exit 1
fi

#!/usr/bin/env bash
# fuzz.sh [format] [seconds]: fuzzes what is read from outside (tests/fuzz), each format for 600 seconds.
# fuzz.sh --merge: adds what was found interesting to the corpus in the repository.
set -euo pipefail
cd "$(dirname "$0")/.."
for tool in clang-14 libclang-rt-14-dev; do
  dpkg-query -W -f='${Status}' $tool 2>/dev/null | grep -q 'ok installed' ||
    { echo "fuzz.sh: needs $tool:  apt-get install --no-install-recommends clang-14 libclang-rt-14-dev" >&2; exit 1; }
done
formats=(safetensors pytorch pickle pytorch_pickle)
merge=false
if [ "${1:-}" = --merge ]; then merge=true; shift; fi
if [ $# -gt 0 ]; then formats=("$1"); fi
seconds=${2:-600}

# Only the fuzzers and what they link, in a build of its own.
cmake -S . -B build/fuzz -G Ninja -DCMAKE_CXX_COMPILER=clang++-14 -DCMAKE_BUILD_TYPE=None -DREPLK_FUZZ=ON \
  -DCMAKE_CXX_FLAGS='-O1 -g -fsanitize=fuzzer-no-link' -DREPLK_SANITIZE=address,undefined \
  -DREPLK_BENCH=OFF -DREPLK_CUDA=OFF >/dev/null
ninja -C build/fuzz "${formats[@]/#/fuzz_}" | tail -1
export ASAN_OPTIONS=allocator_may_return_null=1
for format in "${formats[@]}"; do
  found=build/fuzz/corpus/$format
  # MB in one allocation: for 8 KiB (-max_len) these two may take a small multiple of that and a MiB.
  case $format in safetensors | pytorch) malloc=16 ;; *) malloc=256 ;; esac
  mkdir -p "$found"
  fuzzer=(build/fuzz/bin/fuzz_"$format" -max_len=8192 -timeout=10 -rss_limit_mb=512 -malloc_limit_mb=$malloc
    -artifact_prefix=build/fuzz/"$format"-)
  if $merge; then
    small=$(mktemp -d)
    find "$found" -type f -size -3 -exec cp {} "$small" \;  # at most 1 KiB
    # By edges alone: how often one is passed would keep hundreds of files.
    "${fuzzer[@]}" -merge=1 -use_counters=0 "tests/fuzz/corpus/$format" "$small" 2>&1 | tail -1
    rm -r "$small"
    continue
  fi
  echo "== $format: $seconds s"
  "${fuzzer[@]}" -max_total_time="$seconds" -print_final_stats=1 -verbosity=1 "$found" "tests/fuzz/corpus/$format" \
    2>&1 | grep -E '^stat::|SUMMARY|ERROR|Test unit|^Done'
done

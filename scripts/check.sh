#!/usr/bin/env bash
# Checks that need no build: formatting, and that every folder includes only what the table in the README allows.
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/install.sh --developer
status=0
format_errors=$(mktemp)
trap 'rm -f "$format_errors"' EXIT

mapfile -t sources < <(git ls-files '*.h' '*.cpp' '*.cu' '*.cuh')
if ! clang-format-14 --dry-run --Werror "${sources[@]}" 2>"$format_errors"; then
  grep -E '^[^ ].*: error' "$format_errors" | cut -d: -f1 | sort | uniq -c >&2
  echo "check.sh: not formatted as .clang-format says. Run: clang-format-14 -i <file>" >&2
  status=1
fi

# May a file in folder $1 include a header of folder $2?
allowed() {
  case "$1:$2" in
    core:core | ops:core | ops:ops | nn:core | nn:ops | nn:nn) return 0 ;;
    models:core | models:ops | models:nn | models:models) return 0 ;;
    optim:core | optim:optim | io:core | io:io | data:core | data:data) return 0 ;;
    scripts:tests) return 1 ;;
    scripts:* | tests:*) return 0 ;;
  esac
  return 1
}
while IFS=: read -r file line text; do
  target=$(sed -E 's/^#include "([^"]+)".*/\1/' <<<"$text")
  from=${file%%/*} to=${target%%/*}
  problem=""
  if [ ! -f "$target" ] && [ ! -f "$(dirname "$file")/$target" ]; then problem="no such file (includes are written from the root)"
  elif ! allowed "$from" "$to"; then problem="$from may not include $to"
  elif [ "$from:$to" = ops:ops ]; then
    # An operator may use its own folder and ops/primitives, never another operator.
    own=$(cut -d/ -f2 <<<"$file") other=$(cut -d/ -f2 <<<"$target")
    [ "$other" = primitives ] || [ "$other" = "$own" ] || problem="operator $own may not include operator $other"
  fi
  if [ -n "$problem" ]; then
    echo "$file:$line: #include \"$target\": $problem" >&2
    status=1
  fi
done < <(grep -nE '^#include "' "${sources[@]}" /dev/null)
# Eigen and Highway belong into kernels.
if grep -lE '#include <(Eigen|hwy)/' "${sources[@]}" |
  grep -vE '^ops/primitives/|^ops/[a-z0-9_]+/(cpu[a-z0-9_]*\.cpp|[a-z0-9_]+-inl\.h)$|^optim/|^scripts/bench/|^tests/' >&2; then
  echo "check.sh: Eigen and Highway are for kernels (ops/*/cpu*.cpp, *-inl.h, ops/primitives)" >&2
  status=1
fi
# CUDA's headers belong into core/cuda and .cu files, so that everything else compiles without them.
if grep -nE '#include (<cuda|<cublas|"core/cuda/(check\.h|[a-z0-9_]+\.cuh))' "${sources[@]}" |
  grep -vE '^core/cuda/|^[^:]+\.cuh?:' >&2; then
  echo "check.sh: CUDA's headers are for core/cuda and .cu files" >&2
  status=1
fi
[ $status -eq 0 ] && echo "check.sh: formatting and includes are as they should be"
exit $status

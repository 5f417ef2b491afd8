#!/usr/bin/env bash
# sanitize.sh [folder with test programs, build/test/bin]: NVIDIA's compute-sanitizer over the GPU tests. Needs a GPU.
# memcheck sees what any kernel touches; racecheck, initcheck and synccheck what matters to kernels whose threads share memory.
# Programs run up to a hundred times as long under it, so tests of large maps are left out; SANITIZE_SECONDS limits each.
set -uo pipefail
cd "$(dirname "$0")/.."
programs=${1:-build/test/bin}
command -v compute-sanitizer >/dev/null || { echo "sanitize.sh: no compute-sanitizer on the PATH: it comes with the CUDA toolkit" >&2; exit 2; }
[ -x "$programs/ops_test" ] || { echo "sanitize.sh: no $programs/ops_test. Build with ./scripts/build.sh test, or name the folder" >&2; exit 2; }
export REPLK_REQUIRE_CUDA=1

# check <tool> <program> <tests...>: one line with the tool's verdict and how long it took; the end of its output when there is a
# finding. All of them side by side.
check() {
  local tool=$1 program=$2 log verdict
  shift 2
  log=$(mktemp)
  timeout "${SANITIZE_SECONDS:-1800}" compute-sanitizer --tool "$tool" --error-exitcode 9 "$programs/$program" "$@" >"$log" 2>&1
  case $? in
    0) verdict=clean ;;
    124) verdict="NOT DONE in time" ;;
    *) verdict=FAILED ;;
  esac
  printf '%-10s %-11s %-36s %s  %s (%s s)\n' "$tool" "$program" "$1" "$verdict" "$(grep -oE 'All tests passed.*' "$log")" $SECONDS
  [ "$verdict" != FAILED ] || tail -n 40 "$log"
  rm -f "$log"
  [ "$verdict" = clean ]
}

check memcheck core_test 'core/cuda*' '~core/cuda/planted fault' '~core/cuda/REPLK_SYNC*' '~core/cuda/out of memory*' &
check memcheck core_test 'core/replay*' '~*leave room for others' &
check memcheck optim_test 'optim/cuda*' &
for operator in depthwise_conv2d batch_norm2d conv2d drop_path cross_entropy layer_norm_channels activations add elementwise; do
  check memcheck ops_test "ops/$operator*" '~*sizes of the networks' &
done
for tool in racecheck initcheck synccheck; do
  for tests in 'ops/depthwise_conv2d/small*' 'ops/depthwise_conv2d/narrow*' 'ops/depthwise_conv2d/same_padding' \
    'ops/depthwise_conv2d/cuda_fft/other*' 'ops/batch_norm2d/on*'; do
    check $tool ops_test "$tests" &
  done
done
status=0
for job in $(jobs -p); do wait "$job" || status=1; done
exit $status

#!/usr/bin/env bash
# Installs what is missing, builds and runs every test. Arguments go to ctest:
#   ./scripts/test.sh -R '^ops/depthwise_conv2d'     one operator
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/build.sh test -DREPLK_WERROR=ON
ctest --test-dir build/test --output-on-failure -j "$(nproc)" "$@"
# What was left out for want of a GPU, over all tests: each says so in its output.
log=build/test/Testing/Temporary/LastTest.log
[ ! -f "$log" ] || awk '/^skipped on CUDA: / { n += $4; sub(/^[^(]*/, ""); why[$0] }
  END { if (n) { printf "skipped on CUDA: %d cases", n; for (w in why) printf " %s", w; print "" } }' "$log"

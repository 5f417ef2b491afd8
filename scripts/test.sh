#!/usr/bin/env bash
# Installs what is missing, builds and runs every test. Arguments go to ctest:
#   ./scripts/test.sh -R '^ops/depthwise_conv2d'     one operator
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/build.sh test -DREPLK_WERROR=ON
ctest --test-dir build/test --output-on-failure -j "$(nproc)" "$@"

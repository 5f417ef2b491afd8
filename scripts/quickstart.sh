#!/usr/bin/env bash
# From nothing to a trained, merged RepLKNet: installs what is missing, builds, trains a small network on 70,000 real
# images, evaluates it, merges it for inference and looks at some predictions. EPOCHS=1 for a shorter look.
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS
step() { printf '\n\033[1m%s\033[0m\n' "$1"; }
if [ ! -t 1 ]; then step() { printf '\n%s\n' "$1"; }; fi
run() {  # shows a command, then runs it
  printf '$ replk %s\n' "$*"
  build/release/bin/replk "$@"
}

step "1. Build"
./scripts/build.sh release -DREPLK_TESTS=OFF -DREPLK_BENCH=OFF
built=$SECONDS

folder=runs/quickstart
for ((n = 2; ; n++)); do
  [ -e "$folder" ] || break
  folder=runs/quickstart-$n
done

step "2. What we train on"
run data fashion-mnist

step "3. Train"
run train --data fashion-mnist --model replknet-nano --epochs "${EPOCHS:-5}" --out "$folder"
trained=$SECONDS

step "4. Evaluate on the 10,000 test images"
run eval "$folder/best.safetensors" --confusion "$folder/test_confusion.svg"

step "5. Merge small kernels and batch norms into the convolutions: the same answers, faster"
run reparam "$folder/best.safetensors" --fold-bn -o "$folder/merged.safetensors"

step "6. Predict"
run predict "$folder/merged.safetensors" --data fashion-mnist --index 0,1,2 --top 3
run data fashion-mnist --split test --sheet "$folder/test_images.png" >/dev/null

step "Done in $((SECONDS - started)) s: build $((built - started)) s, training $((trained - built)) s"
cat <<TEXT
Saved in $folder:
  best.safetensors, last.safetensors   weights under their PyTorch names; merged.safetensors the merged network
  config.json, metrics.csv             how it was trained, and how that went
  curves.svg, confusion.svg            the same as pictures; test_images.png shows the data
Try next:
  build/release/bin/replk report $folder                      all of the training on one HTML page
  build/release/bin/replk train --model replknet-tiny --epochs 10     about 0.3 M parameters: more accurate, slower
  build/release/bin/replk train --resume $folder --epochs 8           go on where this run ended
  build/release/bin/replk summary replknet-31b                        the network of the paper, layer by layer
  build/release/bin/replk predict $folder/merged.safetensors FILE.png your own picture
  ./scripts/test.sh                                                   every test
TEXT

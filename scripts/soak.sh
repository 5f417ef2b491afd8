#!/usr/bin/env bash
# soak.sh [kills [path of replk]]: trains, kills the process with SIGKILL at random moments (50 by default), looks
# at every file it left, goes on, and compares the finished weights with those of a run that was left alone. Then
# the same with a disk that is full, where this machine lets a user mount one. Takes some minutes; SEED=n repeats
# the moments of a run.
set -euo pipefail
cd "$(dirname "$0")/.."
kills=${1:-50}
replk=$(realpath "${2:-build/release/bin/replk}")
RANDOM=${SEED:=$$}
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
export CUDA_VISIBLE_DEVICES=

epochs=8
options=(--data fashion-mnist --model replknet-nano --limit 240 --val-split 48 --batch-size 32 --epochs $epochs
  --ema 0.9 --save-every 1 --device cpu --threads 1 --save-batches 4)
fail() { echo "soak.sh: $* (SEED=$SEED)" >&2; exit 1; }

# Every checkpoint that is there can be read whole.
check_files() {
  local file
  for file in "$1"/*.safetensors; do
    [ -e "$file" ] || continue
    "$replk" inspect "$file" >/dev/null || fail "$file cannot be read"
    looked=$((looked + 1))
  done
  for file in best last; do
    [ ! -e "$1/$file.safetensors" ] ||
      "$replk" predict "$1/$file.safetensors" --data fashion-mnist --index 0 --device cpu >/dev/null ||
      fail "$1/$file.safetensors cannot be used"
  done
}
same_weights() {
  local file
  for file in last best best_ema; do
    cmp "$work/whole/$file.safetensors" "$1/$file.safetensors" || fail "$1: $file.safetensors has other bits"
  done
  # All that the metrics say but how fast it went.
  diff <(cut -d, -f1-9 "$work/whole/metrics.csv") <(cut -d, -f1-9 "$1/metrics.csv") || fail "$1: other metrics"
  [ -z "$(leftovers "$1")" ] || fail "$1: temporary files were left"
}
leftovers() { find "$1" -name '.replk-*.tmp'; }

begin=$(date +%s%N)
"$replk" train "${options[@]}" --out "$work/whole" >/dev/null
milliseconds=$((($(date +%s%N) - begin) / 1000000))
echo "soak: a run takes $milliseconds ms; SEED=$SEED"

killed=0 runs=0 looked=0 left=0 with_files=0
while [ "$killed" -lt "$kills" ]; do
  run=$work/run$runs
  while true; do
    if [ -e "$run/config.json" ]; then command=(--resume "$run"); else command=("${options[@]}" --out "$run"); fi
    "$replk" train "${command[@]}" >"$work/out" 2>"$work/err" &
    pid=$!
    moment=$(((RANDOM * 32768 + RANDOM) % milliseconds))
    sleep "$((moment / 1000)).$(printf '%03d' $((moment % 1000)))"
    if [ $((killed % 2)) -eq 1 ]; then  # every other time in the middle of a file
      until compgen -G "$run/.replk-*.tmp" >/dev/null || ! kill -0 "$pid" 2>/dev/null; do :; done
    fi
    kill -9 "$pid" 2>/dev/null || true
    code=0
    wait "$pid" 2>/dev/null || code=$?
    pid=
    [ "$code" -ne 0 ] || break
    [ "$code" -eq 137 ] || fail "exit code $code: $(cat "$work/err")"
    killed=$((killed + 1))
    [ ! -d "$run" ] || left=$((left + $(leftovers "$run" | wc -l)))
    if ls "$run"/*.safetensors >/dev/null 2>&1; then with_files=$((with_files + 1)); fi
    check_files "$run"
    if [ "$killed" -ge "$kills" ]; then
      if [ -e "$run/config.json" ]; then command=(--resume "$run"); else command=("${options[@]}" --out "$run"); fi
      "$replk" train "${command[@]}" >/dev/null || fail "the run cannot be resumed"
      break
    fi
  done
  same_weights "$run"
  runs=$((runs + 1))
done
echo "soak: $killed kills ($with_files with checkpoints there, $left temporary files left behind and removed)," \
  "$looked checkpoints read, $runs runs finished with the bits of an uninterrupted one"

# A disk of 16 MB, filled up while the run saves.
full_disk() {
  local disk=$work/disk run=$work/disk/run code=0
  mkdir -p "$disk"
  mount -t tmpfs -o size=16m none "$disk"
  "$replk" train "${options[@]}" --out "$run" --stop-after 2 >/dev/null || fail "the disk is too small"
  dd if=/dev/zero of="$disk/filler" bs=1k count=20000 2>/dev/null || true
  truncate -s -200K "$disk/filler"  # enough for the small files
  "$replk" train --resume "$run" >/dev/null 2>"$work/err" || code=$?
  [ "$code" -eq 3 ] || fail "a full disk: exit code $code"
  grep -q 'No space left' "$work/err" || fail "a full disk: $(cat "$work/err")"
  check_files "$run"
  rm "$disk/filler"
  "$replk" train --resume "$run" >/dev/null || fail "the run cannot be resumed after the disk was full"
  same_weights "$run"
  echo "soak: a full disk left the checkpoints as they were: $(cat "$work/err")"
}
export -f full_disk fail check_files same_weights leftovers
export work replk SEED looked
if unshare -rm true 2>/dev/null; then
  options_text="${options[*]}" unshare -rm bash -euc 'options=($options_text); full_disk'
else
  echo "soak: no user may mount a disk here; the full disk was left out"
fi

#!/usr/bin/env python3
"""RepLK's files beside the programs they are made for: onnx, onnxruntime, safetensors and tensorboard.

    pip install numpy onnx onnxruntime safetensors tensorboard      # nothing else here needs them
    python scripts/interop.py build/release/bin/replk [--models replknet-nano,replknet-31b] [--threads 2]

For each network: Python writes random weights as safetensors; `replk convert` reads and writes them, Python reads
those back and compares the bits. `replk convert` then makes ONNX files of the network as trained, merged and
folded; onnx checks them, onnxruntime computes them at two batch sizes, and the logarithms of the probabilities are
compared with those of `replk predict` on the same pictures. Last, a short training run, whose event files
TensorBoard's reader must find to hold what metrics.jsonl says. Exit code 1: something differs.
"""
import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

import numpy as np
import onnx
import onnxruntime
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# Kernels, blocks, channels and the side of the images; the small kernel is 5x5 in all of them.
NETWORKS = {
    "replknet-nano": ([13, 13], [1, 1], [40, 72], 28),
    "replknet-tiny": ([13, 13], [2, 2], [48, 96], 28),
    "replknet-small": ([13, 13], [2, 5], [64, 128], 28),
    "replknet-31b": ([31, 29, 27, 13], [2, 2, 18, 2], [128, 256, 512, 1024], 64),
}
CLASSES = 10
PICTURES = 5
LIMIT = 1e-4  # of the largest logarithm of a probability
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])  # what convert assumes


def random_state(kernels, blocks, channels, random):
    """Weights and statistics under the names of the published model, so that its activations stay near 1."""
    state = {}

    def norm(name, width, scale=1):
        state[name + ".weight"] = scale * random.uniform(0.8, 1.2, width)
        state[name + ".bias"] = random.uniform(-0.2, 0.2, width)
        state[name + ".running_mean"] = random.uniform(-0.2, 0.2, width)
        state[name + ".running_var"] = random.uniform(0.5, 1.5, width)

    def conv_bn(name, outputs, inputs, side, scale=1):  # inputs: of one group
        state[name + ".conv.weight"] = random.normal(0, (inputs * side * side) ** -0.5, (outputs, inputs, side, side))
        norm(name + ".bn", outputs, scale)

    first = channels[0]
    for i, (inputs, side) in enumerate([(3, 3), (1, 3), (first, 1), (1, 3)]):
        conv_bn(f"stem.{i}", first, inputs, side)
    for stage, (kernel, pairs, width) in enumerate(zip(kernels, blocks, channels)):
        for pair in range(pairs):
            block = f"stages.{stage}.blocks.{2 * pair}"
            norm(block + ".prelkb_bn", width)
            conv_bn(block + ".pw1", width, width, 1)
            conv_bn(block + ".large_kernel.lkb_origin", width, 1, kernel)
            conv_bn(block + ".large_kernel.small_conv", width, 1, 5)
            conv_bn(block + ".pw2", width, width, 1, 0.2)  # what is added to the shortcut
            block = f"stages.{stage}.blocks.{2 * pair + 1}"
            norm(block + ".preffn_bn", width)
            conv_bn(block + ".pw1", 4 * width, width, 1)
            conv_bn(block + ".pw2", width, 4 * width, 1, 0.2)
        if stage + 1 < len(channels):
            conv_bn(f"transitions.{stage}.0", channels[stage + 1], width, 1)
            conv_bn(f"transitions.{stage}.1", channels[stage + 1], 1, 3)
    norm("norm", channels[-1])
    state["head.weight"] = random.normal(0, channels[-1] ** -0.5, (CLASSES, channels[-1]))
    state["head.bias"] = random.uniform(-0.2, 0.2, CLASSES)
    state = {name: np.float32(values) for name, values in state.items()}
    for name in [name for name in state if name.endswith("running_var")]:
        state[name.replace("running_var", "num_batches_tracked")] = np.array(1, np.int64)
    return state


def write_png(path, pixels):
    """An RGB picture (H, W, 3), uncompressed lines in one zlib stream."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
                     chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))


class Interop:
    def __init__(self, options, folder):
        self.options, self.folder, self.wrong = options, pathlib.Path(folder), 0
        self.random = np.random.default_rng(0)

    def replk(self, *arguments):
        command = [self.options.program, *map(str, arguments), "--threads", str(self.options.threads)]
        if arguments[0] == "convert":  # which computes nothing
            command = command[:-2]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: exit code {result.returncode}\n{result.stderr}")
        return result.stdout

    def expect(self, right, what):
        if not right:
            self.wrong += 1
            print(f"WRONG: {what}")
        return right

    def log_probabilities(self, checkpoint, pictures):
        answer = json.loads(self.replk("predict", checkpoint, *pictures, "--json", "--top", CLASSES, "--device", "cpu"))
        result = np.empty((len(pictures), CLASSES))
        for row, prediction in zip(result, answer["predictions"]):
            for entry in prediction["top"]:
                row[entry["index"]] = np.log(entry["probability"])
        return result

    def safetensors(self, name, state):
        """Python's file, read and written by RepLK; returns the latter."""
        given, taken = self.folder / f"{name}.safetensors", self.folder / f"{name}-converted.safetensors"
        save_file(state, given, metadata={"format": "pt"})
        (self.folder / "classes.txt").write_text("".join(f"class {i}\n" for i in range(CLASSES)))
        self.replk("convert", given, taken, "--classes", self.folder / "classes.txt", "--image-size",
                   NETWORKS[name][3])
        back = load_file(taken)
        same = back.keys() == state.keys() and all(
            back[key].dtype == state[key].dtype and np.array_equal(back[key], state[key]) for key in state)
        with safe_open(taken, "numpy") as file:
            described = json.loads(file.metadata()["config"])
        self.expect(same and described["channels"] == NETWORKS[name][2], f"{name}: safetensors there and back")
        print(f"{name}: {len(state)} tensors from Python's safetensors to RepLK and back: "
              f"{'the same bits' if same else 'DIFFERENT'}")
        return taken

    def onnx(self, name, form, checkpoint, pictures, images):
        path = self.folder / f"{name}-{form}.onnx"
        self.replk("convert", checkpoint, path)
        onnx.checker.check_model(str(path), full_check=True)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = self.options.threads
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        expected = self.log_probabilities(checkpoint, pictures)
        differences = []
        for batch in (1, len(images)):
            logits = np.concatenate([session.run(["logits"], {"images": images[i:i + batch]})[0]
                                     for i in range(0, len(images), batch)]).astype(np.float64)
            got = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True)) - logits.max(
                1, keepdims=True)
            differences.append(np.abs(got - expected).max() / np.abs(expected).max())
            same = (got.argmax(1) == expected.argmax(1)).all()
            self.expect(same and differences[-1] <= LIMIT, f"{name} {form}, batch {batch}: {differences[-1]:.1e}")
        print(f"{name} {form}: checked by onnx; onnxruntime against replk predict, batch 1: {differences[0]:.1e}, "
              f"batch {len(images)}: {differences[1]:.1e} of the largest")
        path.unlink()

    def network(self, name):
        kernels, blocks, channels, side = NETWORKS[name]
        checkpoint = self.safetensors(name, random_state(kernels, blocks, channels, self.random))
        pixels = self.random.integers(0, 256, (PICTURES, side, side, 3), np.uint8)
        pictures = [self.folder / f"{i}.png" for i in range(PICTURES)]
        for path, picture in zip(pictures, pixels):
            write_png(path, picture)
        images = ((pixels / np.float32(255) - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2).copy()
        self.onnx(name, "as trained", checkpoint, pictures, images)
        for form, flags in (("merged", []), ("folded", ["--fold-bn"])):
            merged = self.folder / f"{name}-{form}.safetensors"
            self.replk("reparam", checkpoint, "-o", merged, "--images", 2, "--device", "cpu", *flags)
            self.onnx(name, form, merged, pictures, images)
        for path in self.folder.glob(f"{name}*"):
            path.unlink()

    def event_files(self):
        data, run = self.folder / "data", self.folder / "run"
        for i in range(40):
            picture = data / "train" / "ab"[i % 2] / f"{i}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            write_png(picture, self.random.integers(128 * (i % 2), 128 + 128 * (i % 2), (28, 28, 3)).astype(np.uint8))
        self.replk("train", "--data", data, "--model", "replknet-nano", "--image-size", 28, "--epochs", 3,
                   "--batch-size", 8, "--val-split", 8, "--device", "cpu", "--out", run)
        events = EventAccumulator(str(run))
        events.Reload()
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for tag, key in (("loss/training", "train_loss"), ("loss/validation", "val_loss"),
                         ("accuracy/validation", "val_accuracy"), ("epoch/lr", "lr")):
            values = [event.value for event in events.Scalars(tag)]
            self.expect(values == [np.float32(row[key]) for row in rows], f"event files, {tag}: {values}")
        print(f"TensorBoard reads {len(events.Tags()['scalars'])} curves of {len(rows)} epochs, as metrics.jsonl has them")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the replk program")
    parser.add_argument("--models", default=",".join(NETWORKS), help="with commas between")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
    with tempfile.TemporaryDirectory() as folder:
        interop = Interop(options, folder)
        for name in options.models.split(","):
            interop.network(name)
        interop.event_files()
    print("all as it should be" if interop.wrong == 0 else f"{interop.wrong} WRONG")
    return 1 if interop.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

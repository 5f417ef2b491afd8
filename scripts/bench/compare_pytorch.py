#!/usr/bin/env python3
"""RepLK beside PyTorch on this machine's CPU or GPU: depth-wise and 1x1 convolutions, training steps, inference.

    python scripts/bench/compare_pytorch.py build/bin/bench_cases [--threads 2] [--only depthwise,network]
    python scripts/bench/compare_pytorch.py build/bin/bench_cases --device cuda --precision bf16
    python scripts/bench/compare_pytorch.py build/bin/bench_cases --device cuda --only table1   # of the paper

Every case is run by RepLK, by PyTorch in its default format (NCHW) and by PyTorch in channels-last, in turn,
round after round; the tables hold medians. "ratio" is the better PyTorch time over RepLK's. Needs the PyPI
package torch, which nothing else here does.
"""
import argparse
import math
import statistics
import subprocess
import time

import torch
from pytorch_replknet import replknet
from torch import nn

STAGES = [(128, 56, 31), (256, 28, 29), (512, 14, 27), (1024, 7, 13)]
SMALL_KERNELS = [3, 5, 7, 9, 13]
# The 1x1 convolutions of RepLKNet-31B: input and output channels, side of the map.
POINTWISE = [(128, 128, 112), (128, 128, 56), (128, 512, 56), (512, 128, 56), (128, 256, 56), (256, 256, 28),
             (256, 1024, 28), (1024, 256, 28), (256, 512, 28), (512, 512, 14), (512, 2048, 14),
             (2048, 512, 14), (512, 1024, 14), (1024, 1024, 7), (1024, 4096, 7), (4096, 1024, 7)]
TINY = dict(in_channels=1, channels=[48, 96], large_kernel_sizes=[13, 13], layers=[2, 2], stem_strides=[2, 1],
            small_kernel=5, dw_ratio=1, ffn_ratio=4, num_classes=10)
B31 = dict(in_channels=3, channels=[128, 256, 512, 1024], large_kernel_sizes=[31, 29, 27, 13],
           layers=[2, 2, 18, 2], stem_strides=[2, 2], small_kernel=5, dw_ratio=1, ffn_ratio=4,
           num_classes=1000)
PASSES = ("forward", "input", "weight")
SECONDS_PER_CASE = 0.6
PAUSE = 0.02


class RepLK:
    """The bench_cases program, asked line by line."""

    def __init__(self, options):
        flags = ["--threads", str(options.threads), "--device", options.device, "--precision", options.precision]
        self.process = subprocess.Popen([options.program] + flags, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def ask(self, line):
        print(line, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise SystemExit(f"bench_cases ended at: {line}")
        return answer

    def case(self, line):
        chosen = self.ask(line).removeprefix("ready").strip()
        return chosen, lambda count, uncounted=0: [
            float(word) for word in self.ask(f"run {count} {uncounted}").split()]


def timed(f, device="cpu"):
    """A runner: called with a count it runs f that often and returns the milliseconds of each run, after as many
    uncounted ones as asked for; on a GPU the mean of as many launched in a row."""
    def run_row(count, uncounted=0):
        for _ in range(uncounted):
            f()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            f()
        torch.cuda.synchronize()
        return [(time.perf_counter() - start) * 1e3 / count]

    def run(count, uncounted=0):
        for _ in range(uncounted):
            f()
        times = []
        for _ in range(count):
            start = time.perf_counter()
            f()
            times.append((time.perf_counter() - start) * 1e3)
        return times
    return run if device == "cpu" else run_row


def interleaved(runners, seconds=SECONDS_PER_CASE):
    """Medians of the runners, which take turns. A turn is a pause, in which the threads that the one before left
    spinning go to sleep, and a row of runs without a break, as many as take 30 ms (one to ten). One run before
    them does not count: it finds the caches cold and the threads asleep. Long runs need neither."""
    start = time.perf_counter()
    for run in runners:
        run(1)
    warm_up = [run(1)[0] for run in runners]
    times = [[] for _ in runners]
    while len(times[0]) < 3 or (time.perf_counter() - start < seconds and len(times[0]) < 100):
        for run, own, first in zip(runners, times, warm_up):
            if first < 500:
                time.sleep(PAUSE)
                own += run(max(1, min(10, int(30 / first))), uncounted=1)
            else:
                own += run(1)
        if sum(warm_up) > 60e3:
            break
    return [statistics.median(own) for own in times]


def taps_inside(extent, kernel):
    """Pairs of an output and a tap that meet inside the image, along one axis."""
    return sum(max(0, min(o + kernel // 2, extent - 1) - max(o - kernel // 2, 0) + 1) for o in range(extent))


def convolution(x, w, stride, padding, groups, which):
    """One pass of a PyTorch convolution, as a function without arguments."""
    def forward():
        return nn.functional.conv2d(x, w, None, stride, padding, 1, groups)
    if which == "forward":
        return forward
    dy = torch.randn_like(forward())
    return lambda: torch.ops.aten.convolution_backward(
        dy, x, w, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups,
        [which == "input", which == "weight", False])


def formats(make, device):
    """The runner of make(format) for both memory formats."""
    return [timed(make(f), device) for f in (torch.contiguous_format, torch.channels_last)]


def element_bytes(options):
    return 2 if options.precision == "bf16" else 4


def random_like(options, *shape, memory=torch.contiguous_format):
    """A random tensor where and in what the options say."""
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    return torch.randn(*shape).to(options.device, dtype, memory_format=memory)


def row(cells, times, unit=""):
    ours, nchw, last = times
    print("| " + " | ".join(str(c) for c in cells) +
          f" | {ours:.3g} | {nchw:.3g} | {last:.3g} | **{min(nchw, last) / ours:.2f}x** |{unit}", flush=True)
    return min(nchw, last) / ours


def header(cells, extra=""):
    names = cells + ["RepLK ms", "PyTorch NCHW", "channels-last", "ratio"]
    print("\n| " + " | ".join(names) + " |" + extra)
    print("|" + "---|" * (len(names) + extra.count("|")))


def depthwise(replk, options, limits):
    peak, copy = limits
    header(["C x HxW", "K", "stride", "batch", "pass", "kernel"], " GFLOP/s | of peak | copy ms |")
    shapes = [(c, s, k, 1) for c, s, k in STAGES]
    shapes += [(c, s, k, 1) for k in SMALL_KERNELS for c, s, _ in STAGES if (s, k) != (7, 13)]
    shapes += [(c, 2 * s, 3, 2) for c, s, _ in STAGES]
    for c, s, k, stride in shapes:
        for which in PASSES:
            n = options.batch
            chosen, ours = replk.case(f"depthwise {which} {c} {n} {s} {s} {k} {stride} {options.kernel}")

            def make(f, c=c, s=s, k=k, stride=stride, which=which, n=n):
                x = random_like(options, n, c, s, s, memory=f)
                return convolution(x, random_like(options, c, 1, k, k, memory=f), stride, k // 2, c, which)

            times = interleaved([ours] + formats(make, options.device))
            rate = 2 * c * n * (taps_inside(s, k) / stride) ** 2 / times[0] / 1e6
            floor = element_bytes(options) * c * n * s * s * (1 + 1 / stride ** 2) / copy / 1e6
            row([f"{c} x {s}x{s}", k, stride, n, which, chosen], times,
                f" {rate:.0f} | {rate / peak:.0%} | {floor:.3g} |")


def table1(replk, options, _):
    """The setting of the paper's Table 1: 24 depth-wise layers on 64 x 384 x R x R, forward."""
    layers, channels, batch = 24, 384, 64
    header(["R", "K", "kernel"])
    for r in (16, 32, 64):
        for k in (3, 5, 7, 9, 13, 17, 21, 27, 29, 31):
            chosen, ours = replk.case(f"depthwise forward {channels} {batch} {r} {r} {k} 1 {options.kernel}")

            def make(f, r=r, k=k):
                x = random_like(options, batch, channels, r, r, memory=f)
                w = random_like(options, channels, 1, k, k, memory=f)
                return convolution(x, w, 1, k // 2, channels, "forward")

            row([r, k, chosen], [layers * t for t in interleaved([ours] + formats(make, options.device))])


def pointwise(replk, options, limits):
    peak, _ = limits
    header(["in -> out, HxW", "batch", "pass"], " GFLOP/s | of peak |")
    ratios = {which: [] for which in PASSES}
    for cin, cout, s in POINTWISE:
        for which in PASSES:
            n = options.batch
            _, ours = replk.case(f"pointwise {which} {cin} {cout} {n * s * s}")

            def make(f, cin=cin, cout=cout, s=s, which=which, n=n):
                x = random_like(options, n, cin, s, s, memory=f)
                return convolution(x, random_like(options, cout, cin, 1, 1), 1, 0, 1, which)

            times = interleaved([ours] + formats(make, options.device))
            rate = 2 * cin * cout * n * s * s / times[0] / 1e6
            ratios[which].append(
                row([f"{cin} -> {cout}, {s}x{s}", n, which], times, f" {rate:.0f} | {rate / peak:.0%} |"))
    for which, r in ratios.items():
        print(f"\ngeometric mean of the ratios, {which}: {math.exp(statistics.fmean(map(math.log, r))):.2f}")


def train_step(options, config, size, batch, f):
    model = replknet(config).to(options.device, memory_format=f).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)
    x = torch.randn(batch, config["in_channels"], size, size).to(options.device, memory_format=f)
    labels = torch.zeros(batch, dtype=torch.long, device=options.device)

    def step():
        optimizer.zero_grad()
        with torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bf16"):
            loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
    return step


def inference(options, config, size, batch, f):
    x = random_like(options, batch, config["in_channels"], size, size, memory=f)
    model = replknet(config, merged=True).to(options.device, x.dtype, memory_format=f).eval()

    def run():
        with torch.inference_mode():
            model(x)
    return run


def peak_mib(f):
    """Of PyTorch's tensors on the GPU during one call."""
    torch.cuda.reset_peak_memory_stats()
    f()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() >> 20


def network(replk, options, _):
    gpu = options.device == "cuda"
    header(["network", "batch", "what"],
           " RepLK images/s | RepLK peak MiB |" + (" PyTorch peak MiB |" if gpu else ""))
    cases = [("replknet-tiny", TINY, 28, 128, "train"), ("replknet-tiny", TINY, 28, 128, "infer"),
             ("replknet-31b", B31, 224, 1, "infer"), ("replknet-31b", B31, 224, 8, "infer"),
             ("replknet-31b", B31, 224, 8, "train")]
    if gpu:
        cases = [("replknet-tiny", TINY, 28, 128, "train"), ("replknet-tiny", TINY, 28, 1024, "infer"),
                 ("replknet-31b", B31, 224, 64, "train"), ("replknet-31b", B31, 224, 64, "infer")]
    for name, config, size, batch, what in cases:
        if options.network not in (None, name) or options.what not in (None, what):
            continue
        _, ours = replk.case(f"{what} {name} {config['in_channels']} {size} {batch}")
        make = train_step if what == "train" else inference
        steps = [make(options, config, size, batch, f) for f in (torch.contiguous_format, torch.channels_last)]
        times = interleaved([ours] + [timed(step, options.device) for step in steps],
                            seconds=6 if gpu else 20)
        memory = f" {replk.ask('memory')} |" + (f" {peak_mib(steps[0])} |" if gpu else "")
        row([f"{name}, {size}x{size}", batch, "training step" if what == "train" else "inference, merged"],
            times, f" {batch / times[0] * 1e3:.1f} |{memory}")
        if options.profile:
            print("\n" + replk.ask("profile").replace(", ", "\n") + "\n", flush=True)


def machine(options):
    if options.device == "cuda":
        return torch.cuda.get_device_name()
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        return next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown CPU")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("program", help="the built bench_cases")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="fp32", choices=["fp32", "tf32", "bf16"])
    parser.add_argument("--batch", type=int, help="of single operators; 8, on a GPU 64")
    parser.add_argument("--kernel", default="automatic", help="RepLK's depth-wise kernel")
    parser.add_argument("--only", default="depthwise,pointwise,network")
    parser.add_argument("--network", help="of --only network: replknet-tiny or replknet-31b")
    parser.add_argument("--what", help="of --only network: train or infer")
    parser.add_argument("--profile", action="store_true", help="RepLK's operators after each network")
    options = parser.parse_args()
    options.batch = options.batch or (64 if options.device == "cuda" else 8)
    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.precision == "tf32"
    replk = RepLK(options)
    peak, copy = (float(word) for word in replk.ask("peak").split())
    print(f"{machine(options)}, {options.threads} threads, {options.precision}, PyTorch {torch.__version__}, "
          f"{time.strftime('%Y-%m-%d')}; measured peak {peak:.0f} GFLOP/s, copy {copy:.1f} GB/s")
    sections = {"depthwise": depthwise, "pointwise": pointwise, "network": network, "table1": table1}
    for name in options.only.split(","):
        sections[name](replk, options, (peak, copy))


if __name__ == "__main__":
    main()

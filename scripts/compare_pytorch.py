#!/usr/bin/env python3
"""PyTorch on the shapes of `totalrecall bench`: what the same work takes there, with the operators that PatchCore's authors and most
reimplementations use (eager mode, float32). With --bench, a file of the bench's JSON lines, the two stand side by side.

  scripts/compare_pytorch.py [--device cuda] [--quick] [--bench results/<machine>/bench.jsonl] [--out FILE.json]
"""
import argparse
import json
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


class Bottleneck(nn.Module):
    """ResNet's block of three convolutions; the stride is at the 3x3."""

    def __init__(self, inputs, width, stride):
        super().__init__()
        outputs = inputs if stride is None else 4 * (width[1])
        stride = stride or 1
        self.reduce = nn.Sequential(nn.Conv2d(inputs, width[0], 1, bias=False), nn.BatchNorm2d(width[0]))
        self.spatial = nn.Sequential(nn.Conv2d(width[0], width[0], 3, stride, 1, bias=False), nn.BatchNorm2d(width[0]))
        self.expand = nn.Sequential(nn.Conv2d(width[0], outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.skip = None
        if inputs != outputs or stride != 1:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.reduce(x))
        y = F.relu(self.spatial(y))
        return F.relu(self.expand(y) + (x if self.skip is None else self.skip(x)))


class Trunk(nn.Module):
    """ResNet50 (wide=1) or WideResNet50-2 (wide=2) up to layer3; gives layer2 and layer3."""

    def __init__(self, wide):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64))
        self.layers = nn.ModuleList()
        inputs = 64
        for index, blocks in enumerate((3, 4, 6)):
            base = 64 << index
            width = (base * wide, base)
            layer = [Bottleneck(inputs, width, 2 if index else 1)]
            inputs = 4 * base
            layer += [Bottleneck(inputs, width, None) for _ in range(blocks - 1)]
            self.layers.append(nn.Sequential(*layer))

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, 1)
        first = self.layers[0](x)
        second = self.layers[1](first)
        return second, self.layers[2](second)


class Timer:
    def __init__(self, device, seconds):
        self.device, self.seconds = device, seconds

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def once(self, work):
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start

    def __call__(self, work, items):
        """Seconds of an item: median and minimum over samples, after two calls that do not count."""
        self.once(work)
        calls = max(1, int(0.02 / max(self.once(work), 1e-6)))
        samples, begin = [], time.perf_counter()
        while len(samples) < 3 or (time.perf_counter() - begin < self.seconds and len(samples) < 64):
            samples.append(self.once(lambda: [work() for _ in range(calls)]) / calls / items)
        return statistics.median(samples), min(samples)


def backbone(name, wide, tf32):
    def run(device, timer, quick):
        side, batch = (64, 2) if quick else (224, 64 if device.type == "cuda" else 8)
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        trunk = Trunk(wide).eval().to(device, memory_format=torch.channels_last)
        images = torch.rand(batch, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
        median, least = timer(lambda: trunk(images), batch)
        torch.backends.cudnn.allow_tf32 = False
        return f"{name} to layer3, {side}x{side}", median, least

    return "backbone", "tf32" if tf32 else "float32", run


def nearest(device, timer, quick):
    """As torch users write it: |q|^2 + |b|^2 - 2 q.b by a matrix product, then the row minimum."""
    rows, d, patches = (1025, 256, 64) if quick else (16385, 1024, 784)
    images = 1 if quick else 8  # more would not fit smaller GPUs: the distances are written out
    bank, queries = torch.rand(rows, d, device=device), torch.rand(images * patches, d, device=device)
    norms = (bank * bank).sum(1)

    def work():
        distances = torch.addmm(norms.expand(len(queries), rows), queries, bank.T, alpha=-2)
        distances += (queries * queries).sum(1, keepdim=True)
        return distances.min(1)

    return f"{patches} of {rows} x {d}, k 1", *timer(work, images)


def project(device, timer, quick):
    n, d = (2000, 256) if quick else (94080, 1024)
    features, layer = torch.rand(n, d, device=device), nn.Linear(d, 128, bias=False).to(device)
    return f"{n} x {d} -> 128", *timer(lambda: layer(features), 1)


def coreset(device, timer, quick):
    """A greedy step: distances of all rows to the last pick, running minimum, argmax on the host; times the picks."""
    n, d = (2000, 32) if quick else (94080, 128)
    picks, steps = n // 10, 20 if quick else 100
    rows = torch.rand(n, d, device=device)
    reach = torch.full((n, 1), float("inf"), device=device)

    def work():
        for _ in range(steps):
            pick = int(torch.argmax(reach))
            difference = rows - rows[pick : pick + 1]
            torch.minimum(reach, difference.pow_(2).sum(1, keepdim=True).sqrt_(), out=reach)

    median, least = timer(work, 1)
    return f"{n} x {d}, {picks} picks", median / steps * picks, least / steps * picks


def aggregate(device, timer, quick):
    """Unfold, bilinear resize to the first grid, adaptive pooling twice: the authors' steps."""
    side, channels, d, batch = (8, (64, 128), 256, 2) if quick else (28, (512, 1024), 1024, 8)
    maps = [torch.rand(batch, channels[0], side, side, device=device), torch.rand(batch, channels[1], side // 2, side // 2, device=device)]

    def work():
        pooled = []
        for level, x in enumerate(maps):
            size = side >> level
            windows = F.unfold(x, 3, padding=1).reshape(batch, x.shape[1] * 9, size, size)
            if level:
                windows = F.interpolate(windows, size=(side, side), mode="bilinear", align_corners=False)
            windows = windows.permute(0, 2, 3, 1).reshape(batch * side * side, 1, -1)
            pooled.append(F.adaptive_avg_pool1d(windows, d).squeeze(1))
        return F.adaptive_avg_pool1d(torch.stack(pooled, 1).reshape(len(pooled[0]), 1, -1), d)

    shape = f"official p 3, {side}x{side}x{channels[0]} + {side // 2}x{side // 2}x{channels[1]} -> {d}"
    return shape, *timer(work, batch)


CASES = [
    backbone("resnet50", 1, False),
    backbone("wide_resnet50_2", 2, False),
    backbone("resnet50", 1, True),
    ("aggregate", "float32", aggregate),
    ("project", "float32", project),
    ("coreset", "float32", coreset),
    ("nearest", "float32", nearest),
]


def ours(path):
    """The last measurement of each (operator, shape) in the bench's lines."""
    found = {}
    if path:
        for line in open(path, encoding="utf-8"):
            row = json.loads(line)
            found[row["operator"], row["shape"]] = row["seconds_median"]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="small shapes: whether all runs")
    parser.add_argument("--bench", help="JSON lines of `totalrecall bench`")
    parser.add_argument("--out", help="file for the measurements as JSON")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    timer, mine, rows = Timer(device, 0.05 if args.quick else 1.0), ours(args.bench), []
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    print(f"PyTorch {torch.__version__} on {name}\n")
    print(f"{'operator':12}{'shape':56}{'arithmetic':>11}{'PyTorch':>13}{'totalrecall':>13}{'times':>8}")
    with torch.inference_mode():
        for operator, arithmetic, run in CASES:
            if arithmetic == "tf32" and device.type != "cuda":
                continue
            shape, median, least = run(device, timer, args.quick)
            here = mine.get((operator, shape)) if arithmetic == "float32" else None
            print(f"{operator:12}{shape:56}{arithmetic:>11}{1e3 * median:10.3f} ms"
                  + (f"{1e3 * here:10.3f} ms{median / here:8.2f}" if here else ""), flush=True)
            rows.append({"operator": operator, "shape": shape, "arithmetic": arithmetic, "seconds_median": median,
                         "seconds_min": least, "totalrecall_seconds_median": here})
    if args.out:
        with open(args.out, "w", encoding="utf-8") as out:
            json.dump({"torch": torch.__version__, "device": name, "rows": rows}, out, indent=1)
            out.write("\n")


if __name__ == "__main__":
    sys.exit(main())

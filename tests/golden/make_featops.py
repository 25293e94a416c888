"""Fixtures of aggregate, upsample, smooth and reweight: featops_*.npy.

The patch features are a float64 transcription of what the official code does (src/patchcore/patchcore.py, common.py): unfold,
resize of the deeper layers' patches, two adaptive poolings. Inputs are not stored: `noise` gives the same numbers in Python and
in C (tests/golden/featops.h). Of large results every k-th value is stored, and the sum and sum of squares of all.

Needs numpy, scipy and torch: python tests/golden/make_featops.py
"""
import pathlib

import numpy as np
import scipy.ndimage
import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).resolve().parent
KEEP = 600


def noise(stream, count):
    """Numbers in [-1, 3), multiples of 2^-22: murmur3's finaliser over (stream, index)."""
    h = np.arange(count, dtype=np.uint32) * np.uint32(2654435769) + np.uint32(stream * 2246822519 % 2**32)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return (h >> np.uint32(8)).astype(np.float64) * 2.0**-22 - 1.0


def kept(values):
    """Every k-th value, k odd, about KEEP of them."""
    flat = np.asarray(values).reshape(-1)
    return flat[:: len(flat) // KEEP | 1]


def sums(values):
    flat = np.asarray(values, dtype=np.float64)
    return [flat.sum(), (flat**2).sum()]


def official(maps, patch, stride, layer_dimension, dimension):
    """maps: [n, c, h, w] each -> [n * grid, dimension]."""
    grids, windows = [], []
    for values in maps:
        n, c, h, w = values.shape
        grids.append([(side + 2 * ((patch - 1) // 2) - (patch - 1) - 1) // stride + 1 for side in (h, w)])
        cut = F.unfold(values, patch, stride=stride, padding=(patch - 1) // 2)
        windows.append(cut.reshape(n, c * patch * patch, *grids[-1]))
    rows = []
    for layer, values in enumerate(windows):
        if layer > 0:
            values = F.interpolate(values, size=grids[0], mode="bilinear", align_corners=False)
        rows.append(values.permute(0, 2, 3, 1).reshape(-1, 1, values.shape[1]))
    pooled = [F.adaptive_avg_pool1d(values, layer_dimension)[:, 0] for values in rows]
    return F.adaptive_avg_pool1d(torch.cat(pooled, dim=1)[:, None], dimension)[:, 0]


def concat(maps, patch, stride):
    size, columns = None, []
    for values in maps:
        values = F.avg_pool2d(values, patch, stride, (patch - 1) // 2)
        if size is None:
            size = values.shape[-2:]
        values = F.interpolate(values, size=size, mode="bilinear", align_corners=False)
        columns.append(values.permute(0, 2, 3, 1).reshape(-1, values.shape[1]))
    return torch.cat(columns, dim=1)


def aggregate_cases():
    two = [(32, 28, 28), (64, 14, 14)]
    for patch in (1, 3, 5, 7, 9, 15):
        yield two, patch, 1, 64, 64, 0, 1, 0
    for patch, stride in ((3, 2), (3, 3), (5, 2), (5, 3), (1, 2), (3, 5), (15, 4), (7, 7)):
        yield two, patch, stride, 64, 64, 0, 1, 0
    yield [(512, 28, 28), (1024, 14, 14)], 3, 1, 1024, 1024, 0, 1, 0
    yield [(256, 14, 14), (512, 7, 7)], 3, 1, 1024, 384, 0, 1, 0
    yield [(40, 28, 28), (112, 14, 14)], 3, 1, 1024, 1024, 0, 1, 0  # bins of one value, repeated
    yield [(12, 13, 9), (20, 7, 5)], 3, 1, 100, 37, 0, 2, 0
    yield [(12, 13, 9), (20, 7, 5)], 9, 1, 100, 37, 0, 1, 0
    yield [(12, 13, 9), (20, 7, 5)], 5, 2, 37, 100, 0, 1, 0
    yield [(3, 7, 5)], 7, 1, 29, 29, 0, 1, 0
    yield [(19, 7, 5)], 3, 1, 500, 1000, 0, 1, 0
    yield [(19, 7, 5)], 3, 3, 1, 1, 0, 3, 0
    yield [(64, 28, 28)], 3, 1, 256, 256, 0, 1, 0  # layer1 alone: four means of three values a channel
    yield [(128, 14, 14)], 3, 1, 256, 256, 0, 1, 0  # layer2 alone: two half windows a channel
    yield [(128, 14, 14)], 9, 1, 256, 256, 0, 1, 0
    yield [(16, 56, 56), (32, 28, 28), (64, 14, 14)], 3, 1, 64, 64, 0, 1, 0
    yield [(16, 56, 56), (32, 28, 28), (64, 14, 14)], 9, 1, 50, 70, 0, 1, 0
    yield [(8, 56, 56), (16, 28, 28), (32, 14, 14), (64, 7, 7)], 5, 1, 60, 61, 0, 1, 0
    yield [(8, 16, 12), (16, 8, 6), (32, 4, 3), (64, 2, 2)], 3, 2, 100, 37, 0, 1, 0
    yield [(8, 16, 12), (16, 8, 6), (32, 4, 3), (64, 2, 2)], 3, 1, 24, 1, 0, 1, 0
    yield [(64, 7, 7), (16, 28, 28)], 3, 1, 96, 80, 0, 1, 0  # a deeper layer first
    yield [(16, 9, 11), (24, 9, 11), (8, 20, 30)], 5, 2, 33, 66, 0, 1, 0
    yield [(5, 1, 1), (7, 3, 2)], 15, 1, 40, 33, 0, 1, 0
    yield [(17, 100, 90), (33, 50, 45)], 7, 1, 45, 48, 0, 1, 0  # more than a tile
    yield two, 3, 1, 64, 64, 0, 1, 1  # signed values
    yield two, 3, 1, 0, 0, 1, 1, 0
    yield two, 9, 2, 0, 0, 1, 2, 0
    yield [(12, 13, 9), (20, 7, 5), (7, 4, 3)], 5, 1, 0, 0, 1, 1, 0


def make_aggregate():
    table, values, checks = [], [], []
    for number, (layers, patch, stride, layer_dimension, dimension, kind, n, signed) in enumerate(aggregate_cases()):
        maps = []
        for layer, (c, h, w) in enumerate(layers):
            numbers = noise(10 * number + layer, n * h * w * c).reshape(n, h, w, c).transpose(0, 3, 1, 2)
            maps.append(torch.from_numpy(numbers.copy() if signed else np.maximum(numbers, 0.0)))
        rows = concat(maps, patch, stride) if kind else official(maps, patch, stride, layer_dimension, dimension)
        shapes = [x for layer in layers for x in layer] + [0] * (12 - 3 * len(layers))
        table.append([kind, len(layers), patch, stride, layer_dimension, dimension, n, signed, *rows.shape, *shapes])
        values.append(kept(rows).astype(np.float32))
        checks.append(sums(rows))
    save("aggregate_cases", np.array(table, dtype=np.int32))
    save("aggregate_values", np.concatenate(values))
    save("aggregate_sums", np.array(checks))


def make_upsample():
    # torch takes another kernel, with contracted positions, where out_h + out_w <= 128; for sizes that are no power of two apart
    # its weights then differ in the sixth digit. Anomaly maps are larger.
    table, values = [], []
    sizes = [(28, 28, 224, 224), (40, 40, 320, 320), (28, 28, 300, 301), (7, 5, 161, 97), (13, 9, 13, 9), (1, 1, 4, 6),
             (1, 3, 5, 3), (56, 56, 224, 224), (20, 30, 10, 7), (3, 2, 2, 600)]
    for number, (in_h, in_w, out_h, out_w) in enumerate(sizes):
        maps = np.maximum(noise(1000 + number, 2 * in_h * in_w), 0.0).astype(np.float32).reshape(2, 1, in_h, in_w)
        large = F.interpolate(torch.from_numpy(maps), size=(out_h, out_w), mode="bilinear", align_corners=False)
        table.append([in_h, in_w, out_h, out_w])
        values.append(kept(large.numpy()))
    save("upsample_cases", np.array(table, dtype=np.int32))
    save("upsample_values", np.concatenate(values))


def make_smooth():
    table, values = [], []
    cases = [(224, 224, 4.0), (320, 320, 4.0), (61, 37, 4.0), (13, 9, 4.0), (7, 5, 4.0), (1, 1, 4.0), (1, 30, 2.5),
             (40, 3, 0.75), (30, 50, 12.0), (33, 20, 0.125), (5, 4, 50.0)]
    for number, (h, w, sigma) in enumerate(cases):
        maps = (100.0 * np.maximum(noise(2000 + number, h * w), 0.0)).astype(np.float32).reshape(h, w)
        table.append([h, w, sigma])
        values.append(kept(scipy.ndimage.gaussian_filter(maps, sigma=sigma)))
    save("smooth_cases", np.array(table, dtype=np.float32))
    save("smooth_values", np.concatenate(values))


def make_reweight():
    table, scores = [], []
    cases = [(3, 20, 50, 16, 9, 1.0), (2, 49, 200, 64, 3, 0.0625), (4, 10, 9, 8, 9, 1.0), (2, 30, 64, 24, 2, 1024.0),
             (2, 30, 64, 24, 9, 2.0**20), (1, 1, 2, 1, 2, 1.0)]
    for number, (n, patches, bank_rows, d, b, scale) in enumerate(cases):
        bank = noise(3000 + 2 * number, bank_rows * d).reshape(bank_rows, d).astype(np.float32) * np.float32(scale)
        features = noise(3001 + 2 * number, n * patches * d).reshape(n, patches, d).astype(np.float32) * np.float32(scale)
        bank64, features64 = bank.astype(np.float64), features.astype(np.float64)
        table.append([n, patches, bank_rows, d, b, scale])
        for image in range(n):
            distances = np.sqrt(((features64[image][:, None] - bank64[None]) ** 2).sum(-1))
            t = distances.min(1).argmax()
            m = distances[t].argmin()
            near = np.argsort(((bank64 - bank64[m]) ** 2).sum(-1), kind="stable")[:b]
            exponents = distances[t][near]
            share = np.exp(distances[t][m] - exponents.max()) / np.exp(exponents - exponents.max()).sum()
            scores.append((1.0 - share) * distances[t][m])
    save("reweight_cases", np.array(table))
    save("reweight_scores", np.array(scores))


def save(name, array):
    np.save(HERE / f"featops_{name}.npy", array)


if __name__ == "__main__":
    torch.set_num_threads(1)
    make_aggregate()
    make_upsample()
    make_smooth()
    make_reweight()

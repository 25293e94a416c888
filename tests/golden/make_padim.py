"""Fixtures of channels, gaussian and the method padim: padim_*.npy.

Inputs are not stored: `noise` of make_featops.py gives the same numbers in C (tests/golden/featops.h). Expected values are
float64 by padim_reference.py; the placement of deeper layers is torch's F.interpolate.

Needs numpy, scipy and torch: python tests/golden/make_padim.py
"""
import numpy as np
import torch
import torch.nn.functional as F

import padim_reference as reference
from make_featops import HERE, kept, noise


def maps_of(stream, n, layers):
    """[n, h, w, c] a layer, rectified as feature maps are; stream + layer."""
    return [np.maximum(noise(stream + i, n * h * w * c), 0).reshape(n, h, w, c) for i, (c, h, w) in enumerate(layers)]


def make_channels():
    table, values = [], []
    three = [(16, 12, 12), (32, 6, 6), (64, 3, 3)]
    cases = [(three, 2, 0), (three, 2, 1), ([(9, 13, 9), (20, 7, 5)], 1, 0), ([(9, 13, 9), (20, 7, 5)], 1, 1), ([(33, 5, 7)], 3, 0),
             ([(8, 4, 6), (16, 9, 11), (5, 1, 1)], 2, 0), ([(8, 4, 6), (16, 9, 11), (5, 1, 1)], 2, 1)]
    for number, (layers, n, bilinear) in enumerate(cases):
        planes = []
        for values_of in maps_of(5000 + 10 * number, n, layers):
            plane = torch.from_numpy(values_of.transpose(0, 3, 1, 2).copy())
            mode = {"mode": "bilinear", "align_corners": False} if bilinear else {"mode": "nearest"}
            planes.append(F.interpolate(plane, size=layers[0][1:], **mode))
        rows = torch.cat(planes, dim=1).permute(0, 2, 3, 1).numpy()
        drawn = [c for c in range(rows.shape[-1]) if (7 * c + 3) % 5 < 2]
        shapes = [x for layer in layers for x in layer] + [0] * (9 - 3 * len(layers))
        table.append([len(layers), n, bilinear, len(drawn), *shapes])
        values.append(kept(rows[..., drawn]).astype(np.float32))
    save("channels_cases", np.array(table, dtype=np.int32))
    save("channels_values", np.concatenate(values))


def vectors(stream, count, positions, d):
    """Small noise on one strong direction per position, far from the origin: [count, positions, d] as float32."""
    small = noise(stream, count * positions * d).reshape(count, positions, d)
    strength = noise(stream + 1, count * positions).reshape(count, positions, 1)
    direction = noise(stream + 2, positions * d).reshape(1, positions, d)
    return (2 + 0.125 * small + strength * direction).astype(np.float32)


def make_gaussian():
    table, values = [], []
    cases = [(3, 1, 5, 2), (2, 2, 16, 3), (5, 9, 40, 7), (2, 10, 40, 3), (2, 11, 40, 3), (4, 17, 100, 40), (2, 32, 30, 5), (2, 33, 30, 5),
             (37, 96, 20, 3), (3, 96, 70, 9), (2, 100, 17, 4), (1, 200, 1, 6), (1, 40, 550, 8), (1, 130, 550, 5), (1, 150, 550, 5)]
    for number, (positions, n, d, queries) in enumerate(cases):
        train, test = vectors(6000 + 10 * number, n, positions, d), vectors(6005 + 10 * number, queries, positions, d)
        epsilon = [0.01, 0.04, 1.0][number % 3]
        for position in range(positions):
            values.append(reference.distances(train[:, position].astype(float), test[:, position].astype(float), epsilon))
        table.append([positions, n, d, queries, epsilon])
    save("gaussian_cases", np.array(table))
    save("gaussian_distances", np.concatenate(values).astype(np.float32))


def make_method():
    layers, table, values = [(6, 8, 6), (10, 4, 3), (15, 2, 2)], [], []
    for number, (n, dimension, seed, bilinear, epsilon) in enumerate([(12, 24, 0, 0, 0.01), (70, 31, 1, 0, 0.01), (40, 9, 7, 1, 0.04), (2, 31, 3, 1, 0.01)]):
        train, test = maps_of(7000, n, layers), maps_of(7005, 37, layers)
        train, test = ([values_of.astype(np.float32) for values_of in maps] for maps in (train, test))
        table.append([n, dimension, seed, bilinear, epsilon])
        values.append(reference.score(train, test, dimension, seed, epsilon, bool(bilinear)).astype(np.float32))
    save("method_cases", np.array(table))
    save("method_distances", np.stack(values))


def save(name, array):
    np.save(HERE / f"padim_{name}.npy", array)


if __name__ == "__main__":
    torch.set_num_threads(1)
    make_channels()
    make_gaussian()
    make_method()

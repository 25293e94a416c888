"""PaDiM in NumPy, float64, written from the paper (Defard et al., "PaDiM: a Patch Distribution Modeling Framework for Anomaly
Detection and Localization", 2021), and the check of a whole class against it.

    python padim_reference.py MAPS SCORES.csv --dimension 550 --seed 0 [--placement bilinear] [--epsilon 0.01] [--sigma 4]

MAPS is a folder that tests/cli/dump_maps wrote: train_0.npy, train_1.npy, ... and test_0.npy, ..., one file a layer, [images, h, w, c].
SCORES.csv is what `totalrecall run --scores` wrote for the class, images in the same order. Prints the largest relative difference of
an image score, and fails above 1e-4. Needs numpy and scipy; positions are worked through in bands, so a class of MVTec takes about
3 GB and some minutes.
"""
import argparse
import csv
import pathlib
import sys

import numpy as np
import scipy.linalg
import scipy.ndimage

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from philox import CHANNELS, sample  # noqa: E402


def draw(seed, total, dimension):
    """The channels of a seed, ascending (tr_rng_sample on the stream of tr_rng_make(seed, CHANNELS, 0))."""
    return np.sort(sample(seed, CHANNELS, 0, total, dimension))


def placed(layer, side, to, bilinear):
    """Along one axis, for each of `to` cells: two cells of the layer and the weight of the second."""
    if not bilinear:
        low = np.arange(to) * side // to
        return low, low, np.zeros(to)
    position = np.maximum((np.arange(to) + 0.5) * side / to - 0.5, 0)
    low = np.minimum(position.astype(int), side - 1)
    return low, np.minimum(low + 1, side - 1), position - low


def embed(maps, channels, rows, bilinear):
    """Vectors of the drawn channels at some rows of the first layer's grid: [images, len(rows), w, dimension] in float64."""
    grid_h, grid_w = maps[0].shape[1:3]
    parts, first = [], 0
    for values in maps:
        h, w, c = values.shape[1:]
        own = channels[(channels >= first) & (channels < first + c)] - first
        first += c
        y0, y1, wy = (part[rows] for part in placed(values, h, grid_h, bilinear))
        x0, x1, wx = placed(values, w, grid_w, bilinear)
        need = np.unique(np.concatenate([y0, y1]))
        picked = np.asarray(values[:, need])[..., own].astype(np.float64)
        y0, y1 = np.searchsorted(need, y0), np.searchsorted(need, y1)
        wy, wx = wy[None, :, None, None], wx[None, None, :, None]
        down = picked[:, y0] * (1 - wy) + picked[:, y1] * wy
        parts.append(down[:, :, x0] * (1 - wx) + down[:, :, x1] * wx)
    return np.concatenate(parts, axis=-1)


def distances(train, test, epsilon):
    """Mahalanobis distances at one position; train: [N, d], test: [M, d]."""
    mean = train.mean(axis=0)
    centred = train - mean
    covariance = centred.T @ centred / max(len(train) - 1, 1) + epsilon * np.eye(train.shape[1])
    factor = scipy.linalg.cholesky(covariance, lower=True)
    return np.sqrt((scipy.linalg.solve_triangular(factor, (test - mean).T, lower=True) ** 2).sum(axis=0))


def score(train_maps, test_maps, dimension, seed, epsilon=0.01, bilinear=False, band=1):
    """Distances of the test images on the first layer's grid: [images, h, w]."""
    grid_h, grid_w = train_maps[0].shape[1:3]
    channels = draw(seed, sum(values.shape[3] for values in train_maps), dimension)
    out = np.empty((len(test_maps[0]), grid_h, grid_w))
    for y in range(0, grid_h, band):
        rows = np.arange(y, min(y + band, grid_h))
        train, test = embed(train_maps, channels, rows, bilinear), embed(test_maps, channels, rows, bilinear)
        for i, row in enumerate(rows):
            for x in range(grid_w):
                out[:, row, x] = distances(train[:, i, x], test[:, i, x], epsilon)
    return out


def resized(maps, side):
    """Bilinear, align_corners=False."""
    h, w = maps.shape[1:]
    y0, y1, wy = placed(None, h, side, True)
    x0, x1, wx = placed(None, w, side, True)
    down = maps[:, y0] * (1 - wy)[:, None] + maps[:, y1] * wy[:, None]
    return down[:, :, x0] * (1 - wx) + down[:, :, x1] * wx


def image_scores(maps, side, sigma):
    """Maximum of the smoothed map (section III-D: the image's score is the maximum of its anomaly map)."""
    return np.array([scipy.ndimage.gaussian_filter(one, sigma).max() for one in resized(maps, side)])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("maps", type=pathlib.Path)
    parser.add_argument("scores", type=pathlib.Path)
    parser.add_argument("--dimension", type=int, default=550)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--placement", choices=["nearest", "bilinear"], default="nearest")
    parser.add_argument("--epsilon", type=float, default=0.01)
    parser.add_argument("--sigma", type=float, default=4)
    parser.add_argument("--side", type=int, default=224, help="of the anomaly map, in pixels")
    options = parser.parse_args()

    def layers(part):
        names = [options.maps / f"{part}_{i}.npy" for i in range(4)]
        return [np.load(name, mmap_mode="r") for name in names if name.exists()]

    maps = score(layers("train"), layers("test"), options.dimension, options.seed, options.epsilon, options.placement == "bilinear")
    wanted = image_scores(maps, options.side, options.sigma)
    with open(options.scores, newline="") as file:
        got = np.array([float(row["score"]) for row in csv.DictReader(file)])
    if len(got) != len(wanted):
        sys.exit(f"{options.scores} has {len(got)} images, {options.maps} {len(wanted)}")
    difference = np.abs(got / wanted - 1)
    print(f"{len(got)} images: largest relative difference of an image score {difference.max():.2e}, mean {difference.mean():.2e}")
    sys.exit(0 if difference.max() <= 1e-4 else "more than 1e-4")


if __name__ == "__main__":
    main()

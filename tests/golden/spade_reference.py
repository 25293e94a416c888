"""SPADE in NumPy, float64, written from the paper (Cohen and Hoshen, "Sub-Image Anomaly Detection with Deep Pyramid Correspondences",
2020), and the check of a whole class against it.

    python spade_reference.py MAPS SCORES.csv --neighbours 50 [--image-score smoothed_max --images 8] [--gallery concatenated]

MAPS is a folder that tests/cli/dump_maps wrote with LAYERS layer1+layer2+layer3+pool: train_0.npy, ... and test_0.npy, ..., one file a
layer, [images, h, w, c], the pooled features last. SCORES.csv is what `totalrecall run --scores` wrote for the class, images in the
same order. With `image_score: smoothed_max` in the experiment the scores are the maxima of the anomaly maps, which checks the maps too.
Prints the largest relative difference of an image score, and fails above 1e-4. Needs numpy and scipy. Maps cost some seconds an
image for K = 50; --images says of how many to make them.
"""
import argparse
import csv
import pathlib
import sys

import numpy as np
import scipy.ndimage

from padim_reference import placed


def distances(queries, rows):
    """Euclidean, [queries, rows]."""
    squared = (queries**2).sum(1)[:, None] + (rows**2).sum(1)[None] - 2 * queries @ rows.T
    return np.sqrt(np.maximum(squared, 0))


def nearest_images(train, test, neighbours):
    """The K training images nearest to each test image in pooled features, nearest first, and their distances: [images, K]."""
    found = np.sqrt(((test[:, None] - train[None]) ** 2).sum(2))
    order = np.argsort(found, axis=1, kind="stable")[:, :neighbours]
    return order, np.take_along_axis(found, order, 1)


def resized(maps, h, w):
    """[images, any h, any w, c], bilinear, align_corners=False."""
    y0, y1, wy = placed(None, maps.shape[1], h, True)
    x0, x1, wx = placed(None, maps.shape[2], w, True)
    down = maps[:, y0] * (1 - wy)[:, None, None] + maps[:, y1] * wy[:, None, None]
    return down[:, :, x0] * (1 - wx)[:, None] + down[:, :, x1] * wx[:, None]


def concatenated(maps):
    """All layers' features on the first one's grid: [images, h, w, channels]."""
    return np.concatenate([resized(values, *maps[0].shape[1:3]) for values in maps], axis=-1)


def gallery_map(train, test):
    """Of one test image [h, w, c], each position's distance to the nearest of all positions of some training images: [h, w]."""
    h, w, c = test.shape
    queries, best = test.reshape(-1, c).astype(np.float64), np.full(h * w, np.inf)
    for image in train:
        best = np.minimum(best, distances(queries, image.reshape(-1, c).astype(np.float64)).min(1))
    return best.reshape(h, w)


def anomaly_map(train_maps, test_maps, near, image, size, one_gallery):
    """Of test image `image`, before smoothing: [size]."""
    train, test = [values[np.sort(near)] for values in train_maps], [values[image : image + 1] for values in test_maps]
    if one_gallery:
        train, test = [concatenated(train)], [concatenated(test)]
    planes = [gallery_map(a, b[0]) for a, b in zip(train, test)]
    return np.mean([resized(plane[None, :, :, None], *size)[0, :, :, 0] for plane in planes], axis=0)


def score(train_maps, test_maps, neighbours, size, one_gallery=False):
    """Maps of all test images before smoothing, [images, *size], and image scores."""
    train_pool, test_pool = (maps[-1].reshape(len(maps[-1]), -1).astype(np.float64) for maps in (train_maps, test_maps))
    near, found = nearest_images(train_pool, test_pool, neighbours)
    maps = [anomaly_map(train_maps[:-1], test_maps[:-1], near[i], i, size, one_gallery) for i in range(len(test_pool))]
    return np.stack(maps), found.mean(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("maps", type=pathlib.Path)
    parser.add_argument("scores", type=pathlib.Path)
    parser.add_argument("--neighbours", type=int, default=50)
    parser.add_argument("--gallery", choices=["separate", "concatenated"], default="separate")
    parser.add_argument("--image-score", choices=["nearest_images", "smoothed_max"], default="nearest_images")
    parser.add_argument("--images", type=int, help="of the class, spread evenly; all by default")
    parser.add_argument("--sigma", type=float, default=4)
    parser.add_argument("--side", type=int, default=224, help="of the anomaly map, in pixels")
    options = parser.parse_args()

    def layers(part):
        names = [options.maps / f"{part}_{i}.npy" for i in range(4)]
        return [np.load(name, mmap_mode="r") for name in names if name.exists()]

    train, test = layers("train"), layers("test")
    with open(options.scores, newline="") as file:
        got = np.array([float(row["score"]) for row in csv.DictReader(file)])
    if len(got) != len(test[-1]):
        sys.exit(f"{options.scores} has {len(got)} images, {options.maps} {len(test[-1])}")
    chosen = np.arange(len(got))[:: max(1, len(got) // (options.images or len(got)))][: options.images]
    near, found = nearest_images(*(maps[-1].reshape(len(maps[-1]), -1).astype(np.float64) for maps in (train, test)), options.neighbours)
    wanted = found.mean(1)[chosen]
    if options.image_score == "smoothed_max":
        size, one = (options.side, options.side), options.gallery == "concatenated"
        maps = (anomaly_map(train[:-1], test[:-1], near[i], i, size, one) for i in chosen)
        wanted = np.array([scipy.ndimage.gaussian_filter(values, options.sigma).max() for values in maps])
    difference = np.abs(got[chosen] / wanted - 1)
    print(f"{len(chosen)} images: largest relative difference of an image score {difference.max():.2e}, mean {difference.mean():.2e}")
    sys.exit(0 if difference.max() <= 1e-4 else "more than 1e-4")


if __name__ == "__main__":
    main()

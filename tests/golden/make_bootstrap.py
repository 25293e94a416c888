#!/usr/bin/env python3
"""Fixtures of tests/unit/test_bootstrap.c: intervals of AUROC differences by NumPy and SciPy.

The draws are those of host/metrics/bootstrap.h (Philox), each AUROC comes from scipy.stats.rankdata over the drawn images, the interval
from numpy.quantile. Beside it, scipy.stats.bootstrap with its own draws of good and anomalous images.
"""
import pathlib

import numpy as np
from scipy import stats

import philox

BOOTSTRAP, DRAWS = 8, 500
HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(7)


def make_class(good, bad, seeds, shift_a, shift_b, digits):
    """labels [n]; scores [seeds, 2, n]: the two runs share what makes an image hard. Few digits: ties."""
    labels = rng.permutation(np.repeat([0, 1], [good, bad])).astype(np.uint8)
    hard = rng.normal(size=good + bad)
    scores = np.stack([[hard + rng.normal(scale=0.7, size=good + bad) + labels * shift for shift in (shift_a, shift_b)]
                       for _ in range(seeds)])
    return labels, np.round(scores, digits).astype(np.float32)


def auroc(good, bad):
    ranks = stats.rankdata(np.concatenate([good, bad]))
    return (ranks[len(good):].sum() - len(bad) * (len(bad) + 1) / 2) / (len(good) * len(bad))


class Words:
    """tr_rng_below on the words of one stream."""

    def __init__(self, index, count):
        self.words = iter(philox.u32(3, BOOTSTRAP, index, count).tolist())

    def below(self, n):
        while True:
            value = (next(self.words) << 32) | next(self.words)
            if value >= 2**64 % n:
                return value % n


def means(classes, draws):
    """[2]: AUROC of a and b, over the images drawn per class: (good, bad)."""
    per_class = [[[auroc(run[good], run[bad]) for run in seed] for seed in scores] for (_, scores), (good, bad) in zip(classes, draws)]
    return np.mean([np.mean(c, axis=0) for c in per_class], axis=0)


def interval(classes):
    images = [(np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)) for labels, _ in classes]
    a, b = means(classes, images)
    differences = []
    for draw in range(DRAWS):
        words = Words(draw, 4 * sum(len(labels) for labels, _ in classes) + 64)
        drawn = [tuple(np.array([kind[words.below(len(kind))] for _ in kind]) for kind in kinds) for kinds in images]
        x, y = means(classes, drawn)
        differences.append(x - y)
    return [a, b, *np.quantile(differences, [0.025, 0.975])]


def by_scipy(classes):
    if len(classes) > 1 or classes[0][1].shape[0] > 1:
        return [np.nan, np.nan]
    labels, scores = classes[0]
    good, bad = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    a, b = scores[0]

    def difference(g, p):
        return auroc(a[g], a[p]) - auroc(b[g], b[p])

    result = stats.bootstrap((good, bad), difference, vectorized=False, n_resamples=4000, method="percentile", random_state=1)
    return list(result.confidence_interval)


def main():
    cases = [
        [make_class(20, 63, 1, 1.5, 1.0, 6)],
        [make_class(12, 30, 1, 2.0, 2.0, 1)],  # many ties
        [make_class(20, 40, 3, 1.8, 0.9, 5), make_class(33, 84, 2, 0.5, 0.7, 1), make_class(5, 8, 1, 3.0, 1.0, 4)],
        [make_class(20, 63, 1, 40.0, 40.0, 4)],  # both 1: no spread
    ]
    shapes = [[i, len(labels), len(scores)] for i, case in enumerate(cases) for labels, scores in case]
    flat = [c for case in cases for c in case]
    np.save(HERE / "bootstrap_classes.npy", np.array(shapes, np.int64))
    np.save(HERE / "bootstrap_labels.npy", np.concatenate([labels for labels, _ in flat]))
    np.save(HERE / "bootstrap_scores.npy", np.concatenate([scores.ravel() for _, scores in flat]))
    np.save(HERE / "bootstrap_expected.npy", np.array([interval(case) + by_scipy(case) for case in cases]))


if __name__ == "__main__":
    main()

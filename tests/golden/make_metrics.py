"""Fixtures of tests/unit/test_metrics.c: what scikit-learn, SciPy and the definitions, written out in NumPy, give.

Run in tests/golden; needs numpy, scipy, scikit-learn. AU-PRO is Bergmann et al. 2020 with MVTec's rules and every distinct score as
a threshold: no sorting trick, no running sum, each corner of the curve counted from the arrays.
"""
import numpy as np
from scipy import ndimage
from sklearn.metrics import precision_recall_curve, roc_auc_score

EIGHT = np.ones((3, 3), int)
LIMIT = 0.3


def label(mask):
    """8-connected regions, numbered in raster order of their first pixel."""
    raw, count = ndimage.label(mask, structure=EIGHT)
    order = sorted(range(1, count + 1), key=lambda r: np.flatnonzero(raw == r)[0])
    out = np.zeros(mask.shape, np.uint32)
    for number, region in enumerate(order, 1):
        out[raw == region] = number
    return out, count


def best_f1(scores, labels):
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    f1 = f1[:-1]
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)[-1]  # thresholds ascend: the highest of the best
    positive = scores >= thresholds[best]
    return f1[best], thresholds[best], np.sum(positive & (labels == 0)), np.sum(~positive & (labels == 1))


def au_pro(maps, regions, outside):
    """maps: flat scores; regions: list of index arrays; outside: index array."""
    if not regions or not len(outside):
        return np.nan
    fpr, pro = [], []
    for threshold in np.unique(maps)[::-1]:
        fpr.append(np.mean(maps[outside] > threshold))
        pro.append(np.mean([np.mean(maps[r] > threshold) for r in regions]))
    fpr, pro = np.array(fpr + [1.0]), np.array(pro + [1.0])
    inside = fpr <= LIMIT
    at_limit = np.interp(LIMIT, fpr[np.searchsorted(fpr, LIMIT, "right") - 1:], pro[np.searchsorted(fpr, LIMIT, "right") - 1:])
    x, y = np.append(fpr[inside], LIMIT), np.append(pro[inside], at_limit)
    return np.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2) / LIMIT


def regions_of(mask, offset):
    labels, count = label(mask > 0.5)
    return [np.flatnonzero(labels.ravel() == r) + offset for r in range(1, count + 1)]


def pixel_metrics(maps, masks):
    flat, positive, size = maps.ravel(), masks.ravel() == 1, masks[0].size
    anomalous = np.repeat(masks.sum((1, 2)) > 0, size)
    regions, per_image = [], []
    for i, mask in enumerate(masks):
        own = regions_of(mask, 0)
        regions += [r + i * size for r in own]
        if own:
            per_image.append(au_pro(maps[i].ravel(), own, np.flatnonzero(mask.ravel() <= 0.5)))
    per_image = [v for v in per_image if not np.isnan(v)]
    return [
        roc_auc_score(positive, flat),
        roc_auc_score(positive[anomalous], flat[anomalous]),
        au_pro(flat, regions, np.flatnonzero(masks.ravel() <= 0.5)),
        np.mean(per_image),
        len(regions), sum(len(r) for r in regions), flat.size,
    ]


def image_cases(rng):
    n = 90
    labels = (rng.random((6, n)) < np.array([0.5, 0.5, 0.1, 0.9, 0.6, 0.5])[:, None]).astype(np.uint8)
    scores = (rng.standard_normal((6, n)) + 1.2 * labels).astype(np.float32)
    scores[1] = np.round(scores[1] * 2)           # ties, negative scores
    scores[3] = np.round(scores[3])
    scores[4] = scores[4] * 0 + 7                 # all equal
    scores[5] = scores[5] * np.float32(1e-42)     # denormal numbers
    expected = [[roc_auc_score(l, s), *best_f1(s, l)] for s, l in zip(scores, labels)]
    np.save("metrics_image_scores.npy", scores)
    np.save("metrics_image_labels.npy", labels)
    np.save("metrics_image_expected.npy", np.array(expected, np.float64))


def blobs(rng, shape, level):
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5)
    return field > np.quantile(field, level)


def soft(mask):
    """As a mask looks after a bilinear reduction: 0, 1, and fractions at the rim."""
    return np.round(ndimage.uniform_filter(mask.astype(np.float64), 3) * 255).astype(np.float32) / np.float32(255)


def pixel_case(rng, name, n, h, w, digits):
    masks = np.stack([soft(blobs(rng, (h, w), 0.9)) if i % 3 else np.zeros((h, w), np.float32) for i in range(n)])
    masks[1] = 0
    masks[1, h // 2, w // 2] = 0.25  # anomalous, but no region and no positive
    maps = ndimage.gaussian_filter(rng.standard_normal((n, h, w)) * 2 + 2 * (masks > 0), (0, 1, 1))
    maps = (np.round(maps, digits) if digits is not None else maps).astype(np.float32)
    np.save(f"metrics_{name}_maps.npy", maps)
    np.save(f"metrics_{name}_masks.npy", np.round(masks * 255).astype(np.uint8))
    np.save(f"metrics_{name}_expected.npy", np.array(pixel_metrics(maps, masks), np.float64))


def label_cases(rng):
    masks = np.stack([rng.random((23, 31)) < p for p in (0.03, 0.2, 0.35, 0.5, 0.7)]
                     + [blobs(rng, (23, 31), 0.6), np.zeros((23, 31), bool), np.ones((23, 31), bool)])
    y, x = np.indices((23, 31))
    comb = (x % 2 == 0) | (y == 22)                     # joined at the very end
    spiral = np.maximum(abs(x - 15), abs(y - 11)) % 2 == 0
    zigzag = (x + y) % 8 == 0                           # diagonals only
    masks = np.concatenate([masks, [comb, spiral, zigzag, (x % 2 == 0) & (y % 2 == 0)]])
    np.save("metrics_label_masks.npy", masks.astype(np.uint8))
    np.save("metrics_label_expected.npy", np.stack([label(m)[0] for m in masks]).astype(np.uint8))


def main():
    rng = np.random.default_rng(20)
    image_cases(rng)
    pixel_case(rng, "continuous", 7, 24, 20, None)
    pixel_case(rng, "ties", 8, 19, 23, 1)
    pixel_case(rng, "coarse", 5, 33, 17, 0)
    label_cases(rng)


if __name__ == "__main__":
    main()

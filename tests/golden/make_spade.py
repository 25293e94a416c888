"""Fixtures of the method spade: spade_*.npy, float64 by spade_reference.py.

Inputs are not stored: `noise` of make_featops.py gives the same numbers in C (tests/golden/featops.h).

Needs numpy and scipy, and torch for what it imports: python tests/golden/make_spade.py
"""
import numpy as np

import spade_reference as reference
from make_featops import HERE, kept
from make_padim import maps_of

LAYERS = [(6, 9, 7), (10, 4, 3), (15, 2, 2), (20, 1, 1)]  # c, h, w
SIZE = (18, 14)


def main():
    table, maps, scores = [], [], []
    for images, neighbours, one_gallery in [(14, 1, 0), (14, 5, 0), (14, 14, 0), (14, 5, 1), (3, 3, 0)]:
        train, test = ([values.astype(np.float32) for values in maps_of(stream, n, LAYERS)] for stream, n in ((8000, images), (8005, 6)))
        found, image_scores = reference.score(train, test, neighbours, SIZE, bool(one_gallery))
        table.append([images, neighbours, one_gallery])
        maps.append(kept(found).astype(np.float32))
        scores.append(image_scores.astype(np.float32))
    np.save(HERE / "spade_cases.npy", np.array(table, dtype=np.int32))
    np.save(HERE / "spade_maps.npy", np.stack(maps))
    np.save(HERE / "spade_scores.npy", np.stack(scores))


if __name__ == "__main__":
    main()

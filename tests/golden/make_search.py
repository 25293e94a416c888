"""Fixtures of the search operators: greedy selection, nearest rows and projection, by brute force in float64.

    python tests/golden/make_search.py        (NumPy alone; seeded, writes search_*.npy beside this file)

An operator's cases lie one behind the other: search_<op>_cases.npy has a line of sizes for each, search_<op>_floats.npy and
search_<op>_ints.npy its arrays in the order in which the test reads them.
"""
import os

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def save(operator, cases):
    """cases: (sizes, float arrays, integer arrays)"""
    joined = {
        "cases": np.array([sizes for sizes, _, _ in cases], np.int32),
        "floats": np.concatenate([a.ravel() for _, floats, _ in cases for a in floats]).astype(np.float32),
    }
    integers = [a.ravel() for _, _, ints in cases for a in ints]
    if integers:
        joined["ints"] = np.concatenate(integers).astype(np.uint32)
    for part, array in joined.items():
        np.save(os.path.join(HERE, f"search_{operator}_{part}.npy"), array)


def greedy(rows, start, picks):
    """kernels/coreset.h, word by word."""
    rows = rows.astype(np.float64)
    reach = np.mean([np.sqrt(((rows - rows[s]) ** 2).sum(1)) for s in start], axis=0)
    order, radius = [], []
    left = np.ones(len(rows), bool)
    for _ in range(picks):
        pick = int(np.argmax(np.where(left, reach, -1.0)))  # argmax returns the lowest index at a tie
        order.append(pick)
        radius.append(reach[pick])
        left[pick] = False
        reach = np.minimum(reach, np.sqrt(((rows - rows[pick]) ** 2).sum(1)))
    return np.array(order, np.uint32), np.array(radius, np.float32)


def nearest(queries, bank, k):
    q, b = queries.astype(np.float64), bank.astype(np.float64)
    distances = ((q[:, None, :] - b[None, :, :]) ** 2).sum(2)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]  # stable: ties go to the lower row
    return np.take_along_axis(distances, order, 1).astype(np.float32), order.astype(np.uint32)


def clustered(rng, n, d, clusters, spread):
    centres = rng.normal(size=(clusters, d)) * 3
    return (centres[rng.integers(clusters, size=n)] + spread * rng.normal(size=(n, d))).astype(np.float32)


def coreset_fixtures():
    rng = np.random.default_rng(20220618)
    grid = np.stack(np.meshgrid(np.arange(9), np.arange(7)), -1).reshape(-1, 2).astype(np.float32)
    duplicates = np.repeat(rng.integers(-3, 4, size=(20, 5)), 3, axis=0)[rng.permutation(60)].astype(np.float32)
    inputs = [
        (rng.normal(size=(300, 33)), 10, 60),
        (clustered(rng, 400, 16, 12, 0.05), 10, 100),
        (grid, 4, 63),  # ties everywhere, and every row is picked
        (duplicates, 10, 60),  # the last 40 picks or more lie on earlier ones
        (np.full((12, 4), 1.5), 3, 12),
        (np.arange(50)[:, None] ** 2, 1, 50),
        (np.ones((1, 3)), 1, 1),
        (rng.normal(size=(200, 24)) + 1000, 5, 200),  # products cancel
    ]
    cases = []
    for rows, starts, picks in inputs:
        rows = rows.astype(np.float32)
        start = rng.choice(len(rows), starts, replace=False)
        order, radius = greedy(rows, start, picks)
        cases.append(((*rows.shape, starts, picks), (rows, radius), (start, order)))
    save("coreset", cases)


def nearest_fixtures():
    rng = np.random.default_rng(20220619)
    bank = rng.normal(size=(70, 21)) + 500
    inputs = [
        (rng.normal(size=(40, 37)), rng.normal(size=(200, 37)), 9),
        (rng.normal(size=(1, 8)), rng.normal(size=(1, 8)), 1),
        (rng.normal(size=(1, 64)), rng.normal(size=(150, 64)), 3),
        (rng.normal(size=(5, 19)), rng.normal(size=(100, 19)), 64),
        (rng.normal(size=(7, 3)), rng.normal(size=(20, 3)), 20),
        (rng.integers(0, 3, size=(30, 4)), rng.integers(0, 3, size=(120, 4)), 9),  # ties
        (bank, bank, 1),  # each row finds itself, at exactly 0
    ]
    cases = []
    for queries, bank, k in inputs:
        queries, bank = queries.astype(np.float32), bank.astype(np.float32)
        distances, indices = nearest(queries, bank, k)
        cases.append(((len(queries), len(bank), bank.shape[1], k), (queries, bank, distances), (indices,)))
    save("nearest", cases)


def project_fixtures():
    rng = np.random.default_rng(20220620)
    cases = []
    for n, d, d_star in ((19, 50, 37), (1, 1, 1), (140, 64, 32)):
        src, matrix = rng.normal(size=(n, d)).astype(np.float32), rng.uniform(-0.1, 0.1, size=(d_star, d)).astype(np.float32)
        cases.append(((n, d, d_star), (src, matrix, src.astype(np.float64) @ matrix.astype(np.float64).T), ()))
    save("project", cases)


coreset_fixtures()
nearest_fixtures()
project_fixtures()

#!/usr/bin/env python3
"""Fixtures of tests/kernels/test_proxies.c: steps of basis proxies (kernels/proxies.h) by PyTorch's autograd in float64.

proxies_cases.npy   [cases, 5] int32: n, d, count, batch, steps; the rates are RATES here and in the test
proxies_rows.npy    uint32: of each case the batches [steps, batch]
proxies_floats.npy  float32: of each case rows [n, d], proxies as they begin and as they end [count, d], losses [steps]

Usage: tests/golden/make_proxies.py
"""
import pathlib

import numpy as np
import torch

# Proxies that begin as rows; more proxies than a tile of the cpu twin, and than rows; one proxy; more than 16 rows a batch, not a
# multiple of it.
CASES = [(60, 24, 20, 16, 6), (40, 7, 300, 21, 3), (30, 5, 1, 30, 4), (90, 130, 40, 37, 5)]
RATES = [0.5, 1.0, 1.5, 0.5]
NEAR = 1e-6


def rebuild(rows, proxies):
    squared = (rows**2).sum(1)[:, None] + (proxies**2).sum(1)[None] - 2 * rows @ proxies.T
    near = squared <= NEAR * ((rows**2).sum(1)[:, None] + (proxies**2).sum(1)[None])
    distances = torch.where(near, torch.zeros_like(squared), torch.where(near, torch.ones_like(squared), squared).sqrt())
    weights = torch.softmax(-distances, 1)
    return weights @ proxies, weights


def run(rows, proxies, batches, rate):
    losses = []
    for step, batch in enumerate(batches):
        proxies = proxies.detach().requires_grad_(True)
        rebuilt, weights = rebuild(rows[batch], proxies)
        squares = ((rebuilt - rows[batch]) ** 2).sum(1)
        squares.sum().backward()
        losses.append(squares.mean().item())
        mass = weights.detach().sum(0).clamp_min(1)[:, None]
        proxies = proxies.detach() - rate * (1 - step / len(batches)) * proxies.grad / (2 * mass)
    return proxies, losses


def main():
    folder = pathlib.Path(__file__).parent
    random = np.random.default_rng(8)
    indices, floats = [], []
    for (n, d, count, batch, steps), rate in zip(CASES, RATES):
        rows = random.normal(size=(n, d)).astype(np.float32) * 0.7 + 1
        proxies = rows[random.choice(n, count, replace=False)] if count <= n else random.normal(size=(count, d)).astype(np.float32)
        batches = random.integers(0, n, size=(steps, batch))
        ended, losses = run(torch.tensor(rows, dtype=torch.float64), torch.tensor(proxies, dtype=torch.float64), batches, rate)
        indices.append(batches.ravel().astype(np.uint32))
        floats += [rows.ravel(), proxies.ravel(), ended.numpy().ravel(), np.array(losses)]
    np.save(folder / "proxies_cases.npy", np.array(CASES, dtype=np.int32))
    np.save(folder / "proxies_rows.npy", np.concatenate(indices))
    np.save(folder / "proxies_floats.npy", np.concatenate(floats).astype(np.float32))


if __name__ == "__main__":
    main()

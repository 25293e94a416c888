#!/usr/bin/env python3
"""Index files made by python faiss, and what it finds in them; test_faiss.c and test_faiss_file.c read them. Needs numpy and
faiss-cpu (made with 1.15.1)."""
import os

import faiss
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROWS, QUERIES, D = 320, 24, 16


def noise(stream, count):
    """tests/golden/featops.h: featops_noise."""
    h = (np.arange(count, dtype=np.uint64) * 2654435769 + stream * 2246822519) & 0xFFFFFFFF
    h ^= h >> 16
    h = (h * 0x85EBCA6B) & 0xFFFFFFFF
    h ^= h >> 13
    h = (h * 0xC2B2AE35) & 0xFFFFFFFF
    h ^= h >> 16
    return ((h >> 8).astype(np.float32) * np.float32(2.0**-22) - np.float32(1)).astype(np.float32)


def path(name):
    return os.path.join(HERE, "faiss_" + name)


def main():
    faiss.omp_set_num_threads(1)
    rows = noise(1, ROWS * D).reshape(ROWS, D)
    queries = noise(2, QUERIES * D).reshape(QUERIES, D)
    for name, factory in (("ivfpq", "IVF8,PQ4x4np"), ("ivfpq8", "IVF8,PQ2np"), ("ivfflat", "IVF8,Flat"), ("hnsw", "HNSW8"), ("flat", "Flat")):
        index = faiss.index_factory(D, factory)
        index.train(rows)
        index.add(rows)
        if name.startswith("ivf"):
            index.nprobe = 2
        faiss.write_index(index, path(name + ".index"))
        distances, labels = index.search(queries, 3)
        np.save(path(name + "_distances.npy"), distances)
        np.save(path(name + "_labels.npy"), labels)
    faiss.write_index(faiss.index_factory(D, "IVF8,Flat"), path("untrained.index"))
    product = faiss.index_factory(D, "Flat", faiss.METRIC_INNER_PRODUCT)
    product.add(rows[:4])
    faiss.write_index(product, path("product.index"))


main()

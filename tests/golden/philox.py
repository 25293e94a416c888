"""host/base/rng.h in NumPy, so that fixtures and C tests draw the same numbers without shipping them."""
import numpy as np

WEIGHTS, CHANNELS, TEST = 5, 6, 100  # tr_rng_purpose


def u32(seed, purpose, index, count):
    """The first `count` words of the stream of tr_rng_make(seed, purpose, index)."""
    blocks = (count + 3) // 4
    c = [np.arange(blocks, dtype=np.uint64)] + [np.full(blocks, v, np.uint64) for v in (purpose, index & 0xFFFFFFFF, index >> 32)]
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & low, (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c, 1).reshape(-1)[:count].astype(np.uint32)


def between(seed, purpose, index, shape, low, high):
    """tr_rng_between, element by element, in float32 as C computes it."""
    unit = (u32(seed, purpose, index, int(np.prod(shape))) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    return (np.float32(low) + (np.float32(high) - np.float32(low)) * unit).reshape(shape)


def sample(seed, purpose, index, n, k):
    """tr_rng_sample without its final shuffle: k distinct numbers of [0, n), n < 2^32, by Floyd's method."""
    words = iter(u32(seed, purpose, index, 4 * k + 64).tolist())
    drawn = set()
    for top in range(n - k, n):
        while True:
            value = (next(words) << 32) | next(words)
            if value >= 2**64 % (top + 1):
                break
        value %= top + 1
        drawn.add(top if value in drawn else value)
    return np.array(sorted(drawn))


def fnv1a(text):
    """64-bit FNV-1a."""
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h

"""Fixtures of tests/kernels/test_resize.c and tests/unit/test_image.c: what Pillow and torchvision give.

Written with Pillow 13.0, torchvision 0.29 and NumPy. Run it in this folder: python make_images.py
"""
import io
import os
import struct
import zlib

import numpy as np
import torchvision.transforms as T
from PIL import Image


# ---- resize ----

def noise(seed, count):
    """The bytes that noise() in test_resize.c draws: an LCG's high bytes."""
    state, out = seed, bytearray(count)
    for i in range(count):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = state >> 24
    return np.frombuffer(bytes(out), np.uint8)


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def transform(image, resize, crop, squash):
    """torchvision's Resize and CenterCrop, with the passes in the order that Pillow had up to version 12."""
    if resize:
        resized = T.Resize((resize, resize) if squash else resize)(image)
        across = image.resize((resized.width, image.height), Image.BILINEAR)
        ordered = across.resize(resized.size, Image.BILINEAR)
        down, narrower = image.height - resized.height, image.width - resized.width
        if not (down > 0 and down > 2 * narrower):  # else Pillow 13 begins with the vertical pass
            assert (np.asarray(ordered) == np.asarray(resized)).all()
        image = ordered
    return T.CenterCrop(crop)(image) if crop else image


def resize_cases():
    # height, width, channels, resize, crop, squash
    small = [
        (37, 53, 3, 16, 12, 0), (53, 37, 3, 16, 13, 0), (53, 37, 1, 29, 0, 0), (13, 17, 3, 31, 30, 0), (13, 17, 1, 31, 27, 0),
        (20, 45, 3, 20, 0, 1), (45, 20, 3, 20, 15, 1), (45, 20, 1, 20, 0, 1), (21, 30, 3, 0, 10, 0), (23, 18, 3, 0, 16, 0),
        (32, 48, 3, 32, 24, 0), (19, 11, 3, 0, 0, 0), (1, 1, 3, 7, 4, 0), (2, 300, 3, 5, 3, 0), (300, 2, 1, 5, 0, 0),
        (64, 64, 3, 63, 61, 0), (64, 64, 3, 65, 17, 0), (17, 33, 3, 25, 24, 1),
    ]
    large = [
        (900, 900, 3, 256, 224, 0), (350, 500, 3, 256, 224, 0), (500, 350, 1, 256, 224, 0), (373, 248, 3, 256, 224, 0),
        (700, 840, 3, 366, 320, 0), (1024, 1024, 1, 256, 224, 0), (96, 1500, 3, 96, 95, 0), (480, 856, 3, 256, 0, 1),
    ]
    random = np.random.RandomState(1)
    for _ in range(60):
        h, w = (int(x) for x in random.randint(1, 90, 2))
        resize = int(random.randint(1, 100)) if random.rand() < 0.9 else 0
        squash = int(random.rand() < 0.3)
        short = resize or min(h, w)
        crop = int(random.randint(1, short + 1)) if random.rand() < 0.7 else 0
        large.append((h, w, int(random.choice([1, 3])), resize, crop, squash))
    return small, large


def make_resize():
    small, large = resize_cases()
    rows, pixels = [], []
    for number, (h, w, c, resize, crop, squash) in enumerate(small + large):
        source = noise(number + 1, h * w * c).reshape((h, w, 3) if c == 3 else (h, w))
        out = np.asarray(transform(Image.fromarray(source), resize, crop, squash))
        kept = number < len(small)
        rows.append((h, w, c, resize, crop, squash, out.shape[0], out.shape[1], kept,
                     struct.unpack("<q", struct.pack("<Q", fnv1a(out.tobytes())))[0]))
        if kept:
            pixels.append(out.reshape(-1))
    np.save("images_resize_cases.npy", np.array(rows, np.int64))
    np.save("images_resize_pixels.npy", np.concatenate(pixels))
    # Every byte value in every channel through ToTensor and Normalize.
    ramp = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)
    normalise = T.Compose([T.ToTensor(), T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    np.save("images_normalised.npy", np.ascontiguousarray(normalise(Image.fromarray(ramp)).permute(1, 2, 0).numpy()))
    np.save("images_plain.npy", np.ascontiguousarray(T.ToTensor()(Image.fromarray(ramp)).permute(1, 2, 0).numpy()))


# ---- files ----

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def filter_rows(rows, step):
    """Each row with another of PNG's five filters."""
    out, above = b"", bytes(len(rows[0]))
    for y, row in enumerate(rows):
        kind, line = y % 5, bytearray()
        for x, value in enumerate(row):
            a = row[x - step] if x >= step else 0
            b = above[x]
            c = above[x - step] if x >= step else 0
            p = a + b - c
            paeth = a if abs(p - a) <= abs(p - b) and abs(p - a) <= abs(p - c) else b if abs(p - b) <= abs(p - c) else c
            line.append((value - (0, a, b, (a + b) // 2, paeth)[kind]) & 255)
        out += bytes([kind]) + bytes(line)
        above = row
    return out


def pack(samples, depth):
    """Rows of samples [h, w * per_pixel] as PNG packs them."""
    rows = []
    for row in samples:
        if depth == 16:
            rows.append(row.astype(">u2").tobytes())
        else:
            bits = "".join(format(v, "0%db" % depth) for v in row)
            bits += "0" * (-len(bits) % 8)
            rows.append(int(bits, 2).to_bytes(len(bits) // 8, "big"))
    return rows


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(seed, depth, colour, palette=None, transparent=None, interlaced=False, top=None, h=7, w=13):
    per_pixel = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    top = top or (1 << depth)
    samples = np.random.RandomState(seed).randint(0, top, (h, w, per_pixel))
    if colour == 0 and depth == 16:
        samples[::2] %= 400  # values on both sides of the clip at 255
    step = max(1, per_pixel * depth // 8)
    if interlaced:
        passes = [samples[y0::dy, x0::dx] for x0, y0, dx, dy in ADAM7]
        raw = b"".join(filter_rows(pack(p.reshape(p.shape[0], -1), depth), step) for p in passes if p.size)
    else:
        raw = filter_rows(pack(samples.reshape(h, -1), depth), step)
    packed = zlib.compress(raw)
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, interlaced))
    out += chunk(b"tEXt", b"Comment\0two IDAT chunks")
    if palette is not None:
        out += chunk(b"PLTE", palette)
    if transparent is not None:
        out += chunk(b"tRNS", transparent)
    return out + chunk(b"IDAT", packed[:20]) + chunk(b"IDAT", packed[20:]) + chunk(b"IEND", b"")


def bmp(seed, bits, palette_colours=None, core=False, top_down=False, masks=None, h=7, w=13, header_bytes=40):
    random = np.random.RandomState(seed)
    row_bytes = (w * bits + 31) // 32 * 4
    rows = [random.randint(0, 256, row_bytes, np.uint8).tobytes() for _ in range(h)]
    palette = b""
    if palette_colours:
        entry = 3 if core else 4
        palette = b"".join(random.randint(0, 256, 3, np.uint8).tobytes() + b"\0" * (entry - 3) for _ in range(palette_colours))
    if core:
        header = struct.pack("<IHHHH", 12, w, h, 1, bits)
    else:
        header = struct.pack("<IiiHHIIiiII", header_bytes, w, -h if top_down else h, 1, bits, 3 if masks else 0, 0, 2835, 2835,
                             palette_colours or 0, 0)
        header += b"".join(struct.pack("<I", m) for m in masks or ())
        header += bytes(header_bytes - len(header) if header_bytes > len(header) else 0)
    at = 14 + len(header) + len(palette)
    return struct.pack("<2sIHHI", b"BM", at + row_bytes * h, 0, 0, at) + header + palette + b"".join(rows)


def picture(h, w, channels, seed):
    """Smooth shapes with some noise: JPEG keeps more than the mean of it."""
    y, x = np.mgrid[0:h, 0:w]
    random = np.random.RandomState(seed)
    planes = [128 + 90 * np.sin(x / (3 + c) + c) * np.cos(y / (5 - c)) + random.normal(0, 12, (h, w)) for c in range(channels)]
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def jpeg(mode, seed, h=27, w=35, **options):
    data = picture(h, w, {"L": 1, "RGB": 3, "CMYK": 4}[mode], seed)
    buffer = io.BytesIO()
    Image.fromarray(data[:, :, 0] if mode == "L" else data, mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def files():
    colours = lambda n: np.random.RandomState(n).randint(0, 256, 3 * n, np.uint8).tobytes()
    yield "grey1.png", png(1, 1, 0)
    yield "grey2.png", png(2, 2, 0)
    yield "grey4.png", png(3, 4, 0)
    yield "grey8.png", png(4, 8, 0)
    yield "grey16.png", png(5, 16, 0)
    yield "grey8_transparent.png", png(6, 8, 0, transparent=b"\0\x40")
    yield "grey16_transparent.png", png(7, 16, 0, transparent=b"\0\x40")
    yield "grey_alpha8.png", png(8, 8, 4)
    yield "grey_alpha16.png", png(9, 16, 4)
    yield "rgb8.png", png(10, 8, 2)
    yield "rgb16.png", png(11, 16, 2)
    yield "rgb8_transparent.png", png(12, 8, 2, transparent=b"\0\1\0\2\0\3")
    yield "rgba8.png", png(13, 8, 6)
    yield "rgba16.png", png(14, 16, 6)
    yield "palette1.png", png(15, 1, 3, colours(2))
    yield "palette2.png", png(16, 2, 3, colours(4))
    yield "palette4.png", png(17, 4, 3, colours(16))
    yield "palette8.png", png(18, 8, 3, colours(256))
    yield "palette8_transparent.png", png(19, 8, 3, colours(200), transparent=bytes(range(100)), top=200)
    yield "palette8_short.png", png(20, 8, 3, colours(40))  # indices beyond the palette
    yield "palette4_short.png", png(21, 4, 3, colours(5))
    yield "grey1_interlaced.png", png(22, 1, 0, interlaced=True)
    yield "rgb8_interlaced.png", png(23, 8, 2, interlaced=True)
    yield "palette4_interlaced.png", png(24, 4, 3, colours(16), interlaced=True, h=3, w=5)
    yield "one_pixel.png", png(25, 8, 2, h=1, w=1)
    yield "grey.jpg", jpeg("L", 1, quality=90)
    yield "grey_progressive.jpg", jpeg("L", 2, quality=75, progressive=True)
    yield "colour_444.jpg", jpeg("RGB", 3, quality=90, subsampling="4:4:4")
    yield "colour_422.jpg", jpeg("RGB", 4, quality=85, subsampling="4:2:2")
    yield "colour_420.jpg", jpeg("RGB", 5, quality=75, subsampling="4:2:0")
    yield "colour_420_progressive.jpg", jpeg("RGB", 6, quality=60, subsampling="4:2:0", progressive=True)
    yield "colour_restart.jpg", jpeg("RGB", 7, quality=80, restart_marker_rows=1)
    yield "cmyk.jpg", jpeg("CMYK", 8, quality=90)
    yield "bit1.bmp", bmp(1, 1, 2)
    yield "bit4.bmp", bmp(2, 4, 16)
    yield "bit8.bmp", bmp(3, 8, 256)
    yield "bit8_short.bmp", bmp(4, 8, 20)
    yield "bit16.bmp", bmp(5, 16)
    yield "bit16_565.bmp", bmp(6, 16, masks=(0xF800, 0x7E0, 0x1F))
    yield "bit24.bmp", bmp(7, 24)
    yield "bit24_top_down.bmp", bmp(8, 24, top_down=True)
    yield "bit24_core.bmp", bmp(9, 24, core=True)
    yield "bit4_core.bmp", bmp(10, 4, 16, core=True)
    yield "bit32.bmp", bmp(11, 32)
    yield "bit32_masks.bmp", bmp(12, 32, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000), header_bytes=108)


def make_files():
    os.makedirs("images", exist_ok=True)
    shapes, expected = [], []
    for name, data in files():
        with open(os.path.join("images", name), "wb") as file:
            file.write(data)
        for mode in ("RGB", "L"):
            pixels = np.asarray(Image.open(io.BytesIO(data)).convert(mode))
            expected.append(pixels.reshape(-1))
        shapes.append(pixels.shape)
    np.save("images_shapes.npy", np.array(shapes, np.int32))
    np.save("images_expected.npy", np.concatenate(expected))


if __name__ == "__main__":
    make_resize()
    make_files()

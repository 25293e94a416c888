"""A tiny set in the layout of ShanghaiTech Campus, tests/golden/mstc/, and .npy files of all kinds, tests/golden/npy/. Needs ffmpeg.

Training clips are MPEG-4 videos with B-frames in AVI, as the real ones; test clips are JPEG frames with a mask file each. The upper 8
rows of every picture hold its number as 8 blocks, black or white, the highest bit first; below, a bright square moves over a grey
gradient. In test clip 01_0014 a dark disc, which is the anomaly, is there in frames 4 to 11; in 02_0003 in frame 5 alone.
"""
import os
import subprocess

import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
H, W = 48, 64


def picture(scene, number):
    y, x = np.mgrid[0:H, 0:W]
    out = (60 + 40 * scene + x // 2 + y // 2).astype(np.uint8)
    left = (3 * number) % (W - 10)
    out[30:40, left:left + 10] = 220
    for bit in range(8):
        out[:8, 8 * bit:8 * bit + 8] = 255 if number >> (7 - bit) & 1 else 0
    return np.repeat(out[:, :, None], 3, axis=2)


def video(path, scene, frames):
    raw = b"".join(picture(scene, i).tobytes() for i in range(frames))
    subprocess.run(
        ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{W}x{H}", "-r", "24", "-i", "-",
         "-c:v", "mpeg4", "-vtag", "XVID", "-q:v", "4", "-g", "12", "-bf", "2", "-fflags", "+bitexact", "-flags:v", "+bitexact", path],
        input=raw, check=True)


def test_clip(root, clip, scene, frames, marked):
    folder = f"{root}/testing/frames/{clip}"
    os.makedirs(folder, exist_ok=True)
    masks = np.zeros((frames, H, W), np.uint8)
    for i in range(frames):
        image = picture(scene, i)
        if i in marked:
            y, x = np.mgrid[0:H, 0:W]
            disc = (y - 20) ** 2 + (x - 12 - 2 * i) ** 2 < 49
            image[disc] = 10
            masks[i] = disc
        Image.fromarray(image).save(f"{folder}/{i:03d}.jpg", quality=92)
    np.save(f"{root}/testing/test_pixel_mask/{clip}.npy", masks)


def mstc():
    root = f"{HERE}/mstc"
    os.makedirs(f"{root}/training/videos", exist_ok=True)
    os.makedirs(f"{root}/testing/test_pixel_mask", exist_ok=True)
    video(f"{root}/training/videos/01_001.avi", 0, 43)
    video(f"{root}/training/videos/01_002.avi", 0, 12)
    video(f"{root}/training/videos/02_001.avi", 1, 26)
    video(f"{root}/training/videos/03_001.avi", 2, 11)
    test_clip(root, "01_0014", 0, 13, range(4, 12))
    test_clip(root, "02_0003", 1, 11, [5])


def npy():
    """masks_<type>.npy: [3, 4, 5], not 0 where (7 i + 1) % 3 == 0 of the flat index i; the last frame is empty."""
    root = f"{HERE}/npy"
    os.makedirs(root, exist_ok=True)
    flat = np.arange(60)
    marked = ((7 * flat + 1) % 3 == 0) & (flat < 40)
    masks = marked.reshape(3, 4, 5)
    for name, dtype in [("u1", "u1"), ("b1", "?"), ("i2", "<i2"), ("u4", ">u4"), ("i8", "<i8")]:
        value = masks.astype(dtype) if dtype == "?" else (masks * (1 if dtype[-2:] == "u1" else 256)).astype(dtype)
        np.save(f"{root}/masks_{name}.npy", value)
    for version in [(2, 0), (3, 0)]:
        with open(f"{root}/masks_v{version[0]}.npy", "wb") as out:
            np.lib.format.write_array(out, masks.astype(np.uint8), version=version)
    np.save(f"{root}/bad_fortran.npy", np.asfortranarray(masks.astype(np.uint8)))
    np.save(f"{root}/bad_float.npy", masks.astype(np.float32))
    np.save(f"{root}/bad_flat.npy", marked.astype(np.uint8))
    np.save(f"{root}/bad_many.npy", masks.astype(np.uint8).reshape(1, 1, 3, 4, 5))


if __name__ == "__main__":
    mstc()
    npy()

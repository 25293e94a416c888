"""Fixtures of tests/kernels/test_conv.c and test_pool.c: convolution, pooling and affine by PyTorch in double.

Inputs come from Philox on both sides; per case SAMPLES values of the result are kept, evenly spaced. Run: python make_conv.py
"""
import os

import numpy as np
import philox
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
SAMPLES = 256
NONE, RELU, RELU6 = 0, 1, 2

# n, in_h, in_w, in_c, out_c, kernel_h, kernel_w, stride, groups, top, left, bottom, right, src_stride, dst_stride, residual, act
CONV = [
    [1, 61, 75, 3, 64, 7, 7, 2, 1, 3, 3, 3, 3, 3, 64, 0, RELU],  # ResNet's stem, odd sizes
    [1, 33, 32, 3, 32, 3, 3, 2, 1, 1, 0, 1, 1, 3, 32, 0, RELU6],  # EfficientNet's stem, asymmetric padding
    [1, 15, 19, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1, 64, 64, 0, RELU],  # small Winograd
    [1, 40, 40, 128, 128, 3, 3, 1, 1, 1, 1, 1, 1, 128, 128, 1, RELU],  # large Winograd, residual
    [1, 13, 9, 48, 32, 3, 3, 1, 1, 1, 1, 1, 1, 48, 32, 1, NONE],
    [1, 10, 11, 32, 48, 3, 3, 1, 1, 0, 1, 1, 0, 32, 48, 0, RELU6],  # Winograd's window with uneven padding
    [1, 9, 14, 128, 32, 3, 3, 1, 1, 1, 1, 1, 1, 128, 224, 0, NONE],  # DenseNet: into a wider buffer
    [1, 7, 9, 80, 128, 1, 1, 1, 1, 0, 0, 0, 0, 112, 128, 0, RELU],  # out of a wider buffer
    [1, 7, 9, 80, 24, 1, 1, 1, 1, 0, 0, 0, 0, 112, 40, 1, RELU],  # both, and a residual
    [1, 14, 14, 256, 512, 1, 1, 1, 1, 0, 0, 0, 0, 256, 512, 1, RELU],
    [1, 27, 28, 128, 64, 1, 1, 2, 1, 0, 0, 0, 0, 128, 64, 0, RELU],  # ResNet v1: strided 1x1, short rows
    [1, 56, 55, 64, 128, 1, 1, 2, 1, 0, 0, 0, 0, 64, 128, 0, NONE],
    [1, 28, 27, 64, 96, 3, 3, 2, 1, 1, 1, 1, 1, 64, 96, 0, RELU],
    [1, 60, 59, 32, 16, 3, 3, 2, 1, 1, 1, 1, 1, 32, 16, 0, RELU],
    [1, 14, 13, 256, 256, 3, 3, 1, 32, 1, 1, 1, 1, 256, 256, 0, RELU],  # ResNeXt, groups of 8
    [1, 14, 15, 512, 512, 3, 3, 2, 32, 1, 1, 1, 1, 512, 512, 0, RELU],  # groups of 16, strided
    [1, 23, 21, 96, 96, 3, 3, 1, 96, 1, 1, 1, 1, 96, 96, 0, RELU6],  # depthwise
    [1, 28, 28, 144, 144, 5, 5, 2, 144, 1, 1, 2, 2, 144, 144, 0, RELU6],  # depthwise, "same" padding of TensorFlow
    [1, 8, 7, 20, 20, 3, 3, 1, 20, 1, 1, 1, 1, 30, 26, 1, NONE],  # depthwise views, odd channels
    [1, 6, 5, 7, 5, 3, 2, 1, 1, 2, 1, 0, 1, 7, 5, 1, RELU],  # nothing even
    [1, 1, 1, 16, 16, 3, 3, 1, 1, 1, 1, 1, 1, 16, 16, 0, NONE],
    [17, 12, 11, 32, 32, 3, 3, 1, 1, 1, 1, 1, 1, 32, 32, 1, RELU],
    [17, 9, 10, 24, 40, 1, 1, 1, 1, 0, 0, 0, 0, 24, 40, 0, RELU6],
    [17, 11, 12, 48, 48, 5, 5, 2, 48, 2, 2, 2, 2, 48, 48, 0, RELU],
    [2, 5, 5, 4608, 16, 3, 3, 2, 1, 1, 1, 1, 1, 4608, 16, 0, NONE],  # long sums
]

# kind (0 max, 1 average, 2 global average), n, h, w, c, kernel, stride, pad, src_stride, dst_stride
POOL = [
    [0, 1, 37, 30, 64, 3, 2, 1, 64, 64],
    [0, 2, 12, 13, 20, 3, 2, 1, 24, 31],
    [0, 1, 9, 9, 16, 2, 2, 0, 16, 16],
    [0, 1, 1, 1, 5, 3, 2, 1, 5, 5],
    [1, 2, 13, 10, 40, 2, 2, 0, 40, 56],
    [1, 1, 7, 9, 19, 3, 1, 0, 20, 19],
    [2, 3, 7, 7, 50, 0, 0, 0, 64, 50],
    [2, 1, 56, 55, 32, 0, 0, 0, 32, 40],
]

# n, h, w, c, src_stride, dst_stride, act
AFFINE = [[2, 7, 5, 33, 40, 50, RELU], [1, 6, 6, 64, 128, 64, RELU6], [1, 3, 4, 16, 16, 16, NONE]]


def draw(case, index, shape, scale=1.0):
    return torch.from_numpy(philox.between(case, philox.TEST, index, shape, -1, 1) * np.float32(scale)).double()


def activate(y, act):
    return y if act == NONE else y.clamp(0, 6) if act == RELU6 else y.relu()


def samples(y):
    """SAMPLES values of an NCHW result, evenly spaced in NHWC order: index i * count // SAMPLES."""
    flat = y.permute(0, 2, 3, 1).reshape(-1).numpy()
    return flat[np.arange(SAMPLES) * flat.size // SAMPLES].astype(np.float32)


def nchw(case, index, n, h, w, channels, stride, scale=1.0):
    """The last `channels` channels of a buffer `stride` wide, as the test takes its views."""
    return draw(case, index, (n, h, w, stride), scale)[..., stride - channels :].permute(0, 3, 1, 2)


def conv(case, n, h, w, ci, co, kh, kw, stride, groups, top, left, bottom, right, src_stride, dst_stride, residual, act):
    fan_in = ci // groups * kh * kw
    x = nchw(case, 0, n, h, w, ci, src_stride)
    weights = draw(case, 1, (co, ci // groups, kh, kw), np.sqrt(9.0 / fan_in))  # results around 1
    y = F.conv2d(F.pad(x, (left, right, top, bottom)), weights, draw(case, 2, (co,)), stride=stride, groups=groups)
    if residual:
        y = y + nchw(case, 3, n, y.shape[2], y.shape[3], co, co)
    return samples(activate(y, act))


def pool(case, kind, n, h, w, c, kernel, stride, pad, src_stride, dst_stride):
    x = nchw(1000 + case, 0, n, h, w, c, src_stride)
    if kind == 2:
        return samples(x.mean((2, 3), keepdim=True))
    return samples(F.max_pool2d(x, kernel, stride, pad) if kind == 0 else F.avg_pool2d(x, kernel, stride))


def affine(case, n, h, w, c, src_stride, dst_stride, act):
    x = nchw(2000 + case, 0, n, h, w, c, src_stride)
    scale, shift = (draw(2000 + case, i, (1, c, 1, 1), 8) for i in (1, 2))
    return samples(activate(x * scale + shift, act))


for name, cases, function in (("conv", CONV, conv), ("pool", POOL, pool), ("affine", AFFINE, affine)):
    np.save(f"{HERE}/{name}_cases.npy", np.array(cases, np.int32))
    np.save(f"{HERE}/{name}_expected.npy", np.stack([function(i, *case) for i, case in enumerate(cases)]))

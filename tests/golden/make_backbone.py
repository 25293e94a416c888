"""Fixtures of tests/unit/test_backbone.c: tapped feature maps of every architecture, by PyTorch in double.

The weights come from a rule that C applies as well, so no weights are stored. Needs torchvision and the PyPI package
efficientnet_lite_pytorch. Run: python make_backbone.py [ARCHITECTURE...]

Writes per architecture
  backbone_<name>.txt   what its file holds: "conv NAME out in h w", "norm NAME channels" (five tensors), "other NAME shape..."
  backbone_<name>.npy   a row per tap: in_h, in_w, tap's number, h, w, c, sum, sum of squares, SAMPLES evenly spaced values (NHWC)
With --real FILE (ResNet50 v1 with ImageNet weights, safetensors) it writes backbone_real.npy alone, same rows.
"""
import math
import os
import sys

import numpy as np
import philox
import torch
import torchvision
from safetensors.torch import load_file
from efficientnet_lite_pytorch import EfficientNet

HERE = os.path.dirname(os.path.abspath(__file__))
SAMPLES = 64


def conv_weights(name, shape):
    """Signed bytes of the stream, scaled by the power of two nearest to He's bound: exact in half precision."""
    exponent = math.floor(0.5 * math.log2(6.0 / math.prod(shape[1:])) + 0.5)
    count = math.prod(shape)
    words = philox.u32(philox.fnv1a(name), philox.WEIGHTS, 0, (count + 3) // 4)
    return words.astype("<u4").view(np.int8)[:count].astype(np.float32).reshape(shape) * np.float32(2.0 ** (exponent - 7))


# Ranges that keep activations around 1 and let each of the four matter.
NORM_RANGE = {"weight": (0.6, 1.2), "bias": (-0.3, 0.3), "running_mean": (-0.2, 0.2), "running_var": (0.5, 1.5)}


def fill(model, listing):
    for name, tensor in model.state_dict().items():
        module, _, kind = name.rpartition(".")
        if kind == "num_batches_tracked":
            continue
        if tensor.ndim == 4:
            listing.append("conv " + " ".join(map(str, (module, *tensor.shape))))
            value = conv_weights(name, tuple(tensor.shape))
        elif module + ".running_var" in model.state_dict():
            if kind == "weight":
                listing.append(f"norm {module} {tensor.shape[0]}")
            value = philox.between(philox.fnv1a(name), philox.WEIGHTS, 0, tuple(tensor.shape), *NORM_RANGE[kind])
        else:
            listing.append("other " + " ".join(map(str, (name, *tensor.shape))))
            continue
        tensor.copy_(torch.from_numpy(value))


def resnet(name):
    model = getattr(torchvision.models, name.removesuffix("_v1"))(weights=None)
    if name.endswith("_v1"):  # the stride of a stage in its first 1x1 convolution
        for stage in (model.layer2, model.layer3, model.layer4):
            stage[0].conv1.stride, stage[0].conv2.stride = stage[0].conv2.stride, stage[0].conv1.stride
    return model, [model.layer1, model.layer2, model.layer3, model.layer4]


def densenet(name):
    model = torchvision.models.densenet201(weights=None)
    return model, [getattr(model.features, f"denseblock{i}") for i in range(1, 5)]


def efficientnet(name):
    model = EfficientNet.from_name("efficientnet-lite0", image_size=None)  # "same" padding for any size
    ends = np.cumsum([args.num_repeat for args in model._blocks_args]) - 1
    return model, [model._blocks[int(end)] for end in ends]


# builder, sizes of the image, layers tapped (None: all, and "pool")
MODELS = {
    "resnet18": (resnet, [(64, 64), (75, 91)], None),
    "resnet34": (resnet, [(64, 64)], None),
    "resnet50": (resnet, [(64, 64)], None),
    "resnet50_v1": (resnet, [(64, 64), (75, 91)], None),
    "resnet101": (resnet, [(64, 64)], None),
    "wide_resnet50_2": (resnet, [(64, 64)], None),
    "wide_resnet101_2": (resnet, [(64, 64)], 3),  # the file, too, ends there
    "resnext101_32x8d": (resnet, [(64, 64)], 3),
    "densenet201": (densenet, [(64, 96)], None),
    "efficientnet_lite0": (efficientnet, [(64, 64), (75, 91)], None),
}


def row(image_shape, tap, y):
    flat = y[0].permute(1, 2, 0).reshape(-1).numpy()
    picked = flat[np.arange(SAMPLES) * flat.size // SAMPLES]
    return [*image_shape, tap, y.shape[2], y.shape[3], y.shape[1], flat.sum(), (flat**2).sum(), *picked]


def run(model, stages, h, w, pooled):
    """A row per stage, and one for the global average of the last where `pooled`."""
    taps = {}
    hooks = [stage.register_forward_hook(lambda m, x, y, i=i: taps.__setitem__(i, y)) for i, stage in enumerate(stages)]
    image = philox.between(h * w, philox.TEST, 0, (1, h, w, 3), -2, 2)
    with torch.no_grad():
        model.double().eval()(torch.from_numpy(image).double().permute(0, 3, 1, 2))
    for hook in hooks:
        hook.remove()
    if pooled:
        taps[len(stages)] = taps[len(stages) - 1].mean((2, 3), keepdim=True)
    return [row((h, w), i, y) for i, y in sorted(taps.items())]


def save(name, rows):
    np.save(f"{HERE}/backbone_{name}.npy", np.array(rows))
    for r in rows:
        print(name, [int(v) for v in r[:6]], "rms %.3g" % math.sqrt(r[7] / (r[3] * r[4] * r[5])))


def make(name):
    builder, sizes, limit = MODELS[name]
    model, stages = builder(name)
    listing = []
    with torch.no_grad():
        fill(model, listing)
    if limit is not None:
        listing = [line for line in listing if f" layer{limit + 1}." not in line]
    with open(f"{HERE}/backbone_{name}.txt", "w") as file:
        file.write("\n".join(listing) + "\n")
    save(name, [r for h, w in sizes for r in run(model, stages[:limit], h, w, limit is None)])


def make_real(path):
    model, stages = resnet("resnet50_v1")
    weights = {name: tensor.float() for name, tensor in load_file(path).items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.startswith("fc.") or name.endswith("num_batches_tracked") for name in missing)
    save("real", run(model, stages, 224, 224, True))


if sys.argv[1:2] == ["--real"]:
    make_real(sys.argv[2])
else:
    for architecture in sys.argv[1:] or MODELS:
        make(architecture)

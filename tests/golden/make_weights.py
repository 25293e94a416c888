"""Writes the weight files of tests/unit/test_weights.c and the seeds of tests/fuzz/fuzz_weights.c: tests/golden/weights/*.

Element i (row-major) of a tensor with number s is ((7 i + 13 s) mod 31 - 15) / 8, which every floating type here holds exactly.
Needs torch and safetensors.
"""

import collections
import io
import json
import os
import pickle
import pickletools
import struct
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load

OUT = Path(__file__).parent / "weights"


def rule(seed, *shape, dtype=torch.float32):
    index = torch.arange(int(torch.Size(shape).numel()))
    return (((7 * index + 13 * seed) % 31 - 15).double() / 8).to(dtype).reshape(shape)


def tensors_in(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from tensors_in(item)


def renumbered(data, value, protocol):
    """Storages named and laid out in order of their first use, where PyTorch goes by their addresses."""
    sizes = {str(t.untyped_storage()._cdata).encode(): t.untyped_storage().nbytes() for t in tensors_in(value)}
    stream = io.BytesIO(data)
    ends = [0]
    for _ in range(5):
        for _ in pickletools.genops(stream):
            pass
        ends.append(stream.tell())
    head, pickled = data[: ends[3]], data[ends[3] : ends[4]]
    blocks = {}
    for key in pickle.loads(data[ends[4] : ends[5]]):
        bytes_ = 8 + sizes[key.encode()]
        blocks[key.encode()] = stream.read(bytes_)
    keys = sorted(blocks, key=pickled.index)
    names = [b"%0*d" % (len(key), number) for number, key in enumerate(keys)]
    for key, name in zip(keys, names):
        pickled = pickled.replace(key, name)
    list_of_keys = pickle.dumps([name.decode() for name in names], protocol)
    return head + pickled + list_of_keys + b"".join(blocks[key] for key in keys)


def saved(value, legacy=False, protocol=2):
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    return renumbered(buffer.getvalue(), value, protocol) if legacy else buffer.getvalue()


def safetensors(tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64",
             torch.uint8: "U8", torch.bool: "BOOL"}
    for name, tensor in tensors.items():
        content = bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist())
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text_ = json.dumps(header, separators=(",", ":")).encode()
    text_ += b" " * (-len(text_) % 8)
    result = struct.pack("<Q", len(text_)) + text_ + data
    assert all(torch.equal(tensors[name], tensor) for name, tensor in load(result).items())
    return result


def write(name, data):
    (OUT / name).write_bytes(data)


def state_dict():
    base = rule(5, 12)
    tensors = collections.OrderedDict()
    tensors["features.0.weight"] = rule(0, 2, 3, 1, 2)
    tensors["half"] = rule(1, 5, dtype=torch.float16)
    tensors["bfloat"] = rule(2, 4, dtype=torch.bfloat16)
    tensors["double"] = rule(3, 3, dtype=torch.float64)
    tensors["num_batches_tracked"] = torch.tensor(1234567890123)
    tensors["int"] = torch.tensor([-1, 2, 70000], dtype=torch.int32)
    tensors["byte"] = torch.tensor([0, 128, 255], dtype=torch.uint8)
    tensors["truth"] = torch.tensor([True, False, True])
    tensors["parameter"] = torch.nn.Parameter(rule(4, 3, 2))
    tensors["base"] = base
    tensors["slice"] = base[4:10].reshape(2, 3)
    tensors["permuted"] = rule(6, 2, 3, 4).permute(2, 0, 1)
    tensors["flipped"] = rule(8, 3, 5).t()[1:4]
    tensors["column"] = rule(9, 4, 3)[:, 1]
    tensors["empty"] = rule(0, 0, 3)
    tensors["scalar"] = rule(7)
    tensors._metadata = collections.OrderedDict([("", {"version": 1}), ("features", {"version": 2})])
    return tensors


class System:
    def __reduce__(self):
        return os.system, ("echo this must never run",)


def checkpoint(key):
    tensors = collections.OrderedDict((f"module.{name}", rule(seed, 2, 2)) for seed, name in enumerate(["a.weight", "a.bias"]))
    extras = {"epoch": 300, "loss": 0.5, "best": True, "note": None, "sizes": [torch.Size([1, 2]), (1, 2, 3, 4), -7], "big": 2**70}
    return {**extras, key: tensors}


def stored_zip(files, folder="archive/", method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(folder + name), data, method)
    return buffer.getvalue()


def unzipped(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename.split("/", 1)[1]: archive.read(info) for info in archive.infolist()}


def zip64(files, folder="archive/"):
    """Every number of the directory in its zip64 field, as in an archive of more than 4 GiB."""
    body, directory = b"", b""
    for name, data in files.items():
        name = (folder + name).encode()
        head = struct.pack("<HHHHHIIIHH", 45, 0, 0, 0, 0, zipfile.crc32(data), 0xFFFFFFFF, 0xFFFFFFFF, len(name), 20)
        field = struct.pack("<HHQQ", 1, 16, len(data), len(data))
        at = len(body)
        body += b"PK\3\4" + head + name + field + data
        extra = b"FB\1\0Z" + struct.pack("<HHQQQ", 1, 24, len(data), len(data), at)
        directory += b"PK\1\2" + struct.pack("<H", 45) + head[:-2]
        directory += struct.pack("<HHHHII", len(extra), 0, 0, 0, 0, 0xFFFFFFFF) + name + extra
    end64 = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, len(files), len(files), len(directory), len(body))
    locator = b"PK\6\7" + struct.pack("<IQI", 0, len(body) + len(directory), 1)
    comment = b"a comment"
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, len(comment)) + comment
    return body + directory + end64 + locator + end


def text(string):
    return b"U" + bytes([len(string)]) + string.encode()


def storage_id(key, count):
    return b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + b"K" + bytes([count]) + b"NtQ"


def old_legacy():
    """As Python 2 with PyTorch 0.1 wrote: tensors and Parameters made empty and given their state, an OrderedDict of pairs."""
    view = storage_id("11", 6) + b"K\0K\2K\3\x86K\3K\1\x86"  # storage, offset, (2, 3), (3, 1)
    made_in_steps = b"ctorch\nFloatTensor\n)\x81(" + view + b"tb"
    rebuilt = b"ctorch._utils\n_rebuild_tensor\n(" + view + b"tR"
    parameter = b"ctorch.nn.parameter\nParameter\n)\x81(" + rebuilt + b"NN\x88\x89tb"
    pairs = [(text(name), value) for name, value in [("steps", made_in_steps), ("rebuilt", rebuilt), ("parameter", parameter)]]
    pickled = b"\x80\2ccollections\nOrderedDict\n](" + b"".join(b"](" + k + v + b"e" for k, v in pairs) + b"e\x85R."
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    head += pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}, 2)
    keys = b"\x80\2](" + text("11") + b"e."
    return head + pickled + keys + struct.pack("<q", 6) + rule(10, 2, 3).numpy().tobytes()


def main():
    OUT.mkdir(exist_ok=True)
    write("plain.pth", saved(state_dict()))
    write("plain_legacy.pth", saved(state_dict(), legacy=True))
    write("protocol5.pth", saved(state_dict(), protocol=5))
    write("protocol4_legacy.pth", saved(state_dict(), legacy=True, protocol=4))
    write("checkpoint.pth", saved(checkpoint("state_dict")))
    write("checkpoint_legacy.pth", saved(checkpoint("model"), legacy=True))
    write("old_legacy.pth", old_legacy())

    write("system.pth", saved({"weight": rule(0, 2), "extra": System()}))
    write("system_legacy.pth", saved(System(), legacy=True, protocol=4))
    write("module.pth", saved(torch.nn.Flatten()))
    write("number.pth", saved({"weight": rule(0, 2), "version": 3}))
    write("list_legacy.pth", saved([rule(0, 2)], legacy=True))
    write("expanded.pth", saved({"wide": rule(0, 1).expand(4)}))
    square = rule(0, 32, 32)
    write("copies.pth", saved({f"copy{i}": square.t() for i in range(8)}))

    small = unzipped(saved({"weight": rule(0, 2, 3)}))
    write("zip64.pth", zip64(small))
    write("compressed.pth", stored_zip(small, method=zipfile.ZIP_DEFLATED))
    write("big_endian.pth", stored_zip({**small, "byteorder": b"big"}))
    write("torchscript.pth", stored_zip({**small, "constants.pkl": b"\x80\2)."}))
    write("no_storage.pth", stored_zip({name: data for name, data in small.items() if name != "data/0"}))
    write("short_storage.pth", stored_zip({**small, "data/0": small["data/0"][:-4]}))
    write("arrays.pth", stored_zip({"weight.npy": b"\x93NUMPY"}, folder=""))

    tensors = {
        "conv1.weight": rule(0, 2, 3, 1, 2),
        "half": rule(1, 5, dtype=torch.float16),
        "bfloat": rule(2, 4, dtype=torch.bfloat16),
        "double": rule(3, 3, dtype=torch.float64),
        "num_batches_tracked": torch.tensor(1234567890123),
        "byte": torch.tensor([0, 128, 255], dtype=torch.uint8),
        "truth": torch.tensor([True, False, True]),
        "empty": rule(0, 0, 3),
    }
    write("floats.safetensors", safetensors(tensors, {"arch": "resnet50_v1", "source": "a rule"}))


if __name__ == "__main__":
    main()

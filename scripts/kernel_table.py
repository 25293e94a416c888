#!/usr/bin/env python3
"""A table of the GPU's kernels: registers, static shared memory, stack, spills and theoretical occupancy, from what ptxas said while
build/cuda was built (scripts/ptxas_log.sh keeps it beside each object). Ends with 1 where a kernel spills or none is found.

  scripts/kernel_table.py [BUILD] [--arch sm_90] [--json FILE]

Occupancy: warps that a multiprocessor can hold of the 64 it has, for the block size in the kernel's __launch_bounds__; by registers
(65,536, given out to a warp in units of 256), shared memory (228 KiB, 1 KiB of it for each block) and blocks (32). Dynamic shared
memory is not in the binary and does not count here."""
import argparse
import glob
import json
import os
import re
import subprocess
import sys

WARPS, BLOCKS, REGISTERS, SHARED, BLOCK_SHARED = 64, 32, 65536, 228 * 1024, 1024  # sm_80, sm_90; an sm_86 or sm_89 has 48 warps
ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\S+)' for '(?P<arch>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads\s+"
    r"ptxas info\s+: Used (?P<registers>\d+) registers(?P<rest>[^\n]*)", re.S)


def demangled(names):
    try:
        out = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return names
    short = []
    for line in out.splitlines():
        line = line.replace("(anonymous namespace)::", "").removeprefix("void ")
        line = re.sub(r"\([\w: ]+\)(?=[\w-])", "", line)  # casts of template arguments
        short.append(line.split("(")[0])
    return short


def block_sizes(source):
    """Threads of each kernel in a .cu file: the first number of __launch_bounds__, constants of the file's enums put in."""
    text = open(source, encoding="utf-8").read()
    constants = {}
    for body in re.findall(r"enum(?:\s+\w+)?\s*\{(.*?)\}", re.sub(r"/\*.*?\*/", "", text, flags=re.S), re.S):
        for name, value in re.findall(r"(\w+)\s*=\s*([^,}]+)", body):
            try:
                constants[name] = int(eval(value.strip(), {"__builtins__": {}}, constants))  # sums and products of constants
            except (NameError, SyntaxError, TypeError):
                pass
    sizes = {}
    for bounds, name in re.findall(r"__global__\s+void\s+(?:__launch_bounds__\(((?:[^()]|\([^()]*\))*)\)\s*)?(\w+)\s*\(", text):
        first = bounds.split(",")[0].strip()
        try:
            sizes[name] = int(eval(first, {"__builtins__": {}}, constants)) if first else None
        except (NameError, SyntaxError, TypeError):
            sizes[name] = None
    return sizes


def occupancy(threads, registers, shared):
    warps = -(-threads // 32)
    by_registers = REGISTERS // (-(-registers * 32 // 256) * 256) // warps if registers else BLOCKS
    blocks = min(BLOCKS, WARPS // warps, by_registers, SHARED // (shared + BLOCK_SHARED))
    return blocks * warps / WARPS


def read(build, arch):
    rows = []
    for path in sorted(glob.glob(f"{build}/CMakeFiles/libtotalrecall.dir/kernels/cuda/*.ptxas")):
        source = os.path.basename(path).removesuffix(".o.ptxas")
        found = [m for m in ENTRY.finditer(open(path, encoding="utf-8").read()) if m["arch"] == arch]
        sizes = block_sizes(f"kernels/cuda/{source}")
        for m, name in zip(found, demangled([m["name"] for m in found])):
            shared = re.search(r"(\d+) bytes smem", m["rest"])
            shared = int(shared[1]) if shared else 0
            threads = sizes.get(re.sub(r"<.*", "", name).split("::")[-1])
            rows.append({
                "file": source, "kernel": name, "threads": threads, "registers": int(m["registers"]), "shared": shared,
                "stack": int(m["stack"]), "spills": int(m["stores"]) + int(m["loads"]),
                "occupancy": occupancy(threads or 256, int(m["registers"]), shared)})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", nargs="?", default="build/cuda")
    parser.add_argument("--arch", default="sm_90")
    parser.add_argument("--json", help="also write the rows to this file")
    args = parser.parse_args()
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    rows = read(args.build, args.arch)
    if not rows:
        sys.exit(f"{args.build} holds no kernels for {args.arch}: build it first (cmake --preset cuda)")
    print(f"{'file':16}{'kernel on ' + args.arch:36}{'threads':>8}{'registers':>10}{'shared':>8}{'stack':>7}{'spills':>8}{'occupancy':>11}")
    for r in rows:
        print(f"{r['file']:16}{r['kernel']:36}{r['threads'] or '(256)':>8}{r['registers']:>10}{r['shared']:>8}{r['stack']:>7}"
              f"{r['spills']:>8}{r['occupancy']:>10.0%}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            out.writelines(json.dumps({"arch": args.arch, **r}) + "\n" for r in rows)
    spilling = [r["kernel"] for r in rows if r["spills"]]
    if spilling:
        sys.exit("spills: " + ", ".join(spilling))


if __name__ == "__main__":
    main()

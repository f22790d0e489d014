#!/usr/bin/env python3
"""Checks that Prunus reads every tensor of GGUF files as the `gguf` package does: same names, types
and sizes in the same order, and values equal bit for bit in FP32.

Needs: pip install gguf==0.19.0; cmake --build --preset dev --target gguf_digest

    tools/check_gguf.py MODEL.gguf… [--program build/dev/tests/gguf_digest]

Exit code 1 where a tensor differs.
"""
import argparse
import collections
import hashlib
import pathlib
import subprocess
import sys
import time

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent


def lines_of(path):
    """What gguf_digest prints, from the package."""
    for tensor in gguf.GGUFReader(path).tensors:
        shape = "x".join(str(size) for size in reversed(tensor.shape.tolist()))
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        digest = hashlib.sha256(np.ascontiguousarray(values, np.float32)).hexdigest()
        yield "\t".join([tensor.name, tensor.tensor_type.name, shape, digest])


def check(program, path):
    start = time.time()
    run = subprocess.run([program, path], capture_output=True, text=True, check=False)
    seconds = time.time() - start
    if run.returncode != 0:
        print(f"{path}: {program.name} ended with {run.returncode}: {run.stderr.strip()}")
        return False
    got, expected = run.stdout.splitlines(), list(lines_of(path))
    faults = [(a, b) for a, b in zip(got, expected) if a != b]
    for a, b in faults[:10]:
        print(f"{path}: got      {a}\n{' ' * len(str(path))}  expected {b}")
    types = collections.Counter(line.split("\t")[1] for line in got)
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(types.items()))
    same = len(got) == len(expected) and not faults and len(got) > 0
    print(f"{path}: {len(got)} tensors ({kinds}) compared with {len(expected)}, "
          f"{len(faults)} differ; read in {seconds:.1f} s")
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--program", type=pathlib.Path,
                        default=ROOT / "build/dev/tests/gguf_digest")
    options = parser.parse_args()
    good = [check(options.program.resolve(), path) for path in options.files]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())

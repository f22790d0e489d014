#!/usr/bin/env python3
"""Holds Prunus's quantisers against ggml's own reference functions on the matrices of a model: same
bytes for the plain types, squared error for the K types.

Needs: pip install gguf==0.19.0; a libggml-base.so (of llama.cpp, or of the npm package
node-llama-cpp); cmake --build --preset dev --target gguf_requantize

    tools/check_gguf_quantize.py MODEL.gguf --ggml libggml-base.so [--types Q4_K,Q6_K]

Exit code 1 where a plain type's bytes differ, or a K type loses more than ggml's.
"""
import argparse
import ctypes
import hashlib
import pathlib
import subprocess
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

ROOT = pathlib.Path(__file__).resolve().parent.parent
PLAIN = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]
K_TYPES = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]


def of_ggml(library, values, kind):
    """The blocks that ggml's reference function makes of FP32 values."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    values = np.ascontiguousarray(values, np.float32)
    blocks = np.empty(values.size // block * size, np.uint8)
    function = getattr(library, f"quantize_row_{kind.name.replace('Q', 'q', 1)}_ref")
    function.restype = None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    function(values.ctypes.data, blocks.ctypes.data, values.size)
    return blocks


def matrices(path, kind):
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    for tensor in gguf.GGUFReader(path).tensors:
        if len(tensor.shape) >= 2 and tensor.shape[0] % block == 0:
            yield tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type)


def check(program, library, path, kind):
    run = subprocess.run([program, path, kind.name], capture_output=True, text=True, check=True)
    lines = [line.split("\t") for line in run.stdout.splitlines()]
    ours, theirs, energy, differing, worse = 0.0, 0.0, 0.0, 0, 0
    for line, (name, values) in zip(lines, matrices(path, kind), strict=True):
        assert line[0] == name
        blocks = of_ggml(library, values, kind)
        _, size = gguf.GGML_QUANT_SIZES[kind]
        rows = blocks.reshape(-1, size)
        back = gguf.quants.dequantize(rows, kind).reshape(-1)
        error = np.square(back.astype(np.float64) - values.reshape(-1)).sum()
        ours += float(line[1])
        theirs += error
        energy += float(line[2])
        worse += float(line[1]) > error
        differing += line[3] != hashlib.sha256(blocks).hexdigest()
    plain = kind.name in PLAIN
    print(f"| {kind.name} | {len(lines)} | {(ours / energy) ** 0.5:.5f} | {(theirs / energy) ** 0.5:.5f} "
          f"| {len(lines) - differing} | {worse} | {run.stderr.strip()} |", flush=True)
    return differing == 0 if plain else ours <= theirs


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--ggml", type=pathlib.Path, required=True)
    parser.add_argument("--types", default=",".join(PLAIN + K_TYPES))
    parser.add_argument("--program", type=pathlib.Path,
                        default=ROOT / "build/dev/tests/gguf_requantize")
    options = parser.parse_args()
    library = ctypes.CDLL(str(options.ggml.resolve()))
    print("| type | matrices | relative RMSE, Prunus | ggml | same bytes | worse | time |\n"
          "|---|---|---|---|---|---|---|")
    good = [check(options.program.resolve(), library, options.file, Type[name])
            for name in options.types.split(",")]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Makes tests/io/golden/quantized.gguf: FP32 numbers and what the `gguf` package quantises them to,
for every type that it can quantise.

Needs: pip install gguf==0.19.0

    tools/make_gguf_quant_goldens.py

Blocks hold normal numbers of many sizes, zeros, equal numbers, ties between codes, and a largest
value of either sign that occurs twice. (Not zeros with a sign: of them the package makes another sign
of d than ggml's C code.)
"""
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "io" / "golden"
TYPES = [Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0]


def rows():
    random = np.random.default_rng(17)
    blocks = [random.standard_normal(32) * scale for scale in [1e-4, 0.02, 0.3, 1, 40, 3000]]
    blocks += [np.zeros(32), np.full(32, 0.7), np.full(32, -0.7), np.full(32, 1e-6)]
    blocks += [np.arange(32) - 16, np.arange(32) / 2 - 8, np.arange(32) * 8.0 - 127]
    for sign in [1, -1]:
        twice = random.standard_normal(32)
        twice[[3, 20]] = [5 * sign, -5 * sign]
        blocks.append(twice)
    blocks.append(np.where(np.arange(32) == 9, 1.0, 0.0))
    return np.array(blocks, np.float32).reshape(4, 128)


def main():
    values = rows()
    writer = gguf.GGUFWriter(OUT / "quantized.gguf", "llama")
    writer.add_tensor("values", values)
    for kind in TYPES:
        data = gguf.quants.quantize(values, kind)
        writer.add_tensor(kind.name, data, raw_dtype=None if kind == Type.F16 else kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()

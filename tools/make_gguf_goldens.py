#!/usr/bin/env python3
"""Makes tests/io/golden/every_type.gguf and every_type.safetensors: a GGUF file with a tensor of
every element type that Prunus reads and a metadata value of every type, written by the `gguf`
package, and what that package dequantises the tensors to, in FP32.

Needs: pip install gguf==0.19.0 safetensors

    tools/make_gguf_goldens.py

Blocks are random bytes, so that every bit of a layout counts; their scales (halves) are chosen among
ordinary, denormal, zero, negative and largest ones. Where the package can quantise, a second tensor
holds quantised normal numbers. Nothing is infinite but in F32, F16 and BF16, where every kind of
number occurs.
"""
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type, GGUFValueType as Value
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "io" / "golden"

# Where the halves of a block lie.
HALVES = {Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
          Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2],
          Type.Q6_K: [208]}
SCALES = np.array([0.0123, -0.37, 1.0, 65504.0, -65504.0, 6e-8, -3e-6, 0.0, -0.0], np.float16)

SCALARS = [(Value.UINT8, 255), (Value.INT8, -128), (Value.UINT16, 65535), (Value.INT16, -32768),
           (Value.UINT32, 4294967295), (Value.INT32, -2147483648), (Value.FLOAT32, 0.1),
           (Value.BOOL, True), (Value.STRING, "Grüße, 世界"), (Value.UINT64, 2**63),
           (Value.INT64, -2**63), (Value.FLOAT64, 0.1)]
ARRAYS = [(Value.UINT8, [0, 7, 255]), (Value.INT8, [-128, 127]), (Value.UINT16, [1, 65535]),
          (Value.INT16, [-32768, 32767]), (Value.UINT32, [0, 4294967295]),
          (Value.INT32, [-2147483648, 2147483647]), (Value.FLOAT32, [0.5, -1.25]),
          (Value.BOOL, [True, False, True]), (Value.STRING, ["", "a b", "é"]),
          (Value.UINT64, [1, 2**63 - 1]), (Value.INT64, [-2**63, 5]), (Value.FLOAT64, [1e300])]


def random_blocks(random, kind, rows, blocks):
    _, size = gguf.GGML_QUANT_SIZES[kind]
    data = random.integers(0, 256, (rows, blocks, size), dtype=np.uint8)
    for place in HALVES[kind]:
        scales = SCALES[random.integers(0, len(SCALES), (rows, blocks))]
        data[:, :, place:place + 2] = scales[..., None].view(np.uint8).reshape(rows, blocks, 2)
    return data.reshape(rows, blocks * size)


def plain(kind):
    if kind == Type.F32:
        values = np.array([0.0, -0.0, 1.5, -3.25, 1e-42, 3.4e38, np.inf, -np.inf], np.float32)
        return values.reshape(2, 4), values.reshape(2, 4)
    if kind == Type.F16:
        values = np.array([0.0, -0.0, 1.5, -3.25, 6e-8, 65504, np.inf, -np.inf], np.float16)
        return values.reshape(2, 4), values.astype(np.float32).reshape(2, 4)
    bits = np.array([0, 0x8000, 0x3fc0, 0xc050, 1, 0x7f7f, 0x7f80, 0xff80], np.uint16)
    data = bits.reshape(2, 4).view(np.uint8)
    return data, gguf.quants.dequantize(data, kind)


def main():
    random = np.random.default_rng(16)
    writer = gguf.GGUFWriter(OUT / "every_type.gguf", "llama")
    expected = {}
    for kind, value in SCALARS:
        writer.add_key_value(f"scalar.{kind.name.lower()}", value, kind)
    for kind, values in ARRAYS:
        writer.add_key_value(f"array.{kind.name.lower()}", values, Value.ARRAY, sub_type=kind)

    def add(name, data, kind, values):
        writer.add_tensor(name, data, raw_dtype=kind)
        expected[name] = np.ascontiguousarray(values, np.float32)

    for kind in [Type.F32, Type.F16, Type.BF16]:
        data, values = plain(kind)
        add(f"{kind.name}.plain", data, kind, values)
    for kind in HALVES:
        block, _ = gguf.GGML_QUANT_SIZES[kind]
        data = random_blocks(random, kind, 3, 3 if block == 32 else 2)
        add(f"{kind.name}.random", data, kind, gguf.quants.dequantize(data, kind))
        if block == 32:
            data = gguf.quants.quantize(random.standard_normal((4, 64), np.float32), kind)
            add(f"{kind.name}.quantized", data, kind, gguf.quants.dequantize(data, kind))
    data = gguf.quants.quantize(random.standard_normal((2, 3, 32), np.float32), Type.Q8_0)
    add("three_dimensions", data, Type.Q8_0, gguf.quants.dequantize(data, Type.Q8_0))
    line = np.arange(5, dtype=np.float32)
    add("one_dimension", line, Type.F32, line)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert all(np.isfinite(v).all() for n, v in expected.items() if not n.endswith(".plain"))
    save_file(expected, OUT / "every_type.safetensors")


if __name__ == "__main__":
    main()

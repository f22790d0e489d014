#!/usr/bin/env python3
"""Makes the quantised checkpoints of tests/model/quantized: a tiny random Llama, its weights in 8 bits
as published checkpoints have them, and what they stand for.

Needs: pip install torch==2.13.0 transformers==5.24.0 safetensors compressed-tensors==0.20.1

Of each case the weights are quantised here. What they stand for comes from other software where there
is some that runs on a CPU: transformers for `fp8` (FineGrainedFP8Config(dequantize=True)),
compressed-tensors' own decompression for its formats; of the others W = q * scale in torch. Into
golden.safetensors go the weights in BF16 and the logits of stock Llama with them, in F32.

    tools/make_quantized_goldens.py                 makes them
    tools/make_quantized_goldens.py --check PRUNUS  opens what `PRUNUS prune --ratio 0` writes of each
                                                    with stock software and compares logits
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, FineGrainedFP8Config, LlamaConfig, LlamaForCausalLM

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests/model/quantized"
CONFIG = dict(
    hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, vocab_size=64, max_position_embeddings=64, rms_norm_eps=1e-5,
    tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
)
FP8 = torch.float8_e4m3fn
FP8_MAX, INT8_MAX = 448.0, 127.0
BLOCK = (8, 8)  # rows and columns of a scale
RAGGED = (16, 16)  # of which 40 is no multiple: transformers refuses that, DeepSeek's kernels do not
SEQ = 12


def blocks_of(weight, block):
    """Largest magnitude of every block, and that value again for every weight."""
    rows, columns = weight.shape
    padded = torch.zeros(-(-rows // block[0]) * block[0], -(-columns // block[1]) * block[1])
    padded[:rows, :columns] = weight.abs()
    tiles = padded.view(padded.shape[0] // block[0], block[0], -1, block[1])
    largest = tiles.amax(dim=(1, 3))
    wide = largest[:, None, :, None].expand(tiles.shape).reshape(padded.shape)
    return largest, wide[:rows, :columns]


def fp8(weight, largest, wide):
    scale = largest / FP8_MAX
    return (weight / (wide / FP8_MAX)).clamp(-FP8_MAX, FP8_MAX).to(FP8), scale


def fp8_tensor(weight):
    largest = weight.abs().amax().reshape(1)
    return fp8(weight, largest, largest)


def fp8_channel(weight):
    largest = weight.abs().amax(1, keepdim=True)
    return fp8(weight, largest, largest)


def fp8_block(weight):
    return fp8(weight, *blocks_of(weight, BLOCK))


def fp8_ragged(weight):
    return fp8(weight, *blocks_of(weight, RAGGED))


def int8_channel(weight):
    scale = weight.abs().amax(1, keepdim=True) / INT8_MAX
    return (weight / scale).round().clamp(-128, 127).to(torch.int8), scale


def int8_asymmetric(weight):
    low, high = weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
    scale = (high - low) / 255
    zero = (-128 - low / scale).round().clamp(-128, 127)
    return (weight / scale + zero).round().clamp(-128, 127).to(torch.int8), scale, zero.to(torch.int8)


def int8_group(weight, size=8):
    rows, columns = weight.shape
    scale = weight.view(rows, -1, size).abs().amax(2) / INT8_MAX
    wide = scale.repeat_interleave(size, 1)
    return (weight / wide).round().clamp(-128, 127).to(torch.int8), scale


def scheme(kind, strategy, **more):
    weights = {"num_bits": 8, "type": kind, "strategy": strategy, "symmetric": True, "dynamic": False,
               **more}
    activations = {"num_bits": 8, "type": kind, "strategy": "token", "symmetric": True,
                   "dynamic": True}
    return {"quant_method": "compressed-tensors", "quantization_status": "compressed",
            "format": "float-quantized" if kind == "float" else "int-quantized",
            "ignore": ["lm_head"], "kv_cache_scheme": None,
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights,
                                          "input_activations": activations,
                                          "output_activations": None}}}


# name -> (quantiser, ending of the scale's name, its dtype, quantization_config)
CASES = {
    "fp8_block": (fp8_block, "weight_scale_inv", torch.float32,
                  {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                   "weight_block_size": list(BLOCK)}),
    "fp8_ragged": (fp8_ragged, "weight_scale_inv", torch.float32,
                   {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                    "weight_block_size": list(RAGGED)}),
    "fbgemm_fp8": (fp8_channel, "weight_scale", torch.float32,
                   {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0,
                    "modules_to_not_convert": ["lm_head"]}),
    "modelopt_fp8": (fp8_tensor, "weight_scale", torch.float32,
                     {"quant_method": "modelopt", "quant_algo": "FP8",
                      "ignore": ["lm_head"]}),
    "ct_fp8_tensor": (fp8_tensor, "weight_scale", torch.bfloat16, scheme("float", "tensor")),
    "ct_fp8_channel": (fp8_channel, "weight_scale", torch.bfloat16, scheme("float", "channel")),
    "ct_fp8_block": (fp8_block, "weight_scale", torch.float32,
                     scheme("float", "block", block_structure=list(BLOCK))),
    "ct_int8_channel": (int8_channel, "weight_scale", torch.bfloat16, scheme("int", "channel")),
    "ct_int8_asymmetric": (int8_asymmetric, "weight_scale", torch.bfloat16,
                           scheme("int", "channel", symmetric=False)),
    "ct_int8_group": (int8_group, "weight_scale", torch.bfloat16,
                      scheme("int", "group", group_size=8)),
}


def make_model():
    torch.manual_seed(5)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG)).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.randn_like(value) * 0.3 + (1 if "norm" in name else 0))
            value.copy_(value.bfloat16().float())
    return model


def is_quantized(name):
    return name.endswith("_proj.weight")


def expected_by_hand(tensors, name, ending):
    q = tensors[name].float()
    scale = tensors[name.replace("weight", ending)].float()
    if scale.dim() == 2 and scale.shape[1] > 1:
        scale = scale.repeat_interleave(RAGGED[0], 0).repeat_interleave(RAGGED[1], 1)
        scale = scale[:q.shape[0], :q.shape[1]]
    return (q * scale).bfloat16()


def expected_by_compressed_tensors(tensors, name, config):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    group = dict(config["config_groups"]["group_0"])
    compressor = BaseCompressor.load_from_registry(config["format"])
    state = {"weight": tensors[name], "weight_scale": tensors[name.replace("weight", "weight_scale")]}
    zero = tensors.get(name.replace("weight", "weight_zero_point"))
    if zero is not None:
        state["weight_zero_point"] = zero
    weight = compressor.decompress(state, QuantizationScheme(**group))["weight"]
    return weight


def expected_by_transformers(folder):
    model = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=FineGrainedFP8Config(dequantize=True), dtype=torch.bfloat16)
    return model.state_dict()


def expected_of(case, tensors, ending, config, out):
    names = [name for name in tensors if is_quantized(name)]
    if config["quant_method"] == "compressed-tensors":
        return {name: expected_by_compressed_tensors(tensors, name, config) for name in names}
    if case == "fp8_block":
        state = expected_by_transformers(out)
        return {name: state[name] for name in names}
    return {name: expected_by_hand(tensors, name, ending) for name in names}


def write_case(case, model):
    quantize, ending, scale_dtype, config = CASES[case]
    out = FOLDER / case
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    tensors = {}
    for name, value in model.state_dict().items():
        if not is_quantized(name):
            tensors[name] = value.bfloat16()
            continue
        q, scale, *zero = quantize(value)
        if scale_dtype == torch.bfloat16:
            # As the writers do: the scale is rounded first, and the weight divided by what is stored.
            scale = scale.bfloat16()
        tensors[name] = q
        tensors[name.replace("weight", ending)] = scale.contiguous()
        if zero:
            tensors[name.replace("weight", "weight_zero_point")] = zero[0]
        if case == "modelopt_fp8":
            tensors[name.replace("weight", "input_scale")] = torch.tensor(0.5)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    plain = model.config.to_dict()
    plain.update(architectures=["LlamaForCausalLM"], dtype="bfloat16", quantization_config=config)
    (out / "config.json").write_text(json.dumps(plain, indent=1) + "\n")
    expected = {name: value.bfloat16().contiguous()
                for name, value in expected_of(case, tensors, ending, config, out).items()}
    stock = LlamaForCausalLM(LlamaConfig(**CONFIG)).eval()
    stock.load_state_dict({name: expected.get(name, value).float()
                           for name, value in model.state_dict().items()})
    ids = torch.arange(SEQ)[None] * 5 % CONFIG["vocab_size"]
    with torch.no_grad():
        logits = stock(ids).logits
    save_file({**expected, "logits": logits.contiguous()}, out / "golden.safetensors")
    (out / "golden.json").write_text(json.dumps({"input_ids": ids.tolist()}) + "\n")
    name = "model.layers.0.mlp.down_proj.weight"
    rounding = (expected[name].float() - model.state_dict()[name]).norm() / model.state_dict()[name].norm()
    print(f"{case}: {len(expected)} tensors, relative rounding {rounding:.2e}")
    assert rounding < 0.05


def check(prunus):
    for folder in sorted(FOLDER.iterdir()):
        if not folder.is_dir():
            continue
        golden = load_file(folder / "golden.safetensors")["logits"]
        ids = torch.tensor(json.loads((folder / "golden.json").read_text())["input_ids"])
        with tempfile.TemporaryDirectory() as scratch:
            out = pathlib.Path(scratch) / "out"
            subprocess.run([prunus, "prune", folder, "--out", out, "--method", "l1", "--ratio", "0",
                            "--quiet"], check=True)
            config = json.loads((out / "config.json").read_text())
            assert "quantization_config" not in config and config["dtype"] == "bfloat16"
            model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
            with torch.no_grad():
                logits = model(ids).logits
        error = ((logits - golden).norm() / golden.norm()).item()
        print(f"{folder.name}: relative error {error:.1e}")
        assert error < 1e-5, folder


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", metavar="PRUNUS")
    arguments = parser.parse_args()
    if arguments.check:
        return check(arguments.check)
    model = make_model()
    for case in CASES:
        write_case(case, model)


if __name__ == "__main__":
    main()

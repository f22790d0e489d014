#!/usr/bin/env python3
"""Makes tests/model/golden_gguf: tiny models as GGUF files, as llama.cpp's converter would write
them, and the logits that stock transformers computes for the same weights. They are the oracle for
opening a GGUF file as a model.

Needs: pip install torch==2.13.0 transformers==5.24.0 gguf==0.19.0 safetensors

    tools/make_gguf_model_goldens.py [NAME…]

Configs and weights are those of tests/model/golden. Each case becomes two files:
  NAME.gguf         matrices in BF16 and F16 by turns (or quantised), norms and biases in F32
  NAME.safetensors  "input_ids" I64 [1, seq] and "logits" F32 [1, seq, vocab], from eager attention
                    in FP32 on the weights as the file holds them

Names of tensors are those of the `gguf` package. What the converter changes besides is here:
  llama, deci            rows of q and k from halves to pairs, by the layer's own head counts
  gemma, gemma2, gemma3  norms as 1 + w; scores are divided by the root of head_dim, so the configs say
                         so (query_pre_attn_scalar is in no file)
  gpt2                   Conv1D's matrices transposed
  gptneox, bloom         q, k and v of each head → all q, all k, all v
  mixtures               the experts of a layer stacked
  llama3, longrope       factors as tensors
Cases `deci` and `openelm` have layers of different sizes: Llama's and Qwen3's own modules, a layer
at a time.
"""
import copy
import json
import math
import pathlib
import sys
import tempfile

import gguf
import numpy as np
import safetensors.torch
import torch
import transformers
from gguf import GGMLQuantizationType as Type

import make_forward_goldens as forward

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN, OUT = ROOT / "tests/model/golden", ROOT / "tests/model/golden_gguf"
SEQ = 24

# name -> (architecture, case of tests/model/golden, changes to its config)
CASES = {
    "llama_quantised": ("llama", "llama_gqa", {}),
    "llama_bias": ("llama", "llama_bias", {}),
    "llama31_rope": ("llama", "llama31_rope", {}),
    "llama_linear_rope": ("llama", "llama_linear_rope", {}),
    "llama_yarn": ("llama", "llama_yarn", {}),
    "llama_factors": ("llama", "llama_gqa", {"rope_scaling": {
        "rope_type": "longrope", "short_factor": [1.0, 1.5, 2.5, 7.0],
        "long_factor": [1.0, 1.5, 2.5, 7.0], "attention_factor": 1.0,
        "original_max_position_embeddings": 64}}),
    "mistral_sliding": ("llama", "mistral_sliding", {}),
    "mixtral": ("llama", "mixtral", {}),
    "deci": ("deci", None, {}),
    "qwen2": ("qwen2", "qwen2", {}),
    "qwen2_moe": ("qwen2moe", "qwen2_moe", {}),
    "qwen3": ("qwen3", "qwen3", {}),
    "qwen3_moe": ("qwen3moe", "qwen3_moe", {}),
    "openelm": ("openelm", None, {}),
    "gemma": ("gemma", "gemma", {}),
    "gemma2": ("gemma2", "gemma2", {"query_pre_attn_scalar": 16}),
    "gemma3": ("gemma3", "gemma3_text_linear", {"query_pre_attn_scalar": 12}),
    "phi3": ("phi3", "phi3", {}),
    "phi3_longrope": ("phi3", "phi3_longrope_long", {}),
    "phi3_partial": ("phi3", "phi3_partial", {}),
    "glm4": ("glm4", "glm4", {}),
    "olmo2": ("olmo2", "olmo2", {}),
    "gpt2": ("gpt2", "gpt2", {}),
    "gptneox": ("gptneox", "gpt_neox", {}),
    "gptneox_sequential": ("gptneox", "gpt_neox_sequential", {}),
    "bloom": ("bloom", "bloom", {}),
}
ARCHITECTURES = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}


def get(config, *keys):
    """The first of these keys that is there and not null."""
    return next((config[key] for key in keys if config.get(key) is not None), None)


def to_pairs(weight, heads):
    """Rows of each head from [half, pair] to [pair, half]."""
    parts = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return parts.swapaxes(1, 2).reshape(weight.shape)


def heads_apart(fused, heads):
    """All q, all k, all v from rows that have q, k and v of a head together."""
    parts = fused.reshape(heads, 3, -1, *fused.shape[1:])
    return torch.cat([parts[:, part].reshape(-1, *fused.shape[1:]) for part in range(3)])


def converted(arch, config, weights):
    """GGUF name -> value, as the converter has it; `config` may hold lists of sizes."""
    layers = get(config, "num_hidden_layers", "n_layer")
    names = gguf.get_tensor_name_map(ARCHITECTURES[arch], layers)
    result, experts = {}, {}
    for name, value in weights.items():
        if value.dtype != torch.float32 or "masked_bias" in name or "inv_freq" in name:
            continue  # buffers
        layer = next((int(part) for part in name.split(".") if part.isdigit()), None)

        def per_layer(*keys):
            size = get(config, *keys)
            return size[layer or 0] if isinstance(size, list) else size

        heads = per_layer("num_attention_heads", "n_head")
        kv_heads = per_layer("num_key_value_heads") or heads
        if arch in ("llama", "deci") and ".q_proj." in name:
            value = to_pairs(value, heads)
        if arch in ("llama", "deci") and ".k_proj." in name:
            value = to_pairs(value, kv_heads)
        if arch.startswith("gemma") and name.endswith("norm.weight"):
            value = value + 1
        if arch == "gpt2" and ".c_" in name and name.endswith("weight"):
            value = value.T.contiguous()
        if arch in ("gptneox", "bloom") and "query_key_value" in name:
            value = heads_apart(value, heads)
        if name.endswith("shared_expert_gate.weight"):
            value = value.squeeze(0)
        if ".experts." in name:
            stem, number, rest = name.partition(".experts.")[0], *name.split(".experts.")[1].split(".", 1)
            experts.setdefault((stem, rest), {})[int(number)] = value
            continue
        if arch == "openelm" and any(f".{part}_proj." in name for part in "qkv"):
            fused = result.setdefault(f"blk.{layer}.attn_qkv.weight", {})
            fused["qkv".index(name.split("_proj")[0][-1])] = value
            continue
        if name == "lm_head.weight" and "embed_out.weight" in weights:
            continue
        if arch == "bloom":
            name = name.removeprefix("transformer.")
        mapped = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if mapped is None:
            raise SystemExit(f"{arch}: no GGUF name for {name}")
        result[mapped] = value
    for (stem, rest), parts in experts.items():
        layer = int(next(part for part in stem.split(".") if part.isdigit()))
        kind = {"w1": "gate", "w3": "up", "w2": "down", "gate_proj": "gate", "up_proj": "up",
                "down_proj": "down"}[rest.removesuffix(".weight")]
        stacked = torch.stack([parts[i] for i in range(len(parts))])
        result[f"blk.{layer}.ffn_{kind}_exps.weight"] = stacked
    return {name: torch.cat([value[i] for i in range(3)]) if isinstance(value, dict) else value
            for name, value in result.items()}


def llama3_factors(config):
    """The factors of Llama 3.1's scaling, one per pair of a head's channels."""
    scaling, dim = config["rope_scaling"], config["head_dim"]
    old, factors = scaling["original_max_position_embeddings"], []
    for index in range(0, dim, 2):
        wave = 2 * math.pi * config["rope_theta"] ** (index / dim)
        if wave < old / scaling["high_freq_factor"]:
            factors.append(1.0)
        elif wave > old / scaling["low_freq_factor"]:
            factors.append(scaling["factor"])
        else:
            smooth = ((old / wave - scaling["low_freq_factor"])
                      / (scaling["high_freq_factor"] - scaling["low_freq_factor"]))
            factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return {"rope_freqs.weight": factors}


def add_rope(writer, arch, config):
    """Keys of the rotary embedding; → tensors of factors."""
    heads = get(config, "num_attention_heads")
    heads = heads[0] if isinstance(heads, list) else heads
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    share = get(config, "partial_rotary_factor", "rotary_pct") or 1.0
    if arch in ("llama", "deci", "openelm", "gptneox", "phi3", "glm4"):
        writer.add_rope_dimension_count(int(share * head_dim))
    if arch not in ("gptneox", "gemma", "gemma2"):
        writer.add_rope_freq_base(config["rope_theta"])
    if arch == "gemma3":
        writer.add_float32("gemma3.rope.freq_base_swa", config["rope_local_base_freq"])
    scaling = config.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type"))
    if arch == "phi3":
        writer.add_rope_scaling_orig_ctx_len(config["original_max_position_embeddings"])
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    elif kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    elif kind == "llama3":
        return llama3_factors(config)
    elif kind == "longrope" and arch == "llama":
        return {"rope_freqs.weight": scaling["long_factor"]}
    elif kind == "longrope":
        original = config["original_max_position_embeddings"]
        stretch = config["max_position_embeddings"] / original
        writer.add_rope_scaling_attn_factors(
            math.sqrt(1 + math.log(stretch) / math.log(original)))
        return {"rope_factors_long.weight": scaling["long_factor"],
                "rope_factors_short.weight": scaling["short_factor"]}
    return {}


def add_metadata(writer, arch, config):
    hidden = get(config, "hidden_size", "n_embd")
    writer.add_block_count(get(config, "num_hidden_layers", "n_layer"))
    writer.add_context_length(get(config, "max_position_embeddings", "n_positions", "seq_length")
                              or 2048)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(get(config, "intermediate_size", "n_inner") or 4 * hidden)
    heads = get(config, "num_attention_heads", "n_head")
    writer.add_head_count(heads)
    if arch not in ("gpt2", "gptneox"):
        writer.add_head_count_kv(get(config, "num_key_value_heads") or heads)
    if get(config, "rms_norm_eps"):
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    else:
        writer.add_layer_norm_eps(get(config, "layer_norm_eps", "layer_norm_epsilon"))
    if config.get("head_dim"):
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    if arch in ("llama", "deci"):
        writer.add_vocab_size(config["vocab_size"])
    if arch == "gptneox":
        writer.add_parallel_residual(config["use_parallel_residual"])
    if arch in ("gemma2", "gemma3", "phi3") or config["model_type"] == "mistral":
        writer.add_sliding_window(config.get("sliding_window") or 0)
    if arch == "gemma3" and "layer_types" in config:
        writer.add_sliding_window_pattern([one.startswith("sliding") for one in config["layer_types"]])
    if arch == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if experts := get(config, "num_local_experts", "num_experts"):
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if config.get("moe_intermediate_size"):
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if config.get("shared_expert_intermediate_size"):
        writer.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])
    return {} if arch in ("gpt2", "bloom") else add_rope(writer, arch, config)


QUANTISED = [Type.Q8_0, Type.Q4_1, Type.Q5_0, Type.Q4_0, Type.Q5_1]


def stored_type(name, value, number, quantised):
    """Matrices by turns; norms, biases and routers as they are."""
    if value.dim() < 2 or "ffn_gate_inp" in name:
        return Type.F32
    if quantised and value.shape[-1] % 32 == 0:
        return QUANTISED[number % len(QUANTISED)]
    return Type.BF16 if number % 2 else Type.F16


def write(path, arch, config, tensors, quantised):
    """Writes the file; → name -> value as the file has it."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_type("model")
    writer.add_name(path.stem)
    factors = add_metadata(writer, arch, config)
    stored = {}
    for number, (name, value) in enumerate(sorted(tensors.items())):
        kind = stored_type(name, value, number, quantised)
        array = value.contiguous().numpy()
        if kind == Type.F32:
            writer.add_tensor(name, array)
            stored[name] = value
            continue
        data = gguf.quants.quantize(array, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
        stored[name] = torch.from_numpy(
            gguf.quants.dequantize(data, kind).reshape(value.shape).copy())
    for name, values in factors.items():
        writer.add_tensor(name, np.array(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path.chmod(0o644)
    return stored


def rounded(arch, config, weights, stored):
    """The model's weights as the file has them. Where each value went is seen by converting its
    place in the tensor instead of it."""
    floats = {name: value for name, value in weights.items() if value.dtype == torch.float32}
    result = dict(weights)
    for name, value in floats.items():
        places = {other: torch.full_like(tensor, -2) for other, tensor in floats.items()}
        places[name] = torch.arange(value.numel(), dtype=torch.float32).reshape(value.shape)
        flat = torch.empty(value.numel())
        for stored_name, marks in converted(arch, config, places).items():
            plus = 1 if arch.startswith("gemma") and stored_name.endswith("norm.weight") else 0
            mine = marks - plus >= 0
            flat[(marks[mine] - plus).long()] = stored[stored_name][mine] - plus
        result[name] = flat.reshape(value.shape)
    return result


def uneven(kind):
    """Llama or Qwen3 with layers of different sizes: config with lists, model."""
    heads, kv_heads, ffn = ([4, 2, 6], [2, 1, 3], [48, 32, 40])
    base = (forward.LLAMA | {"attention_bias": True} if kind == "deci" else forward.QWEN3)
    base = base | {"num_hidden_layers": 3, "hidden_size": 32, "head_dim": 8,
                   "tie_word_embeddings": kind == "openelm", "num_key_value_heads": 4}
    model = forward.model_of(base)
    for index in range(3):
        config = copy.deepcopy(model.config)
        config.num_attention_heads, config.num_key_value_heads = heads[index], kv_heads[index]
        config.intermediate_size = ffn[index]
        model.model.layers[index] = type(model.model.layers[index])(config, index)
    lists = {"num_attention_heads": heads, "num_key_value_heads": kv_heads,
             "intermediate_size": ffn}
    return base | lists, model.eval()


def logits_of(config, model, weights, ids):
    model = model or forward.model_of(config)
    own = model.state_dict()
    missing, _ = model.load_state_dict(
        {name: value for name, value in weights.items() if name in own}, strict=False)
    if set(missing) - {"lm_head.weight", "embed_out.weight"}:
        raise SystemExit(f"weights lack {missing}")
    model.tie_weights()
    return forward.logits_of(model, ids)


def stock_logits(config, weights, ids):
    """Through a directory, so that transformers' own renaming (experts) applies."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        forward.write_config(config, scratch)
        safetensors.torch.save_file({name: value.contiguous() for name, value in weights.items()},
                                    scratch / "model.safetensors", {"format": "pt"})
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            scratch, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
        if info["missing_keys"]:
            raise SystemExit(f"missing {info['missing_keys']}")
        return forward.logits_of(model.eval(), ids)


def make(name):
    arch, case, changes = CASES[name]
    ids = forward.random_ids(name)[:1, :SEQ]
    if case is None:
        config, model = uneven(name)
        weights = forward.random_weights(model, name)
    else:
        config = json.loads((GOLDEN / case / "config.json").read_text()) | changes
        model, weights = None, safetensors.torch.load_file(GOLDEN / case / "model.safetensors")
    stored = write(OUT / f"{name}.gguf", arch, config, converted(arch, config, weights),
                   name == "llama_quantised")
    as_stored = rounded(arch, config, weights, stored)
    if case is None:
        logits = logits_of(config, model, as_stored, ids)
    else:
        logits = stock_logits(config, as_stored, ids)
    if not torch.isfinite(logits).all():
        raise SystemExit(f"{name}: logits are not finite")
    path = OUT / f"{name}.safetensors"
    safetensors.torch.save_file({"input_ids": ids.contiguous(), "logits": logits.contiguous()},
                                path, {"format": "pt"})
    path.chmod(0o644)
    size = (OUT / f"{name}.gguf").stat().st_size
    print(f"{name}: {len(stored)} tensors, {size} bytes, logits std {logits.std():.3f}")


def main() -> int:
    forward.torch, forward.transformers = torch, transformers
    forward.safetensors = safetensors
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    for name in sys.argv[1:] or CASES:
        make(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

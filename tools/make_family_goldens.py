#!/usr/bin/env python3
"""Makes the forward goldens of further model families in tests/model/golden: tiny random models and
the logits that stock transformers computes for them. Continues make_forward_goldens.py, whose
docstring describes the files, weights and ablations.

Needs: pip install torch==2.13.0 transformers==5.24.0 safetensors

Config keys are spelled as in the published checkpoints of each family (v4 spelling), and tensors
are named and laid out as there: mask buffers beside GPT-2's and GPT-NeoX' weights, names without
"transformer." (gpt2_hub, bloom_hub), one tensor per expert. Baichuan and ChatGLM are not part of
transformers. Their mathematics is that of stock Llama and stock Glm with another weight layout,
and, for some, ALiBi for RoPE or a head with rows of length one; so stock modules compute the
logits, the weights are packed into the published layout, and the check unpacks them again.

Gemma's norms multiply by 1 + weight: their weights are 0.2 * randn. For mixtures of experts the
script refuses a case where rounding could change the choice of an expert.
"""
import argparse
import dataclasses
import json
import math
import pathlib
import re
import sys
import tempfile
import typing
import zlib

import make_forward_goldens as forward
from make_forward_goldens import BASE, LLAMA, MIN_EFFECT, QWEN2, SEQ, VOCAB, relative_error

MAX_BYTES = 120_000  # of one golden directory
MIN_FAINT = 1e-4  # of the two forms of GELU, which differ by at most 5e-4 anywhere
MIN_GAP = 1e-3  # between the router logits of the last expert taken and the first one left


@dataclasses.dataclass
class Case:
    config: dict
    ablations: dict = dataclasses.field(default_factory=dict)  # label -> config keys
    faint: dict = dataclasses.field(default_factory=dict)  # as ablations, but of small effect
    weights_of: str | None = None  # the case whose weights and ids are used
    pack: typing.Callable | None = None  # tensors as transformers saves them -> as published
    unpack: typing.Callable | None = None  # the way back, where transformers does not know it
    stock: typing.Callable | None = None  # published config -> config of the stock modules
    run: typing.Callable | None = None  # (published config, model, ids) -> logits


# ---------------------------------------------------------------------------------- GPT-NeoX
NEOX = {
    "architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0,
    "hidden_act": "gelu", "hidden_size": 32, "initializer_range": 0.02, "intermediate_size": 40,
    "layer_norm_eps": 1e-5, "max_position_embeddings": 32, "model_type": "gpt_neox",
    "num_attention_heads": 2, "num_hidden_layers": 2, "rotary_emb_base": 10000, "rotary_pct": 0.25,
    "tie_word_embeddings": False, "torch_dtype": "float16", "use_cache": True,
    "use_parallel_residual": True, "vocab_size": VOCAB,
}


def neox_buffers(config: dict, tensors: dict) -> dict:
    """Adds the buffers that the published files carry: causal mask, its fill value, inv_freq."""
    size, rotary = config["max_position_embeddings"], 4
    for layer in range(config["num_hidden_layers"]):
        prefix = f"gpt_neox.layers.{layer}.attention."
        tensors[prefix + "bias"] = torch.ones(size, size, dtype=torch.bool).tril()[None, None]
        tensors[prefix + "masked_bias"] = torch.tensor(-1e9)
        frequencies = 1.0 / 10000 ** (torch.arange(0, rotary, 2) / rotary)
        tensors[prefix + "rotary_emb.inv_freq"] = frequencies
    return tensors


# ------------------------------------------------------------------------------ GPT-2, BLOOM
GPT2 = {
    "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
    "bos_token_id": 95, "embd_pdrop": 0.1, "eos_token_id": 95, "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-5, "model_type": "gpt2", "n_ctx": 32, "n_embd": 24, "n_head": 4,
    "n_layer": 2, "n_positions": 32, "resid_pdrop": 0.1, "summary_activation": None,
    "summary_first_dropout": 0.1, "summary_proj_to_labels": True, "summary_type": "cls_index",
    "summary_use_proj": True, "vocab_size": VOCAB,
}
BLOOM = {
    "apply_residual_connection_post_layernorm": False, "architectures": ["BloomForCausalLM"],
    "attention_dropout": 0.0, "attention_softmax_in_fp32": True, "bias_dropout_fusion": True,
    "bos_token_id": 1, "eos_token_id": 2, "hidden_dropout": 0.0, "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-5, "masked_softmax_fusion": True, "model_type": "bloom",
    "n_inner": None, "n_layer": 2, "offset_alibi": 100, "pad_token_id": 3, "pretraining_tp": 1,
    "skip_bias_add": True, "skip_bias_add_qkv": False, "slow_but_exact": False,
    "unk_token_id": 0, "use_cache": True, "vocab_size": VOCAB,
}


def without_prefix(config: dict, tensors: dict) -> dict:
    return {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}


def gpt2_published(config: dict, tensors: dict) -> dict:
    """Names without "transformer." and the causal mask of each layer as "attn.bias"."""
    mask = torch.ones(config["n_ctx"], config["n_ctx"]).tril()[None, None]
    masks = {f"h.{layer}.attn.bias": mask.clone() for layer in range(config["n_layer"])}
    return without_prefix(config, tensors) | masks


# --------------------------------------------------------------------------------------- OPT
OPT = {
    "activation_dropout": 0.0, "activation_function": "relu", "architectures": ["OPTForCausalLM"],
    "attention_dropout": 0.0, "bos_token_id": 2, "do_layer_norm_before": True, "dropout": 0.1,
    "eos_token_id": 2, "ffn_dim": 40, "hidden_size": 32, "init_std": 0.02, "layerdrop": 0.0,
    "max_position_embeddings": 32, "model_type": "opt", "num_attention_heads": 4,
    "num_hidden_layers": 2, "pad_token_id": 1, "prefix": "</s>", "torch_dtype": "float16",
    "use_cache": True, "vocab_size": VOCAB, "word_embed_proj_dim": 32,
}

# -------------------------------------------------------------------------------------- Phi-3
PHI3 = BASE | {
    "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "attention_bias": False,
    "attention_dropout": 0.0, "embd_pdrop": 0.0, "intermediate_size": 40, "pad_token_id": 0,
    "num_key_value_heads": 2, "original_max_position_embeddings": 64, "resid_pdrop": 0.0,
    "sliding_window": 10,
}
LONGROPE = {"type": "longrope", "short_factor": [1.0, 1.1, 1.5, 2.0],
            "long_factor": [1.2, 2.0, 4.0, 8.0]}
LONGROPE_PARTIAL = {"type": "longrope", "short_factor": [1.0, 1.5, 2.0],
                    "long_factor": [1.2, 3.0, 8.0]}

# -------------------------------------------------------------------------------------- Gemma
GEMMA = {
    "architectures": ["GemmaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "bos_token_id": 2, "eos_token_id": 1, "head_dim": 12, "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": None, "hidden_size": 32, "initializer_range": 0.02,
    "intermediate_size": 40, "max_position_embeddings": 64, "model_type": "gemma",
    "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 1, "pad_token_id": 0,
    "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": 10000.0, "torch_dtype": "bfloat16",
    "use_cache": True, "vocab_size": VOCAB,
}
GEMMA2 = GEMMA | {
    "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "head_dim": 16,
    "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "num_key_value_heads": 2,
    "attn_logit_softcapping": 4.0, "final_logit_softcapping": 5.0, "query_pre_attn_scalar": 24,
    "cache_implementation": "hybrid", "sliding_window": 8, "sliding_window_size": 8,
}
GEMMA3 = {
    "architectures": ["Gemma3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
    "attn_logit_softcapping": None, "bos_token_id": 2, "cache_implementation": "hybrid",
    "eos_token_id": [1, 3], "final_logit_softcapping": None, "head_dim": 12,
    "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 24, "initializer_range": 0.02,
    "intermediate_size": 32, "max_position_embeddings": 64, "model_type": "gemma3_text",
    "num_attention_heads": 4, "num_hidden_layers": 4, "num_key_value_heads": 1, "pad_token_id": 0,
    "query_pre_attn_scalar": 20, "rms_norm_eps": 1e-6, "rope_local_base_freq": 100,
    "rope_scaling": None, "rope_theta": 10000, "sliding_window": 8, "sliding_window_pattern": 3,
    "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": VOCAB,
}
SLIDING, FULL = "sliding_attention", "full_attention"
GEMMA3_LINEAR = {key: value for key, value in GEMMA3.items() if key != "sliding_window_pattern"} | {
    "layer_types": [SLIDING, FULL, SLIDING, FULL],
    "rope_scaling": {"rope_type": "linear", "factor": 8.0}}

# -------------------------------------------------------------- OLMo 2 and further RoPE rules
OLMO2 = BASE | {
    "architectures": ["Olmo2ForCausalLM"], "model_type": "olmo2", "attention_bias": False,
    "attention_dropout": 0.0, "intermediate_size": 40, "num_key_value_heads": 2,
    "rope_theta": 500000, "rms_norm_eps": 1e-6, "pad_token_id": 1,
}
ROPE = LLAMA | {"num_attention_heads": 2, "num_key_value_heads": 1}  # heads of 16
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
YARN_FULL = YARN | {"beta_fast": 1.5, "beta_slow": 0.25, "attention_factor": 1.3}
DYNAMIC = {"type": "dynamic", "factor": 2.0}

STAGE_1 = {
    "gpt_neox": Case(NEOX, {"all dims rotate": {"rotary_pct": 1.0},
                            "sequential": {"use_parallel_residual": False},
                            "relu": {"hidden_act": "relu"}},
                     {"tanh gelu": {"hidden_act": "gelu_new"}}, pack=neox_buffers),
    "gpt_neox_sequential": Case(NEOX | {"use_parallel_residual": False},
                                {"parallel": {"use_parallel_residual": True}}),
    "gpt2": Case(GPT2 | {"n_inner": 40}, {"relu": {"activation_function": "relu"},
                                          "unscaled": {"scale_attn_weights": False}},
                 {"exact gelu": {"activation_function": "gelu"}}),
    "gpt2_hub": Case(GPT2, {"eps 0.1": {"layer_norm_epsilon": 0.1}}, pack=gpt2_published),
    "opt": Case(OPT, {"gelu": {"activation_function": "gelu"}}),
    "opt_post": Case(OPT | {"do_layer_norm_before": False},
                     {"gelu": {"activation_function": "gelu"}}),
    "bloom": Case(BLOOM | {"hidden_size": 24, "n_head": 4},
                  {"residual after norm": {"apply_residual_connection_post_layernorm": True}}),
    "bloom_hub": Case(BLOOM | {"n_embed": 24, "num_attention_heads": 6}, pack=without_prefix),
    "phi3": Case(PHI3, {"no window": {"sliding_window": None},
                        "window 9": {"sliding_window": 9}, "theta 500": {"rope_theta": 500.0}}),
    "phi3_longrope": Case(
        PHI3 | {"rope_scaling": LONGROPE, "original_max_position_embeddings": 32,
                "sliding_window": 64},
        {"attention factor 1": {"rope_scaling": LONGROPE | {"attention_factor": 1.0}},
         "long factors": {"rope_scaling": LONGROPE | {"short_factor": LONGROPE["long_factor"]}}}),
    "phi3_longrope_long": Case(
        PHI3 | {"rope_scaling": LONGROPE, "original_max_position_embeddings": 16,
                "sliding_window": 64},
        {"attention factor 1": {"rope_scaling": LONGROPE | {"attention_factor": 1.0}},
         "short factors": {"rope_scaling": LONGROPE | {"long_factor": LONGROPE["short_factor"]}}}),
    "phi3_partial": Case(
        PHI3 | {"rope_scaling": LONGROPE_PARTIAL, "original_max_position_embeddings": 16,
                "partial_rotary_factor": 0.75, "sliding_window": 64, "tie_word_embeddings": True},
        {"attention factor 1": {"rope_scaling": LONGROPE_PARTIAL | {"attention_factor": 1.0}}}),
    "gemma": Case(GEMMA, {"theta 500": {"rope_theta": 500.0}, "silu": {"hidden_act": "silu"}}),
    "gemma2": Case(GEMMA2, {
        "no attention cap": {"attn_logit_softcapping": None},
        "no final cap": {"final_logit_softcapping": None},
        "scale of head_dim": {"query_pre_attn_scalar": 16},
        "window 9": {"sliding_window": 9},
        "windows swapped": {"layer_types": [FULL, SLIDING, FULL]}}),
    "gemma3_text": Case(GEMMA3, {
        "one theta": {"rope_local_base_freq": 10000}, "no window": {"sliding_window": 64},
        "scale of head_dim": {"query_pre_attn_scalar": 12},
        "pattern 2": {"sliding_window_pattern": 2}}),
    "gemma3_text_linear": Case(GEMMA3_LINEAR, {
        "no scaling": {"rope_scaling": None}, "pattern": {"layer_types": None}}),
    "olmo2": Case(OLMO2, {"eps 0.1": {"rms_norm_eps": 0.1}, "theta 500": {"rope_theta": 500.0}}),
    "llama_dynamic": Case(ROPE | {"rope_scaling": DYNAMIC, "max_position_embeddings": 16},
                          {"no scaling": {"rope_scaling": None},
                           "linear": {"rope_scaling": DYNAMIC | {"type": "linear"}}}),
    "llama_yarn": Case(ROPE | {"rope_scaling": YARN, "rope_theta": 100.0},
                       {"no scaling": {"rope_scaling": None},
                        "attention factor 1": {"rope_scaling": YARN | {"attention_factor": 1.0}},
                        "no truncation": {"rope_scaling": YARN | {"truncate": False}}}),
    "llama_yarn_betas": Case(ROPE | {"rope_scaling": YARN_FULL, "rope_theta": 10.0},
                             {"default betas": {"rope_scaling": YARN | {"attention_factor": 1.3}},
                              "default factor": {"rope_scaling": YARN_FULL
                                                 | {"attention_factor": None}}}),
    "qwen2_yarn": Case(QWEN2 | {
        "num_attention_heads": 2, "num_key_value_heads": 1, "rope_theta": 50.0,
        "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}},
        {"no scaling": {"rope_scaling": None}}),
}
# ------------------------------------------------------------------------ mixtures of experts
MIXTRAL = BASE | {
    "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "attention_dropout": 0.0,
    "hidden_size": 24, "intermediate_size": 16, "num_key_value_heads": 2, "rope_theta": 1000000.0,
    "num_experts_per_tok": 2, "num_local_experts": 4, "output_router_logits": False,
    "router_aux_loss_coef": 0.02, "sliding_window": None,
}
QWEN2_MOE = BASE | {
    "architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe", "attention_dropout": 0.0,
    "hidden_size": 24, "intermediate_size": 40, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
    "decoder_sparse_step": 1, "max_window_layers": 2, "mlp_only_layers": [],
    "moe_intermediate_size": 12, "norm_topk_prob": False, "num_experts": 4,
    "num_experts_per_tok": 2, "output_router_logits": False, "router_aux_loss_coef": 0.001,
    "shared_expert_intermediate_size": 20, "sliding_window": 8, "use_sliding_window": False,
}
QWEN3_MOE = {key: value for key, value in QWEN2_MOE.items()
             if key != "shared_expert_intermediate_size"} | {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "attention_bias": False,
    "head_dim": 16, "norm_topk_prob": True, "sliding_window": None,
}
STAGE_2 = {
    "mixtral": Case(MIXTRAL, {"3 experts": {"num_experts_per_tok": 3},
                              "theta 100": {"rope_theta": 100.0}}),
    "qwen2_moe": Case(QWEN2_MOE, {"normalised": {"norm_topk_prob": True},
                                  "1 expert": {"num_experts_per_tok": 1}}),
    "qwen2_moe_mixed": Case(QWEN2_MOE | {"mlp_only_layers": [0]},
                            {"normalised": {"norm_topk_prob": True}}),
    "qwen3_moe": Case(QWEN3_MOE, {"not normalised": {"norm_topk_prob": False}}),
    "qwen3_moe_step": Case(QWEN3_MOE | {"decoder_sparse_step": 2},
                           {"not normalised": {"norm_topk_prob": False}}),
}

# ----------------------------------------------------------------------------------- Baichuan
BAICHUAN = {
    "architectures": ["BaichuanForCausalLM"],
    "auto_map": {"AutoConfig": "configuration_baichuan.BaichuanConfig",
                 "AutoModelForCausalLM": "modeling_baichuan.BaichuanForCausalLM"},
    "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 24,
    "initializer_range": 0.02, "intermediate_size": 40, "model_type": "baichuan",
    "num_attention_heads": 6, "num_hidden_layers": 2, "pad_token_id": 0, "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True,
    "vocab_size": VOCAB,
}
BAICHUAN_7B = BAICHUAN | {
    "architectures": ["BaiChuanForCausalLM"],
    "auto_map": {"AutoConfig": "configuration_baichuan.BaiChuanConfig",
                 "AutoModelForCausalLM": "modeling_baichuan.BaiChuanForCausalLM"},
    "max_position_embeddings": 64, "num_attention_heads": 4,
}
BAICHUAN2_7B = BAICHUAN | {"max_position_embeddings": 64, "model_max_length": 64,
                           "num_attention_heads": 4, "z_loss_weight": 0}
BAICHUAN_13B = BAICHUAN | {"model_max_length": 64, "gradient_checkpointing": False}
BAICHUAN2_13B = BAICHUAN | {"model_max_length": 64, "z_loss_weight": 0}


def llama_of_baichuan(config: dict) -> dict:
    keys = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "hidden_act",
            "num_attention_heads", "rms_norm_eps", "tie_word_embeddings")
    return LLAMA | {key: config[key] for key in keys}


def alibi_slopes(heads: int) -> list:
    """Press et al. 2021: 2^(-8k/n) for a power of two n; else those of the next lower power of
    two and then every other slope of twice that power."""
    whole = 2 ** int(math.log2(heads))
    slopes = [2.0 ** (-8 * (k + 1) / whole) for k in range(whole)]
    return slopes + [2.0 ** (-4 * (2 * k + 1) / whole) for k in range(heads - whole)]


def check_alibi() -> None:
    """The slopes are those of BLOOM's code."""
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor
    for heads in (4, 6, 40, 112):
        bloom = build_alibi_tensor(torch.ones(1, SEQ), heads, torch.float64)[:, 0]
        ours = torch.tensor(alibi_slopes(heads)).double()[:, None] * torch.arange(SEQ)
        if not relative_error(bloom, ours) < 1e-6:
            raise SystemExit(f"ALiBi slopes of {heads} heads differ from BLOOM's")


def run_baichuan(config: dict, model, ids) -> "torch.Tensor":
    """Llama with RoPE (7B) or ALiBi (13B), and with a head of unit rows (second generation)."""
    dtype, mask = model.dtype, None
    if "max_position_embeddings" not in config:
        model.model.rotary_emb.forward = lambda x, position_ids: (
            torch.ones(1, SEQ, x.shape[-1] // model.config.num_attention_heads, dtype=dtype),
            torch.zeros(1, SEQ, x.shape[-1] // model.config.num_attention_heads, dtype=dtype))
        slopes = torch.tensor(alibi_slopes(config["num_attention_heads"]), dtype=dtype)
        distance = torch.arange(SEQ)[None, :] - torch.arange(SEQ)[:, None]  # key - query
        mask = (slopes[:, None, None] * distance).masked_fill(distance > 0, -math.inf)[None]
    with torch.no_grad():
        if "z_loss_weight" in config:
            model.lm_head.weight /= model.lm_head.weight.norm(dim=1, keepdim=True)
        return model(input_ids=ids, attention_mask=mask, use_cache=False).logits


def pack_baichuan(config: dict, tensors: dict) -> dict:
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}.self_attn."
        tensors[prefix + "W_pack.weight"] = torch.cat(
            [tensors.pop(f"{prefix}{part}_proj.weight") for part in "qkv"])
    return tensors


def pack_baichuan_7b(config: dict, tensors: dict) -> dict:
    """The first 7B also stores the frequencies of RoPE."""
    dim = config["hidden_size"] // config["num_attention_heads"]
    for layer in range(config["num_hidden_layers"]):
        tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = (
            1.0 / 10000 ** (torch.arange(0, dim, 2).float() / dim))
    return pack_baichuan(config, tensors)


def unpack_baichuan(config: dict, tensors: dict) -> dict:
    size, result = config["hidden_size"], dict(tensors)
    for name in tensors:
        if name.endswith("W_pack.weight"):
            fused = result.pop(name)
            for index, part in enumerate("qkv"):
                result[name.replace("W_pack", f"{part}_proj")] = fused[index * size:][:size]
    return result


# ------------------------------------------------------------------------------- GLM, ChatGLM
GLM = BASE | {
    "architectures": ["GlmForCausalLM"], "model_type": "glm", "attention_bias": True,
    "attention_dropout": 0.0, "eos_token_id": [2, 3, 4], "head_dim": 8, "intermediate_size": 40,
    "num_key_value_heads": 2, "pad_token_id": 2, "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1.5625e-07,
}
GLM4 = GLM | {"architectures": ["Glm4ForCausalLM"], "model_type": "glm4"}
CHATGLM3 = {
    "add_bias_linear": False, "add_qkv_bias": True, "apply_query_key_layer_scaling": True,
    "apply_residual_connection_post_layernorm": False, "architectures": ["ChatGLMModel"],
    "attention_dropout": 0.0, "attention_softmax_in_fp32": True,
    "auto_map": {"AutoConfig": "configuration_chatglm.ChatGLMConfig",
                 "AutoModel": "modeling_chatglm.ChatGLMForConditionalGeneration",
                 "AutoModelForCausalLM": "modeling_chatglm.ChatGLMForConditionalGeneration"},
    "bias_dropout_fusion": True, "eos_token_id": 2, "ffn_hidden_size": 40,
    "fp32_residual_connection": False, "hidden_dropout": 0.0, "hidden_size": 32, "kv_channels": 8,
    "layernorm_epsilon": 1e-5, "model_type": "chatglm", "multi_query_attention": True,
    "multi_query_group_num": 2, "num_attention_heads": 4, "num_layers": 2, "original_rope": True,
    "pad_token_id": 0, "padded_vocab_size": VOCAB, "post_layer_norm": True, "rmsnorm": True,
    "seq_length": 64, "tie_word_embeddings": False, "torch_dtype": "float16", "use_cache": True,
}
CHATGLM_NAMES = {  # stock Glm -> published
    "model.embed_tokens.": "transformer.embedding.word_embeddings.",
    "lm_head.": "transformer.output_layer.", "model.norm.": "transformer.encoder.final_layernorm.",
    "model.layers.": "transformer.encoder.layers.", ".self_attn.o_proj.": ".self_attention.dense.",
    ".self_attn.": ".self_attention.", ".mlp.gate_up_proj.": ".mlp.dense_h_to_4h.",
    ".mlp.down_proj.": ".mlp.dense_4h_to_h.",
}
THETA = 10000


def glm_of_chatglm(config: dict) -> dict:
    """ChatGLM rotates half of each head; rope_ratio, where there is one, multiplies theta."""
    return GLM | {
        "vocab_size": config["padded_vocab_size"], "hidden_size": config["hidden_size"],
        "intermediate_size": config["ffn_hidden_size"], "num_hidden_layers": config["num_layers"],
        "num_attention_heads": config["num_attention_heads"], "head_dim": config["kv_channels"],
        "num_key_value_heads": config["multi_query_group_num"],
        "attention_bias": config["add_qkv_bias"], "rms_norm_eps": config["layernorm_epsilon"],
        "rope_theta": float(THETA * config.get("rope_ratio", 1)),
    }


def pack_chatglm(config: dict, tensors: dict) -> dict:
    result, rotary = {}, config["kv_channels"] // 2
    for layer in range(config["num_layers"]):
        prefix = f"model.layers.{layer}.self_attn."
        for kind in ("weight", "bias"):
            tensors[f"{prefix}query_key_value.{kind}"] = torch.cat(
                [tensors.pop(f"{prefix}{part}_proj.{kind}") for part in "qkv"])
    for name, tensor in tensors.items():
        for stock, published in CHATGLM_NAMES.items():
            name = name.replace(stock, published)
        result[name] = tensor
    theta = THETA * config.get("rope_ratio", 1)
    result["transformer.rotary_pos_emb.inv_freq"] = (
        1.0 / theta ** (torch.arange(0, rotary, 2).float() / rotary))
    return result


def unpack_chatglm(config: dict, tensors: dict) -> dict:
    keys = config["multi_query_group_num"] * config["kv_channels"]
    queries = config["num_attention_heads"] * config["kv_channels"]
    result = {}
    for name, tensor in tensors.items():
        for stock, published in CHATGLM_NAMES.items():
            name = name.replace(published, stock)
        if "query_key_value" in name:
            for part, piece in zip("qkv", tensor.split([queries, keys, keys])):
                result[name.replace("query_key_value", f"{part}_proj")] = piece
        else:
            result[name] = tensor
    return result


def baichuan(config: dict, ablations: dict, pack: typing.Callable = pack_baichuan) -> Case:
    return Case(config, ablations, pack=pack, unpack=unpack_baichuan, stock=llama_of_baichuan,
                run=run_baichuan)


def chatglm(config: dict, ablations: dict) -> Case:
    return Case(config, ablations, pack=pack_chatglm, unpack=unpack_chatglm, stock=glm_of_chatglm)


ROPE_INSTEAD, NORM_HEAD = {"max_position_embeddings": 64}, {"z_loss_weight": 0}
STAGE_3 = {
    "baichuan_7b": baichuan(BAICHUAN_7B, {"unit rows in the head": NORM_HEAD}, pack_baichuan_7b),
    "baichuan2_7b": baichuan(BAICHUAN2_7B, {"eps 0.1": {"rms_norm_eps": 0.1}}),
    "baichuan_13b": baichuan(BAICHUAN_13B, {"RoPE for ALiBi": ROPE_INSTEAD,
                                            "unit rows in the head": NORM_HEAD}),
    "baichuan2_13b": baichuan(BAICHUAN2_13B, {"RoPE for ALiBi": ROPE_INSTEAD}),
    "chatglm3": chatglm(CHATGLM3, {"theta 500": {"rope_ratio": 0.05}}),
    "chatglm_rope_ratio": chatglm(CHATGLM3 | {
        "layernorm_epsilon": 1.5625e-07, "num_hidden_layers": 2, "rope_ratio": 500},
        {"no ratio": {"rope_ratio": 1}}),
    "glm": Case(GLM, {"all dims rotate": {"partial_rotary_factor": 1.0},
                      "theta 500": {"rope_theta": 500.0}}),
    "glm4": Case(GLM4, {"all dims rotate": {"partial_rotary_factor": 1.0},
                        "theta 500": {"rope_theta": 500.0}}),
}
CASES: dict[str, Case] = STAGE_1 | STAGE_2 | STAGE_3


def weight_of(name: str, parameter, gemma: bool, generator) -> "torch.Tensor":
    noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
    if parameter.dim() > 1:
        return 0.3 * noise
    return 0.2 * noise if gemma or name.endswith(".bias") else 1 + 0.2 * noise


def random_weights(model, seed_name: str) -> dict:
    """Every parameter, drawn in order of its name; the seed follows from the name of the case."""
    generator = torch.Generator().manual_seed(zlib.crc32(seed_name.encode()))
    gemma = model.config.model_type.startswith("gemma")
    return {name: weight_of(name, parameter, gemma, generator)
            for name, parameter in sorted(model.named_parameters())}  # tied: once


def model_with(config: dict, weights: dict):
    """The stock model of a config with the given weights; every parameter must be among them."""
    model = forward.model_of(config)
    model.set_experts_implementation("eager")  # the default one knows no float64
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    return model


def stock_config(case: Case, config: dict) -> dict:
    return case.stock(config) if case.stock else config


def logits_of(case: Case, config: dict, weights: dict, ids, dtype=None) -> "torch.Tensor":
    model = model_with(stock_config(case, config), weights).to(dtype or torch.float32)
    return case.run(config, model, ids) if case.run else forward.logits_of(model, ids)


def saved_tensors(model) -> dict:
    """The tensors in the names and layout of transformers' save_pretrained."""
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        return safetensors.torch.load_file(pathlib.Path(scratch) / "model.safetensors")


def published_tensors(case: Case, weights: dict) -> dict:
    tensors = saved_tensors(model_with(stock_config(case, case.config), weights))
    tensors = case.pack(case.config, tensors) if case.pack else tensors
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}


def smallest_router_gap(case: Case, weights: dict, ids) -> float:
    """Distance between the last expert taken and the first one left, over all tokens and layers."""
    model, gaps = model_with(stock_config(case, case.config), weights), []

    def note(router, _, output):
        ordered = output[0].sort(-1, descending=True).values
        gaps.append((ordered[:, router.top_k - 1] - ordered[:, router.top_k]).min().item())
    for module in model.modules():
        if type(module).__name__.endswith("TopKRouter"):
            module.register_forward_hook(note)
    forward.logits_of(model, ids)
    return min(gaps, default=math.inf)


def write(name: str, directory: pathlib.Path, weights: dict, ids, logits) -> dict:
    directory.mkdir(parents=True, exist_ok=True)
    forward.write_config(CASES[name].config, directory)
    safetensors.torch.save_file(published_tensors(CASES[name], weights),
                                directory / "model.safetensors", {"format": "pt"})
    safetensors.torch.save_file({"logits": logits.contiguous()},
                                directory / "golden.safetensors", {"format": "pt"})
    golden = {"input_ids": ids.tolist(), "loss": forward.loss_of(logits, ids),
              "logits": {"file": "golden.safetensors", "tensor": "logits",
                         "shape": list(logits.shape)},
              "made_with": {"torch": torch.__version__, "transformers": transformers.__version__,
                            "attention": "eager", "dtype": "float32"}}
    (directory / "golden.json").write_text(json.dumps(golden) + "\n", encoding="utf-8")
    for file in directory.iterdir():
        file.chmod(0o644)  # safetensors 0.8 writes 0600
    return golden


def report(name: str, label: str, expected, got, least: float = MIN_EFFECT) -> None:
    effect = relative_error(expected, got)
    print(f"    {label}: moves the logits by {effect:.2g}")
    if not effect >= least:
        raise SystemExit(f"{name}: '{label}' moves the logits by {effect:.2g} only")


def neutral_weights(weights: dict, gemma: bool) -> dict:
    """label -> weights with one kind of small parameter at the value that has no effect."""
    kinds = {re.sub(r"\.\d+\.", ".*.", key) for key, value in weights.items() if value.dim() == 1}
    result = {}
    for kind in sorted(kinds):
        zero = gemma or kind.endswith(".bias")
        result[kind] = {key: torch.zeros_like(value) if zero else torch.ones_like(value)
                        for key, value in weights.items()
                        if re.sub(r"\.\d+\.", ".*.", key) == kind}
    return result


def make(name: str, directory: pathlib.Path) -> None:
    case = CASES[name]
    weights = random_weights(forward.model_of(stock_config(case, case.config)),
                             case.weights_of or name)
    ids = forward.random_ids(case.weights_of or name)
    logits = logits_of(case, case.config, weights, ids)
    gap = smallest_router_gap(case, weights, ids)
    if not gap >= MIN_GAP:
        raise SystemExit(f"{name}: router gap {gap:.1g}, rounding may change the experts")
    golden = write(name, directory, weights, ids, logits)
    noise = relative_error(logits_of(case, case.config, weights, ids, torch.float64), logits)
    print(f"{name}: loss {golden['loss']:.4f}, logits std {logits.std():.3f}, "
          f"float32 against float64 {noise:.1e}, router gap {gap:.2g}")
    for label, keys in case.ablations.items():
        report(name, label, logits, logits_of(case, case.config | keys, weights, ids))
    for label, keys in case.faint.items():
        report(name, label, logits, logits_of(case, case.config | keys, weights, ids), MIN_FAINT)
    gemma = case.config["model_type"].startswith("gemma")
    for kind, neutral in neutral_weights(weights, gemma).items():
        if case.config["model_type"] == "opt" and kind.endswith("k_proj.bias"):
            continue  # without RoPE a key bias drops out of the softmax
        report(name, f"{kind} neutral", logits,
               logits_of(case, case.config, weights | neutral, ids))


def reread(case: Case, directory: pathlib.Path, ids) -> dict:
    """Logits of the written files, by attention implementation."""
    if not case.unpack:
        eager = forward.load(directory)
        kinds = {"eager": eager}
        if eager._supports_sdpa:  # not BLOOM, Gemma 2
            kinds["sdpa"] = forward.load(directory, "sdpa")
        return {kind: forward.logits_of(model, ids) for kind, model in kinds.items()}
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    tensors = safetensors.torch.load_file(directory / "model.safetensors")
    return {"eager": logits_of(case, config, case.unpack(config, tensors), ids)}


def check(name: str, directory: pathlib.Path) -> None:
    """The directory gives the stored logits: eager 1e-6, sdpa 1e-5."""
    golden = json.loads((directory / "golden.json").read_text(encoding="utf-8"))
    ids = torch.tensor(golden["input_ids"])
    stored = safetensors.torch.load_file(directory / "golden.safetensors")["logits"]
    errors = {kind: relative_error(stored, got)
              for kind, got in reread(CASES[name], directory, ids).items()}
    loss = abs(forward.loss_of(stored, ids) - golden["loss"])
    size = sum(file.stat().st_size for file in directory.iterdir())
    print(f"{name}: reloaded " + ", ".join(f"{kind} {error:.1e}" for kind, error in errors.items())
          + f"; {size} bytes")
    # written so that a NaN fails too
    if not (errors["eager"] <= 1e-6 and errors.get("sdpa", 0.0) <= 1e-5 and loss <= 1e-9):
        raise SystemExit(f"{name}: the reloaded model differs from golden.safetensors")
    if size > MAX_BYTES:
        raise SystemExit(f"{name}: {size} bytes, limit {MAX_BYTES}")


def arguments() -> argparse.Namespace:
    root = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(
        description="Makes tiny random models of many families and the logits stock transformers "
                    "gives for them.",
        epilog="Names: " + ", ".join(CASES) + ". The file's first lines say what is written.")
    parser.add_argument("--out", type=pathlib.Path, default=root / "tests" / "model" / "golden",
                        metavar="DIR", help="folder of the cases (default: tests/model/golden)")
    parser.add_argument("--check", action="store_true", help="write nothing, verify what is there")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these cases (default: all)")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in CASES]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    return options


def main() -> int:
    options = arguments()
    global torch, transformers, safetensors
    import safetensors.torch
    import torch
    import transformers
    forward.torch, forward.transformers, forward.safetensors = torch, transformers, safetensors
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)

    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    check_alibi()
    for name in options.names or CASES:
        if not options.check:
            make(name, options.out / name)
        check(name, options.out / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

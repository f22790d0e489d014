#!/usr/bin/env python3
"""Writes prunus/model/stock_fields.inc: what the stock transformers classes read of a config.json.

    python3 tools/make_config_fields.py > prunus/model/stock_fields.inc

For every model_type that Prunus and transformers share, each field that the configuration class
declares or that the model's code asks for, as [default, read]:
  default  as JSON; null where the class has none (a field that is only asked for if present);
  read     1 where building the model or running it looks at the field, 0 where it is only declared.
Found in two ways, joined: by building and running a tiny model whose configuration notes what is
asked of it, and by reading the source of the model's classes for what other settings would ask.
A field that is in neither list cannot change what the stock model computes. The rows under the name
"" are settings of generation, which a configuration may hold and no model reads.
Needs torch and transformers (the version is written into the file).
"""
import ast
import dataclasses
import inspect
import json
import re
import sys
import textwrap

import torch
import transformers
from transformers import (CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, GenerationConfig,
                          PreTrainedConfig)

TYPES = [
    "bloom", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "gpt2", "gpt_neox", "llama",
    "mistral", "mixtral", "olmo2", "opt", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe",
]
SMALL = dict(
    vocab_size=64, hidden_size=32, n_embd=32, intermediate_size=48, ffn_dim=48, n_inner=48,
    num_hidden_layers=2, n_layer=2, num_attention_heads=4, n_head=4, num_key_value_heads=2,
    head_dim=8, max_position_embeddings=64, n_positions=64, num_experts=4, num_local_experts=4,
    num_experts_per_tok=2, moe_intermediate_size=16, shared_expert_intermediate_size=16,
    pad_token_id=0, bos_token_id=1, eos_token_id=2, word_embed_proj_dim=32, sliding_window=8,
)
# Classes of the same files that are no causal language models.
OTHER_CLASSES = re.compile(r"For(Sequence|Token|Question|Conditional|Image)|DoubleHeads|Summary|"
                           r"Vision|MultiModal|Gemma3(Model|CausalLM)Output|Gemma3Model$")
# Modules of every model whose functions take the configuration.
COMMON_MODULES = ["transformers.masking_utils", "transformers.modeling_rope_utils",
                  "transformers.integrations.sdpa_attention", "transformers.integrations.moe"]

asked = None  # names that the configuration is asked for, where a set


def note_what_is_asked():
    original = PreTrainedConfig.__getattribute__

    def noting(self, name):
        if asked is not None:
            asked.add(name)
        return original(self, name)

    PreTrainedConfig.__getattribute__ = noting


def fields_of(cls):
    return {f.name: None if f.default is dataclasses.MISSING else f.default
            for f in dataclasses.fields(cls)}


def run(cls):
    """What building and running a tiny model asks for."""
    global asked
    config = cls(**{k: v for k, v in SMALL.items() if k in fields_of(cls)})
    model_class = MODEL_FOR_CAUSAL_LM_MAPPING[cls]
    names = set()
    for attention in ("eager", "sdpa"):
        if attention == "sdpa" and not model_class._supports_sdpa:
            continue
        asked = names
        model = model_class._from_config(config, attn_implementation=attention).eval()
        with torch.no_grad():
            out = model(torch.arange(12)[None], use_cache=True)
            model(torch.arange(1)[None], past_key_values=out.past_key_values)
        asked = None
    return names, model_class


def is_config(node):
    return (isinstance(node, ast.Name) and node.id == "config"
            or isinstance(node, ast.Attribute) and node.attr == "config")


def constant(node):
    return node.value if isinstance(node, ast.Constant) else None


def read_source(tree, owner):
    """Names that the code asks `owner` for, and the defaults it gives for absent ones."""
    names, defaults = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and owner(node.value):
            names.add(node.attr)
        call = isinstance(node, ast.Call)
        if call and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            if owner(node.args[0]) and isinstance(constant(node.args[1]), str):
                names.add(node.args[1].value)
                if len(node.args) > 2:
                    defaults[node.args[1].value] = constant(node.args[2])
    return names, defaults


def taken_from_keywords(cls):
    """Keys that the configuration class takes without declaring them."""
    names = set()
    functions = [getattr(base, name) for base in (cls, PreTrainedConfig)
                 for name in ("__post_init__", "convert_rope_params_to_dict")]
    for function in functions:
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
            if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                    and node.func.attr in ("pop", "get", "setdefault") and node.args
                    and isinstance(node.func.value, ast.Name) and node.func.value.id == "kwargs"
                    and isinstance(constant(node.args[0]), str)):
                names.add(node.args[0].value)
    return names


def module_tree(name):
    __import__(name)
    return ast.parse(inspect.getsource(sys.modules[name]))


def table(model_type):
    cls = CONFIG_MAPPING[model_type]
    declared = fields_of(cls)
    read, model_class = run(cls)
    defaults = {}
    tree = ast.parse(inspect.getsource(sys.modules[model_class.__module__]))
    parts = [node for node in tree.body
             if not (isinstance(node, ast.ClassDef) and OTHER_CLASSES.search(node.name))]
    for part in parts:
        names, given = read_source(part, is_config)
        read |= names
        defaults |= given
    for name in COMMON_MODULES:
        defaults |= read_source(module_tree(name), is_config)[1]
    keywords = taken_from_keywords(cls)
    if "rope_parameters" not in declared:  # the base class takes these for models that rotate
        keywords -= {"rope_scaling", "rope_theta", "partial_rotary_factor"}
    rows = {}
    for name in sorted(set(declared) | read | keywords):
        own = inspect.getattr_static(cls, name, None)
        private = name.startswith("_") or callable(own) or isinstance(own, (property, dict))
        private = private or isinstance(own, (classmethod, staticmethod)) or name.startswith("base_")
        if private and name not in declared and name not in keywords:
            continue  # the class's own business: methods, tables, computed values
        rows[name] = [declared.get(name, defaults.get(name)),
                      int(name in read or name in keywords)]
    for alias, name in cls.attribute_map.items():
        rows[alias] = rows[name] = rows[name] if name in declared else rows[alias]
    return rows


def print_rows(name, rows):
    line, lines = "", []
    for i, (field, value) in enumerate(sorted(rows.items())):
        text = f"{json.dumps(field)}:{json.dumps(value, separators=(',', ':'))}"
        text += "" if i + 1 == len(rows) else ","
        if len(line) + len(text) > 100:
            lines.append(line)
            line = ""
        line += text
    print(f'{{"{name}", R"({{', *lines, line + '})"},', sep="\n")


def main():
    note_what_is_asked()
    print(f"// Made by tools/make_config_fields.py from transformers {transformers.__version__}: "
          "do not edit.")
    print("// clang-format off")
    for model_type in TYPES:
        print_rows(model_type, table(model_type))
    generation = GenerationConfig._get_default_generation_params()
    print_rows("", {name: [None, 0] for name in generation})
    print("// clang-format on")


if __name__ == "__main__":
    main()

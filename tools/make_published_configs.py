#!/usr/bin/env python3
"""Prints what stock transformers makes of tests/model/configs/*.json: the rows of sizes in
tests/model/published_configs_test.cpp. Run with transformers 5.24."""
import json
import pathlib
import sys

from transformers import CONFIG_MAPPING

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests/model/configs"
TEXT_TYPES = {"qwen2_vl_text": "qwen2", "qwen2_5_vl_text": "qwen2", "qwen3_vl_text": "qwen3"}


def first(config, *names, default=None):
    for name in names:
        value = getattr(config, name, None)
        if value is not None:
            return value
    return default


def row(path):
    raw = json.loads(path.read_text())
    if raw["model_type"] not in CONFIG_MAPPING:
        return f"// {path.stem}: no class"
    config = CONFIG_MAPPING[raw["model_type"]].from_dict(dict(raw))
    text = config.get_text_config()
    heads = first(text, "num_attention_heads")
    hidden = first(text, "hidden_size")
    # Whether the head is tied is the outer model's to say, where the file says it there.
    tied = raw.get("tie_word_embeddings", getattr(text, "tie_word_embeddings", False))
    numbers = [
        hidden,
        first(text, "num_hidden_layers"),
        heads,
        first(text, "num_key_value_heads", default=heads),
        first(text, "head_dim", default=hidden // heads),
        first(text, "moe_intermediate_size", "ffn_dim", "n_inner", "intermediate_size", default=4 * hidden),
        text.vocab_size,
        first(text, "max_position_embeddings", default=0),
    ]
    family = TEXT_TYPES.get(text.model_type, text.model_type)
    return (f'{{.file = "{path.stem}", .family = "{family}", .sizes = {{{", ".join(map(str, numbers))}}}, '
            f".tied = {str(bool(tied)).lower()}}},")


def main():
    for path in sorted(FOLDER.glob("*.json")):
        try:
            print(row(path))
        except Exception as error:  # a refusal is a result
            print(f"// {path.stem}: {type(error).__name__}: {error}", file=sys.stdout)


if __name__ == "__main__":
    main()

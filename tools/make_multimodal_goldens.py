#!/usr/bin/env python3
"""Makes the goldens of multimodal models in tests/model/multimodal: tiny random models whose language
model is of a family that Prunus knows, and the logits that stock transformers computes for text.

Needs: pip install torch==2.13.0 transformers==5.24.0 safetensors

A directory has config.json, model.safetensors (F32, vision and projector included, names as stock
software saves them; the cases *_v5 have the names of the modules of transformers 5), golden.json
(the ids) and golden.safetensors (logits of the whole model, F32).

    tools/make_multimodal_goldens.py                 makes them
    tools/make_multimodal_goldens.py --check PRUNUS  cuts each with this program and compares the
                                                     logits of what stock AutoModelForCausalLM opens
                                                     with those of the text model, cut by hand
"""
import argparse
import json
import pathlib
import subprocess
import tempfile
import zlib

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests/model/multimodal"
VOCAB, SEQ = 96, 12
TEXT = {
    "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "vocab_size": VOCAB, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
}
CLIP = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 8, "patch_size": 4, "projection_dim": 8}
QWEN_VISION = {"depth": 1, "embed_dim": 8, "hidden_size": 32, "num_heads": 2, "patch_size": 4,
               "in_channels": 3, "mlp_ratio": 2}
MROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}


def text(model_type, **more):
    return {**TEXT, "model_type": model_type, **more}


CASES = {
    "gemma3": {"model_type": "gemma3", "mm_tokens_per_image": 4,
               "text_config": text("gemma3_text", sliding_window=4, query_pre_attn_scalar=8,
                                   layer_types=["sliding_attention", "full_attention"]),
               "vision_config": {**CLIP, "model_type": "siglip_vision_model"}},
    "idefics3": {"model_type": "idefics3", "scale_factor": 1, "image_token_id": 90,
                 "tie_word_embeddings": False, "text_config": text("llama"),
                 "vision_config": {**CLIP, "model_type": "idefics3_vision"}},
    "smolvlm": {"model_type": "smolvlm", "scale_factor": 1, "image_token_id": 90,
                "tie_word_embeddings": False, "text_config": text("llama"),
                "vision_config": {**CLIP, "model_type": "smolvlm_vision"}},
    "llava": {"model_type": "llava", "image_token_index": 90, "text_config": text("llama"),
              "vision_config": {**CLIP, "model_type": "clip_vision_model"}},
    "llava_mistral": {"model_type": "llava", "image_token_index": 90,
                      "text_config": text("mistral", sliding_window=4),
                      "vision_config": {**CLIP, "model_type": "clip_vision_model"}},
    "llava_next": {"model_type": "llava_next", "image_token_index": 90,
                   "text_config": text("mistral", sliding_window=None),
                   "vision_config": {**CLIP, "model_type": "clip_vision_model"}},
    "llava_onevision": {"model_type": "llava_onevision", "image_token_index": 90,
                        "text_config": text("qwen2", head_dim=8),
                        "vision_config": {**CLIP, "model_type": "siglip_vision_model"}},
    "mistral3": {"model_type": "mistral3", "image_token_index": 90, "tie_word_embeddings": False,
                 "text_config": text("mistral", sliding_window=None),
                 "vision_config": {**CLIP, "model_type": "pixtral", "head_dim": 4}},
    "internvl": {"model_type": "internvl", "image_token_id": 90, "tie_word_embeddings": False,
                 "text_config": text("qwen2"),
                 "vision_config": {"model_type": "internvl_vision", "hidden_size": 8,
                                   "intermediate_size": 8, "num_hidden_layers": 1,
                                   "num_attention_heads": 2, "image_size": [8, 8],
                                   "patch_size": [4, 4]}},
    "qwen2_vl": {"model_type": "qwen2_vl", "image_token_id": 90, "video_token_id": 91,
                 "tie_word_embeddings": True,
                 "text_config": text("qwen2_vl_text", rope_parameters=MROPE),
                 "vision_config": QWEN_VISION},
    "qwen2_5_vl": {"model_type": "qwen2_5_vl", "image_token_id": 90, "video_token_id": 91,
                   "tie_word_embeddings": False,
                   "text_config": text("qwen2_5_vl_text", rope_parameters=MROPE),
                   "vision_config": {"depth": 1, "hidden_size": 8, "num_heads": 2, "patch_size": 4,
                                     "intermediate_size": 8, "out_hidden_size": 32,
                                     "fullatt_block_indexes": [0]}},
    "qwen3_vl": {"model_type": "qwen3_vl", "image_token_id": 90, "video_token_id": 91,
                 "tie_word_embeddings": True,
                 "text_config": text("qwen3_vl_text",
                                     rope_parameters={**MROPE, "mrope_interleaved": True}),
                 "vision_config": {"depth": 1, "hidden_size": 8, "num_heads": 2, "patch_size": 4,
                                   "intermediate_size": 8, "out_hidden_size": 32,
                                   "num_position_embeddings": 4, "deepstack_visual_indexes": [0]}},
}


def make_model(config):
    torch.manual_seed(zlib.crc32(config["model_type"].encode()))
    kind = AutoConfig.for_model(**config)
    kind.architectures = None
    model = AutoModelForImageTextToText.from_config(kind, dtype=torch.float32,
                                                    attn_implementation="eager").eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(torch.randn_like(value) * 0.2)
            if "norm" in name and name.endswith("weight") and config["model_type"] != "gemma3":
                value.add_(1)
    model.tie_weights()
    return model


def old_file_config(config, saved):
    """Qwen2-VL's published files have the language model's fields at the top."""
    inner = saved.pop("text_config")
    rope = inner.pop("rope_parameters")
    inner.pop("model_type", None)
    inner.pop("layer_types", None)
    return {**inner, **saved, "rope_theta": rope["rope_theta"],
            "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]}}


def write_case(name, config, out):
    model = make_model(config)
    ids = torch.randint(0, 88, (1, SEQ), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    for extra in out.glob("generation_config.json"):
        extra.unlink()
    saved = json.loads((out / "config.json").read_text())
    if name in ("qwen2_vl", "qwen2_5_vl"):
        saved = old_file_config(config, saved)
    (out / "config.json").write_text(json.dumps(saved, indent=1) + "\n")
    (out / "golden.json").write_text(json.dumps({"input_ids": ids.tolist()}) + "\n")
    save_file({"logits": logits.contiguous()}, out / "golden.safetensors")
    return model


def module_names(model, out):
    """The same weights under the names of transformers 5's modules."""
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()
               if not (name == "lm_head.weight" and model.config.tie_word_embeddings)}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})


def make():
    for name, config in CASES.items():
        model = write_case(name, config, FOLDER / name)
        if name in ("gemma3", "llava", "qwen2_vl"):
            again = FOLDER / f"{name}_v5"
            write_case(f"{name}_v5", config, again)
            module_names(model, again)
        print(name, sorted(load_file(FOLDER / name / "model.safetensors"))[:3])


def relative_error(one, other):
    return ((one - other).norm() / other.norm()).item()


def check(prunus):
    """Every output of a prune is a text model that stock software opens, with equal logits."""
    for folder in sorted(FOLDER.iterdir()):
        if not folder.is_dir():
            continue
        golden = load_file(folder / "golden.safetensors")["logits"]
        ids = torch.tensor(json.loads((folder / "golden.json").read_text())["input_ids"])
        with tempfile.TemporaryDirectory() as scratch:
            out = pathlib.Path(scratch) / "out"
            # Nothing is cut, so the whole model's logits are the expected ones.
            subprocess.run([prunus, "prune", folder, "--out", out, "--method", "l1", "--ratio", "0",
                            "--quiet"], check=True)
            model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
            with torch.no_grad():
                error = relative_error(model(ids).logits, golden)
        print(f"{folder.name}: {type(model).__name__}, relative error {error:.1e}")
        assert error < 1e-4, folder


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", metavar="PRUNUS")
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.check)
    else:
        make()


if __name__ == "__main__":
    main()

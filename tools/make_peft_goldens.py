#!/usr/bin/env python3
"""Makes the adapters in tests/adapter/golden/peft: what stock PEFT saves and the logits it gives, on
the tiny models of tests/model/golden. They are the oracle for reading and merging PEFT's files.

Needs: pip install torch==2.13.0 transformers==5.24.0 peft==0.21.2 safetensors

A case is a base and a LoraConfig. Every tensor that PEFT would train gets random values, the model
is saved by save_pretrained, and the logits of the adapted model, not merged, are kept. Float32,
eager attention, one thread.

A golden that cannot fail proves nothing: leaving out any one kind of tensor (the magnitudes of
DoRA, the saved modules, the biases, the factors), or the ranks' and alphas' patterns, must move the
logits; the script refuses a case where it does not.
"""
import argparse
import json
import pathlib
import sys
import zlib

import make_forward_goldens as forward
from make_forward_goldens import relative_error

IDS, VOCAB = 12, 96
MAX_BYTES = 120_000  # of one golden directory
MIN_EFFECT = 1e-3

LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {  # name -> base, LoraConfig
    "gpt2_conv1d": ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"]}),
    "gpt2_dora": ("gpt2", {"target_modules": ["c_attn", "mlp.c_proj"], "use_dora": True}),
    "gpt2_embeddings": ("gpt2", {"target_modules": ["wte", "wpe", "c_fc"]}),
    "gpt_neox_fused": ("gpt_neox", {"target_modules": "all-linear"}),
    "bloom_fused": ("bloom", {"target_modules": ["query_key_value", "dense_4h_to_h"], "r": 3}),
    "opt_biases": ("opt", {"target_modules": ["fc1", "q_proj", "out_proj"], "bias": "all"}),
    "phi3_fused": ("phi3", {"target_modules": ["qkv_proj", "gate_up_proj"], "use_rslora": True}),
    "phi3_dora": ("phi3", {"target_modules": ["qkv_proj", "gate_up_proj"], "use_dora": True}),
    "glm_gate_up": ("glm", {"target_modules": ["gate_up_proj", "v_proj"]}),
    "qwen2_dora": ("qwen2", {"target_modules": LLAMA, "use_dora": True}),
    "qwen2_lora_only": ("qwen2", {"target_modules": ["q_proj", "v_proj"], "bias": "lora_only"}),
    "llama_lora_bias": ("llama_bias", {"target_modules": ["k_proj", "up_proj"],
                                       "lora_bias": True}),
    "llama_saved": ("llama_mha", {"target_modules": ["q_proj"],
                                  "modules_to_save": ["lm_head", "embed_tokens", "norm"]}),
    "llama_saved_part": ("llama_mha", {"target_modules": LLAMA,
                                       "modules_to_save": ["layers.1.mlp"]}),
    "llama_patterns": ("llama_mha", {
        "target_modules": r".*\.(q|v|gate|down)_proj", "exclude_modules": r".*\.1\.self_attn\.q.*",
        "rank_pattern": {r"^model\.layers\.0\..*": 3, "down_pro[j]": 1},
        "alpha_pattern": {r"layers\.\d\.mlp\.(gate|up)_proj": 5, "v_proj": 2},
        "use_rslora": True}),
    "llama_layers": ("llama_mha", {
        "target_modules": ["q_proj", "mlp.up_proj", "model.layers.0.mlp.down_proj"],
        "exclude_modules": ["layers.1.mlp.up_proj"], "layers_to_transform": [1],
        "layers_pattern": ["blocks", "layers"]}),
    "llama_embedding_dora": ("llama_mha", {"target_modules": ["embed_tokens", "lm_head"],
                                           "use_dora": True}),
    "tied_embedding": ("llama_gqa", {"target_modules": ["embed_tokens", "o_proj"]}),
    "tied_head": ("llama_gqa", {"target_modules": ["lm_head", "o_proj"]}),
    "tied_saved_embedding": ("llama_gqa", {"target_modules": ["o_proj"],
                                           "modules_to_save": ["embed_tokens"]}),
    "tied_saved_head": ("llama_gqa", {"target_modules": ["o_proj"],
                                      "modules_to_save": ["lm_head"]}),
    "qwen2_moe_shared": ("qwen2_moe", {
        "target_modules": ["q_proj", "o_proj", "shared_expert.up_proj",
                           "shared_expert.down_proj"]}),
}
KINDS = {  # of tensors, by part of the name
    "factors": ".lora_A", "embedding factors": ".lora_embedding_B",
    "magnitudes": ".lora_magnitude_vector", "factors' biases": ".lora_B.default.bias",
    "saved modules": ".modules_to_save.", "biases": ".bias",
}


def base_model(root: pathlib.Path, base: str):
    return forward.load(root / "tests" / "model" / "golden" / base)


def spread(name: str, value, generator):
    noise = torch.randn(value.shape, generator=generator)
    if "lora_magnitude" in name:
        return value * (1 + 0.3 * noise)
    return 0.2 * noise if "lora_" in name else value + 0.2 * noise


def randomised(model, name: str):
    """Random values for everything that would be trained."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    with torch.no_grad():
        for key, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad:
                parameter.copy_(spread(key, parameter, generator))
    return model.eval()


def save(model, directory: pathlib.Path, base: str) -> None:
    """save_pretrained, less the model card, and with what differs between runs and machines fixed:
    the base's path, and the order of names, which follows from Python's string hashes."""
    directory.mkdir(parents=True, exist_ok=True)
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(directory)
    (directory / "README.md").unlink(missing_ok=True)
    file = directory / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    for key in ("target_modules", "exclude_modules"):
        if isinstance(config[key], list):
            config[key].sort()
    file.write_text(json.dumps(config, indent=2), encoding="utf-8")
    for path in directory.iterdir():
        path.chmod(0o644)  # safetensors 0.8 writes 0600


def ids_of(name: str):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) ^ 3)
    return torch.randint(0, VOCAB, (1, IDS), generator=generator)


def report(name: str, label: str, adapted, other) -> None:
    effect = relative_error(adapted, other)
    print(f"    without {label}: moves the logits by {effect:.1e}")
    if not effect >= MIN_EFFECT:
        raise SystemExit(f"{name}: without {label} the logits are the same")


def try_omissions(name: str, root: pathlib.Path, adapted, ids) -> None:
    base, settings = CASES[name]
    fresh = dict(base_model(root, base).state_dict())
    for label, part in KINDS.items():
        model = adapted_model(name, root)
        found = False
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if part not in key or not parameter.requires_grad:
                    continue
                if label == "biases" and "lora_" in key:
                    continue
                found = True
                plain = key.removeprefix("base_model.model.").replace(".base_layer", "")
                plain = plain.replace(".modules_to_save.default", "")
                if "lora_magnitude" in key:
                    parameter.fill_(1.0)
                elif "lora_" in key:
                    parameter.zero_()
                else:
                    parameter.copy_(fresh[plain])
        if found:
            report(name, label, adapted, forward.logits_of(model, ids))
    if "rank_pattern" in settings:
        model = adapted_model(name, root)
        for module in model.modules():
            if isinstance(getattr(module, "scaling", None), dict):
                module.scaling["default"] = 1.0
        report(name, "patterns", adapted, forward.logits_of(model, ids))


def adapted_model(name: str, root: pathlib.Path):
    base, settings = CASES[name]
    config = {"r": 2, "lora_alpha": 3, "task_type": "CAUSAL_LM"} | settings
    model = peft.get_peft_model(base_model(root, base), peft.LoraConfig(**config))
    return randomised(model, name)


def make(name: str, root: pathlib.Path, directory: pathlib.Path) -> None:
    model, ids = adapted_model(name, root), ids_of(name)
    adapted = forward.logits_of(model, ids)
    save(model, directory, CASES[name][0])
    plain = forward.logits_of(base_model(root, CASES[name][0]), ids)
    print(f"{name}: the adapter moves the logits by {relative_error(adapted, plain):.1e}")
    try_omissions(name, root, adapted, ids)
    safetensors.torch.save_file({"ids": ids.int(), "logits": adapted.contiguous()},
                                directory / "logits.safetensors", {"format": "pt"})
    (directory / "logits.safetensors").chmod(0o644)


def check(name: str, root: pathlib.Path, directory: pathlib.Path) -> None:
    """PEFT reads the files back to the stored logits."""
    stored = safetensors.torch.load_file(directory / "logits.safetensors")
    model = peft.PeftModel.from_pretrained(base_model(root, CASES[name][0]), directory).eval()
    error = relative_error(stored["logits"], forward.logits_of(model, stored["ids"].long()))
    size = sum(file.stat().st_size for file in directory.iterdir())
    print(f"{name}: read back, the logits differ by {error:.1e}; {size} bytes")
    if not error <= 1e-6:
        raise SystemExit(f"{name}: the stored files do not give the stored logits")
    if size > MAX_BYTES:
        raise SystemExit(f"{name}: {size} bytes, limit {MAX_BYTES}")


def main() -> int:
    root = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(
        description="Makes adapters of many kinds with stock PEFT and the logits they give.",
        epilog="Names: " + ", ".join(CASES))
    parser.add_argument("--check", action="store_true", help="write nothing, verify what is there")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these cases (default: all)")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in CASES]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")

    global torch, peft, safetensors
    import peft
    import safetensors.torch
    import torch
    import transformers
    forward.torch, forward.transformers, forward.safetensors = torch, transformers, safetensors
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, "
          f"peft {peft.__version__}")
    for name in options.names or CASES:
        directory = root / "tests" / "recover" / "golden" / "peft" / name
        if not options.check:
            make(name, root, directory)
        check(name, root, directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())

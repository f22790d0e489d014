#!/usr/bin/env python3
"""Makes the forward goldens of tests/model/golden: tiny random models and the logits that stock
transformers computes for them. They are the oracle for Prunus' own decoder.

Needs: pip install torch==2.13.0 transformers==5.23.0 safetensors

Each case becomes one directory below 200 KB:
  config.json         v4 spelling, written by hand (transformers 5 itself would write v5), except
                      llama_v5_rope, which holds the v5 spelling of llama31_rope
  model.safetensors   float32 weights; no lm_head.weight where the embeddings are tied
  golden.json         {"input_ids": [[...], [...]], "loss": mean next-token cross-entropy, ...}
  golden.safetensors  "logits", F32 [batch, seq, vocab], from eager attention in float32

Weights: matrices 0.3 * randn, norm gains 1 + 0.2 * randn, biases 0.2 * randn, so that no part of
the model is near its neutral value. Every case also names changes to its config ("ablations") that
a wrong reader would make silently, such as a forgotten RoPE scaling. The script computes what each
of them does to the logits and refuses a case where one moves them by less than 1e-2 (relative):
a golden that cannot fail proves nothing.

Facts of transformers 5.23 that this script checks by experiment:
  * sliding window: query i sees key j if and only if i - window < j <= i, so `window` keys with
    itself; keys with i - j >= window are masked.
  * Qwen2: layers l >= max_window_layers slide, and only if use_sliding_window is true; otherwise
    sliding_window is ignored (case qwen2 has sliding_window 8 and the flag off).
  * llama3 RoPE scaling: wavelength 2*pi/f below original/high keeps f; above original/low divides
    it by factor; between, the two are blended. It applies at any sequence length. The shortest
    wavelength is 2*pi, so original_max_position_embeddings must exceed 2*pi*high_freq_factor for
    the unscaled band to exist at all: 32 here, with high_freq_factor 4.
"""
import argparse
import json
import math
import pathlib
import sys
import tempfile
import zlib

BATCH, SEQ, VOCAB = 2, 24, 96
MAX_BYTES = 200_000  # of one golden directory
MIN_EFFECT = 1e-2  # every ablation must move the logits by at least this much, relatively

BASE = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "hidden_act": "silu", "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": None,
    "tie_word_embeddings": False, "initializer_range": 0.02, "use_cache": True,
    "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32",
}
LLAMA = BASE | {"architectures": ["LlamaForCausalLM"], "model_type": "llama",
                "attention_bias": False, "mlp_bias": False, "attention_dropout": 0.0}
MISTRAL = BASE | {"architectures": ["MistralForCausalLM"], "model_type": "mistral",
                  "attention_dropout": 0.0}
QWEN2 = BASE | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
                "attention_dropout": 0.0, "num_key_value_heads": 2, "use_sliding_window": False,
                "sliding_window": 8, "max_window_layers": 0}
QWEN3 = BASE | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
                "attention_dropout": 0.0, "num_key_value_heads": 2, "use_sliding_window": False,
                "sliding_window": None, "max_window_layers": 2, "attention_bias": False,
                "head_dim": 16}
LLAMA3_SCALING = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                  "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
LLAMA31 = LLAMA | {"num_key_value_heads": 2, "head_dim": 16, "eos_token_id": [2, 3],
                   "rope_scaling": LLAMA3_SCALING}


def v5_spelling(config: dict) -> dict:
    """The config as transformers 5 spells it: rope_parameters and dtype."""
    result = {key: value for key, value in config.items()
              if key not in ("rope_theta", "rope_scaling", "torch_dtype")}
    result["rope_parameters"] = {"rope_theta": config["rope_theta"],
                                 **(config["rope_scaling"] or {"rope_type": "default"})}
    return result | {"dtype": config["torch_dtype"], "transformers_version": "5.23.0"}


LINEAR = {"rope_type": "linear", "factor": 2.0}
# name -> (config, ablations: label -> config keys a careless reader gets wrong,
#          name whose weights are used)
CASES = {
    # no num_key_value_heads and no head_dim: both follow from num_attention_heads
    "llama_mha": (LLAMA, {"theta 500": {"rope_theta": 500.0}}, None),
    # a large eps, so that leaving it out shows
    "llama_gqa": (LLAMA | {"num_key_value_heads": 2, "tie_word_embeddings": True,
                           "rms_norm_eps": 1e-2},
                  {"eps 1e-5": {"rms_norm_eps": 1e-5}}, None),
    "llama_linear_rope": (LLAMA | {"num_key_value_heads": 2, "rope_scaling": LINEAR},
                          {"no scaling": {"rope_scaling": None}}, None),
    "llama31_rope": (LLAMA31, {
        "no scaling": {"rope_scaling": None},
        "linear instead": {"rope_scaling": {"rope_type": "linear", "factor": 8.0}},
        "no middle band": {"rope_scaling": LLAMA3_SCALING | {"low_freq_factor": 3.99}},
    }, None),
    "llama_v5_rope": (v5_spelling(LLAMA31), {
        "no scaling": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    }, "llama31_rope"),
    "llama_bias": (LLAMA | {"num_key_value_heads": 2, "attention_bias": True, "mlp_bias": True},
                   {"no attention bias": {"attention_bias": False},
                    "no mlp bias": {"mlp_bias": False}}, None),
    "mistral_sliding": (MISTRAL | {"num_key_value_heads": 2, "head_dim": 12, "sliding_window": 8},
                        {"no window": {"sliding_window": None},
                         "window 7": {"sliding_window": 7},
                         "window 9": {"sliding_window": 9}}, None),
    "qwen2": (QWEN2 | {"tie_word_embeddings": True},
              {"window used": {"use_sliding_window": True}}, None),
    "qwen2_sliding": (QWEN2 | {"num_hidden_layers": 3, "use_sliding_window": True,
                               "max_window_layers": 1},
                      {"no window": {"use_sliding_window": False},
                       "window 9": {"sliding_window": 9},
                       "all layers slide": {"max_window_layers": 0},
                       "one layer slides": {"max_window_layers": 2}}, None),
    "qwen3": (QWEN3, {"theta 500": {"rope_theta": 500.0}}, None),
}


def random_weights(model, seed_name: str) -> dict:
    """Draws every parameter in order of its name; the seed follows from the name of the case."""
    generator = torch.Generator().manual_seed(zlib.crc32(seed_name.encode()))
    weights = {}
    for name, parameter in sorted(model.state_dict().items()):
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
        if name.endswith(".bias"):
            weights[name] = 0.2 * noise
        elif parameter.dim() == 1:
            weights[name] = 1 + 0.2 * noise
        else:
            weights[name] = 0.3 * noise
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    return weights


def random_ids(name: str) -> "torch.Tensor":
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) ^ 1)
    return torch.randint(0, VOCAB, (BATCH, SEQ), generator=generator)


def write_config(config: dict, directory: pathlib.Path) -> None:
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def model_of(config: dict):
    """An uninitialised model, its config read from a file as a user's would be."""
    with tempfile.TemporaryDirectory() as scratch:
        write_config(config, pathlib.Path(scratch))
        parsed = transformers.AutoConfig.from_pretrained(scratch)
    return transformers.AutoModelForCausalLM.from_config(parsed, attn_implementation="eager",
                                                         dtype=torch.float32).eval()


def logits_of(model, ids) -> "torch.Tensor":
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits


def logits_of_weights(config: dict, weights: dict, ids, dtype=None) -> "torch.Tensor":
    """The logits of the given weights under a config; parameters it does not have are left out."""
    model = model_of(config)
    names = set(model.state_dict())
    missing, _ = model.load_state_dict({name: weight for name, weight in weights.items()
                                        if name in names}, strict=False)
    if set(missing) - {"lm_head.weight"}:
        raise SystemExit(f"weights lack {missing}")
    if config["tie_word_embeddings"]:
        model.tie_weights()
    return logits_of(model.to(dtype or torch.float32), ids)


def load(directory: pathlib.Path, attention: str = "eager"):
    """Stock from_pretrained; a tensor missing, left over or misshapen is an error."""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation=attention, output_loading_info=True)
    faults = {kind: found for kind, found in info.items() if found}
    if faults:
        raise SystemExit(f"{directory}: loads with {faults}")
    return model.eval()


def relative_error(expected, got) -> float:
    return ((expected.double() - got.double()).abs().max() / expected.double().abs().max()).item()


def loss_of(logits, ids) -> float:
    """Mean over batch and positions 0 .. seq-2 of -log softmax(logits)[next id], in float64."""
    return torch.nn.functional.cross_entropy(logits[:, :-1].double().reshape(-1, VOCAB),
                                             ids[:, 1:].reshape(-1)).item()


def make(name: str, directory: pathlib.Path) -> None:
    config, ablations, weights_of = CASES[name]
    directory.mkdir(parents=True, exist_ok=True)
    weights = random_weights(model_of(config), weights_of or name)
    ids = random_ids(weights_of or name)
    logits = logits_of_weights(config, weights, ids)
    write_config(config, directory)
    safetensors.torch.save_file(weights, directory / "model.safetensors", {"format": "pt"})
    safetensors.torch.save_file({"logits": logits.contiguous()},
                                directory / "golden.safetensors", {"format": "pt"})
    golden = {"input_ids": ids.tolist(), "loss": loss_of(logits, ids),
              "logits": {"file": "golden.safetensors", "tensor": "logits",
                         "shape": list(logits.shape)},
              "made_with": {"torch": torch.__version__, "transformers": transformers.__version__,
                            "attention": "eager", "dtype": "float32"}}
    (directory / "golden.json").write_text(json.dumps(golden) + "\n", encoding="utf-8")
    for file in directory.iterdir():
        file.chmod(0o644)  # safetensors 0.8 writes 0600

    noise = relative_error(logits_of_weights(config, weights, ids, torch.float64), logits)
    print(f"{name}: loss {golden['loss']:.4f}, logits std {logits.std():.3f}, "
          f"float32 against float64 {noise:.1e}")
    for label, keys in ablations.items():
        effect = relative_error(logits, logits_of_weights(config | keys, weights, ids))
        print(f"    {label}: moves the logits by {effect:.2g}")
        if effect < MIN_EFFECT:
            raise SystemExit(f"{name}: '{label}' moves the logits by {effect:.2g} only")
    for kind in ("q_norm", "k_norm", ".bias"):
        neutral = {key: torch.zeros_like(value) if kind == ".bias" else torch.ones_like(value)
                   for key, value in weights.items() if kind in key}
        if neutral:
            effect = relative_error(logits, logits_of_weights(config, weights | neutral, ids))
            print(f"    {kind} neutral ({len(neutral)} tensors): {effect:.2g}")
            if effect < MIN_EFFECT:
                raise SystemExit(f"{name}: {kind} moves the logits by {effect:.2g} only")


def check(name: str, directory: pathlib.Path) -> None:
    """The directory in stock transformers gives the stored logits: eager 1e-6, default 1e-5."""
    golden = json.loads((directory / "golden.json").read_text(encoding="utf-8"))
    ids = torch.tensor(golden["input_ids"])
    stored = safetensors.torch.load_file(directory / "golden.safetensors")["logits"]
    eager = relative_error(stored, logits_of(load(directory), ids))
    sdpa = relative_error(stored, logits_of(load(directory, "sdpa"), ids))
    loss = abs(loss_of(stored, ids) - golden["loss"])
    size = sum(file.stat().st_size for file in directory.iterdir())
    print(f"{name}: reloaded eager {eager:.1e}, sdpa {sdpa:.1e}; {size} bytes")
    # written so that a NaN fails too
    if not (eager <= 1e-6 and sdpa <= 1e-5 and loss <= 1e-9):
        raise SystemExit(f"{name}: the reloaded model differs from golden.safetensors")
    if size > MAX_BYTES:
        raise SystemExit(f"{name}: {size} bytes, limit {MAX_BYTES}")


def check_rope_bands() -> None:
    """All three bands of the llama3 scaling occur in llama31_rope."""
    scaling, dim = LLAMA3_SCALING, LLAMA31["head_dim"]
    got = model_of(LLAMA31).model.rotary_emb.inv_freq
    print("llama31_rope: frequency bands")
    bands = set()
    for index in range(dim // 2):
        plain = LLAMA31["rope_theta"] ** (-2 * index / dim)
        ratio = got[index].item() / plain
        band = ("kept" if abs(ratio - 1) < 1e-6
                else "divided" if abs(ratio * scaling["factor"] - 1) < 1e-6 else "blended")
        bands.add(band)
        print(f"    wavelength {2 * math.pi / plain:9.2f}  scaled by {ratio:.6f}  {band}")
    if len(bands) != 3:
        raise SystemExit(f"llama31_rope: only the bands {sorted(bands)} occur")


def check_window_rule() -> None:
    """Finds by experiment which keys a query sees: changes one id and looks who notices."""
    window = 4
    config = MISTRAL | {"num_key_value_heads": 2, "num_hidden_layers": 1, "sliding_window": window}
    weights = random_weights(model_of(config), "window")
    ids = random_ids("window")[:1]
    before = logits_of_weights(config, weights, ids)
    for j in range(SEQ):
        changed = ids.clone()
        changed[0, j] = (changed[0, j] + 1) % VOCAB
        after = logits_of_weights(config, weights, changed)
        notices = {i for i in range(SEQ) if not torch.equal(before[0, i], after[0, i])}
        if notices != set(range(j, min(j + window, SEQ))):
            raise SystemExit(f"sliding window {window}: key {j} is seen by {sorted(notices)}")
    print(f"sliding window {window}: key j is seen by queries j .. j + {window - 1}, no others")


def main() -> int:
    root = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(
        description="Makes tiny random models and the logits stock transformers gives for them.",
        epilog="Without options it renews every case in tests/model/golden and then reads each "
               "one back with AutoModelForCausalLM. With --check it only reads back, which also "
               "tells whether another version of transformers still agrees. Names: "
               + ", ".join(CASES) + ". The file's first lines describe what is written.")
    parser.add_argument("--out", type=pathlib.Path, default=root / "tests" / "model" / "golden",
                        metavar="DIR", help="folder of the cases (default: tests/model/golden)")
    parser.add_argument("--check", action="store_true", help="write nothing, verify what is there")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these cases (default: all)")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in CASES]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")

    global torch, transformers, safetensors
    import safetensors.torch
    import torch
    import transformers
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)

    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    check_rope_bands()
    check_window_rule()
    for name in options.names or CASES:
        if not options.check:
            make(name, options.out / name)
        check(name, options.out / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

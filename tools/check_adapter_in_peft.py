#!/usr/bin/env python3
"""Loads an adapter directory with stock PEFT on a model directory and prints or compares its logits.

Needs: pip install torch==2.13.0 transformers==5.24.0 peft==0.21.2 safetensors

The outside judge of the adapters that Prunus writes: float32, eager attention. PEFT only warns of a
factor that is missing or left over and goes on; here that is an error.

IDS.json is [[1, 5, ...], ...], or an object with such lists under "input_ids", as the goldens and
check_in_transformers.py write it. Output: {"adapter": ..., "input_ids": ..., "logits":
[batch][seq][vocab]} as JSON after one line of summary on stderr. --compare reads a JSON file with
"logits", or FILE.safetensors:TENSOR.
"""
import argparse
import json
import pathlib
import sys


def options_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Loads ADAPTER_DIR with stock PEFT on MODEL_DIR and prints the logits as JSON, "
                    "or compares them with logits from elsewhere.",
        epilog="exit: 0 done or equal, 1 the logits differ or are not finite, 2 wrong use, "
               "3 PEFT cannot load the adapter completely")
    parser.add_argument("model", type=pathlib.Path, metavar="MODEL_DIR")
    parser.add_argument("adapter", type=pathlib.Path, metavar="ADAPTER_DIR")
    parser.add_argument("ids", type=pathlib.Path, metavar="IDS.json")
    parser.add_argument("--merged", action="store_true", help="merge the adapter in PEFT first")
    parser.add_argument("--compare", metavar="FILE", help="report max|a-b| / max|a|, a from PEFT")
    parser.add_argument("--tolerance", type=float, default=1e-5, metavar="T",
                        help="largest error accepted by --compare (default: 1e-5)")
    options = parser.parse_args()
    for directory in (options.model, options.adapter):
        if not directory.is_dir():
            parser.error(f"{directory}: not a directory")
    return options


def read_ids(path: pathlib.Path):
    ids = json.loads(path.read_text(encoding="utf-8"))
    return torch.tensor(ids["input_ids"] if isinstance(ids, dict) else ids)


def read_logits(source: str):
    path, _, tensor = source.rpartition(":")
    if path.endswith(".safetensors"):
        return safetensors.torch.load_file(path)[tensor]
    return torch.tensor(json.loads(pathlib.Path(source).read_text(encoding="utf-8"))["logits"])


def load_adapter(base, directory: pathlib.Path):
    """A model with its adapter; nothing missing, nothing left over. A module tree that is no model
    of transformers will do, too."""
    config = peft.PeftConfig.from_pretrained(directory)
    if not isinstance(base, transformers.PreTrainedModel):
        config.task_type = None  # a task needs the methods of a language model
    config.inference_mode = True
    model = peft.get_peft_model(base, config)
    stored = safetensors.torch.load_file(directory / "adapter_model.safetensors")
    peft.set_peft_model_state_dict(model, stored)
    held = peft.get_peft_model_state_dict(model)
    wrong = set(stored) ^ set(held)
    wrong |= {name for name in set(stored) & set(held)
              if not torch.equal(stored[name].float(), held[name].float())}
    if wrong:
        raise ValueError(f"missing, left over or unequal in PEFT: {sorted(wrong)[:5]}")
    return model.eval()


def load(options):
    base = transformers.AutoModelForCausalLM.from_pretrained(
        options.model, dtype=torch.float32, attn_implementation="eager")
    model = load_adapter(base, options.adapter)
    return model.merge_and_unload() if options.merged else model


def main() -> int:
    options = options_of()
    global torch, transformers, peft, safetensors
    import peft
    import safetensors.torch
    import torch
    import transformers
    transformers.utils.logging.disable_progress_bar()
    try:
        model = load(options)
    except Exception as error:  # whatever PEFT raises, the adapter is not usable
        print(f"{options.adapter}: PEFT cannot load it: {error}", file=sys.stderr)
        return 3
    ids = read_ids(options.ids)
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits
    print(f"logits {list(logits.shape)}, mean {logits.mean():.6f}, std {logits.std():.6f}, "
          f"first {logits.flatten()[0]:.6f}, last {logits.flatten()[-1]:.6f}", file=sys.stderr)
    if options.compare:
        other = read_logits(options.compare).reshape(logits.shape)
        error = ((logits - other).abs().max() / logits.abs().max()).item()
        print(f"relative error {error:.2e}, limit {options.tolerance:.0e}")
        return 0 if error <= options.tolerance else 1  # so that NaN is not equal
    print(json.dumps({"adapter": str(options.adapter), "input_ids": ids.tolist(),
                      "logits": logits.tolist()}))
    return 0 if torch.isfinite(logits).all() else 1


if __name__ == "__main__":
    sys.exit(main())

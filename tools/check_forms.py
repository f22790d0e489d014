#!/usr/bin/env python3
"""Exports pruned models in every legal Hugging Face form, opens each in transformers, compares logits.

    tools/check_forms.py --prunus build/dev/prunus [--model DIR]… [NAME…]

Needs: pip install torch==2.13.0 transformers==5.24.0 safetensors

For tiny models of tests/model/golden (NAME…; those of DEFAULT unless named) and each DIR: dense, cut
alike in every layer, cut by layer, without a layer, without attention or feed-forward parts of some
layers, with channels of heads cut, with zeros 2:4. Which
forms are legal is what `prunus inspect` says. A cell is the largest relative difference over the
forms named before it; remote code is trusted for remote-code and deci-lm alone. Every form that is
not legal must be refused by `prunus export` with exit code 4, writing nothing. Exit 1 if a
difference exceeds 1e-4, or a form behaves otherwise than the table says.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent
IDS = "1,5,7,11,2,9,3,20,33,60,4,8;3,3,50,71,9,14,6,2,80,12,90,31"
TOLERANCE = 1e-4
DEFAULT = ["llama_gqa", "llama_bias", "llama31_rope", "llama_yarn", "llama_dynamic",
           "mistral_sliding", "qwen2", "qwen2_sliding", "qwen3", "gemma", "gemma2", "gemma3_text",
           "phi3", "phi3_longrope", "phi3_partial", "olmo2", "gpt2", "gpt_neox", "opt", "bloom",
           "glm4", "mixtral", "qwen2_moe"]
FORMS = ("stock", "deci-lm", "remote-code", "shell")
CODE = ("remote-code", "deci-lm")
CASES = {
    "dense": None,
    "uniform": ["--method", "l2", "--ratio", "0.5"],
    "by layer": ["--method", "l2", "--budget", "global", "--ratio", "0.3"],
    "layer dropped": ["--structure", "layer", "--drop-layers", "0"],
    "attention dropped": {"attention_part": [0]},
    "FFN dropped": {"ffn_part": [-1]},
    "both dropped": {"attention_part": [0], "ffn_part": [-1]},
    "head channels": ["--method", "l2", "--ratio", "0.5", "--granularity", "head-dim"],
    "zeros 2:4": ["--method", "magnitude", "--pattern", "2:4"],
}


def prunus(binary, *arguments):
    done = subprocess.run([str(binary), *map(str, arguments)], text=True, capture_output=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(f"{done.returncode}: {lines[-1]}")
    return done.stdout


def logits(binary, folder):
    return torch.tensor(json.loads(prunus(binary, "logits", folder, "--ids", IDS))["logits"])


def opened(folder, code):
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    experts = {"experts_implementation": "eager"} if kind.endswith(("moe", "mixtral")) else {}
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True,
        trust_remote_code=code, **experts)
    problems = [name for key in ("missing_keys", "unexpected_keys", "mismatched_keys")
                for name in report[key] if not str(name).endswith("lm_head.weight")]
    if problems:
        raise RuntimeError(f"transformers: {problems[:3]}")
    ids = torch.tensor([[int(one) for one in row.split(",")] for row in IDS.split(";")])
    with torch.no_grad():
        found = model.eval()(ids).logits
        if code:  # a cache must change nothing
            start = model(ids[:, :-1], use_cache=True)
            cache = start["cache"] if "cache" in start else start["past_key_values"]
            last = model(ids[:, -1:], past_key_values=cache).logits
            if not torch.allclose(last[:, 0], found[:, -1], atol=1e-4 * found.abs().max().item()):
                raise RuntimeError("the last token by cache differs")
    return found


def legal_forms(binary, folder):
    table = json.loads(prunus(binary, "inspect", folder, "--json"))["forms"]
    return {row["form"] for row in table
            if row["format"] == "hf" and row["software"] == "transformers" and row["legal"]}


def refused(binary, folder, form, target):
    done = subprocess.run([str(binary), "export", str(folder), "--form", form, "--out", str(target)],
                          text=True, capture_output=True)
    if done.returncode != 4 or target.exists():
        raise RuntimeError(f"{form} should have been refused, exit code {done.returncode}")


def check(binary, folder, scratch):
    """The legal forms of a model, and the largest relative difference among them."""
    expected = logits(binary, folder)
    legal = legal_forms(binary, folder)
    worst = 0.0
    for form in FORMS:
        target = scratch / f"{folder.name}-{form}"
        if form not in legal:
            refused(binary, folder, form, target)
            continue
        prunus(binary, "export", folder, "--form", form, "--out", target)
        found = opened(target, form in CODE)
        difference = ((found - expected).abs().max() / expected.abs().max()).item()
        if not difference <= TOLERANCE:
            raise RuntimeError(f"{form}: {difference:.1e}")
        worst = max(worst, difference)
    return [form for form in FORMS if form in legal], worst


def plan(source, dropped):
    """Sub-layers by axis, and the layers that lose theirs; -1 is the last."""
    config = json.loads((source / "config.json").read_text())
    layers = next(config[key] for key in ("num_hidden_layers", "n_layer", "num_layers") if key in config)
    kept = {axis: [layer for layer in range(layers) if layer not in gone and layer - layers not in gone]
            for axis, gone in dropped.items()}
    return {"format": "prunus-plan", "version": 1,
            "groups": [{"layer": -1, "axis": axis, "units": layers, "keep": keep}
                       for axis, keep in kept.items()]}


def cut(binary, source, folder, options):
    if isinstance(options, list):
        return prunus(binary, "prune", source, "--out", folder, *options)
    by_hand = folder.with_suffix(".plan")
    by_hand.write_text(json.dumps(plan(source, options)))
    return prunus(binary, "apply", source, "--plan", by_hand, "--out", folder)


def cell(binary, source, name, options, scratch):
    folder = source
    if options is not None:
        folder = scratch / name.replace(" ", "-").replace(":", "-")
        try:
            cut(binary, source, folder, options)
        except RuntimeError as error:  # not every family can be cut in every way
            if str(error).startswith(("2:", "4:")):
                return "–", False
            raise
    forms, worst = check(binary, folder, scratch)
    return f"{', '.join(forms)}: {worst:.1e}" if forms else "none", False


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prunus", type=pathlib.Path, default=ROOT / "build/dev/prunus")
    parser.add_argument("--model", type=pathlib.Path, action="append", default=[])
    parser.add_argument("names", nargs="*", metavar="NAME", help="golden models")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    names = arguments.names or ([] if arguments.model else DEFAULT)
    models = [ROOT / "tests/model/golden" / name for name in names] + arguments.model
    print("| model | " + " | ".join(CASES) + " |\n|---|" + "---|" * len(CASES))
    failed = 0
    for source in models:
        cells = []
        for name, options in CASES.items():
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    text, fault = cell(arguments.prunus, source, name, options,
                                       pathlib.Path(scratch))
                except Exception as error:  # one case's failure is a cell of the table
                    text, fault = f"error: {str(error)[:300]}", True
                failed += fault
                cells.append(text)
        print(f"| {source.name} | {' | '.join(cells)} |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

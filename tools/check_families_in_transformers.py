#!/usr/bin/env python3
"""Prunes the tiny model of every family, loads the result with stock transformers and compares logits.

    tools/check_families_in_transformers.py --prunus build/dev/prunus

Needs: pip install torch==2.13.0 transformers==5.24.0 safetensors

For every directory of tests/model/golden whose architecture transformers knows: 25 % of the
feed-forward channels (l2), and then heads and hidden channels by the same share, so that the heads
still fill the hidden size. Where the result's model_type begins with "prunus_", stock software is
not meant to read it, and the row says so. Exit 1 if a difference exceeds 1e-4 (relative).
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


def prunus(binary, *arguments):
    done = subprocess.run([str(binary), *map(str, arguments)], text=True, capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.stdout


def stock_model(folder):
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True,
        **experts_of(folder))
    problems = [name for key in ("missing_keys", "unexpected_keys", "mismatched_keys")
                for name in report[key] if not str(name).endswith("lm_head.weight")]
    if problems:
        raise RuntimeError(f"transformers: {problems[:3]}")
    return model.eval()


def logits_of(model):
    ids = torch.tensor([[int(one) for one in row.split(",")] for row in IDS.split(";")])
    with torch.no_grad():
        return model(ids).logits


def stock_logits(folder):
    return logits_of(stock_model(folder))


def experts_of(folder):
    """Plain loops over the experts: the grouped kernels want widths that are multiples of four."""
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    return {"experts_implementation": "eager"} if kind.endswith(("moe", "mixtral")) else {}


def difference(binary, folder):
    ours = torch.tensor(json.loads(prunus(binary, "logits", folder, "--ids", IDS))["logits"])
    theirs = stock_logits(folder)
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def cut(binary, source, target, *options):
    prunus(binary, "prune", source, "--out", target, "--method", "l2", *options)


def check(binary, golden, scratch):
    """Pairs of what was cut and the relative difference, or a remark."""
    ffn = scratch / "ffn"
    cut(binary, golden, ffn, "--ffn-ratio", "0.25", "--attn-ratio", "0")
    heads = scratch / "heads"
    cut(binary, golden, heads, "--ratio", "0.5")
    hidden = scratch / "hidden"
    cut(binary, heads, hidden, "--structure", "channel", "--ratio", "0.5")
    for name, folder in (("FFN", ffn), ("heads and FFN", heads), ("heads, FFN, hidden", hidden)):
        kind = json.loads((folder / "config.json").read_text())["model_type"]
        yield name, kind if kind.startswith("prunus_") else difference(binary, folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prunus", type=pathlib.Path, default=ROOT / "build/dev/prunus")
    parser.add_argument("names", nargs="*", metavar="NAME", help="golden directories; default: all")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    failed = 0
    print("| golden model | FFN | heads and FFN | heads, FFN, hidden |\n|---|---|---|---|")
    for golden in sorted((ROOT / "tests/model/golden").iterdir()):
        if not golden.is_dir() or (arguments.names and golden.name not in arguments.names):
            continue
        architecture = json.loads((golden / "config.json").read_text())["architectures"][0]
        if not hasattr(transformers, architecture):
            continue
        cells = []
        with tempfile.TemporaryDirectory() as scratch:
            try:
                for _, result in check(arguments.prunus, golden, pathlib.Path(scratch)):
                    failed += isinstance(result, float) and not result <= TOLERANCE
                    cells.append(result if isinstance(result, str) else f"{result:.1e}")
            except Exception as error:  # one family's failure is a row of the table
                failed += 1
                cells.append(f"error: {str(error)[:300]}")
        print(f"| {golden.name} | {' | '.join(cells)} |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

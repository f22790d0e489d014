#!/usr/bin/env python3
"""Prunes real models by every method and prints one table of perplexities.

    tools/compare_methods.py --prunus build/dev/prunus --shared ../shared

For the TinyStories models: calibration on the first half of the model's quality.jsonl, perplexity
on the second half, document by document. For sapling-5m: calibration on books.calib.txt,
perplexity on the `books` lines of its quality.jsonl (other books). All layers are pruned. Methods
that draw (random, the two Taylor variants) run with --seeds 0,1,2: geometric mean [least-most].
Prints Markdown; --json FILE keeps every single figure. Needs only the Python standard library.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

METHODS = {
    "random": ["--method", "random"],
    "l1": ["--method", "l1"],
    "l2": ["--method", "l2"],
    "vectorize": ["--method", "llm-pruner", "--taylor", "vectorize"],
    "param_first": ["--method", "llm-pruner", "--taylor", "param_first"],
}
DRAWS = {"random", "vectorize", "param_first"}


def split_texts(shared, name, work):
    """(calibration file, evaluation file) of a model's own kind of text."""
    lines = (shared / "models" / name / "quality.jsonl").read_text(encoding="utf-8").splitlines()
    calib, valid = work / f"{name}.calib.jsonl", work / f"{name}.valid.jsonl"
    if name == "sapling-5m":
        valid.write_text("".join(l + "\n" for l in lines if json.loads(l)["set"] == "books"),
                         encoding="utf-8")
        return shared / "corpora" / "books.calib.txt", valid
    half = len(lines) // 2
    calib.write_text("".join(l + "\n" for l in lines[:half]), encoding="utf-8")
    valid.write_text("".join(l + "\n" for l in lines[half:]), encoding="utf-8")
    return calib, valid


def run(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"failed ({done.returncode}): {' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def perplexity(prunus, model, valid):
    out = run([prunus, "eval", model, "--ppl", valid, "--json", "--quiet"])
    return json.loads(out)["results"][0]["ppl"]


def cell(values):
    mean = math.exp(sum(map(math.log, values)) / len(values))
    text = f"{mean:.3g}"
    return text if len(values) == 1 else f"{text} [{min(values):.3g}-{max(values):.3g}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prunus", default="build/dev/prunus")
    parser.add_argument("--shared", type=pathlib.Path, default=pathlib.Path("../shared"))
    parser.add_argument("--ratios", default="0.25,0.5")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--models", default="stories260K,babyllama-105,sapling-5m")
    parser.add_argument("--calib-samples", default="10")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    figures = []
    print("| model (dense) | ratio | parameters removed | " + " | ".join(METHODS) + " |")
    print("|---" * (3 + len(METHODS)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        for name in arguments.models.split(","):
            model = arguments.shared / "models" / name
            calib, valid = split_texts(arguments.shared, name, work)
            dense = perplexity(arguments.prunus, model, valid)
            for ratio in arguments.ratios.split(","):
                cells = []
                for method, options in METHODS.items():
                    seeds = arguments.seeds.split(",") if method in DRAWS else ["0"]
                    values = []
                    for seed in seeds:
                        out = work / "out"
                        record = json.loads(run(
                            [arguments.prunus, "prune", model, "--out", out, "--force", "--quiet",
                             "--json", "--ratio", ratio, "--calib", calib, "--seed", seed,
                             "--calib-samples", arguments.calib_samples, *options]))
                        values.append(perplexity(arguments.prunus, out, valid))
                        removed = record["parameters_removed"]
                        figures.append({"model": name, "ratio": ratio, "method": method,
                                        "seed": seed, "ppl": values[-1]})
                    cells.append(cell(values))
                print(f"| {name} ({dense:.4g}) | {ratio} | {100 * removed:.1f} % | "
                      + " | ".join(cells) + " |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

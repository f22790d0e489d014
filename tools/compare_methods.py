#!/usr/bin/env python3
"""Prunes real models by every method and prints one table of perplexities per model.

    tools/compare_methods.py --prunus build/dev/prunus --shared ../shared --jobs 2 --json all.json

For the TinyStories models: calibration on the first half of the model's quality.jsonl, perplexity
on the second half, document by document. For sapling-5m: calibration on books.calib.txt,
perplexity on the `books` lines of its quality.jsonl (other books). All layers are pruned.

A row is a ratio, a ranking (local: the ratio in every layer; global: over all layers) and a mode
(corrected: the default; compat: LLM-Pruner's own arithmetic). Methods that draw (random, all
llm-pruner variants: calibration windows) run with --seeds: geometric mean [least-most]; l1 and l2
run once. Where the methods of a row remove different shares of the parameters, each cell says its
own; to compare rankings at equal parameters: --ratios 0.8x,0.6x.

--json FILE keeps every figure as soon as it is there, and what the file holds is not run again: an
interrupted run goes on where it stopped. Delete the file after a change to prunus.
Needs only the Python standard library.
"""
import argparse
import concurrent.futures
import json
import math
import os
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
    "param_second": ["--method", "llm-pruner", "--taylor", "param_second"],
    "param_mix": ["--method", "llm-pruner", "--taylor", "param_mix"],
}
DRAWS_NOTHING = {"l1", "l2"}
RANKINGS = {"local": [], "global": ["--global"],
            **{f"global-{by}": ["--global", "--normalize", by] for by in ("mean", "max", "params")}}
MODES = {"corrected": [], "compat": ["--compat", "llm-pruner"]}
MODELS = ["stories260K", "babyllama-105", "sapling-5m"]
KEY = ("model", "ratio", "method", "ranking", "mode", "seed", "calib_samples")


class Failed(Exception):
    """A prunus process ended with an error."""


class Figures:
    """Every figure measured so far, by its key; on disk where a file is given."""

    def __init__(self, path):
        self.path, self.known = path, {}
        if path and path.exists():
            for figure in json.loads(path.read_text(encoding="utf-8")):
                self.known[tuple(figure[part] for part in KEY)] = figure

    def add(self, key, figure):
        self.known[key] = dict(zip(KEY, key)) | figure
        if self.path:
            partial = self.path.with_name(self.path.name + ".partial")
            partial.write_text(json.dumps(list(self.known.values()), indent=1) + "\n",
                               encoding="utf-8")
            os.replace(partial, self.path)


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


class Runner:
    """Runs prunus: measure() gives the figure of one key. Used by several threads at once."""

    def __init__(self, arguments, work):
        self.prunus, self.shared, self.work = arguments.prunus, arguments.shared, work
        self.threads = ["--threads", "1"] if arguments.jobs > 1 else []
        self.texts = {name: split_texts(self.shared, name, work) for name in arguments.models}

    def run(self, *command):
        command = [self.prunus, *map(str, command), *self.threads, "--json", "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"failed ({done.returncode}): {' '.join(command)}\n{done.stderr.strip()}")
        return json.loads(done.stdout)

    def perplexity(self, model, valid):
        value = self.run("eval", model, "--ppl", valid)["results"][0]["ppl"]
        return math.inf if value is None else value

    def measure(self, key):
        name, ratio, method, ranking, mode, seed, samples = key
        model = self.shared / "models" / name
        calib, valid = self.texts[name]
        if method == "dense":
            return {"ppl": self.perplexity(model, valid), "parameters_removed": 0.0}
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            out = pathlib.Path(folder) / "out"
            record = self.run("prune", model, "--out", out, *amount(ratio), "--calib", calib,
                              "--seed", seed, "--calib-samples", samples, *METHODS[method],
                              *RANKINGS[ranking], *MODES[mode])
            return {"ppl": self.perplexity(out, valid),
                    "parameters_removed": record["parameters_removed"]}


def amount(ratio):
    return ["--target-params", ratio] if isinstance(ratio, str) else ["--ratio", ratio]


def dense_key(arguments, name):
    return (name, 0.0, "dense", "", "", 0, 0)


def cell_keys(arguments, name, ratio, ranking, mode, method):
    seeds = [0] if method in DRAWS_NOTHING else arguments.seeds
    return [(name, ratio, method, ranking, mode, seed, arguments.calib_samples) for seed in seeds]


def table_rows(arguments):
    return [(ratio, ranking, mode) for ratio in arguments.ratios for ranking in arguments.rankings
            for mode in arguments.modes]


def model_keys(arguments, name):
    return [dense_key(arguments, name)] + [
        key for row in table_rows(arguments) for method in arguments.methods
        for key in cell_keys(arguments, name, *row, method)]


def measure_all(arguments, figures, runner):
    """Fills `figures`; returns the number of failures."""
    wanted = [key for name in arguments.models for key in model_keys(arguments, name)]
    missing = [key for key in wanted if key not in figures.known]
    print(f"{len(wanted)} figures, {len(missing)} to measure", file=sys.stderr)
    failures = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        futures = {pool.submit(runner.measure, key): key for key in missing}
        try:
            for done, future in enumerate(concurrent.futures.as_completed(futures), 1):
                key = futures[future]
                try:
                    figures.add(key, future.result())
                    print(f"{done}/{len(missing)} {' '.join(map(str, key[:-1]))}: "
                          f"{figures.known[key]['ppl']:.4g}", file=sys.stderr)
                except Failed as error:
                    failures += 1
                    print(f"{done}/{len(missing)} {error}", file=sys.stderr)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failures


def ppl_text(values):
    mean = math.exp(sum(map(math.log, values)) / len(values))
    text = f"{mean:.3g}"
    return text if len(values) == 1 else f"{text} [{min(values):.3g}-{max(values):.3g}]"


def share_text(shares):
    least, most = (f"{100 * share:.1f}" for share in (min(shares), max(shares)))
    return f"{least} %" if least == most else f"{least}-{most} %"


def row_text(arguments, figures, name, row):
    cells = []
    for method in arguments.methods:
        keys = cell_keys(arguments, name, *row, method)
        cells.append([figures.known[key] for key in keys if key in figures.known])
    shares = [one["parameters_removed"] for cell in cells for one in cell]
    removed = share_text(shares) if shares else "?"
    texts = []
    for cell in cells:
        text = ppl_text([one["ppl"] for one in cell]) if cell else "failed"
        if cell and "-" in removed:
            text += f" ({share_text([one['parameters_removed'] for one in cell])})"
        texts.append(text)
    ratio, ranking, mode = row
    return "| " + " | ".join([f"{ratio}", ranking, mode, removed, *texts]) + " |"


def print_table(arguments, figures, name):
    dense = figures.known.get(dense_key(arguments, name))
    print(f"\n{name}, perplexity (dense {dense['ppl']:.4g}):\n" if dense else f"\n{name}:\n")
    heads = ["ratio", "ranking", "mode", "parameters removed", *arguments.methods]
    print("| " + " | ".join(heads) + " |")
    print("|---" * len(heads) + "|")
    for row in table_rows(arguments):
        print(row_text(arguments, figures, name, row))
    sys.stdout.flush()


def some_of(choices):
    """An argparse type: a comma-separated part of `choices`."""
    def parse(text):
        chosen = text.split(",")
        unknown = [one for one in chosen if one not in choices]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r}, expected {', '.join(choices)}")
        return chosen
    return parse


def ratio_or_target(text):
    return text if text.endswith("x") and float(text[:-1]) > 0 else float(text)


def list_of(kind):
    """An argparse type: comma-separated numbers."""
    def parse(text):
        return [kind(part) for part in text.split(",")]
    parse.__name__ = f"comma-separated {kind.__name__}"
    return parse


def options():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prunus", default="build/dev/prunus")
    parser.add_argument("--shared", type=pathlib.Path, default=pathlib.Path("../shared"))
    parser.add_argument("--models", type=lambda text: text.split(","), default=MODELS)
    parser.add_argument("--ratios", type=list_of(ratio_or_target), default=[0.2, 0.5],
                        help="fractions of the units to remove, such as 0.2; or, ending in x, of the "
                             "parameters to leave, such as 0.8x")
    parser.add_argument("--methods", type=some_of(METHODS), default=list(METHODS))
    parser.add_argument("--rankings", type=some_of(RANKINGS), default=["local", "global"],
                        help="of " + ", ".join(RANKINGS))
    parser.add_argument("--modes", type=some_of(MODES), default=list(MODES))
    parser.add_argument("--seeds", type=list_of(int), default=[0, 1, 2])
    parser.add_argument("--calib-samples", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, metavar="N",
                        help="prunus processes at once, each with one thread where N > 1")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    return parser.parse_args()


def main():
    arguments = options()
    figures = Figures(arguments.json)
    with tempfile.TemporaryDirectory() as folder:
        failures = measure_all(arguments, figures, Runner(arguments, pathlib.Path(folder)))
    for name in arguments.models:
        print_table(arguments, figures, name)
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

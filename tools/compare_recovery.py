#!/usr/bin/env python3
"""Recovers pruned models by every recipe at equal training tokens and prints one table.

    tools/compare_recovery.py --prunus build/dev/prunus --shared ../shared --jobs 2 --json all.json

TinyStories models, pruned by param_second at each ratio in every layer, calibrated on the first
half of the model's quality.jsonl. Training text: the stories file without the stories that the
second half of quality.jsonl is taken from; evaluation: that second half, document by document.
Every recipe sees --rows rows of 256 tokens; one that begins with sub-block repair spends half of
them there (rows x passes) and the rest on training. Learning rates: adapters 3e-3, all weights
3e-4; everything else is the program's default.

A cell is the geometric mean of the perplexities over --seeds [least-most] and, in per cent, how
much of the log-likelihood that pruning lost is back. Seeds change calibration windows, adapters and
the order of the rows.

--json FILE keeps every figure as soon as it is there, and what the file holds is not run again.
Needs only the Python standard library.
"""
import argparse
import concurrent.futures
import json
import math
import pathlib
import sys
import tempfile

from compare_methods import Failed, list_of, ppl_text, split_texts
import compare_methods

MODELS = ["babyllama-105", "stories260K"]
ROW_TOKENS, BATCH, PASSES = 256, 16, 8
LORA, FULL = ["--lr", "3e-3"], ["--full", "--lr", "3e-4"]
RECIPES = ["pruned", "LoRA", "LoRA + distillation", "full", "full + distillation", "sub-block",
           "sub-block, LoRA + distillation", "sub-block, full + distillation"]


def training_text(shared, name, valid):
    """The stories, without those that the evaluation sequences come from."""
    stories = (shared / "corpora/tinystories/tinystories.singlenl.txt").read_text(encoding="utf-8")
    quality = shared / "models" / name / "quality.jsonl"
    starts, held_out = ([stories.find(json.loads(line)["text"][:60]) for line in lines]
                        for lines in (quality.read_text(encoding="utf-8").splitlines(),
                                      valid.read_text(encoding="utf-8").splitlines()))
    if min(starts) < 0:
        raise Failed(f"{name}: a sequence of quality.jsonl is not in the stories file")
    # A story ends where the next known one begins; at most 2,000 characters are taken for one.
    borders = sorted(starts) + [len(stories)]
    kept, at = [], 0
    for begin in sorted(set(held_out)):
        end = min(next(border for border in borders if border > begin), begin + 2000)
        kept.append(stories[at:max(at, begin)])
        at = max(at, end)
    text = "".join(kept) + stories[at:]
    for line in valid.read_text(encoding="utf-8").splitlines():
        if json.loads(line)["text"][:200] in text:
            raise Failed(f"{name}: evaluation text is left in the training text")
    return text


class Runner(compare_methods.Runner):
    def __init__(self, arguments, work):
        self.prunus, self.shared, self.work = arguments.prunus, arguments.shared, work
        self.threads = ["--threads", "1"] if arguments.jobs > 1 else []
        self.rows = arguments.rows
        self.texts, self.train = {}, {}
        for name in arguments.models:
            self.texts[name] = split_texts(self.shared, name, work)
            self.train[name] = work / f"{name}.train.txt"
            self.train[name].write_text(training_text(self.shared, name, self.texts[name][1]),
                                        encoding="utf-8")

    def recover(self, name, seed, model, out, rows, *more):
        return self.run("recover", model, "--out", out, "--data", self.train[name], "--no-eos",
                        "--row-tokens", ROW_TOKENS, "--batch", BATCH, "--seed", seed,
                        "--max-steps", rows // BATCH, *more)

    def measure(self, key):
        """All recipes of one model, ratio and seed: {recipe: perplexity}, and seconds."""
        name, ratio, seed = key
        dense, (calib, valid) = self.shared / "models" / name, self.texts[name]
        teach, half = ["--teacher", dense], self.rows // 2
        repair = ["--sub-block", *teach, "--sub-block-rows", half // PASSES,
                  "--sub-block-epochs", PASSES]
        figures = {"dense": {"ppl": self.perplexity(dense, valid)}}

        def note(recipe, path, *records):
            seconds = sum(stage["seconds"] for record in records for stage in record["stages"])
            figures[recipe] = {"ppl": self.perplexity(path, valid), "seconds": seconds}

        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            out = lambda part: pathlib.Path(folder) / part
            pruned = self.run("prune", dense, "--out", out("p"), "--ratio", ratio, "--taylor",
                              "param_second", "--calib", calib, "--seed", seed)
            note("pruned", out("p"))
            figures["pruned"]["removed"] = pruned["parameters_removed"]
            for recipe, more in (("LoRA", LORA), ("LoRA + distillation", LORA + teach),
                                 ("full", FULL), ("full + distillation", FULL + teach)):
                path = out(recipe)
                note(recipe, path, self.recover(name, seed, out("p"), path, self.rows, *more))
            first = self.recover(name, seed, out("p"), out("s"), 16, *repair)
            note("sub-block", out("s"), first)
            for recipe, more in (("sub-block, LoRA + distillation", LORA + teach),
                                 ("sub-block, full + distillation", FULL + teach)):
                path = out(recipe)
                note(recipe, path, first,
                     self.recover(name, seed, out("s"), path, half, *more))
        return figures


def recovered(figures, recipe):
    dense, pruned, now = (math.log(figures[part]["ppl"]) for part in ("dense", "pruned", recipe))
    return 100 * (pruned - now) / (pruned - dense)


def print_tables(arguments, known):
    for name in arguments.models:
        runs = {ratio: [known[key] for key in known if key[:2] == (name, ratio)]
                for ratio in arguments.ratios}
        any_run = next((run for runs_of in runs.values() for run in runs_of), None)
        if any_run is None:
            continue
        print(f"\n{name} (dense {any_run['dense']['ppl']:.4g}), {arguments.rows} rows of "
              f"{ROW_TOKENS} tokens:\n")
        print("| recipe | " + " | ".join(f"ratio {ratio}" for ratio in arguments.ratios) +
              " | seconds |")
        print("|---" * (len(arguments.ratios) + 2) + "|")
        for recipe in RECIPES:
            cells = []
            for ratio in arguments.ratios:
                text = ppl_text([run[recipe]["ppl"] for run in runs[ratio]])
                if recipe == "pruned":
                    text += f" ({100 * runs[ratio][0]['pruned']['removed']:.1f} % removed)"
                else:
                    back = sum(recovered(run, recipe) for run in runs[ratio]) / len(runs[ratio])
                    text += f" ({back:.0f} % back)"
                cells.append(text)
            all_runs = [run for runs_of in runs.values() for run in runs_of]
            seconds = sum(run[recipe]["seconds"] for run in all_runs) / len(all_runs)
            print(f"| {recipe} | " + " | ".join(cells) + f" | {seconds:.0f} |")
    sys.stdout.flush()


def options():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prunus", default="build/dev/prunus")
    parser.add_argument("--shared", type=pathlib.Path, default=pathlib.Path("../shared"))
    parser.add_argument("--models", type=lambda text: text.split(","), default=MODELS)
    parser.add_argument("--ratios", type=list_of(float), default=[0.2, 0.5])
    parser.add_argument("--seeds", type=list_of(int), default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=800, help="training rows of 256 tokens (800)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N",
                        help="prunus processes at once, each with one thread where N > 1")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    return parser.parse_args()


def main():
    arguments = options()
    known, failures = {}, 0
    if arguments.json and arguments.json.exists():
        stored = json.loads(arguments.json.read_text(encoding="utf-8"))
        known = {(one["model"], one["ratio"], one["seed"]): one["figures"] for one in stored
                 if one["rows"] == arguments.rows}
    wanted = [(name, ratio, seed) for seed in arguments.seeds for ratio in arguments.ratios
              for name in arguments.models]
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(arguments, pathlib.Path(folder))
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            futures = {pool.submit(runner.measure, key): key for key in wanted if key not in known}
            for done, future in enumerate(concurrent.futures.as_completed(futures), 1):
                key = futures[future]
                try:
                    known[key] = future.result()
                except Failed as error:
                    failures += 1
                    print(error, file=sys.stderr)
                    continue
                print(f"{done}/{len(futures)} {key}", file=sys.stderr)
                if arguments.json:
                    arguments.json.write_text(json.dumps(
                        [{"model": m, "ratio": r, "seed": s, "rows": arguments.rows, "figures": f}
                         for (m, r, s), f in known.items()], indent=1) + "\n", encoding="utf-8")
    print_tables(arguments, known)
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

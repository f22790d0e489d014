#!/usr/bin/env python3
"""Runs the same prune commands by two builds of prunus and compares what they write, byte by byte.

    tools/same_bytes.py --before OLD/prunus --after build/dev/prunus [--families llama_gqa,opt]

(the old build: git worktree add OLD COMMIT, and make build there)

For every model of tests/model/golden, given a tokenizer of single characters: each method, structure
and granularity, with calibration on the same text. Compared are plan.json and every weight file; a
command that both refuse with the same exit code counts as equal. Exit code 1 where anything differs.
What changes no mathematics must pass, whatever it moves.

With --scores 1e-5, for what changes rounding alone: all of plan.json but its scores must be the same,
kept indices above all, and every weight file. A score may differ by so much of the largest of its
set, since a sum with both signs may be a small rest of large terms. How far they differ is printed.
"""
import argparse
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "model" / "golden"
# One thread, and MKL's products the same whatever the address: without the second setting a score of
# one build may differ from run to run in its last bits (seen with BLOOM, one run in ten).
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", MKL_CBWR="COMPATIBLE")
METHODS = {
    "l1": ["--method", "l1"], "l2": ["--method", "l2"], "random": ["--method", "random"],
    "vectorize": ["--method", "llm-pruner", "--taylor", "vectorize"],
    "param_first": ["--method", "llm-pruner", "--taylor", "param_first"],
    "param_second": ["--method", "llm-pruner", "--taylor", "param_second"],
    "param_mix": ["--method", "llm-pruner", "--taylor", "param_mix"],
    "reap": ["--method", "reap"],
}
WHERE = {
    "block": [], "channel": ["--structure", "channel"], "layer": ["--structure", "layer"],
    "expert": ["--structure", "expert"], "query-head": ["--granularity", "query-head"],
    "head-dim": ["--granularity", "head-dim"], "global": ["--global"],
    "global, mean": ["--global", "--normalize", "mean"],
    "llm-pruner": ["--compat", "llm-pruner"],
}


def add_tokenizer(folder):
    """One id for each printable character, in a vocabulary that every golden has room for."""
    tokens = ["<unk>", "<s>", "</s>"] + [chr(code) for code in range(32, 123)]
    document = {
        "version": "1.0", "added_tokens": [
            {"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True} for i, token in enumerate(tokens[:3])],
        "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": False, "byte_fallback": False,
                  "vocab": {token: i for i, token in enumerate(tokens)}, "merges": []}}
    (folder / "tokenizer.json").write_text(json.dumps(document))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}))


def run(binary, model, text, out, options):
    command = [binary, "prune", model, "--out", out, "--ratio", "0.4", "--calib", text,
               "--calib-samples", "4", "--calib-tokens", "12", "--seed", "7", "--threads", "1", "-q",
               *options]
    return subprocess.run([str(one) for one in command], capture_output=True, text=True,
                          env=ENVIRONMENT, check=False)


def written(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*"))
            if path.name == "plan.json" or path.suffix == ".safetensors"}


class Scores:
    """How far scores of the two builds lie apart, at most."""

    def __init__(self):
        self.of_largest = 0.0  # of the set's largest score
        self.of_itself = 0.0

    def add(self, before, after):
        scale = max(map(abs, before), default=0.0)
        for one, other in zip(before, after, strict=True):
            gap = abs(one - other)
            if gap:
                self.of_largest = max(self.of_largest, gap / scale if scale else float("inf"))
                self.of_itself = max(self.of_itself, gap / max(abs(one), abs(other)))


def same_but_for_scores(before, after, tolerance, worst):
    """Whether what two runs wrote is the same, scores of plan.json up to the tolerance."""
    seen = Scores()
    plans = [json.loads(files.pop("plan.json")) for files in (before, after)]
    scores = [[group.pop("scores", []) for group in plan["groups"]] for plan in plans]
    if plans[0] != plans[1] or before != after:
        return False
    for pair in zip(*scores, strict=True):
        seen.add(*pair)
    worst.of_largest = max(worst.of_largest, seen.of_largest)
    worst.of_itself = max(worst.of_itself, seen.of_itself)
    return seen.of_largest <= tolerance


def same(outs, tolerance, worst):
    before, after = (written(out) for out in outs)
    return before == after or (tolerance > 0 and
                               same_but_for_scores(before, after, tolerance, worst))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=pathlib.Path, required=True)
    parser.add_argument("--after", type=pathlib.Path, default=ROOT / "build/dev/prunus")
    parser.add_argument("--scores", type=float, default=0, metavar="TOLERANCE",
                        help="scores may differ by so much; default: not a bit")
    parser.add_argument("--families", default="", help="folders of tests/model/golden; default: all")
    options = parser.parse_args()
    chosen = set(filter(None, options.families.split(",")))
    equal = refused = 0
    different = []
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        text = scratch / "text.txt"
        text.write_text("The plum tree stands in the garden; its fruit is ripe in August. " * 40)
        for golden in sorted(path for path in GOLDEN.iterdir() if (path / "config.json").exists()):
            if chosen and golden.name not in chosen:
                continue
            model = scratch / golden.name
            model.mkdir()
            for path in golden.glob("*"):
                if path.name == "config.json" or path.name.startswith("model"):
                    shutil.copy(path, model)
            add_tokenizer(model)
            done = 0
            worst = Scores()
            for method, where in itertools.product(METHODS, WHERE):
                outs = [scratch / "before", scratch / "after"]
                results = [run(binary, model, text, out, METHODS[method] + WHERE[where])
                           for binary, out in zip((options.before, options.after), outs)]
                codes = [result.returncode for result in results]
                if codes[0] == codes[1] != 0:
                    refused += 1
                elif codes[0] != codes[1] or not same(outs, options.scores, worst):
                    different.append(f"{golden.name} {method} {where}: exit codes {codes}")
                    print(different[-1], results[1].stderr.strip()[-200:], flush=True)
                else:
                    equal += 1
                    done += 1
                for out in outs:  # and what an unfinished run left, which refuses the next
                    shutil.rmtree(out, ignore_errors=True)
                    shutil.rmtree(out.with_name(out.name + ".work"), ignore_errors=True)
            apart = (f"; scores differ by up to {worst.of_largest:.1e} of the set's largest, "
                     f"{worst.of_itself:.1e} of themselves" if options.scores else "")
            print(f"{golden.name}: {done} equal{apart}", flush=True)
    print(f"{equal} equal, {refused} refused by both, {len(different)} different")
    return 1 if different or not equal else 0


if __name__ == "__main__":
    sys.exit(main())

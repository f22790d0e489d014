#!/usr/bin/env python3
"""Methods of pruning on a real model, at equal shares of the decoder's parameters, without training.

    tools/compare_on_real.py --model build/models/smollm2 --calib C4.txt --wikitext WIKI.txt --c4 HELD.jsonl

Each method removes the same share of what lies between the embedding and the head, by heads and
feed-forward channels of --layers (all but the first three and last two, as LLM-Pruner spares some;
ShortGPT drops layers anywhere), calibrated on the same 32 windows of 256 tokens of C4. Perplexity on
chunks of 1024 tokens of WikiText-2's test text and of held-out C4, the first --chunks of each. Prints
a Markdown table, and the command of every run with --verbose; results so far are kept in --work, where
a second run goes on.
"""
import argparse
import itertools
import json
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
METHODS = {
    "random": ["--method", "random", "--seed", "0"],
    "L1": ["--method", "l1"],
    "L2": ["--method", "l2"],
    "vectorize": ["--method", "llm-pruner", "--taylor", "vectorize"],
    "param_first": ["--method", "llm-pruner", "--taylor", "param_first"],
    "param_second": ["--method", "llm-pruner", "--taylor", "param_second"],
    "param_mix": ["--method", "llm-pruner", "--taylor", "param_mix"],
    "Wanda-sp": ["--method", "wanda-sp"],
    "FLAP's selection": ["--method", "flap"],
    "ShortGPT": ["--method", "shortgpt"],
}
WHOLE_LAYERS = ("ShortGPT",)


def first_chunks(path, chunks, out):
    """So much text that at least `chunks` · 1024 tokens are in it, and eval's chunks are the same."""
    text = path.read_text(encoding="utf-8")
    if path.suffix in (".jsonl", ".json"):
        text = "\n\n".join(json.loads(line)["text"] for line in text.splitlines())
    out.write_text(text[:chunks * 1024 * 4], encoding="utf-8")
    return out


class Comparison:
    def __init__(self, options):
        self.options = options
        self.work = options.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.texts = [first_chunks(options.wikitext, options.chunks, self.work / "wikitext.txt"),
                      first_chunks(options.c4, options.chunks, self.work / "c4.txt")]
        parameters = self.run("inspect", options.model, "--json")["parameters"]
        config = json.loads((options.model / "config.json").read_text())
        tied = config.get("tie_word_embeddings", True)
        outside = config["vocab_size"] * config["hidden_size"] * (1 if tied else 2)
        self.decoder = parameters - outside
        self.outside = outside

    def run(self, *words):
        command = [str(self.options.program), *map(str, words)]
        if self.options.verbose:
            print(" ".join(command), file=sys.stderr, flush=True)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1]}")
        return json.loads(done.stdout) if done.stdout.startswith("{") else {}

    def perplexities(self, model):
        texts = itertools.chain.from_iterable(("--ppl", text) for text in self.texts)
        run = self.run("eval", model, *texts, "--seqlen", 1024, "--json", "--quiet")
        return [one["ppl"] for one in run["results"]]

    def figures(self, name, share):
        """{"removed", "ppl", "seconds", "peak"} of a method at a share; kept in the work folder."""
        kept = self.work / f"{name}-{share}.json".replace(" ", "_")
        if kept.exists():
            return json.loads(kept.read_text())
        out = self.work / "pruned"
        for left in (out, out.with_name("pruned.work")):  # of an interrupted run
            shutil.rmtree(left, ignore_errors=True)
        layers = [] if name in WHOLE_LAYERS else ["--layers", self.options.layers]
        run = self.run("prune", self.options.model, "--out", out, *METHODS[name], *layers,
                       "--target-params",
                       round(self.outside + (1 - share) * self.decoder), "--calib", self.options.calib,
                       "--calib-samples", 32, "--calib-tokens", 256, "--json", "--quiet")
        result = {"removed": 1 - (run["result"]["parameters"] - self.outside) / self.decoder,
                  "seconds": sum(stage["seconds"] for stage in run["stages"]),
                  "peak": run["peak_memory_bytes"], "ppl": self.perplexities(out)}
        shutil.rmtree(out)
        kept.write_text(json.dumps(result))
        return result


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "build/models/smollm2")
    parser.add_argument("--calib", type=pathlib.Path, required=True)
    parser.add_argument("--wikitext", type=pathlib.Path, required=True)
    parser.add_argument("--c4", type=pathlib.Path, required=True)
    parser.add_argument("--shares", default="0.2,0.5")
    parser.add_argument("--layers", default="3:28")
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--methods", help="names, separated by commas; default: all")
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/dev/prunus")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build/compare_on_real")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    shares = [float(share) for share in options.shares.split(",")]
    compare = Comparison(options)
    dense = compare.perplexities(options.model)
    print(f"Dense: {dense[0]:.2f} / {dense[1]:.2f}\n")
    print("| method | " + " | ".join(f"{100 * share:.0f} %" for share in shares) +
          " | prune, seconds | peak |\n|---|" + "---|" * (len(shares) + 2))
    for name in options.methods.split(",") if options.methods else METHODS:
        rows = [compare.figures(name, share) for share in shares]
        cells = [f"{row['ppl'][0]:.4g} / {row['ppl'][1]:.4g}" +
                 ("" if abs(row["removed"] - share) < 0.005 else f" ({100 * row['removed']:.1f} %)")
                 for row, share in zip(rows, shares)]
        print(f"| {name} | " + " | ".join(cells) +
              f" | {rows[0]['seconds']:.0f} | {rows[0]['peak'] / 2**20:.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()

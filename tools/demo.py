#!/usr/bin/env python3
"""Shows on a small model what Prunus does: how much smaller, how much worse, at what cost.

Needs: nothing but Python 3.9 or newer (no pip package) and a built prunus.

Generates calibration and validation text (tools/make_stories.py), measures the dense model, prunes
it at ratio 0.2 and 0.5 by random, l2 and Taylor, and prints one table and three stories. Random is
done with three seeds; its perplexity is the geometric mean. Texts, plans and perplexities depend on
the seeds alone; times and tokens/s depend on the machine.

Results go to stdout and to WORK/results.json, progress to stderr.
"""
import argparse
import json
import pathlib
import shlex
import statistics
import subprocess
import sys
import textwrap
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RATIOS = (0.2, 0.5)
METHODS = (("random", "random"), ("l2", "l2"), ("llm-pruner", "Taylor"))
RANDOM_SEEDS = (0, 1, 2)
CALIB = ["--calib-samples", "50", "--calib-tokens", "64"]
CALIB_STORIES, VALID_STORIES = 200, 200
PROMPT = "Once upon a time there was a small fox named"
SPEED_SEEDS = (1, 2, 3)  # the story that is shown is of the first
MAX_TOKENS, TEMPERATURE = 200, 0.7


class DemoError(Exception):
    pass


def options_of(arguments: list) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    parser.add_argument("--prunus", type=pathlib.Path, required=True, metavar="PATH",
                        help="the program, e.g. build/dev/prunus")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "assets" / "seedling",
                        metavar="DIR", help="Hugging Face directory (default: assets/seedling)")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "demo",
                        metavar="DIR", help="for texts and pruned models (default: build/demo)")
    parser.add_argument("--threads", type=int, default=1, metavar="N",
                        help="CPU threads (default: 1, which is fastest for so small a model)")
    return parser.parse_args(arguments)


def run(command: list) -> str:
    """Standard output of a command; DemoError with the command and its stderr where it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except OSError as error:
        raise DemoError(f"cannot run: {shlex.join(words)}\n{error}") from error
    if done.returncode != 0:
        raise DemoError(f"failed with exit code {done.returncode}: {shlex.join(words)}\n"
                        f"{done.stderr.strip()}")
    return done.stdout


class Progress:
    def __init__(self, total: int):
        self.done, self.total = 0, total

    def step(self, what: str) -> None:
        self.done += 1
        print(f"[{self.done}/{self.total}] {what}", file=sys.stderr, flush=True)


class Demo:
    def __init__(self, options: argparse.Namespace):
        self.prunus, self.model, self.work = options.prunus, options.model, options.work
        self.threads = options.threads
        self.calib, self.valid = self.work / "calib.jsonl", self.work / "valid.jsonl"

    def make_text(self) -> None:
        for split, stories, file in (("calib", CALIB_STORIES, self.calib),
                                     ("valid", VALID_STORIES, self.valid)):
            run([sys.executable, ROOT / "tools" / "make_stories.py", "--split", split, "--stories",
                 stories, "--seed", 0, "--format", "jsonl", "--out", file])

    def ask(self, command: str, *arguments) -> dict:
        return json.loads(run([self.prunus, command, *arguments, "--threads", self.threads,
                               "--json"]))

    def evaluate(self, model: pathlib.Path) -> dict:
        return self.ask("eval", model, "--ppl", self.valid)

    def generate(self, rows: list) -> None:
        """Story and speed of each row. In turns, so that a busy machine is as busy for each."""
        turns = [[self.ask("generate", row["dir"], "--prompt", PROMPT, "--max-tokens", MAX_TOKENS,
                           "--temperature", TEMPERATURE, "--seed", seed) for row in rows]
                 for seed in SPEED_SEEDS]
        for row, texts in zip(rows, zip(*turns)):
            row["tokens_per_second"] = statistics.median(one["tokens_per_second"] for one in texts)
            row["story"] = texts[0]["text"]

    def prune(self, method: str, ratio: float, seed: int) -> dict:
        out = self.work / f"{method}-{ratio}-seed{seed}"
        calib = ["--calib", self.calib] + CALIB if method == "llm-pruner" else []
        begin = time.monotonic()
        record = self.ask("prune", self.model, "--out", out, "--force", "--method", method,
                          "--ratio", ratio, "--seed", seed, *calib)
        seconds = time.monotonic() - begin
        ppl = self.evaluate(out)["results"][0]["ppl"]
        return {"dir": str(out), "ppl": ppl, "seconds": seconds, "record": record}

    def dense_row(self) -> dict:
        evaluation = self.evaluate(self.model)
        result = evaluation["results"][0]
        return {"name": "dense", "dir": str(self.model), "parameters": evaluation["parameters"],
                "ppl": result["ppl"], "protocol": result["protocol"], "tokens": result["tokens"]}

    def pruned_row(self, method: str, name: str, ratio: float) -> dict:
        seeds = RANDOM_SEEDS if method == "random" else (0,)
        runs = [self.prune(method, ratio, seed) for seed in seeds]
        first = runs[0]["record"]
        return {"name": f"{name} {ratio}", "method": method, "ratio": ratio,
                "dir": runs[0]["dir"],
                "parameters": first["result"]["parameters"],
                "parameters_removed": first["parameters_removed"],
                "bytes": first["result"]["bytes"],
                "source": first["source"], "result": first["result"],
                "ppl": statistics.geometric_mean([one["ppl"] for one in runs]),
                "ppl_by_seed": [one["ppl"] for one in runs],
                "prune_seconds": statistics.median([one["seconds"] for one in runs]),
                "prune_peak_memory_bytes": max(one["record"]["peak_memory_bytes"] for one in runs)}

    def rows(self, progress: Progress) -> list:
        progress.step("generating calibration and validation text")
        self.make_text()
        progress.step("measuring the dense model")
        rows = [self.dense_row()]
        for ratio in RATIOS:
            for method, name in METHODS:
                seeds = f", {len(RANDOM_SEEDS)} seeds" if method == "random" else ""
                progress.step(f"pruning and measuring: {name}, ratio {ratio}{seeds}")
                rows.append(self.pruned_row(method, name, ratio))
        rows[0]["bytes"] = rows[1]["source"]["bytes"]
        progress.step("writing stories and measuring tokens/s")
        self.generate(rows)
        return rows


def table_text(rows: list) -> str:
    head = ("model", "parameters", "removed", "bytes", "perplexity", "tokens/s", "prune s",
            "peak MiB")
    lines = [head]
    for row in rows:
        pruned = "method" in row
        lines.append((row["name"], f"{row['parameters']:,}",
                      f"{row['parameters_removed']:.1%}" if pruned else "-", f"{row['bytes']:,}",
                      f"{row['ppl']:.3f}", f"{row['tokens_per_second']:.0f}",
                      f"{row['prune_seconds']:.2f}" if pruned else "-",
                      f"{row['prune_peak_memory_bytes'] / 2**20:.0f}" if pruned else "-"))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(line, widths)))
                     for line in lines)


def removed_text(row: dict) -> str:
    """What a ratio took, in one note."""
    before, after = row["source"], row["result"]
    kv = (before["num_key_value_heads"][0], after["num_key_value_heads"][0])
    ffn = (before["intermediate_size"][0], after["intermediate_size"][0])
    heads = (f"KV groups {kv[0]} -> {kv[1]}" if kv[0] != kv[1] else
             f"no KV group ({row['ratio']} of {kv[0]} is less than one)")
    return (f"Ratio {row['ratio']} removes in each layer: FFN channels {ffn[0]} -> {ffn[1]}, "
            f"{heads}; {row['parameters_removed']:.1%} of all parameters.")


def order_text(rows: list) -> list:
    """One line per ratio: the methods, best first."""
    lines = []
    for ratio in RATIOS:
        best_first = sorted((row for row in rows if row.get("ratio") == ratio),
                            key=lambda row: row["ppl"])
        lines.append(f"Ratio {ratio}, best first: "
                     + ", ".join(f"{row['name'].split()[0]} {row['ppl']:.3f}" for row in best_first)
                     + f" (dense {rows[0]['ppl']:.3f}).")
    return lines


def notes_text(rows: list) -> str:
    dense = rows[0]
    spread = [f"{row['name']}: {min(row['ppl_by_seed']):.3f} to {max(row['ppl_by_seed']):.3f}"
              for row in rows if row.get("method") == "random"]
    notes = [f"Perplexity: {dense['protocol']}, {dense['tokens']:,} tokens of {VALID_STORIES} "
             "generated stories that no model was trained or calibrated on.",
             *(removed_text(row) for row in rows if row.get("method") == "llm-pruner"),
             "LLM-Pruner's \"20 %\" of LLaMA-7B is ratio 0.25 in layers 4 to 29: a percentage of "
             "all parameters, not of the units of a layer.",
             f"Random: geometric mean of {len(RANDOM_SEEDS)} seeds ({'; '.join(spread)}).",
             f"Taylor: method llm-pruner, param_first, {CALIB[1]} windows of {CALIB[3]} tokens.",
             f"tokens/s: generation with batch 1, median of {len(SPEED_SEEDS)}; on a model this "
             "small it mostly shows the overhead per layer, not the arithmetic that pruning saves.",
             "prune s: the whole command, loading included; peak MiB: its resident memory, most of "
             "which is libtorch itself.",
             *order_text(rows)]
    return "\n".join(textwrap.fill(note, 98, initial_indent="* ", subsequent_indent="  ")
                     for note in notes)


def stories_text(rows: list) -> str:
    shown = [row for row in rows if "method" not in row or row["method"] == "llm-pruner"]
    parts = []
    for row in shown:
        paragraphs = [textwrap.fill(line, 96, initial_indent="  ", subsequent_indent="  ")
                      for line in row["story"].splitlines()]
        parts.append(f"{row['name']} (perplexity {row['ppl']:.2f}):\n" + "\n".join(paragraphs))
    return "\n\n".join(parts)


def commands_text(prunus: pathlib.Path) -> str:
    program = shlex.quote(str(prunus))
    return (f"  {program} prune /path/to/model --out /path/to/smaller --ratio 0.25 "
            "--calib your-text.txt\n"
            f"  {program} eval /path/to/model --ppl held-out.txt\n"
            f"  {program} eval /path/to/smaller --ppl held-out.txt")


def check_paths(options: argparse.Namespace) -> None:
    if not options.prunus.is_file():
        raise DemoError(f"{options.prunus}: no such program; run `make build` first")
    if not options.model.is_dir():
        raise DemoError(f"{options.model}: no such model directory")
    if "/" not in str(options.prunus):
        options.prunus = options.prunus.resolve()


def main(arguments: list) -> int:
    options = options_of(arguments)
    begin = time.monotonic()
    try:
        check_paths(options)
        options.work.mkdir(parents=True, exist_ok=True)
        rows = Demo(options).rows(Progress(3 + len(RATIOS) * len(METHODS)))
        seconds = time.monotonic() - begin
        (options.work / "results.json").write_text(
            json.dumps({"model": str(options.model), "prompt": PROMPT, "seconds": seconds,
                        "rows": rows}, indent=2) + "\n", encoding="utf-8")
    except (DemoError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    print(table_text(rows), notes_text(rows),
          f"The same prompt and seed, temperature {TEMPERATURE}:\n\n" + stories_text(rows),
          "Your own model (a Hugging Face directory: config.json, *.safetensors, tokenizer):\n\n"
          + commands_text(options.prunus), sep="\n\n")
    print(f"\nDone in {seconds:.0f} s; models and results.json are in {options.work}.",
          file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

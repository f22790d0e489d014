#!/usr/bin/env python3
"""Times decoding of models against the first of them, in turns: what leaving zeros out is worth.

    tools/bench_bitmask.py --prunus build/release/prunus DENSE BITMASK…

Round after round one process each, `prunus bench` at batch 1 with a run before that is not counted.
Printed are tokens a second, best and median over the rounds (on a machine that does other work the
best is nearer to the truth), the bytes that a step reads, how many times as fast as the first model
(of the best), by bytes how many times it could be, and the share of this. Needs only the Python
standard library.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(settings, model):
    command = [settings.prunus, "bench", model, "--batch", "1", "--prompt-tokens", settings.prompt,
               "--new-tokens", settings.steps, "--repeat", settings.repeat, "--kv-dtype",
               settings.kv_dtype, "--threads", settings.threads, "--json"]
    done = subprocess.run([str(word) for word in command], text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{model}: {done.stderr.strip() or done.returncode}")
    return json.loads(done.stdout)["models"][0]["cases"][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--prunus", type=pathlib.Path, default=ROOT / "build/release/prunus")
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--kv-dtype", default="bfloat16")
    settings = parser.parse_args()
    cases = {model: [] for model in settings.models}
    for _ in range(settings.rounds):
        for model in settings.models:
            cases[model].append(run(settings, model))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{settings.threads} threads, {settings.rounds} rounds, load at the end {load}")
    print("| Model | decode, best | median | prefill, best | MB a step | times as fast | by bytes | share |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    first = None
    for model in settings.models:
        speeds = [case["decode_tokens_per_second"] for case in cases[model]]
        best = max(speed["max"] for speed in speeds)
        middle = statistics.median(speed["median"] for speed in speeds)
        prefill = max(case["prefill_tokens_per_second"]["max"] for case in cases[model])
        step = cases[model][0]["step_bytes"]
        first = first or (best, step)
        faster, could = best / first[0], first[1] / step
        print(f"| {os.path.basename(model.rstrip('/'))} | {best:.1f} | {middle:.1f} | {prefill:.0f} | "
              f"{step / 1e6:.1f} | {faster:.2f} | {could:.2f} | {faster / could:.0%} |")


if __name__ == "__main__":
    main()

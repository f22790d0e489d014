#!/usr/bin/env python3
"""Times decoding of one sequence against llama.cpp on the same GGUF files, in alternation.

    tools/llama_cpp/install.sh
    tools/bench_decode.py --oracle build/llama/llama_oracle FILE.gguf…

For each file the medians of --rounds runs in turn, each a process of its own with a run before that
is not counted: tokens a second of a prompt and of --steps steps behind it. Both read the weights as
the file has them; llama.cpp with its own choice of cache (F16) and attention, Prunus with
--kv-dtype. llama.cpp quantises what it multiplies with quantised weights to 8 bits (Q8_0), Prunus
does not. GB/s: of the bytes that a step reads. Needs only the Python standard library; machines
that do other work meanwhile give figures that mean nothing (llama.cpp's threads wait by spinning).
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(command, threads):
    command = [str(word) for word in command]
    done = subprocess.run(command, text=True, capture_output=True,
                          env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE.gguf")
    parser.add_argument("--prunus", type=pathlib.Path, default=ROOT / "build/release/prunus")
    parser.add_argument("--oracle", type=pathlib.Path, default=ROOT / "build/llama/llama_oracle")
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--kv-dtype", default="auto")
    settings = parser.parse_args()
    print("| File | prefill Prunus | llama.cpp | decode Prunus | llama.cpp | ratio | MB a step | GB/s |")
    print("|---|---|---|---|---|---|---|---|")
    for file in settings.files:
        ours, theirs = [], []
        for _ in range(settings.rounds):
            report = run([settings.prunus, "bench", file, "--batch", "1", "--prompt-tokens",
                          settings.prompt, "--new-tokens", settings.steps, "--repeat", "1",
                          "--kv-dtype", settings.kv_dtype, "--json"], settings.threads)["models"][0]
            ours.append(report["cases"][0])
            theirs.append(run([settings.oracle, "bench", file, settings.prompt, "--max-tokens",
                               settings.steps, "--threads", settings.threads], settings.threads))
        middle = lambda values: statistics.median(values)
        prefill = middle(case["prefill_tokens_per_second"]["median"] for case in ours)
        decode = middle(case["decode_tokens_per_second"]["median"] for case in ours)
        peer = middle(one["decode"] for one in theirs)
        size = ours[0]["step_bytes"]
        print(f"| {pathlib.Path(file).name} | {prefill:.0f} | "
              f"{middle(one['prefill'] for one in theirs):.0f} | {decode:.1f} | {peer:.1f} | "
              f"{decode / peer:.2f} | {size / 1e6:.0f} | {size * decode / 1e9:.1f} |", flush=True)


if __name__ == "__main__":
    main()

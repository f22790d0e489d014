#!/usr/bin/env python3
"""Shows that calibration's peak memory does not grow with a model's depth.

    tools/make_random_model.py --shape llama-3.1-70b --layers 4 --out /tmp/l70x4        (11 GB)
    tools/depth_bench.py --model /tmp/l70x4 --depths 4,20,40,80

Runs bench/depth_bench once per depth, each in a process of its own, and prints a Markdown table.
"hidden states" is what the layers' inputs take in FP32, the part that does grow: one row of
hidden_size floats for each layer and token; what exceeds --ram is spilled to disk. --json FILE keeps every figure.
Needs only the Python standard library.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

GB, GIB = 1e9, 2 ** 30
COLUMNS = ["layers", "parameters", "weights", "seconds", "s/layer", "peak memory",
           "hidden states", "of them spilled"]


def run(binary, model, depth, windows, tokens, ram):
    done = subprocess.run([str(binary), *map(str, (depth, windows, tokens, ram))], text=True,
                          stdout=subprocess.PIPE,
                          env=dict(os.environ, PRUNUS_BENCH_MODEL=str(model)))
    if done.returncode != 0:
        sys.exit(f"depth_bench failed ({done.returncode}) at depth {depth}")
    return json.loads(done.stdout)


def row(one):
    return [f"{one['depth']}", f"{one['parameters'] / GB:.2f} B", f"{one['file_bytes'] / GB:.1f} GB",
            f"{one['seconds']:.1f}", f"{one['seconds'] / one['depth']:.2f}",
            f"{one['peak_bytes'] / GIB:.2f} GiB",
            f"{one['hidden_states_fp32_bytes'] / GIB:.2f} GiB",
            f"{one['spilled_bytes'] / GIB:.2f} GiB"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/dev"))
    parser.add_argument("--model", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--depths", default="4,20,40,80")
    parser.add_argument("--windows", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--ram", type=int, default=0, metavar="BYTES",
                        help="hidden states kept in memory; the rest is spilled to disk")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    arguments = parser.parse_args()
    results = []
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---:" * len(COLUMNS) + "|", flush=True)
    for depth in map(int, arguments.depths.split(",")):
        results.append(run(arguments.build / "bench" / "depth_bench", arguments.model, depth,
                           arguments.windows, arguments.tokens, arguments.ram))
        print("| " + " | ".join(row(results[-1])) + " |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

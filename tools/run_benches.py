#!/usr/bin/env python3
"""Runs every benchmark of bench/ and writes their figures with commit, machine and threads.

    tools/run_benches.py --build build/dev [--model DIR] [--repetitions 3] [--only stream_bench]

DIR is a model for the block stream; without it a random one of TinyLlama-1.1B's shape is written
once under build/bench. Prints the stream's time over that of its bare matrix products.
"""
import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OWN_SCRIPT = {"depth_bench"}  # tools/depth_bench.py: one process per depth


def bench_model(given):
    if given:
        return given
    path = ROOT / "build" / "bench" / "tinyllama-1.1b"
    if not (path / "config.json").exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, ROOT / "tools" / "make_random_model.py", "--shape",
                        "tinyllama-1.1b", "--dtype", "bf16", "--out", path], check=True)
    return str(path)


def run(binary, repetitions, environment):
    out = ROOT / "build" / "bench" / (binary.name + ".json")
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [str(binary), f"--benchmark_out={out}", "--benchmark_out_format=json",
               f"--benchmark_repetitions={repetitions}", "--benchmark_enable_random_interleaving=true",
               "--benchmark_report_aggregates_only=false"]
    subprocess.run(command, check=True, env=environment)
    result = json.loads(out.read_text())
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True,
                            text=True).stdout.strip()
    result["context"].update(commit=commit, machine=platform.processor() or platform.machine())
    out.write_text(json.dumps(result, indent=1))
    return result


def print_ratios(result):
    times = {}
    for one in result["benchmarks"]:
        if one.get("run_type") == "iteration" and not one.get("error_occurred"):
            times.setdefault(one["run_name"].split("/iter")[0], []).append(one["real_time"])
    for name, seconds in sorted(times.items()):
        if name.startswith("stream/") and "bare/" + name[7:] in times:
            bare = sorted(times["bare/" + name[7:]])
            ours = sorted(seconds)
            print(f"{name[7:]}: stream {ours[len(ours) // 2]:.2f} s, bare products "
                  f"{bare[len(bare) // 2]:.2f} s, ratio of medians "
                  f"{ours[len(ours) // 2] / bare[len(bare) // 2]:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/dev")
    parser.add_argument("--model")
    parser.add_argument("--only")
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    benches = sorted((ROOT / arguments.build / "bench").glob("*_bench"))
    benches = [bench for bench in benches if bench.name not in OWN_SCRIPT]
    if not benches:
        sys.exit("no benchmarks in " + arguments.build + "/bench; run: make build")
    environment = dict(os.environ)
    shared = ROOT.parent / "shared"
    if shared.is_dir():
        environment.setdefault("PRUNUS_SHARED", str(shared))
    for bench in benches:
        if arguments.only and bench.name != arguments.only:
            continue
        if bench.name == "stream_bench":
            environment["PRUNUS_BENCH_MODEL"] = bench_model(arguments.model)
        print_ratios(run(bench, arguments.repetitions, environment))


if __name__ == "__main__":
    main()

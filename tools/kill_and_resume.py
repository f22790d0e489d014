#!/usr/bin/env python3
"""Kills `prunus prune` with SIGKILL at random moments and checks that resuming gives the same bytes.

    tools/kill_and_resume.py --prunus build/dev/prunus --model MODEL --calib TEXT \
        [--kills 10] [--seed 0] -- --structure channel --ratio 0.2 …

Runs the job once without a disturbance. Then, for each trial: starts it, kills it after a random
part of that time, repeats the same command with --resume until it ends, and compares every file of
the result with the undisturbed one. run.json is left out: it holds wall times and peak memory.
With --kills-per-run N > 1 the resumed runs are killed, too, N − 1 times. Exit code 1 on any
difference. Needs only the Python standard library.
"""
import argparse
import hashlib
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time


def hashes(folder):
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "run.json"}


def layers_left(folder):
    """What the trail of an interrupted run says: the newest hidden state or gradient."""
    names = [path.name for path in folder.rglob("*.tensors")]
    def numbers(prefix):
        return [int(n[len(prefix):].split(".")[0]) for n in names if n.startswith(prefix)]
    if any(folder.glob("step-*.json")):
        return "plan finished, writing"
    if numbers("gradient-"):
        return f"backward, down to layer {min(numbers('gradient-'))}"
    if numbers("hidden-"):
        return f"forward, up to layer {max(numbers('hidden-'))}"
    return "no block finished" if folder.exists() else "no work folder yet"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prunus", default="build/dev/prunus")
    parser.add_argument("--model", required=True)
    parser.add_argument("--calib", required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--kills-per-run", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dir", help="where to write (default: a temporary directory)")
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        work = pathlib.Path(folder)

        def command(name, *more):
            return [arguments.prunus, "prune", arguments.model, "--out", str(work / name), "--quiet",
                    "--calib", arguments.calib, *arguments.options, *more]

        start = time.monotonic()
        subprocess.run(command("undisturbed"), check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - start
        wanted = hashes(work / "undisturbed")
        print(f"undisturbed: {seconds:.2f} s, {len(wanted)} files compared", flush=True)
        failed = 0
        for trial in range(arguments.kills):
            out = work / f"trial-{trial}"
            notes, more = [], []
            for _ in range(arguments.kills_per_run):
                moment = moments.uniform(0.02, 1.0) * seconds
                process = subprocess.Popen(command(out.name, *more), stdout=subprocess.DEVNULL)
                try:
                    process.wait(moment)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                if process.returncode == 0:
                    notes.append(f"done before {moment:.2f} s")
                    break
                notes.append(f"killed at {moment:.2f} s: {layers_left(work / (out.name + '.work'))}")
                more = ["--resume"]
            if not out.exists():
                done = subprocess.run(command(out.name, "--resume"), stdout=subprocess.DEVNULL)
                if done.returncode != 0:
                    sys.exit(f"trial {trial}: resuming failed with exit code {done.returncode}")
            same = hashes(out) == wanted
            left = [p.name for p in work.iterdir() if p.name.startswith(out.name + ".")]
            failed += not same or bool(left)
            print(f"trial {trial}: {'; '.join(notes)} -> "
                  f"{'identical' if same else 'DIFFERENT'}{', left behind: ' + str(left) if left else ''}",
                  flush=True)
            shutil.rmtree(out)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

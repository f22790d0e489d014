#!/usr/bin/env python3
"""Stops prunus at random moments and checks that nothing is lost and the same command ends the same.

    tools/kill_and_resume.py --model MODEL --text TEXT [--task-dir TASKS] [--jobs prune,full,…]
        [--times 20] [--signals KILL,TERM,INT,HUP] [--stops 1] [--seed 0]

For every job: runs it once undisturbed. Then, --times times: starts it, sends it the next of the
signals after a random part of that time, and looks: OUT is whole or not there; after a signal that
can be caught (all but KILL) the exit code is 130, and what is left beside OUT is named in the
message. Then the same command, with --resume where state was left, runs to its end, and every file
is compared with the undisturbed run's: byte by byte, but run.json, train.jsonl and eval's JSON
without times. Nothing may be left beside OUT. With --stops N the resumed runs are stopped, too, N − 1
times. Exit code 1 on any failure.

Jobs: prune, prune-steps, adapters, full (with distillation), sub-block, adapter-only, self, train,
eval, apply, merge, tokenizer. MODEL should be tiny: a job takes a second or two.
"""
import argparse
import collections
import itertools
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import small_jobs

DEFAULT = "prune,prune-steps,adapters,full,sub-block,adapter-only,self,train,eval"


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class Trial:
    def __init__(self, jobs, job, out, seconds, wanted):
        self.jobs, self.job, self.out = jobs, job, out
        self.seconds, self.wanted = seconds, wanted
        self.faults, self.notes = [], []

    def more(self):
        """What goes on from where the last run was: a kill may leave both result and state."""
        left = small_jobs.left_beside(self.out)
        work = any(name.endswith(".work") for name in left)
        options = ["--resume"] if self.job.resumable and work else []
        return options + (["--force"] if self.out.exists() else [])

    def stop(self, moment, number):
        command = self.jobs.command(self.job, self.out, *self.more())
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            _, said = process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            _, said = process.communicate()
        code = process.returncode
        if code == 0:
            self.notes.append("done before")
            return False
        caught = code == 130
        self.notes.append(f"{signal.Signals(number).name} at {moment:.2f} s")
        if number == signal.SIGKILL and code != -number:
            self.faults.append(f"exit code {code} after a kill: {said.strip()}")
        if number != signal.SIGKILL and code not in (130, -number):
            self.faults.append(f"exit code {code}: {said.strip()}")
        if number == signal.SIGHUP and code == -number:
            self.notes.append("HUP not caught")
        self.look(said, caught)
        return True

    def look(self, said, caught):
        if self.out.exists() and (wrong := small_jobs.differences(small_jobs.result(self.out), self.wanted)):
            self.faults.append(f"OUT is there, but not whole: {', '.join(wrong)}")
        left = small_jobs.left_beside(self.out)
        self.notes.append("left: " + (", ".join(left) if left else "nothing"))
        if not caught:
            return
        for name in left:
            if not name.endswith(".work"):
                self.faults.append(f"{name} left behind")
            elif name not in said:
                self.faults.append(f"{name} is left, but not named in: {said.strip()}")

    def finish(self):
        """Runs to the end, unless that was reached, and compares."""
        left = small_jobs.left_beside(self.out)
        if not self.out.exists() or left:
            command = self.jobs.command(self.job, self.out, *self.more())
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if done.returncode != 0:
                self.faults.append(f"{' '.join(self.more())}: exit code {done.returncode}: {done.stderr.strip()}")
        wrong = small_jobs.differences(small_jobs.result(self.out), self.wanted)
        if wrong:
            self.faults.append("DIFFERENT: " + ", ".join(wrong))
        left = small_jobs.left_beside(self.out)
        if left:
            self.faults.append("left behind at the end: " + ", ".join(left))


def run_job(name, jobs, work, arguments, moments):
    job = jobs.jobs[name]
    reference = work / f"{name}-undisturbed"
    start = time.monotonic()
    subprocess.run(jobs.command(job, reference), check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    wanted = small_jobs.result(reference)
    print(f"{name}: undisturbed {seconds:.2f} s, {len(wanted)} files compared", flush=True)
    signals = itertools.cycle([getattr(signal, "SIG" + one) for one in arguments.signals.split(",")])
    failed = 0
    outcomes = collections.Counter()
    for number in range(arguments.times):
        trial = Trial(jobs, job, work / f"{name}-{number}", seconds, wanted)
        for _ in range(arguments.stops):
            if not trial.stop(moments.uniform(0.05, 1.0) * seconds, next(signals)):
                break
        trial.finish()
        failed += bool(trial.faults)
        outcomes[re.sub(r"partial-\d+", "partial", trial.notes[-1].replace(trial.out.name, "OUT"))] += 1
        if trial.faults or arguments.verbose:
            print(f"  {number}: {'; '.join(trial.notes)} -> {'; '.join(trial.faults) or 'same bytes'}",
                  flush=True)
        for path in work.glob(trial.out.name + "*"):
            remove(path)
    summary = ", ".join(f"{count} × {what}" for what, count in outcomes.items())
    print(f"{name}: {arguments.times - failed} of {arguments.times} as they should be ({summary})",
          flush=True)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prunus", default="build/dev/prunus")
    parser.add_argument("--model", required=True, help="a tiny model directory")
    parser.add_argument("--text", required=True, help="plain text; its first lines are used")
    parser.add_argument("--task-dir", default="", help="folder of task files; without it no eval")
    parser.add_argument("--jobs", default=DEFAULT)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--signals", default="KILL,TERM,INT,HUP")
    parser.add_argument("--stops", type=int, default=1, help="interruptions of one run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dir", help="where to write (default: a temporary directory)")
    parser.add_argument("--verbose", action="store_true", help="a line for every trial")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    failed = 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        work = pathlib.Path(folder)
        jobs = small_jobs.Jobs(arguments.prunus, arguments.model, arguments.text, arguments.task_dir, work)
        for name in arguments.jobs.split(","):
            if name not in jobs.jobs:
                print(f"{name}: left out{'; it needs --task-dir' if name == 'eval' else ''}")
                continue
            failed += run_job(name, jobs, work, arguments, moments)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

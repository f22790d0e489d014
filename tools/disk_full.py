#!/usr/bin/env python3
"""Runs prunus on a disk that is full at every write of a job in turn, and checks that nothing is lost.

    sudo tools/disk_full.py --model MODEL --text TEXT [--task-dir TASKS] [--jobs prune,full,…]
        [--step 4096] [--verbose]

OUT and its work folder lie on a file system in memory (tmpfs) of a given size. For every job: finds
the least size at which it ends well, and smaller sizes at which each of its writes is the one that
fails: between two sizes whose messages name different files others are tried, down to --step bytes
apart. Each time:

- the exit code is 1, the message is one line and names a file or folder on that disk;
- there is no OUT, and with --force over an earlier result that result is as it was (every second size);
- beside OUT there is at most the work folder, and it is named in the message;
- when the disk has been made larger, the same command (with --resume where state was left) ends well
  with the bytes of a run that had room, and leaves nothing beside OUT.

Exit code 1 on any failure. Needs root, for mount. Jobs are those of small_jobs.py.
"""
import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

import small_jobs

ROOM = 1 << 30
DEFAULT = "prune,apply,adapters,full,sub-block,adapter-only,merge,train,tokenizer,eval"


class Disk:
    """A tmpfs of a size that can be changed."""

    def __init__(self, place):
        self.place = place
        place.mkdir(exist_ok=True)

    def __enter__(self):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(self.place)], check=True)
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", str(self.place)], check=True)

    def resize(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.place)], check=True)

    def used(self):
        state = os.statvfs(self.place)
        return (state.f_blocks - state.f_bfree) * state.f_frsize


class Sizes:
    """Runs one job at any size; remembers what failed there."""

    def __init__(self, jobs, name, work, verbose):
        self.jobs, self.job, self.name, self.verbose = jobs, jobs.jobs[name], name, verbose
        self.work = work
        reference = work / f"{name}-with-room"
        subprocess.run(jobs.command(self.job, reference), check=True, stdout=subprocess.DEVNULL)
        self.wanted = small_jobs.result(reference)
        self.places = {}  # size -> what the message names; "" where the run ended well
        self.failed = 0
        self.kept = 0

    def put_old(self, out):
        """An earlier result, that --force is to replace: of its kind, but another."""
        if self.job.is_file:
            out.write_text("{}\n")
        else:
            subprocess.run(self.jobs.command(self.jobs.jobs["tokenizer"], out), check=True,
                           stdout=subprocess.DEVNULL)

    def run(self, out, *more):
        done = subprocess.run(self.jobs.command(self.job, out, *more), stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)
        return done.returncode, done.stderr.strip()

    def look(self, out, code, said, old):
        faults = []
        if code != 1:
            faults.append(f"exit code {code}")
        if str(out.parent) not in said or "\n" in said or "internal error" in said:
            faults.append("the message is not plain")
        if small_jobs.result(out) != old:
            faults.append("OUT is there" if old is None else "the earlier OUT has changed")
        left = small_jobs.left_beside(out)
        for name in left:
            if not name.endswith(".work"):
                faults.append(f"{name} left behind")
            elif name not in said:
                faults.append(f"{name} is left, but not named")
        self.kept += any(name.endswith(".work") for name in left)
        return faults, left

    def go_on(self, disk, out, left):
        disk.resize(ROOM)
        more = ["--resume"] if self.job.resumable and any(n.endswith(".work") for n in left) else []
        more += ["--force"] if out.exists() else []
        code, said = self.run(out, *more)
        faults = [f"with room: exit code {code}: {said}"] if code else []
        if wrong := small_jobs.differences(small_jobs.result(out), self.wanted):
            faults.append("with room: DIFFERENT: " + ", ".join(wrong))
        if left := small_jobs.left_beside(out):
            faults.append("with room: left behind " + ", ".join(left))
        return faults

    def at(self, size):
        if size in self.places:
            return self.places[size]
        with Disk(self.work / "disk") as disk:
            out = disk.place / "out"
            old = None
            replaces = len(self.places) % 2 == 1
            disk.resize(ROOM)
            if replaces:
                self.put_old(out)
                old = small_jobs.result(out)
            disk.resize(size + disk.used())
            code, said = self.run(out, *(["--force"] if replaces else []))
            if code == 0:
                wrong = small_jobs.differences(small_jobs.result(out), self.wanted)
                faults = ["exit code 0, but DIFFERENT: " + ", ".join(wrong)] if wrong else []
                self.places[size] = ""
            else:
                faults, left = self.look(out, code, said, old)
                named = re.search(re.escape(str(disk.place)) + r"[^\s:;,]*", said)
                # Numbers in names are process ids and steps.
                self.places[size] = re.sub(r"\d+", "N", named.group() if named else said)
                faults += self.go_on(disk, out, left)
        self.failed += bool(faults)
        if faults or self.verbose:
            what = "replacing" if replaces else "new"
            print(f"  {size >> 10} KiB ({what}): {said or 'done'} -> {'; '.join(faults) or 'as it should be'}",
                  flush=True)
        return self.places[size]

    def between(self, low, high, step):
        """Tries sizes between two whose writes differ."""
        if high - low <= step or self.at(low) == self.at(high):
            return
        middle = (low + high) // 2 // step * step
        if middle in (low, high):
            return
        self.between(low, middle, step)
        self.between(middle, high, step)


def run_job(name, jobs, work, arguments):
    sizes = Sizes(jobs, name, work, arguments.verbose)
    high = arguments.step
    while sizes.at(high):
        high *= 2
    sizes.at(arguments.step)
    low = arguments.step
    size = arguments.step
    while size < high:
        sizes.between(size, min(size * 2, high), arguments.step)
        size *= 2
    # Within a stretch where one file fails, a few sizes more.
    known = sorted(sizes.places)
    for below, above in zip(known, known[1:]):
        if above - below > 8 * arguments.step:
            sizes.at((below + above) // 2 // arguments.step * arguments.step)
    failures = [place for place in sizes.places.values() if place]
    enough = min(size for size, place in sizes.places.items() if not place)
    print(f"{name}: {len(failures)} sizes too small ({len(set(failures))} places of writing), "
          f"{sizes.kept} times state was kept, enough at {enough >> 10} KiB, "
          f"{sizes.failed} not as they should be", flush=True)
    return sizes.failed


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prunus", default="build/dev/prunus")
    parser.add_argument("--model", required=True, help="a tiny model directory")
    parser.add_argument("--text", required=True, help="plain text; its first lines are used")
    parser.add_argument("--task-dir", default="", help="folder of task files; without it no eval")
    parser.add_argument("--jobs", default=DEFAULT)
    parser.add_argument("--step", type=int, default=4096, help="least difference of two sizes in bytes")
    parser.add_argument("--dir", help="where to write (default: a temporary directory)")
    parser.add_argument("--verbose", action="store_true", help="a line for every size")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("disk_full.py: needs root, to mount disks of a given size")
    failed = 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # not without unmounting
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        work = pathlib.Path(folder)
        jobs = small_jobs.Jobs(arguments.prunus, arguments.model, arguments.text, arguments.task_dir, work)
        for name in arguments.jobs.split(","):
            if name not in jobs.jobs:
                print(f"{name}: left out{'; it needs --task-dir' if name == 'eval' else ''}")
                continue
            failed += run_job(name, jobs, work, arguments)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

"""Small jobs of every command that takes long or writes, and what makes two of their results equal.

Used by kill_and_resume.py and disk_full.py. Needs only the Python standard library, a small model
directory (the one that is meant has 260 thousand parameters) and a text.
"""
import dataclasses
import hashlib
import json
import pathlib
import subprocess

# In the records of two runs of one job only these may differ.
TIMES = {"seconds", "stages", "peak_memory_bytes", "tokens_per_second", "mfu", "resumed", "memory_plan",
         "out", "tokens_per_s"}


@dataclasses.dataclass
class Job:
    arguments: list
    resumable: bool = True
    is_file: bool = False  # --out names a file


def write_text(source, path, lines):
    """The first non-empty lines of a text, so that reading it takes no time."""
    with open(source, encoding="utf-8") as text:
        kept = [line for line in text if line.strip()]
    pathlib.Path(path).write_text("".join(kept[:lines]), encoding="utf-8")



class Jobs:
    """Prepares inputs in `folder`; `jobs` maps names to jobs without --out."""

    def __init__(self, prunus, model, text, task_dir, folder):
        self.prunus = prunus
        self.folder = pathlib.Path(folder)
        data = str(self.folder / "text.txt")
        write_text(text, data, 60)
        smaller, adapter = str(self.folder / "smaller"), str(self.folder / "adapter")
        self._make("prune", model, "--method", "l2", "--ratio", "0.3", "--out", smaller)
        train = ["--data", data, "--max-steps", "12", "--batch", "4", "--row-tokens", "48",
                 "--valid-every", "3", "--save-every", "2"]
        prune = ["prune", model, "--ratio", "0.3", "--calib", data, "--calib-samples", "24",
                 "--calib-tokens", "48"]
        recover = ["recover", smaller, *train]
        self._make(*recover, "--adapter-only", "--out", adapter)
        self.jobs = {
            "prune": Job(prune),
            "prune-steps": Job([*prune, "--steps", "3"]),
            "adapters": Job([*recover, "--lora-dropout", "0.1"]),
            "full": Job([*recover, "--full", "--teacher", model]),
            "sub-block": Job(["recover", smaller, "--data", data, "--row-tokens", "48", "--sub-block",
                              "--teacher", model, "--sub-block-rows", "16"]),
            "adapter-only": Job([*recover, "--adapter-only"]),
            "self": Job(["recover", smaller, "--data", "self", "--self-rows", "12", *train[2:]]),
            "train": Job(["train", "--config", model, *train]),
            "apply": Job(["apply", model, "--plan", smaller + "/plan.json"], resumable=False),
            "merge": Job(["merge", smaller, "--adapter", adapter], resumable=False),
            "tokenizer": Job(["tokenizer", "--data", data, "--vocab-size", "400"], resumable=False),
        }
        if task_dir:
            self.jobs["eval"] = Job(["eval", model, "--tasks", "piqa,winogrande", "--task-dir",
                                     task_dir, "--limit", "40", "--ppl", data], is_file=True)

    def _make(self, *arguments):
        subprocess.run([self.prunus, *arguments, "--quiet", "--threads", "1"], check=True,
                       stdout=subprocess.DEVNULL)

    def command(self, job, out, *more):
        return [self.prunus, *job.arguments, "--out", str(out), "--threads", "1", "--quiet", *more]


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if key not in TIMES}
    if isinstance(value, list):
        return [without_times(one) for one in value]
    return value


def result(out):
    """What a result is, by file: bytes, or for records what is left without times."""
    out = pathlib.Path(out)
    if not out.exists():
        return None
    files = [out] if out.is_file() else sorted(path for path in out.rglob("*") if path.is_file())
    found = {}
    for path in files:
        name = "" if path == out else str(path.relative_to(out))
        raw = path.read_bytes()
        if name == "run.json" or path == out:
            record = without_times(json.loads(raw))
            # Of these files one holds times itself.
            record["files"] = sorted(one if isinstance(one, str) else one["file"]
                                     for one in record.get("files", []))
            found[name] = json.dumps(record)
        elif name == "train.jsonl":
            found[name] = [without_times(json.loads(line)) for line in raw.splitlines()]
        else:
            found[name] = hashlib.sha256(raw).hexdigest()
    return found


def differences(got, wanted):
    if got is None:
        return ["no result"]
    return [name or "the file" for name in sorted(got.keys() | wanted.keys())
            if got.get(name) != wanted.get(name)]


def left_beside(out):
    """What a run left next to its output: work folder, staging, moved-aside results."""
    out = pathlib.Path(out)
    return sorted(path.name for path in out.parent.iterdir()
                  if path.name != out.name and path.name.startswith((out.name + ".", "." + out.name)))

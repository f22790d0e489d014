#!/usr/bin/env python3
"""Lays out a Hugging Face cache and asks both huggingface_hub and Prunus where models of the Hub lie in it:
branches, tags, pull requests, commits, what is not there, and every variable that moves the cache.

Needs: pip install huggingface_hub transformers. Run: tools/check_model_place.py PRUNUS
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "tests/model/golden/llama_gqa"
COMMITS = {"main": "a" * 40, "v1.0": "b" * 40, "refs/pr/3": "c" * 40}
VARIABLES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")


def lay_out(cache):
    folder = cache / "models--org--Name-1.5_x"
    for revision, commit in COMMITS.items():
        snapshot = folder / "snapshots" / commit
        (folder / "blobs").mkdir(parents=True, exist_ok=True)
        snapshot.mkdir(parents=True)
        for name in ("config.json", "model.safetensors"):
            shutil.copy(MODEL / name, folder / "blobs" / name)
            (snapshot / name).symlink_to(f"../../blobs/{name}")
        reference = folder / "refs" / revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit)


def by_library(name, revision, environment):
    code = ("import sys; from huggingface_hub import snapshot_download as d; "
            "print(d(sys.argv[1], revision=sys.argv[2] or None, local_files_only=True))")
    done = subprocess.run([sys.executable, "-c", code, name, revision or ""], env=environment,
                          capture_output=True, text=True)
    return pathlib.Path(done.stdout.strip()) if done.returncode == 0 else None


def by_prunus(prunus, name, revision, environment):
    asked = name + (f"@{revision}" if revision else "")
    done = subprocess.run([prunus, "inspect", asked, "--json", "--quiet"], env=environment,
                          capture_output=True, text=True)
    if done.returncode != 0:
        assert done.returncode == 3, done
        return None
    place = json.loads(done.stdout)["places"]["model"]
    assert place["hub_name"] == name and place["commit"] == pathlib.Path(place["path"]).name
    return pathlib.Path(place["path"])


def check(prunus, cache, variables):
    environment = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    environment.update(variables, HF_HUB_OFFLINE="1")
    revisions = [None, *COMMITS, *COMMITS.values(), "v2", "d" * 40]
    for name, revision in [("org/Name-1.5_x", one) for one in revisions] + [("org/none", None)]:
        expected = by_library(name, revision, environment)
        got = by_prunus(prunus, name, revision, environment)
        assert got == expected, (name, revision, got, expected)
        if expected is not None:
            assert expected.is_relative_to(cache)
    print(f"{len(revisions) + 1} names agree with {variables}")


def main():
    prunus = sys.argv[1]
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch).resolve()
        places = [
            ("one", {"HF_HUB_CACHE": f"{scratch}/one"}),
            ("two/hub", {"HF_HOME": f"{scratch}/two"}),
            ("three/huggingface/hub", {"XDG_CACHE_HOME": f"{scratch}/three"}),
            ("four/.cache/huggingface/hub", {"HOME": f"{scratch}/four"}),
            ("five", {"HUGGINGFACE_HUB_CACHE": f"{scratch}/five", "HF_HOME": f"{scratch}/none"}),
            ("six/hub", {"HF_HOME": "~/six", "HOME": str(scratch)}),
        ]
        for folder, variables in places:
            lay_out(scratch / folder)
            check(prunus, scratch / folder, variables)


if __name__ == "__main__":
    main()

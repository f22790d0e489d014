#!/usr/bin/env python3
"""Checks that every folder of prunus/ includes only folders above it (docs/design.md section 3), and
that no file has a constant of its own with the name of one of run.json's keys (base/run_schema.h):
where a folder is compiled as one file, another file would silently take it for the key.

Prints each fault as file:line, and exits with 1 if there is one.
"""
import pathlib
import re
import sys

ORDER = ["base", "dist", "kernel", "io", "text", "model", "graph", "calib", "job", "export", "eval",
         "criteria", "budget", "adapter", "train", "solve", "pipeline", "recover", "report", "cli"]
SIBLINGS = {"criteria", "budget", "solve"}  # joined by pipeline, never by each other
ONLY = {"report": {"base", "report"}}
CONSTANT = re.compile(r'(?:inline )?constexpr .*?\b(k[A-Z]\w*)\b *(?:=|\[|\{)')
INCLUDE = re.compile(r'\s*#\s*include\s+"prunus/([a-z_]+)/')


def allowed(user: str, used: str) -> bool:
    if used not in ORDER:
        return False
    if user in ONLY:
        return used in ONLY[user]
    if user in SIBLINGS and used in SIBLINGS and user != used:
        return False
    return ORDER.index(used) <= ORDER.index(user)


def main() -> int:
    root = pathlib.Path(__file__).resolve().parent.parent / "prunus"
    schema = root / "base" / "run_schema.h"
    keys = set(CONSTANT.findall(schema.read_text(encoding="utf-8")))
    faults = []
    files = 0
    for path in sorted(root.rglob("*")):
        if path.suffix not in (".h", ".cpp"):
            continue
        files += 1
        folder = path.relative_to(root).parts[0]
        if folder not in ORDER:
            faults.append(f"{path}: folder '{folder}' is not in the order of docs/design.md")
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(line)
            if match and not allowed(folder, match[1]):
                faults.append(f"{path.relative_to(root.parent)}:{number}: {folder} must not "
                              f"include {match[1]}")
            own = CONSTANT.match(line)
            # Commands are compiled one by one.
            if own and own[1] in keys and path != schema and path.parent.name != "commands":
                faults.append(f"{path.relative_to(root.parent)}:{number}: {own[1]} is a key of run.json")
            if re.search(r'<torch/(torch|all)\.h>', line):
                faults.append(f"{path.relative_to(root.parent)}:{number}: include the small torch "
                              "headers, not torch/torch.h or torch/all.h")
    print("\n".join(faults) if faults else f"layers: {files} files, every include points up")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

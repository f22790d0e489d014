#!/usr/bin/env python3
"""Opens model directories with mlx-lm on the CPU and compares their logits with Prunus's.

    tools/check_mlx.py --prunus build/dev/prunus MODEL_DIR…

Needs a virtual environment of its own: pip install mlx==0.32.4 mlx-cpu==0.32.4 mlx-lm. Weights are taken in FP32.
Exit 1 if logits of a prompt of fixed ids differ by more than 1e-3 of the largest, or a model does
not load.
"""
import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
IDS = [1, 5, 7, 11, 2, 9, 3, 20, 33, 60, 4, 8, 31, 12, 45, 6]
TOLERANCE = 1e-3


def ours(binary, folder):
    done = subprocess.run([str(binary), "logits", str(folder), "--ids", ",".join(map(str, IDS))],
                          text=True, capture_output=True, check=True)
    return json.loads(done.stdout)["logits"]


def theirs(folder):
    import mlx.core as mx
    from mlx.utils import tree_map
    from mlx_lm.utils import load_model
    mx.set_default_device(mx.cpu)
    model, _ = load_model(folder)
    model.update(tree_map(lambda weight: weight.astype(mx.float32), model.parameters()))
    return model(mx.array([IDS])).astype(mx.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prunus", type=pathlib.Path, default=ROOT / "build/dev/prunus")
    parser.add_argument("models", nargs="+", type=pathlib.Path, metavar="MODEL_DIR")
    arguments = parser.parse_args()
    failed = 0
    print("| model | largest relative difference of logits |\n|---|---|")
    for folder in arguments.models:
        try:
            import mlx.core as mx
            expected, found = mx.array(ours(arguments.prunus, folder)), theirs(folder)
            worst = (mx.abs(expected - found).max() / mx.abs(expected).max()).item()
            failed += not worst <= TOLERANCE
            cell = f"{worst:.1e}"
        except Exception as error:  # one model's failure is a row of the table
            failed += 1
            cell = f"error: {type(error).__name__}: {str(error)[:300]}"
        print(f"| {folder.name} | {cell} |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

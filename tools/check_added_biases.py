#!/usr/bin/env python3
"""Adds biases to the tiny model of every family, writes it, and asks stock transformers about it.

    cmake --build --preset dev --target test_job_fast prunus
    tools/check_added_biases.py

Needs: pip install torch==2.13.0 transformers==5.24.0 safetensors

The test program writes each golden model twice: with random biases on o_proj, and with random
biases on o_proj and down_proj (outside of experts). For both, three figures, each the largest
difference of logits over the largest logit:
  prunus   what Prunus computes of the written model, against the stock class of the unchanged
           model with the biases added to the outputs of these two modules by hooks
  stock    what the stock class computes of the written model, against the same; where the
           model_type begins with "prunus_", stock software must refuse it, and the cell says so
  counted  whether `prunus inspect` counts as many parameters as the files hold
Exit 1 if a difference exceeds 1e-4, a count differs, or stock software opens a "prunus_" model.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import safetensors.torch
import torch
import transformers

import check_families_in_transformers as families

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROJECTIONS = ("o_proj", "out_proj", "c_proj", "dense", "down_proj", "fc2", "dense_4h_to_h")


def tensors_of(folder):
    return {name.removeprefix("transformer."): tensor
            for file in sorted(folder.glob("*.safetensors")) if file.name != "golden.safetensors"
            for name, tensor in safetensors.torch.load_file(file).items()}


def added(golden, written):
    """Module name → what the written model adds to its output."""
    old, new = tensors_of(golden), tensors_of(written)
    changes = {}
    for name, tensor in new.items():
        module = name.removesuffix(".bias")
        if name == module or module.split(".")[-1] not in PROJECTIONS:
            continue
        change = tensor - old[name] if name in old else tensor
        if change.abs().max() > 0:
            changes[module] = change
    return changes


def hooked_logits(golden, changes):
    model = families.stock_model(golden)
    left = dict(changes)
    for name, module in model.named_modules():
        change = left.pop(name.removeprefix("transformer."), None)
        if change is not None:
            module.register_forward_hook(lambda _, __, output, change=change: output + change)
    if left:
        raise RuntimeError(f"the stock class has no module {sorted(left)[0]}")
    return families.logits_of(model)


def relative(one, other):
    return ((one - other).abs().max() / other.abs().max()).item()


def counted(binary, folder):
    report = json.loads(families.prunus(binary, "inspect", folder, "--json"))
    held = sum(tensor.numel() for tensor in tensors_of(folder).values())
    return report["parameters"] == held


def refused(folder):
    try:
        transformers.AutoConfig.from_pretrained(folder)
    except (KeyError, ValueError):
        return True
    return False


def check(binary, golden, written):
    """The cells of one written model, and whether all is well."""
    changes = added(golden, written)
    wanted = hooked_logits(golden, changes)
    ours = torch.tensor(json.loads(families.prunus(binary, "logits", written, "--ids",
                                                   families.IDS))["logits"])
    kind = json.loads((written / "config.json").read_text())["model_type"]
    ours = relative(ours, wanted)
    count = counted(binary, written)
    good = ours <= families.TOLERANCE and count and changes
    if kind.startswith("prunus_"):
        stock = "refused" if refused(written) else "OPENED"
        good = good and stock == "refused"
    else:
        stock = relative(families.logits_of(families.stock_model(written)), wanted)
        good = good and stock <= families.TOLERANCE
        stock = f"{stock:.1e}"
    return [kind, str(len(changes)), f"{ours:.1e}", stock, "yes" if count else "NO"], bool(good)


def write_all(program, folder):
    done = subprocess.run([str(program), "--gtest_filter=*AddedBiasesOutput.ReadsBackTheSame/*"],
                          env=os.environ | {"PRUNUS_KEEP_BIASED": str(folder)}, text=True,
                          capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{program} failed:\n{done.stdout[-2000:]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prunus", type=pathlib.Path, default=ROOT / "build/dev/prunus")
    parser.add_argument("--tests", type=pathlib.Path,
                        default=ROOT / "build/dev/tests/test_job_fast")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    failed = 0
    print("| golden model | biases | written as | places | prunus | stock | counted |\n"
          "|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        write_all(arguments.tests, scratch)
        for golden in sorted(pathlib.Path(scratch).iterdir()):
            original = ROOT / "tests/model/golden" / golden.name
            architecture = json.loads((original / "config.json").read_text())["architectures"][0]
            if not hasattr(transformers, architecture):
                continue
            for choice in ("o", "o_down"):
                try:
                    cells, good = check(arguments.prunus, original, golden / choice)
                except Exception as error:  # one family's failure is a row of the table
                    cells, good = [f"error: {str(error)[:300]}"], False
                failed += not good
                print(f"| {golden.name} | {choice} | {' | '.join(cells)} |", flush=True)
    print(f"{failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

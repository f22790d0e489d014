#!/usr/bin/env python3
"""Checks with stock PEFT the adapters of every family, both ways.

Needs: pip install torch==2.13.0 transformers==5.24.0 peft==0.21.2 safetensors; a built prunus, and
a tokenizer of at most 512 ids (--tokenizer, a directory).

For each case of make_forward_goldens.py and make_family_goldens.py a tiny random model with 512
ids is written as published. Out: `prunus recover --adapter-only` trains an adapter on it, stock
PEFT loads that completely, and its logits are those of `prunus logits` on what `prunus merge`
gives. In: PEFT makes an adapter on all linear layers with random factors and saves it; the logits
of what `prunus merge` makes of it are those of PEFT. Float32, relative to the largest logit.

Baichuan and ChatGLM are not part of transformers: PEFT works on a tree of modules named as in their
checkpoint, merges there, and the stock modules that have their mathematics compute the logits.
"""
import argparse
import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import check_adapter_in_peft as judge
import make_family_goldens as families
import make_forward_goldens as forward
from make_forward_goldens import relative_error

VOCAB = 512
TEXT = "Once upon a time there was a little girl named Lily. She liked to play with her cat. "


def cases() -> dict:
    plain = {name: families.Case(config) for name, (config, _, _) in forward.CASES.items()}
    return plain | families.CASES


def with_vocabulary(case):
    keys = [key for key in ("vocab_size", "padded_vocab_size") if key in case.config]
    config = case.config | {key: VOCAB for key in keys}
    return dataclasses.replace(case, config=config)


def make_model(name: str, case, directory: pathlib.Path, tokenizer: pathlib.Path) -> None:
    directory.mkdir()
    model = forward.model_of(families.stock_config(case, case.config))
    weights = families.random_weights(model, name)
    forward.write_config(case.config, directory)
    safetensors.torch.save_file(families.published_tensors(case, weights),
                                directory / "model.safetensors", {"format": "pt"})
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (tokenizer / file).exists():
            shutil.copy(tokenizer / file, directory / file)


def skeleton(directory: pathlib.Path):
    """A tree of modules with the names and weights of a checkpoint, which cannot be run."""
    tensors = safetensors.torch.load_file(directory / "model.safetensors")
    root = torch.nn.Module()
    for name in sorted(tensors):
        path, _, kind = name.rpartition(".")
        if kind != "weight":
            continue
        weight, place = tensors[name], root
        *parents, last = path.split(".")
        for parent in parents:
            if not hasattr(place, parent):
                place.add_module(parent, torch.nn.Module())
            place = getattr(place, parent)
        if weight.dim() == 1:
            module = torch.nn.Module()
            module.weight = torch.nn.Parameter(weight)
        elif "embed" in path:
            module = torch.nn.Embedding.from_pretrained(weight)
        else:
            bias = tensors.get(f"{path}.bias")
            module = torch.nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
            module.weight.data = weight
            if bias is not None:
                module.bias.data = bias
        place.add_module(last, module)
    return root


class Side:
    """PEFT's side of a case: a base to put adapters on, and the logits of the adapted model."""

    def __init__(self, case, directory: pathlib.Path):
        self.case, self.directory = case, directory

    def base(self):
        return skeleton(self.directory) if self.case.unpack else forward.load(self.directory)

    def logits(self, model, ids):
        if not self.case.unpack:
            return forward.logits_of(model, ids)
        merged = model.merge_and_unload() if isinstance(model, peft.PeftModel) else model
        tensors = self.case.unpack(self.case.config, merged.state_dict())
        return families.logits_of(self.case, self.case.config, tensors, ids)


def prunus(options, *arguments) -> str:
    result = subprocess.run([options.prunus, *map(str, arguments), "--threads", "1"],
                            capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"prunus {arguments[0]}: exit {result.returncode}: "
                           f"{result.stderr.strip().splitlines()[-1][:300]}")
    return result.stdout


def prunus_logits(options, directory: pathlib.Path, ids):
    text = ";".join(",".join(map(str, row)) for row in ids.tolist())
    logits = json.loads(prunus(options, "logits", directory, "--ids", text))["logits"]
    return torch.tensor(logits).reshape(*ids.shape, -1)


def merged_logits(options, base: pathlib.Path, adapter: pathlib.Path, ids):
    out = adapter.with_name(adapter.name + "-merged")
    prunus(options, "merge", base, "--adapter", adapter, "--out", out)
    return prunus_logits(options, out, ids)


def check_out(options, side: Side, scratch: pathlib.Path, ids) -> dict:
    data, adapter = scratch / "text.txt", scratch / "out"
    data.write_text(TEXT * 60, encoding="utf-8")
    prunus(options, "recover", side.directory, "--out", adapter, "--data", data, "--adapter-only",
           "--max-steps", options.steps, "--batch", 4, "--row-tokens", 16, "--lr", 0.05,
           "--lora-r", 3, "--valid-split", 0)
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    before = side.logits(side.base(), ids)
    adapted = side.logits(judge.load_adapter(side.base(), adapter), ids)
    return {"targets": config["target_modules"], "effect": relative_error(before, adapted),
            "error": relative_error(adapted, merged_logits(options, side.directory, adapter, ids))}


def check_in(options, side: Side, scratch: pathlib.Path, ids) -> dict:
    base, adapter = side.base(), scratch / "in"
    targets = "all-linear"
    if side.case.unpack:  # PEFT leaves the head out where it knows which one it is
        targets = [name for name, module in base.named_modules()
                   if isinstance(module, torch.nn.Linear) and ".layers." in name]
    torch.manual_seed(1)
    model = peft.get_peft_model(base, peft.LoraConfig(
        r=5, lora_alpha=7, target_modules=targets, init_lora_weights=False,
        task_type=None if side.case.unpack else "CAUSAL_LM"))
    model.save_pretrained(adapter)
    file = adapter / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(config | {"task_type": "CAUSAL_LM"}), encoding="utf-8")
    before = side.logits(side.base(), ids)
    adapted = side.logits(model.eval(), ids)
    return {"effect": relative_error(before, adapted),
            "error": relative_error(adapted, merged_logits(options, side.directory, adapter, ids))}


def run_case(options, name: str) -> bool:
    case = with_vocabulary(cases()[name])
    good = True
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        make_model(name, case, scratch / "model", options.tokenizer)
        ids = torch.randint(0, VOCAB, (2, 14), generator=torch.Generator().manual_seed(5))
        side = Side(case, scratch / "model")
        for way, check in (("out", check_out), ("in", check_in)):
            if way not in options.ways:
                continue
            try:
                result = check(options, side, scratch, ids)
                fine = result["error"] <= options.tolerance and result["effect"] >= 1e-3
                print(f"{name:20} {way:3} error {result['error']:.1e}, adapter moves the logits by "
                      f"{result['effect']:.1e}  {' '.join(result.get('targets', []))}"
                      f"{'' if fine else '  WRONG'}", flush=True)
            except Exception as error:  # whatever went wrong, the next case is worth a look
                fine = False
                print(f"{name:20} {way:3} FAILED: {error}", flush=True)
            good = good and fine
    return good


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Trains and merges adapters on tiny models of every family with prunus and "
                    "compares with stock PEFT.",
        epilog="exit: 0 all equal, 1 some differ or fail. Names: " + ", ".join(cases()))
    parser.add_argument("--prunus", default="build/dev/prunus", help="the program")
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True, metavar="DIR",
                        help="model directory whose tokenizer has at most 512 ids")
    parser.add_argument("--steps", type=int, default=3, help="of training (default: 3)")
    parser.add_argument("--ways", default="out,in", help="out, in, or both (default)")
    parser.add_argument("--tolerance", type=float, default=1e-4, metavar="T")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    options = parser.parse_args()
    global torch, peft, safetensors
    import peft
    import safetensors.torch
    import torch
    import transformers
    for module in (judge, families, forward):
        module.torch, module.transformers, module.safetensors = torch, transformers, safetensors
    judge.peft = peft
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    names = options.names or list(cases())
    bad = [name for name in names if not run_case(options, name)]
    print(f"{len(names) - len(bad)} of {len(names)} cases right"
          + (f"; wrong: {', '.join(bad)}" if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

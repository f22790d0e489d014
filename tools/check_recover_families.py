#!/usr/bin/env python3
"""Recovers a tiny random model of every family in every way, and has stock software read the result.

    tools/check_recover_families.py --prunus build/dev/prunus [--ways full,sub-block] [NAME ...]

Needs: pip install torch==2.13.0 transformers==5.24.0 peft==0.21.2 safetensors, and ../shared
(the tokenizer of models/stories260K)

For every case of make_forward_goldens.py and make_family_goldens.py: its config with 512 tokens and
random weights, two of them, one to recover and one to teach. Then, one thread, a few updates each:

  adapters      recover, merged                  full        recover --full
  adapter-only  recover --adapter-only, merge    sub-block   recover --sub-block
  scratch       train, from the config alone

A cell is the largest difference of the result's logits, those of stock transformers against those
of `prunus logits`, by the largest logit. Of adapter-only it is that of PEFT on the model against
`prunus merge`, where transformers knows the family. Exit 1 if a way is refused, names or shapes of
tensors change, nothing was learnt, or a difference exceeds 1e-4.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
import safetensors.torch  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

import make_family_goldens as goldens  # noqa: E402
import make_forward_goldens as forward  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
VOCAB, TOLERANCE, MIN_LEARNT = 512, 1e-4, 1e-5
TEXT = "Once upon a time there was a girl named Lily. She liked to play with her cat and the ball. "
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
WAYS = ("adapters", "adapter-only", "full", "sub-block", "scratch")
TRAINING = ("--max-steps", "3", "--batch", "4", "--row-tokens", "16", "--valid-split", "0")
OPTIONS = {
    "adapters": TRAINING, "adapter-only": TRAINING + ("--adapter-only",),
    "full": TRAINING + ("--full",),
    "sub-block": ("--sub-block", "--row-tokens", "16", "--sub-block-epochs", "2",
                  "--sub-block-rows", "16"),
}


# PEFT 0.21 takes gate_proj, up_proj and down_proj of a qwen3_moe for those of its experts, also where
# they mean a dense layer's (docs/families.md).
ATTENTION = ("--lora-targets", "q_proj,k_proj,v_proj,o_proj")


def dense_beside_experts(case) -> bool:
    config = case.config
    return config["model_type"] == "qwen3_moe" and config.get("decoder_sparse_step", 1) != 1


class Refused(Exception):
    pass


def prunus(binary, command, *arguments):
    done = subprocess.run([str(binary), command, *map(str, arguments), "--threads", "1"], text=True,
                          capture_output=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise Refused(next((line for line in lines if line.startswith("prunus:")), lines[-1]))
    return done.stdout


def cases() -> dict:
    """Those of both scripts, with the vocabulary of the tokenizer."""
    result = {name: goldens.Case(dict(config), weights_of=weights)
              for name, (config, _, weights) in forward.CASES.items()}
    result |= goldens.CASES
    for case in result.values():
        key = "padded_vocab_size" if "padded_vocab_size" in case.config else "vocab_size"
        case.config[key] = VOCAB
    return result


def make(case, seed: str, folder: pathlib.Path, tokenizer: pathlib.Path) -> None:
    folder.mkdir()
    weights = goldens.random_weights(forward.model_of(goldens.stock_config(case, case.config)), seed)
    forward.write_config(case.config, folder)
    safetensors.torch.save_file(goldens.published_tensors(case, weights),
                                folder / "model.safetensors", {"format": "pt"})
    for name in TOKENIZER:
        shutil.copy(tokenizer / name, folder / name)


def tensors_of(folder: pathlib.Path) -> dict:
    return {name: tensor for path in sorted(folder.glob("*.safetensors"))
            for name, tensor in safetensors.torch.load_file(path).items()}


def check_tensors(before: pathlib.Path, after: pathlib.Path) -> None:
    """The same names and shapes. Buffers that every loader recomputes may be gone, and the prefix
    that some published files leave out is written."""
    old, new = ({name.removeprefix("transformer."): tensor
                 for name, tensor in tensors_of(folder).items()} for folder in (before, after))
    strange = {name for name, tensor in new.items()
               if name not in old or old[name].shape != tensor.shape}
    if strange:
        raise RuntimeError(f"other tensors than in the model: {sorted(strange)[:3]}")


def ids_of() -> "torch.Tensor":
    generator = torch.Generator().manual_seed(1)
    return torch.randint(3, VOCAB, (2, forward.SEQ), generator=generator)


def stock_model(case, folder: pathlib.Path):
    if case.unpack is None:
        model = forward.load(folder)
        model.set_experts_implementation("eager")
        return model
    config = json.loads((folder / "config.json").read_text())
    model = forward.model_of(goldens.stock_config(case, config))
    tensors = case.unpack(config, tensors_of(folder))
    missing, _ = model.load_state_dict(tensors, strict=False)
    if set(missing) - {"lm_head.weight"}:
        raise RuntimeError(f"the result lacks {sorted(missing)[:3]}")
    return model


def stock_logits(case, model, folder: pathlib.Path) -> "torch.Tensor":
    config = json.loads((folder / "config.json").read_text())
    return case.run(config, model, ids_of()) if case.run else forward.logits_of(model, ids_of())


def prunus_logits(binary, folder: pathlib.Path) -> "torch.Tensor":
    rows = ";".join(",".join(map(str, row)) for row in ids_of().tolist())
    return torch.tensor(json.loads(prunus(binary, "logits", folder, "--ids", rows))["logits"])


def adapter_logits(case, model: pathlib.Path, adapter: pathlib.Path):
    """PEFT's own, on the stock model; nothing where transformers does not know the family."""
    if case.unpack is not None:
        return None
    import peft
    base = stock_model(case, model)
    joined = peft.PeftModel.from_pretrained(base, adapter)
    stored = safetensors.torch.load_file(adapter / "adapter_model.safetensors")
    wrong = set(stored) ^ set(peft.get_peft_model_state_dict(joined))
    if wrong:
        raise RuntimeError(f"PEFT: missing or left over {sorted(wrong)[:3]}")
    return forward.logits_of(joined.eval(), ids_of())


def run(binary, case, way: str, folder: pathlib.Path, tokenizer: pathlib.Path) -> float:
    model, teacher, out, text = (folder / name for name in ("model", "teacher", way, "text.txt"))
    common = ("--data", text, "--out", out)
    if way == "scratch":
        prunus(binary, "train", "--config", model / "config.json", "--tokenizer", tokenizer,
               *common, "--dtype", "float32", *TRAINING)
    else:
        prunus(binary, "recover", model, *common, "--teacher", teacher, *OPTIONS[way],
               *(ATTENTION if way == "adapter-only" and dense_beside_experts(case) else ()))
    result = out
    if way == "adapter-only":
        result = folder / "merged"
        prunus(binary, "merge", model, "--adapter", out, "--out", result)
    check_tensors(model, result)
    ours = prunus_logits(binary, result)
    learnt = goldens.relative_error(prunus_logits(binary, model), ours)
    if not learnt > MIN_LEARNT:
        raise RuntimeError(f"the logits moved by {learnt:.1e} only")
    if way == "adapter-only":
        theirs = adapter_logits(case, model, out)
        if theirs is None:
            theirs = prunus_logits(binary, folder / "adapters")  # the same run, merged at its end
    else:
        theirs = stock_logits(case, stock_model(case, result), result)
    return goldens.relative_error(theirs, ours)


def row(binary, name: str, case, ways: list, tokenizer: pathlib.Path) -> tuple:
    """The cells of one case, and how many of them are not as they should be."""
    cells, failed = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        make(case, name, folder / "model", tokenizer)
        make(case, name + " teacher", folder / "teacher", tokenizer)
        (folder / "text.txt").write_text(TEXT * 60, encoding="utf-8")
        for way in ways:
            try:
                difference = run(binary, case, way, folder, tokenizer)
                cells.append(f"{difference:.1e}")
                failed += not difference <= TOLERANCE
            except Exception as error:  # one way's failure is a cell of the table
                failed += 1
                cells.append(f"{type(error).__name__}: {str(error)[:300]}")
    return cells, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prunus", type=pathlib.Path, default=ROOT / "build/dev/prunus")
    parser.add_argument("--shared", type=pathlib.Path, default=ROOT.parent / "shared")
    parser.add_argument("--ways", default=",".join(WAYS), help="of " + ", ".join(WAYS))
    parser.add_argument("names", nargs="*", metavar="NAME", help="cases; default: all")
    arguments = parser.parse_args()
    ways = arguments.ways.split(",")
    tokenizer = arguments.shared / "models/stories260K"
    if set(ways) - set(WAYS) or not (tokenizer / TOKENIZER[0]).is_file():
        parser.error(f"--ways {arguments.ways}, or no {tokenizer / TOKENIZER[0]}")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    goldens.torch = forward.torch = torch
    goldens.safetensors = forward.safetensors = safetensors
    goldens.transformers = forward.transformers = transformers
    print("| case | " + " | ".join(ways) + " |\n|---|" + "---|" * len(ways))
    failed = 0
    for name, case in sorted(cases().items()):
        if arguments.names and name not in arguments.names:
            continue
        cells, bad = row(arguments.prunus, name, case, ways, tokenizer)
        failed += bad
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"{failed} unexpected", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

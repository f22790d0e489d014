#!/usr/bin/env python3
"""Loads a model directory with stock transformers and prints its logits, or compares them.

Needs: pip install torch==2.13.0 transformers==5.23.0 safetensors

The outside judge of what Prunus writes: AutoModelForCausalLM, float32, no remote code. A weight
that is missing, left over or has another shape is an error here (transformers itself only warns
and goes on with random values).

Output: {"model": ..., "input_ids": [[...]], "logits": [batch][seq][vocab], ...} as JSON.
--compare reads the same form; of its keys only "logits" is required, and a single sequence may
leave out the batch level.
"""
import argparse
import json
import math
import pathlib
import sys

DEFAULT_IDS = "1,5,7,11,2,9,3,20"


def options_of(arguments: list) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Loads MODEL_DIR with stock AutoModelForCausalLM in float32 and prints the\n"
                    "logits as JSON, or compares them with logits from elsewhere.",
        epilog="examples:\n"
               "  check_in_transformers.py pruned/ --ids 1,5,7 --out expected.json\n"
               "  check_in_transformers.py pruned/ --compare prunus_logits.json\n"
               "exit: 0 done or equal, 1 the logits differ or are not finite,\n"
               "      2 wrong use or unreadable LOGITS.json, 3 transformers cannot load MODEL_DIR")
    parser.add_argument("model", type=pathlib.Path, metavar="MODEL_DIR")
    parser.add_argument("--ids", metavar="1,5,7,...",
                        help="token ids; ';' separates sequences of equal length (default: those "
                             f"of --compare's file, else {DEFAULT_IDS})")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE",
                        help="write the JSON there instead of stdout")
    parser.add_argument("--compare", type=pathlib.Path, metavar="LOGITS.json",
                        help="report max|a-b| / max|a|, a from transformers, b from this file")
    parser.add_argument("--tolerance", type=float, default=1e-4, metavar="T",
                        help="largest error accepted by --compare (default: 1e-4)")
    parser.add_argument("--attention", choices=("eager", "sdpa"), default="eager",
                        help="attention implementation (default: eager)")
    options = parser.parse_args(arguments)
    if not options.model.is_dir():
        parser.error(f"{options.model}: not a directory")
    return options


def parse_ids(text: str) -> list:
    rows = [[int(number) for number in row.split(",")] for row in text.split(";")]
    if any(len(row) != len(rows[0]) or min(row) < 0 for row in rows):
        raise ValueError(f"--ids {text}: ids are not negative, sequences are equally long")
    return rows


def read_foreign(path: pathlib.Path) -> dict:
    foreign = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(foreign, dict) or not isinstance(foreign.get("logits"), list):
        raise ValueError(f"{path}: has no \"logits\" array")
    ids = foreign.get("input_ids")
    if isinstance(ids, list) and ids and isinstance(ids[0], int):
        foreign["input_ids"] = ids = [ids]
    if "input_ids" in foreign and not (
            isinstance(ids, list) and ids and all(
                isinstance(row, list) and row and len(row) == len(ids[0])
                and all(isinstance(number, int) and number >= 0 for number in row)
                for row in ids)):
        raise ValueError(f"{path}: \"input_ids\" is not a list of equally long lists of ids")
    return foreign


def load(directory: pathlib.Path, attention: str):
    import torch
    import transformers
    transformers.utils.logging.disable_progress_bar()
    # False explicitly, so that a directory with auto_map fails instead of asking on the terminal
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation=attention, local_files_only=True,
        trust_remote_code=False, output_loading_info=True)
    faults = {kind: sorted(found) for kind, found in info.items() if found}
    if faults:
        raise ValueError(f"weights do not fit the config: {faults}")
    return model.eval()


def compare(ours, foreign: dict, path: pathlib.Path, tolerance: float) -> int:
    import torch
    try:
        theirs = torch.tensor(foreign["logits"], dtype=torch.float64)
    except (TypeError, ValueError) as error:
        print(f"{path}: \"logits\" is not a regular array of numbers: {error}", file=sys.stderr)
        return 2
    if theirs.dim() == 2:
        theirs = theirs.unsqueeze(0)
    if theirs.shape != ours.shape:
        print(f"differs: transformers gives logits {list(ours.shape)}, {path} holds "
              f"{list(theirs.shape)}")
        return 1
    difference = (ours.double() - theirs).abs()
    error = (difference.max() / ours.double().abs().max()).item()
    agreement = (ours.argmax(-1) == theirs.argmax(-1)).double().mean().item()
    good = math.isfinite(error) and error <= tolerance
    place = [int(index) for index in torch.unravel_index(difference.argmax(), ours.shape)]
    print(f"{'equal' if good else 'differs'}: max relative error {error:.3e} at [batch, position, "
          f"id] {place}, tolerance {tolerance:g}, same top id at {100 * agreement:.1f} % of "
          "positions")
    return 0 if good else 1


def main() -> int:
    options = options_of(sys.argv[1:])
    try:
        foreign = read_foreign(options.compare) if options.compare else {}
        ids = parse_ids(options.ids) if options.ids else \
            foreign.get("input_ids") or parse_ids(DEFAULT_IDS)
        if foreign.get("input_ids") not in (None, ids):
            raise ValueError(f"{options.compare}: was made with other input_ids than --ids")
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2

    try:
        import torch
        import transformers
    except ImportError as error:
        print(f"{error}; pip install torch==2.13.0 transformers==5.23.0 safetensors",
              file=sys.stderr)
        return 3
    try:
        model = load(options.model, options.attention)
    except Exception as error:  # from_pretrained raises nearly every type there is
        print(f"{options.model}: {type(error).__name__}: {error}", file=sys.stderr)
        return 3
    vocab = model.config.vocab_size
    if max(map(max, ids)) >= vocab:
        print(f"id {max(map(max, ids))} is outside the vocabulary of {vocab}", file=sys.stderr)
        return 2
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(ids), use_cache=False).logits

    text = json.dumps({"model": options.model.name, "architecture": type(model).__name__,
                       "transformers": transformers.__version__, "torch": torch.__version__,
                       "dtype": "float32", "input_ids": ids, "logits": logits.tolist()})
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    elif not options.compare:
        print(text)
    if not torch.isfinite(logits).all():
        print(f"{options.model}: some logits are not finite", file=sys.stderr)
        return 1
    return compare(logits, foreign, options.compare, options.tolerance) if options.compare else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Makes the goldens of LoRA training in tests/adapter/golden: 50 AdamW steps of stock PEFT on the
tiny models of tests/model/golden. They are the oracle for Prunus' own trainer and adapter files.

Needs: pip install torch==2.13.0 transformers==5.24.0 peft==0.21.2 safetensors

Each case is one directory below 200 KB; README.md there says what every file holds.

A step: two micro-batches of 2 rows x 12 ids, random ids, a random choice of scored positions
(never the first); loss = sum of -log softmax over all scored positions of both, divided by their
number; norm of all gradients cut to 1; AdamW. Rate of step i of 50, counted from 0, five of them
warm-up: 0.005 (i + 1) / 5, then 0.005 (1 - (i - 5) / 45). Float32, CPU, one thread.

A golden that cannot fail proves nothing, so a case also names mistakes ("ablations": weight decay
left out, a rate one step late, ...). Each must move one of the 50 losses by a hundred times more
than repeating the training in float64 does; the script prints both and refuses a case where one
does not.
"""
import argparse
import json
import pathlib
import sys
import tempfile
import zlib

STEPS, WARMUP, MICRO, ROWS, SEQ, VOCAB = 50, 5, 2, 2, 12, 96
RANK, ALPHA, RATE, DECAY, CLIP = 4, 8, 5e-3, 0.01, 1.0
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = ("llama_gqa", "qwen2")  # plain; with biases
MAX_BYTES = 200_000  # of one golden directory
MIN_RATIO = 100  # effect of a mistake on the losses / that of rounding

ABLATIONS = {
    "no weight decay": {"decay": 0.0},
    "rate one step late": {"late": 1},
    "micro-batches averaged one by one": {"mean_of_means": True},
    "gradient not clipped": {"clip": 1e9},
    "scale 1 instead of alpha / r": {"alpha": RANK},
}


def rate_of(step: int) -> float:
    if step < WARMUP:
        return RATE * (step + 1) / WARMUP
    return RATE * (1 - (step - WARMUP) / (STEPS - WARMUP))


def batches_of(name: str) -> tuple:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) ^ 2)
    shape = (STEPS, MICRO, ROWS, SEQ)
    ids = torch.randint(0, VOCAB, shape, generator=generator, dtype=torch.int32)
    scored = torch.rand(shape, generator=generator) < 0.6
    scored[..., 0] = False
    return ids, scored


def base_model(directory: pathlib.Path):
    return transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager")


def load_adapter(base: pathlib.Path, adapter: pathlib.Path, trainable: bool = False):
    return peft.PeftModel.from_pretrained(base_model(base), adapter, is_trainable=trainable)


def save_adapter(model, directory: pathlib.Path, base_name: str) -> None:
    """save_pretrained, less the model card, and with what differs between runs and machines fixed:
    the base's path, and the order of target_modules, which follows from Python's string hashes."""
    directory.mkdir(parents=True, exist_ok=True)
    model.peft_config["default"].base_model_name_or_path = base_name
    model.save_pretrained(directory)
    (directory / "README.md").unlink(missing_ok=True)
    file = directory / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["target_modules"].sort()
    file.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def step_loss(model, ids, scored, mean_of_means: bool):
    """Adds the gradients of one step; returns its loss."""
    total = 0.0
    for one_ids, one_scored in zip(ids.long(), scored):
        logits = model(input_ids=one_ids, use_cache=False).logits
        nll = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), one_ids[:, 1:],
                                                reduction="none")
        parts = one_scored.sum() * MICRO if mean_of_means else scored.sum()
        loss = (nll * one_scored[:, 1:]).sum() / parts
        loss.backward()
        total += loss.item()
    return total


def train(model, ids, scored, decay=DECAY, late=0, mean_of_means=False, clip=CLIP) -> dict:
    factors = [value for _, value in model.named_parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(factors, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay)
    record = {"losses": [], "norms": [], "rates": []}
    model.train()
    for step in range(STEPS):
        optimizer.zero_grad()
        record["losses"].append(step_loss(model, ids[step], scored[step], mean_of_means))
        record["norms"].append(torch.nn.utils.clip_grad_norm_(factors, clip).item())
        record["rates"].append(rate_of(max(0, step - late)))
        optimizer.param_groups[0]["lr"] = record["rates"][-1]
        optimizer.step()
    model.eval()
    return record


def logits_of(model, ids) -> "torch.Tensor":
    with torch.no_grad():
        return model(input_ids=ids.long(), use_cache=False).logits.contiguous()


def relative_error(expected, got) -> float:
    return ((expected.double() - got.double()).abs().max() / expected.double().abs().max()).item()


def apart(one: dict, other: dict) -> float:
    return max(abs(a - b) for a, b in zip(one["losses"], other["losses"]))


def retrain(base: pathlib.Path, case: pathlib.Path, ids, scored, double=False, alpha=ALPHA,
            **changes) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        config = json.loads((case / "initial" / "adapter_config.json").read_text("utf-8"))
        changed = pathlib.Path(scratch)
        (changed / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": alpha}))
        weights = (case / "initial" / "adapter_model.safetensors").read_bytes()
        (changed / "adapter_model.safetensors").write_bytes(weights)
        model = load_adapter(base, changed, trainable=True)
    return train(model.double() if double else model, ids, scored, **changes)


def make(name: str, base: pathlib.Path, case: pathlib.Path) -> None:
    case.mkdir(parents=True, exist_ok=True)
    ids, scored = batches_of(name)
    torch.manual_seed(zlib.crc32(name.encode()))
    model = peft.get_peft_model(base_model(base), peft.LoraConfig(
        r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=TARGETS,
        task_type="CAUSAL_LM"))
    save_adapter(model, case / "initial", name)
    record = train(model, ids, scored)
    save_adapter(model, case / "trained", name)
    adapted = logits_of(model, ids[0, 0])
    merged = logits_of(model.merge_and_unload(), ids[0, 0])
    safetensors.torch.save_file({"ids": ids, "scored": scored.to(torch.uint8)},
                                case / "batches.safetensors", {"format": "pt"})
    safetensors.torch.save_file({"adapted": adapted, "merged": merged},
                                case / "logits.safetensors", {"format": "pt"})
    versions = {module.__name__: module.__version__ for module in (torch, transformers, peft)}
    golden = {"base": name, "steps": STEPS, "warmup_steps": WARMUP, "lr": RATE,
              "weight_decay": DECAY, "clip": CLIP, **record, "made_with": versions}
    (case / "golden.json").write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
    for file in case.rglob("*.*"):
        if file.is_file():
            file.chmod(0o644)  # safetensors 0.8 writes 0600
    print(f"{name}: loss {record['losses'][0]:.4f} to {record['losses'][-1]:.4f}, gradient norm "
          f"{min(record['norms']):.3f} to {max(record['norms']):.3f}; merging moves the logits "
          f"by {relative_error(adapted, merged):.1e}")


def try_mistakes(name: str, base: pathlib.Path, case: pathlib.Path) -> None:
    golden = json.loads((case / "golden.json").read_text(encoding="utf-8"))
    ids, scored = batches_of(name)
    rounding = apart(golden, retrain(base, case, ids, scored, double=True))
    print(f"    float64 instead: losses differ by {rounding:.1e}")
    for label, change in ABLATIONS.items():
        effect = apart(golden, retrain(base, case, ids, scored, **change))
        print(f"    {label}: by {effect:.1e}")
        if not effect >= MIN_RATIO * rounding:
            raise SystemExit(f"{name}: '{label}' can hardly be told from rounding")


def check(name: str, base: pathlib.Path, case: pathlib.Path) -> None:
    """PEFT reads the files back, trains to the same losses and gives the stored logits."""
    golden = json.loads((case / "golden.json").read_text(encoding="utf-8"))
    stored = safetensors.torch.load_file(case / "batches.safetensors")
    logits = safetensors.torch.load_file(case / "logits.safetensors")
    losses = apart(golden, retrain(base, case, stored["ids"], stored["scored"].bool()))
    adapted = relative_error(logits["adapted"],
                             logits_of(load_adapter(base, case / "trained").eval(),
                                       stored["ids"][0, 0]))
    size = sum(file.stat().st_size for file in case.rglob("*") if file.is_file())
    print(f"{name}: read back, losses differ by {losses:.1e}, logits by {adapted:.1e}; "
          f"{size} bytes")
    # written so that a NaN fails too
    if not (losses <= 1e-4 and adapted <= 1e-6):
        raise SystemExit(f"{name}: the stored files do not give what is stored with them")
    if size > MAX_BYTES:
        raise SystemExit(f"{name}: {size} bytes, limit {MAX_BYTES}")


def main() -> int:
    root = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(
        description="Trains LoRA adapters with stock PEFT on tiny models and stores every step.",
        epilog="Without options it renews every case in tests/adapter/golden, tries the mistakes "
               "that the golden must show, and reads it back. With --check it only reads back, "
               "which also tells whether other versions still agree. Names: " + ", ".join(CASES))
    parser.add_argument("--check", action="store_true", help="write nothing, verify what is there")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these cases (default: all)")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in CASES]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")

    global torch, transformers, peft, safetensors
    import peft
    import safetensors.torch
    import torch
    import transformers
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)

    print(f"torch {torch.__version__}, transformers {transformers.__version__}, "
          f"peft {peft.__version__}")
    for name in options.names or CASES:
        base = root / "tests" / "model" / "golden" / name
        case = root / "tests" / "recover" / "golden" / name
        if not options.check:
            make(name, base, case)
            try_mistakes(name, base, case)
        check(name, base, case)
    return 0


if __name__ == "__main__":
    sys.exit(main())

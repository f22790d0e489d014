#!/usr/bin/env python3
"""Times Prunus on a device and holds it against the device's own matrix rate.

    tools/gpu_table.py --prunus build/cuda/prunus --device cuda

For a random model of 110 M and one of 1.1 B parameters (tools/make_random_model.py), in BF16: prefill
and decoding (`bench`), calibration by param_first (`prune --dry-run`: its plan stage), a LoRA step and a
step of full training (`recover`). Printed: seconds, TFLOP/s of the matrix products, and the share of the
rate that the python3 that runs this measures with its torch (BF16, 8192 cubed). On a CPU the models are
tiny: that proves the way, not the speed.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def matmul_rate(device):
    """TFLOP/s of one large BF16 product; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    size = 8192 if device.startswith("cuda") else 1024
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    best = float("inf")
    for _ in range(20):
        wait()
        begin = time.perf_counter()
        a @ b
        wait()
        best = min(best, time.perf_counter() - begin)
    return 2 * size ** 3 / best / 1e12


class Table:
    def __init__(self, options, folder, rate):
        self.options, self.folder, self.rate = options, folder, rate

    def run(self, *words):
        command = [str(one) for one in (self.options.prunus, *words, "--device", self.options.device,
                                        "--json", "--quiet")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def row(self, model, what, seconds, flops):
        rate = flops / seconds / 1e12
        share = f"{rate / self.rate:.1%}" if self.rate else "-"
        print(f"| {model} | {what} | {seconds * 1e3:.1f} | {rate:.3f} | {share} |", flush=True)

    def measure(self, name, tokens, batch):
        model = self.folder / name
        subprocess.run([sys.executable, ROOT / "tools/make_random_model.py", "--shape", name, "--dtype",
                        "bf16", "--out", model], check=True, stdout=subprocess.DEVNULL)
        record = self.run("bench", model, "--prompt-tokens", tokens, "--batch", batch, "--new-tokens", 8,
                          "--dtype", "bfloat16")
        case = record["models"][0]["cases"][0]
        total = batch * tokens
        prefill = total / case["prefill_tokens_per_second"]["median"]
        self.row(name, f"prefill, {batch} x {tokens} tokens", prefill, 2 * case["prefill_macs"])
        step = batch / case["decode_tokens_per_second"]["median"]
        self.row(name, f"a step of decoding, batch {batch}", step, 2 * case["step_macs"])
        text = self.folder / "text.txt"
        if not text.exists():
            text.write_text("The plum tree stands in the garden; its fruit is ripe in August. " * 40000)
        macs = case["prefill_macs"] / total  # a token's; the head's are small beside them
        begin = time.perf_counter()
        record = self.run("prune", model, "--method", "llm-pruner", "--ratio", 0.2, "--calib", text,
                          "--calib-samples", batch, "--calib-tokens", tokens, "--dry-run",
                          "--out", self.folder / "pruned")
        stages = {one["name"]: one["seconds"] for one in record["stages"]}
        self.row(name, "calibration and scores, param_first (FP32)",
                 stages.get("plan", time.perf_counter() - begin), 6 * macs * total)
        for mode, what, times in (("--lora-r", "a LoRA step, r 8", 4), ("--full", "a step of all weights", 6)):
            choice = [mode, 8] if mode == "--lora-r" else [mode]
            record = self.run("recover", model, "--data", text, *choice, "--row-tokens", tokens, "--batch",
                              batch, "--micro-batch", batch, "--max-steps", 6, "--valid-split", 0, "--dtype",
                              "bfloat16", "--force", "--out", self.folder / "trained")
            seconds = total / record["training"]["tokens_per_second"]
            self.row(name, what, seconds, times * macs * total)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prunus", type=pathlib.Path, required=True)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    rate = matmul_rate(options.device)
    print(f"{options.device}: {rate:.1f} TFLOP/s in BF16" if rate else f"{options.device}: no torch, no rate")
    print("| model | what | ms | TFLOP/s | of the device's rate |\n|---|---|---:|---:|---:|")
    cases = [("tiny", 64, 2)] if options.device == "cpu" else [("llama-110m", 512, 8), ("tinyllama-1.1b", 1024, 8)]
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            Table(options, pathlib.Path(folder), rate).measure(*case)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Holds GGUF files that Prunus writes against a real llama.cpp: logits of tiny models of every family
and of SmolLM2 (dense, and pruned in several ways), perplexity of quantised ones.

Needs: pip install numpy; tools/llama_cpp/install.sh (build/llama/llama_oracle); the program.

    tools/check_llama_cpp.py [--model SMOLLM2_DIR --text FILE] [--only tiny|real|quant|gelu]

llama.cpp looks GELU up in a table of half precision, and its graph of GPT-NeoX has the approximation
by tanh. Families with GELU are therefore compared with transformers too (pip install torch
transformers), with that table in the place of its activation, and judged by that (--only gelu).

Logits are compared on FP32 files: largest difference over all tokens and the vocabulary, at most
1e-3, unless the form says what llama.cpp computes otherwise. Perplexities, in llama.cpp: Q8_0 at most 0.5 %, Q4_K at most 6 % above F16. Exit code 1 where
one is larger, or a file is not opened. Models that llama.cpp has no form for are listed with the
reason that `prunus export` gives.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "model" / "golden"
GELU = ("bloom", "gemma", "gpt2", "gpt_neox")  # families judged by --only gelu
PRUNED = {
    "uniform 25 %": ["--method", "llm-pruner", "--ratio", "0.25", "--calib", "TEXT"],
    "by layer 20 %": ["--method", "llm-pruner", "--ratio", "0.2", "--global", "--normalize", "mean",
                      "--calib", "TEXT"],
    "layers 20-23 dropped": ["--structure", "layer", "--drop-layers", "20-23"],
    "attention of 12, 20 dropped": {"attention_part": [12, 20]},
    "FFN of 15 dropped": {"ffn_part": [15]},
    "attention of 0, 12, 20, FFN of 15, 29 dropped": {"attention_part": [0, 12, 20],
                                                      "ffn_part": [15, 29]},
}


class Check:
    def __init__(self, options):
        self.options = options
        self.faults = 0
        self.folder = tempfile.TemporaryDirectory(dir=options.work)
        self.dir = pathlib.Path(self.folder.name)

    def prunus(self, *words):
        return subprocess.run([self.options.program, *map(str, words), "--quiet"],
                              capture_output=True, text=True, check=False)

    def oracle(self, *words):
        return subprocess.run([self.options.oracle, *map(str, words)], capture_output=True,
                              text=True, check=False)

    def row(self, *cells, good=True):
        self.faults += not good
        print("| " + " | ".join(str(cell) for cell in cells) + (" |" if good else " | **fault** |"),
              flush=True)

    def export(self, model, name, quant):
        """Path and architecture with what llama.cpp computes otherwise, or the reason for none."""
        out = self.dir / f"{name}.gguf"
        run = self.prunus("export", model, "--format", "gguf", "--quant", quant, "--out", out,
                          "--force")
        if run.returncode != 0:
            return None, run.stderr.strip().splitlines()[-1]
        record = json.loads(out.with_suffix(".run.json").read_text())
        how = next(row["how"] for row in record["forms"] if row["software"] == "llama.cpp"
                   and row["form"] == record["form"]["form"])
        remark = how.partition("); ")[2]
        return out, record["gguf"]["architecture"] + (f" (told: {remark})" if remark else "")

    def logits(self, label, model, ids):
        name = label.replace(" ", "_").replace("%", "").replace(",", "")
        path, told = self.export(model, name, "f32")
        if path is None:
            return self.row(label, "no form", told)
        run = self.prunus("logits", model, "--ids", ",".join(map(str, ids)))
        ours = np.array(json.loads(run.stdout)["logits"][0])
        (self.dir / "ids").write_text(" ".join(map(str, ids)))
        run = self.oracle("logits", path, self.dir / "ids", self.dir / "logits.npy")
        if run.returncode != 0:
            return self.row(label, told, run.stderr.strip().splitlines()[-1], good=False)
        theirs = np.load(self.dir / "logits.npy")
        difference = float(np.abs(ours - theirs).max())
        looked_up = json.loads((model / "config.json").read_text())["model_type"] in GELU
        self.row(label, told, f"{difference:.1e}" + (" (GELU: judged below)" if looked_up else ""),
                 f"{np.abs(ours).max():.1f}",
                 good=difference <= 1e-3 or looked_up or "(told: " in told)
        path.unlink()

    def gelu(self, case, ids):
        """Against transformers as it is, and with llama.cpp's activation."""
        import torch
        import transformers

        class Table(torch.nn.Module):
            def forward(self, x):
                half = x.half().float()
                inner = 0.79788456080286535587989211986876 * half * (1 + 0.044715 * half * half)
                looked_up = (0.5 * half * (1 + torch.tanh(inner))).half().float()
                return torch.where(x <= -10, 0.0, torch.where(x >= 10, x, looked_up))

        model = transformers.AutoModelForCausalLM.from_pretrained(
            case, dtype=torch.float32, attn_implementation="eager").eval()
        places = [(module, name) for module in model.modules()
                  for name, child in module.named_children() if "gelu" in type(child).__name__.lower()]
        path, told = self.export(case, f"gelu_{case.name}", "f32")
        if path is None:
            return
        (self.dir / "ids").write_text(" ".join(map(str, ids)))
        self.oracle("logits", path, self.dir / "ids", self.dir / "logits.npy")
        theirs = np.load(self.dir / "logits.npy")

        def difference():
            with torch.no_grad():
                ours = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
            return float(np.abs(ours.numpy() - theirs).max())

        plain = difference()
        for module, name in places:
            setattr(module, name, Table())
        table = difference()
        self.row(case.name, told, f"{plain:.1e}", f"{table:.1e}", f"{np.abs(theirs).max():.1f}",
                 good=table <= 1e-3 or "(told: " in told)
        path.unlink()

    def perplexity(self, path):
        run = self.oracle("perplexity", path, self.options.text, "--seqlen", 512, "--max-chunks",
                          self.options.chunks)
        return json.loads(run.stdout)["ppl"]

    def quantised(self, label, model):
        base = None
        for quant, limit in [("f16", 0), ("q8_0", 0.005), ("q6_k", 0.06), ("q5_k", 0.06),
                             ("q4_k", 0.06), ("q4_0", None)]:
            path, told = self.export(model, "quantised", quant)
            if path is None:
                self.row(label, quant, told, good=False)
                continue
            value = self.perplexity(path)
            base = base or value
            change = value / base - 1
            self.row(label, quant, told, f"{path.stat().st_size / 1e6:.1f} MB", f"{value:.3f}",
                     f"{100 * change:+.2f} %", good=limit is None or change <= limit)
            path.unlink()

    def cut(self, words, out):
        """Options of `prune`, or layers whose sub-layers go, by axis: a plan for `apply`."""
        model = self.options.model
        if isinstance(words, list):
            words = [self.options.text if word == "TEXT" else word for word in words]
            return self.prunus("prune", model, "--out", out, *words)
        layers = json.loads((model / "config.json").read_text())["num_hidden_layers"]
        groups = [{"layer": -1, "axis": axis, "units": layers,
                   "keep": [layer for layer in range(layers) if layer not in dropped]}
                  for axis, dropped in words.items()]
        plan = self.dir / "plan.json"
        plan.write_text(json.dumps({"format": "prunus-plan", "version": 1, "groups": groups}))
        return self.prunus("apply", model, "--plan", plan, "--out", out)

    def variants(self):
        yield "dense", self.options.model
        for label, words in PRUNED.items():
            out = self.dir / label.replace(" ", "_").replace("%", "").replace(",", "")
            if not out.exists():
                run = self.cut(words, out)
                if run.returncode != 0:
                    self.row(label, run.stderr.strip().splitlines()[-1], good=False)
                    continue
            yield label, out


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, help="SmolLM2-135M as a directory")
    parser.add_argument("--text", type=pathlib.Path, help="English text, for perplexity")
    parser.add_argument("--chunks", type=int, default=12, help="of 512 tokens")
    parser.add_argument("--only", choices=["tiny", "real", "quant", "gelu"])
    parser.add_argument("--program", default=ROOT / "build/dev/prunus")
    parser.add_argument("--oracle", default=ROOT / "build/llama/llama_oracle")
    parser.add_argument("--work", help="folder for temporary files")
    check = Check(parser.parse_args())
    only = check.options.only
    if only in (None, "tiny"):
        print("| tiny model | architecture | max abs difference | largest logit |\n|---|---|---|---|")
        for case in sorted(path.parent for path in GOLDEN.glob("*/config.json")):
            ids = json.loads((case / "golden.json").read_text())["input_ids"][0]
            check.logits(case.name, case, ids)
    if only in (None, "gelu"):
        print("\n| tiny model with GELU | architecture | from transformers | with the table | largest logit |"
              "\n|---|---|---|---|---|")
        for case in sorted(path.parent for path in GOLDEN.glob("*/config.json")):
            if json.loads((case / "config.json").read_text())["model_type"] in GELU:
                check.gelu(case, json.loads((case / "golden.json").read_text())["input_ids"][0])
    if only in (None, "real") and check.options.model:
        print("\n| SmolLM2-135M | architecture | max abs difference | largest logit |\n|---|---|---|---|")
        ids = [(7919 * i + 13) % 49152 for i in range(64)]
        for label, model in check.variants():
            check.logits(label, model, ids)
    if only in (None, "quant") and check.options.model:
        print("\n| SmolLM2-135M | type | architecture | size | perplexity | against F16 |\n"
              "|---|---|---|---|---|---|")
        for label, model in check.variants():
            if label in ("dense", "uniform 25 %"):
                check.quantised(label, model)
    return 1 if check.faults else 0


if __name__ == "__main__":
    sys.exit(main())

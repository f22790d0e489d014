#!/usr/bin/env python3
"""What stock transformers makes of the two GGUF files of tools/real_models.sh: a digest of every
dequantised weight, logits, and ids of some texts. Written to tests/model/real/ for the real tests.

Needs: pip install torch==2.13.0 transformers==5.24.0 gguf==0.19.0

    tools/make_real_model_goldens.py [build/models]
"""
import hashlib
import json
import pathlib
import sys

import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = {"smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf", "gemma3": "gemma-3-270m-q4_k_m.gguf"}
TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "In 1989, LeCun, Denker and Solla pruned 60 % of a network's weights.",
    "  leading blanks, a tab\tand\n\ntwo lines",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich; naïve café",
    "def f(x):\n    return {k: v for k, v in x.items() if v is not None}",
]
PLACES = 64  # of the vocabulary, for which logits are kept


def weights(model):
    """sha256 over a line for each weight, by name: "name sha256-of-its-FP32-bytes"."""
    state = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    digest = hashlib.sha256()
    for name in sorted(state):
        values = hashlib.sha256(state[name].float().contiguous().numpy().tobytes())
        digest.update(f"{name} {values.hexdigest()}\n".encode())
    return {"count": len(state), "sha256": digest.hexdigest()}


def golden(path):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, model.config.vocab_size, (1, 48), generator=generator)
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0, -1]
    places = torch.linspace(0, len(logits) - 1, PLACES).long()
    return {"file": path.name, "weights": weights(model), "ids": ids[0].tolist(),
            "largest_logit": logits.abs().max().item(), "places": places.tolist(),
            "logits": logits[places].tolist(),
            "texts": [{"text": text, "ids": tokenizer(text, add_special_tokens=False)["input_ids"]}
                      for text in TEXTS]}


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "models"
    out = ROOT / "tests" / "model" / "real"
    out.mkdir(exist_ok=True)
    for name, file in FILES.items():
        (out / f"{name}.json").write_text(json.dumps(golden((folder / file).resolve())) + "\n")
        print(out / f"{name}.json")


if __name__ == "__main__":
    main()

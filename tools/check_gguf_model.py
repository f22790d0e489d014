#!/usr/bin/env python3
"""Checks that Prunus opens a GGUF file as the model that stock transformers makes of it: every weight of
`prunus import` equals what transformers dequantises, bit for bit, and the logits of a text agree.

Needs: pip install torch==2.13.0 transformers==5.24.0 gguf==0.19.0 safetensors

    tools/check_gguf_model.py MODEL.gguf… [--program build/dev/prunus] [--tokens 512]

Exit code 1 where a weight differs, or a logit by more than 1e-4 of the largest.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import safetensors.torch
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)


def differing(model, directory):
    """Names of weights of the imported directory that are not the model's, and how many there are."""
    own, names, count = model.state_dict(), [], 0
    for file in sorted(directory.glob("*.safetensors")):
        for name, value in safetensors.torch.load_file(file).items():
            count += 1
            if name not in own or not torch.equal(own[name].float(), value.float()):
                names.append(name)
    return names, count


def check(path, options):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, model.config.vocab_size, (1, options.tokens), generator=generator)
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).logits[0]
    text = run(options.program, "logits", path, "--ids", ",".join(map(str, ids[0].tolist())), "--quiet")
    got = torch.tensor(json.loads(text.stdout)["logits"][0])
    error = ((got - expected).abs().max() / expected.abs().max()).item()
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "model"
        run(options.program, "import", path, "--out", out, "--quiet")
        names, count = differing(model, out)
    for name in names[:10]:
        print(f"{path}: {name} differs")
    print(f"{path}: {count} weights, {len(names)} differ; {options.tokens} tokens, largest difference "
          f"of logits {error:.1e} of the largest logit")
    return not names and count > 0 and error <= 1e-4


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/dev/prunus")
    parser.add_argument("--tokens", type=int, default=512)
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    good = [check(path.resolve(), options) for path in options.files]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())

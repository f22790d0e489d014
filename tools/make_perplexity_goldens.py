#!/usr/bin/env python3
"""Makes tests/eval/golden/perplexity.json: perplexities that a plain loop over stock transformers
gives, the oracle for `prunus eval --ppl wikitext2@128` and `ptb@128` (rule `paper`).

Needs: pip install torch==2.13.0 transformers==5.24.0

Usage: make_perplexity_goldens.py --shared DIR --out tests/eval/golden/perplexity.json

DIR holds models/ and corpora/ (the folder that the `real` tests read). Each text is the beginning
of a file: its first 20,000 bytes, cut after the last line end, so that a test can make the same file;
and, for the smallest model, WikiText-2's whole test split. How the file becomes a string:
  wikitext2  a line of blanks is an empty row, any other line a row with its newline; rows joined by
             "\\n\\n"
  ptb        lines without blanks at their ends, joined by " "
The string is tokenised once as tokenizer.json says, BOS included, cut into chunks of 128, the
remainder dropped. (AutoTokenizer of transformers 5 builds a LlamaTokenizer of its own from the
file's vocabulary; around a literal <unk> and at characters outside the vocabulary its ids differ
from the file's.) Perplexity: exp of the mean over all chunks' 127 predictions, float32 logits,
float64 sums.
"""
import argparse
import json
import math
import pathlib

import tokenizers
import torch
import transformers

LENGTH, PREFIX, BATCH = 128, 20_000, 16
MODELS = ["stories260K", "babyllama-105", "sapling-5m"]
WHOLE_TEXT_OF = "stories260K"
FILES = {"wikitext2": "corpora/wikitext-2-raw/wiki.test.raw", "ptb": "corpora/ptb.valid.txt"}


def join(name: str, text: str) -> str:
    lines = text.removesuffix("\n").split("\n")
    if name == "ptb":
        return " ".join(line.strip() for line in lines)
    return "\n\n".join(line + "\n" if line.strip() else "" for line in lines)


def beginning(path: pathlib.Path, size: int | None) -> str:
    raw = path.read_bytes()
    if size is not None:
        raw = raw[:size]
        raw = raw[:raw.rindex(b"\n") + 1]
    return raw.decode("utf-8")


def perplexity(model, tokenizer, text: str) -> dict:
    ids = torch.tensor(tokenizer.encode(text).ids)
    chunks = ids[:len(ids) // LENGTH * LENGTH].view(-1, LENGTH)
    total = 0.0
    with torch.no_grad():
        for batch in chunks.split(BATCH):
            logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
            total += torch.nn.functional.cross_entropy(
                logits.double().flatten(0, 1), batch[:, 1:].flatten(), reduction="sum").item()
    tokens = len(chunks) * (LENGTH - 1)
    return {"tokens": tokens, "nll_sum": total, "ppl": math.exp(total / tokens)}


def cases(shared: pathlib.Path):
    for name in MODELS:
        directory = shared / "models" / name
        tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
        model = transformers.AutoModelForCausalLM.from_pretrained(directory,
                                                                  dtype=torch.float32).eval()
        sizes = [(text, PREFIX) for text in FILES]
        sizes += [("wikitext2", None)] if name == WHOLE_TEXT_OF else []
        for text, size in sizes:
            joined = join(text, beginning(shared / FILES[text], size))
            one = perplexity(model, tokenizer, joined)
            print(name, text, size, one["ppl"], flush=True)
            yield {"model": name, "text": text, "file": FILES[text], "bytes": size, **one}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--shared", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    golden = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__,
                           "tokenizers": tokenizers.__version__},
              "seqlen": LENGTH, "cases": list(cases(args.shared))}
    args.out.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

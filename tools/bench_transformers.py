#!/usr/bin/env python3
"""Times Prunus against transformers on one model, row by row, in alternation.

    tools/bench_transformers.py --model DIR --text FILE --python VENV/bin/python [--rows ppl512,decode]

Rows (all on the CPU, same number of threads, same token ids):
  ppl512, ppl1024, ppl2048  perplexity of the text's first chunks of so many tokens
  prefill   512 tokens → logits of the last place
  decode    32 tokens, then 64 steps of greedy decoding, batch 1
  lora      a training step: LoRA of rank 8 on the seven projections, 4 sequences of 256 tokens
  full      the same with all weights trained
Each in FP32 and in BF16. Of transformers the loop alone is timed (imports and loading are not), with
one warm-up; of Prunus what it reports of itself (evaluation: the time of its pass over the text, the
reading of all weights from the file included; decoding: `bench`; training: tokens a second of the
steps). Every run is a process of its own; --rounds of them in turn; the table has medians, and the
peak memory of a process. This script needs only the Python standard library; --python names an
interpreter with transformers (and peft for lora).
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

PEER = r'''
import json, sys, time
import torch
settings = json.loads(sys.argv[1])
torch.set_num_threads(settings["threads"])
from transformers import AutoModelForCausalLM, AutoTokenizer
dtype = getattr(torch, settings["dtype"])
model = AutoModelForCausalLM.from_pretrained(settings["model"], dtype=dtype)
row = settings["row"]
clock = time.perf_counter

def text_ids(count):
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    ids = tokenizer(open(settings["text"], encoding="utf-8").read(), return_tensors="pt").input_ids[0]
    return ids[:count]

def perplexity(length):
    ids = text_ids(settings["tokens"] // length * length).view(-1, length)
    model.eval()
    with torch.no_grad():
        model(ids[:1, :64])
        begin = clock()
        total = 0.0
        for chunk in ids:
            logits = model(chunk[None]).logits[0, :-1].float()
            total += torch.nn.functional.cross_entropy(logits, chunk[1:], reduction="sum").item()
        seconds = clock() - begin
    return {"rate": ids.numel() / seconds, "value": total / (ids.shape[0] * (length - 1))}

def prefill():
    ids = torch.randint(0, 1000, (1, 512))
    with torch.no_grad():
        model(ids, logits_to_keep=1)
        times = []
        for _ in range(5):
            begin = clock()
            model(ids, logits_to_keep=1)
            times.append(clock() - begin)
    return {"rate": 512 / sorted(times)[2]}

def decode():
    with torch.no_grad():
        best = []
        for _ in range(3):
            out = model(torch.randint(0, 1000, (1, 32)), use_cache=True)
            cache = out.past_key_values
            token = out.logits[:, -1:].argmax(-1)
            begin = clock()
            for _ in range(64):
                out = model(token, past_key_values=cache, use_cache=True)
                token = out.logits[:, -1:].argmax(-1)
            best.append(clock() - begin)
    return {"rate": 64 / sorted(best)[1]}

def train(lora):
    trained = model
    if lora:
        from peft import LoraConfig, get_peft_model
        names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        trained = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=names))
    trained.train()
    parameters = [one for one in trained.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    ids = text_ids(4 * 256 * 8).view(-1, 4, 256)
    times = []
    for step in range(settings["steps"] + 1):
        batch = ids[step % len(ids)]
        begin = clock()
        trained(batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(clock() - begin)
    return {"rate": 4 * 256 / statistics_median(times[1:])}

def statistics_median(values):
    return sorted(values)[len(values) // 2]

if row.startswith("ppl"):
    found = perplexity(int(row[3:]))
else:
    found = {"prefill": prefill, "decode": decode, "lora": lambda: train(True),
             "full": lambda: train(False)}[row]()
print("RESULT" + json.dumps(found))
'''

CUT = r'''
import json, sys
from transformers import AutoTokenizer
settings = json.loads(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(settings["model"])
text = open(settings["text"], encoding="utf-8").read()
offsets = tokenizer(text, return_offsets_mapping=True).offset_mapping
print("RESULT" + json.dumps(text[:offsets[settings["tokens"] + 8][0]]))
'''


def run(command, threads):
    """Output and peak memory in bytes of a process that has to succeed."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads),
                       HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen([str(one) for one in command], stdout=out, stderr=err, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            sys.exit(f"{' '.join(map(str, command[:3]))} failed:\n{err.read().decode()[-2000:]}")
        return out.read().decode(), used.ru_maxrss * 1024, used.ru_stime / max(used.ru_utime, 1e-9)


class Bench:
    def __init__(self, options, folder):
        self.options = options
        self.folder = folder

    def peer(self, row, dtype):
        settings = {"model": str(self.options.model), "text": str(self.options.text), "row": row,
                    "dtype": dtype, "threads": self.options.threads, "tokens": self.options.tokens,
                    "steps": self.options.steps}
        output, peak, system = run([self.options.python, "-c", PEER, json.dumps(settings)],
                                   self.options.threads)
        found = json.loads(output.split("RESULT")[-1])
        return dict(found, peak=peak, system=system)

    def ours(self, row, dtype):
        program, threads = self.options.prunus, self.options.threads
        common = ["--threads", threads, "--json", "--quiet"]
        if row.startswith("ppl"):
            length = int(row[3:])
            output, peak, system = run([program, "eval", self.options.model, "--ppl", self.cut(length),
                                        "--seqlen", length, "--precision", dtype, *common], threads)
            result = json.loads(output)["results"][0]
            return {"rate": result["sequences"] * length / result["seconds"],
                    "value": result["nll_per_token"], "peak": peak, "system": system}
        if row in ("prefill", "decode"):
            prompt, new = (512, 1) if row == "prefill" else (32, 64)
            output, peak, system = run([program, "bench", self.options.model, "--prompt-tokens", prompt,
                                        "--batch", 1, "--new-tokens", new, "--repeat", 5, "--dtype", dtype,
                                        *common], threads)
            case = json.loads(output)["models"][0]["cases"][0]
            return {"rate": case[f"{row}_tokens_per_second"]["median"], "peak": peak, "system": system}
        out = self.folder / "trained"
        shutil.rmtree(out, ignore_errors=True)
        shape = ["--lora-r", 8] if row == "lora" else ["--full"]
        output, peak, system = run(
            [program, "recover", self.options.model, "--data", self.cut(256), "--out", out, *shape,
             "--row-tokens", 256, "--batch", 4, "--micro-batch", 4, "--max-steps", self.options.steps,
             "--dtype", dtype, "--valid-split", 0, *common], threads)
        return {"rate": json.loads(output)["training"]["tokens_per_second"], "peak": peak, "system": system}

    def cut(self, length):
        """So much text that both see the same chunks: cut behind the last token that is scored."""
        path = self.folder / f"text{length}.txt"
        if not path.exists():
            settings = {"model": str(self.options.model), "text": str(self.options.text),
                        "tokens": self.options.tokens // length * length}
            output, _, _ = run([self.options.python, "-c", CUT, json.dumps(settings)], 1)
            path.write_text(json.loads(output.split("RESULT")[-1]), encoding="utf-8")
        return path


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prunus", type=pathlib.Path, default=pathlib.Path("build/dev/prunus"))
    parser.add_argument("--python", type=pathlib.Path, required=True)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--text", type=pathlib.Path, required=True)
    parser.add_argument("--rows", default="ppl512,ppl2048,prefill,decode,lora,full")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--tokens", type=int, default=8192, help="of a perplexity, at most")
    parser.add_argument("--steps", type=int, default=4, help="of training, behind one that warms up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    print("| row | dtype | Prunus tokens/s | transformers tokens/s | our time : theirs | Prunus peak | "
          "transformers peak | system / user time | nats a token |\n|---|---|---:|---:|---:|---:|---:|---:|---|")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, pathlib.Path(folder))
        for row in options.rows.split(","):
            for dtype in options.dtypes.split(","):
                ours, theirs = [], []
                for _ in range(options.rounds):
                    ours.append(bench.ours(row, dtype))
                    theirs.append(bench.peer(row, dtype))
                report(row, dtype, ours, theirs)


def report(row, dtype, ours, theirs):
    middle = [statistics.median(one["rate"] for one in runs) for runs in (ours, theirs)]
    peak = [statistics.median(one["peak"] for one in runs) / 2**20 for runs in (ours, theirs)]
    values = " / ".join(f"{runs[0]['value']:.6f}" for runs in (ours, theirs) if "value" in runs[0])
    print(f"| {row} | {dtype} | {middle[0]:.1f} | {middle[1]:.1f} | {middle[1] / middle[0]:.2f} | "
          f"{peak[0]:.0f} MiB | {peak[1]:.0f} MiB | {ours[-1]['system']:.3f} | {values} |", flush=True)


if __name__ == "__main__":
    main()

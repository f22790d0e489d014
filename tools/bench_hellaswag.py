#!/usr/bin/env python3
"""Times HellaSwag by Prunus against lm-evaluation-harness with transformers, in alternation.

    tools/bench_hellaswag.py --model DIR --tasks-dir DIR --python VENV/bin/python --limit 200

The tasks' folder holds hellaswag.jsonl (fields activity_label, ctx_a, ctx_b, endings, label). Both
read it, in FP32 on the CPU with the same number of threads. Prunus is timed from start to exit of
its process; the harness from its first request to its result only, imports and the model's loading
not included, for every batch size in --batch-sizes; the table shows the fastest run of each, and
the speed-up against the fastest batch size. Accuracies stand beside the times: they must agree.
--python names an interpreter that has lm-eval and transformers; without it only Prunus runs.
This script needs only the Python standard library.
"""
import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

TASK = """task: hellaswag_file
dataset_path: json
dataset_kwargs:
  data_files: {{validation: {file}}}
output_type: multiple_choice
validation_split: validation
process_docs: !function hellaswag_docs.process_docs
doc_to_text: "{{{{query}}}}"
doc_to_target: "{{{{gold}}}}"
doc_to_choice: "choices"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
"""

# As lm-eval prepares HellaSwag: the label in front, WikiHow's marks taken out.
DOCS = r'''
import re


def clean(text):
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def process_docs(dataset):
    def convert(doc):
        context = doc["ctx_a"] + " " + doc["ctx_b"].capitalize()
        return {"query": clean(doc["activity_label"] + ": " + context),
                "choices": [clean(ending) for ending in doc["endings"]],
                "gold": int(doc["label"])}
    return dataset.map(convert)
'''

HARNESS = r'''
import json, sys, time
import torch
settings = json.loads(sys.argv[1])
torch.set_num_threads(settings["threads"])
import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import PreTrainedTokenizerFast
# As tokenizer.json says: the class for Llama builds one without its unknown token, and so drops
# what is in no piece.
tokenizer = PreTrainedTokenizerFast.from_pretrained(settings["model"])
model = HFLM(pretrained=settings["model"], tokenizer=tokenizer, device="cpu", dtype="float32",
             add_bos_token=True, batch_size=settings["batch_size"],
             max_length=settings["max_length"])
manager = TaskManager(include_path=settings["tasks"], include_defaults=False)
cpu_begin = time.process_time()
begin = time.perf_counter()
result = lm_eval.simple_evaluate(model, tasks=["hellaswag_file"], task_manager=manager,
                                 limit=settings["limit"], bootstrap_iters=0)
seconds = time.perf_counter() - begin
cpu_seconds = time.process_time() - cpu_begin
scores = result["results"]["hellaswag_file"]
print("RESULT" + json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "acc": scores["acc,none"],
                             "acc_norm": scores["acc_norm,none"]}))
'''


def environment(threads):
    return dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads),
                HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")


def checked(command, threads):
    done = subprocess.run(command, text=True, capture_output=True, env=environment(threads))
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed ({done.returncode}):\n{done.stderr[-3000:]}")
    return done.stdout


def child_cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_prunus(arguments):
    command = [str(arguments.prunus), "eval", str(arguments.model), "--tasks", "hellaswag",
               "--task-dir", str(arguments.tasks_dir), "--threads", str(arguments.threads), "--json"]
    if arguments.max_length:
        command += ["--max-length", str(arguments.max_length)]
    if arguments.limit:
        command += ["--limit", str(arguments.limit)]
    cpu_begin = child_cpu_seconds()
    begin = time.perf_counter()
    output = checked(command, arguments.threads)
    seconds = time.perf_counter() - begin
    cpu_seconds = child_cpu_seconds() - cpu_begin
    scores = find_task(json.loads(output))
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "acc": scores["acc"], "acc_norm": scores["acc_norm"]}


def find_task(tree):
    """The figures of the task, wherever eval's JSON holds them."""
    if isinstance(tree, dict):
        if isinstance(tree.get("hellaswag"), dict):
            return tree["hellaswag"]
        for value in tree.values():
            found = find_task(value)
            if found:
                return found
    return None


def run_harness(arguments, batch_size, folder):
    settings = {"model": str(arguments.model), "threads": arguments.threads, "tasks": folder,
                "limit": arguments.limit or None, "max_length": arguments.max_length or None,
                "batch_size": batch_size}
    output = checked([str(arguments.python), "-c", HARNESS, json.dumps(settings)],
                     arguments.threads)
    return json.loads(output.split("RESULT")[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prunus", type=pathlib.Path, default=pathlib.Path("build/dev/prunus"))
    parser.add_argument("--model", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--tasks-dir", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--python", type=pathlib.Path, help="has lm-eval and transformers")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=0, help="first items only; 0: all")
    parser.add_argument("--max-length", type=int, default=0,
                        help="tokens of context and ending at most; 0: the model's context. The "
                             "harness refuses an ending longer than that")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-sizes", default="1,32", help="of the harness")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    arguments = parser.parse_args()
    sizes = [int(one) for one in arguments.batch_sizes.split(",")] if arguments.python else []
    runs = {name: [] for name in ["prunus", *(f"lm-eval, batch {size}" for size in sizes)]}
    with tempfile.TemporaryDirectory() as folder:
        file = (arguments.tasks_dir / "hellaswag.jsonl").resolve()
        pathlib.Path(folder, "hellaswag_file.yaml").write_text(TASK.format(file=file))
        pathlib.Path(folder, "hellaswag_docs.py").write_text(DOCS)
        for _ in range(arguments.rounds):
            runs["prunus"].append(run_prunus(arguments))
            for size in sizes:
                runs[f"lm-eval, batch {size}"].append(run_harness(arguments, size, folder))
    report(runs)
    if arguments.json:
        arguments.json.write_text(json.dumps(runs, indent=1))


def report(runs):
    print("| program | seconds | all rounds | CPU seconds | acc | acc_norm |\n"
          "|---|---:|---|---:|---:|---:|")
    best = {name: min(one["seconds"] for one in done) for name, done in runs.items()}
    for name, done in runs.items():
        rounds = ", ".join(f"{one['seconds']:.2f}" for one in done)
        print(f"| {name} | {best[name]:.2f} | {rounds} | "
              f"{min(one['cpu_seconds'] for one in done):.2f} | {done[0]['acc']:.4f} | "
              f"{done[0]['acc_norm']:.4f} |")
    harness = [seconds for name, seconds in best.items() if name != "prunus"]
    if harness:
        print(f"\nspeed-up: {min(harness) / best['prunus']:.2f}")


if __name__ == "__main__":
    main()

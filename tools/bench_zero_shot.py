#!/usr/bin/env python3
"""Times zero-shot tasks by Prunus against lm-evaluation-harness with transformers, in alternation.

    tools/bench_zero_shot.py --model DIR --tasks-dir DIR --python VENV/bin/python --limit 500

The tasks' folder holds hellaswag.jsonl (activity_label, ctx_a, ctx_b, endings, label), arc_easy.jsonl
(question, choices, answerKey) and piqa.jsonl (goal, sol1, sol2, label). Both programs read them, on
the CPU with the same number of threads. Prunus is timed from start to exit of its process; the
harness from its first request to its result only, imports and the model's loading not included, for
every batch size in --batch-sizes; the table shows the fastest run of each, and the speed-up against
the fastest batch size. Accuracies stand beside the times: in FP32 they must agree.
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

TASK = """task: {name}_file
dataset_path: json
dataset_kwargs:
  data_files: {{validation: {file}}}
output_type: multiple_choice
validation_split: validation
process_docs: !function task_docs.{name}
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


def hellaswag(dataset):
    def convert(doc):
        context = doc["ctx_a"] + " " + doc["ctx_b"].capitalize()
        return {"query": clean(doc["activity_label"] + ": " + context),
                "choices": [clean(ending) for ending in doc["endings"]],
                "gold": int(doc["label"])}
    return dataset.map(convert)


def arc_easy(dataset):
    def convert(doc):
        return {"query": "Question: " + doc["question"] + "\nAnswer:",
                "gold": doc["choices"]["label"].index(doc["answerKey"]), "options": doc["choices"]["text"]}
    return dataset.map(convert).remove_columns("choices").rename_column("options", "choices")


def piqa(dataset):
    def convert(doc):
        return {"query": "Question: " + doc["goal"] + "\nAnswer:", "choices": [doc["sol1"], doc["sol2"]],
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
model = HFLM(pretrained=settings["model"], tokenizer=tokenizer, device="cpu", dtype=settings["dtype"],
             batch_size=settings["batch_size"],
             max_length=settings["max_length"])
manager = TaskManager(include_path=settings["tasks"], include_defaults=False)
cpu_begin = time.process_time()
begin = time.perf_counter()
result = lm_eval.simple_evaluate(model, tasks=[settings["task"] + "_file"], task_manager=manager,
                                 limit=settings["limit"], bootstrap_iters=0)
seconds = time.perf_counter() - begin
cpu_seconds = time.process_time() - cpu_begin
scores = result["results"][settings["task"] + "_file"]
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


def run_prunus(arguments, task, dtype):
    command = [str(arguments.prunus), "eval", str(arguments.model), "--tasks", task, "--task-dir",
               str(arguments.tasks_dir), "--threads", str(arguments.threads), "--precision", dtype,
               "--json"]
    if arguments.max_length:
        command += ["--max-length", str(arguments.max_length)]
    if arguments.limit:
        command += ["--limit", str(arguments.limit)]
    cpu_begin = child_cpu_seconds()
    begin = time.perf_counter()
    output = checked(command, arguments.threads)
    seconds = time.perf_counter() - begin
    cpu_seconds = child_cpu_seconds() - cpu_begin
    scores = find_task(json.loads(output), task)
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "acc": scores["acc"],
            "acc_norm": scores["acc_norm"]}


def find_task(tree, task):
    """The figures of the task, wherever eval's JSON holds them."""
    if isinstance(tree, dict):
        if isinstance(tree.get(task), dict):
            return tree[task]
        for value in tree.values():
            found = find_task(value, task)
            if found:
                return found
    return None


def run_harness(arguments, task, dtype, batch_size, folder):
    settings = {"model": str(arguments.model), "threads": arguments.threads, "tasks": folder,
                "limit": arguments.limit or None, "max_length": arguments.max_length or None,
                "batch_size": batch_size, "task": task, "dtype": dtype}
    output = checked([str(arguments.python), "-c", HARNESS, json.dumps(settings)],
                     arguments.threads)
    return json.loads(output.split("RESULT")[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prunus", type=pathlib.Path, default=pathlib.Path("build/dev/prunus"))
    parser.add_argument("--model", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--tasks-dir", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--tasks", default="hellaswag,arc_easy,piqa")
    parser.add_argument("--dtypes", default="float32,bfloat16")
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
    every = {}
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "task_docs.py").write_text(DOCS)
        for task in arguments.tasks.split(","):
            file = (arguments.tasks_dir / f"{task}.jsonl").resolve()
            pathlib.Path(folder, f"{task}.yaml").write_text(TASK.format(file=file, name=task))
            for dtype in arguments.dtypes.split(","):
                runs = {name: [] for name in ["prunus", *(f"lm-eval, batch {size}" for size in sizes)]}
                for _ in range(arguments.rounds):
                    runs["prunus"].append(run_prunus(arguments, task, dtype))
                    for size in sizes:
                        runs[f"lm-eval, batch {size}"].append(
                            run_harness(arguments, task, dtype, size, folder))
                every[f"{task}, {dtype}"] = runs
                report(f"{task}, {dtype}", runs)
    if arguments.json:
        arguments.json.write_text(json.dumps(every, indent=1))


def report(title, runs):
    print(f"{title}:\n")
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
        print(f"\nspeed-up: {min(harness) / best['prunus']:.2f}\n", flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes the goldens of the zero-shot tasks in tests/eval/golden: what lm-evaluation-harness itself
says of the same files, models and documents. They are the oracle for Prunus' eval --tasks.

Needs: pip install torch==2.13.0 transformers==5.24.0 lm-eval==0.4.13
Usage: make_task_goldens.py --shared DIR --out tests/eval/golden [--only words|prompts|MODEL]

The task definitions are lm-eval's own YAML files; only the data are replaced, by the first records
of local jsonl files, so nothing is fetched. Float32, CPU. tests/eval/golden/README.md says what
every file holds.
"""
import argparse
import json
import os
import pathlib
import re
import sys
import tempfile

ITEMS = 200  # of each task, for the log-likelihoods
PROMPT_ITEMS = 3  # of each task, as text
FEW_SHOT, FEW_SHOT_SEED, POOL = 2, 1234, 40  # examples from the last POOL records of the same file
PAGES = 5
DECIMALS = 6
MAX_BYTES = 200_000

# name -> YAML below lm_eval/tasks
TABLE = {
    "boolq": "super_glue/boolq/default.yaml",
    "piqa": "piqa/piqa.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "winogrande": "winogrande/default.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "arc_challenge": "arc/arc_challenge.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
}
# Those whose data are not at hand: made-up records, with the fields of the Hugging Face data sets.
OTHERS = {
    "lambada_openai": ("lambada/lambada_openai.yaml", [
        {"text": "The dog ran to the gate and the boy ran after the dog"},
        {"text": "In my palm is a clear stone, and inside it is a small ivory statue. A guardian"
                 " angel.\n\n\"Figured if you're going to be out at night, you might as well have"
                 " an angel"},
        {"text": "one  two"},
        {"text": "alone"},
    ]),
    "copa": ("super_glue/copa/default.yaml", [
        {"premise": "My body cast a shadow over the grass.", "choice1": "The sun was rising.",
         "choice2": "The grass was cut.", "question": "cause", "idx": 0, "label": 0},
        {"premise": " The boy dropped the cup. ", "choice1": "It was full.",
         "choice2": "Éric heard it break.", "question": "effect", "idx": 1, "label": 1},
    ]),
    "siqa": ("siqa/siqa.yaml", [
        {"context": "Tom gave the ball to Ann.", "question": "What will Ann do next?",
         "answerA": "play with it", "answerB": "eat it ", "answerC": "sleep", "label": "1"},
        {"context": "Ann was sad", "question": "Why?", "answerA": "it rained",
         "answerB": "she won", "answerC": "she lost the ball", "label": "3"},
    ]),
    "commonsense_qa": ("commonsense_qa/default.yaml", [
        {"id": "a", "question": " Where does a fish live?", "question_concept": "fish",
         "choices": {"label": ["A", "B", "C", "D", "E"],
                     "text": ["sea", "tree", "sky", "cup", "house"]}, "answerKey": "A"},
        {"id": "b", "question": "What do you do with a book?", "question_concept": "book",
         "choices": {"label": ["A", "B", "C", "D", "E"],
                     "text": ["eat", "kick", "read", "drink", "wash"]}, "answerKey": "C"},
    ]),
    "mmlu": ("mmlu/default/mmlu_abstract_algebra.yaml", [
        {"question": " What is 2 + 2? ", "subject": "abstract_algebra",
         "choices": ["3", "4", "5", "6"], "answer": 1},
        {"question": "What is the order of the group Z_3?", "subject": "abstract_algebra",
         "choices": ["1", "2", "3 ", "6"], "answer": 2},
    ]),
}


def records_of(path: pathlib.Path) -> list:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def lm_eval_task(yaml: str, evaluated: list, pool: list):
    """lm-eval's own task over these records; few-shot examples come from `pool`."""
    root = pathlib.Path(lm_eval.__file__).parent / "tasks"
    config = load_yaml(root / yaml)
    for key in ("dataset_path", "dataset_name", "tag", "dataset_kwargs", "task_alias"):
        config.pop(key, None)
    splits = {name: pool for name in ("training_split", "fewshot_split") if config.get(name)}
    data = {config[name]: rows for name, rows in splits.items()}
    for name in ("test_split", "validation_split"):
        if config.get(name):
            data[config[name]] = evaluated
    tables = datasets.DatasetDict({k: datasets.Dataset.from_list(v) for k, v in data.items()})
    config |= {"dataset_path": "local", "custom_dataset": lambda **_: tables}
    return ConfigurableTask(config=config)


def evaluate(model, tasks: list, limit: int, num_fewshot: int = 0) -> dict:
    return lm_eval.simple_evaluate(
        model=model, tasks=tasks, limit=limit, num_fewshot=num_fewshot, log_samples=True,
        bootstrap_iters=1, fewshot_random_seed=FEW_SHOT_SEED)


def requests_as_text(task, limit: int, num_fewshot: int) -> list:
    task.set_config(key="num_fewshot", value=num_fewshot)
    task.set_fewshot_seed(seed=FEW_SHOT_SEED)
    task.build_all_requests(limit=limit, rank=0, world_size=1)
    items = {}
    for one in task.instances:
        items.setdefault(one.doc_id, []).append([one.args[0], one.args[1]])
    return [items[i] for i in sorted(items)]


def prompts(shared: pathlib.Path) -> dict:
    cases = {name: (yaml, records_of(shared / "tasks" / f"{name}.jsonl"))
             for name, yaml in TABLE.items()}
    result = {}
    for name, (yaml, rows) in (cases | OTHERS).items():
        pool = rows[-POOL:] if name in TABLE else rows
        # The first record also stands in the pool: may it be its own example?
        pool = pool + rows[:1] if name in TABLE else pool
        evaluated = rows[:PROMPT_ITEMS] if name in TABLE else rows
        task = lm_eval_task(yaml, evaluated, pool)
        entry = {"zero_shot": requests_as_text(task, len(evaluated), 0)}
        if name != "lambada_openai":
            shots = FEW_SHOT if len(pool) > FEW_SHOT else 1
            if name == "mmlu":
                shots = 2
            entry |= {"few_shot": shots,
                      "few_shot_requests": requests_as_text(task, len(evaluated), shots)}
        if name in OTHERS:
            entry["records"] = rows
        result[name] = entry
    return {"few_shot_seed": FEW_SHOT_SEED, "pool": POOL, "tasks": result}


def task_goldens(directory: pathlib.Path, shared: pathlib.Path) -> dict:
    model = language_model(directory)
    tasks = []
    for name, yaml in TABLE.items():
        rows = records_of(shared / "tasks" / f"{name}.jsonl")[:ITEMS]
        tasks.append(lm_eval_task(yaml, rows, rows))
    found = evaluate(model, tasks, ITEMS)
    result = {}
    for name in TABLE:
        samples = sorted(found["samples"][name], key=lambda one: one["doc_id"])
        figures = {key.split(",")[0]: value for key, value in found["results"][name].items()
                   if key.startswith("acc")}
        result[name] = figures | {
            "log_likelihood": [[round(float(r[0][0]), DECIMALS) for r in one["resps"]]
                               for one in samples],
            "greedy": [i for i, one in enumerate(samples) for r in one["resps"] if r[0][1]],
        }
    return {"items": ITEMS, "tasks": result}


def pages_of(path: pathlib.Path) -> list:
    """From one ` = Title = ` line to the next, bytes unchanged; what stands before is left out."""
    text = path.read_text(encoding="utf-8")
    begins = [m.start() for m in re.finditer(r"(?m)^ = [^=\n].*[^=\n] = $", text)]
    return [text[b:e] for b, e in zip(begins, begins[1:] + [len(text)])]


def word_goldens(shared: pathlib.Path) -> dict:
    pages = pages_of(shared / "corpora/wikitext-2-raw/wiki.test.raw")
    task = lm_eval_task("wikitext/wikitext.yaml", [{"page": p} for p in pages[:PAGES]],
                        [{"page": "none"}])
    name = "stories260K"
    found = evaluate(language_model(shared / "models" / name), [task], PAGES)
    samples = sorted(found["samples"]["wikitext"], key=lambda one: one["doc_id"])
    figures = {key.split(",")[0]: value for key, value in found["results"]["wikitext"].items()
               if key.split(",")[0] in ("word_perplexity", "byte_perplexity", "bits_per_byte")}
    documents = [{"title": page.split("\n", 1)[0],
                  "bytes": one["byte_perplexity"][1],
                  "words": one["word_perplexity"][1],
                  "detokenised_bytes": len(one["target"].encode()),
                  "page_sha256": hashlib.sha256(page.encode()).hexdigest(),
                  "detokenised_sha256": hashlib.sha256(one["target"].encode()).hexdigest(),
                  "log_likelihood": round(float(one["word_perplexity"][0]), DECIMALS)}
                 for page, one in zip(pages, samples)]
    return {"model": name, "file": "corpora/wikitext-2-raw/wiki.test.raw", "pages": len(pages)} | \
        figures | {"documents": documents}


def language_model(directory: pathlib.Path):
    loaded = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager")
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    return HFLM(pretrained=loaded, tokenizer=tokenizer, batch_size=16, device="cpu")


def make_random_model(out: pathlib.Path) -> None:
    """Weights and config only; the tokenizer is that of stories260K."""
    torch.manual_seed(7)
    config = transformers.LlamaConfig(
        vocab_size=512, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=384,
        rms_norm_eps=1e-5, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)
    model = transformers.LlamaForCausalLM(config).float()
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape)
        weight.data = 1 + 0.2 * noise if "norm" in name else 0.3 * noise
    model.save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)


def with_tokenizer(model: pathlib.Path, shared: pathlib.Path, scratch: pathlib.Path):
    for source in (model, shared / "models" / "stories260K"):
        for path in source.glob("*"):
            target = scratch / path.name
            if not target.exists():
                target.write_bytes(path.read_bytes())
    return scratch


def write(path: pathlib.Path, content: dict) -> None:
    versions = {"lm_eval": metadata.version("lm-eval"), "torch": torch.__version__,
                "transformers": transformers.__version__}
    text = json.dumps({"versions": versions} | content, ensure_ascii=False,
                      separators=(",", ":")) + "\n"
    if len(text.encode()) > MAX_BYTES:
        sys.exit(f"{path}: {len(text.encode())} bytes, more than {MAX_BYTES}")
    path.write_text(text, encoding="utf-8")
    print(path, len(text.encode()), "bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--shared", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--only", choices=["words", "prompts", "stories260K", "random_llama"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.only in (None, "words"):
        write(args.out / "word_perplexity.json", word_goldens(args.shared))
    if args.only in (None, "prompts"):
        write(args.out / "task_prompts.json", prompts(args.shared))
    if args.only in (None, "stories260K"):
        write(args.out / "tasks_stories260K.json",
              task_goldens(args.shared / "models/stories260K", args.shared))
    if args.only in (None, "random_llama"):
        make_random_model(args.out / "random_llama")
        with tempfile.TemporaryDirectory() as scratch:
            directory = with_tokenizer(args.out / "random_llama", args.shared,
                                       pathlib.Path(scratch))
            write(args.out / "tasks_random_llama.json", task_goldens(directory, args.shared))


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    import hashlib
    from importlib import metadata

    import datasets
    import lm_eval
    import torch
    import transformers
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks._yaml_loader import load_yaml
    main()

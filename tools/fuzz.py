#!/usr/bin/env python3
"""Runs the fuzz targets of a build (cmake --preset fuzz) one after the other and prints a table.

    python3 tools/fuzz.py --build build/fuzz --runs 1000000 [--targets plan,regex] [--keep DIR]
    python3 tools/fuzz.py --build build/dev --seeds-only        every target over its seeds alone

Seeds are real files: of tests/, assets/, and of a shared folder beside the repository where there is
one. They and what is found are kept in a temporary folder, or in DIR, where a second run goes on.
An input that breaks a target is left in DIR/<target>/found, and the exit code is 1.
"""
import argparse
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PLAN = """{"format": "prunus-plan", "version": 1, "method": "l2", "config_sha256": "", "groups": [
 {"layer": 0, "axis": "ffn", "units": %d, "keep": [0, 1, 3], "scores": []},
 {"layer": 1, "axis": "kv_group", "units": %d, "keep": [1]}]}"""

RUNS = [
    '{"format": "prunus-run", "version": 1, "command": "prune", "options": {"method": "l2"},'
    ' "result": {"parameters": 10, "bytes": 40, "macs_64_tokens": 7}, "parameters_removed": 0.2}',
    '{"format": "prunus-run", "command": "recover", "options": {"mode": "lora"},'
    ' "data": {"sha256": "00ff"}, "training": {"valid_loss_before": 3.5, "valid_loss": 3.25}}',
    '{"model": "m", "parameters": 5, "results": [{"protocol": "prunus", "file": "a.txt",'
    ' "sha256": "00ff", "seqlen": 128, "tokens": 9, "ppl": 4.5, "dtype": "F32"}],'
    ' "tasks": {"boolq": {"items": 3, "few_shot": 0, "acc": 0.5, "file_sha256": "ab"},'
    ' "mean": {"boolq": 0.5}}, "kl": {"text": "a", "tokens": 3, "mean": {"value": 0.25}}}',
    '{"format": "prunus-bench", "device": "cpu", "threads": 2, "peak_memory_bytes": 9, "models": ['
    '{"model": "m", "resident_dtype": "F32", "parameters": 5, "cases": [{"batch": 1,'
    ' "prompt_tokens": 8, "new_tokens": 4, "prefill_tokens_per_second": {"median": 1.5},'
    ' "first_token_ms": {"median": 2.5}, "decode_tokens_per_second": {"median": 3}}]}]}',
    '{"format": "prunus-run", "version": 1, "command": "eval", "model": "m", "parameters": 5,'
    ' "results": [{"protocol": "chunked-8", "file": "a.txt", "text_sha256": "00ff", "ppl": 4.5}]}',
    '{"format": "prunus-run", "version": 1, "command": "inspect", "model": "m", "bytes": 20}',
]

# What \\s, \\w, brackets and groups of real tokenizers look like; a text follows the line break.
PATTERNS = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+" + "\nit's 1  a",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+" + "\nAB 1234\r\n é",
    r" ?[^(\s|[.,!?…。，、।۔،])]+" + "\na, b.",
    "^[\\u0021-\\x{7e}]$|(?<=a)b|(?<!a)c|(?>d+)|[[:alpha:]]\nab\ncd",
]


def header_seed(path):
    """The header of a safetensors file, with a size of data that fits two bytes or not."""
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    data = len(raw) - 8 - length
    return b"\x01" + struct.pack("<H", data) + raw[8:8 + length] if data < 65536 else None


def gguf_seed(blocks, alignment=None):
    """A GGUF file with metadata of every type and tensors of `blocks`: (type, values, bytes) each."""
    def text(value):
        return struct.pack("<Q", len(value)) + value

    def entry(key, kind, value):
        return text(key) + struct.pack("<I", kind) + value

    sizes = [1, 1, 2, 2, 4, 4, 4, 1, None, None, 8, 8, 8]
    metadata = [entry(b"s%d" % kind, kind, b"\1" * size) for kind, size in enumerate(sizes) if size]
    metadata += [entry(b"a%d" % kind, 9, struct.pack("<IQ", kind, 2) + b"\1" * 2 * size)
                 for kind, size in enumerate(sizes) if size]
    metadata += [entry(b"text", 8, text(b"llama")),
                 entry(b"texts", 9, struct.pack("<IQ", 8, 2) + text(b"a") + text(b""))]
    if alignment:
        metadata.append(entry(b"general.alignment", 4, struct.pack("<I", alignment)))
    else:
        metadata = metadata[-2:]
    infos, data = b"", b""
    for number, (kind, values, size) in enumerate(blocks):
        infos += text(b"t%d" % number)
        infos += struct.pack("<IQQIQ", 2, values, 1, kind, len(data))
        data += bytes(range(size)) + b"\0" * (-size % (alignment or 32))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(blocks), len(metadata)) + b"".join(metadata) + infos
    return head + b"\0" * (-len(head) % (alignment or 32)) + data


def gguf_tokenizer_seed(model, pre, tokens, types, scores=None, merges=None):
    """A GGUF file with a tokenizer alone."""
    def text(value):
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def texts(values):
        return struct.pack("<IQ", 8, len(values)) + b"".join(text(value) for value in values)

    front = "tokenizer.ggml."
    metadata = [text(front + "model") + struct.pack("<I", 8) + text(model),
                text(front + "pre") + struct.pack("<I", 8) + text(pre),
                text(front + "tokens") + struct.pack("<I", 9) + texts(tokens),
                text(front + "token_type") + struct.pack("<IIQ", 9, 5, len(types)) +
                struct.pack(f"<{len(types)}i", *types),
                text(front + "eos_token_id") + struct.pack("<II", 4, 0),
                text(front + "add_bos_token") + struct.pack("<IB", 7, 1),
                text("tokenizer.chat_template") + struct.pack("<I", 8) + text("{{ 1 }}")]
    if scores:
        metadata.append(text(front + "scores") + struct.pack("<IIQ", 9, 6, len(scores)) +
                        struct.pack(f"<{len(scores)}f", *scores))
    if merges:
        metadata.append(text(front + "merges") + struct.pack("<I", 9) + texts(merges))
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(metadata)) + b"".join(metadata)


def small_tokenizer(path, count=60):
    """A tokenizer.json with the first tokens of its vocabulary, and all else that it has."""
    document = json.loads(path.read_text(encoding="utf-8"))
    model = document["model"]
    added = {token["content"] for token in document.get("added_tokens", [])}
    vocab = model.get("vocab")
    if isinstance(vocab, dict):
        vocab = {token: id for token, id in vocab.items() if id < count or token in added}
        kept = [pair if isinstance(pair, list) else pair.split(" ")
                for pair in model.get("merges", [])]
        model["merges"] = [pair for pair in kept if len(pair) == 2 and pair[0] in vocab and
                           pair[1] in vocab and "".join(pair) in vocab][:count]
    elif isinstance(vocab, list):
        vocab = vocab[:count]
    model["vocab"] = vocab
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def files(folder, name):
    return sorted(p for p in folder.rglob(name) if p.is_file()) if folder.is_dir() else []


def real(shared, name):
    found = files(ROOT / "tests", name) + files(ROOT / "assets", name)
    return found + (files(shared, name) if shared else [])


def seeds_of(target, shared):
    """Yields the contents of seed files."""
    if target == "safetensors_header":
        for path in real(shared, "*.safetensors"):
            yield header_seed(path)
        yield b"\x00" + (8).to_bytes(8, "little") + b"{}      "
        yield b"\x00" + real(None, "adapter_model.safetensors")[0].read_bytes()[:4000]
    elif target == "safetensors_index":
        for path in real(shared, "*.index.json"):
            yield path.read_bytes()
        yield (b'{"metadata": {"total_size": 12}, "weight_map": {"a.weight": '
               b'"model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}')
    elif target == "gguf":
        yield gguf_seed([(0, 8, 32), (1, 8, 16), (30, 4, 8), (2, 32, 18), (3, 32, 20)], 8)
        yield gguf_seed([(6, 32, 22), (7, 32, 24), (8, 32, 34), (10, 256, 84)])
        yield gguf_seed([(11, 256, 110), (12, 256, 144)])
        yield gguf_seed([(13, 256, 176), (14, 256, 210), (24, 4, 4)])
    elif target == "gguf_tokenizer":
        for pre in ("gpt-2", "llama-bpe", "qwen2", "deepseek-llm"):
            yield gguf_tokenizer_seed("gpt2", pre, ["<e>", "a", "n", "an", "Ġ", "1", "[PAD6]"],
                                      [3, 1, 1, 1, 1, 4, 5], merges=["a n", "Ġ an"])
        spm = ["<unk>", "<s>", "</s>", "<0x0A>", "▁", "o", "n", "on", "▁on"]
        yield gguf_tokenizer_seed("llama", "default", spm, [2, 3, 3, 6, 1, 1, 1, 1, 1],
                                  scores=[0, 0, 0, 0, -4, -5, -6, -1, -2])
        yield gguf_tokenizer_seed("t5", "default", spm[:3] + spm[4:], [3, 3, 2, 1, 1, 1, 1, 1],
                                  scores=[0, 0, 0, -4, -5, -6, -1, -2])
    elif target == "regex":
        for pattern in PATTERNS:
            yield pattern.encode()
    elif target == "chat_template":
        for path in real(None, "*.jinja"):
            yield path.read_bytes()
        snippets = json.loads((ROOT / "tests/text/chat/snippets.json").read_text(encoding="utf-8"))
        for one in snippets["snippets"]:
            yield one["template"].encode()
    elif target == "plan":
        yield (PLAN % (48, 2)).encode()  # of tests/model/golden/llama_gqa
        for path in real(shared, "plan.json"):
            yield path.read_bytes()
    elif target == "run_json":
        for text in RUNS:
            yield text.encode()
    else:
        name = {"config": "config.json", "adapter_config": "adapter_config.json",
                "tokenizer_json": "tokenizer.json", "tokenizer_model": "tokenizer.model"}[target]
        for path in real(shared, name):
            yield path.read_bytes() if target != "tokenizer_json" else small_tokenizer(path)


MAX_LEN = {"safetensors_header": 1024, "safetensors_index": 512, "gguf": 1024, "regex": 256,
           "config": 1200, "run_json": 1024, "adapter_config": 1400, "plan": 1024,
           "tokenizer_json": 3072, "tokenizer_model": 1536, "gguf_tokenizer": 1024, "chat_template": 1024}


def write_seeds(target, shared, folder):
    folder.mkdir(parents=True, exist_ok=True)
    limit = MAX_LEN.get(target, 4096)
    count = 0
    for content in seeds_of(target, shared):
        if content is None or len(content) > limit:
            continue
        (folder / f"seed-{count:04d}").write_bytes(content)
        count += 1
    if count == 0:
        sys.exit(f"fuzz: no seeds for {target}")
    return count


def targets_of(build):
    return sorted(p.stem.removeprefix("fuzz_") for p in (build / "fuzz").glob("fuzz_*")
                  if p.is_file() and os.access(p, os.X_OK))


def environment(scratch):
    tmp = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else scratch
    # libtorch's own containers and allocations are not instrumented.
    return dict(os.environ, TMPDIR=str(tmp), OMP_NUM_THREADS="1",
                ASAN_OPTIONS="detect_leaks=0:detect_container_overflow=0:allocator_may_return_null=1",
                UBSAN_OPTIONS="print_stacktrace=1")


def fuzz(program, target, work, runs, seconds):
    """Runs libFuzzer; returns its figures, and whether it found nothing."""
    corpus, found = work / "corpus", work / "found"
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    command = [program, corpus, work / "seeds", f"-runs={runs}",
               f"-max_len={MAX_LEN.get(target, 4096)}", "-timeout=25", "-rss_limit_mb=4096",
               f"-artifact_prefix={found}/", "-print_final_stats=1", "-seed=1"]
    if seconds:
        command.append(f"-max_total_time={seconds}")
    start = time.time()
    with open(work / "log", "w", encoding="utf-8", errors="replace") as log:
        code = subprocess.run(["nice", *map(str, command)], stdout=log, stderr=log,
                              env=environment(work), check=False).returncode
    text = (work / "log").read_text(errors="replace")
    done = re.findall(r"number_of_executed_units:\s+(\d+)", text)
    status = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)/(\S+)", text)
    peak = re.findall(r"peak_rss_mb:\s+(\d+)", text)
    cov, features, size, _ = status[-1] if status else ("-", "-", "-", "-")
    print(f"| {target} | {done[-1] if done else '-'} | {time.time() - start:.0f} | {cov} | {features}"
          f" | {size} | {peak[-1] if peak else '-'} | {len(list(found.iterdir()))} |", flush=True)
    return code == 0


def replay(program, target, work):
    result = subprocess.run([program, work / "seeds"], env=environment(work), check=False,
                            capture_output=True, text=True, errors="replace")
    lines = (result.stderr or result.stdout).strip().splitlines()
    print(f"{target}: {lines[-1] if lines else ''}", flush=True)
    if result.returncode != 0:
        print("\n".join(lines[-20:]), file=sys.stderr)
    return result.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/fuzz")
    parser.add_argument("--runs", type=int, default=1_000_000, help="executions of each target")
    parser.add_argument("--seconds", type=int, default=0, help="at most so long for each; 0: no limit")
    parser.add_argument("--targets", default="", help="names, separated by commas; default: all")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--keep", type=Path, help="folder for seeds, corpus and found inputs")
    parser.add_argument("--seeds-only", action="store_true")
    options = parser.parse_args()
    names = options.targets.split(",") if options.targets else targets_of(options.build)
    if not names:
        sys.exit(f"fuzz: no targets in {options.build}; build the target 'fuzz' first")
    root = options.keep or Path(tempfile.mkdtemp(prefix="prunus-fuzz-"))
    if not options.seeds_only:
        print("| target | executions | s | edges | features | corpus | peak MB | found |\n" + "|---" * 8 + "|")
    good = True
    for name in names:
        work = root / name
        write_seeds(name, options.shared, work / "seeds")
        program = options.build / "fuzz" / f"fuzz_{name}"
        if options.seeds_only:
            good = replay(program, name, work) and good
        else:
            good = fuzz(program, name, work, options.runs, options.seconds) and good
    if good and options.keep is None:
        shutil.rmtree(root)
    else:
        print(f"fuzz: corpus and logs in {root}", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

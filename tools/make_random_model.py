#!/usr/bin/env python3
"""Writes a Hugging Face model directory with random weights of a published architecture.

Needs: nothing but Python 3.9 or newer (no pip package).

For measuring speed and memory on true sizes without a download: config.json (v4 spelling), shards
of at most 5 GB with their index, and a tokenizer that turns any text into byte tokens. The model
knows nothing; its loss is ln(vocab_size) plus about 0.0002 * hidden_size.

Matrices look like normal(0, 0.02) and norm gains are 1. Values come from one seeded table, laid
end to end through each tensor from an offset of its own. The table's length is a prime P, so row r
of a tensor with rows of R values starts at (offset + r * R) mod P: no two rows of a tensor are
equal, as every tensor has fewer than P rows and R < P.
"""
import argparse
import array
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import sys
import time

STD = 0.02
SHARD_BYTES = 5_000_000_000
HEADER_ALIGNMENT = 8
FIRST_BYTE_TOKEN = 3  # ids 3 .. 258 are the bytes <0x00> .. <0xFF>
SPACE_TOKEN = 259
SMALL_MODEL, SMALL_TABLE = 1_000_000, 131071  # a prime that saves two seconds for tiny

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": None, "attention_bias": False,
    "mlp_bias": False, "attention_dropout": 0.0, "tie_word_embeddings": False,
    "initializer_range": STD, "use_cache": True, "pretraining_tp": 1, "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA_31 = LLAMA | {
    "vocab_size": 128256, "max_position_embeddings": 131072, "rope_theta": 500000.0,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                     "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
    "bos_token_id": 128000, "eos_token_id": 128001,
}
SHAPES = {
    "tiny": LLAMA | {
        "vocab_size": 512, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512},
    "llama-110m": LLAMA | {
        "vocab_size": 32000, "hidden_size": 768, "intermediate_size": 2048,
        "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 12,
        "max_position_embeddings": 1024, "tie_word_embeddings": True},
    "tinyllama-1.1b": LLAMA | {
        "vocab_size": 32000, "hidden_size": 2048, "intermediate_size": 5632,
        "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4,
        "max_position_embeddings": 2048},
    "llama-2-7b": LLAMA | {
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
        "max_position_embeddings": 4096},
    "llama-3.1-8b": LLAMA_31 | {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8},
    "llama-3.1-70b": LLAMA_31 | {
        "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
        "num_attention_heads": 64, "num_key_value_heads": 8},
    "llama-3.1-405b": LLAMA_31 | {
        "hidden_size": 16384, "intermediate_size": 53248, "num_hidden_layers": 126,
        "num_attention_heads": 128, "num_key_value_heads": 8},
}
# name -> (safetensors name, config name, bytes per value, table length: the largest prime
#          for which the table stays below 4 MiB, the bytes of 1.0)
DTYPES = {
    "bf16": ("BF16", "bfloat16", 2, 2097143, b"\x80\x3f"),
    "f16": ("F16", "float16", 2, 2097143, b"\x00\x3c"),
    "f32": ("F32", "float32", 4, 1048573, b"\x00\x00\x80\x3f"),
}


def tensors(config: dict) -> list:
    """(name, shape) of every tensor, in the order they are written."""
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    head = hidden // config["num_attention_heads"]
    kv = config["num_key_value_heads"] * head
    result = [("model.embed_tokens.weight", (config["vocab_size"], hidden))]
    for layer in range(config["num_hidden_layers"]):
        for name, shape in (("input_layernorm", (hidden,)),
                            ("self_attn.q_proj", (hidden, hidden)),
                            ("self_attn.k_proj", (kv, hidden)),
                            ("self_attn.v_proj", (kv, hidden)),
                            ("self_attn.o_proj", (hidden, hidden)),
                            ("post_attention_layernorm", (hidden,)),
                            ("mlp.gate_proj", (ffn, hidden)),
                            ("mlp.up_proj", (ffn, hidden)),
                            ("mlp.down_proj", (hidden, ffn))):
            result.append((f"model.layers.{layer}.{name}.weight", shape))
    result.append(("model.norm.weight", (hidden,)))
    if not config["tie_word_embeddings"]:
        result.append(("lm_head.weight", (config["vocab_size"], hidden)))
    return result


def size(shape: tuple) -> int:
    product = 1
    for extent in shape:
        product *= extent
    return product


def shards(listing: list, width: int) -> list:
    """Cuts the listing into runs of at most SHARD_BYTES."""
    result, filled = [[]], 0
    for name, shape in listing:
        wanted = size(shape) * width
        if filled + wanted > SHARD_BYTES and result[-1]:
            result.append([])
            filled = 0
        result[-1].append((name, shape))
        filled += wanted
    return result


def header(listing: list, dtype: str) -> bytes:
    """The safetensors header: length, then JSON padded so that the data begins 8-aligned."""
    kind, _, width, _, _ = DTYPES[dtype]
    entries, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in listing:
        end = offset + size(shape) * width
        entries[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % HEADER_ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def random_table(dtype: str, length: int, generator: random.Random) -> bytes:
    gauss = generator.gauss
    values = [gauss(0.0, STD) for _ in range(length)]
    if dtype == "f16":
        return struct.pack(f"<{length}e", *values)
    floats = struct.pack(f"<{length}f", *values)
    if dtype == "f32":
        return floats
    words = struct.unpack(f"<{length}I", floats)
    # round to nearest, ties to even, as every other float32 to bfloat16 conversion does
    rounded = array.array("H", ((word + 0x7FFF + (word >> 16 & 1)) >> 16 for word in words))
    if sys.byteorder == "big":
        rounded.byteswap()
    return rounded.tobytes()


class Progress:
    """One line on stderr, from the second second on."""

    def __init__(self, total_bytes: int):
        self.total, self.done = total_bytes, 0
        self.start = self.shown = time.monotonic()
        self.visible = False

    def add(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.start > 2 and now - self.shown > 0.5:
            self.shown, self.visible = now, True
            rate = self.done / (now - self.start)
            print(f"\r{self.done / 1e9:6.2f} of {self.total / 1e9:.2f} GB, {rate / 1e6:5.0f} MB/s,"
                  f" {(self.total - self.done) / rate:4.0f} s left ", end="", file=sys.stderr,
                  flush=True)

    def finish(self) -> None:
        if self.visible:
            print(file=sys.stderr)


def write_tensor(file, shape: tuple, dtype: str, table: memoryview, offset: int,
                 progress: Progress) -> None:
    width, one = DTYPES[dtype][2], DTYPES[dtype][4]
    if len(shape) == 1:
        file.write(one * shape[0])
        progress.add(shape[0] * width)
        return
    left, start = size(shape) * width, offset * width
    while left:
        piece = table[start:start + left]
        file.write(piece)
        progress.add(len(piece))
        left -= len(piece)
        start = 0


def write_json(path: pathlib.Path, value, indent=2) -> None:
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


def write_weights(folder: pathlib.Path, config: dict, dtype: str, seed: int) -> None:
    _, _, width, length, _ = DTYPES[dtype]
    listing = tensors(config)
    parameters = sum(size(shape) for _, shape in listing)
    if parameters < SMALL_MODEL:
        length = SMALL_TABLE
    total = parameters * width
    generator = random.Random(seed)
    table = memoryview(random_table(dtype, length, generator))
    progress = Progress(total)
    runs = shards(listing, width)
    where = {}
    try:
        for number, run in enumerate(runs, 1):
            name = (f"model-{number:05}-of-{len(runs):05}.safetensors" if len(runs) > 1
                    else "model.safetensors")
            with open(folder / name, "wb") as file:
                file.write(header(run, dtype))
                for tensor, shape in run:
                    offset = generator.randrange(length)
                    write_tensor(file, shape, dtype, table, offset, progress)
                    where[tensor] = name
    finally:
        progress.finish()
    if len(runs) > 1:
        write_json(folder / "model.safetensors.index.json",
                   {"metadata": {"total_size": total}, "weight_map": where})


def write_tokenizer(folder: pathlib.Path, config: dict) -> None:
    """A Llama-2 style BPE without merges: every character but the space becomes UTF-8 bytes.

    <unk> is id 0, the bytes are ids 3 .. 258, the space (U+2581) is 259, <s> and </s> have the
    ids of config.json, every other id i is the filler <extra_i>.
    """
    bos, eos = config["bos_token_id"], config["eos_token_id"]
    tokens = [f"<extra_{number}>" for number in range(config["vocab_size"])]
    tokens[0], tokens[bos], tokens[eos] = "<unk>", "<s>", "</s>"
    for byte in range(256):
        tokens[FIRST_BYTE_TOKEN + byte] = f"<0x{byte:02X}>"
    tokens[SPACE_TOKEN] = "\u2581"  # as in Llama 2, whose decoder could not restore it from bytes
    texts = [{"Sequence": {"id": name, "type_id": number}} for number, name in enumerate("AB")]
    special = [{"SpecialToken": {"id": "<s>", "type_id": number}} for number in range(2)]
    write_json(folder / "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": number, "content": tokens[number], "single_word": False,
                          "lstrip": False, "rstrip": False, "normalized": False, "special": True}
                         for number in sorted((0, bos, eos))],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u2581"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing", "single": [special[0], texts[0]],
            "pair": [special[0], texts[0], special[1], texts[1]],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [bos], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>",
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": {token: number for number, token in enumerate(tokens)}, "merges": []},
    }, indent=None)
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "bos_token": "<s>",
        "eos_token": "</s>", "model_max_length": config["max_position_embeddings"],
        "clean_up_tokenization_spaces": False})


def write_model(target: pathlib.Path, config: dict, dtype: str, seed: int) -> None:
    """Writes beside the target under a temporary name, then renames: never a half directory."""
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        write_weights(partial, config, dtype, seed)
        write_tokenizer(partial, config)
        write_json(partial / "generation_config.json", {
            "bos_token_id": config["bos_token_id"], "eos_token_id": config["eos_token_id"]})
        write_json(partial / "config.json", config)
        os.rename(partial, target)  # replaces an empty directory
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def options_of(arguments: list) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Writes a Hugging Face model directory with random weights of a published\n"
                    "architecture, for measuring speed and memory. Same seed, same bytes.",
        epilog="examples:\n"
               "  make_random_model.py --shape tiny --out /tmp/tiny\n"
               "  make_random_model.py --shape llama-2-7b --dry-run        13.5 GB in bf16\n"
               "  make_random_model.py --shape llama-3.1-70b --layers 4 --out /tmp/part\n"
               "                                    true layer sizes, a twentieth of the layers")
    parser.add_argument("--shape", required=True, choices=SHAPES,
                        help="architecture; all are Llama, only llama-3.1-* have RoPE scaling, "
                             "only llama-110m and llama-2-7b have as many key-value heads as heads; "
                             "llama-110m shares the embedding with the head")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16", help="default: bf16")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR",
                        help="directory to make; must be absent or empty")
    parser.add_argument("--layers", type=int, metavar="N", help="another number of layers")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--dry-run", action="store_true", help="only print the sizes")
    options = parser.parse_args(arguments)
    if options.layers is not None and options.layers < 1:
        parser.error(f"--layers {options.layers}: at least 1")
    if options.out is None and not options.dry_run:
        parser.error("--out DIR is missing (or give --dry-run)")
    return options


def main() -> int:
    options = options_of(sys.argv[1:])
    config = dict(SHAPES[options.shape])
    if options.layers:
        config["num_hidden_layers"] = options.layers
    config["torch_dtype"] = DTYPES[options.dtype][1]
    width = DTYPES[options.dtype][2]
    listing = tensors(config)
    parameters = sum(size(shape) for _, shape in listing)
    summary = (f"{options.shape}: {parameters} parameters, {parameters * width} bytes of "
               f"{options.dtype} in {len(listing)} tensors, {len(shards(listing, width))} file(s)")
    if options.dry_run:
        print(summary)
        return 0

    # so that `kill` cleans up as Ctrl-C does
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    target = pathlib.Path(os.path.abspath(options.out))
    start = time.monotonic()
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            print(f"{options.out}: exists and is not an empty directory", file=sys.stderr)
            return 2
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < parameters * width * 1.01:
            print(f"{options.out}: needs {parameters * width} bytes, {free} are free",
                  file=sys.stderr)
            return 2
        write_model(target, config, options.dtype, options.seed)
    except OSError as error:
        print(f"{options.out}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was left behind", file=sys.stderr)
        return 130
    print(f"{summary}, {time.monotonic() - start:.1f} s: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Train the embedded default model "seedling" from nothing (PyTorch only).

Four things happen, all of them seeded:

1. make_stories.py generates training text (split train) and validation text (split valid).
2. A byte-pair tokenizer is learned from a part of the training text and written in the form that
   Llama 2 tokenizers have in the Hugging Face `tokenizers` format: U+2581 stands for a space and is
   also put in front of the text, and a character without a piece of its own becomes byte pieces.
3. A small Llama (grouped-query attention, SwiGLU, RoPE, tied embeddings) is trained on packed rows.
4. Weights (bfloat16 safetensors), configuration, tokenizer and a README with the measured
   validation perplexity are written to the output folder.

The result loads with any program that reads Llama models in the Hugging Face layout.
"""

import argparse
import json
import math
import os
import platform
import random
import re
import struct
import sys
import time
import warnings

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# Threads that wait must sleep: on a busy machine the default busy waiting costs most of the speed.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Nothing here needs numpy, so torch need not warn that it is missing.
warnings.filterwarnings("ignore", message="Failed to initialize NumPy")

import make_stories  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

UNK, BOS, EOS = 0, 1, 2
SPACE = "\u2581"

# --------------------------------------------------------------------------------------- tokenizer

# Pieces never reach across these borders while merges are learned, so merging segment by segment
# gives the same ids as merging the whole text at once, and every segment can be cached.
SEGMENT = re.compile(SPACE + r"?[A-Za-z0-9]+|" + SPACE + r"?[^A-Za-z0-9" + SPACE + r"]|" + SPACE)


def segments(text):
    return SEGMENT.findall(SPACE + text.replace(" ", SPACE))


class Tokenizer:
    """Byte-pair encoding with byte fallback; learned, applied and written here."""

    def __init__(self, texts, vocabulary_size):
        counts = {}
        for text in texts:
            for segment in segments(text):
                counts[segment] = counts.get(segment, 0) + 1
        # The newline is left to byte fallback, as in Llama 2, where it is <0x0A>.
        letters = {chr(code) for code in range(ord("a"), ord("z") + 1)}
        letters |= {letter.upper() for letter in letters}
        alphabet = (set("".join(counts)) | letters | {SPACE}) - {"\n"}
        words = [(list(segment), count) for segment, count in sorted(counts.items())]
        self.merges = []
        pieces = []
        while 3 + 256 + len(alphabet) + len(pieces) < vocabulary_size:
            pairs = {}
            for symbols, count in words:
                for pair in zip(symbols, symbols[1:]):
                    pairs[pair] = pairs.get(pair, 0) + count
            if not pairs:
                raise ValueError("the text has too few different words for this vocabulary size")
            # Equal counts are settled by the pair itself, so that the order is always the same.
            best = min(pairs, key=lambda pair: (-pairs[pair], pair))
            self.merges.append(best)
            if best[0] + best[1] not in pieces:
                pieces.append(best[0] + best[1])
            for symbols, _ in words:
                self._join(symbols, best)
        names = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % byte for byte in range(256)]
        names += pieces + sorted(alphabet)
        self._index(names)

    @classmethod
    def load(cls, path):
        """The tokenizer that an earlier run wrote."""
        with open(path, encoding="utf-8") as stream:
            model = json.load(stream)["model"]
        self = cls.__new__(cls)
        self.merges = [tuple(merge.split(" ")) for merge in model["merges"]]
        self._index(sorted(model["vocab"], key=model["vocab"].get))
        return self

    def _index(self, names):
        self.vocabulary = {name: index for index, name in enumerate(names)}
        self.pieces = names
        self._rank = {pair: rank for rank, pair in enumerate(self.merges)}
        self._cache = {}

    @staticmethod
    def _join(symbols, pair):
        position = 0
        while position + 1 < len(symbols):
            if symbols[position] == pair[0] and symbols[position + 1] == pair[1]:
                symbols[position : position + 2] = [pair[0] + pair[1]]
            position += 1

    def _encode_segment(self, segment):
        symbols = list(segment)
        while True:
            known = [pair for pair in zip(symbols, symbols[1:]) if pair in self._rank]
            if not known:
                break
            self._join(symbols, min(known, key=self._rank.get))
        ids = []
        for symbol in symbols:
            if symbol in self.vocabulary:
                ids.append(self.vocabulary[symbol])
            else:
                ids += [3 + byte for byte in symbol.encode("utf-8")]
        return ids

    def encode(self, text):
        """Ids of a text, without <s>."""
        ids = []
        for segment in segments(text):
            if segment not in self._cache:
                self._cache[segment] = self._encode_segment(segment)
            ids += self._cache[segment]
        return ids

    def decode(self, ids):
        data = b""
        for index in ids:
            if 3 <= index < 259:
                data += bytes([index - 3])
            elif index >= 259:
                data += self.pieces[index].replace(SPACE, " ").encode("utf-8")
        text = data.decode("utf-8", "replace")
        return text[1:] if text.startswith(" ") else text

    def to_json(self):
        """The tokenizer.json of a Llama 2 style tokenizer."""
        special = [
            {
                "id": index,
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index, name in enumerate(("<unk>", "<s>", "</s>"))
        ]

        def bos(kind):
            return {"SpecialToken": {"id": "<s>", "type_id": kind}}

        def text(name, kind):
            return {"Sequence": {"id": name, "type_id": kind}}

        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": special,
            "normalizer": {
                "type": "Sequence",
                "normalizers": [
                    {"type": "Prepend", "prepend": SPACE},
                    {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
                ],
            },
            "pre_tokenizer": None,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [bos(0), text("A", 0)],
                "pair": [bos(0), text("A", 0), bos(1), text("B", 1)],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}},
            },
            "decoder": {
                "type": "Sequence",
                "decoders": [
                    {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                    {"type": "ByteFallback"},
                    {"type": "Fuse"},
                    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
                ],
            },
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": "<unk>",
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": True,
                "byte_fallback": True,
                "ignore_merges": False,
                "vocab": self.vocabulary,
                "merges": [left + " " + right for left, right in self.merges],
            },
        }


# ------------------------------------------------------------------------------------------- model


def make_config(options):
    """The config.json, which is also what the model below is built from."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "head_dim": 16,
        "hidden_act": "silu",
        "hidden_size": 128,
        "initializer_range": 0.02,
        "intermediate_size": options.intermediate,
        "max_position_embeddings": 256,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 8,
        "num_hidden_layers": options.layers,
        "num_key_value_heads": 4,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": options.vocabulary,
    }


class Seedling:
    """A Llama as a dictionary of tensors under their Hugging Face names."""

    def __init__(self, config, seed):
        self.config = config
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        layers, width = config["num_hidden_layers"], config["head_dim"]
        queries = config["num_attention_heads"] * width
        keys = config["num_key_value_heads"] * width
        generator = torch.Generator().manual_seed(seed)

        def matrix(rows, columns, scale=1.0):
            return torch.randn(rows, columns, generator=generator) * (0.05 * scale)

        # What is added to the residual stream starts smaller, so that its size does not grow
        # with the number of layers.
        out = (2 * layers) ** -0.5
        tensors = {"model.embed_tokens.weight": matrix(config["vocab_size"], hidden)}
        for layer in range(layers):
            base = "model.layers.%d." % layer
            tensors[base + "input_layernorm.weight"] = torch.ones(hidden)
            tensors[base + "self_attn.q_proj.weight"] = matrix(queries, hidden)
            tensors[base + "self_attn.k_proj.weight"] = matrix(keys, hidden)
            tensors[base + "self_attn.v_proj.weight"] = matrix(keys, hidden)
            tensors[base + "self_attn.o_proj.weight"] = matrix(hidden, queries, out)
            tensors[base + "post_attention_layernorm.weight"] = torch.ones(hidden)
            tensors[base + "mlp.gate_proj.weight"] = matrix(inner, hidden)
            tensors[base + "mlp.up_proj.weight"] = matrix(inner, hidden)
            tensors[base + "mlp.down_proj.weight"] = matrix(hidden, inner, out)
        tensors["model.norm.weight"] = torch.ones(hidden)
        self.tensors = {name: tensor.requires_grad_() for name, tensor in tensors.items()}

        positions = torch.arange(config["max_position_embeddings"], dtype=torch.float32)
        steps = torch.arange(0, width, 2, dtype=torch.float32) / width
        angles = torch.outer(positions, config["rope_theta"] ** -steps)
        self.cos = torch.cat((angles.cos(), angles.cos()), dim=1)
        # The minus sign of the rotation is put into the table: half-split convention.
        self.sin = torch.cat((-angles.sin(), angles.sin()), dim=1)

    def parameters(self):
        return sum(tensor.numel() for tensor in self.tensors.values())

    def _rotate(self, x):
        length, half = x.shape[2], x.shape[3] // 2
        swapped = torch.cat((x[..., half:], x[..., :half]), dim=-1)
        return x * self.cos[:length] + swapped * self.sin[:length]

    def logits(self, ids):
        config, tensors = self.config, self.tensors
        batch, length = ids.shape
        width, hidden = config["head_dim"], config["hidden_size"]
        heads, groups = config["num_attention_heads"], config["num_key_value_heads"]

        def norm(x, name):
            return F.rms_norm(x, (hidden,), tensors[name], config["rms_norm_eps"])

        x = F.embedding(ids, tensors["model.embed_tokens.weight"])
        for layer in range(config["num_hidden_layers"]):
            base = "model.layers.%d." % layer
            y = norm(x, base + "input_layernorm.weight")

            def project(name, count):
                flat = F.linear(y, tensors[base + "self_attn." + name + ".weight"])
                return flat.view(batch, length, count, width).transpose(1, 2)

            q = self._rotate(project("q_proj", heads))
            k = self._rotate(project("k_proj", groups)).repeat_interleave(heads // groups, dim=1)
            v = project("v_proj", groups).repeat_interleave(heads // groups, dim=1)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            y = y.transpose(1, 2).reshape(batch, length, heads * width)
            x = x + F.linear(y, tensors[base + "self_attn.o_proj.weight"])
            y = norm(x, base + "post_attention_layernorm.weight")
            gate = F.silu(F.linear(y, tensors[base + "mlp.gate_proj.weight"]))
            y = gate * F.linear(y, tensors[base + "mlp.up_proj.weight"])
            x = x + F.linear(y, tensors[base + "mlp.down_proj.weight"])
        return F.linear(norm(x, "model.norm.weight"), tensors["model.embed_tokens.weight"])

    def load(self, path):
        """Take over the weights that an earlier run wrote."""
        with open(path, "rb") as stream:
            header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
            data = bytearray(stream.read())
        for name, tensor in self.tensors.items():
            begin, end = header[name]["data_offsets"]
            flat = torch.frombuffer(
                data, dtype=torch.bfloat16, count=(end - begin) // 2, offset=begin
            )
            tensor.data = flat.view(header[name]["shape"]).float()

    def round_to_bfloat16(self):
        """From here on the model in memory is exactly the model that is written."""
        for tensor in self.tensors.values():
            tensor.data = tensor.data.bfloat16().float()


def write_safetensors(path, tensors):
    """Write tensors as bfloat16; the header is padded so that the data begin at a multiple of 8."""
    header, blobs, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name in sorted(tensors):
        data = tensors[name].detach().bfloat16().contiguous()
        blob = bytes(data.view(-1).view(torch.uint8).tolist())
        header[name] = {
            "dtype": "BF16",
            "shape": list(data.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    write(path, struct.pack("<Q", len(text)) + text + b"".join(blobs))


def write(path, data):
    """Write bytes under a temporary name first: a reader never sees half a file."""
    temporary = path + ".tmp"
    with open(temporary, "wb") as stream:
        stream.write(data)
    os.replace(temporary, path)


def write_json(path, value):
    write(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))


# ---------------------------------------------------------------------------------- data and loss


class Rows:
    """Training rows of a fixed length cut from all stories in a shuffled order.

    Every row begins with <s>, as every input of the finished model does.  Three of four rows go
    on with the beginning of a story and one with the middle of a story, because a calibration or
    test window may begin anywhere; what is left of the row holds the stories that follow.
    """

    def __init__(self, texts, tokenizer, length, seed):
        stream, self.starts = [], []
        for text in texts:
            self.starts.append(len(stream))
            stream += [BOS] + tokenizer.encode(text) + [EOS]
        self.longest = max(b - a for a, b in zip(self.starts, self.starts[1:] + [len(stream)]))
        # The first stories again, so that a row can begin in the last one.
        stream += (stream * (length // len(stream) + 1))[:length]
        self.stream = torch.tensor(stream, dtype=torch.int16)
        self.length = length
        self.rng = random.Random("prunus rows, seed {}".format(seed))
        self.order = []

    def next(self):
        if not self.order:
            self.order = list(range(len(self.starts)))
            self.rng.shuffle(self.order)
        story = self.order.pop()
        start = self.starts[story]
        if self.rng.random() < 0.75:
            return self.stream[start : start + self.length].long()
        end = self.starts[story + 1] if story + 1 < len(self.starts) else len(self.stream)
        end = min(end, start + self.longest)
        start += 1 + int(self.rng.random() * (min(end, len(self.stream) - self.length) - start - 1))
        row = self.stream[start : start + self.length - 1].long()
        return torch.cat((torch.tensor([BOS]), row))

    def batch(self, rows):
        return torch.stack([self.next() for _ in range(rows)])


def documents(texts, tokenizer, longest):
    return [([BOS] + tokenizer.encode(text))[:longest] for text in texts]


@torch.no_grad()
def perplexity(model, ids_of_documents):
    """Each document on its own, <s> first and not predicted; exp of the mean over all tokens."""
    total, count = 0.0, 0
    for ids in ids_of_documents:
        row = torch.tensor([ids])
        loss = F.cross_entropy(model.logits(row[:, :-1])[0], row[0, 1:], reduction="sum")
        total += loss.item()
        count += len(ids) - 1
    return math.exp(total / count)


def bigram_perplexity(rows, ids_of_documents, size):
    """The yardstick: how well the pair frequencies of the training text predict."""
    stream = rows.stream.long()
    pairs = torch.bincount(stream[:-1] * size + stream[1:], minlength=size * size)
    pairs = pairs.double().view(size, size)
    singles = torch.bincount(stream, minlength=size).double() + 0.1
    singles /= singles.sum()
    table = (pairs + 2.0 * singles) / (pairs.sum(dim=1, keepdim=True) + 2.0)
    total, count = 0.0, 0
    for ids in ids_of_documents:
        row = torch.tensor(ids)
        total -= table[row[:-1], row[1:]].log().sum().item()
        count += len(ids) - 1
    return math.exp(total / count)


@torch.no_grad()
def tell(model, tokenizer, prompt, generator, temperature=0.7):
    """Continue a prompt until </s> or until the positions end."""
    ids = [BOS] + (tokenizer.encode(prompt) if prompt else [])
    while len(ids) < model.config["max_position_embeddings"]:
        logits = model.logits(torch.tensor([ids]))[0, -1]
        chances = torch.softmax(logits / temperature, dim=0)
        ids.append(int(torch.multinomial(chances, 1, generator=generator)))
        if ids[-1] == EOS:
            break
    return tokenizer.decode(ids)


# ---------------------------------------------------------------------------------------- training


def train(model, rows, options):
    """AdamW with warm-up and cosine decay.

    The rate falls with the steps.  Under a time limit it falls with the clock where the clock is
    ahead, so that a run on a busy machine still ends with a decayed rate, only after fewer steps.
    Returns the steps and tokens done, the seconds taken and whether the clock was ever ahead.
    """
    matrices = [tensor for tensor in model.tensors.values() if tensor.dim() == 2]
    vectors = [tensor for tensor in model.tensors.values() if tensor.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=options.lr,
        betas=(0.9, 0.95),
        fused=True,
    )
    everything = matrices + vectors
    begin, tokens, shown, clocked = time.monotonic(), 0, [], False
    step, last = 0, False
    while not last:
        step += 1
        done = (step - options.warmup) / max(1, options.steps - options.warmup)
        if options.minutes:
            clock = (time.monotonic() - begin) / 60 / options.minutes
            if clock > done and step > options.warmup:
                done, clocked = min(clock, 1.0), True
        last = done >= 1
        rate = step / options.warmup if done < 0 else 0.02 + 0.49 * (1 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = options.lr * rate
        row = rows.batch(options.batch)
        logits = model.logits(row[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), row[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(everything, 1.0)
        optimizer.step()
        tokens += row[:, 1:].numel()
        shown.append(loss.item())
        if step % options.report == 0 or last:
            seconds = time.monotonic() - begin
            left = seconds / step * (options.steps - step)
            if options.minutes:
                left = min(left, max(0.0, 60 * options.minutes - seconds))
            print(
                "step %d/%d  loss %.4f  lr %.2e  %.0f tokens/s  ETA %d:%02d"
                % (
                    step,
                    options.steps,
                    sum(shown) / len(shown),
                    options.lr * rate,
                    tokens / seconds,
                    left // 60,
                    left % 60,
                ),
                flush=True,
            )
            shown = []
    return step, tokens, time.monotonic() - begin, clocked


CLOCK_NOTE = """

This run had a time limit and shared its machine with other programs.  The learning rate followed
the clock, so a faster machine makes more steps in the same time and a better model."""

README = """# seedling

The language model that is built into Prunus: small enough to be embedded, good enough to show what
pruning does.  It writes short children's stories in simple English and knows nothing else.

| | |
|---|---|
| Parameters | {parameters:,} (embeddings tied, counted once) |
| Shape | Llama, {layers} layers, hidden size 128, SwiGLU with {intermediate} channels, RMSNorm |
| Attention | 8 query heads, 4 key/value heads, head size 16, RoPE (theta 10000, half-split) |
| Context | 256 positions |
| Tokenizer | byte-pair encoding with byte fallback, {vocabulary} pieces, Llama 2 style |
| Weights | bfloat16 safetensors |
| Training text | {stories:,} generated stories, {stream:,} tokens |
| Training | {tokens:,} tokens in {steps:,} steps of {batch} rows of {length} tokens, seed {seed} |
| Optimizer | AdamW, peak rate {lr}, {warmup} warm-up steps, cosine decay{clocked} |
| Time | {minutes:.0f} minutes on {threads} CPU threads, PyTorch {torch} |
| Validation perplexity | {perplexity:.3f} on {valid} unseen stories ({valid_tokens:,} tokens) |
| Bigram model | {bigram:.3f} on the same stories with the same tokenizer |

The perplexity is measured story by story on what `tools/make_stories.py --split valid
--stories {valid}` writes, with `<s>` in front of each story, over all tokens after `<s>`, with the
weights as they are stored here.  Perplexities depend on the tokenizer and on the text, so this
figure cannot be compared with those of other models.

## Making it again

    python3 tools/train_seedling.py {command}

The tokenizer, the data and the order of the rows come out the same everywhere; the last digits of
the weights depend on the machine and on the version of PyTorch.{clock_note}

Every training row begins with `<s>`.  Three of four rows go on with the beginning of a story, one
with the middle of a story, and then the next stories follow, each ended by `</s>`.  Paragraphs are
separated by one line break, which is the byte piece `<0x0A>`.

## Sample

Continued from "{prompt}" at temperature 0.7:

{sample}

## Origin and licence

All text, for training and for validation, was generated by the project itself with
`tools/make_stories.py`; no text of others was used.  The model and its tokenizer are part of Prunus
and under the same licence, Apache-2.0.
"""


def parse(arguments):
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train the embedded model 'seedling' from nothing and write it as a Hugging\n"
        "Face folder.  Needs only PyTorch; runs on the CPU.",
        epilog="examples:\n"
        "  %(prog)s\n"
        "      train with the settings of the shipped model into assets/seedling\n"
        "  %(prog)s --steps 50 --stories 500 --out try\n"
        "      see in a minute whether everything works",
    )
    add = parser.add_argument
    add(
        "--out",
        default=os.path.join(root, "assets", "seedling"),
        metavar="DIR",
        help="folder to write (default: assets/seedling of this checkout)",
    )
    add(
        "--init",
        metavar="DIR",
        help="go on from the tokenizer and the weights of an earlier run (take another --seed)",
    )
    add("--seed", type=int, default=1, help="seed of data, order and weights (default 1)")
    add("--steps", type=int, default=4400, help="optimizer steps (default 4400)")
    add(
        "--minutes",
        type=float,
        default=0.0,
        help="time limit; the learning rate then falls in time, if need be (default 0: none)",
    )
    add("--batch", type=int, default=4, help="rows per step (default 4)")
    add("--stories", type=int, default=30000, help="training stories (default 30000)")
    add("--valid", type=int, default=200, help="validation stories (default 200)")
    add("--lr", type=float, default=3e-3, help="peak learning rate (default 3e-3)")
    add("--warmup", type=int, default=200, help="warm-up steps (default 200)")
    add("--layers", type=int, default=5, help="decoder layers (default 5)")
    add("--intermediate", type=int, default=384, help="SwiGLU channels (default 384)")
    add("--vocabulary", type=int, default=1024, help="pieces of the tokenizer (default 1024)")
    add("--threads", type=int, default=2, help="CPU threads (default 2)")
    add("--report", type=int, default=100, help="steps between two progress lines (default 100)")
    return parser.parse_args(arguments)


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    config = make_config(options)
    length = config["max_position_embeddings"]

    told = make_stories.make("train", options.stories, options.seed)
    # The seed of the validation text stays, so that figures of different runs can be compared.
    held_out = make_stories.make("valid", options.valid)
    if options.init:
        tokenizer = Tokenizer.load(os.path.join(options.init, "tokenizer.json"))
    else:
        tokenizer = Tokenizer(told[:4000], options.vocabulary)
    rows = Rows(told, tokenizer, length, options.seed)
    valid = documents(held_out, tokenizer, length)
    bigram = bigram_perplexity(rows, valid, options.vocabulary)
    model = Seedling(config, options.seed)
    if options.init:
        model.load(os.path.join(options.init, "model.safetensors"))
    print(
        "%d parameters, %d stories, %d tokens, longest story %d, bigram perplexity %.3f"
        % (model.parameters(), len(told), len(rows.stream), rows.longest, bigram),
        flush=True,
    )

    steps, tokens, seconds, clocked = train(model, rows, options)
    model.round_to_bfloat16()
    measured = perplexity(model, valid)
    print("validation perplexity %.3f after %.1f minutes" % (measured, seconds / 60), flush=True)
    prompt = "Once upon a time there was a small fox named"
    generator = torch.Generator().manual_seed(options.seed)
    sample = tell(model, tokenizer, prompt, generator)
    print(sample)

    os.makedirs(options.out, exist_ok=True)

    def place(name):
        return os.path.join(options.out, name)

    write_safetensors(place("model.safetensors"), model.tensors)
    write_json(place("config.json"), config)
    write_json(
        place("generation_config.json"),
        {"_from_model_config": True, "bos_token_id": BOS, "eos_token_id": EOS},
    )
    write_json(place("tokenizer.json"), tokenizer.to_json())
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    write_json(place("special_tokens_map.json"), names)
    added = {
        str(index): {
            "content": name,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for index, name in enumerate(("<unk>", "<s>", "</s>"))
    }
    write_json(
        place("tokenizer_config.json"),
        {
            "add_bos_token": True,
            "add_eos_token": False,
            "added_tokens_decoder": added,
            "bos_token": "<s>",
            "clean_up_tokenization_spaces": False,
            "eos_token": "</s>",
            "legacy": True,
            "model_max_length": length,
            "pad_token": None,
            "sp_model_kwargs": {},
            "tokenizer_class": "LlamaTokenizer",
            "unk_token": "<unk>",
        },
    )
    # The output folder is no part of the recipe.
    usual = vars(parse([]))
    command = " ".join(
        "--%s %s" % (name, value)
        for name, value in sorted(vars(options).items())
        if name not in ("out", "init") and (name == "seed" or value != usual[name])
    )
    if options.init:
        command += " --init FOLDER_OF_THE_EARLIER_RUN"
    write(
        place("README.md"),
        README.format(
            parameters=model.parameters(),
            layers=options.layers,
            intermediate=options.intermediate,
            vocabulary=options.vocabulary,
            stories=len(told),
            stream=len(rows.stream),
            tokens=tokens,
            steps=steps,
            batch=options.batch,
            length=length,
            seed=options.seed,
            lr=options.lr,
            warmup=options.warmup,
            minutes=seconds / 60,
            threads=options.threads,
            torch=torch.__version__ + " " + platform.machine(),
            perplexity=measured,
            valid=options.valid,
            valid_tokens=sum(len(ids) - 1 for ids in valid),
            bigram=bigram,
            command=command,
            prompt=prompt,
            clock_note=CLOCK_NOTE if clocked else "",
            clocked=" over %g minutes" % options.minutes if clocked else "",
            sample="\n>\n".join("> " + line for line in sample.split("\n")),
        ).encode("utf-8"),
    )


if __name__ == "__main__":
    main()

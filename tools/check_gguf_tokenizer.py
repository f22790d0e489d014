#!/usr/bin/env python3
"""Checks tokenizers between GGUF and Hugging Face against transformers and a real llama.cpp: token
ids of many texts, and how many texts differ.

For FILE.gguf these are compared, Prunus's reading of the file being the first:
  prunus-dir     Prunus on the Hugging Face directory that it makes of the file
  transformers-dir   AutoTokenizer on that directory
  transformers-gguf  AutoTokenizer on the file itself (--no-transformers-gguf leaves it out)
  llama.cpp      llama_oracle on the file
For a Hugging Face directory: Prunus on the directory; Prunus and llama.cpp on the GGUF file made of it.
Where a comparison differs the shortest texts are shown.

Needs: pip install transformers gguf; cmake --build --preset dev --target tokenizer_probe;
tools/llama_cpp/install.sh

    tools/check_gguf_tokenizer.py MODEL… [--corpus FILE]… [--bytes 2000000] [--lines N]

Exit code 1 where something differs that is not among --allow NAME (a comparison's name).
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

ROOT = pathlib.Path(__file__).resolve().parent.parent

ODD = ["", " ", "  ", "\t", "\n", "\n\n", " \n", "\n ", "a  b", "a   b", "  a", "a  ", "a\tb", "\t\ta", "a \n b",
       "\r\n", "a\r\nb", "1", "12", "123", "1234", "12345", "1 2", " 1", "  12", "3.14159", "1,000,000",
       "it's I'LL we'Ve don’t", "e\u0301", "é", "ﬁ", "Å", "①②③", "１２３", "٣٤٥", "½", "²", "Ⅷ", "日本語", "日本語の文章です。",
       "中文 分词 测试", "한국어 문장", "ไทย", "हिन्दी में", "עברית", "العربية", "Ελληνικά", "Русский текст", "🙂", "👩‍👩‍👧‍👦", "🇫🇷🇩🇪",
       "❤️", "\u200b", "\u00a0", "\u3000", "\u2028", "\ufeff", "a\u00a0b", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "\U0010ffff", "\u0378", "<s>", "</s>",
       "<unk>", "<|endoftext|>", "<|im_start|>user\nHi<|im_end|>\n", "<bos>x", "<start_of_turn>user\n", "▁", "▁▁a",
       "<0x0A>", "[PAD5]", "------", "==========", "......", "!!!???", "(){}[];", "foo_bar", "fooBar", "HTTPServer",
       "#include <x>\n\tint main() {\n        return 0;\n}\n", "def f(x):\n    return x**2  # ²\n", "\x00"[:0] + "\x01\x7f"]


def generated(seed, count):
    """Texts put together of odd pieces."""
    draw = random.Random(seed)
    pool = ODD + ["the", " of", "Plum", "tree", " ", "  ", "\n", "    ", "7", "42", "'s", "'re", "-", ".", "、", "。"]
    for _ in range(count):
        yield "".join(draw.choice(pool) for _ in range(draw.randint(2, 12)))
    alphabet = ([chr(c) for c in range(1, 0x250)] + [chr(c) for c in range(0x370, 0x700)] +
                [chr(c) for c in range(0x3040, 0x3100)] + [chr(c) for c in range(0x4e00, 0x4f00)] +
                [chr(c) for c in range(0x1f600, 0x1f640)])
    for _ in range(count):
        yield "".join(draw.choice(alphabet) for _ in range(draw.randint(1, 20)))


def texts_of(options):
    texts = list(ODD) + list(generated(1, 3000))
    size = sum(len(text.encode()) for text in texts)
    pools = []
    for path in options.corpus:
        text = pathlib.Path(path).read_text(encoding="utf-8", errors="ignore")
        pools.append(iter(text.split("\n")))
    while pools and size < options.bytes:
        for pool in list(pools):
            # A few lines at a time, so that newlines are in texts, too.
            part = [line for _, line in zip(range(3), pool)]
            if not part:
                pools.remove(pool)
                continue
            text = "\n".join(part)
            texts.append(text)
            size += len(text.encode())
    texts = [text for text in texts if text and "\0" not in text]
    if options.nfc:
        texts = [unicodedata.normalize("NFC", text) for text in texts]
    return texts[:options.lines] if options.lines else texts


def ids_of_lines(command):
    run = subprocess.run(command, capture_output=True, check=False)
    if run.returncode != 0:
        raise RuntimeError(f"{command[0].name}: {run.stderr.decode(errors='replace').strip()[-400:]}")
    return [[int(word) for word in line.split()] for line in run.stdout.decode().split("\n")[:-1]]


def by_transformers(texts, *arguments, **named):
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(*arguments, **named)
    plain = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    return plain, [tokenizer.encode(text) for text in texts[:200]]


class Check:
    def __init__(self, options, texts, folder):
        self.options = options
        self.texts = texts
        self.file = folder / "texts"
        self.file.write_bytes(b"".join(text.encode() + b"\0" for text in texts))
        self.folder = folder
        self.good = True

    def prunus(self, model):
        command = [self.options.program, "ids", model, self.file]
        return ids_of_lines(command), ids_of_lines(command + ["--around"])[:200]

    def llama_cpp(self, model):
        command = [self.options.oracle, "tokens", model, self.file, "--nul"]
        return ids_of_lines(command), ids_of_lines(command + ["--special"])[:200]

    def compare(self, name, expected, make):
        try:
            got = make()
        except Exception as error:  # what a library does not read
            print(f"  {name:18} not compared: {type(error).__name__}: {str(error)[:300]}")
            self.good &= name in self.options.allow
            return
        pairs = list(zip(self.texts, expected[0], got[0], strict=True))
        bad = sorted(((t, a, b) for t, a, b in pairs if a != b), key=lambda x: len(x[0]))
        around = sum(a != b for a, b, t in zip(expected[1], got[1], pairs) if t[1] == t[2])
        print(f"  {name:18} {len(bad)} of {len(pairs)} texts differ; "
              f"with BOS and EOS {around} more of {len(got[1])}")
        for text, ours, theirs in bad[:self.options.show]:
            print(f"    {text!r}: ours {ours[:24]}, theirs {theirs[:24]}")
        self.good &= (not bad and not around) or name in self.options.allow

    def gguf(self, path):
        ours = self.prunus(path)
        made = self.folder / path.stem
        made.mkdir()
        subprocess.run([self.options.program, "files", path, made], check=True)
        self.compare("prunus-dir", ours, lambda: self.prunus(made))
        (made / "config.json").write_text(json.dumps({"model_type": self.options.model_type}))
        self.compare("transformers-dir", ours, lambda: by_transformers(self.texts, str(made)))
        if self.options.transformers_gguf:
            self.compare("transformers-gguf", ours, lambda: by_transformers(
                self.texts, str(path.parent), gguf_file=path.name))
        self.compare("llama.cpp", ours, lambda: self.llama_cpp(path))

    def directory(self, path):
        ours = self.prunus(path)
        made = self.folder / (path.name + ".gguf")
        command = [self.options.program, "gguf", path, made]
        run = subprocess.run(command, capture_output=True, check=False)
        if run.returncode != 0:
            print(f"  not written: {run.stderr.decode().strip()}")
            self.good &= "written" in self.options.allow
            return
        self.compare("prunus-gguf", ours, lambda: self.prunus(made))
        self.compare("llama.cpp", ours, lambda: self.llama_cpp(made))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--corpus", action="append", default=[])
    parser.add_argument("--bytes", type=int, default=2_000_000)
    parser.add_argument("--lines", type=int, default=0)
    parser.add_argument("--show", type=int, default=3)
    parser.add_argument("--nfc", action="store_true",
                        help="texts after NFC, which llama.cpp leaves out")
    parser.add_argument("--allow", action="append", default=[])
    parser.add_argument("--model-type", default="llama")
    parser.add_argument("--no-transformers-gguf", dest="transformers_gguf", action="store_false")
    parser.add_argument("--program", type=pathlib.Path,
                        default=ROOT / "build/dev/tests/tokenizer_probe")
    parser.add_argument("--oracle", type=pathlib.Path, default=ROOT / "build/llama/llama_oracle")
    options = parser.parse_args()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    texts = texts_of(options)
    size = sum(len(text.encode()) for text in texts)
    good = True
    for model in options.models:
        print(f"{model}: {len(texts)} texts, {size} bytes")
        with tempfile.TemporaryDirectory() as folder:
            check = Check(options, texts, pathlib.Path(folder))
            (check.directory if model.is_dir() else check.gguf)(model)
            good &= check.good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Makes tests/text/stock/cases.json: what AutoTokenizer of stock transformers gives for directories
whose tokens, flags and class stand in the files beside the tokenizer.

Needs: pip install transformers==5.24.0 sentencepiece==0.2.3 protobuf tiktoken (without mistral-common)

    tools/make_stock_tokenizer_goldens.py

A case is a base (a tokenizer of tests/text/golden or the small sentencepiece model that is trained
here, sentencepiece.model beside it), the model_type of its config.json, files written beside it and keys
of tokenizer.json replaced. Expected are the ids of every text, special tokens around it included.
The C++ test builds the same directories.
"""
import json
import os
import pathlib
import shutil
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"
import sentencepiece
import transformers
from transformers import AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "text" / "golden"
MODEL = ROOT / "tests" / "text" / "stock" / "sentencepiece.model"

TEXTS = ["Once upon a time<|im_end|> there was a cat.", "  two spaces in front", "</s> after a special token", "",
         "a <|im_end|> b <|x|>  c", "there", "athere there's. cat cats  cat ", "<s>a</s> b <unk>", "\n\nx\n",
         "<pad><|x|> <mask> ", "▁a ▁", "é 今天 😀", "x<|endoftext|> y<|padding|>", "<|im_start|>user\nhi 123<|im_end|>",
         "▁<PRE> a ▁<EOT>▁<MID> <bos><eos>"]
JSON_FILES = ("tokenizer.json", "vocab.json", "merges.txt")
CONFIG, MAP, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"


def token(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False,
            "special": True} | flags


def typed(content, **flags):
    return {"__type": "AddedToken"} | token(content, **flags)


def template(front, behind):
    part = lambda name: {"SpecialToken": {"id": name, "type_id": 0}}
    text = [{"Sequence": {"id": "A", "type_id": 0}}]
    names = {"<s>": 1, "</s>": 2}
    return {"type": "TemplateProcessing", "single": [part(n) for n in front] + text + [part(n) for n in behind],
            "pair": text + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {n: {"id": n, "ids": [names[n]], "tokens": [n]} for n in front + behind}}


def pair_processing(kind):
    more = {"trim_offsets": True, "add_prefix_space": False} if kind == "RobertaProcessing" else {}
    return {"type": kind, "sep": ["</s>", 2], "cls": ["<s>", 1]} | more


CASES = {}


def case(name, base, config=None, model_type="llama", replaced=None, **files):
    """`files`: contents by name with _ for the dot; `config`: tokenizer_config.json."""
    written = {} if config is None else {CONFIG: config}
    written |= {key.replace("_json", ".json"): value for key, value in files.items()}
    CASES[name] = {"base": base, "model_type": model_type, "files": written, "tokenizer_json": replaced or {}}


def for_each_class(name):
    size = json.loads((GOLDEN / "llama" / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    first = len(size)
    config = {"tokenizer_class": name}
    add = lambda case_name, more=None, **rest: case(f"{name}: {case_name}", "llama", config | (more or {}), **rest)
    flags = {first: token("<|im_end|>", lstrip=True), first + 1: token("there", special=False, normalized=True, single_word=True),
             first + 2: token("cat", special=False, rstrip=True), first + 3: token("<|x|>", rstrip=True, lstrip=True)}
    add("added_tokens_decoder with flags", {"added_tokens_decoder": {str(k): v for k, v in flags.items()}})
    add("new eos and pad", {"eos_token": "<|im_end|>", "pad_token": "<pad>"})
    add("additional_special_tokens", {"additional_special_tokens": ["<|im_end|>", "<|x|>"]})
    add("extra_special_tokens", {"extra_special_tokens": ["<|im_end|>", typed("<|x|>", lstrip=True)]})
    add("extra_special_tokens by name", {"extra_special_tokens": {"image_token": "<|im_end|>"}, "boi_token": "<|x|>"})
    add("tokens as objects", {"eos_token": typed("<|im_end|>", rstrip=True), "pad_token": typed("<|x|>", lstrip=True)})
    add("special_tokens_map", special_tokens_map_json={"eos_token": token("<|im_end|>"), "pad_token": "<|x|>",
                                                       "additional_special_tokens": ["<pad>"]})
    add("special_tokens_map before the config", {"eos_token": "</s>"}, special_tokens_map_json={"eos_token": "<|im_end|>"})
    add("special_tokens_map behind added_tokens_decoder", {"added_tokens_decoder": {"2": token("</s>")}},
        special_tokens_map_json={"eos_token": "<|im_end|>"})
    add("added_tokens.json", {"eos_token": "<|im_end|>"},
        added_tokens_json={"<|im_end|>": first, "there": first + 1, "<|x|>": first + 2})
    add("new flags of known tokens", {"added_tokens_decoder": {
        "0": token("<unk>"), "1": token("<s>", normalized=True, rstrip=True), "2": token("</s>", lstrip=True, special=False)}})
    add("null names", {"bos_token": None, "eos_token": None, "unk_token": None})
    add("add_bos_token false", {"add_bos_token": False})
    add("add_eos_token true", {"add_eos_token": True})
    add("add_bos_token true without a template", {"add_bos_token": True}, replaced={"post_processor": None})
    add("no template", replaced={"post_processor": None})
    add("EOS in the template", replaced={"post_processor": template(["<s>"], ["</s>"])})
    add("RobertaProcessing", replaced={"post_processor": pair_processing("RobertaProcessing")})
    add("BertProcessing", replaced={"post_processor": pair_processing("BertProcessing")})
    add("processors in a row", replaced={"post_processor": {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        template(["<s>"], [])]}})
    add("legacy", {"legacy": True})
    add("no prefix space", {"add_prefix_space": False})


def other_families():
    case("as a mistral", "llama", {"tokenizer_class": "LlamaTokenizer"}, "mistral")
    case("nameless llama", "llama", None)
    case("ByteLevel under LlamaTokenizer", "llama3", {"tokenizer_class": "LlamaTokenizer"})
    case("qwen2 overrules", "qwen2", {"tokenizer_class": "LlamaTokenizerFast"}, "qwen2")
    case("phi3 overrules", "phi3", {"tokenizer_class": "LlamaTokenizer"}, "phi3")
    case("CodeLlama", "llama", {"tokenizer_class": "CodeLlamaTokenizer", "additional_special_tokens": ["<|x|>"]})
    case("Qwen2, new tokens", "qwen2", {"tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|im_end|>",
         "pad_token": "<|endoftext|>", "unk_token": None, "additional_special_tokens": ["<|im_start|>", "<|x|>"]}, "qwen2")
    case("Qwen2, add_bos_token", "qwen2", {"tokenizer_class": "Qwen2Tokenizer", "add_bos_token": True,
                                           "bos_token": "<|im_start|>"}, "qwen3")
    case("GPT-NeoX, added list", "gpt_neox", {"tokenizer_class": "GPTNeoXTokenizer", "added_tokens_decoder": {},
                                              "add_bos_token": True}, "gpt_neox")
    case("GPT-NeoX, new tokens", "gpt_neox", {"tokenizer_class": "GPTNeoXTokenizer", "eos_token": "<|im_end|>",
                                              "pad_token": None}, "gpt_neox")
    case("Gemma", "gemma", {"tokenizer_class": "GemmaTokenizer", "add_bos_token": False}, "gemma2")
    case("BLOOM", "bloom", {"tokenizer_class": "BloomTokenizerFast", "additional_special_tokens": ["<|x|>"]}, "bloom")
    gpt2 = lambda name, more, model_type="gpt2", **rest: case(name, "gpt2", more, model_type, **rest)
    gpt2("GPT-2 files, add_bos_token", {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True})
    gpt2("GPT-2 files, add_eos_token", {"tokenizer_class": "GPT2Tokenizer", "add_eos_token": True})
    gpt2("GPT-2 files, added_tokens.json", {"tokenizer_class": "GPT2Tokenizer"}, added_tokens_json={"<pad>": 801, "cat": 802})
    gpt2("GPT-2 files, map", {"tokenizer_class": "GPT2Tokenizer"},
         special_tokens_map_json={"pad_token": "<pad>", "bos_token": "<|x|>"})
    gpt2("GPT-2 files, prefix space", {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True, "added_tokens_decoder": {
        "800": token("<|endoftext|>"), "801": token("<|im_end|>", lstrip=True)}})
    gpt2("GPT-2 files alone", None)
    gpt2("Qwen2 files", {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>",
                         "additional_special_tokens": ["<|x|>"]}, "qwen2")
    gpt2("GPT-NeoX files", {"tokenizer_class": "GPTNeoXTokenizer"}, "gpt_neox")
    gpt2("RoBERTa's class", {"tokenizer_class": "RobertaTokenizer"})


def sentencepiece_models():
    llama = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True}
    size = sentencepiece.SentencePieceProcessor(model_file=str(MODEL)).get_piece_size()
    add = lambda name, *rest, **more: case(f"sentencepiece: {name}", "sentencepiece", *rest, **more)
    add("LlamaTokenizer", llama)
    add("legacy LlamaTokenizer", llama | {"legacy": True})
    add("no flag", {"tokenizer_class": "LlamaTokenizer"})
    add("add_bos_token false", llama | {"add_bos_token": False})
    add("add_eos_token", llama | {"add_eos_token": True})
    add("new tokens", llama | {"eos_token": "<|im_end|>", "additional_special_tokens": ["<|x|>"]})
    add("added_tokens_decoder", llama | {"added_tokens_decoder": {str(size): token("<|im_end|>", lstrip=True), str(size + 1): token(
        "there", special=False, normalized=True, single_word=True)}})
    add("added_tokens.json", llama, added_tokens_json={"<|im_end|>": size, "there": size + 1})
    add("CodeLlama", {"tokenizer_class": "CodeLlamaTokenizer"})


def train_sentencepiece():
    lines = (GOLDEN / "mixed_seed.txt").read_text(encoding="utf-8").splitlines()[:30]
    with tempfile.TemporaryDirectory() as folder:
        text = pathlib.Path(folder) / "text.txt"
        text.write_text("\n".join(lines), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=f"{folder}/m", vocab_size=600, model_type="bpe", byte_fallback=True,
            character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False,
            user_defined_symbols=["<|x|>"], hard_vocab_limit=False, num_threads=1, minloglevel=2)
        shutil.copy(f"{folder}/m.model", MODEL)


def build(folder, spec):
    if spec["base"] == "sentencepiece":
        shutil.copy(MODEL, folder / "tokenizer.model")
    else:
        for name in JSON_FILES:
            if (GOLDEN / spec["base"] / name).exists():
                shutil.copy(GOLDEN / spec["base"] / name, folder / name)
    if spec["tokenizer_json"]:
        path = folder / "tokenizer.json"
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | spec["tokenizer_json"]), encoding="utf-8")
    for name, content in (spec["files"] | {"config.json": {"model_type": spec["model_type"]}}).items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def expected(spec):
    with tempfile.TemporaryDirectory() as name:
        build(pathlib.Path(name), spec)
        tokenizer = AutoTokenizer.from_pretrained(name)
        return {"class": type(tokenizer).__name__, "ids": [tokenizer(text)["input_ids"] for text in TEXTS]}


def main():
    transformers.logging.set_verbosity_error()
    if not MODEL.exists():
        train_sentencepiece()
    for name in ("PreTrainedTokenizerFast", "LlamaTokenizer"):
        for_each_class(name)
    other_families()
    sentencepiece_models()
    cases = [{"name": name} | spec | expected(spec) for name, spec in CASES.items()]
    lines = [json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in cases]
    head = json.dumps({"transformers": transformers.__version__, "texts": TEXTS}, ensure_ascii=False)
    path = MODEL.parent / "cases.json"
    path.write_text(head[:-1] + ', "cases": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")
    print(f"{len(cases)} cases, {path.stat().st_size} bytes, model {MODEL.stat().st_size} bytes")


if __name__ == "__main__":
    main()

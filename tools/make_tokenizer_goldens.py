#!/usr/bin/env python3
"""Makes the goldens of tokenizers in tests/text/golden: one small tokenizer a family, in the form in
which the family publishes its own, and the ids that `tokenizers` gives for 2 MB of mixed text.

Needs: pip install tokenizers==0.23.3

    tools/make_tokenizer_goldens.py                       writes everything, vocabularies as stored
    tools/make_tokenizer_goldens.py --relearn             learns the vocabularies anew, too
    tools/make_tokenizer_goldens.py --show bloom 17       expected ids of document 17 of a family

The text. mixed_seed.txt holds short lines of English, code, Chinese, other scripts, emoji, odd white
space, control characters, long words and digits. A document is up to 48 pieces of random lines
with random joints between them, by the rule of mixed_documents() below, which the C++ test follows
too: so the 2 MB need not be stored and no two documents are alike.

The tokenizers. Normalizer, pre-tokenizer with its expressions, decoder, post-processor and flags of
added tokens are those of the published tokenizer.json; only the vocabulary is a small one, learned
here from the seed lines; learning is not repeatable to the bit. GPT-2 and OPT are written as vocab.json and merges.txt.

expected.json of each: SHA-256 of all ids of all documents (int32, little-endian), the first four
hexadecimal digits of that of each document, and ids and decoded text of a few short strings.
No special tokens are added around a text.
"""
import argparse
import base64
import hashlib
import json
import pathlib
import struct
import unicodedata

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, trainers

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "text" / "golden"
TEXT_BYTES = 2_000_000
MASK = (1 << 64) - 1
JOINTS = ["", " ", "\n", "  ", "", "\r\n", " ", "\n\n", "\t"]


class Lcg:
    """Knuth's MMIX generator; the upper 31 bits are used."""

    def __init__(self, seed):
        self.state = seed

    def below(self, limit):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & MASK
        return (self.state >> 33) % limit

    def pick(self, items):
        return items[self.below(len(items))]


def mixed_documents(lines):
    """Documents until TEXT_BYTES are reached. One piece in three is a whole line, the others are
    `count` characters of one from a random place; after each comes a joint."""
    random, total = Lcg(2024), 0
    while total < TEXT_BYTES:
        text = ""
        for _ in range(1 + random.below(48)):
            line = random.pick(lines)
            if random.below(3) > 0:
                begin = random.below(len(line))
                line = line[begin : begin + 1 + random.below(len(line) - begin)]
            text += line + random.pick(JOINTS)
        total += len(text.encode())
        yield text


# --- the seed lines ------------------------------------------------------------------------------

ENGLISH = """\
The old lighthouse keeper climbed the stairs every evening, counting them as he went: 217 in all.
It wasn't the cold that bothered her; it's what they'd said -- and what we'll never know.
"Don't you DARE," she whispered. "I've seen what happens when they're left alone, and I'm not going."
In 1969, about 600,000,000 people watched the landing; in 2020 roughly 1,234.56 did (+/- 3%).
He bought apples, oranges and pears... then he'd bought a boat!? Yes: a boat (a small one).
The mayor's proposal [see appendix B] failed 12-7; nobody was surprised, least of all the mayor.
Rivers carry salt to the sea, and the sea keeps it; the sun takes only water back.
WE'LL MEET AT THE STATION AT 7:45 A.M. DON'T BE LATE! YOU'RE THE ONLY ONE WITH A KEY.
A naïve café owner in Zürich served crème brûlée to the Señor from São Paulo.
Prices rose by 3.75 % to €1.299,00 (about $1,420 or £1,150), said the report of 31/12/2023.
She sells sea shells by the sea shore, and the shells she sells are surely sea shells.
Long after the train had gone the two of them stood on the platform, not speaking.
Mr. O'Neill's brother-in-law works at AT&T; his e-mail is j.doe+test@example.co.uk.
Visit https://example.org/a/b?c=d&e=%20f#g or ftp://127.0.0.1:8080/~user/index.html for more.
To be tokenized, a text is cut into words; to be understood, it is put together again.
""".splitlines()

CODE = r"""
def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)  # slow!
    for i, (key, value) in enumerate(sorted(table.items(), key=lambda kv: -kv[1])):
        print(f"{key!r:>10}: {value:.3f}", end="\t\n")
template <typename T> constexpr auto max(const T& a, const T& b) { return a < b ? b : a; }
	if (ptr != nullptr && ptr->next[i++] == 0xDEADBEEF) { *ptr = ~mask & (1u << 31); }
#include <vector>  /* C++20 */ std::vector<std::pair<int, char>> v{{1, 'a'}, {2, '\n'}};
{"name": "prunus", "list": [1, 2.5e-3, null, true], "nested": {"a": {"b": []}}}
<div class="row"><a href='#top'>Top &amp; bottom</a><br/><!-- note --></div>
SELECT COUNT(*) AS n, u.id FROM users u LEFT JOIN orders o ON o.uid = u.id WHERE n >= 10;
$ grep -rnE '^[A-Z_]{3,}\s*=' --include='*.py' . | awk -F: '{print $1}' | sort -u
git commit -m "fix: don't crash" && ./configure --prefix=/usr/local/ && make -j8 > /dev/null 2>&1
\begin{equation} \sum_{i=0}^{\infty} \frac{x^i}{i!} = e^x \end{equation}
camelCaseIdentifier SCREAMING_SNAKE_CASE snake_case_name kebab-case HTTPServer2Go x86_64 __init__
||  <=> ->> ::= ===  !==  ?. ?? ** // ... <!---> @@ %% ^^ ~~ `` \\ ## $$ (()) [[]] {{}}
                    deeply_indented(call)
""".strip("\n").splitlines()

SCRIPTS = """\
床前明月光，疑是地上霜。举头望明月，低头思故乡。
今天天气很好，我们去公园散步吧！你觉得怎么样？“好的”，他说。
人工智能（AI）模型在2023年取得了重大进展；参数量超过1,000亿。
繁體中文：臺灣、香港與澳門的讀者——請注意「引號」與『書名』。
日本語のテキスト：ひらがな、カタカナ、漢字が混ざっています。ｶﾀｶﾅ　ＡＢＣ１２３
한국어 문장입니다. 오늘은 날씨가 좋네요! 각각의 글자를 나눕니다.
Привет, мир! Это русский текст с числами 42 и 3,14. Ёлка — зелёная.
Η γρήγορη αλεπού πηδάει πάνω από τον σκύλο. ΟΔΥΣΣΕΥΣ ΣΑΣ
مرحبا بالعالم، كيف حالك؟ ١٢٣٤٥ عَرَبِيٌّ
שלום עולם! מה שלומך היום? שָׁלוֹם
नमस्ते दुनिया। यह हिन्दी का वाक्य है। १२३४ क्षत्रिय
สวัสดีชาวโลก วันนี้อากาศดีมาก ๑๒๓
Xin chào thế giới, tiếng Việt có nhiều dấu: ộ ẫ ữ ỷ.
İstanbul'da ılık bir gün; DİYARBAKIR, ığdır. Straße GROẞ ﬁnal ﬂow Ǆ ǅ ǆ
தமிழ் மொழி வணக்கம் አማርኛ ქართული հայերեն ᏣᎳᎩ ᠮᠣᠩᠭᠣᠯ བོད་ཡིག
¿Dónde está la biblioteca? ¡Aquí! Ça va où? Øresund Åse Łódź Dvořák Őrült
½ ⅓ ² ³ ¹ ₂ Ⅷ ⅷ ① ⑳ ㈠ ㊀ 一二三 ٣ ߅ ५ ༣ 〇 ↂ 𝟘𝟙𝟚 𐄇 ፩
∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β → γ ∨ δ, ∑∏∫√∞ ≤ ≥ ≠ ± × ÷ ° µ Ω Å K
«quotes» „German“ ‚single‘ ‹angle› — em – en ― bar … · • ‣ † ‡ § ¶ © ® ™ ª º
""".splitlines()

EMOJI = ["😀😁😂🤣 lol 🙈", "👨‍👩‍👧‍👦 family 👩🏽‍🚀 astronaut 🏳️‍🌈 flag", "👍🏿👍🏻👍 ok ✌🏼", "🇩🇪🇫🇷🇨🇳🇺🇸", "1️⃣2️⃣#️⃣*️⃣",
         "❤️❤❤️‍🔥 ☃️☃ ⚠︎⚠️", "🧑🏻‍❤️‍💋‍🧑🏿", "text🙂text🙃 text 🙂 text", "🏴󠁧󠁢󠁥󠁮󠁧󠁿 🏴‍☠️", "(╯°□°)╯︵ ┻━┻ ¯\\_(ツ)_/¯"]

MARKS = ["e\u0301 e\u0301\u0323 a\u030a o\u0308 n\u0303", "Z\u0351\u036b\u0343a\u0363\u0369l\u0348g\u0351o\u0357",
         "\u0301starts with a mark", "\u1100\u1161\u11a8 \uac01 \u1112\u1161\u11ab", "q\u0307\u0323 q\u0323\u0307",
         "\u212b \u2126 \u212a \ufb01 \ufb03 \uf900 \u2f800".replace("\u2f800", "\U0002f800"), "\u0958\u0928\u093c \u0915\u093c"]

WHITE = [" ", "  ", "   ", "\t", "\u00a0", "\u2003", "\u200b", "\u3000", "\u202f", "\r", "\x0b", "\x0c", "\u0085", "\u2028",
         "\u2029", "\u1680", "\u180e", "\ufeff", "\x1c", "\x1f", "\u2060"]

SPECIAL = ["<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>", "<|im_start|>user", "a<|im_end|> b", "[INST] x [/INST]",
           "<|end|>  after", "  <|assistant|>   x", "[gMASK]<sop>", "<bos>x<eos>", "<0x0A>", "<0xFF>", "▁", "a▁b▁▁c", "Ġa Ċ",
           "<start_of_turn>user", "<|begin_of_text|>", "<table><tr>", "<extra_id_0>", "<mask>", "<|fim_middle|>", "<br>x",
           "  <mask> x", "x<mask>y", "<|Begin", "<|endof", "<<s>>", "<｜begin▁of▁sentence｜>"]


def assigned_characters():
    """Characters that were there in Unicode 3.2 and whose category and folding have not moved, so
    that libraries with tables of different years agree on them."""
    old = unicodedata.ucd_3_2_0
    chars = []
    for value in range(0x20, 0x2FA1E):
        c = chr(value)
        if old.category(c) in ("Cn", "Cs", "Co") or old.category(c) != unicodedata.category(c):
            continue
        if all(old.normalize(f, c) == unicodedata.normalize(f, c) for f in ("NFC", "NFKC")):
            chars.append(c)
    return chars


def seed_lines():
    random = Lcg(7)
    lines = ENGLISH + CODE + SCRIPTS + EMOJI + MARKS + SPECIAL
    for _ in range(60):  # white space of all kinds, alone and between words
        line = ""
        for _ in range(1 + random.below(12)):
            line += random.pick(WHITE) * (1 + random.below(3)) + random.pick(["", "", "a", "the", "42", "!", "中", "é"])
        lines.append(line)
    for _ in range(12):
        lines.append("".join(chr(1 + random.below(31)) for _ in range(6)).replace("\n", "\x7f") + "x\x80\x9f")
    for n in (16, 24, 40, 64, 200):
        lines += [" " * n, "a" * n, "=" * n, "7" * n, "\t" * n + "x", "哈" * (n // 2), "-" * n + " " * n]
    for _ in range(8):  # long words
        lines.append("".join(random.pick(["un", "be", "liev", "able", "ness", "anti", "X", "q", "ß", "9"]) for _ in range(40)))
    for _ in range(30):
        lines.append(str(random.below(10 ** (1 + random.below(9)))) + random.pick(["", ".", ",", " ", "%"]) + str(random.below(10**6)))
    chars = assigned_characters()
    for _ in range(150):
        lines.append("".join(random.pick(chars) for _ in range(1 + random.below(24))))
    for _ in range(60):  # nearly a word, from one script
        begin = random.below(len(chars) - 40)
        lines.append("".join(chars[begin + random.below(40)] + random.pick(["", "", " ", "1"]) for _ in range(10)))
    for line in lines:
        assert line and "\n" not in line and line.encode().decode() == line
    return lines


SHORT = ["", " ", "Hello, world!", "  two  spaces ", "it's 12345 o'clock\n\n", "今天天气很好。", "👨‍👩‍👧 é e\u0301", "<s>a</s> b",
         "\t\r\n x", "<|endoftext|> next<|end|> ok", "ﬁ Å ½", "▁a ▁", "[gMASK] <bos> <pad> <mask> ."]

# --- parts of tokenizer.json ---------------------------------------------------------------------

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
NEMO = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
# Code points, as some of these letters change in an editor that normalises.
DEEPSEEK_LETTERS = (
    r"\s?[A-Za-z"
    "\xb5\xc0-\xd6\xd8-\xf6\xf8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377"
    "\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"
    "\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"
    "\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d"
    "\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    "\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    "\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
    "]+")
DEEPSEEK = ["[\r\n]", DEEPSEEK_LETTERS, "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$",
            "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"]


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def byte_level(**changes):
    part = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return part | changes


def sequence(key, *parts):
    return {"type": "Sequence", key: list(parts)}


def replace(old, new):
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def template(*front):
    ids = [{"SpecialToken": {"id": name, "type_id": 0}} for name in front]
    text = [{"Sequence": {"id": "A", "type_id": 0}}]
    return {"type": "TemplateProcessing", "single": ids + text,
            "pair": ids + text + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {n: {"id": n, "ids": [0], "tokens": [n]} for n in front}}


def metaspace(scheme, cut):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}


UNDERLINE = replace(" ", "▁")
PREPEND = sequence("normalizers", {"type": "Prepend", "prepend": "▁"}, UNDERLINE)
SPM_DECODER = sequence("decoders", replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"})
STRIP_DECODER = sequence("decoders", *SPM_DECODER["decoders"],
                         {"type": "Strip", "content": " ", "start": 1, "stop": 0})


def special(*names, **flags):
    return [{"content": n, "special": True, "normalized": False} | flags for n in names]


def plain(*names, **flags):
    return [{"content": n, "special": False, "normalized": False} | flags for n in names]


def unlisted(name):
    """A token of the vocabulary that is not looked for in the text."""
    return [{"content": name, "unlisted": True}]


class Spec:
    """A family. `front`: special tokens that take the first ids; `behind`: those after the learned
    ones; `kind`: spm, bytes or unigram; `files`: how it is written."""

    def __init__(self, kind, size, front, behind, normalizer=None, pre=None, post=None, decoder=None,
                 model=None, config=None, files="tokenizer.json"):
        self.__dict__.update(locals())


PHI3 = ["<|assistant|>", "<|placeholder1|>", "<|system|>", "<|end|>", "<|user|>"]
FAMILIES = {
    "llama": Spec("spm", 760, special("<unk>", "<s>", "</s>", normalized=True), [], PREPEND, None, template("<s>"),
                  STRIP_DECODER, config={"tokenizer_class": "LlamaTokenizer"}),
    "mistral": Spec("spm", 760, special("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]"), [], None,
                    metaspace("first", False), template("<s>"), STRIP_DECODER),
    "phi3": Spec("spm", 700, special("<unk>", "<s>"), special("<|endoftext|>") + special(*PHI3, rstrip=True), PREPEND,
                 None, template("<s>"), STRIP_DECODER),
    "gemma": Spec("spm", 800, special("<pad>", "<eos>", "<bos>", "<unk>") + plain("<mask>") + special("<start_of_turn>")
                  + plain("\n\n", "\n\n\n", "▁▁", "▁▁▁", "▁▁▁▁", "<table>", "<tr>"), [], UNDERLINE,
                  {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
                  template("<bos>"), SPM_DECODER),
    "llama3": Spec("bytes", 760, [], special("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"), None,
                   sequence("pretokenizers", split(LLAMA3), byte_level()),
                   sequence("processors", byte_level(use_regex=True), template("<|begin_of_text|>")), byte_level(),
                   model={"ignore_merges": True}),
    "qwen2": Spec("bytes", 760, [], special("<|endoftext|>", "<|im_start|>", "<|im_end|>") + plain("<|fim_middle|>"),
                  {"type": "NFC"}, sequence("pretokenizers", split(QWEN2), byte_level()), byte_level(), byte_level(),
                  config={"tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|endoftext|>"}),
    "bloom": Spec("bytes", 800, special("<unk>", "<s>", "</s>", "<pad>"), [], None,
                  sequence("pretokenizers", split(BLOOM), byte_level()), byte_level(), byte_level()),
    "glm4": Spec("bytes", 760, [], special("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"), None,
                 sequence("pretokenizers", split(LLAMA3), byte_level()),
                 sequence("processors", byte_level(), template("[gMASK]", "<sop>")), byte_level()),
    "gpt2": Spec("bytes", 800, [], special("<|endoftext|>"), None, byte_level(use_regex=True), byte_level(), byte_level(),
                 config={"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False}, files="vocab.json"),
    "opt": Spec("bytes", 700, unlisted("<s>") + special("<pad>", "</s>", normalized=True) + unlisted("<unk>"), [], None,
                byte_level(use_regex=True), byte_level(), byte_level(), files="vocab.json",
                config={"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "add_prefix_space": False,
                        "bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}),
    "gpt_neox": Spec("bytes", 760, special("<|endoftext|>", "<|padding|>"),
                     plain(*[" " * n for n in range(24, 1, -1)], normalized=True), {"type": "NFC"},
                     byte_level(use_regex=True), byte_level(), byte_level(use_regex=True)),
    "olmo2": Spec("bytes", 700, [], special("<|fim_prefix|>") + plain("<|fim_middle|>") + special("<|endoftext|>"), None,
                  sequence("pretokenizers", split(LLAMA3, "Removed", True), byte_level()), None, byte_level()),
    "deepseek_llm": Spec("bytes", 760, [], special("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", normalized=True)
                         + plain("ø", "ö", normalized=True), sequence("normalizers"),
                         sequence("pretokenizers", *map(split, DEEPSEEK), {"type": "Digits", "individual_digits": True},
                                  byte_level()), template("<｜begin▁of▁sentence｜>"), byte_level(use_regex=True)),
    "mistral_nemo": Spec("bytes", 700, special("<unk>", "<s>", "</s>", "[INST]", "[/INST]"), [], None,
                         sequence("pretokenizers", split(NEMO), byte_level()), template("<s>"), byte_level(),
                         model={"ignore_merges": True}),
    "t5": Spec("unigram", 700, special("<pad>", "</s>", "<unk>"), special("<extra_id_0>", "<extra_id_1>"), "charsmap",
               sequence("pretokenizers", {"type": "WhitespaceSplit"}, metaspace("always", True)), None,
               metaspace("always", True)),
    "unigram_bytes": Spec("unigram", 800, special("<unk>", "<s>", "</s>") + special("<mask>", lstrip=True), [], None,
                          metaspace("first", True), template("<s>"),
                          sequence("decoders", {"type": "ByteFallback"}, metaspace("first", True)),
                          model={"byte_fallback": True}),
    # No family: what is left of the parts that Prunus reads.
    "other_parts": Spec("unigram", 500, special("<unk>") + plain("[INST]", normalized=True, single_word=True), [],
                        sequence("normalizers", {"type": "Nmt"}, {"type": "NFKD"}, {"type": "StripAccents"},
                                 {"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": True},
                                 {"type": "Replace", "pattern": {"Regex": "^#+|[0-9[a-f]]{4,}|;$"}, "content": "<$0>"}),
                        sequence("pretokenizers", {"type": "Whitespace"},
                                 {"type": "Punctuation", "behavior": "MergedWithNext"},
                                 {"type": "CharDelimiterSplit", "delimiter": "q"}), None,
                        sequence("decoders", {"type": "Replace", "pattern": {"Regex": "[ae]"}, "content": "_"})),
}

# --- learning ------------------------------------------------------------------------------------

BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]


def document_of(spec, model):
    normalizer = charsmap_normalizer() if spec.normalizer == "charsmap" else spec.normalizer
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": normalizer,
            "pre_tokenizer": spec.pre, "post_processor": None, "decoder": spec.decoder, "model": model}


def learn(spec, lines):
    """The `model` of the family's tokenizer.json."""
    front = [t["content"] for t in spec.front]
    if spec.kind == "unigram":
        return learn_unigram(spec, front, lines)
    learner = Tokenizer(models.BPE())
    source = Tokenizer.from_str(json.dumps(document_of(spec, {"type": "BPE", "vocab": {}, "merges": []})))
    learner.normalizer, learner.pre_tokenizer = source.normalizer, source.pre_tokenizer
    if spec.kind == "spm":  # a pre-tokenizer keeps the learner from pieces across words
        learner.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="never")
        front, alphabet, limit = front + BYTE_TOKENS, [], 160
    else:
        alphabet, limit = tokenizers.pre_tokenizers.ByteLevel.alphabet(), 256
    learner.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=spec.size, special_tokens=front, initial_alphabet=alphabet, limit_alphabet=limit, show_progress=False))
    learned = json.loads(learner.to_str())["model"]
    spm = spec.kind == "spm"
    return {"type": "BPE", "dropout": None, "unk_token": "<unk>" if spm else None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": spm, "byte_fallback": spm, "ignore_merges": False,
            "vocab": learned["vocab"], "merges": learned["merges"]} | (spec.model or {})


def learn_unigram(spec, front, lines):
    learner = Tokenizer(models.Unigram())
    source = Tokenizer.from_str(json.dumps(document_of(spec, {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0]]})))
    learner.normalizer, learner.pre_tokenizer = source.normalizer, source.pre_tokenizer
    options = spec.model or {}
    if options.get("byte_fallback"):
        front = front + BYTE_TOKENS
    learner.train_from_iterator(lines[:90], trainers.UnigramTrainer(
        vocab_size=spec.size, special_tokens=front, unk_token="<unk>", show_progress=False, max_piece_length=12))
    vocab = json.loads(learner.to_str())["model"]["vocab"]
    vocab = [[piece, round(score, 5)] for piece, score in vocab]
    return {"type": "Unigram", "unk_id": front.index("<unk>"), "vocab": vocab, "byte_fallback": False} | options


# A small map in sentencepiece's form: what NMT normalisation does to some characters.
MAPPED = {"\t": " ", "\n": " ", "\r": " ", "\u00a0": " ", "\u3000": " ", "\u2003": " ", "\u200b": " ", "\u2028": " ",
          "\x7f": "", "\x1c": "", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "½": "1⁄2", "²": "2", "\u212b": "\xc5", "e\u0301": "é", "n\u0303": "ñ",
          "…": "...", "①": "1", "⑳": "20", "Ａ": "A", "Ｂ": "B", "Ｃ": "C", "１": "1", "，": ",", "！": "!", "？": "?", "：": ":",
          "ｶ": "カ", "㈠": "(一)", "™": "TM", "ℝ": "R", "𝟘": "0", "\u1100\u1161": "가", "a\u030a": "å", "\u0340": "\u0300"}


def charsmap_normalizer():
    """Double array of Darts-clone over MAPPED, laid out by first fit, and the texts behind it."""
    texts, places = b"", {}
    for key, value in sorted(MAPPED.items()):
        places[key.encode()] = len(texts)
        texts += value.encode() + b"\0"
    units, used = [0] * 4096, {0}

    def place(node, prefix):
        labels = sorted({key[len(prefix)] if len(key) > len(prefix) else 0 for key in places if key.startswith(prefix)})
        # An offset below 2^21 is stored in units of one; position = node ^ offset, child = position ^ label.
        offset = next(o for o in range(1, 4096) if all((node ^ o ^ label) not in used for label in labels))
        units[node] |= offset << 10 | (0 in labels) << 8
        base = node ^ offset
        used.update(base ^ label for label in labels)
        for label in labels:
            if label == 0:
                units[base] = places[prefix] | 1 << 31
            else:
                units[base ^ label] |= label
                place(base ^ label, prefix + bytes([label]))

    place(0, b"")
    units = units[: (max(used) | 255) + 1]
    blob = struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + texts
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(blob).decode()}


def stored_model(directory, spec):
    """The `model` written before, or None."""
    if (directory / "tokenizer.json").exists():
        return json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    if not (directory / "vocab.json").exists():
        return None
    merges = (directory / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    return {"type": "BPE", "merges": [line.split(" ") for line in merges],
            "vocab": json.loads((directory / "vocab.json").read_text(encoding="utf-8"))}


def build(spec, model):
    """tokenizer.json of a family."""
    document = document_of(spec, model)
    vocab = document["model"]["vocab"]
    ids = {p: i for i, (p, _) in enumerate(vocab)} if spec.kind == "unigram" else dict(vocab)
    for token in spec.front + spec.behind:
        known = ids.setdefault(token["content"], len(ids))
        if token.get("unlisted"):
            continue
        flags = {"id": known, "single_word": False, "lstrip": False, "rstrip": False} | token
        document["added_tokens"].append(flags)
    document["added_tokens"].sort(key=lambda token: token["id"])
    post = json.loads(json.dumps(spec.post))
    for part in [post] + (post or {}).get("processors", []):
        for token in (part or {}).get("special_tokens", {}).values():
            token["ids"] = [ids[token["id"]]]
    document["post_processor"] = post
    return document


# --- writing -------------------------------------------------------------------------------------


def dump(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def write_family(directory, spec, document):
    directory.mkdir(parents=True, exist_ok=True)
    if spec.files == "tokenizer.json":
        dump(directory / "tokenizer.json", document)
    else:
        vocab = document["model"]["vocab"] | {t["content"]: t["id"] for t in document["added_tokens"]}
        dump(directory / "vocab.json", vocab)
        merges = ["#version: 0.2"] + [" ".join(pair) for pair in document["model"]["merges"]]
        (directory / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    if spec.config is not None:
        dump(directory / "tokenizer_config.json", spec.config)


def digest(ids):
    return hashlib.sha256(struct.pack(f"<{len(ids)}i", *ids)).hexdigest()


def expected(tokenizer, documents):
    encoded = [tokenizer.encode(text, add_special_tokens=False).ids for text in documents]
    short = []
    for text in SHORT:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        short.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                      "decoded_without_special": tokenizer.decode(ids)})
    everything = [i for ids in encoded for i in ids]
    return {"tokenizers": tokenizers.__version__, "documents": len(documents), "ids": len(everything),
            "sha256": digest(everything), "document_sha256": "".join(digest(ids)[:4] for ids in encoded),
            "with_special": tokenizer.encode("a").ids, "short": short}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--relearn", action="store_true")
    parser.add_argument("--show", nargs=2, metavar=("FAMILY", "DOCUMENT"))
    arguments = parser.parse_args()
    lines = seed_lines()
    documents = list(mixed_documents(lines))
    chosen = [arguments.show[0]] if arguments.show else list(FAMILIES)
    if not arguments.show:
        OUT.mkdir(parents=True, exist_ok=True)
        (OUT / "mixed_seed.txt").write_bytes("\n".join(lines).encode())
    for name in chosen:
        spec = FAMILIES[name]
        model = None if arguments.relearn else stored_model(OUT / name, spec)
        document = build(spec, model or learn(spec, lines))
        tokenizer = Tokenizer.from_str(json.dumps(document))
        if arguments.show:
            text = documents[int(arguments.show[1])]
            encoded = tokenizer.encode(text, add_special_tokens=False)
            print(repr(text), list(zip(encoded.ids, encoded.tokens)), sep="\n")
            continue
        write_family(OUT / name, spec, document)
        result = expected(tokenizer, documents)
        dump(OUT / name / "expected.json", result)
        size = sum(file.stat().st_size for file in (OUT / name).iterdir())
        print(f"{name}: {result['ids']} ids, {len(document['model']['vocab'])} pieces, {size} bytes")


if __name__ == "__main__":
    main()

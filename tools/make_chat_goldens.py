#!/usr/bin/env python3
"""Makes the expected renderings of chat templates in tests/text/chat: what transformers makes
of the same templates and conversations. They are the oracle for prunus/text/chat_template.

Needs: pip install transformers==5.24.0 jinja2==3.1.6
Usage: make_chat_goldens.py --out tests/text/chat [--templates DIR]

DIR (the output folder unless given) holds NAME.jinja; for each, OUT/NAME.json is written: one entry a
conversation of conversations.json (which is written, too) with the text and the byte spans of its
generation blocks, or "error" where transformers raises one. tests/text/chat/README.md says
where the templates come from.
"""
import argparse
import datetime
import json
import pathlib
import shutil
import tempfile

from transformers import AutoTokenizer
from transformers.utils import chat_template_utils as utils

TOOL = {"type": "function", "function": {
    "name": "weather", "description": "Tells the weather of a \"place\" <b>now</b> – or later.",
    "parameters": {"type": "object", "properties": {
        "place": {"type": "string", "description": "Where, e.g. Zürich"},
        "days": {"type": "integer", "enum": [1, 2, 3], "default": None},
        "exact": {"type": ["boolean", "null"]}}, "required": ["place"]}}}
OTHER_TOOL = {"type": "function", "function": {
    "name": "now", "description": "The time.", "parameters": {"type": "object", "properties": {}}}}


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, **more):
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


HELLO = [turn("user", "Hello, who are you?"), turn("assistant", "I am a tree.\n")]
SYSTEM = [turn("system", "  Answer in one word.  ")]
CONVERSATIONS = {
    "one user turn, answer to come": ([turn("user", "Hello")], True, {}),
    "one exchange": (HELLO, False, {}),
    "system turn and three exchanges": (
        SYSTEM + HELLO + [turn("user", " What kind?  "), turn("assistant", "Plum"),
                          turn("user", "Say \"höchste\" 你好 🌳\t'quoted' \\n {{ x }} {% if %}"),
                          turn("assistant", "höchste\n\n你好 🌳 <|im_end|>")], False, {}),
    "system turn, answer to come": (SYSTEM + HELLO + [turn("user", "And now?\n")], True, {}),
    "thoughts": (HELLO[:1] + [turn("assistant", "<think>\nHm. What am I?\n</think>\n\nA tree.")]
                 + [turn("user", "Sure?"), turn("assistant", "<think>\nYes\n</think>\n\nYes.")],
                 False, {}),
    "thoughts apart": (HELLO[:1] + [turn("assistant", "A tree.", reasoning_content="What am I?\n"),
                                    turn("user", "Sure?")], True, {"enable_thinking": False}),
    "tools": (SYSTEM + [turn("user", "Weather in Zürich?")], True,
              {"tools": [TOOL, OTHER_TOOL]}),
    "tool call, arguments as a mapping": (
        [turn("user", "Weather in Zürich?"),
         turn("assistant", "", tool_calls=[call("weather", {"place": "Zürich", "days": 2,
                                                            "exact": True}, id="abcdefghi")]),
         turn("tool", "{\"sky\": \"blue\"}", name="weather", tool_call_id="abcdefghi"),
         turn("assistant", "Blue.")], False, {"tools": [TOOL]}),
    "two tool calls and a thought": (
        [turn("user", "Weather and time?"),
         turn("assistant", "Let me see.", reasoning_content="Two calls.",
              tool_calls=[call("weather", {"place": "Rome"}, id="a23456789"),
                          call("now", {}, id="b23456789")]),
         turn("tool", "sun", name="weather", tool_call_id="a23456789"),
         turn("tool", "noon", name="now", tool_call_id="b23456789")], True,
        {"tools": [TOOL, OTHER_TOOL]}),
    "content in parts": ([turn("user", [{"type": "text", "text": "Hello, "},
                                        {"type": "text", "text": "you"}])], True, {}),
    "two user turns in a row": ([turn("user", "One"), turn("user", "Two")], False, {}),
    "an assistant turn first": ([turn("assistant", "Good day"), turn("user", "Hello")], True, {}),
    "an unknown role": ([turn("user", "Hello"), turn("judge", "Guilty")], False, {}),
    "an empty answer": ([turn("user", ""), turn("assistant", "")], False, {}),
    "null content": ([turn("user", "Hello"), turn("assistant", None)], False, {}),
}
# Small templates, each about one thing; rendered with VALUES.
VALUES = {
    "n": 7, "f": 2.5, "zero": 0, "yes": True, "nothing": None, "empty": [], "word": "plum tree",
    "umlaut": "Äpfel & «Öl» 你好 🌳", "padded": " \t a b \n", "numbers": [3, 1, 2, 3],
    "words": ["b", "C", "a", "B"], "lines": "one\n\ntwo\n three",
    "d": {"b": 1, "a": {"x": [1, 2.0, None, True, "é\"\\\n\u0001"]}, "C": "text"},
    "people": [{"name": "Ann", "age": 30, "role": "user"}, {"name": "bob", "age": 25, "role": "user"},
               {"name": "Cy", "age": 41, "role": "tool", "home": {"town": "Ulm"}}]}
SNIPPETS = r"""
{{ n // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 7.5 // 2 }} {{ -f }} {{ 1e3 }} {{ 1e16 }} {{ 0.00001 }} {{ 1_000 }}
{{ 1 + 2 * 3 - 4 }} {{ (1 + 2) * 3 }} {{ 'a' ~ 1 ~ none ~ true }} {{ 'ab' * 3 }} {{ [1] + [2] }} {{ 1 == 1.0 }} {{ true == 1 }}
{{ 1 < 2 < 3 }} {{ 1 < 2 > 5 }} {{ 'a' < 'b' }} {{ not n == 7 }} {{ n in numbers }} {{ n not in numbers }} {{ 'lum' in word }} {{ 'b' in d }}
{{ nothing or 'x' }} {{ zero and 1 }} {{ n if yes else 2 }}{{ n if empty }}{{ 1 if zero else 2 if zero else 3 }}
{{ word[0] }}{{ word[-1] }}{{ word[1:4] }}{{ word[::-1] }}{{ word[-4:] }}{{ word[:100] }}{{ word[5:2] }}|{{ umlaut[0] }}{{ umlaut[-1] }}
{{ numbers[1:] }}{{ numbers[::2] }}{{ numbers[-2:] }}{{ numbers[::-1] }}{{ numbers[10] }}{{ numbers.1 }}{{ numbers[5:1:-1] }}
{{ d.b }}{{ d['C'] }}{{ d.a.x[4] }}{{ d.missing }}{{ d.missing is defined }}{{ d.get('b') }}{{ d.get('q') }}{{ d.get('q', 5) }}
{{ d }} {{ numbers }} {{ (1,) }} {{ (1, 'a') }} {{ [] }} {{ {} }} {{ ["it's", 'say "x"', "\\n"] }}
{{ d | tojson }}
{{ d | tojson(indent=2) }}
{{ d | tojson(indent=4, sort_keys=true) }}
{{ umlaut | tojson }} {{ umlaut | tojson(ensure_ascii=true) }} {{ [] | tojson(indent=2) }} {{ {'a': {}} | tojson(indent=2) }}
{{ d | tojson(separators=(',', ':')) }} {{ 'a<b>&\'' | tojson }} {{ 1.0 | tojson }} {{ none | tojson }} {{ 1e20 | tojson }} {{ (1, 2) | tojson }}
{{ padded | trim }}|{{ padded.strip() }}|{{ padded.lstrip() }}|{{ padded.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'xxaxx' | trim('x') }}
{{ word | upper }} {{ word | title }} {{ word | capitalize }} {{ 'ABC def' | lower }} {{ umlaut | upper }} {{ umlaut | lower }} {{ "it's o-k (yes)" | title }}
{{ word.upper() }} {{ word.title() }} {{ "it's o-k".title() }} {{ word.capitalize() }} {{ word.replace('e', 'E', 1) }} {{ word | replace('e', 'E') }} {{ 'ab'.replace('', '-') }}
{{ 'a,b,,c'.split(',') }} {{ 'a,b,,c'.split(',', 1) }} {{ ' a  b '.split() }} {{ ' a  b c '.split(none, 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ 'a b c'.rsplit() }} {{ ''.split() }} {{ ''.split(',') }}
{{ lines.splitlines() }} {{ lines.split('\n')[-1] }} {{ word.startswith('plum') }} {{ word.endswith(('x', 'ee')) }} {{ word.find('t') }} {{ word.find('q') }} {{ word.rfind('e') }} {{ word.count('e') }}
{{ word.partition(' ') }} {{ word.rpartition('e') }} {{ ', '.join(words) }} {{ word.removeprefix('plum') }}|{{ word.removesuffix('tree') }}| {{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ ''.isdigit() }}
{{ d.keys() | list }} {{ d.values() | list }} {{ d.items() | list | length }} {{ d | items | list }} {{ d | dictsort }} {{ {'b': 2, 'A': 1} | dictsort(reverse=true) }} {{ {'b': 2, 'A': 1} | dictsort(by='value') }}
{{ numbers | sort }} {{ numbers | sort(reverse=true) }} {{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ people | sort(attribute='age') | map(attribute='name') | join(', ') }}
{{ numbers | unique | list }} {{ words | unique | list }} {{ numbers | sum }} {{ people | sum(attribute='age') }} {{ numbers | min }} {{ numbers | max }} {{ words | min }} {{ words | max }} {{ empty | max }}
{{ numbers | first }} {{ numbers | last }} {{ empty | first }} {{ word | first }} {{ word | last }} {{ numbers | reverse | list }} {{ word | reverse }} {{ word | list }} {{ numbers | length }} {{ word | count }} {{ d | length }} {{ umlaut | length }}
{{ people | selectattr('role', 'equalto', 'user') | map(attribute='name') | list }} {{ people | rejectattr('role', '==', 'user') | map(attribute='name') | list }} {{ people | selectattr('home') | list | length }} {{ people | selectattr('home', 'defined') | map(attribute='home.town') | first }}
{{ numbers | select('odd') | list }} {{ numbers | reject('odd') | list }} {{ [0, 1, ''] | select | list }} {{ words | map('upper') | join }} {{ people | map(attribute='home', default='none') | list }} {{ words | select('in', ['a', 'b']) | list }} {{ numbers | select('gt', 2) | list }}
{% if people | selectattr('role', 'equalto', 'judge') %}true{% else %}false{% endif %} {% if people | selectattr('role', 'equalto', 'judge') | list %}true{% else %}false{% endif %}
{{ people | map(attribute='name') | length }}
{{ missing | default('x') }} {{ nothing | default('x') }} {{ nothing | default('x', true) }} {{ '' | d('x', boolean=true) }} {{ missing | length }} {{ missing }}{{ missing | list }}
{{ lines | indent }}
{{ lines | indent(2, first=true) }}
{{ lines | indent(2, true, true) }}
{{ '12' | int }} {{ '12.7' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ 2.9 | int }} {{ '2.5' | float }} {{ 3 | float }} {{ 'x' | float }} {{ 2.5 | round }} {{ 3.14159 | round(2) }} {{ 7 | round }} {{ -3 | abs }} {{ 2.0 | string }} {{ true | int }}
{{ n is number }} {{ n is integer }} {{ f is float }} {{ yes is boolean }} {{ yes is number }} {{ yes is integer }} {{ nothing is none }} {{ word is string }} {{ d is mapping }} {{ numbers is iterable }} {{ word is iterable }} {{ d is sequence }} {{ n is iterable }} {{ numbers is sequence }} {{ word is mapping }}
{{ n is odd }} {{ n is even }} {{ n is divisibleby 7 }} {{ n is divisibleby(2) }} {{ yes is true }} {{ n is not none }} {{ missing is undefined }} {{ missing is none }} {{ word is not string }} {{ 'ab' is lower }} {{ 'AB' is upper }} {{ 'a1' is lower }} {{ n is eq 7 }} {{ n is in numbers }} {{ n is sameas 7 if false }} {{ none is sameas none }} {{ range is callable }} {{ n is ge 7 }} {{ n is lt(7) }}
{% for x in numbers %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }} {{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }};{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in 'añ' %}{{ c }}.{% endfor %}{% for (a, b) in [(1, 2)] %}{{ a + b }}{% endfor %}{% for a, b in [[1, 2], 'xy'] %}{{ b }}{% endfor %}
{% for x in numbers if x != 3 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% else %}none{% endfor %}{% for x in empty %}{% else %}none{% endfor %}{% for x in missing %}x{% else %}missing{% endfor %}
{% for x in numbers %}{% if x == 1 %}{% continue %}{% endif %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}{% for x in [1] %}{% break %}{% else %}else after break{% endfor %}{% for x in [1] %}{% continue %}{% else %}else after continue{% endfor %}
{% set x = 1 %}{% for y in numbers %}{{ x }}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}
{% set ns = namespace(a=1, b='x') %}{% for y in numbers %}{% set ns.a = ns.a + y %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.c is defined }}{% set ns.c = [1] %}{{ ns.c }}{% set m = namespace({'q': 1}) %}{{ m.q }}
{% set a, b = 1, 'two' %}{{ a }}{{ b }}{% set t = 1, 2 %}{{ t }}{% set block %}in {{ n }}{% endset %}[{{ block }}]{% set up | upper | trim %} in {{ n }} x {% endset %}[{{ up }}]
{% macro m(a, b='B', c=none) %}({{ a }},{{ b }},{{ c }}){% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(c=3, a=1) }}{{ m() }}{% set r = m('x') %}{{ r | length }}
{% macro fact(k) %}{{ 1 if k <= 1 else k * (fact(k - 1) | int) }}{% endmacro %}{{ fact(5) }}{% set late = 1 %}{% macro reads() %}{{ late }}{% endmacro %}{% set late = 2 %}{{ reads() }}
{% macro pick(list) %}{% for x in list %}{% if loop.last %}{{ x }}{% else %}{{ x }},{% endif %}{% endfor %}{% endmacro %}{{ pick(numbers) }}{{ pick([]) }}{{ pick('ab') | upper }}
{% filter upper %}a {{ word }}{% endfilter %}{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}{% raw %}{{ x }} {% if %}{% endraw %}{# gone #}
{{ 'a' 'b' }}{{ "tab\there\x41\u00e9\d" }}{{ 'quo\'te' }}{{ {"a": {"b": 1}} }}{{ {'a': 1}.a }}{{ [1, 2,][1] }}{{ {'k': 'v',}['k'] }}
{% if n == 7 and not zero or missing %}a{% elif n %}b{% else %}c{% endif %}{% if empty %}a{% elif zero %}b{% else %}c{% endif %}{% if missing is defined %}a{% endif %}
{{ range(3) | list }}{{ range(1, 4) | list }}{{ range(5, 0, -2) | list }}{% for i in range(2) %}{{ i }}{% endfor %}{{ range(3)[1] }}{{ dict(a=1, b=2) }}{{ dict({'a': 1}, c=3) }}
{{ strftime_now('%d %B %Y') }} {{ strftime_now("%Y-%m-%d %H:%M:%S %A %j") }} {{ strftime_now is defined }} {{ raise_exception is defined }}
{{ raise_exception('No ' ~ word) }}
{{ missing.x }}
{{ missing() }}
{{ word.nothing() }}
{{ missing + 1 }}
{{ 'a' + 1 }}
{{ n < 'a' }}
{{ 1 // 0 }}
{{ n | join }}
{% for x in n %}{% endfor %}
{% for a, b in [[1]] %}{% endfor %}
{% set word.x = 1 %}
{{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ 10 - 2 - 3 }} {{ 2 * 3 % 4 }} {{ 1 ~ 2 * 3 }} {{ -n | abs }} {{ not true or true }} {{ 'a' in 'abc' and true }} {{ 1 in [1] == true }} {{ n is defined and n > 3 }} {{ n | string ~ 'x' }} {{ 'x' if not nothing }}
{{ '%s' }}{{ "a\nb" }}{{ [none, true, 1.50, 'é'] }}{{ 'a' == "a" }}{{ [1, [2]] == [1, [2]] }}{{ d == d }}{{ (1, 2) == [1, 2] }}{{ none == missing }}{{ missing == other }}
""".strip("\n").split("\n")
# White space control: newlines are what these are about.
SNIPPETS += [
    "a\n  {% if true %}\n    b\n  {% endif %}\nc\n", "a  {% if true %}  b {% endif %}  c",
    "  {%- if true -%}  \n b  {%- endif +%}\nc\n\n", "x\n  {%+ if true %}\n y{% endif %}\n",
    "  {# c #}\n  a {# d -#}  \n b", "{{ 1 -}}  \n {{- 2 }}\n{{ 3 }}\n", "\n  {{ n }}\n  {{- n }}",
    "a\r\nb{% if true %}\r\nc{% endif %}\rd\r\n", "  {% raw %}\n  {{ a }}\n  {% endraw %}\nb",
    "{%- raw -%}  a  {%- endraw -%}  b", "{% set x %}\n a\n{% endset %}\n[{{ x }}]",
    "{% for x in numbers %}\n  {% if x == 1 %}\n    {% continue %}\n  {% endif %}\n  {{ x }}\n{% endfor %}\nz",
    "{%if true%}a{%endif%}{%-  if true  -%} b {%-endif-%}", "a {%- set x = 1 %} b\n\n\n",
    "{% generation %}one {{ n }}{% endgeneration %} é {%- generation %} two{% endgeneration %}",
    "\u3000{%- if true %}a{% endif -%}\u00a0b", "{% if true %}{# a #}\n{% endif %}\n{# b #}\n\nc",
]
ROWS_CONFIG = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
               "extra_special_tokens": ["<|im_start|>", "<|im_end|>", "<|eot_id|>"]}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def variables_of(entry):
    messages, prompt, more = entry
    return {"messages": messages, "tools": None, "documents": None,
            "add_generation_prompt": prompt, **TOKENS, **more}


class Moment(datetime.datetime):
    """The moment that Prunus gives every template."""
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


def rendering(template, variables):
    given = dict(variables)
    first = [given.pop(key, None)
             for key in ("messages", "tools", "documents", "add_generation_prompt")]
    try:
        text, spans = utils._render_with_assistant_indices(
            utils._compile_jinja_template(template), *first, **given)
    except Exception as error:  # whatever the template or Jinja raises
        return {"error": f"{type(error).__name__}: {error}"}
    at = lambda index: len(text[:index].encode())
    return {"text": text, "generated": [[at(begin), at(end)] for begin, end in spans]}


# Templates with generation blocks and small tokenizers of tests/text/golden to tokenise them by.
ROWS = [("qwen2_5_training", "qwen2"), ("llama3_training", "llama3"), ("qwen3_training", "mistral_nemo")]


def rows_of(name, tokenizer_name, templates, tokenizers):
    """Ids of each conversation and which of them the assistant's turns are: what a trainer takes."""
    template = (templates / f"{name}.jinja").read_bytes().decode()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(tokenizers / tokenizer_name / "tokenizer.json", folder)
        write(pathlib.Path(folder, "tokenizer_config.json"), ROWS_CONFIG)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for messages, _, more in CONVERSATIONS.values():
        try:
            row = tokenizer.apply_chat_template(
                messages, chat_template=template, return_dict=True,
                return_assistant_tokens_mask=True, **more)
        except Exception:  # whatever the template raises
            rows.append(None)
            continue
        rows.append({"ids": row["input_ids"], "learnt": row["assistant_masks"]})
    return {"template": name, "tokenizer": tokenizer_name, "config": ROWS_CONFIG, "rows": rows}


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--templates", type=pathlib.Path)
    options = parser.parse_args()
    utils.datetime = Moment
    all_variables = [variables_of(entry) for entry in CONVERSATIONS.values()]
    options.out.mkdir(parents=True, exist_ok=True)
    write(options.out / "conversations.json",
          [{"name": name, "variables": variables}
           for name, variables in zip(CONVERSATIONS, all_variables)])
    write(options.out / "snippets.json",
          {"variables": VALUES,
           "snippets": [{"template": one, **rendering(one, VALUES)} for one in SNIPPETS]})
    for path in sorted((options.templates or options.out).glob("*.jinja")):
        template = path.read_bytes().decode()  # newlines as they are
        write(options.out / f"{path.stem}.json",
              [rendering(template, variables) for variables in all_variables])
    tokenizers = pathlib.Path(__file__).resolve().parent.parent / "tests/text/golden"
    templates = options.templates or options.out
    (options.out / "rows.json").write_text(json.dumps(
        [rows_of(*one, templates, tokenizers) for one in ROWS], separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

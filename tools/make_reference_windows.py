#!/usr/bin/env python3
"""Makes tests/text/golden/reference_windows.json: windows drawn as LLM-Pruner draws them.

Needs: nothing but CPython 3.9 or newer (no pip package).

The loop is get_bookcorpus of LLMPruner/datasets/example_samples.py on rows that are already ids,
drawn by CPython's own `random`. Each case seeds once and calls several times, as iterative pruning
does, and ends with 32 bits of the generator, so that a draw too many or too few shows.
"""
import argparse
import json
import pathlib
import random

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests/text/golden/reference_windows.json"
# name -> (seed, lengths of the rows, [(samples, tokens) of each call])
CASES = {
    "long rows": (42, [24 + 5 * i % 17 for i in range(16)], [(10, 8), (10, 8), (3, 20)]),
    "few long rows": (0, [3 + 7 * i % 23 for i in range(29)], [(4, 20), (12, 13), (9, 16)]),
    "every row": (7, [6, 2, 5, 9], [(4, 2), (3, 5), (1, 9)]),
    "one row": (2 ** 40 + 7, [12], [(1, 12), (1, 3), (1, 3)]),
}


def draw(rows: list, samples: int, tokens: int) -> list:
    windows, history = [], []
    for _ in range(samples):
        while True:
            i = random.randint(0, len(rows) - 1)
            ids = rows[i]
            if len(ids) >= tokens and i not in history:
                history.append(i)
                break
        start = random.randint(0, len(ids) - tokens)
        windows.append(ids[start:start + tokens])
    return windows


def case(name: str, seed: int, lengths: list, calls: list) -> dict:
    rows = [[100 * row + place for place in range(length)] for row, length in enumerate(lengths)]
    random.seed(seed)
    drawn = [{"samples": samples, "tokens": tokens, "windows": draw(rows, samples, tokens)}
             for samples, tokens in calls]
    return {"name": name, "seed": seed, "rows": rows, "calls": drawn,
            "next32": random.getrandbits(32)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=GOLDEN)
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    cases = [json.dumps(case(name, *rest), separators=(",", ":")) for name, rest in CASES.items()]
    out.write_text("[\n" + ",\n".join(cases) + "\n]\n")
    print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()

"""A file of JSON lines that is broken in ten ways, and knows where."""

import json
import random
from pathlib import Path

FOUND_LATER = ("too_long", "no_tokens")
"""Good texts to whoever reads the file; only a tokenizer sees what is wrong."""


def _row(number: int, text: object = "a film that is good , and warm .") -> dict[str, object]:
    return {"id": f"r{number}", "text": text, "label": number % 2}


def _line(row: object, ensure_ascii: bool = True) -> bytes:
    return json.dumps(row, ensure_ascii=ensure_ascii).encode()


WAYS = {
    "broken_json": lambda number: _line(_row(number))[:-9],
    "not_an_object": lambda number: _line(["a film", number]),
    "missing_field": lambda number: _line({"id": f"r{number}", "label": 0}),
    "missing_text": lambda number: _line(_row(number, None)),
    "wrong_type": lambda number: _line(_row(number, number)),
    "empty_text": lambda number: _line(_row(number, " \t ")),
    "invalid_utf8": lambda number: _line(_row(number, "café"), ensure_ascii=False).replace("é".encode(), b"\xe9"),
    "lone_surrogate": lambda number: _line(_row(number, "half \ud83d of a face")),
    "too_long": lambda number: _line(_row(number, "good " * 2000)),
    "no_tokens": lambda number: _line(_row(number, "\u200b\u200b")),
}
"""The kind of problem, or one of `FOUND_LATER`, and the line of the row with that number."""


def write_broken(path: Path, rows: int = 1000, each: int = 5, seed: int = 0) -> dict[int, str]:
    """Write JSON lines, `each` of them broken in each of the ten ways; the number of every broken row and its way."""
    draw = random.Random(seed)
    places = draw.sample(range(rows), each * len(WAYS))
    ways = dict(sorted(zip(places, list(WAYS) * each, strict=True)))
    subjects = ("the plot", "this film", "her face", "every line")
    verdicts = ("shines", "falls flat", "is warm and true")
    with path.open("wb") as file:
        for number in range(rows):
            text = f"{draw.choice(subjects)} {draw.choice(verdicts)} , and the rest {draw.choice(verdicts)} ."
            file.write((WAYS[ways[number]](number) if number in ways else _line(_row(number, text))) + b"\n")
    return ways

"""A small answer made by hand: two texts, a question, four tokens of an answer, and numbers that are easily added."""

from typing import Any

import numpy as np

from contextmix.results.answer import Answer
from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.tokens.passages import Passage
from contextmix.tokens.pieces import Tokens

TEXTS = ("Tom had a dog. It ran.", "Lily had a ball.")
PROMPT = "<s>Tom had a dog. It ran.\n\nLily had a ball.\n\nWho?"
SAID = " Lily. Yes."
PIECES = (
    "<s>",
    "Tom had",
    " a dog.",
    " It ran.",
    "\n\n",
    "Lily",
    " had a ball.",
    "\n\n",
    "Who?",
    " Lily",
    ".",
    " Ye",
    "s.",
    "</s>",
)
ROWS = [  # <s>  Tom  dog  It   ⏎    Lily ball ⏎    Who?
    [4.0, 0.0, 1.0, 0.5, 0.0, 6.0, 2.0, 0.5, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0],
    [0.0, 8.0, 0.0, 1.0, 0.5, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0],
    [9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 0.0],
]


def tokens() -> Tokens:
    spans: list[Any] = []
    at = len("<s>")
    for piece in PIECES:
        special = piece in ("<s>", "</s>")
        spans.append(None if special else (at, at + len(piece)))
        at += 0 if special else len(piece)
    return Tokens(PIECES, special=tuple(piece in ("<s>", "</s>") for piece in PIECES), spans=spans, text=PROMPT + SAID)


def answer(values: Any = ROWS, quantity: str = "gradient", **changes: Any) -> Answer:
    labels = tokens()
    notes = {
        "generation": {"probabilities": [0.5, 0.25, 0.75, 1.0, 0.125]},
        "answer": {"by": "the model", "stopped": "its end token"},
    }
    made = Provenance("example", model="demo", notes=notes)
    one = TokenMap(
        np.array(values),
        ("query", "key"),
        labels,
        quantity,
        made,
        query_tokens=labels.part(slice(len(PIECES) - 5, None)),
    )
    passages = (Passage(TEXTS[0], 3, name="a.txt"), Passage(TEXTS[1], 27))
    start = PROMPT.index("Who?")
    return Answer(
        **{"token_map": one, "begins": len(PROMPT), "passages": passages, "question": (start, start + 4), **changes}
    )

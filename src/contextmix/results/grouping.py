"""Tokens grouped to the sections that people ask for: which token is part of which unit, source, or of neither."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contextmix.errors import AmbiguousToken, BadInput, UnknownToken
from contextmix.maths.relayed import Hops, relayed
from contextmix.maths.whole import index_of
from contextmix.results.labels import encodable
from contextmix.tokens.belonging import owners
from contextmix.tokens.sections import Section, Span
from contextmix.tokens.thoughts import Thoughts

Numbers = NDArray[np.float64]
Positions = NDArray[np.int_]

ELSEWHERE = ("question", "template", "answer so far")
"""What else is before a token of an answer: the question, the rest of the prompt (template, start token), and what the
answer had said until then."""
THOUGHTS = "own thoughts"
"""Of an answer with thoughts also these: what the answer drew from them, and no hop passed on."""


def unit_rows(spoken: Sequence[Span | None], units: Sequence[Section], text: str, *, mean: bool = False) -> Numbers:
    """(unit, token of the answer): the weight of the token in the unit, 0 where it is no part of it.

    A unit that shares its only token with a longer one has the row of that token too.

    Args:
        spoken: Where the tokens stand in the answer.
        units: Its sections.
        text: The answer.
        mean: Whether the weights of a unit sum to 1, rather than being 1.

    Raises:
        BadInput: If a unit holds no token.
    """
    own = owners(spoken, [one.span for one in units], text, [(0, len(text))])
    found = np.array([[owner == place for owner in own] for place in range(len(units))], dtype=np.float64)
    for place in np.flatnonzero(found.sum(1) == 0).tolist():
        start, stop = units[place].span
        found[place] = [span is not None and span[0] < stop and span[1] > start for span in spoken]
        if not found[place].any():
            raise BadInput(f"The part {units[place].text!r:.60} of the answer holds no token, so nothing says it.")
    return found / found.sum(1, keepdims=True) if mean else found


def source_columns(
    spans: Sequence[Span | None],
    prompt: int,
    text: str,
    sources: Sequence[Span],
    passages: Sequence[Span],
    question: Span | None,
    thoughts: Thoughts | None = None,
    begins: int = 0,
) -> NDArray[np.int_]:
    """(token,): the source that each token is part of; behind the sources one of `ELSEWHERE`, or `THOUGHTS`.

    Args:
        spans: Where all tokens stand in prompt and answer.
        prompt: How many of them the prompt has.
        text: Prompt and answer.
        sources: Places of the sources in it, in order.
        passages: Places of the texts that they were cut from, in order.
        question: Place of the question.
        thoughts: Where the model thought. Their marks are part of the template.
        begins: Where the answer begins.
    """
    own = owners(spans[:prompt], sources, text, passages)
    asked = owners(spans[:prompt], [] if question is None else [question], text)
    elsewhere = [len(sources) + (one is None) for one in asked]
    columns = [rest if one is None else one for one, rest in zip(own, elsewhere, strict=True)]
    said = [len(sources) + 2] * (len(spans) - prompt)
    if thoughts is not None:
        thought = owners(spans[prompt:], [thoughts.span], text, [thoughts.span])
        first = first_said(spans[prompt:], begins)
        said[:first] = [len(sources) + (1 if one is None else 3) for one in thought[:first]]
    return np.array([*columns, *said])


def first_said(spans: Sequence[Span | None], begins: int) -> int:
    """Which of the tokens that were written is the first of the answer.

    Args:
        spans: Where they stand in the text.
        begins: Where the answer begins in it.
    """
    return next((n for n, span in enumerate(spans) if span is not None and span[1] > begins), len(spans))


def passed_on(
    values: NDArray[Any], rows: NDArray[Any], columns: NDArray[np.int_], column: int, hops: Hops
) -> NDArray[Any]:
    """What units drew from the tokens of one column, passed on to what made these; see `relayed`.

    Args:
        values: (unit, token).
        rows: (written token, token): what made each of the last tokens.
        columns: (token,), from `source_columns`.
        column: That of the thoughts.
        hops: How often.
    """
    places = np.flatnonzero(columns == column)
    return relayed(values, rows[places - (len(columns) - len(rows))], places, hops) if len(places) else values


def summed(values: NDArray[Any], columns: NDArray[np.int_], count: int) -> Numbers:
    """(unit, token) → (unit, column): the numbers of each column's tokens added up, in float64.

    Args:
        values: (unit, token).
        columns: (token,), from `source_columns`.
        count: How many columns there are.
    """
    found = np.zeros((count, len(values)))
    np.add.at(found, columns, values.T.astype(np.float64))
    return found.T


def positive_shares(table: Numbers) -> Numbers:
    """What is above zero, divided by its sum in each row; rows of nothing above zero stay zero."""
    positive = np.maximum(table, 0)
    found: Numbers = positive / np.maximum(positive.sum(1, keepdims=True), np.finfo(np.float64).tiny)
    return found


def unit_position(units: Sequence[Section], asked: int | str) -> int:
    """The position of a unit that is asked for by its position, its text, or a part of it.

    Raises:
        UnknownToken: If there is no such unit.
        AmbiguousToken: If several hold the text.
    """
    texts = [one.text for one in units]
    if not isinstance(asked, str):
        place = index_of("top: unit", asked)
        if not -len(texts) <= place < len(texts):
            raise UnknownToken(place, texts)
        return place % len(texts)
    wanted = asked.strip()
    for found in (
        [n for n, text in enumerate(texts) if text == wanted],
        [n for n, t in enumerate(texts) if wanted in t],
    ):
        if len(found) > 1:
            raise AmbiguousToken(asked, found)
        if found:
            return found[0]
    raise UnknownToken(asked, texts)


def table_lines(
    units: Sequence[Section], sources: Sequence[Section], tables: Mapping[str, Numbers]
) -> Iterator[dict[str, Any]]:
    """One line per unit and source, and one more for each of `ELSEWHERE`, whose place and document are -1.

    Args:
        units: Sections of the answer.
        sources: Sections of the passages.
        tables: Name of a column → (unit, source + 3); one more of answers with thoughts.
    """
    rest = [*ELSEWHERE, THOUGHTS]
    for row, unit in enumerate(units):
        for column in range(next(iter(tables.values())).shape[1]):
            own = column < len(sources)
            one = sources[column] if own else Section(f"[{rest[column - len(sources)]}]", -1, -1, -1)
            yield {
                "unit": row,
                "unit_text": encodable(unit.text),
                "unit_start": unit.start,
                "unit_stop": unit.stop,
                "source": column if own else -1,
                "source_text": encodable(one.text),
                "document": one.document,
                "source_start": one.start,
                "source_stop": one.stop,
                **{name: float(each[row, column]) for name, each in tables.items()},
            }


def token_lines(
    pieces: Sequence[str],
    spans: Sequence[Span | None],
    probabilities: Sequence[float],
    dependence: Sequence[float] | None,
) -> dict[str, Any]:
    """A column per fact about the tokens of an answer, for `pandas.DataFrame`."""
    found: dict[str, Any] = {"token": list(map(encodable, pieces))}
    for place, name in enumerate(("start", "stop")):
        found[name] = pd.array([None if span is None else span[place] for span in spans], dtype="Int64")
    found["probability"] = list(probabilities)
    return found if dependence is None else {**found, "dependence": list(dependence)}

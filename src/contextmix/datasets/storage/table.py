"""The table of results: its columns, and how measured texts become rows of it.

Schema 1. One row per row of the data, in its order, also for those that failed: then ``problem`` and ``reason`` say
why, and the scores are missing. Axes of scores are nested lists with the key innermost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contextmix.datasets.reading.rows import Problem, Row
from contextmix.plugins.contracts import Scored
from contextmix.tokens.pieces import Tokens

METRICS = "metrics"
"""Where the notes of a row hold what its metrics say beside a number."""

CHECKS = "checks"
"""Where the report of a method of the whole model holds its own checks: the columns are those of recorded blocks."""

SCHEMA = 1
"""The version of these columns."""

_COLUMNS = (
    ("row", pa.int64(), "position in the data, from 0"),
    ("id", pa.string(), "from the id field, or the position"),
    ("source", pa.string(), "file and line"),
    ("text_hash", pa.string(), "SHA-256 of the text in UTF-8; of a pair, joined by U+001F"),
    ("label", pa.string(), "the label field as it was given"),
    ("tokens", pa.list_(pa.string()), "the keys: pieces, or words where these were asked for"),
    ("ids", pa.list_(pa.int32()), "numbers in the vocabulary; missing for words"),
    ("special", pa.list_(pa.bool_()), "added by the tokenizer"),
    ("words", pa.list_(pa.int32()), "the word that each piece belongs to"),
    ("starts", pa.list_(pa.int32()), "first character in the text; missing for pairs"),
    ("ends", pa.list_(pa.int32()), "one past the last character"),
    ("query", pa.int32(), "position of the token whose row the scores are"),
    ("prediction", pa.string(), "what the model says"),
    ("probability", pa.float64(), "its probability"),
    ("target", pa.string(), "what methods of the whole model explain"),
    ("conservation", pa.float64(), "largest relative error in the batch that it ran in"),
    ("block_equation", pa.float64(), "largest relative error in the batch that it ran in"),
    ("notes", pa.string(), "JSON: method → its report, where it gives one; metrics → reasons and curves"),
    ("problem", pa.string(), "why there are no scores, in one word; missing where all is well"),
    ("reason", pa.string(), "the same in a sentence"),
)
FIELDS = tuple(pa.field(name, kind, metadata={"about": about}) for name, kind, about in _COLUMNS)
"""The columns that every run has; those of its methods follow."""


@dataclass(frozen=True)
class Result:
    """What was found out about one text.

    Attributes:
        row: The row of the data.
        tokens: The keys.
        scores: Method → array (..., key).
        query: Position of the token whose row the scores are; None for methods of the whole model.
        prediction: What the model says, and its probability.
        target: What methods of the whole model explain.
        checks: Name → largest relative error.
        notes: Method → its report.
        problem: Why there is nothing more than the row; None where all is well.
        metrics: ``metric:method`` → what the metric says of the scores.
    """

    row: Row
    tokens: Tokens | None = None
    scores: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    query: int | None = None
    prediction: Mapping[str, Any] = field(default_factory=dict)
    target: str | None = None
    checks: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    problem: Problem | None = None
    metrics: Mapping[str, Scored] = field(default_factory=dict)


def schema(axes: Mapping[str, int], metrics: Sequence[str] = ()) -> pa.Schema:
    """The columns of a run.

    Args:
        axes: Method → number of axes of its scores.
        metrics: The columns of its metrics, ``metric:method``.
    """
    scores = [pa.field(name, _nested_type(count)) for name, count in axes.items()]
    return pa.schema([*FIELDS, *scores, *(pa.field(name, pa.float64()) for name in metrics)])


def as_table(results: Sequence[Result], axes: Mapping[str, int], metrics: Sequence[str] = ()) -> pa.Table:
    """Results as rows of the table, in the order given."""
    rows = [one.row for one in results]
    tokens = [one.tokens for one in results]
    spans = [None if one is None else one.spans for one in tokens]
    columns: dict[str, Any] = {
        "row": [row.number for row in rows],
        "id": [encodable(row.id) for row in rows],
        "source": [encodable(row.where) for row in rows],
        "text_hash": [text_hash(row.text) for row in rows],
        "label": [None if row.label is None else encodable(str(row.label)) for row in rows],
        "tokens": [None if one is None else list(map(encodable, one.pieces)) for one in tokens],
        "ids": [None if one is None else one.ids for one in tokens],
        "special": [None if one is None else one.special for one in tokens],
        "words": [None if one is None else one.words for one in tokens],
        "starts": [None if one is None else [span and span[0] for span in one] for one in spans],
        "ends": [None if one is None else [span and span[1] for span in one] for one in spans],
        "query": [one.query for one in results],
        "prediction": [_maybe(one.prediction.get("label")) for one in results],
        "probability": [one.prediction.get("probability") for one in results],
        "target": [_maybe(one.target) for one in results],
        "conservation": [one.checks.get("conservation") for one in results],
        "block_equation": [one.checks.get("block_equation") for one in results],
        "notes": [_noted(one) for one in results],
        "problem": [one.problem and one.problem.kind for one in results],
        "reason": [one.problem and encodable(one.problem.reason) for one in results],
    }
    arrays = [pa.array(columns[each.name], type=each.type) for each in FIELDS]
    scores = [nested([one.scores.get(name) for one in results], count) for name, count in axes.items()]
    values = [[one.metrics[name].value if name in one.metrics else None for one in results] for name in metrics]
    judged = [pa.array(each, type=pa.float64()) for each in values]
    return pa.Table.from_arrays([*arrays, *scores, *judged], schema=schema(axes, metrics))


def nested(values: Sequence[NDArray[Any] | None], axes: int) -> pa.Array:
    """Arrays of different shapes as nested lists of float32; None stays missing.

    Example:
        >>> nested([np.eye(2), None], 2).to_pylist()
        [[[1.0, 0.0], [0.0, 1.0]], None]
    """
    present = [np.asarray(one, dtype=np.float32) for one in values if one is not None]
    shapes = np.array([one.shape for one in present], dtype=np.int64).reshape(len(present), axes)
    array = pa.array(np.concatenate([one.ravel() for one in present]) if present else [], type=pa.float32())
    for axis in range(axes - 1, 0, -1):  # every list of one axis, text after text
        lengths = np.repeat(shapes[:, axis], shapes[:, :axis].prod(axis=1))
        array = pa.ListArray.from_arrays(_offsets(lengths), array)
    missing = np.array([one is None for one in values], dtype=bool)
    lengths = np.zeros(len(values), dtype=np.int64)
    lengths[~missing] = shapes[:, 0]
    return pa.ListArray.from_arrays(_offsets(lengths), array, mask=pa.array(missing))


def tokens_of(found: Mapping[str, Any]) -> Tokens:
    """The tokens of one row of the table."""
    spans = None
    if found["starts"] is not None:
        spans = [
            None if start is None else (start, end) for start, end in zip(found["starts"], found["ends"], strict=True)
        ]
    ids = None if found["ids"] is None else tuple(found["ids"])
    words = None if found["words"] is None else tuple(found["words"])
    return Tokens(tuple(found["tokens"]), ids, tuple(found["special"]), words, None if spans is None else tuple(spans))


def text_hash(text: str | tuple[str, str] | None) -> str | None:
    """SHA-256 of a text in UTF-8; the two of a pair are joined by U+001F, the unit separator."""
    if text is None:
        return None
    whole = text if isinstance(text, str) else "\x1f".join(text)
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()


def _noted(one: Result) -> str | None:
    """The reports of the methods and, under ``metrics``, what a number alone does not say: reasons and curves."""
    curves = {name: {step: round(value, 6) for step, value in said.curve.items()} for name, said in one.metrics.items()}
    more = {
        name: {"reason": said.reason} if said.value is None else {"curve": curves[name]}
        for name, said in one.metrics.items()
        if said.value is None or said.curve
    }
    notes = {**one.notes, **({METRICS: more} if more else {})}
    return json.dumps(notes) if notes else None


def _offsets(lengths: NDArray[np.int64]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), type=pa.int32())


def _nested_type(axes: int) -> pa.DataType:
    found = pa.float32()
    for _ in range(axes):
        found = pa.list_(found)
    return found


def _maybe(text: str | None) -> str | None:
    return None if text is None else encodable(text)


def encodable(text: str) -> str:
    """Half surrogate pairs (also of file names that are not UTF-8) as escapes: UTF-8 has no bytes for them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text

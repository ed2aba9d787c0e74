"""The table of answers: its columns, how an `Answer` becomes a row of it, and how it is put together again.

One row per row of the data, in its order, also for those that were refused: then ``problem`` and ``reason`` say why.
The numbers of the map of single tokens lie in a file of maps, as those of runs with ``maps`` do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from contextmix.datasets.reading.rows import Problem, Row
from contextmix.datasets.storage.table import encodable
from contextmix.results.answer import Answer
from contextmix.results.grouping import ELSEWHERE, THOUGHTS

_LINE = pa.struct(
    [
        *((name, pa.int32()) for name in ("unit", "unit_start", "unit_stop")),
        *((name, pa.int32()) for name in ("source", "document", "source_start", "source_stop")),
        *((name, pa.float64()) for name in ("value", "share", "direct", "signed")),
    ]
)
_COLUMNS = (
    ("row", pa.int64(), "position in the data, from 0"),
    ("id", pa.string(), "from the id field, or the position"),
    ("source", pa.string(), "file and line"),
    ("label", pa.string(), "the label field as it was given"),
    ("answer", pa.string(), "the answer, as it follows the prompt"),
    ("by", pa.string(), "who wrote it: the model; or given"),
    ("stopped", pa.string(), "what ended it, where the model wrote it"),
    ("template", pa.string(), "what placed context and question"),
    ("thoughts", pa.string(), "what the model thought before it"),
    ("tokens", pa.list_(pa.string()), "the tokens of the answer"),
    ("probabilities", pa.list_(pa.float64()), "what the model gave each of them"),
    ("dependence", pa.list_(pa.float64()), "how far each depends on the context, in nats, where that was asked for"),
    ("units", pa.list_(pa.string()), "the texts of the units"),
    ("sources", pa.list_(pa.string()), "the texts of the sources"),
    ("cut", pa.list_(pa.string()), "the texts of the sources that did not fit into the prompt"),
    (
        "lines",
        pa.list_(_LINE),
        "one per unit and source, and per unit three or four of what no source gave (source -1)",
    ),
    ("rest", pa.string(), "JSON: what Answer.from_dict needs beside the numbers of its maps"),
    ("problem", pa.string(), "why there is no answer, in one word; missing where all is well"),
    ("reason", pa.string(), "the same in a sentence"),
)
SCHEMA = pa.schema([pa.field(name, kind, metadata={"about": about}) for name, kind, about in _COLUMNS])
"""The columns of every run of answers."""
SHOWN = tuple(name for name in SCHEMA.names if name not in ("lines", "rest"))
"""Those that people look at."""
LINES = ("id", "unit", "unit_text", "unit_start", "unit_stop", "source", "source_text", "document", "source_start",
         "source_stop", "value", "share", "direct", "signed")  # fmt: skip
"""The columns of the long table of all answers."""
MAPS = {"token_map": "map", "signed": "signed"}
"""The maps of an answer, and what each is called in the file of maps."""


@dataclass(frozen=True)
class Answered:
    """What was found out about one question.

    Attributes:
        row: The row of the data.
        answer: The answer; None where there is a problem.
        problem: Why there is none.
    """

    row: Row
    answer: Answer | None = None
    problem: Problem | None = None

    @property
    def tokens(self) -> Sequence[str] | None:
        """The tokens of the answer."""
        return None if self.answer is None else self.answer.token_map.query_tokens.pieces[self.answer.own]


def as_table(found: Sequence[Answered]) -> pa.Table:
    """Answers as rows of the table, in the order given."""
    return pa.Table.from_pylist([{**_of_row(one), **_of_answer(one.answer)} for one in found], SCHEMA)


def maps_of(answer: Answer) -> dict[str, NDArray[Any]]:
    """The numbers that lie in a file of maps."""
    maps = {name: getattr(answer, field) for field, name in MAPS.items()}
    return {name: one.values for name, one in maps.items() if one is not None}


def maps_named(rest: str) -> list[str]:
    """The names of the maps that an answer has, as `maps_of` gives them."""
    document = json.loads(rest)
    return [name for field, name in MAPS.items() if document[field] is not None]


def rebuilt(rest: str, maps: Mapping[str, NDArray[Any]]) -> Answer:
    """The answer of a row: equal in every bit, label and note to the one that was stored.

    Args:
        rest: The column of that name.
        maps: What `maps_of` gave.

    Raises:
        BadFile: If they do not fit each other.
    """
    document = json.loads(rest)
    for field, name in MAPS.items():
        if document[field] is not None:
            document[field] = {**document["token_map"], **document[field], "values": maps[name]}
    return Answer.from_dict(document)


def lines_of(frame: pd.DataFrame) -> pd.DataFrame:
    """The lines of all answers with the texts that they name, indexed by row.

    Args:
        frame: Columns id, units, sources and lines, indexed by row.
    """
    rows = frame[["id", "units", "sources", "lines"]].itertuples(index=False)
    index = frame.index.repeat(frame["lines"].map(len))
    lines = pd.DataFrame([one for own in rows for one in _told(*own)], index=index, columns=LINES)
    return lines.drop(columns=[name for name in ("direct", "signed") if lines[name].isna().all()])


def _told(name: str, units: Sequence[str], sources: Sequence[str], lines: Sequence[Any]) -> Iterator[dict[str, Any]]:
    texts = [*sources, *(f"[{one}]" for one in (*ELSEWHERE, THOUGHTS))]
    columns = len(lines) // max(1, len(units))
    for place, line in enumerate(lines):
        yield {"id": name, "unit_text": units[line["unit"]], "source_text": texts[place % columns], **line}


def _of_row(one: Answered) -> dict[str, Any]:
    row, problem = one.row, one.problem
    return {
        "row": row.number,
        "id": encodable(row.id),
        "source": encodable(row.where),
        "label": None if row.label is None else encodable(str(row.label)),
        "problem": problem and problem.kind,
        "reason": problem and encodable(problem.reason),
    }


def _of_answer(answer: Answer | None) -> dict[str, Any]:
    if answer is None:
        return {}
    told = answer.provenance.notes["answer"]
    return {
        "answer": encodable(answer.text),
        **{name: told.get(name) for name in ("by", "stopped", "template")},
        "thoughts": None if answer.thoughts is None else encodable(answer.thoughts),
        "tokens": answer.tokens()["token"].tolist(),
        "probabilities": answer.probabilities,
        "dependence": answer.dependence and answer.dependence[answer.own],
        "units": [encodable(one.text) for one in answer.units],
        "sources": [encodable(one.text) for one in answer.sources],
        "cut": [encodable(one.text) for one in answer.cut],
        "lines": list(_lines(answer)),
        "rest": _rest(answer),
    }


def _lines(answer: Answer) -> list[dict[str, Any]]:
    """The table of an answer without its texts, which stand once in columns of their own."""
    frame = answer.to_pandas()
    columns = {one.name: frame[one.name].tolist() for one in _LINE if one.name in frame}
    return [dict(zip(columns, line, strict=True)) for line in zip(*columns.values(), strict=True)]


def _rest(answer: Answer) -> str:
    """All but the numbers of the maps; of the one with signs only what differs from the other."""
    document = answer.to_dict()
    for field in MAPS:
        if document[field] is not None:
            del document[field]["values"]
    if document["signed"] is not None:
        same = document["token_map"]
        document["signed"] = {name: value for name, value in document["signed"].items() if value != same[name]}
    return json.dumps(document)

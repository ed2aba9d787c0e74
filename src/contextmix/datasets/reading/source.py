"""Rows from files, from a data set by name or from memory: counted, identified and read from anywhere."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from contextmix.datasets.reading.by_name import dataset_table, is_dataset, load_table
from contextmix.datasets.reading.duplicates import Duplicates
from contextmix.datasets.reading.fields import Choice, of_questions, of_texts, resolve
from contextmix.datasets.reading.formats import FORMATS
from contextmix.datasets.reading.lines import LineFile
from contextmix.datasets.reading.parquet import ParquetFile
from contextmix.datasets.reading.questions import judged_question
from contextmix.datasets.reading.rows import Fields, Row, judged
from contextmix.datasets.reading.tables import Table, frame_table, items_table
from contextmix.errors import BadFile, BadInput, BadOption
from contextmix.results.files import at_home

ENDINGS = (*FORMATS, ".parquet")


@dataclass(frozen=True)
class Source:
    """Rows that can be read from anywhere, as often as needed.

    No file stays open, so a copy costs little and works in another process.

    Attributes:
        tables: What it is made of, in order.
        fields: The columns that are read.
        count: Rows, at most as many as the limit.
        portable: Whether another process can read it: files and data sets by name, but nothing in memory.
        duplicates: Rows that have the id of an earlier one.
        judge: What makes a row of its values: `judged` or `judged_question`.
    """

    tables: tuple[Table, ...]
    fields: Fields
    count: int
    portable: bool
    duplicates: Duplicates
    judge: Callable[..., Row] = field(default=judged, repr=False)

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """What identifies the content, as JSON: of files their names, sizes in bytes and SHA-256.

        Fields and limit are no part of it.
        """
        if isinstance(self.tables[0], LineFile | ParquetFile):
            return {"files": [dict(table.identity) for table in self.tables]}
        return dict(self.tables[0].identity)

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        """Rows start to stop (excluded), as a slice would take them, at the cost of about as many.

        Raises:
            BadFile: If a file changed after it was scanned, or cannot be read any more.
        """
        wanted, begin = range(self.count)[start:stop], 0
        for table in self.tables:
            low, high = max(wanted.start - begin, 0), min(wanted.stop - begin, table.count)
            if low < high:
                for number, (where, found) in enumerate(table.records(low, high, self.fields.names), begin + low):
                    first = self.duplicates.first_of(number)
                    yield self.judge(number, where, found, self.fields, typed=table.typed, first=first)
            begin += table.count


def open_source(
    data: Any,
    *,
    text_field: str | None = None,
    pair_field: str | None = None,
    label_field: str | None = None,
    id_field: str | None = None,
    query_field: str | None = None,
    rationale_field: str | None = None,
    split: str | None = None,
    limit: int | None = None,
) -> Source:
    """Open a data set and scan it once: every byte is hashed, every row counted, every id compared.

    Args:
        data: A file, a glob or a sequence of files, ending in ``.jsonl``, ``.ndjson`` or ``.json`` (an object per
            line), ``.csv``, ``.tsv`` (no quoting, as GLUE writes it), ``.txt`` (a text per line) or ``.parquet``; a
            name or folder for the library `datasets`; a DataFrame, a `datasets.Dataset` or a sequence of dictionaries.
        text_field: The column of texts. Left out: the first of text, sentence, sentence1, premise and question that
            exists, or the only column beside label and id, if its type is text (CSV and TSV have no types).
            A column that is half of a well-known pair must be named. Lists of words are joined by blanks.
        pair_field: The column of second texts; never guessed.
        label_field: The column of labels. Left out: label, if it exists.
        id_field: The column of ids. Left out: id, if it exists; without ids, rows are known by their number.
        query_field: The column of the tokens whose rows are kept, by text or position; never guessed.
        rationale_field: The column of what people marked; never guessed. See `contextmix.datasets.reading.rationales`.
        split: Which part of a `datasets` data set.
        limit: Read the first rows only, at least one.

    Returns:
        The source. A row that cannot be explained is one of its rows, with a problem; none is left out.

    Raises:
        BadFile: If a file is missing, unreadable or not what its ending says.
        BadInput: If the data are of another kind, hold no rows, or mix schemas.
        BadOption: If a column or split does not exist, or it is not clear which one is meant.

    Example:
        >>> source = open_source([{"text": "Good.", "label": 1}, {"text": ""}])
        >>> for row in source.rows(0, source.count):
        ...     print(row.where, repr(row.text), row.label, row.problem and row.problem.kind)
        item 0 'Good.' 1 None
        item 1 None None empty_text
    """
    asked = Fields(text_field, pair_field, label_field, id_field, query_field, rationale_field)
    return _scanned(data, asked, of_texts, split, limit)


def open_questions(
    data: Any,
    *,
    question_field: str | None = None,
    context_field: str | None = None,
    answer_field: str | None = None,
    label_field: str | None = None,
    id_field: str | None = None,
    split: str | None = None,
    limit: int | None = None,
) -> Source:
    """Open a data set of questions, otherwise as `open_source` does.

    Args:
        data: As for `open_source`.
        question_field: The column of questions, each a text or a chat (a list of messages). Left out: question and
            messages, of which each row has one.
        context_field: The column of what answers may draw from: a text, or a list of texts. Left out: context, if it
            exists.
        answer_field: The column of answers to explain; where one is missing, the model writes it. Left out: answer, if
            it exists.
        label_field: As for `open_source`.
        id_field: As for `open_source`.
        split: As for `open_source`.
        limit: As for `open_source`.

    Example:
        >>> source = open_questions([{"question": "Who ran?", "context": ["Tom ran."]}, {"question": "Who?"}])
        >>> [row.problem and row.problem.kind for row in source.rows()]
        [None, 'missing_context']
    """
    fields = Fields(label=label_field, id=id_field, question=question_field, context=context_field, answer=answer_field)
    return _scanned(data, fields, of_questions, split, limit)


def _scanned(data: Any, asked: Fields, choose: Choice, split: str | None, limit: int | None) -> Source:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise BadOption(f"limit={limit!r} must be a number of rows, at least 1. Leave it out to read all rows.")
    try:
        opened, portable = _opened(data, split)
    except (OSError, UnicodeError, RuntimeError) as reason:  # too long for a name, no text of one, nobody's home
        said = getattr(reason, "strerror", None) or reason
        raise BadFile(f"The data {data!r:.80} cannot be searched for: {said}. Name a file, or a data set.") from reason
    fields = resolve(opened, asked, choose)
    tables = tuple(table.scanned(fields.names) for table in opened)
    count = sum(table.count for table in tables)
    if count == 0:
        raise BadInput("The data has no rows, so there is nothing to explain.")
    duplicates = Duplicates.within(tables, fields)
    judge = judged if choose is of_texts else judged_question
    return Source(tables, fields, count if limit is None else min(count, limit), portable, duplicates, judge)


def _opened(data: Any, split: str | None) -> tuple[list[Table], bool]:
    """Tables that are not scanned yet, and whether another process can read them."""
    if is_dataset(data):
        return [dataset_table(data, split)], False
    if isinstance(data, str | Path) and _is_name(data):
        return [load_table(str(data), split)], True
    if split is not None:
        raise BadOption(f"The split {split!r} belongs to a data set of the library datasets. Leave it out.")
    if isinstance(data, pd.DataFrame):
        return [frame_table(data)], False
    if isinstance(data, str | Path):
        return _files(_matches(data)), True
    if isinstance(data, Sequence) and not isinstance(data, bytes | bytearray):
        if data and all(isinstance(item, str | Path) for item in data):
            return _files([path for item in data for path in _matches(item)]), True
        if any(isinstance(item, Mapping) for item in data):
            return [items_table(data)], False
        if not data:
            raise BadInput("The data is an empty list, so there is nothing to explain.")
    raise BadInput(
        f"Cannot read data of type {type(data).__name__}. Give the name of a file, a glob or several files; the name "
        'of a data set; a DataFrame, a Dataset or a list of dictionaries, as [{"text": "Good."}].'
    )


def _is_name(data: str | Path) -> bool:
    """Whether the library `datasets` is to look for it: a folder, or a name that is neither a file nor like one."""
    path = at_home(data)
    like_a_file = isinstance(data, Path) or glob.has_magic(data) or path.suffix.lower() in ENDINGS
    return path.is_dir() or not (path.exists() or like_a_file)


def _matches(data: str | Path) -> list[Path]:
    path = at_home(data)
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    names = glob.glob(str(path), recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
    found = sorted(Path(name) for name in names if Path(name).is_file())
    if not found:
        raise BadFile(f"No file matches {data}. Check the pattern and the current folder.")
    return found


def _files(paths: Sequence[Path]) -> list[Table]:
    names = Counter(path.name for path in paths)
    twice = [path for path, times in Counter(path.resolve() for path in paths).items() if times > 1]
    if twice:
        raise BadInput(f"{twice[0].name} is listed more than once, so its texts would count twice. List it once.")
    common = Path(os.path.commonpath([path.resolve().parent for path in paths]))
    shown = [path.name if names[path.name] == 1 else path.resolve().relative_to(common).as_posix() for path in paths]
    return [_file(path, name) for path, name in zip(paths, shown, strict=True)]


def _file(path: Path, shown: str) -> Table:
    if path.is_dir():
        raise BadFile(f"{path} is a folder. Name its files, as {path / '*.jsonl'}.")
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise BadFile(f"{path} ends in {ending!r}; supported endings are {', '.join(ENDINGS)}. Convert it.")
    return ParquetFile.opened(path, shown) if ending == ".parquet" else LineFile.opened(path, shown)

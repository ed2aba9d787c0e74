"""Files of lines: where a row ends in each format, and what its bytes say.

A row is a line in JSONL, TSV and plain text. In CSV a quoted field may run over several lines. Bytes are split before
they are decoded, so a character that is broken in one row spoils that row only.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from contextmix.datasets.reading.rows import Problem

LARGEST_ROW = 2**24
"""Bytes. A longer row is a problem and is never held in memory: it is most often a quote that nobody closed."""

csv.field_size_limit(max(csv.field_size_limit(), LARGEST_ROW))  # 128 KiB is less than a long document

Raw = tuple[int, int, int, bytes | Problem]
"""Size in bytes, first line, last line (counted from 1), content."""


@dataclass(frozen=True)
class Format:
    """How one kind of file is cut into rows and read.

    Attributes:
        split: An open file and the number of its next line to its rows.
        cells: The text of a row to its cells; None for JSON, whose rows name their fields.
        header: Whether the first row names the columns.
    """

    split: Callable[[BinaryIO, int], Iterator[Raw]]
    cells: Callable[[str], list[str]] | None
    header: bool


def rows_of_lines(file: BinaryIO, line: int) -> Iterator[Raw]:
    """Every line is a row."""
    while piece := file.readline(LARGEST_ROW):
        size, content = len(piece), piece
        while len(piece) == LARGEST_ROW and not piece.endswith(b"\n"):
            piece = file.readline(LARGEST_ROW)
            size += len(piece)
        yield size, line, line, content if size == len(content) else _oversized(size, line, line)
        line += 1


def rows_of_csv(file: BinaryIO, line: int) -> Iterator[Raw]:
    """Lines up to one that ends outside of quotes are a row."""
    held: list[bytes] = []
    size, begun, last, inside = 0, 0, 0, False
    for length, first, last, content in rows_of_lines(file, line):
        plain = isinstance(content, Problem) or (not inside and b'"' not in content)
        if plain and not inside:
            yield length, first, last, content
            continue
        if not inside:
            held, size, begun = [], 0, first
        size += length
        if isinstance(content, Problem) or size > LARGEST_ROW:
            held = []
        else:
            held.append(content)
        if isinstance(content, bytes):
            inside = quote_open(content, inside)
        if not inside:
            yield size, begun, last, b"".join(held) if size <= LARGEST_ROW else _oversized(size, begun, last)
    if inside:
        said = f"A quote opens in line {begun} and never closes, so lines {begun} to {last} are lost. Close it."
        yield size, begun, last, Problem("open_quote", said)


def quote_open(line: bytes, inside: bool) -> bool:
    """Whether a quoted field is open at the end of a line of CSV.

    Args:
        line: The bytes of the line.
        inside: Whether one was open at its start.

    Returns:
        True if the row goes on in the next line. A quote opens a field only at its start; two are one that is meant.

    Example:
        >>> quote_open(b'1,"a', False), quote_open(b'b"",c",2', True), quote_open(b'5" wide,1', False)
        (True, False, False)
    """
    at = 0
    if not inside:
        at = 1 if line.startswith(b'"') else line.find(b',"') + 2
        if at == 1 and not line.startswith(b'"'):
            return False
    while (at := line.find(b'"', at)) >= 0:
        if line[at + 1 : at + 2] == b'"':
            at += 2
        elif (at := line.find(b',"', at + 1) + 2) == 1:
            return False
    return True


def parsed(raw: Raw, form: Format, columns: Sequence[str]) -> dict[str, object] | Problem:
    r"""What the bytes of a row say, by column, or what is wrong with them.

    Example:
        >>> parsed((8, 2, 2, b"Good.\t1\n"), FORMATS[".tsv"], ("text", "label"))
        {'text': 'Good.', 'label': '1'}
        >>> parsed((7, 1, 1, b"{broken"), FORMATS[".jsonl"], ()).kind
        'broken_json'
    """
    _, first, last, content = raw
    if isinstance(content, Problem):
        return content
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    try:
        text = content.decode()
    except UnicodeDecodeError as reason:
        said = f"Byte {reason.start + 1} of the row is {content[reason.start]:#04x}, which is not valid UTF-8 there."
        return Problem("invalid_utf8", f"{said} Save the file as UTF-8.")
    if not text or (form.cells is None and text.isspace()):
        return Problem("empty_line", "The line is empty. Remove it, or write the row that belongs there.")
    if form.cells is None:
        return _object(text)
    try:
        cells = form.cells(text)
    except csv.Error as reason:
        return Problem(
            "broken_csv", f"{_lines(first, last)} no row of CSV: {reason}. Inside quotes, double each quote."
        )
    if len(cells) != len(columns):
        said = f"{_lines(first, last)} a row of {len(cells)} columns, and the header has {len(columns)}."
        return Problem("wrong_columns", f"{said} Look for an extra or missing separator or quote.")
    return dict(zip(columns, cells, strict=True))


def _object(text: str) -> dict[str, object] | Problem:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as reason:
        found = f"{reason.msg} (character {reason.colno})" if isinstance(reason, json.JSONDecodeError) else str(reason)
        return Problem("broken_json", f"The line is not JSON: {found}. Write one complete object per line.")
    if isinstance(value, dict):
        return value
    said = f"The line is JSON of the type {type(value).__name__}. Write an object with named fields."
    return Problem("not_an_object", said)


def _csv_cells(text: str) -> list[str]:
    return next(csv.reader([text], strict=True)) if '"' in text else text.split(",")


def _tsv_cells(text: str) -> list[str]:
    """As GLUE writes it: every quote is a quote, and a tab is always a separator."""
    return text.split("\t")


def _txt_cells(text: str) -> list[str]:
    return [text]


def _lines(first: int, last: int) -> str:
    return "The line is" if first == last else f"Lines {first} to {last} are, by their quotes,"


def _oversized(size: int, first: int, last: int) -> Problem:
    said = f"Lines {first} to {last} are one row of {size} bytes, more than the {LARGEST_ROW} that a row may have."
    return Problem("oversized_row", f"{said} Look for a missing line end or a quote that is never closed.")


_JSON = Format(rows_of_lines, None, header=False)
FORMATS = {
    ".jsonl": _JSON,
    ".ndjson": _JSON,
    ".json": _JSON,
    ".csv": Format(rows_of_csv, _csv_cells, header=True),
    ".tsv": Format(rows_of_lines, _tsv_cells, header=True),
    ".txt": Format(rows_of_lines, _txt_cells, header=False),
}
"""By the ending of the file."""

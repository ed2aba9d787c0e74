"""Files of results: readable JSON or compact safetensors, complete, written all or nothing. Never pickle."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as safetensors_bytes

from contextmix.errors import BadFile, ContextMixError, OutputExists, OutputUnwritable
from contextmix.provenance import Provenance, Quantity
from contextmix.tokenmap import TokenMap
from contextmix.tokens import Tokens

FORMAT = "contextmix.tokenmap"
SCHEMA = 2
"""The newest schema. A file says the oldest one that holds it all: 2 added the places of images and sounds."""
SUFFIXES = (".json", ".safetensors")
PAGES = (".html", ".htm")
"""Endings of pages to look at, which cannot be read back."""


def write_map(token_map: TokenMap, path: Path | str, overwrite: bool = False) -> None:
    """Write a map to a file; the ending chooses the format.

    Args:
        token_map: What to write.
        path: A name that ends in ``.json`` or ``.safetensors``.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputExists: If the file exists and may not be replaced.
        OutputUnwritable: If it cannot be written, or has another ending.

    Example:
        >>> import tempfile
        >>> tokens = Tokens(("a", "b"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_map(TokenMap([1.0, 0.5], ("key",), tokens, "norm", Provenance("example")), f"{folder}/a.json")
        ...     read_map(f"{folder}/a.json").values.tolist()
        [1.0, 0.5]
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputUnwritable(
            path, f"its name ends in {suffix!r}, and maps are written as {', '.join(SUFFIXES)} or {PAGES[0]}"
        )
    encode = _json_lines if suffix == ".json" else _safetensors
    write_atomically(path, encode(token_map), overwrite)


def read_map(path: Path | str) -> TokenMap:
    """Read a map that `write_map` wrote.

    Args:
        path: The file.

    Returns:
        A map that is equal in every bit, label and note.

    Raises:
        BadFile: If the file is missing, damaged, of another kind, or of a newer schema.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise BadFile(f"Cannot read {path}: maps are stored as {' or '.join(SUFFIXES)}, and this name ends otherwise.")
    try:
        return from_document(_read_json(path) if suffix == ".json" else _read_safetensors(path))
    except (ContextMixError, SafetensorError, OSError, ValueError, RecursionError) as reason:
        said = reason.strerror if isinstance(reason, OSError) and reason.strerror else reason
        raise BadFile(f"Cannot read {path} as a contextmix result: {said} Write it again with map.save().") from reason


def as_document(token_map: TokenMap) -> dict[str, Any]:
    """Everything that a map holds, as JSON values under the names of its constructor's arguments."""
    return {**_labels(token_map), "values": token_map.values.tolist()}


def from_document(document: Mapping[str, Any]) -> TokenMap:
    """The inverse of `as_document`; every field is checked, and `BadFile` says which one is wrong."""
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise BadFile(f"It does not say that its format is {FORMAT!r}.")
    if document.get("schema") not in range(1, SCHEMA + 1):
        raise BadFile(
            f"Its schema is {document.get('schema')!r:.40} and this version of contextmix reads up to {SCHEMA}."
        )
    for name, fits in _FIELDS.items():
        if name not in document or not fits(document[name]):
            raise BadFile(f"The field {name!r} is missing or of the wrong type: {document.get(name)!r:.60}.")
    try:
        return _built(document)
    except (ContextMixError, ValueError) as reason:
        raise BadFile(f"Its fields do not fit each other. {reason}") from reason


def write_atomically(path: Path | str, data: bytes, overwrite: bool = False) -> None:
    """Write a file completely or not at all: an interruption leaves the old content and no rest.

    Args:
        path: The file; its folder must exist.
        data: The whole content.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputExists: If the file exists and may not be replaced.
        OutputUnwritable: If the folder is missing, closed or full, or the path is a folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(f"{folder}/note.txt", b"all of it")
        ...     Path(folder, "note.txt").read_bytes()
        b'all of it'
    """
    path = Path(path)
    # In the same folder, because only within one file system is replacing a file a single step.
    part = path.parent / f".{uuid.uuid4().hex}.part"
    refuse_place(path, overwrite)
    try:
        with _explained(path):
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def refuse_place(path: Path | str, overwrite: bool = False) -> None:
    """Say early, before any work, that a file could not be written.

    Args:
        path: The file to be written later.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputExists: If the file exists and may not be replaced.
        OutputUnwritable: If the folder is missing, or the path is a folder or no possible name.

    Example:
        >>> refuse_place("missing/map.json")
        Traceback (most recent call last):
        contextmix.errors.OutputUnwritable: Cannot write missing/map.json: there is no folder missing...
    """
    path = Path(path)
    with _explained(path):
        if path.is_dir():
            raise OutputUnwritable(path, "it is a folder")
        if not path.parent.is_dir():
            raise OutputUnwritable(path, f"there is no folder {path.parent}")
        if path.exists() and not overwrite:
            raise OutputExists(path)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as reason:
        raise OutputUnwritable(path, getattr(reason, "strerror", None) or str(reason)) from reason


def _json(value: Any) -> bytes:
    # Broken texts hold lone surrogates. UTF-8 has no bytes for them, but the escape that Python then writes is JSON's.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def _labels(token_map: TokenMap) -> dict[str, Any]:
    same = token_map.query_tokens == token_map.tokens
    placed = any(tokens.places is not None for tokens in (token_map.tokens, token_map.query_tokens))
    return {
        "format": FORMAT,
        "schema": 2 if placed else 1,
        "quantity": str(token_map.quantity),
        "unit": token_map.quantity.unit,
        "dims": list(token_map.dims),
        "layers": list(token_map.layers) if "layer" in token_map.dims else None,
        "targets": None if token_map.targets is None else list(token_map.targets),
        "selected": dict(token_map.selected),
        "tokens": token_map.tokens.to_dict(),
        "query_tokens": None if same else token_map.query_tokens.to_dict(),
        "provenance": token_map.provenance.to_dict(),
        "dtype": str(token_map.values.dtype),
    }


def _json_lines(token_map: TokenMap) -> bytes:
    """One field per line: readable, and still small."""
    fields = as_document(token_map).items()
    return b"{\n" + b",\n".join(_json(name) + b": " + _json(value) for name, value in fields) + b"\n}\n"


def _safetensors(token_map: TokenMap) -> bytes:
    header = {"contextmix": _json(_labels(token_map)).decode()}
    return safetensors_bytes({"values": token_map.values}, header)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_safetensors(path: Path) -> Any:
    with safe_open(path, framework="numpy") as file:
        document = json.loads((file.metadata() or {}).get("contextmix", "null"))
        return document if not isinstance(document, dict) else {**document, "values": file.get_tensor("values")}


def _built(document: Mapping[str, Any]) -> TokenMap:
    values = np.asarray(document["values"])
    if values.dtype.kind not in "fi":
        raise BadFile(f"The values are not a rectangle of numbers, but {values.dtype}.")
    query_tokens = document["query_tokens"]
    return TokenMap(
        values.astype(document["dtype"]),
        document["dims"],
        Tokens.from_dict(document["tokens"]),
        Quantity(document["quantity"]),
        Provenance.from_dict(document["provenance"]),
        query_tokens=None if query_tokens is None else Tokens.from_dict(query_tokens),
        layers=document["layers"],
        targets=document["targets"],
        selected=document["selected"],
    )


def _all(kind: type, value: Any) -> bool:
    return isinstance(value, list) and all(type(entry) is kind for entry in value)


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "quantity": lambda value: value in list(Quantity),
    "dims": lambda value: _all(str, value),
    "layers": lambda value: value is None or _all(int, value),
    "targets": lambda value: value is None or _all(str, value),
    "selected": lambda value: isinstance(value, dict) and _all(int, list(value.values())),
    "tokens": lambda value: isinstance(value, dict),
    "query_tokens": lambda value: value is None or isinstance(value, dict),
    "provenance": lambda value: isinstance(value, dict),
    "dtype": lambda value: value in ("float32", "float64"),
    "values": lambda value: isinstance(value, list | float | int | np.ndarray),
}

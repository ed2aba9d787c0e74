"""The file format of maps: readable JSON or compact safetensors, complete. Never pickle.

A document holds the arguments of `TokenMap` as JSON values. This file knows the format alone: `TokenMap` hands over its
arguments, and takes them back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as safetensors_bytes

from contextmix.errors import BadFile, ContextMixError, WrongQuantity
from contextmix.maths.whole import whole_number
from contextmix.results.files import write_atomically
from contextmix.results.provenance import Provenance, Quantity
from contextmix.results.soundness import fault_of_shares
from contextmix.tokens.pieces import Tokens

FORMAT = "contextmix.tokenmap"
SCHEMA = 2
"""The newest schema. A file says the oldest one that holds it all: 2 added the places of images and sounds."""
SUFFIXES = (".json", ".safetensors")

Arguments = Mapping[str, Any]
"""What `TokenMap` is made of, under the names of its constructor's arguments."""


def write(arguments: Arguments, path: Path | str, overwrite: bool = False) -> None:
    """Write a map to a file; the ending chooses the format.

    Args:
        arguments: Of the map.
        path: A name that ends in ``.json`` or ``.safetensors``.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputExists: If the file exists and may not be replaced.
        OutputUnwritable: If it cannot be written.
        WrongQuantity: If it says that its numbers are shares, and they cannot be.
    """
    if fault := _fault(arguments):
        raise WrongQuantity(
            f"The map says that its numbers are shares, parts of a whole, and {fault}: whoever reads its file would "
            "take them for what they are not, and TokenMap.load refuses it. Say what they are, as "
            "map.derive(quantity='signed'), or divide rows by their sums with map.as_share()."
        )
    encode = _json_lines if Path(path).suffix.lower() == ".json" else _safetensors
    write_atomically(path, encode(arguments), overwrite)


def read(path: Path | str, build: Callable[[Mapping[str, Any]], Any]) -> Any:
    """Read a map that `write` wrote.

    Args:
        path: The file.
        build: Makes the map of its document: `TokenMap.from_dict`.

    Returns:
        What was built: a map that is equal in every bit, label and note.

    Raises:
        BadFile: If the file is missing, damaged, of another kind, or of a newer schema, or its numbers cannot be what
            it says they are: NaN, infinite, shares below zero or of more than the whole.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise BadFile(
            f"Cannot read {path}: maps are stored as {' or '.join(SUFFIXES)}, but this file name has another ending."
        )
    if path.is_fifo():
        raise BadFile(f"{path} is a named pipe, and reading it could wait forever. Name a file.")
    try:
        return build(_read_json(path) if suffix == ".json" else _read_safetensors(path))
    except (ContextMixError, SafetensorError, OSError, ValueError, RecursionError, MemoryError) as reason:
        said = reason.strerror if isinstance(reason, OSError) and reason.strerror else reason or type(reason).__name__
        raise BadFile(f"Cannot read {path} as a contextmix result: {said} Save it again with map.save().") from reason


def as_document(arguments: Arguments) -> dict[str, Any]:
    """Everything that a map holds, as JSON values under the names of its constructor's arguments."""
    return {**_labels(arguments), "values": arguments["values"].tolist()}


def built(document: Mapping[str, Any], build: Callable[..., Any]) -> Any:
    """The inverse of `as_document`; every field is checked, and `BadFile` says which one is wrong.

    Args:
        document: What `as_document` gave, also after a trip through JSON.
        build: The constructor, which gets the arguments.
    """
    kind = document.get("format") if isinstance(document, Mapping) else None
    if not isinstance(kind, str) or kind != FORMAT:
        raise BadFile(f"It does not say that its format is {FORMAT!r}.")
    if whole_number(document.get("schema")) not in range(1, SCHEMA + 1):
        raise BadFile(
            f"Its schema is {document.get('schema')!r:.40} and this version of contextmix reads up to {SCHEMA}."
        )
    for name, fits in _FIELDS.items():
        if name not in document or not fits(document[name]):
            raise BadFile(f"The field {name!r} is missing or of the wrong type: {document.get(name)!r:.60}.")
    try:
        arguments = _arguments(document)
        found = build(**arguments)
    except (ContextMixError, ValueError, OverflowError) as reason:
        raise BadFile(f"Its fields do not fit each other. {reason}") from reason
    if fault := _fault(arguments):
        raise BadFile(
            f"It says that its numbers are shares, parts of a whole, and {fault}. The file is damaged or was edited; "
            f"its numbers cannot be trusted."
        )
    return found


def _fault(arguments: Arguments) -> str | None:
    dims, aggregated = arguments["dims"], arguments["provenance"].aggregation is not None
    return fault_of_shares(arguments["values"], dims, arguments["quantity"], aggregated=aggregated)


def _values(document: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """The numbers in the precision that their labels name; binary ones must be stored in it."""
    values, dtype = np.asarray(document["values"]), document["dtype"]
    if values.dtype.kind not in "fi":
        raise BadFile(f"The values are not a rectangular array of numbers, but {values.dtype}.")
    if isinstance(document["values"], np.ndarray) and values.dtype != dtype:
        raise BadFile(f"Its values are stored as {values.dtype}, and its labels say {dtype}: one of them was changed.")
    with np.errstate(over="ignore"):  # what is too large for float32 is infinite, and refused as such
        return values.astype(dtype)


def _arguments(document: Mapping[str, Any]) -> dict[str, Any]:
    query_tokens = document["query_tokens"]
    return {
        "values": _values(document),
        "tokens": Tokens.from_dict(document["tokens"]),
        "quantity": Quantity(document["quantity"]),
        "provenance": Provenance.from_dict(document["provenance"]),
        "query_tokens": None if query_tokens is None else Tokens.from_dict(query_tokens),
        **{name: document[name] for name in ("dims", "layers", "targets", "selected")},
    }


def _json(value: Any) -> bytes:
    # Broken texts hold lone surrogates. UTF-8 has no bytes for them, but the escape that Python then writes is JSON's.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def _labels(arguments: Arguments) -> dict[str, Any]:
    tokens, query_tokens, quantity = arguments["tokens"], arguments["query_tokens"], arguments["quantity"]
    placed = any(each.places is not None for each in (tokens, query_tokens))
    layers, targets = arguments["layers"], arguments["targets"]
    return {
        "format": FORMAT,
        "schema": 2 if placed else 1,
        "quantity": str(quantity),
        "unit": quantity.unit,
        "dims": list(arguments["dims"]),
        "layers": None if layers is None else list(layers),
        "targets": None if targets is None else list(targets),
        "selected": dict(arguments["selected"]),
        "tokens": tokens.to_dict(),
        "query_tokens": None if query_tokens == tokens else query_tokens.to_dict(),
        "provenance": arguments["provenance"].to_dict(),
        "dtype": str(arguments["values"].dtype),
    }


def _json_lines(arguments: Arguments) -> bytes:
    """One field per line: readable, and still small."""
    fields = as_document(arguments).items()
    return b"{\n" + b",\n".join(_json(name) + b": " + _json(value) for name, value in fields) + b"\n}\n"


def _safetensors(arguments: Arguments) -> bytes:
    header = {"contextmix": _json(_labels(arguments)).decode()}
    return safetensors_bytes({"values": arguments["values"]}, header)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_safetensors(path: Path) -> Any:
    with safe_open(path, framework="numpy") as file:
        document = json.loads((file.metadata() or {}).get("contextmix", "null"))
        if not isinstance(document, dict):
            return document
        if "values" not in file.keys():  # noqa: SIM118, the file is no mapping
            raise BadFile("It holds no tensor 'values'.")
        stored = file.get_slice("values").get_dtype()
        if stored not in ("F32", "F64"):  # numpy has no word for some of the others
            raise BadFile(f"Its values are stored as {stored}, and maps are stored as F32 or F64.")
        return {**document, "values": file.get_tensor("values")}


def _all(kind: type, value: Any) -> bool:
    return isinstance(value, list) and all(type(entry) is kind for entry in value)


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "quantity": lambda value: isinstance(value, str) and value in list(Quantity),
    "dims": lambda value: _all(str, value),
    "layers": lambda value: value is None or _all(int, value),
    "targets": lambda value: value is None or _all(str, value),
    "selected": lambda value: isinstance(value, dict) and _all(int, list(value.values())),
    "tokens": lambda value: isinstance(value, dict),
    "query_tokens": lambda value: value is None or isinstance(value, dict),
    "provenance": lambda value: isinstance(value, dict),
    "dtype": lambda value: isinstance(value, str) and value in ("float32", "float64"),
    "values": lambda value: isinstance(value, list | float | int | np.ndarray),
}

"""Numbers as few bytes for a page: each row divided by its largest, in whole steps, compressed; with the exact error.

    value = stored / limit * scale

where ``scale`` is the largest absolute value of the row as float32, and ``limit`` the largest whole number. A page
computes in float64, as here, so the error that is found here is the one that is there.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from contextmix.errors import BadInput, BadOption
from contextmix.views.drawing.colours import Array

Bits = Literal[8, 16]

_AT_ONCE = 1 << 20
"""Numbers that are held in float64 at once."""


def encoded(values: Array, signed: bool, bits: Bits, step: int = 1) -> dict[str, Any]:
    """An array as texts of base64.

    Args:
        values: (..., key), finite.
        signed: Whether a number may be negative.
        bits: How many bits a number gets.
        step: Whole numbers that are used: each, or every third of them, which compress to fewer bytes.

    Returns:
        The field ``data`` of a map in an exhibit; ``error`` is the largest difference that decoding leaves. The same
        numbers give the same texts.

    Raises:
        BadInput: If a number is too large for float32.
        BadOption: If ``bits`` is another number.

    Example:
        >>> result = encoded(np.array([[0.0, 0.5, 1.0]]), signed=False, bits=8)
        >>> result["columns"], round(result["error"], 4)  # half a step of 1 / 255
        (3, 0.002)
    """
    if bits not in (8, 16):
        raise BadOption(f"bits={bits!r} is not allowed; a number of an exhibit has 8 or 16.")
    kind = np.dtype(f"<{'i' if signed else 'u'}{bits // 8}")
    rows = values.reshape(-1, values.shape[-1])
    scales, stored, error = np.empty(len(rows), "<f4"), np.empty(rows.shape, kind), 0.0
    for part in _parts(rows):
        scales[part], stored[part], found = _quantised(rows[part], np.iinfo(kind).max, step)
        error = max(error, found)
    return {
        "bits": bits,
        "columns": rows.shape[1],
        "scales": _text(scales.tobytes()),
        "values": _text(_gzip(stored.tobytes())),
        "error": error,
    }


def _quantised(rows: Array, limit: int, step: int) -> tuple[Array, Array, float]:
    """The scale of each row, its numbers in steps, and the largest difference between what was and what will be read.

    A scale is rounded to float32 first, so that steps count what the reader multiplies with.
    """
    exact = rows.astype(np.float64)
    largest = np.abs(exact).max(axis=1)
    with np.errstate(over="ignore"):
        scales = largest.astype(np.float32)
    if not np.isfinite(scales).all():
        raise BadInput(
            f"A map holds numbers up to {largest.max():.3g}, and an exhibit stores them in float32, up to 3.4e+38. A "
            "page would show infinity. Divide the map first, for example map.derive(values=map.values / 1e30)."
        )
    whole = scales.astype(np.float64)[:, None]
    with np.errstate(over="ignore"):
        # A row of zeros, or of less than float32 can hold, has scale 0 and is read as zeros.
        parts = exact / np.where(whole == 0, np.inf, whole)
    most = limit // step
    stored = np.rint(parts * (limit / step)).clip(-most, most) * step
    return scales, stored, float(np.abs(stored / limit * whole - exact).max())


def _parts(rows: Array) -> Iterator[slice]:
    height = max(1, _AT_ONCE // rows.shape[1])
    return (slice(start, start + height) for start in range(0, len(rows), height))


def _gzip(data: bytes) -> bytes:
    """Compressed without a time stamp, so that the same result is the same file.

    Noise like the last bits of numbers is better counted (`Z_FILTERED`) than searched for repetitions.
    """
    with_header_of_gzip = 16 + zlib.MAX_WBITS
    packer = zlib.compressobj(9, zlib.DEFLATED, with_header_of_gzip, 9, zlib.Z_FILTERED)
    return packer.compress(data) + packer.flush()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()

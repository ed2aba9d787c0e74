"""How the arrays of a `TokenMap` get their labels: checks at birth, coordinates, and sums along a labelled axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from contextmix.errors import NotFinite, UnknownPosition, WrongShape
from contextmix.maths.whole import index_of
from contextmix.results.provenance import Provenance, Quantity

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped, unused-ignore]
    import xarray as xr

AXES = ("layer", "target", "head", "query", "key")

Array = np.ndarray[Any, np.dtype[Any]]


def checked_values(values: Any, dims: tuple[str, ...]) -> Array:
    """A read-only float copy of the values, if the axes are named properly and every number is finite."""
    if list(dims) != [axis for axis in AXES if axis in dims]:
        raise WrongShape(
            f"Cannot make a map with the axes {dims}. Axes are any of {', '.join(AXES)}, each once and in this "
            "order, or rows and columns would be confused: rename or transpose the array."
        )
    try:
        array = np.array(values, order="C")  # safetensors writes the memory as it lies
    except (ValueError, TypeError) as reason:
        raise WrongShape(f"A map holds a rectangular array of numbers, but these values do not: {reason}") from reason
    if array.dtype.kind not in "fiu":
        raise WrongShape(f"A map holds real numbers, but this array holds {array.dtype}. Convert it to floats first.")
    array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    if array.ndim != len(dims) or 0 in array.shape:
        raise WrongShape(
            f"Got an array of shape {array.shape} for the {len(dims)} axes {dims}. Each axis needs a name and at "
            "least one entry."
        )
    if not (finite := np.isfinite(array)).all():
        first = dict(zip(dims, np.argwhere(~finite)[0].tolist(), strict=True))
        raise NotFinite(
            f"{int((~finite).sum())} of {array.size} values are NaN or infinite, the first at {first}. Every sum or "
            "ranking with them would be wrong: look for overflow in the model (float16?) or for a division by zero."
        )
    array.setflags(write=False)
    return array


def labelled(
    array: Array,
    names: Mapping[str, Sequence[Any]],
    dims: tuple[str, ...],
    selected: Mapping[str, int],
    quantity: Quantity,
    provenance: Provenance,
) -> xr.DataArray:
    """An array with coordinates; that their lengths fit is known.

    Args:
        array: The numbers.
        names: What stands at each place of the axes query, key, layer and target, whether the array has them or not.
        dims: Names of the axes that it has.
        selected: Position on each axis that was left.
        quantity: What the numbers are.
        provenance: How they were made.
    """
    import xarray as xr  # a second, which nobody waits for who never asks for labelled arrays

    coordinates: dict[str, Any] = {}
    for axis, length in zip(dims, array.shape, strict=True):
        coordinates[axis] = (axis, np.array(names["layer"] if axis == "layer" else range(length)))
        if axis in _TEXTS:
            coordinates[_TEXTS[axis]] = (axis, np.array(list(map(encodable, names[axis])), dtype=object))
    for axis, position in selected.items():
        coordinates[axis] = position
        if axis in _TEXTS:
            coordinates[_TEXTS[axis]] = encodable(names[axis][position])
    return xr.DataArray(array, coordinates, dims, name=str(quantity), attrs=_attributes(quantity, provenance))


def place(axis: str, index: int, known: Sequence[int]) -> int:
    """Where a number stands on an axis; negative numbers count from the end."""
    index = index_of(axis, index)
    if index in known:
        return known.index(index)
    if -len(known) <= index < 0:
        return len(known) + index
    raise UnknownPosition(axis, index, known)


def summed(values: Array, axis: int, groups: Sequence[Sequence[int]]) -> Array:
    """Sum neighbours along an axis, through float64; the groups cover the axis in order."""
    starts = [group[0] for group in groups]
    totals: Array = np.add.reduceat(values.astype(np.float64), starts, axis=axis).astype(values.dtype)
    return totals


def averaged(values: Array, axis: int, groups: Sequence[Sequence[int]]) -> Array:
    """Average neighbours along an axis, through float64; the groups cover the axis in order."""
    counts = np.array([len(group) for group in groups], dtype=np.float64)
    shape = [-1 if each == axis else 1 for each in range(values.ndim)]
    means: Array = (summed(values.astype(np.float64), axis, groups) / counts.reshape(shape)).astype(values.dtype)
    return means


def table(array: xr.DataArray) -> pd.DataFrame:
    """One line per number, with a column per axis and per label that the axes have, in a fixed order."""
    known = [name for axis in AXES for name in (axis, _TEXTS.get(axis)) if name in array.coords]
    if not array.ndim:
        array = array.expand_dims(known[0] if known else "number")
    return array.to_dataframe(name="value").reset_index()[[*known, "value"]]


def divided_by_sum(values: Array, axis: int) -> tuple[Array, int]:
    """Each row divided by its sum, and how many rows were zero and stayed so."""
    largest = values.max(axis=axis, keepdims=True).astype(np.float64)
    zero = largest == 0
    # Through the largest first: the plain sum of a row near the limit of float64 is infinite.
    relative = values / np.where(zero, 1.0, largest)
    sums = relative.sum(axis=axis, keepdims=True)
    shares: Array = (relative / np.where(zero, 1.0, sums)).astype(values.dtype)
    return shares, int(zero.sum())


_TEXTS = {"query": "query_token", "key": "key_token", "target": "target_name"}


def encodable(text: str) -> str:
    """Lone surrogates as escapes: pandas stores texts as UTF-8, which has no bytes for them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _attributes(quantity: Quantity, provenance: Provenance) -> dict[str, str]:
    return {
        "quantity": str(quantity),
        "long_name": quantity.meaning,
        "units": quantity.unit,
        "method": provenance.title,
        "model": provenance.model,
        "orientation": "rows (query) are the tokens that receive, columns (key) the tokens they draw from",
    }


def refuse_misfits(lengths: Mapping[str, int], names: Mapping[str, Sequence[Any]], selected: Mapping[str, int]) -> None:
    """Refuse labels whose number is not that of the array's places; raises `WrongShape` or `UnknownPosition`."""
    for axis in ("layer", "target", "query", "key"):
        if axis in lengths and len(names[axis]) != lengths[axis]:
            raise WrongShape(
                f"The {axis} axis has {lengths[axis]} entries and {len(names[axis])} labels. Numbers would carry the "
                f"names of others: give one label per entry{' (targets=…)' if axis == 'target' else ''}."
            )
    layers = names["layer"]
    if len(set(layers)) != len(layers) or min(layers, default=0) < 0:
        raise WrongShape(f"Layers {layers} must be different numbers from 0 on, one per block.")
    if layers and "layer" not in lengths:
        raise WrongShape(f"Got layers {layers}, but there is no layer axis. Leave them out.")
    for axis, position in selected.items():
        limit = len(names[axis]) if axis in _TEXTS else position + 1
        if axis in lengths or axis not in AXES or not 0 <= position < limit:
            raise WrongShape(
                f"A map over {tuple(lengths)} cannot be number {position} on the axis {axis!r} of another."
            )

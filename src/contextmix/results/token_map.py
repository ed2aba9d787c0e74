"""TokenMap: the labelled, immutable result of every measurement.

Rows are queries, the tokens that receive. Columns are keys, the tokens they draw from. Always.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from contextmix.errors import BadOption, UnknownPosition, WrongQuantity, WrongShape, refuse_kind
from contextmix.maths.bounds import within
from contextmix.maths.shapes import cut
from contextmix.maths.whole import index_of
from contextmix.results import documents, labels
from contextmix.results.attached import attached
from contextmix.results.indexed import Indexed
from contextmix.results.provenance import Provenance as Provenance
from contextmix.results.provenance import Quantity as Quantity
from contextmix.tokens.pieces import Tokens

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped, unused-ignore]
    import xarray as xr


class TokenMap(Indexed):
    """Numbers over tokens, with their labels, their meaning and their origin.

    Axes are any of ``layer, target, head, query, key``, in this order. Row i of a (query, key) map says what token i (a
    query, it receives) draws from each token j (a key). Every operation returns a new map; values are read-only.
    Asking for an axis that the map lacks raises `WrongShape`, for a place that an axis lacks `UnknownPosition`.

    Args:
        values: Array of the shape that the labels say; it is copied. float32 and float64 stay, others become float64.
        dims: Names of the axes.
        tokens: The keys.
        quantity: What the numbers are, with their unit.
        provenance: How they were made.
        query_tokens: The queries, where they are not the keys (cross-attention).
        layers: Numbers of the blocks on the layer axis, counted from 0. Left out: all from 0.
        targets: Names on the target axis: the explained outputs.
        selected: Position on each axis that was left, for display; `row`, `layer`, `head` and `target` fill it in.

    Raises:
        WrongShape: If labels and array do not fit.
        NotFinite: If a value is NaN or infinite.

    Example:
        >>> tokens = Tokens(("a", "fi", "##lm"), words=(0, 1, 1))
        >>> result = TokenMap(np.eye(3), ("query", "key"), tokens, "share", Provenance("example", model="demo"))
        >>> result
        <TokenMap example: share, query 3 × key 3, of 'demo'>
        >>> result.row("##lm").top(1)
        [('##lm', 1.0)]
        >>> result.words().values.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    __slots__ = ("_array", "_dims", "layers", "provenance", "quantity", "query_tokens", "selected", "targets", "tokens")

    def __init__(
        self,
        values: Any,
        dims: Sequence[str],
        tokens: Tokens,
        quantity: Quantity | str,
        provenance: Provenance,
        *,
        query_tokens: Tokens | None = None,
        layers: Sequence[int] | None = None,
        targets: Sequence[str] | None = None,
        selected: Mapping[str, int] | None = None,
    ) -> None:
        if not isinstance(tokens, Tokens) or not isinstance(provenance, Provenance):
            raise TypeError("A TokenMap is made of values, dims, Tokens, a quantity and a Provenance.")
        refuse_kind("TokenMap: dims", dims, tuple, list)
        refuse_kind("TokenMap: selected", selected, Mapping, type(None))
        refuse_kind("TokenMap: query_tokens", query_tokens, Tokens, type(None))
        self.tokens: Final = tokens
        self.query_tokens: Final = tokens if query_tokens is None else query_tokens
        self.quantity: Final = Quantity(quantity)
        self.provenance: Final = provenance
        self.targets: Final = None if targets is None else tuple(targets)
        self.selected: Final[Mapping[str, int]] = {} if selected is None else dict(selected)
        self._dims: Final = tuple(dims)
        self._array: Final = labels.checked_values(values, self._dims)
        count = len(self._array) if self._dims[:1] == ("layer",) else 0
        numbered = range(count) if layers is None else [index_of("TokenMap: layers", one) for one in layers]
        self.layers: Final = tuple(numbered)
        labels.refuse_misfits(dict(zip(self._dims, self._array.shape, strict=True)), self._names(), self.selected)

    @property
    def values(self) -> labels.Array:
        """The numbers, read-only."""
        return self._array

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes."""
        return self._dims

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        shape: tuple[int, ...] = self._array.shape
        return shape

    def __repr__(self) -> str:
        axes = " × ".join(map("{} {}".format, self.dims, self.shape)) or "one number"
        chosen = "".join(f", at {axis} {position}" for axis, position in self.selected.items())
        model = f", of {cut(repr(self.provenance.model))}" if self.provenance.model else ""
        return f"<TokenMap {cut(repr(self.provenance.title)[1:-1], 100)}: {self.quantity}, {axes}{chosen}{model}>"

    def row(self, query: int | str, layer: int | None = None) -> TokenMap:
        """What one token draws from each token: the map loses the query axis, and with a layer that one too.

        Raises:
            UnknownToken: If there is no such token.
            AmbiguousToken: If the text occurs more than once.
        """
        here = self if layer is None else self.layer(layer)
        here._axis("query")
        return here._take("query", here.query_tokens.position(query))

    def layer(self, index: int) -> TokenMap:
        """One layer, by the number of its block; -1 is the last one."""
        self._axis("layer")
        return self._take("layer", labels.place("layer", index, self.layers))

    def head(self, index: int) -> TokenMap:
        """One attention head, from 0; -1 is the last one."""
        return self._take("head", labels.place("head", index, range(self.shape[self._axis("head")])))

    def target(self, name: int | str) -> TokenMap:
        """One explained output, by its name or position."""
        names = self.targets or ()
        count = self.shape[self._axis("target")]
        if not isinstance(name, str):
            return self._take("target", labels.place("target", name, range(count)))
        if name not in names:
            raise UnknownPosition("target", name, names)
        return self._take("target", names.index(name))

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k strongest tokens of a row with their values, by absolute value; equal ones in order of the text."""
        if self.dims != ("key",):
            raise WrongShape(
                f"top() lists one row, and this map has the axes {self.dims}. Choose one: map.row(0).top()."
            )
        k = index_of("top: k", k)
        if k < 1:
            raise BadOption(f"top({k}) would list nothing. Use at least 1.")
        order = np.argsort(-np.abs(self.values), kind="stable")[:k]
        return [(self.tokens.pieces[position], float(self.values[position])) for position in order]

    def words(self) -> TokenMap:
        """Merge sub-words: sum over the keys of a word, mean over its queries (Clark et al. 2019, section 4.1).

        A word gives what its pieces give together, and receives what its average piece receives, so the sum of a row
        stays. For the quantity ``norm`` the sum of lengths is only an upper bound of the length of the joint vector. A
        row that was chosen before stays the row of its piece.

        Raises:
            BadInput: If the tokens do not know their words.
        """
        values, tokens, query_tokens = self.values, self.tokens, self.query_tokens
        if "query" in self.dims:
            query_tokens, groups = query_tokens.merged()
            values = labels.averaged(values, self._axis("query"), groups)
        if "key" in self.dims:
            tokens, groups = tokens.merged()
            values = labels.summed(values, self._axis("key"), groups)
            if self.quantity is Quantity.SHARE:  # a row sums to one but for the float32 of the model that it came from
                values = within(values, 0, 1, (len(self.tokens) + 16) * float(np.finfo(np.float32).eps))
        made = self.provenance.noting(words={"keys": "sum", "queries": "mean"})
        return self.derive(values=values, tokens=tokens, query_tokens=query_tokens, provenance=made)

    def as_share(self) -> TokenMap:
        """Divide each row by its sum. Rows of zeros stay zero; the note ``as_share`` in the provenance counts them.

        Raises:
            WrongQuantity: If numbers have signs: they may cancel out, and parts of their sum mean nothing.
        """
        axis = self._axis("key")
        if self.quantity is Quantity.SIGNED or self.values.min() < 0:
            raise WrongQuantity(
                f"Cannot take shares: this map holds {self.quantity} numbers down to {self.values.min():.3g}. "
                "Signs cancel out, so parts of a sum are meaningless. Take shares of values without signs, for "
                "example of "
                "map.derive(values=abs(map.values), quantity='norm')."
            )
        shares, zero_rows = labels.divided_by_sum(self.values, axis)
        made = self.provenance.noting(as_share={"from": str(self.quantity), "zero_rows": zero_rows})
        return self.derive(values=shares, quantity=Quantity.SHARE, provenance=made)

    def derive(self, **changes: Any) -> TokenMap:
        """The same map with some arguments of its constructor changed."""
        kept = self._arguments()
        dims = changes.get("dims", self.dims)
        if isinstance(dims, tuple | list) and "layer" not in dims:
            kept["layers"] = None
        return TokenMap(**{**kept, **changes})

    def to_xarray(self) -> xr.DataArray:
        """A copy as a labelled array, for slicing, plotting, NetCDF and Zarr."""
        array, made = self._array.copy(), self.provenance
        return labels.labelled(array, self._names(), self._dims, self.selected, self.quantity, made)

    def to_dataframe(self) -> pd.DataFrame:
        """A long table: one line per number, with a column per axis and label, and ``value`` last."""
        return labels.table(self.to_xarray())

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values; floats keep all their digits."""
        return documents.as_document(self._arguments())

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> TokenMap:
        """The inverse of `to_dict`; raises `BadFile` if a field is missing, of another type, or does not fit."""
        found: TokenMap = documents.built(document, cls)
        return found

    def save(self, path: str | Path, overwrite: bool = False, *, over: Any = None) -> None:
        """Write a ``.json`` file (readable) or ``.safetensors`` (compact), which keep every bit; the ending chooses.

        Other endings are to look at and not for reading back: ``.html`` is a page with the explorer (``over`` the image
        or the sound that was explained), ``.pdf``, ``.svg`` and ``.png`` are what `plot` draws, ``.tex`` is what
        `to_latex` gives. Raises `OutputExists`, or `OutputUnwritable` also for any other ending.
        """
        if Path(path).suffix.lower() not in documents.SUFFIXES:
            self._save_drawn(path, overwrite, over)
        elif over is not None:
            raise BadOption(f"An image or a sound belongs into a page, and {path} is a file of numbers. Leave it out.")
        else:
            documents.write(self._arguments(), path, overwrite)

    @classmethod
    def load(cls, path: str | Path) -> TokenMap:
        """Read a map that `save` wrote; raises `BadFile` if it is missing or anything else."""
        found: TokenMap = documents.read(path, cls.from_dict)
        return found

    @attached
    def show(self, query: int | str | None = None, over: Any = None) -> None:
        """Show the map, or the row of one query: in a notebook as HTML (``over`` its image or sound), else as text."""

    @attached
    def overlay(self, source: Any, query: int | str | None = None, *, smooth: bool = False) -> Any:
        """The row of one query over the image or the sound that was explained, as a PIL image.

        See `contextmix.views.figures.overlay`.
        """

    @attached
    def plot(self, query: int | str | None = None, *, ax: Any = None, **options: Any) -> Any:
        """The map, or the row of one query, as a matplotlib figure for a paper: its axes; see `contextmix.plots`."""

    @attached
    def to_latex(self, query: int | str | None = None, *, document: bool = False) -> str:
        """The row of one query as coloured text for a paper; see `contextmix.views.figures.latex`."""

    @attached
    def _save_drawn(self, path: str | Path, overwrite: bool, over: Any) -> None:
        """Write a file to look at."""

    @attached
    def _repr_html_(self) -> str:
        """The last line of a notebook cell."""

    def _arguments(self) -> dict[str, Any]:
        """What the constructor makes this map of."""
        kept: dict[str, Any] = {name: getattr(self, name) for name in (*TokenMap.__slots__[2:], "values", "dims")}
        return {**kept, "layers": self.layers if "layer" in self.dims else None}

    def _names(self) -> dict[str, Sequence[Any]]:
        """What stands at each place of an axis."""
        names: dict[str, Sequence[Any]] = {"query": self.query_tokens.pieces, "key": self.tokens.pieces}
        return {**names, "layer": self.layers, "target": self.targets or ()}

    def _axis(self, name: str) -> int:
        if name not in self.dims:
            raise WrongShape(f"There is no {name} axis; this map has {', '.join(self.dims) or 'no axis'}.")
        return self.dims.index(name)

    def _take(self, axis: str, position: int) -> TokenMap:
        chosen = self.layers[position] if axis == "layer" else position
        return self.derive(
            values=self.values.take(position, axis=self._axis(axis)),
            dims=tuple(name for name in self.dims if name != axis),
            selected={**self.selected, axis: chosen},
        )

"""A `TokenMap` in the habits of Python: ``map["film"]``, ``len(map)``, ``np.asarray(map)``, pandas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from contextmix.errors import WrongShape

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped, unused-ignore]

    from contextmix.results.labels import Array


class Indexed:
    """Items are the tokens of the query axis; of a row, which has none, the tokens of the key axis.

    Example:
        >>> import contextmix
        >>> result = contextmix.load("demo").explain("a good film")
        >>> len(result), result["[CLS]"].dims
        (5, ('key',))
        >>> bool(result["[CLS]"]["film"] == result.row("[CLS]").values[3])
        True
    """

    __slots__ = ()

    def __getitem__(self: Any, token: int | str) -> Any:
        """The row of a token, by its text or position; of a row, the number of that token.

        Returns:
            A `TokenMap` without the query axis, or a float where nothing but the key axis was tself.

        Raises:
            UnknownToken: If there is no such token.
            AmbiguousToken: If the text occurs more than once.
        """
        if "query" in self.dims:
            return self.row(token)
        found = self.values.take(self.tokens.position(token), axis=self._axis("key"))
        return float(found) if self.dims == ("key",) else found

    def __len__(self: Any) -> int:
        """The number of items."""
        count: int = self.shape[self._axis("query" if "query" in self.dims else "key")]
        return count

    def __iter__(self: Any) -> Iterator[Any]:
        """The items, in order of the text."""
        return (self[place] for place in range(len(self)))

    def __array__(self: Any, dtype: Any = None, copy: bool | None = None) -> Array:
        """For ``np.asarray(map)`` and functions of numpy."""
        return np.array(self.values, dtype=dtype) if copy else np.asarray(self.values, dtype=dtype)

    def to_numpy(self: Any) -> Array:
        """A copy of the numbers that may be changed."""
        found: Array = self.values.copy()
        return found

    def to_pandas(self: Any) -> pd.Series | pd.DataFrame:
        """A row as a Series over its tokens, a map as a DataFrame with queries down and keys across.

        `to_dataframe` gives a long table instead, of any number of axes.

        Raises:
            WrongShape: If the map has more than two axes.
        """
        import pandas as pd

        if not 1 <= len(self.dims) <= 2:
            raise WrongShape(
                f"pandas tables have one or two axes, but this map has {', '.join(self.dims) or 'none'}. Choose a "
                f"part first, e.g. map.layer(-1), or use the long table of to_dataframe()."
            )
        names = {"query": self.query_tokens.pieces, "key": self.tokens.pieces, "layer": self.layers}
        names["target"] = self.targets or ()
        axes = [
            pd.Index(list(names[axis]) if axis in names else range(count), name=axis)
            for axis, count in zip(self.dims, self.shape, strict=True)
        ]
        if len(axes) == 1:
            return pd.Series(self.to_numpy(), index=axes[0], name=str(self.quantity))
        return pd.DataFrame(self.to_numpy(), index=axes[0], columns=axes[1])

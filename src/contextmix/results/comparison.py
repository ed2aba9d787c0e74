"""Comparison: several methods on one text, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from contextmix.errors import BadOption, WrongShape, refuse_named
from contextmix.maths.bounds import within
from contextmix.maths.shapes import cut
from contextmix.results.attached import attached
from contextmix.results.token_map import TokenMap


@dataclass(frozen=True)
class Comparison:
    """One row of token scores per method, all for the same text and query.

    Attributes:
        rows: Method name → `TokenMap` with dims ("key",).
    """

    rows: Mapping[str, TokenMap]

    def __post_init__(self) -> None:
        refuse_named("Comparison: rows", self.rows, TokenMap)
        if not self.rows:
            raise BadOption("The comparison is empty. Give at least one row.")
        shapes = {str(name): (row.dims, row.shape) for name, row in self.rows.items()}
        if any(dims != ("key",) for dims, _ in shapes.values()) or len(set(shapes.values())) > 1:
            raise WrongShape(
                f"A comparison is of rows over the same tokens, and these are {shapes!r:.200}. Choose one row of each "
                "map, such as map.row('[CLS]'), of the same text."
            )

    def __repr__(self) -> str:
        first = next(iter(self.rows.values()))
        names = cut(repr(", ".join(map(str, self.rows)))[1:-1], 120)
        model = f" on {cut(repr(first.provenance.model))}" if first.provenance.model else ""
        return f"<Comparison{model}: {names}; {len(first.tokens)} tokens>"

    @cached_property
    def spearman(self) -> pd.DataFrame:
        """Spearman's rank correlation of each pair of methods over all tokens; ties share their mean rank.

        Returns:
            A square table, −1 to 1. NaN where a method gives every token the same score: ranks say nothing then.

        Source:
            The measure of GlobEnc, tables 1 and 2 (over all tokens, special ones included).
        """
        from scipy.stats import rankdata  # a second's worth of import, which most processes never need

        ranks = np.stack([rankdata(row.values) for row in self.rows.values()])
        centred = ranks - ranks.mean(1, keepdims=True)
        lengths = np.linalg.norm(centred, axis=1)
        with np.errstate(invalid="ignore"):
            table = centred @ centred.T / np.outer(lengths, lengths)
        table = within(table, -1, 1, (ranks.shape[1] + 8) * float(np.finfo(np.float64).eps))
        return pd.DataFrame(table, index=list(self.rows), columns=list(self.rows))

    @attached
    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write an ``.html`` file with the rows in the explorer; see `Exploration.save`."""

    def to_dataframe(self) -> pd.DataFrame:
        """Tokens as lines, methods as columns."""
        tokens = next(iter(self.rows.values())).tokens.pieces
        return pd.DataFrame({name: row.values for name, row in self.rows.items()}, index=pd.Index(tokens, name="token"))

    @attached
    def show(self) -> None:
        """Print all methods side by side in colour, what each of them measures, and their rank correlations."""

    @attached
    def _repr_html_(self) -> str:
        """The last line of a notebook cell."""

r"""A row as coloured text, to be read by ``\input`` of a paper: what ``result.to_latex()`` gives."""

from __future__ import annotations

from typing import Any

from contextmix.results.token_map import TokenMap
from contextmix.views.figures.latex import to_latex
from contextmix.views.saving import Saved


def text_of(token_map: TokenMap, _: str, __: Any) -> bytes:
    """The row of a map as lines of LaTeX."""
    return to_latex(token_map).encode("utf-8", "backslashreplace")


SAVED = Saved(endings=(".tex",), encode=text_of)

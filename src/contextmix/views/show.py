"""``show()``: in a notebook as HTML, elsewhere as coloured text."""

from __future__ import annotations

from typing import Any

from contextmix.results.answer import Answer
from contextmix.results.exploration import Exploration
from contextmix.results.token_map import TokenMap
from contextmix.views.page import answers, fragment, pages
from contextmix.views.terminal import answer as text
from contextmix.views.terminal import exploration as rows
from contextmix.views.terminal import maps


def show_map(token_map: TokenMap, query: int | str | None = None, over: Any = None) -> None:
    """See `TokenMap.show`."""
    (fragment if fragment.is_running() else maps).show(token_map, query, over)


def show_exploration(exploration: Exploration) -> None:
    """See `Exploration.show`."""
    (pages if fragment.is_running() else rows).show(exploration)


def show_answer(found: Answer) -> None:
    """See `Answer.show`."""
    (answers if fragment.is_running() else text).show(found)

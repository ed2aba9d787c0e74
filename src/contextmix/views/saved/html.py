"""A page with the explorer: all rows and layers of a map, to look into."""

from __future__ import annotations

from typing import Any

from contextmix.results.exploration import Exploration
from contextmix.results.files import PAGES
from contextmix.results.token_map import TokenMap
from contextmix.views.page.pages import encoded
from contextmix.views.saving import Saved


def page_of(token_map: TokenMap, _: str, over: Any) -> bytes:
    """The page of one map, over the image or the sound that was explained."""
    return encoded([Exploration({token_map.provenance.short: token_map}, over=over)])


SAVED = Saved(endings=PAGES, encode=page_of, holds_media=True)

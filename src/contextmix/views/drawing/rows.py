"""Sentences about one row of a map: whose it is, where it stands, and what its numbers are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import printable


def who(row: TokenMap) -> str:
    """The token whose row it is."""
    if "query" not in row.selected:
        return "this row"
    position = row.selected["query"]
    return f"“{printable(row.query_tokens.pieces[position])}” (position {position})"


def draws(row: TokenMap, reason: str) -> str:
    """What the numbers of a row are, and why this row is shown."""
    if "query" not in row.selected and "target" in row.provenance.notes:
        return f"What each token did for {_explained(row.provenance.notes)}.{reason}"
    return f"What {who(row)} draws from each token{place_of(row)}.{reason}"


def _explained(notes: Mapping[str, Any]) -> str:
    """The score that an attribution of the whole model explains."""
    foil = f" over “{notes['foil']}”" if "foil" in notes else ""
    said = notes.get("prediction", {})
    place = f" {where} “{said[where]}”" if (where := next((w for w in ("after", "at") if w in said), "")) else ""
    return f"the score of “{notes['target']}”{foil}{place}"


def place_of(token_map: TokenMap) -> str:
    """Where a map stands on the axes that it has lost, but the query's."""
    names = {"target": token_map.targets or ()}
    parts = [
        f"{axis} {names[axis][position] if axis in names else position}"
        for axis, position in token_map.selected.items()
        if axis != "query"
    ]
    return f" ({', '.join(parts)})" if parts else ""

"""Figures 1 and A of GlobEnc: which tokens the [CLS] token is made of, up to each layer; and the whole last map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contextmix.errors import BadInput
from contextmix.evidence.experiment import Experiment, Setup
from contextmix.evidence.globenc import column_of, record_of
from contextmix.evidence.report import Figure, Report, Table
from contextmix.plugins.papers import MODARRESSI_2022
from contextmix.results.token_map import TokenMap
from contextmix.views.figures.marks import heat

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

TITLE = "What the [CLS] token is made of, up to each layer (GlobEnc, figures 1 and A)"
TEXTS = 3
"""How many texts, unless told otherwise."""
SHOWN = ("W_FixedRes", "N", "N_Res", "N_Enc")
MOST_TOKENS = 60
"""Longer texts are measured and not drawn: their labels would run into each other."""

Values = NDArray[np.float64]


def run(setup: Setup) -> Report:
    """Measure a few texts, and draw each."""
    if setup.data is None:
        raise BadInput("Drawing maps needs texts, but there is no data. Name it with data (--data).")
    setup = replace(setup, limit=TEXTS if setup.limit is None else setup.limit)
    columns = [column_of("rollout", name) for name in SHOWN]
    found = setup.measured("rows", methods=columns, layers="all", maps=True)
    numbers = found.to_pandas(["id"]).index
    if not len(numbers):
        raise BadInput(f"None of the {found.total} texts could be measured: {found.failures()['reason'].iloc[0]}")
    maps = {number: {name: found.map(number, column_of("rollout", name)) for name in SHOWN} for number in numbers}
    queries = {number: found.row(number, columns[0]).selected["query"] for number in numbers}
    drawn = [number for number in numbers if len(maps[number]["N_Enc"].tokens) <= MOST_TOKENS]
    figures = [
        figure
        for number in drawn
        for figure in (_rows(number, maps[number], queries[number]), _last(number, maps[number]["N_Enc"]))
    ]
    table = Table("globenc_rows", "The token of each text that has the largest score.", *_table(maps, queries))
    summary = [
        f"{len(numbers)} of {found.total} texts; of each the row of {_query_word(maps, queries)}, every layer divided "
        "by its maximum.",
        *_itself(maps, queries),
    ]
    if left_out := len(numbers) - len(drawn):
        summary.append(f"{left_out} are not drawn: they have more than {MOST_TOKENS} tokens.")
    if len(numbers) < found.total:
        summary.append(f"{found.total - len(numbers)} are left out, such as: {found.failures()['reason'].iloc[0]}")
    return Report("globenc_rows", TITLE, summary, [table], figures, {**record_of(found), "limit": setup.limit})


def by_largest(rows: Values) -> Values:
    """Each row divided by its maximum; a row of zeros stays.

    Args:
        rows: (layer, key), ≥ 0.
    """
    largest = rows.max(-1, keepdims=True)
    found: Values = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0)
    return found


def _rows_of(found: TokenMap, query: int) -> Values:
    return by_largest(found.values[:, query, :].astype(np.float64))


def _rows(number: int, maps: Mapping[str, TokenMap], query: int) -> Figure:
    first = maps["N_Enc"]
    tokens, layers = list(first.tokens.pieces), len(first.values)
    panels = {name: _rows_of(found, query) for name, found in maps.items()}
    size = (max(6.0, 2.2 + 0.5 * len(tokens)), 1.2 + 2 * (0.26 * layers + 0.8))
    caption = f"Text {number}: row of {tokens[query]} of four rollouts, each layer divided by its maximum."
    return Figure(f"globenc_rows_{number}", caption, _drawing(panels, tokens), size)


def _drawing(panels: Mapping[str, Values], tokens: Sequence[str]) -> Callable[[Canvas], None]:
    def draw(canvas: Canvas) -> None:
        grid = canvas.subplots(2, 2, sharex=True, sharey=True)
        for axes, (name, values) in zip(grid.ravel(), panels.items(), strict=True):
            layers = [str(layer) for layer in range(len(values), 0, -1)]  # the last layer on top, as in the paper
            heat(axes, values[::-1], layers, tokens, limit=1.0)
            axes.set_title(f"{name} (GlobEnc)" if name == "N_Enc" else name, fontsize="medium")
        for axes in grid[:, 0]:
            axes.set_ylabel("layer")

    return draw


def _last(number: int, found: TokenMap) -> Figure:
    tokens = list(found.tokens.pieces)
    values = found.values[-1].astype(np.float64)
    side = max(4.0, 1.6 + 0.2 * len(tokens))

    def draw(canvas: Canvas) -> None:
        axes = heat(canvas.subplots(), values / (values.max() or 1.0), tokens, tokens, limit=1.0)
        axes.set(xlabel="made of", ylabel="token of the last layer")

    return Figure(
        f"globenc_rows_{number}_last",
        f"Text {number}: the whole GlobEnc map of the last layer, divided by its maximum.",
        draw,
        (side + 0.8, side),
    )


def _table(maps: Mapping[int, Mapping[str, TokenMap]], queries: Mapping[int, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All numbers, and the largest of the last layer."""
    lines = []
    for number, by_name in maps.items():
        for name, found in by_name.items():
            for layer, row in enumerate(_rows_of(found, queries[number]), 1):
                pieces = zip(found.tokens.pieces, row.tolist(), strict=True)
                lines += [(number, name, layer, place, piece, value) for place, (piece, value) in enumerate(pieces)]
    numbers = pd.DataFrame(lines, columns=["text", "map", "layer", "position", "token", "of_largest"])
    last = numbers[numbers["layer"] == numbers["layer"].max()]
    top = last.loc[last.groupby(["text", "map"])["of_largest"].idxmax()]
    shown = top.pivot(index="text", columns="map", values="token")[list(SHOWN)]
    return numbers.set_index(["text", "map", "layer", "position"]), shown


def _query_word(maps: Mapping[int, Mapping[str, TokenMap]], queries: Mapping[int, int]) -> str:
    words = {maps[number]["N_Enc"].tokens.pieces[query] for number, query in queries.items()}
    return words.pop() if len(words) == 1 else "the last token"


def _itself(maps: Mapping[int, Mapping[str, TokenMap]], queries: Mapping[int, int]) -> list[str]:
    """Maps whose row is one bright cell: the token itself."""
    own = {
        name: sum(int(by_name[name].values[-1, queries[n]].argmax()) == queries[n] for n, by_name in maps.items())
        for name in SHOWN
    }
    counted = ", ".join(f"{name} {count}" for name, count in own.items())
    return [f"Texts in which the token itself has the largest score at the last layer: {counted}."]


EXPERIMENT = Experiment(
    study="globenc",
    name="rows",
    title=TITLE,
    paper=MODARRESSI_2022,
    run=run,
    needs="texts",
)

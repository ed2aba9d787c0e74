"""Figure 5 of GlobEnc: do the two LayerNorms of a layer have opposite outlier weights? Needs a model and no data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contextmix.errors import UnsupportedModel
from contextmix.evidence.experiment import Experiment, Setup
from contextmix.evidence.globenc import short
from contextmix.evidence.report import Figure, Report, Table
from contextmix.plugins.contracts import Scored
from contextmix.plugins.papers import MODARRESSI_2022
from contextmix.plugins.scoring import score
from contextmix.traces.anatomy import BlockAnatomy
from contextmix.traces.places import NormPlace
from contextmix.tracing.recording.resolve import parameters, part
from contextmix.views.figures.marks import COLOURS, MARKERS, names_above, scatter

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

TITLE = "Outlier weights of the two LayerNorms of each layer (GlobEnc, figure 5)"
SIGMAS = 3.0
"""An outlier is further from the mean of its norm's weights than so many standard deviations (Kovaleva et al. 2021)."""
SETS = {"union": "outliers of either norm", "intersection": "outliers of both norms", "all": "all dimensions"}

Weights = NDArray[np.float64]


def run(setup: Setup) -> Report:
    """Read the weights, find the outliers, correlate."""
    layout, weights = norms_of(setup)
    chosen = [dimensions(*pair) for pair in weights]
    found = {
        (layer, name): (score("pearson", first[own[name]], second[own[name]]), int(own[name].sum()))
        for layer, ((first, second), own) in enumerate(zip(weights, chosen, strict=True), 1)
        for name in SETS
    }
    lines = [(layer, name, one.value, count, one.reason) for (layer, name), (one, count) in found.items()]
    numbers = pd.DataFrame(lines, columns=["layer", "dimensions", "pearson", "count", "reason"])
    shown_layer = max(1, len(weights) - 1)  # layer 11 of 12, as in the paper
    width = len(weights[0][0])
    caption = f"Pearson's r of the weights of LN1 and LN2 by layer ({layout} blocks, {width} dimensions, outlier: > 3σ)"
    table = Table(
        "globenc_outliers",
        f"{caption}; in brackets the dimensions.",
        numbers.astype({"pearson": float}).set_index(["layer", "dimensions"]),
        _shown(found, len(weights)),
    )
    figure = Figure(
        "globenc_outliers",
        f"Left: weights of LN1 and LN2 in layer {shown_layer}. Right: Pearson's r of outlier weights by layer.",
        _drawing(shown_layer, weights[shown_layer - 1], chosen[shown_layer - 1], found, len(weights)),
        (9.0, 4.2),
    )
    record = {"sigmas": SIGMAS, "layout": layout, "layers": len(weights), "width": width}
    return Report("globenc_outliers", TITLE, _sentences(found, len(weights), layout), [table], [figure], record)


def norms_of(setup: Setup) -> tuple[str, list[tuple[Weights, Weights]]]:
    """The layout of the blocks, and the weights of the two norms of each block, (d_model,) each, in the block's order.

    Raises:
        UnsupportedModel: If a block has not exactly two norms with weights.
    """
    model, anatomy = setup.traced.model, setup.traced.anatomy()
    found = []
    for number, block in enumerate(anatomy.blocks, 1):
        places = _places(block)
        root = model.get_submodule(block.path)
        weights = [parameters(part(root, place.path), place).weight for place in places]
        if len(places) != 2 or any(weight is None for weight in weights):
            raise UnsupportedModel(
                f"This experiment compares the weights of the two norms of each block, and block {number} of "
                f"{setup.traced.origin.model} ({block.layout}) has {len(places)} norms, "
                f"{sum(weight is not None for weight in weights)} of them with weights of its own. Take a model such "
                "as BERT, with one norm for attention and one for the feed-forward part."
            )
        first, second = (weight.double().cpu().numpy() for weight in weights if weight is not None)
        found.append((first, second))
    return " and ".join(anatomy.layouts), found


def _places(block: BlockAnatomy) -> list[NormPlace]:
    """Every norm of a block once, those of attention first."""
    own = (block.attention, block.ffn)
    norms = [norm for sub in own for norm in (sub.norm_in, sub.norm_out, sub.norm_after) if norm is not None]
    return list({norm.path: norm for norm in norms}.values())


def dimensions(first: Weights, second: Weights) -> dict[str, NDArray[np.bool_]]:
    """Which dimensions are compared: outliers of either norm, of both, and all.

    Args:
        first: (d_model,).
        second: (d_model,).

    Returns:
        Name → (d_model,).
    """
    one, other = (np.abs(w - w.mean()) > SIGMAS * w.std() for w in (first, second))
    return {"union": one | other, "intersection": one & other, "all": np.ones_like(one)}


def _shown(found: Mapping[tuple[int, str], tuple[Scored, int]], layers: int) -> pd.DataFrame:
    cells = {
        layer: {SETS[name]: f"{short(found[layer, name][0].value)} ({found[layer, name][1]})" for name in SETS}
        for layer in range(1, layers + 1)
    }
    return pd.DataFrame(cells).T.rename_axis("layer")


def _drawing(
    layer: int,
    pair: tuple[Weights, Weights],
    own: Mapping[str, NDArray[np.bool_]],
    found: Mapping[tuple[int, str], tuple[Scored, int]],
    layers: int,
) -> Callable[[Canvas], None]:
    def draw(canvas: Canvas) -> None:
        left, right = canvas.subplots(1, 2)
        only = {
            "all others": ~own["union"],
            "outlier of one": own["union"] & ~own["intersection"],
            "outlier of both": own["intersection"],
        }
        points = {name: tuple(weights[mask].tolist() for weights in pair) for name, mask in only.items()}
        scatter(left, points, xlabel=f"weight of LN1, layer {layer}", ylabel=f"weight of LN2, layer {layer}")
        for number, (name, words) in enumerate(SETS.items()):
            values = [found[place, name][0].value for place in range(1, layers + 1)]
            gaps = [np.nan if value is None else value for value in values]  # no line through what is not defined
            right.plot(
                range(1, layers + 1),
                gaps,
                color=COLOURS[number],
                marker=MARKERS[number],
                markersize=4,
                linewidth=1.2,
                label=words,
            )
        right.axhline(0, color="#999999", linewidth=0.6, zorder=0)
        right.set(xlabel="layer", ylabel="Pearson's r of LN1 and LN2", ylim=(-1.05, 1.05), xticks=range(1, layers + 1))
        right.spines[["top", "right"]].set_visible(False)
        names_above(right, 2)

    return draw


def _sentences(found: Mapping[tuple[int, str], tuple[Scored, int]], layers: int, layout: str) -> list[str]:
    said = []
    for name in ("union", "intersection"):
        values = {layer: found[layer, name][0].value for layer in range(1, layers + 1)}
        there = [value for value in values.values() if value is not None]
        reasons = {found[layer, name][0].reason for layer, value in values.items() if value is None}
        why = ", ".join(sorted(reasons)).replace("tokens", "dimensions")
        without = f" In {layers - len(there)} there is no correlation ({why})." if reasons else ""
        negative = sum(value < 0 for value in there)
        extent = f", from {short(min(there))} to {short(max(there))}" if there else ""
        said.append(f"On {SETS[name]}, r is negative in {negative} of {len(there)} layers{extent}.{without}")
    few, many = (bound(found[layer, "union"][1] for layer in range(1, layers + 1)) for bound in (min, max))
    said.append(f"Either norm has {few} to {many} outliers per layer: with so few, one dimension may decide r.")
    said.append(
        "In the paper, r of outlier weights is strongly negative in BERT-base; its definition of outliers is not known."
    )
    if layout != "post-norm":
        said.append(f"The paper argues for post-norm blocks, where LN2 may undo LN1; these are {layout} blocks.")
    return said


EXPERIMENT = Experiment(
    study="globenc",
    name="outliers",
    title=TITLE,
    paper=MODARRESSI_2022,
    run=run,
    needs="a model whose blocks have two norms with weights; no data",
)

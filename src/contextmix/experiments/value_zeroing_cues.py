"""Which map points at the cue? Number agreement in minimal pairs, by layer and method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contextmix.evidence.blimp import ABBREVIATIONS, WARSTADT_2020
from contextmix.evidence.cues import CHANCE, MEASURES, ROLLED, SINGLE, alignments, can_mask, material, scores
from contextmix.evidence.estimates import RESAMPLES, against, bounds, estimated, outcomes_of, short, tested, verdict
from contextmix.evidence.experiment import Experiment, Setup
from contextmix.evidence.report import Figure, Report, Table
from contextmix.plugins.papers import MOHEBBI_2023
from contextmix.views.figures.marks import bands

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Aligned = Mapping[str, NDArray[np.float64]]
"""Method → (measure, pair, layer); see `alignments`."""

FAMILIES = {"single layers": SINGLE, "rolled out": ROLLED}
WORDS = dict(zip(MEASURES, ("dot product", "average precision", "dot product of others"), strict=True))

_ONE_EACH = "maps of single layers in mean over layers, rolled-out maps at the last"


def run(setup: Setup) -> Report:
    """Scores of the target's row on its cue, with the target kept and masked."""
    tables: list[Table] = []
    figures: list[Figure] = []
    summary: list[str] = []
    record: dict[str, Any] = {"pairs": str(WARSTADT_2020), "resamples": RESAMPLES, "confidence": 0.95}
    for masked in (False, True):
        name = "masked" if masked else "full"
        if masked and not can_mask(setup.traced):
            summary.append("Masked input: not measured, for the tokenizer has no mask token.")
            continue
        found = material(setup, masked=masked)
        aligned = alignments(scores(setup, found, masked=masked), found)
        paradigms = np.array([one.pair.paradigm for one in found.placed])
        layers, tests = _by_layer(aligned, setup.seed), list(_tests(aligned, setup.seed))
        what = f"target {'masked' if masked else 'kept'}; {found.told}"
        tables += [
            _layer_table(layers, name, what),
            _paradigm_table(aligned, paradigms, name, what, setup.seed),
            _test_table(tests, name, what),
        ]
        caption = f"Cue alignment by layer, {what} Bands: 95 % of a bootstrap."
        figures.append(Figure(f"value_zeroing_cues_{name}", caption, partial(_draw, layers=layers), (9.0, 6.5)))
        summary += _sentences(name, layers, tests)
        record[name] = {"used": len(found.placed), "dropped": dict(found.dropped)}
    return Report("value_zeroing_cues", EXPERIMENT.title, summary, tables, figures, record)


def _by_layer(aligned: Aligned, seed: int) -> pd.DataFrame:
    """One line per measure, method and layer: all pairs together."""
    rows = {
        (measure, method, layer): estimated(outcomes_of(values[which, :, layer]), seed=seed)
        for which, measure in enumerate(MEASURES)
        for method, values in aligned.items()
        for layer in range(values.shape[-1])
    }
    return _indexed(rows, ["measure", "method", "layer"])


def _layer_table(layers: pd.DataFrame, name: str, what: str) -> Table:
    shown = layers["mean"].map("{:.2f}".format, na_action="ignore").unstack("layer", fill_value="")
    best = layers.loc[layers.groupby(["measure", "method"])["mean"].idxmax().dropna()].reset_index("layer")
    shown["best"] = best["layer"]
    shown["95 % of it"] = best.apply(bounds, axis="columns")
    shown = shown.reindex(layers.index.droplevel("layer").unique()).fillna("–").rename(index=WORDS)
    return Table(f"value_zeroing_cues_{name}_layers", f"Mean cue alignment by layer, {what}", layers, shown)


def _paradigm_table(aligned: Aligned, paradigms: NDArray[np.str_], name: str, what: str, seed: int) -> Table:
    """The dot product of each paradigm, one number per pair."""
    means = {method: _one_each(method, values[0]) for method, values in aligned.items()}
    rows = {
        (method, str(paradigm)): estimated(outcomes_of(values[paradigms == paradigm]), seed=seed)
        for method, values in means.items()
        for paradigm in dict.fromkeys(paradigms)
    }
    numbers = _indexed(rows, ["method", "paradigm"])
    shown = (
        numbers.apply(short, axis="columns").unstack("paradigm").rename(columns=ABBREVIATIONS).reindex(list(aligned))
    )
    caption = f"Dot product by paradigm with 95 %, {_ONE_EACH}; {what}"
    return Table(f"value_zeroing_cues_{name}_paradigms", caption, numbers, shown)


def _one_each(method: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(pair, layer) → (pair,): a rolled-out map says it in the last layer, maps of single layers in their mean."""
    return values[:, -1] if method in ROLLED else values.mean(-1)


def _tests(aligned: Aligned, seed: int) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """Measure, family, its Value Zeroing, and this one against the others, pair by pair."""
    for which, measure in enumerate(MEASURES):
        for family, methods in FAMILIES.items():
            means = {method: outcomes_of(_one_each(method, aligned[method][which])) for method in (*methods, CHANCE)}
            yield measure, family, methods[0], against(methods[0], means, seed=seed)


def _test_table(tests: list[tuple[str, str, str, pd.DataFrame]], name: str, what: str) -> Table:
    whole = {(measure, first): found for measure, _, first, found in tests}
    numbers = pd.concat(whole, names=["measure", "first", "method"])
    shown = numbers.apply(tested, axis="columns").unstack("measure")[list(MEASURES)].rename(columns=WORDS)
    order = numbers.index.droplevel("measure").unique()
    caption = f"First method less the other (p of paired permutation tests, Holm), {_ONE_EACH}; {what}"
    return Table(f"value_zeroing_cues_{name}_tests", caption, numbers, shown.reindex(order))


def _sentences(name: str, layers: pd.DataFrame, tests: list[tuple[str, str, str, pd.DataFrame]]) -> list[str]:
    start = "Target masked" if name == "masked" else "Target kept"
    said = [f"{start}, {family}: {verdict(first, found, WORDS[measure])}" for measure, family, first, found in tests]
    chance = _of(layers, MEASURES[0], CHANCE)
    missing = int(layers["undefined"].sum())
    said.append(f"{start}: a row that is the same on all other tokens has a dot product of {short(chance.iloc[0])}.")
    if missing:
        said.append(f"{start}: {missing:,} scores are not defined (rows without any order or mass) and were left out.")
    if reason := chance["reason"].iloc[0]:
        said.append(f"{start}: there are no intervals: {reason}.")
    return said


def _of(layers: pd.DataFrame, measure: str, method: str) -> pd.DataFrame:
    found: pd.DataFrame = layers.xs(measure, level="measure").xs(method, level="method")
    return found


def _indexed(rows: Mapping[tuple[Any, ...], Mapping[str, Any]], names: list[str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows.values()), index=pd.MultiIndex.from_tuples(rows, names=names))


def _draw(canvas: Canvas, layers: pd.DataFrame) -> None:
    for row, measure in enumerate(MEASURES[:2]):
        for column, (family, methods) in enumerate(FAMILIES.items()):
            axes = canvas.add_subplot(2, 2, 2 * row + column + 1)
            own = {method: _of(layers, measure, method) for method in methods}
            places = list(own[methods[0]].index)
            lines = {method: tuple(one[["mean", "low", "high"]].astype(float).T.values) for method, one in own.items()}
            chance = float(_of(layers, measure, CHANCE)["mean"].iloc[0])
            axes.axhline(chance, color="#7F7F7F", linestyle="--", linewidth=1, label=CHANCE)
            bands(axes, places, lines, xlabel="layer", ylabel=WORDS[measure])
            axes.set_ylim(bottom=0)
            axes.set_title(family if row == 0 else "", fontsize="medium")
            if legend := axes.get_legend():
                legend.remove()
            if row == 1:  # under both, where no line is
                axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize="small", frameon=False)


EXPERIMENT = Experiment(
    study="value_zeroing",
    name="cues",
    title="Value Zeroing, cue alignment: how much of a target's row lies on the word that it agrees with?",
    paper=MOHEBBI_2023,
    run=run,
    needs="The folder of BLiMP's data (a limit is per paradigm), an encoder; a mask token for the masked input.",
)

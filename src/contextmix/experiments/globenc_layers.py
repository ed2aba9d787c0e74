"""Table 2 and figure 3 of GlobEnc: agreement with saliency by layer, of single layers and of their rollout."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from contextmix.evidence.experiment import Experiment, Setup
from contextmix.evidence.globenc import (
    KINDS,
    MAPS,
    Agreement,
    agreement,
    p_words,
    record_of,
    saliency_run,
    short,
    spread,
)
from contextmix.evidence.labelled import sentences_on
from contextmix.evidence.published import GLOBENC_CURVES, GLOBENC_LAYERS
from contextmix.evidence.report import Figure, Report, Table
from contextmix.plugins.papers import MODARRESSI_2022
from contextmix.statistics.significance import paired_test
from contextmix.statistics.summaries import normal_interval, summarise
from contextmix.views.figures.marks import bands, names_below

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

TITLE = "Spearman's ρ with saliency by layer, single and rolled out (GlobEnc, table 2 and figure 3)"
IN_TABLE_2 = ("N", "N_Res", "N_Enc")
WORDS = {"single": "single layer", "rollout": "rolled out"}


def run(setup: Setup) -> Report:
    """Measure every layer, alone and rolled out up to it."""
    found, labels = saliency_run(setup)
    said = sentences_on(found, labels)
    measured = agreement(found)
    numbers = _numbers(measured)
    texts = len(measured.outcomes["rollout", "W"][0])
    caption = f"{texts:,} texts; bands are 99 % intervals, mean ± 2.576·sd/√N"
    tables = [
        Table(
            "globenc_layers",
            f"Spearman's ρ of the [CLS] row with saliency, {texts:,} texts: mean ± sd; beside it table 2 of the paper "
            "(BERT-base, SST-2).",
            numbers.set_index(["kind", "map", "layer"]),
            _table_2(numbers),
        ),
        Table("globenc_layers_means", "Mean of Spearman's ρ by layer, counted from 1.", _means(numbers)),
        Table("globenc_layers_published", "The same as published: BERT-base on SST-2.", _published()),
    ]
    figure = Figure("globenc_layers", f"Agreement with saliency by layer, {caption}.", _drawing(numbers), (9.0, 4.6))
    reasons = {one.reason for one in (normal_interval(layers[-1]) for layers in measured.outcomes.values())} - {""}
    few = [f"No bands: {reason}." for reason in sorted(reasons)]
    summary = [*said, *_undefined(numbers), *few, *_rolling(measured, setup.seed), *_best(numbers)]
    return Report("globenc_layers", TITLE, summary, tables, [figure], record_of(found, labels))


def _numbers(measured: Agreement) -> pd.DataFrame:
    """One line per kind, map and layer."""
    lines = []
    for (kind, name), layers in measured.outcomes.items():
        for layer, outcomes in enumerate(layers, 1):
            one, band = summarise(outcomes), normal_interval(outcomes)
            left_out = (sum(one.undefined.values()), ", ".join(one.undefined))
            lines.append((kind, name, layer, one.mean, one.sd, band.low, band.high, one.count, *left_out))
    columns = ["kind", "map", "layer", "mean", "sd", "low", "high", "texts", "undefined", "reason"]
    typed = {name: float for name in ("mean", "sd", "low", "high")}
    return pd.DataFrame(lines, columns=columns).astype(typed)


def _of(numbers: pd.DataFrame, kind: str, name: str) -> pd.DataFrame:
    """One map by layer."""
    return numbers[(numbers["kind"] == kind) & (numbers["map"] == name)].set_index("layer")


def _table_2(numbers: pd.DataFrame) -> pd.DataFrame:
    """The first, the middle and the last layer and the best one, here and in the paper."""
    count = int(numbers["layer"].max())
    layers = sorted({1, max(1, count // 2), count})
    lines = {}
    for kind, name in GLOBENC_LAYERS:
        own = _of(numbers, kind, name)
        cells = {f"layer {layer}": _cell(own.loc[layer]) for layer in layers}
        best = _best_layer(own)
        cells["best"] = "–" if best is None else f"{_cell(own.loc[best])} ({best})"
        wheres = ("1 of 12", "6 of 12", "12 of 12", "best")
        printed = GLOBENC_LAYERS[kind, name]
        cells |= {f"paper: {where}": spread(*value) for where, value in zip(wheres, printed, strict=True)}
        lines[f"{WORDS[kind]} {name}"] = cells
    return pd.DataFrame(lines).T.rename_axis("map")


def _cell(line: pd.Series) -> str:
    return "–" if pd.isna(line["mean"]) else spread(line["mean"], line["sd"])


def _best_layer(own: pd.DataFrame) -> int | None:
    means = own["mean"].dropna()
    return None if means.empty else int(means.idxmax())


def _means(numbers: pd.DataFrame) -> pd.DataFrame:
    wide = numbers.pivot(index=["kind", "map"], columns="layer", values="mean")
    wide = wide.reindex([(kind, name) for kind in KINDS for name in MAPS])
    return wide.map(lambda mean: short(None if pd.isna(mean) else mean))


def _published() -> pd.DataFrame:
    curves = {key: [float(cell) for cell in text.split()] for key, text in GLOBENC_CURVES.items()}
    index = pd.MultiIndex.from_tuples(curves, names=["kind", "map"])
    return pd.DataFrame(list(curves.values()), index=index, columns=range(1, 13)).map(short)


def _drawing(numbers: pd.DataFrame) -> Callable[[Canvas], None]:
    def draw(canvas: Canvas) -> None:
        panels = canvas.subplots(1, 2, sharey=True)
        for axes, kind in zip(panels, KINDS, strict=True):
            own = {name: _of(numbers, kind, name) for name in MAPS}
            layers = own["W"].index.tolist()
            lines = {name: tuple(one[c].tolist() for c in ("mean", "low", "high")) for name, one in own.items()}
            ylabel = "Spearman's ρ with saliency" if kind == KINDS[0] else ""
            bands(axes, layers, lines, xlabel="layer", ylabel=ylabel, legend=False)
            axes.axhline(0, color="#999999", linewidth=0.6, zorder=0)
            axes.set_title("single layers" if kind == "single" else "rolled out up to the layer", fontsize="medium")
        names_below(panels[0])

    return draw


def _rolling(measured: Agreement, seed: int) -> list[str]:
    """What the paper concludes from table 2: rolling out helps where the residual is in the map."""
    found = []
    for name in IN_TABLE_2:
        pair = [measured.outcomes[kind, name][-1] for kind in ("rollout", "single")]
        test = paired_test(*pair, seed=seed)
        if test.difference is None:
            continue
        does = "raises" if test.difference > 0 else "lowers"
        chance = test.reason or p_words(test.p_value)
        found.append(
            f"At the last layer, rolling out {does} the agreement of {name} by {abs(test.difference):.2f} ({chance})."
        )
    return [*found, "In the paper it raises that of N by .04, of N_Res by .32 and of N_Enc by .36 (BERT-base, SST-2)."]


def _best(numbers: pd.DataFrame) -> list[str]:
    best = {(kind, name): _best_layer(_of(numbers, kind, name)) for kind in KINDS for name in MAPS}
    tops = {key: _of(numbers, *key)["mean"][layer] for key, layer in best.items() if layer is not None}
    found = []
    for kind in KINDS:
        own = {name: top for (its, name), top in tops.items() if its == kind}
        if own:
            name = max(own, key=lambda one: own[one])
            found.append(f"Best {WORDS[kind]}: {name} at layer {best[kind, name]}, {short(own[name])}.")
    return found


def _undefined(numbers: pd.DataFrame) -> list[str]:
    some = numbers[numbers["undefined"] > 0]
    return [
        f"{one.map} ({WORDS[one.kind]}, layer {one.layer}) has no correlation on {one.undefined} texts: {one.reason}."
        for one in some.itertuples()
    ]


EXPERIMENT = Experiment(
    study="globenc",
    name="layers",
    title=TITLE,
    paper=MODARRESSI_2022,
    run=run,
    needs="a classifier, and labelled texts for it",
)

"""Figure 4 of GlobEnc: how far do the maps of single layers agree with hidden token attribution (HTA)?

The caption says Pearson, the authors' code takes Spearman row by row; whether plain HTA or HTA × inputs was meant is
not said. So all of these are measured, and the flattened map too, whose diagonal decides most of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from contextmix.datasets.storage.results import Run
from contextmix.errors import BadInput
from contextmix.evidence.experiment import Experiment, Setup
from contextmix.evidence.globenc import MAPS, record_of, short, spread
from contextmix.evidence.order import ALPHA
from contextmix.evidence.published import GLOBENC_HTA
from contextmix.evidence.report import Figure, Report, Table
from contextmix.plugins.contracts import Scored
from contextmix.plugins.papers import MODARRESSI_2022
from contextmix.plugins.scoring import score
from contextmix.statistics.significance import PairedTest, holm, paired_test
from contextmix.statistics.summaries import normal_interval, summarise
from contextmix.views.figures.marks import bands, names_below

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

TITLE = "Agreement of single-layer maps with hidden token attribution (GlobEnc, figure 4)"
TEXTS = 64
"""How many texts, unless told otherwise: HTA takes seconds for each, and the paper used 256."""
COMPARED = ("N_Res", "N_ResLN", "N_Enc")
REFERENCES = {"hta": "HTA", "hta_inputs": "HTA × inputs"}
MEASURES = {"pearson": "Pearson, by row", "spearman": "Spearman, by row", "flat": "Pearson, whole map"}

Key = tuple[str, str, str, int]  # reference, measure, map, layer from 1
Outcomes = dict[Key, list[Scored]]


def run(setup: Setup) -> Report:
    """Measure the maps, correlate them text by text."""
    if setup.data is None:
        raise BadInput("Comparing maps needs texts, but there is no data. Name it with data (--data).")
    setup = replace(setup, limit=TEXTS if setup.limit is None else setup.limit)
    found = setup.measured("hta", methods=[*(MAPS[name] for name in COMPARED), *REFERENCES], layers="all", maps=True)
    outcomes, rows = _correlations(found)
    numbers = _numbers(outcomes)
    texts = len(next(iter(outcomes.values())))
    caption = f"correlation with HTA by layer, {texts:,} texts"
    shown = _shown(numbers)
    tables = [
        Table("globenc_hta", f"Mean ± sd over texts of the {caption}; layers from 1.", numbers.set_index(INDEX), shown),
        Table(
            "globenc_hta_published",
            "Spearman by row of N_Enc with HTA, as published: pre-trained BERT-base, SST-2.",
            pd.DataFrame([GLOBENC_HTA.split()], columns=range(1, 13), index=pd.Index(["N_Enc"], name="map")),
        ),
    ]
    figure = Figure("globenc_hta", f"{caption.capitalize()}, with 99 % bands.", _drawing(numbers), (9.0, 5.6))
    summary = [*_sentences(found, texts, rows), *_few(outcomes), *_lower(outcomes, setup.seed)]
    return Report("globenc_hta", TITLE, summary, tables, [figure], {**record_of(found), "limit": setup.limit})


def _correlations(found: Run) -> tuple[Outcomes, tuple[int, int]]:
    """Every text's correlation, and how many rows have none of how many."""
    outcomes: Outcomes = {}
    undefined = total = 0
    for number in found.to_pandas(["id"]).index:
        maps = {name: found.map(number, name).values.astype(float) for name in found.settings.methods}
        for reference in REFERENCES:
            for name in COMPARED:
                for layer, (own, other) in enumerate(zip(maps[MAPS[name]], maps[reference], strict=True), 1):
                    for measure in ("pearson", "spearman"):
                        by_row = [score(measure, *pair) for pair in zip(own, other, strict=True)]
                        undefined += sum(one.value is None for one in by_row)
                        total += len(by_row)
                        outcomes.setdefault((reference, measure, name, layer), []).append(_mean(by_row))
                    flat = score("pearson", own.ravel(), other.ravel())
                    outcomes.setdefault((reference, "flat", name, layer), []).append(flat)
    if not outcomes:
        raise BadInput(f"None of the {found.total} texts could be measured: {found.failures()['reason'].iloc[0]}")
    return outcomes, (undefined, total)


def _mean(rows: Sequence[Scored]) -> Scored:
    """The mean over the rows that have a correlation."""
    values = [one.value for one in rows if one.value is not None]
    return Scored(float(np.mean(values))) if values else Scored(None, rows[0].reason)


INDEX = ["reference", "measure", "map", "layer"]


def _numbers(outcomes: Outcomes) -> pd.DataFrame:
    lines = []
    for key, each in outcomes.items():
        one, band = summarise(each), normal_interval(each)
        lines.append((*key, one.mean, one.sd, band.low, band.high, one.count, sum(one.undefined.values())))
    typed: dict[str, Any] = {name: float for name in ("mean", "sd", "low", "high")}
    return pd.DataFrame(lines, columns=[*INDEX, *typed, "texts", "undefined"]).astype(typed)


def _shown(numbers: pd.DataFrame) -> pd.DataFrame:
    shown = numbers.assign(
        cell=[spread(*pair) if pair[0] == pair[0] else "–" for pair in zip(numbers["mean"], numbers["sd"], strict=True)]
    )
    shown = shown.replace({"reference": REFERENCES, "measure": MEASURES})
    return shown.pivot(index=INDEX[:3], columns="layer", values="cell")


def _drawing(numbers: pd.DataFrame) -> Callable[[Canvas], None]:
    def draw(canvas: Canvas) -> None:
        panels = canvas.subplots(len(REFERENCES), len(MEASURES), sharex=True, sharey="col")
        for row, (reference, its_name) in zip(panels, REFERENCES.items(), strict=True):
            for axes, (measure, words) in zip(row, MEASURES.items(), strict=True):
                own = numbers[(numbers["reference"] == reference) & (numbers["measure"] == measure)]
                by_map = {name: own[own["map"] == name] for name in COMPARED}
                lines = {n: tuple(one[c].tolist() for c in ("mean", "low", "high")) for n, one in by_map.items()}
                xlabel = "" if reference == "hta" else "layer"
                ylabel = f"correlation with {its_name}" if measure == "pearson" else ""
                layers = by_map[COMPARED[0]]["layer"].tolist()
                bands(axes, layers, lines, xlabel=xlabel, ylabel=ylabel, legend=False)
                if reference == "hta":
                    axes.set_title(words, fontsize="medium")
        names_below(panels[0][0])

    return draw


def _sentences(found: Run, texts: int, rows: tuple[int, int]) -> list[str]:
    undefined, total = rows
    said = [f"{texts:,} of {found.total:,} texts; per row means over all tokens, special ones included."]
    if texts < found.total:
        said.append(f"{found.total - texts} are left out, such as: {found.failures()['reason'].iloc[0]}")
    if undefined:
        said.append(f"{undefined:,} of {total:,} correlations of rows are not defined (constant rows) and left out.")
    return said


def _few(outcomes: Outcomes) -> list[str]:
    reasons = {normal_interval(each).reason for each in outcomes.values()} - {""}
    return [f"No bands: {reason}." for reason in sorted(reasons)]


def _lower(outcomes: Outcomes, seed: int) -> list[str]:
    """Does N_ResLN agree less than the whole encoder, as in the paper?"""
    layers = sorted({key[3] for key in outcomes})
    said = []
    for reference, its_name in REFERENCES.items():
        for measure, words in MEASURES.items():
            own = {name: [outcomes[reference, measure, name, layer] for layer in layers] for name in COMPARED}
            pooled = {name: summarise([one for texts in each for one in texts]).mean for name, each in own.items()}
            means = ", ".join(f"{name} {short(mean)}" for name, mean in pooled.items())
            signs = _signs([paired_test(*pair, seed=seed) for pair in zip(own["N_ResLN"], own["N_Enc"], strict=True)])
            said.append(f"{its_name}, {words}: mean of all layers {means}; {signs}.")
    return [*said, "In the paper, N_ResLN is clearly below N_Res and N_Enc (BERT-base, 256 texts of SST-2)."]


def _signs(tests: Sequence[PairedTest]) -> str:
    """In how many layers N_ResLN differs from N_Enc, tested with Holm's correction for the layers."""
    p_values = [test.p_value for test in tests if test.p_value is not None]
    if len(p_values) < len(tests):
        return f"N_ResLN is not tested against N_Enc ({next(test.reason for test in tests if test.reason)})"
    sure = [test.difference or 0.0 for test, p in zip(tests, holm(p_values), strict=True) if p < ALPHA]
    below, above = sum(difference < 0 for difference in sure), sum(difference > 0 for difference in sure)
    return f"N_ResLN is below N_Enc in {below} and above it in {above} of {len(tests)} layers (5 %, Holm)"


EXPERIMENT = Experiment(
    study="globenc",
    name="hta",
    title=TITLE,
    paper=MODARRESSI_2022,
    run=run,
    needs="a model that can be differentiated, and texts",
)

"""In which layer does a masked target know its number, and do the maps point at the cue there?"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contextmix.evidence.cues import MEASURES, SINGLE, Material, alignments, material, scores
from contextmix.evidence.estimates import bounds, estimated
from contextmix.evidence.experiment import Experiment, Setup
from contextmix.evidence.probing import EPOCHS, HIDDEN, PORTIONS, RATE, VOITA_2020, block_ends, online_code
from contextmix.evidence.report import Figure, Report, Table
from contextmix.models.traced_model import TracedModel
from contextmix.plugins.papers import MOHEBBI_2023
from contextmix.plugins.scoring import METRICS
from contextmix.views.figures.marks import bands

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SEEDS = 3
"""Orders, probes and controls that are averaged."""
TEXTS = 64
"""Texts whose states are held at once, with their traces."""
CLASSES = 2  # singular, plural


def run(setup: Setup) -> Report:
    """Compression of number by layer, a control with shuffled labels, and the cue alignment of the same layers."""
    found = material(setup, masked=True)
    block_ends(len(found.placed))  # refuses too few pairs before the work
    labels = np.array([one.pair.plural for one in found.placed], dtype=np.int64)
    states = target_states(setup.traced, found)
    codes = _codes(states, labels, setup.seed)
    aligned = alignments(scores(setup, found, masked=True), found)
    by_layer = {method: np.nanmean(aligned[method], axis=1) for method in SINGLE}
    agreement = _agreement(codes.loc["number", "compression"].to_numpy(), by_layer)
    caption = f"Compression of the target's number, target masked, {SEEDS} seeds; {found.told}"
    tables = [
        Table("value_zeroing_probing", caption, codes, _shown(codes)),
        Table("value_zeroing_probing_agreement", _AGREEMENT, agreement),
    ]
    picture = partial(_draw, codes=codes, by_layer=by_layer)
    figure = Figure("value_zeroing_probing", "Compression, and cue alignment, by layer.", picture, (9.0, 3.6))
    record = {
        "used": len(found.placed),
        "dropped": dict(found.dropped),
        "code": str(VOITA_2020),
        "portions": list(PORTIONS),
        "probe": {"hidden": HIDDEN, "rate": RATE, "epochs": EPOCHS, "seeds": SEEDS},
    }
    summary = [*_sentences(codes, agreement), _CAVEAT]
    return Report("value_zeroing_probing", EXPERIMENT.title, summary, tables, [figure], record)


def target_states(model: TracedModel, found: Material) -> NDArray[np.float32]:
    """The target's vectors before the first block and after each: (layer + 1, pair, d_model)."""
    rows = []
    for start in range(0, len(found.placed), TEXTS):
        some = found.placed[start : start + TEXTS]
        for one, trace in zip(some, model.trace([each.text for each in some], batch_size=TEXTS), strict=True):
            vectors = [trace.layers[0].residual_in, *(layer.residual_out for layer in trace.layers)]
            rows.append(np.stack([vector[one.query].float().cpu().numpy() for vector in vectors]))
    return np.stack(rows, axis=1)


def _codes(states: NDArray[np.float32], labels: NDArray[np.int64], seed: int) -> pd.DataFrame:
    """One line per labels (true, shuffled) and layer; −1 is what enters the first block."""
    rows = {}
    for name in ("number", "control"):
        for layer, vectors in enumerate(states, start=-1):
            codes = []
            for own in range(seed, seed + SEEDS):
                said = labels if name == "number" else np.random.default_rng(own).permutation(labels)
                codes.append(online_code(vectors, said, CLASSES, seed=own).bits)
            rows[name, layer] = _line(np.mean(codes, axis=0), seed)
    return pd.DataFrame(list(rows.values()), index=pd.MultiIndex.from_tuples(rows, names=["labels", "layer"]))


def _line(bits: NDArray[np.float64], seed: int) -> dict[str, float | int | None]:
    """Compression with bounds: those of the mean number of bits, the other way up."""
    told, most = estimated(list(bits), seed=seed), math.log2(CLASSES)
    low, high = (None if told[side] is None else most / told[side] for side in ("high", "low"))
    return {
        "compression": most / told["mean"],
        "low": low,
        "high": high,
        "bits_per_label": told["mean"],
        "kbit": float(bits.sum() / 1024),
        "count": told["count"],
    }


def _agreement(compression: NDArray[np.float64], by_layer: dict[str, NDArray[np.float64]]) -> pd.DataFrame:
    """Spearman's ρ over layers: alignment with compression, and with what the layer adds to it."""
    rows = {}
    for method, values in by_layer.items():
        for which, measure in enumerate(MEASURES):
            level = METRICS["spearman"].score(values[which], compression[1:])
            gain = METRICS["spearman"].score(values[which], np.diff(compression))
            rows[method, measure] = {"level": level.value, "gain": gain.value, "reason": level.reason or gain.reason}
    return pd.DataFrame(list(rows.values()), index=pd.MultiIndex.from_tuples(rows, names=["method", "measure"]))


def _shown(codes: pd.DataFrame) -> pd.DataFrame:
    both: dict[str, pd.Series] = {}
    for name in ("number", "control"):
        own = codes.loc[name]
        both |= {name: own["compression"].map("{:.2f}".format), f"{name}, 95 %": own.apply(bounds, axis="columns")}
    return pd.DataFrame({**both, "bits per label": codes.loc["number", "bits_per_label"].map("{:.3f}".format)})


def _sentences(codes: pd.DataFrame, agreement: pd.DataFrame) -> list[str]:
    own, control = codes.loc["number"], codes.loc["control", "compression"]
    best = own["compression"].idxmax()
    said = [
        f"Number is easiest to read after layer {best}: compression {own.loc[best, 'compression']:.2f} "
        f"({bounds(own.loc[best])}); before the first layer it is {own.loc[-1, 'compression']:.2f}.",
        f"Shuffled labels compress to between {control.min():.2f} and {control.max():.2f}: "
        + (
            "the probe learns nothing that is not there."
            if control.max() < 1.05
            else "more than 1, so do not trust it."
        ),
    ]
    levels = agreement["level"].xs(MEASURES[0], level="measure").dropna()
    if len(levels):
        order = levels.sort_values(ascending=False)
        listed = ", ".join(f"{method} {value:.2f}" for method, value in order.items())
        said.append(
            f"Over {len(own) - 1} layers, the dot product follows the compression with Spearman's ρ of {listed}."
        )
    else:
        said.append(f"Whether alignment follows compression over layers is not known: {agreement['reason'].iloc[0]}.")
    return said


def _draw(canvas: Canvas, codes: pd.DataFrame, by_layer: dict[str, NDArray[np.float64]]) -> None:
    left, right = canvas.subplots(1, 2)
    lines = {}
    for name in ("number", "control"):
        own = codes.loc[name]
        lines[name] = tuple(own[column].to_numpy(float) for column in ("compression", "low", "high"))
    places = list(codes.loc["number"].index)
    bands(left, places, lines, xlabel="after layer (−1: embeddings)", ylabel="compression")
    left.axhline(1, color="#7F7F7F", linestyle="--", linewidth=1)
    means = {method: (values[0], values[0], values[0]) for method, values in by_layer.items()}
    bands(right, places[1:], means, xlabel="layer", ylabel="dot product")
    right.set_ylim(bottom=0)


_AGREEMENT = (
    "Spearman's ρ over layers between mean cue alignment and compression: its level after the layer, and what the "
    "layer adds. Few layers, so a description and no test."
)
_CAVEAT = (
    "Intervals are over pairs, with probes averaged over seeds. Nouns and verbs recur among pairs, so part of what a "
    "probe reads may be words rather than number."
)

EXPERIMENT = Experiment(
    study="value_zeroing",
    name="probing",
    title="Value Zeroing, probing: where does a masked target know its number?",
    paper=MOHEBBI_2023,
    run=run,
    needs="The folder of BLiMP's data, at least 188 usable pairs; an encoder with a mask token.",
)

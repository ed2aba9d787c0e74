"""How far effective attention is from attention, by the number of tokens.

‖A_eff − A‖ / ‖A‖ in the Frobenius norm, for each head. With no more tokens than a head has dimensions the value vectors
are linearly independent as a rule, nothing is cancelled, and the distance is exactly zero; above, it grows. The same
texts are cut to each length. What a head sends on, A V, stays the same at every length: that is checked too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from contextmix.datasets.reading.rows import Row
from contextmix.errors import BadInput
from contextmix.evidence.experiment import Experiment, Setup
from contextmix.evidence.heads import Array, Maps, bounded, head_size, maps_of
from contextmix.evidence.report import Figure, Report, Table
from contextmix.evidence.streamed import Streamed, streamed
from contextmix.models.traced_model import TracedModel
from contextmix.plugins.papers import SUN_2021
from contextmix.statistics.summaries import interval
from contextmix.tracing.inputs.encode import Inputs
from contextmix.tracing.inputs.probe import vocabulary
from contextmix.tracing.inputs.texts import encode
from contextmix.views.figures.marks import bands
from contextmix.views.figures.panels import Panel, panels

FACTORS = (0.5, 1, 1.25, 1.5, 2, 3, 4, 6, 8, 12, 16)
"""The lengths, in dimensions of a head; one token more than its dimensions is another one."""
LINES = 6
"""Layers in the figure at most, from first to last."""


def run(setup: Setup) -> Report:
    """Measure, tabulate and draw."""
    model = setup.traced
    size = head_size(model)
    lengths = lengths_of(size, model.limit)
    found = streamed(setup, "length", partial(measured, model, lengths), asked={"lengths": lengths})
    tokens = [entry["tokens"] for entry in found.entries]
    if max(tokens) <= size:
        raise BadInput(
            f"The longest of the {len(tokens):,} texts has {max(tokens)} tokens and a head has {size} dimensions: "
            "effective attention is attention in all of them, and there is nothing to show beyond that. Give texts "
            f"with more than {size} tokens, such as reviews."
        )
    distances = {length: distances_at(found, length) for length in lengths}
    distances = {length: one for length, one in distances.items() if len(one)}
    table = pd.DataFrame([_line(length, one, found, setup) for length, one in distances.items()])
    return Report(
        "effective_attention_length",
        EXPERIMENT.title,
        in_words(table, distances, size, found),
        [
            Table(
                "effective_attention_length_tokens",
                "Distance between raw and effective attention, ‖A_eff − A‖ / ‖A‖, by number of tokens: mean over "
                "texts, layers and heads with the 95 % bootstrap interval over texts; largest of all of them; "
                "output: largest relative change of what a head sends on.",
                table,
                _shown(table),
            ),
            Table(
                "effective_attention_length_heads",
                "The same of each layer: mean over texts and heads (the CSV file has each head).",
                _heads(distances),
                _layers(distances),
            ),
        ],
        _figures(distances, size, setup),
        {"head_size": size, "lengths": list(distances), "texts": len(tokens), "problems": dict(found.problems)},
    )


def lengths_of(size: int, limit: int | None) -> list[int]:
    """Numbers of tokens to cut texts to: below, at and above the size of a head, as far as the model reads."""
    wanted = {max(3, round(factor * size)) for factor in FACTORS} | {size + 1}
    return sorted(length for length in wanted if limit is None or length <= limit)


# Of one text ---------------------------------------------------------------------------------------------------------


def measured(model: TracedModel, lengths: Sequence[int], row: Row, inputs: Inputs) -> dict[str, Any]:
    """Length → distance (layer, head) and the largest change of an output; of lengths that the text has."""
    found: dict[str, Any] = {}
    assert row.text is not None
    known = vocabulary(model.model)
    for length in (length for length in lengths if length <= inputs.length):
        layers = list(maps_of(model, encode(model.tokenizer, row.text, length, truncate=True, known=known)))
        distance = [distance_of(one).tolist() for one in layers]
        found[str(length)] = {"distance": distance, "output": max(map(output_change, layers))}
    return {"lengths": found}


def distance_of(maps: Maps) -> Array:
    """‖A_eff − A‖ / ‖A‖ of each head; the weights of a row sum to one, so ‖A‖ is never zero."""
    axes = (-2, -1)
    return np.asarray(np.linalg.norm(maps.effective - maps.raw, axis=axes) / np.linalg.norm(maps.raw, axis=axes))


def output_change(maps: Maps) -> float:
    """The largest |(A_eff − A) V| of a head against its largest |A V|."""
    value = maps.layer.value.double().cpu().numpy()
    sent, other = maps.raw @ value, maps.effective @ value
    largest = np.abs(sent).max((-2, -1))
    return float((np.abs(other - sent).max((-2, -1)) / np.where(largest == 0, 1, largest)).max())


# Over texts ----------------------------------------------------------------------------------------------------------


def distances_at(found: Streamed, length: int) -> Array:
    """(text, layer, head) of the texts that have so many tokens."""
    return np.array([one["lengths"][str(length)]["distance"] for one in found.entries if str(length) in one["lengths"]])


def _line(length: int, one: Array, found: Streamed, setup: Setup) -> dict[str, Any]:
    over = interval(list(one.mean((1, 2))), seed=setup.seed)
    outputs = [entry["lengths"][str(length)]["output"] for entry in found.entries if str(length) in entry["lengths"]]
    return {
        "tokens": length,
        "texts": len(one),
        "mean": float(one.mean()),
        "low": over.low,
        "high": over.high,
        "largest": float(one.max()),
        "unchanged": float((one == 0).mean()),
        "output": max(outputs),
    }


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "texts": table["texts"],
            "mean": [bounded(line["mean"], line["low"], line["high"]) for line in table.to_dict("records")],
            "largest": table["largest"].map("{:.3f}".format),
            "heads unchanged": table["unchanged"].map("{:.1%}".format),
            "output": table["output"].map("{:.0e}".format),
        }
    ).set_index(table["tokens"])


def _heads(distances: Mapping[int, Array]) -> pd.DataFrame:
    lines = [
        {"tokens": length, "layer": layer + 1, "head": head + 1, "mean": values.mean(), "largest": values.max()}
        for length, one in distances.items()
        for layer, head in np.ndindex(one.shape[1:])
        for values in [one[:, layer, head]]
    ]
    return pd.DataFrame(lines)


def _layers(distances: Mapping[int, Array]) -> pd.DataFrame:
    means = {length: one.mean((0, 2)) for length, one in distances.items()}
    frame = pd.DataFrame(means).T.map("{:.2f}".format)
    frame.columns = [f"layer {number + 1}" for number in frame.columns]
    return frame.rename_axis("tokens")


def in_words(table: pd.DataFrame, distances: Mapping[int, Array], size: int, found: Streamed) -> list[str]:
    """What was found."""
    above, said = table[table["tokens"] > size], [f"A head has {size} dimensions."]
    for length, one in distances.items():
        if length <= size:
            same, heads = int((one == 0).sum()), one.size
            exact = f"in all {heads:,} maps" if same == heads else f"in {same:,} of {heads:,} maps"
            said.append(f"With {length} tokens the distance is exactly zero {exact}.")
            if same < heads:
                said.append("In the other ones the values of some tokens are linearly dependent up to rounding.")
    first, last = above.iloc[0], above.iloc[-1]
    said += [
        f"With {first['tokens']:.0f} tokens it is {bounded(first['mean'], first['low'], first['high'])} on average, "
        f"with {last['tokens']:.0f} tokens {bounded(last['mean'], last['low'], last['high'])} and at most "
        f"{last['largest']:.3f}.",
        f"What a head sends on changes by {table['output'].max():.0e} at most, which is rounding.",
        "Padding is no part of this: the authors' released code pads every text to 128 tokens and projects the pads "
        "too, so that it removes something at every length and the output of the model changes.",
    ]
    if found.problems:
        said.append(f"Left out: {', '.join(f'{count:,} texts ({kind})' for kind, count in found.problems.items())}.")
    reasons = {reason for one in distances.values() if (reason := interval([0.0] * len(one)).reason)}
    return said + [f"No interval for {reason}." for reason in sorted(reasons)]


# Pictures ------------------------------------------------------------------------------------------------------------


def _figures(distances: Mapping[int, Array], size: int, setup: Setup) -> list[Figure]:
    texts = len(next(iter(distances.values())))
    about = f"of up to {texts:,} texts that are cut to each length; the dashed line is the size of a head."
    return [
        Figure(
            "effective_attention_length",
            f"Distance between raw and effective attention by number of tokens, mean over heads {about} Bands: 95 % "
            "intervals over texts.",
            partial(_draw_lines, distances, size, setup.seed),
        ),
        Figure(
            "effective_attention_length_heads",
            f"The same by layer and head at {max(distances)} tokens.",
            partial(_draw_heads, distances[max(distances)]),
            (6.0, 3.6),
        ),
    ]


def _draw_lines(distances: Mapping[int, Array], size: int, seed: int, canvas: Any) -> None:
    axes = canvas.subplots()
    layers = next(iter(distances.values())).shape[1]
    shown = sorted({round(place) for place in np.linspace(0, layers - 1, min(LINES, layers))})
    lines = {f"layer {layer + 1}": _band(distances, layer, seed) for layer in shown}
    bands(axes, list(distances), lines, xlabel="tokens", ylabel="‖A_eff − A‖ / ‖A‖")
    axes.axvline(size, color="black", linestyle="--", linewidth=0.8)
    axes.set_xscale("log", base=2)
    ticks = [length for length in distances if (length / size * 2).is_integer() and length != 3 * size // 2]
    axes.set_xticks(ticks, map(str, ticks))
    axes.minorticks_off()
    axes.set_ylim(bottom=0)


def _band(distances: Mapping[int, Array], layer: int, seed: int) -> tuple[list[float], list[float], list[float]]:
    lines: tuple[list[float], list[float], list[float]] = ([], [], [])
    for one in distances.values():
        values = one[:, layer].mean(1)
        over, middle = interval(list(values), seed=seed), float(values.mean())
        bounds = (middle, middle if over.low is None else over.low, middle if over.high is None else over.high)
        for line, bound in zip(lines, bounds, strict=True):
            line.append(bound)
    return lines


def _draw_heads(one: Array, canvas: Any) -> None:
    rows, columns = (list(map(str, range(1, count + 1))) for count in one.shape[1:])
    panels(canvas, [Panel("‖A_eff − A‖ / ‖A‖", one.mean(0))], rows, columns, ylabel="layer", xlabel="head")


EXPERIMENT = Experiment(
    study="effective_attention",
    name="length",
    title="How far is effective attention from attention, by the number of tokens?",
    paper=SUN_2021,
    run=run,
    needs="Texts with more tokens than a head has dimensions; the longer, the better.",
)

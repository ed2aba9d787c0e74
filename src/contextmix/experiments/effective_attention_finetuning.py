"""Does fine-tuning change attention? Pre-trained against fine-tuned maps, raw and effective, by layer and head.

The cosine similarity of the two flattened maps of a head, as Kovaleva et al. (2019) compare them. One model is that of
the setup, the other one ``other_model``; both read the same tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from contextmix.datasets.reading.rows import Row
from contextmix.errors import BadInput, BadOption
from contextmix.evidence.experiment import Experiment, Setup
from contextmix.evidence.heads import (
    LONGEST,
    UNCORRECTED,
    Array,
    about_texts,
    bounded,
    decided,
    each_head,
    grid,
    head_size,
    maps_of,
    mean_over_heads,
    number,
    stacked,
)
from contextmix.evidence.report import Figure, Report, Table
from contextmix.evidence.streamed import streamed
from contextmix.maths.bounds import within
from contextmix.models.traced_model import TracedModel
from contextmix.plugins.papers import SUN_2021
from contextmix.statistics.summaries import interval
from contextmix.tracing.inputs.encode import Inputs
from contextmix.tracing.inputs.probe import vocabulary
from contextmix.tracing.inputs.texts import encode
from contextmix.views.figures.marks import bands
from contextmix.views.figures.panels import Panel, panels

KINDS = ("raw", "effective")


def run(setup: Setup) -> Report:
    """Measure, tabulate and draw."""
    model, other = setup.traced, setup.other
    refuse_other_shapes(model, other)
    found = streamed(
        setup,
        "finetuning",
        partial(measured, model, other),
        asked={"similarity": "cosine"},
        most_tokens=min(one for one in (LONGEST, other.limit) if one is not None),
        models=[other],
    )
    values = {kind: stacked(found, kind) for kind in KINDS}
    values["change"] = values["effective"] - values["raw"]
    heads = each_head(values, "change")
    table = by_layer(values, setup)
    size = head_size(model)
    names = f"{model.origin.model} and {other.origin.model}"
    summary = about_texts([entry["tokens"] for entry in found.entries], found.problems, size)
    return Report(
        "effective_attention_finetuning",
        EXPERIMENT.title,
        [*summary, *in_words(values, heads, names, setup)],
        [
            Table(
                "effective_attention_finetuning_layers",
                f"Cosine similarity of the maps of {names}, mean over {len(found.entries):,} texts and all heads, with "
                "95 % bootstrap intervals over texts; change: effective less raw.",
                table,
                _shown(table),
            ),
            Table(
                "effective_attention_finetuning_heads",
                "The five heads that are least alike in raw attention (the CSV file has all of them).",
                heads,
                _least(heads),
            ),
        ],
        [
            Figure(
                "effective_attention_finetuning",
                f"Cosine similarity of the maps of {names} by layer, mean over heads. Bands: 95 % intervals.",
                partial(_draw_layers, table),
                (5.0, 3.4),
            ),
            Figure(
                "effective_attention_finetuning_heads",
                "The same of each head, and the difference between the two kinds of attention.",
                partial(_draw_heads, heads),
                (12.0, 3.4),
            ),
        ],
        {"longest": LONGEST, "head_size": size, "texts": len(found.entries), "problems": dict(found.problems)},
    )


def refuse_other_shapes(model: TracedModel, other: TracedModel) -> None:
    """Heads can be compared one by one only where both models have the same ones.

    Raises:
        BadOption: If they differ in layers or heads.
    """
    shapes = [_shape(one) for one in (model, other)]
    if shapes[0] != shapes[1]:
        (layers, heads), (other_layers, other_heads) = shapes
        raise BadOption(
            f"{model.origin.model} has {layers} layers of {heads} heads and {other.origin.model} {other_layers} of "
            f"{other_heads}, so their heads are no pairs. Give the same model before and after fine-tuning."
        )


def _shape(model: TracedModel) -> tuple[int, int]:
    layers = model.trace({"input_ids": [0, 0]}).layers
    return len(layers), int(layers[0].attention.shape[-3])


# Of one text ---------------------------------------------------------------------------------------------------------


def measured(model: TracedModel, other: TracedModel, row: Row, inputs: Inputs) -> dict[str, Any]:
    """Kind of attention → similarity (layer, head)."""
    assert row.text is not None
    theirs = encode(other.tokenizer, row.text, inputs.length, truncate=True, known=vocabulary(other.model))
    if inputs.tensors["input_ids"].tolist() != theirs.tensors["input_ids"].tolist():
        raise BadOption(
            f"At {row.where} the two models read different tokens, so their maps have other rows and columns. Give two "
            "models with the same tokenizer."
        )
    found: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    for one, two in zip(maps_of(model, inputs), maps_of(other, theirs), strict=True):
        found["raw"].append(similarity(one.raw, two.raw).tolist())
        found["effective"].append(similarity(one.effective, two.effective).tolist())
    return found


def similarity(one: Array, two: Array) -> Array:
    """Cosine of the angle between the flattened maps of each head, (head, query, key) → (head,), -1 to 1.

    Raises:
        BadInput: If a map is all zero, and so has no direction.
    """
    sizes = np.linalg.norm(one, axis=(-2, -1)) * np.linalg.norm(two, axis=(-2, -1))
    if not sizes.all():
        raise BadInput("The effective attention of a head is all zero, as its values are, and has no direction.")
    cosines = np.asarray((one * two).sum((-2, -1)) / sizes)
    return within(cosines, -1, 1, (one[0].size + 8) * float(np.finfo(cosines.dtype).eps))


# Over texts ----------------------------------------------------------------------------------------------------------


def by_layer(values: Mapping[str, Array], setup: Setup) -> pd.DataFrame:
    """One line per layer: means and bounds of both kinds and of their difference."""
    lines: list[dict[str, Any]] = [{"layer": layer + 1} for layer in range(values["raw"].shape[1])]
    for name, own in values.items():
        for line, (mean, over) in zip(lines, mean_over_heads(own, setup), strict=True):
            line |= {name: mean, f"low {name}": over.low, f"high {name}": over.high}
    return pd.DataFrame(lines)


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    rows = table.to_dict("records")
    texts = {
        name: [bounded(row[name], row[f"low {name}"], row[f"high {name}"], sign=name == "change") for row in rows]
        for name in (*KINDS, "change")
    }
    return pd.DataFrame(texts, index=pd.Index(table["layer"]))


def _least(heads: pd.DataFrame) -> pd.DataFrame:
    few = heads.sort_values("raw").head(5)
    changes = [bounded(row["change"], row["low"], row["high"], sign=True) for row in few.to_dict("records")]
    texts = {kind: [number(one) for one in few[kind]] for kind in KINDS}
    return pd.DataFrame({**texts, "change": changes}, index=pd.MultiIndex.from_frame(few[["layer", "head"]]))


def in_words(values: Mapping[str, Array], heads: pd.DataFrame, names: str, setup: Setup) -> list[str]:
    """What was found."""
    means = {kind: values[kind].mean((0, 2)) for kind in KINDS}
    over = interval(list(values["change"].mean((1, 2))), seed=setup.seed)
    change = bounded(float(values["change"].mean()), over.low, over.high, sign=True)
    lower, higher, count = decided(heads)
    found = "" if over.low is None else f" ({lower} of {count} heads are less alike, {higher} more{UNCORRECTED})"
    return [
        f"Maps of {names} have a similarity of {values['raw'].mean():.3f} in raw and {values['effective'].mean():.3f} "
        f"in effective attention: change {change}{found}.",
        *(
            f"In {kind} attention layer {int(mean.argmin()) + 1} is the least alike ({mean.min():.3f}) and layer "
            f"{int(mean.argmax()) + 1} the most ({mean.max():.3f})."
            for kind, mean in means.items()
        ),
    ]


def _draw_layers(table: pd.DataFrame, canvas: Any) -> None:
    lines = {f"{kind} attention": _band(table, kind) for kind in KINDS}
    bands(canvas.subplots(), list(table["layer"]), lines, xlabel="layer", ylabel="cosine similarity")


def _band(table: pd.DataFrame, kind: str) -> tuple[list[float], list[float], list[float]]:
    middle = table[kind]
    low, high = (pd.to_numeric(table[f"{end} {kind}"]).fillna(middle) for end in ("low", "high"))
    return list(middle), list(low), list(high)


def _draw_heads(heads: pd.DataFrame, canvas: Any) -> None:
    signed = bool((heads["effective"] < 0).any())
    shown = [
        Panel("raw attention", grid(heads, "raw"), signed, "cosine"),
        Panel("effective attention", grid(heads, "effective"), signed, "cosine"),
        Panel("effective less raw", grid(heads, "change"), True, "change"),
    ]
    rows, columns = (list(map(str, sorted(heads[name].unique()))) for name in ("layer", "head"))
    panels(canvas, shown, rows, columns, ylabel="layer", xlabel="head")


EXPERIMENT = Experiment(
    study="effective_attention",
    name="finetuning",
    title="How much does fine-tuning change attention, raw and effective?",
    paper=SUN_2021,
    run=run,
    needs="Texts, and the same model before and after fine-tuning (--other-model).",
)

"""Attention to [CLS], to separators and to other special tokens: raw against effective, by layer and head.

Each number is the share of attention that goes to such tokens, averaged over the rows of all tokens of a text (padding
never enters). Two separators count together: their sum. Effective attention may be negative and its rows sum to
anything, so three numbers stand beside each other: its sum with signs, the sum of its absolute values, and the part of
all absolute values, which is what compares with a share.
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
)
from contextmix.evidence.report import Figure, Report, Table
from contextmix.evidence.streamed import Streamed, streamed
from contextmix.models.traced_model import TracedModel
from contextmix.plugins.papers import SUN_2021
from contextmix.statistics.summaries import Interval, interval
from contextmix.tokens.pieces import Tokens
from contextmix.tracing.inputs.encode import Inputs
from contextmix.views.figures.panels import Panel, panels

OTHER = "other special"
COLUMNS = ("raw", "effective", "absolute", "part")


def run(setup: Setup) -> Report:
    """Measure, tabulate and draw."""
    model = setup.traced
    names = kinds_of(model)
    found = streamed(
        setup, "separators", partial(measured, model, names), asked={"kinds": list(names)}, most_tokens=LONGEST
    )
    there = [kind for kind in (*names, OTHER) if any(kind in entry["kinds"] for entry in found.entries)]
    separator = list(names)[-1]
    if separator not in there:
        raise BadInput(
            f"None of the {len(found.entries):,} texts holds the separator {separator}: the tokenizer of "
            f"{model.origin.model} does not add it. Give a model whose tokenizer does, such as BERT or RoBERTa."
        )
    size = head_size(model)
    summary = about_texts([entry["tokens"] for entry in found.entries], found.problems, size)
    lines, figures, heads = [], [], []
    for kind in there:
        values = {name: values_of(found, kind, place) for place, name in enumerate(COLUMNS)}
        values["change"] = values["effective"] - values["raw"]
        values["change of part"] = values["part"] - values["raw"]
        frame = each_head(values, "change")
        heads.append(frame.assign(tokens=kind))
        lines += by_layer(kind, values, setup)
        figures.append(Figure(_file(kind), _caption(kind, values), partial(draw, frame), (9.0, 6.5)))
        summary += in_words(kind, values, frame, setup)
    return Report(
        "effective_attention_separators",
        EXPERIMENT.title,
        summary,
        tables(pd.DataFrame(lines), pd.concat(heads, ignore_index=True), len(found.entries)),
        figures,
        {"longest": LONGEST, "head_size": size, "texts": len(found.entries), "problems": dict(found.problems)},
    )


# Of one text ---------------------------------------------------------------------------------------------------------


def kinds_of(model: TracedModel) -> dict[str, int]:
    """The token that stands first and the separator, as the tokenizer writes them, with their ids.

    Raises:
        BadOption: If the tokenizer has no separator.
    """
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise BadOption("The experiment reads texts, and the model has no tokenizer. Pass one to contextmix.load.")
    first = tokenizer.cls_token or tokenizer.bos_token
    separator = tokenizer.sep_token or tokenizer.eos_token
    if separator is None:
        raise BadOption(
            f"The tokenizer of {model.origin.model} has no separator (sep_token or eos_token), and attention to "
            "separators is what this experiment is about. Give a model that has one, such as BERT or RoBERTa."
        )
    return {name: int(tokenizer.convert_tokens_to_ids(name)) for name in (first, separator) if name is not None}


def places_of(tokens: Tokens, names: Mapping[str, int]) -> dict[str, list[int]]:
    """Where the special tokens of each kind stand; kinds that do not occur are left out."""
    known = {number: name for name, number in names.items()}
    found: dict[str, list[int]] = {}
    for place, (token, special) in enumerate(zip(tokens.ids or (), tokens.special, strict=True)):
        if special:
            found.setdefault(known.get(token, OTHER), []).append(place)
    return found


def measured(model: TracedModel, names: Mapping[str, int], row: Row, inputs: Inputs) -> dict[str, Any]:
    """Kind of special tokens → (column, layer, head)."""
    assert inputs.tokens is not None
    places = places_of(inputs.tokens, names)
    found: dict[str, list[Array]] = {kind: [] for kind in places}
    for maps in maps_of(model, inputs):
        sizes = np.abs(maps.effective)
        total = sizes.sum((1, 2))
        total[total == 0] = 1.0  # values that are all zero: nothing is left, and nothing is a part of it
        for kind, own in places.items():
            to = [one[:, :, own].sum(-1).mean(-1) for one in (maps.raw, maps.effective, sizes)]
            found[kind].append(np.stack([*to, sizes[:, :, own].sum((1, 2)) / total]))
    return {"kinds": {kind: np.stack(layers, axis=1).tolist() for kind, layers in found.items()}}


# Over texts ----------------------------------------------------------------------------------------------------------


def values_of(found: Streamed, kind: str, place: int) -> Array:
    """One column of a kind of tokens, (text, layer, head), over the texts that have such tokens."""
    return np.array([entry["kinds"][kind][place] for entry in found.entries if kind in entry["kinds"]])


def by_layer(kind: str, values: Mapping[str, Array], setup: Setup) -> list[dict[str, Any]]:
    """One line per layer."""
    means = {name: mean_over_heads(values[name], setup) for name in ("change", "change of part")}
    lines = []
    for layer, ((change, found), (part, of_part)) in enumerate(zip(*means.values(), strict=True)):
        own = {name: float(values[name][:, layer].mean()) for name in COLUMNS}
        bounds = {"low": found.low, "high": found.high, "change of part": part}
        bounds |= {"low of part": of_part.low, "high of part": of_part.high, "texts": len(values["raw"])}
        lines.append({"tokens": kind, "layer": layer + 1, **own, "change": change, **bounds})
    return lines


def in_words(kind: str, values: Mapping[str, Array], frame: pd.DataFrame, setup: Setup) -> list[str]:
    """What was found about one kind of tokens."""
    means = {name: values[name].mean() for name in COLUMNS}
    over = {name: interval(list(values[name].mean((1, 2))), seed=setup.seed) for name in ("change", "change of part")}
    fell, rose, heads = decided(frame)
    found = "" if over["change"].low is None else f" ({fell} of {heads} heads pay less, {rose} more{UNCORRECTED})"
    return [
        f"To {kind} goes {means['raw']:.3f} of raw attention and {means['effective']:.3f} of effective attention: "
        f"change {_with(values['change'], over['change'])}{found}. In absolute values it is "
        f"{means['absolute']:.3f}, a part of {means['part']:.3f} of all: change "
        f"{_with(values['change of part'], over['change of part'])}."
    ]


def draw(frame: pd.DataFrame, canvas: Any) -> None:
    """Four heat maps, layer × head."""
    signed = bool((frame["effective"] < 0).any())
    shown = [
        Panel("raw attention", grid(frame, "raw"), signed, "share"),
        Panel("effective, with signs", grid(frame, "effective"), signed, "share"),
        Panel("effective, absolute values", grid(frame, "absolute"), signed, "share"),
        Panel("change: effective less raw", grid(frame, "change"), True, "change"),
    ]
    rows, columns = (sorted(map(int, frame[name].unique())) for name in ("layer", "head"))
    panels(canvas, shown, list(map(str, rows)), list(map(str, columns)), ylabel="layer", xlabel="head")


def tables(layers: pd.DataFrame, heads: pd.DataFrame, texts: int) -> list[Table]:
    """By layer and by head."""
    return [
        Table(
            "effective_attention_separators_layers",
            f"Mean attention that a token pays to special tokens, by layer, over {texts:,} texts and all heads. "
            "effective: with signs; absolute: of absolute values; part: of all absolute values; change: effective less "
            "raw, with the 95 % bootstrap interval over texts.",
            layers,
            _shown(layers),
        ),
        Table(
            "effective_attention_separators_heads",
            "The same of the five heads that pay most to each (the CSV file has all of them), with the normal 95 % "
            "interval of the change.",
            heads,
            _shown_heads(heads),
        ),
    ]


def _with(values: Array, over: Interval) -> str:
    return bounded(float(values.mean()), over.low, over.high, sign=True)


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    texts = {name: [number(one) for one in table[name]] for name in COLUMNS}
    changes = [bounded(line["change"], line["low"], line["high"], sign=True) for line in table.to_dict("records")]
    return pd.DataFrame({**texts, "change": changes}, index=pd.MultiIndex.from_frame(table[["tokens", "layer"]]))


def _shown_heads(frame: pd.DataFrame) -> pd.DataFrame:
    """The heads that pay most to each kind of tokens."""
    top = frame.sort_values("raw", ascending=False).groupby("tokens", sort=False).head(5)
    rows = [bounded(line["change"], line["low"], line["high"], sign=True) for line in top.to_dict("records")]
    texts = {name: [number(one) for one in top[name]] for name in ("raw", "effective", "absolute")}
    index = pd.MultiIndex.from_frame(top[["tokens", "layer", "head"]])
    return pd.DataFrame({**texts, "change": rows}, index=index)


def _file(kind: str) -> str:
    plain = "".join(letter if letter.isalnum() else "_" for letter in kind.lower()).strip("_") or "token"
    return f"effective_attention_separators_{plain}"


def _caption(kind: str, values: Mapping[str, Array]) -> str:
    return f"Attention to {kind}, mean over all rows of {len(values['raw']):,} texts, raw and effective."


EXPERIMENT = Experiment(
    study="effective_attention",
    name="separators",
    title="How much attention goes to [CLS], to separators and to other special tokens, raw and effective?",
    paper=SUN_2021,
    run=run,
    needs="Texts with more tokens than a head has dimensions, a tokenizer with a separator, an encoder or decoder.",
)

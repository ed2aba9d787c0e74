"""Which parts of speech does a sentence's token look at? Raw against effective attention, in the last layer.

For each head the largest weight in the row of [CLS] (of a causal model: the last token) among tokens of a part of
speech, averaged over the texts that have such tokens; of effective attention the largest absolute value. Special tokens
and punctuation need no tagger. A maximum over many tokens is larger than one over few, so numbers compare down a column
(raw and effective), not between parts of speech.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from contextmix.datasets.storage.results import Run
from contextmix.errors import BadInput, BadOption
from contextmix.evidence.experiment import Experiment, Setup
from contextmix.evidence.heads import Array, about_texts, bounded, head_size, number
from contextmix.evidence.report import Figure, Report, Table
from contextmix.evidence.speech import PUNCTUATION, Span, is_punctuation, tag_of, tagging
from contextmix.evidence.streamed import source_of
from contextmix.plugins.papers import SUN_2021
from contextmix.statistics.summaries import interval, normal_interval
from contextmix.views.figures.panels import Panel, panels

METHODS = ("attention", "effective_attention")
FIRST = ("NOUN", "VERB", "PRON")
"""What the paper shows comes first."""
COLUMNS = ("tokens", "ids", "special", "starts", "ends", "query", "problem")
UNTAGGED = "other words"

Values = Mapping[str, tuple[Array, Array]]
"""Kind of token → raw and effective maxima, (text, head) each, of the texts that have it."""


def run(setup: Setup) -> Report:
    """Measure, tabulate and draw."""
    words = tagging(setup, source_of(setup))  # what is missing is said before the work
    done = setup.measured("speech", methods=METHODS, options={name: {"heads": "each"} for name in METHODS})
    values, lengths, problems = collected(setup, done, words)
    size = head_size(setup.traced)
    frame = by_head(values)
    table = by_kind(values, setup)
    summary = about_texts(lengths, problems, size) + in_words(table)
    if setup.tagger is None and setup.tags_field is None:
        summary.append(
            "Parts of speech were not asked for: name a column that has them (tags_field, --tags-field) or a spaCy "
            "pipeline (tagger, --tagger)."
        )
    layer = len(setup.traced.anatomy().blocks)
    return Report(
        "effective_attention_speech",
        EXPERIMENT.title,
        summary,
        [
            Table(
                "effective_attention_speech_kinds",
                f"Largest weight that the usual query pays to a token of each kind in layer {layer}, mean over heads "
                f"and {len(lengths):,} texts; change: effective (absolute) less raw, with 95 % bootstrap intervals.",
                table,
                _shown(table),
            ),
            Table(
                "effective_attention_speech_heads",
                "Heads whose weight changes most, for each kind (the CSV file has all of them).",
                frame,
                _most(frame),
            ),
        ],
        [
            Figure(
                "effective_attention_speech",
                f"Largest weight that the usual query pays to a token of each kind, by head of layer {layer}.",
                partial(draw, frame, list(values)),
                (12.0, 1.6 + 0.25 * len(values)),
            )
        ],
        {"head_size": size, "texts": len(lengths), "problems": problems, "tags": setup.tags_field or setup.tagger},
    )


# Of one text ---------------------------------------------------------------------------------------------------------


def kinds_of(setup: Setup, row: Mapping[str, Any], text: str | None, words: Sequence[Span] | None) -> list[str]:
    """What each token is: a special token by its text, punctuation, or a part of speech.

    Raises:
        BadOption: If tokens do not say where they stand in the text, and parts of speech are asked for.
    """
    if words is not None and row["starts"] is None:
        raise BadOption(
            "Parts of speech are laid over tokens by their places in the text, and a tokenizer written in Python does "
            "not tell these. Give a model with a fast tokenizer."
        )
    found = []
    for place, piece in enumerate(row["tokens"]):
        tag = None
        if words is not None and text is not None and not row["special"][place]:
            tag = tag_of(text, (row["starts"][place], row["ends"][place]), words)
        if row["special"][place]:
            found.append(setup.traced.tokenizer.convert_ids_to_tokens(row["ids"][place]))
        else:
            found.append(PUNCTUATION if is_punctuation(piece) else tag or UNTAGGED)
    return found


def largest(kinds: Sequence[str], weights: Array) -> dict[str, Array]:
    """Kind of token → the largest weight of each head, (head,), of weights (head, key)."""
    return {kind: weights[:, [place for place, own in enumerate(kinds) if own == kind]].max(1) for kind in set(kinds)}


# Over texts ----------------------------------------------------------------------------------------------------------


def collected(setup: Setup, done: Run, words: Any) -> tuple[Values, list[int], dict[str, int]]:
    """The maxima of all texts, their numbers of tokens, and problems with how many texts have them."""
    found: dict[str, tuple[list[Array], list[Array]]] = defaultdict(lambda: ([], []))
    lengths: list[int] = []
    problems: Counter[str] = Counter()
    refusal: BadInput | None = None
    for row, (text, tagged) in zip(_rows(done), words, strict=True):
        if row["problem"] is not None or isinstance(tagged, BadInput):
            problems[row["problem"] or "wrong_tags"] += 1
            refusal = refusal or (tagged if isinstance(tagged, BadInput) else None)
            continue
        if tagged is None and (setup.tags_field or setup.tagger) is not None:
            raise BadOption("Parts of speech are laid over single texts, and these are pairs. Leave the second out.")
        raw, effective = (np.array(row[name], dtype=np.float64) for name in METHODS)
        kinds = kinds_of(setup, row, text, tagged)
        lengths.append(len(kinds))
        for which, weights in enumerate((raw, np.abs(effective))):
            for kind, own in largest(kinds, weights).items():
                found[kind][which].append(own)
    if not lengths:
        raise refusal or BadInput(
            f"None of the texts could be measured: {dict(problems)}. See the failures of the run."
        )
    order = [*(kind for kind in FIRST if kind in found), *sorted(found.keys() - {*FIRST, UNTAGGED})]
    order += [UNTAGGED] * (UNTAGGED in found)
    return {kind: (np.array(found[kind][0]), np.array(found[kind][1])) for kind in order}, lengths, dict(problems)


def _rows(done: Run) -> Iterator[dict[str, Any]]:
    for batch in done.dataset.to_batches(columns=[*COLUMNS, *METHODS]):
        yield from batch.to_pylist()


def by_kind(values: Values, setup: Setup) -> pd.DataFrame:
    """One line per kind of token: means over texts and heads, and the interval of the change."""
    lines = []
    for kind, (raw, effective) in values.items():
        over = interval(list((effective - raw).mean(1)), seed=setup.seed)
        means = {"raw": raw.mean(), "effective": effective.mean(), "change": (effective - raw).mean()}
        lines.append({"kind": kind, "texts": len(raw), **means, "low": over.low, "high": over.high})
    return pd.DataFrame(lines)


def by_head(values: Values) -> pd.DataFrame:
    """One line per kind of token and head, counted from 1, with the normal 95 % interval of the change."""
    lines = []
    for kind, (raw, effective) in values.items():
        for head, change in enumerate((effective - raw).T):
            over = normal_interval(list(change), 0.95)
            own = {"raw": raw[:, head].mean(), "effective": effective[:, head].mean(), "change": change.mean()}
            lines.append({"kind": kind, "head": head + 1, **own, "low": over.low, "high": over.high})
    return pd.DataFrame(lines)


def in_words(table: pd.DataFrame) -> list[str]:
    """What was found."""
    fell, rose = (table[table[bound] * sign > 0]["kind"] for bound, sign in (("high", -1), ("low", 1)))
    if table["low"].isna().all():
        return []
    return [
        f"By their intervals the largest effective weight is below the largest raw one for {_listed(fell)}, and above "
        f"it for {_listed(rose)}."
    ]


def _listed(kinds: pd.Series) -> str:
    return ", ".join(kinds) or "no kind of token"


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    changes = [bounded(row["change"], row["low"], row["high"], sign=True) for row in table.to_dict("records")]
    texts = {name: [number(one) for one in table[name]] for name in ("raw", "effective")}
    return pd.DataFrame({"texts": list(table["texts"]), **texts, "change": changes}, index=pd.Index(table["kind"]))


def _most(frame: pd.DataFrame) -> pd.DataFrame:
    few = frame.loc[frame.groupby("kind", sort=False)["change"].apply(lambda one: one.abs().idxmax())]
    changes = [bounded(row["change"], row["low"], row["high"], sign=True) for row in few.to_dict("records")]
    texts = {name: [number(one) for one in few[name]] for name in ("raw", "effective")}
    return pd.DataFrame({**texts, "change": changes}, index=pd.MultiIndex.from_frame(few[["kind", "head"]]))


def draw(frame: pd.DataFrame, kinds: Sequence[str], canvas: Any) -> None:
    """Three heat maps, kind of token × head."""
    grids = {name: frame.pivot(index="kind", columns="head", values=name).loc[list(kinds)] for name in _SHOWN}
    scales = {"raw": "weight", "effective": "weight", "change": "change"}
    shown = [Panel(title, grids[name], name == "change", scales[name]) for name, title in _SHOWN.items()]
    heads = list(map(str, grids["raw"].columns))
    panels(canvas, shown, list(kinds), heads, ylabel="", xlabel="head")


_SHOWN = {"raw": "raw attention", "effective": "effective, absolute values", "change": "effective less raw"}


EXPERIMENT = Experiment(
    study="effective_attention",
    name="speech",
    title="Which parts of speech does the usual query look at in the last layer, raw and effective?",
    paper=SUN_2021,
    run=run,
    needs="Single texts, and for parts of speech a column of tags or a spaCy pipeline.",
)

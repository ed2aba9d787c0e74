"""How much of its context does a target draw from its cue? Minimal pairs as a model reads them, and their scores.

The target is kept, or a mask stands in its place: then its form cannot tell its number, and the model has to draw it
from the cue.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contextmix.datasets.storage.results import Run
from contextmix.errors import BadInput, UnsupportedModel
from contextmix.evidence.blimp import Pair, Pairs, Span, read_pairs
from contextmix.evidence.experiment import Setup
from contextmix.models.traced_model import TracedModel
from contextmix.plugins.scoring import METRICS
from contextmix.results.files import make_folder, write_atomically
from contextmix.tokens.pieces import Tokens

SINGLE = ("value_zeroing", "attention", "norm", "norm_encoder", "alti")
"""Maps of one layer each."""
ROLLED = ("value_zeroing_rollout", "attention_rollout", "globenc", "alti_rollout")
"""Maps of all layers up to one."""
CHANCE = "chance"
"""The row that has nothing on the target itself and the same on every other token."""
MEASURES = ("dot_product", "average_precision", "dot_product_of_others")
"""(s / Σs)·ξ; the average precision of the ranking; and the first without the target's own score."""


@dataclass(frozen=True)
class Placed:
    """A pair as a model reads it.

    Attributes:
        pair: The pair.
        text: The good sentence, or the same with a mask in the place of the target.
        query: Position of the target, which is one piece.
        cue: Positions of all pieces of the cue. (The released code of Value Zeroing takes the first.)
        length: Number of tokens.
    """

    pair: Pair
    text: str
    query: int
    cue: tuple[int, ...]
    length: int

    @property
    def marks(self) -> NDArray[np.bool_]:
        """(token,), True for the cue."""
        return np.isin(np.arange(self.length), self.cue)


@dataclass(frozen=True)
class Material:
    """The pairs that an experiment can use with a model.

    Attributes:
        placed: In the order of the data.
        dropped: Why others cannot be used → how many.
    """

    placed: tuple[Placed, ...]
    dropped: Mapping[str, int]

    @property
    def told(self) -> str:
        """How many there are, in a sentence."""
        left_out = "; ".join(f"{count} where {why}" for why, count in self.dropped.items())
        return f"{len(self.placed):,} pairs" + (f" (not used: {left_out})." if left_out else ".")


def can_mask(model: TracedModel) -> bool:
    """Whether the tokenizer has a token for what is missing."""
    return getattr(model.tokenizer, "mask_token", None) is not None


def material(setup: Setup, *, masked: bool) -> Material:
    """Read BLiMP and place its pairs in the model's tokens; `Setup.limit` is per paradigm.

    Raises:
        BadInput: If the data is no folder of BLiMP, the model reads no texts, or nothing is left.
        UnsupportedModel: If a mask is asked for and there is none.
    """
    pairs = read_pairs(_folder(setup.data), setup.limit)
    found = placed(setup.traced, pairs, masked=masked)
    if not found.placed:
        raise BadInput(f"{setup.traced.origin.model} can use none of {len(pairs.kept):,} pairs: {found.told}")
    return found


def placed(model: TracedModel, pairs: Pairs, *, masked: bool) -> Material:
    """Find the tokens of target and cue; a target that is not one piece in both its forms is not used.

    Raises:
        BadInput: If the model has no tokenizer.
        UnsupportedModel: If a mask is asked for and the tokenizer has none, or does not say where pieces stand.
    """
    if model.tokenizer is None:
        raise BadInput("Minimal pairs are texts, but the model has no tokenizer. Pass one to contextmix.load.")
    if masked and not can_mask(model):
        raise UnsupportedModel(
            f"The tokenizer of {model.origin.model} has no mask token, so the target cannot be hidden, and its form "
            "tells its number. Use a model that was trained with masks, or the experiment on the full input."
        )
    dropped, kept = Counter(pairs.dropped), []
    for pair in pairs.kept:
        one = _placed(model, pair, masked)
        if isinstance(one, str):
            dropped[one] += 1
        else:
            kept.append(one)
    return Material(tuple(kept), dict(dropped))


def scores(setup: Setup, found: Material, *, masked: bool) -> Run:
    """The target's rows of all layers and methods, measured with resume in ``runs/cues_full`` or ``…_masked``."""
    name = "cues_masked" if masked else "cues_full"
    rows = [
        {"id": f"{one.pair.paradigm}:{one.pair.number}", "text": one.text, "query": one.query} for one in found.placed
    ]
    path = setup.out / "data" / f"{name}.jsonl"
    make_folder(path.parent)
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows).encode(), overwrite=True)
    fields = {"text_field": "text", "pair_field": None, "label_field": None, "id_field": "id", "query_field": "query"}
    asked: dict[str, Any] = {"methods": (*SINGLE, *ROLLED), "layers": "all", "limit": None, "strict": True, **fields}
    return setup.measured(name, data=path, **asked)


def alignments(run: Run, found: Material) -> dict[str, NDArray[np.float64]]:
    """How well each row points at its cue.

    Args:
        run: From `scores`.
        found: What it was made of.

    Returns:
        Method → (measure, pair, layer), in the order of `MEASURES`; NaN where a measure is not defined (a row of
        zeros, for instance). `CHANCE` is one of the methods, with one layer.
    """
    rows = run.to_pandas([*SINGLE, *ROLLED])
    own = {method: [np.stack(list(cell)).astype(np.float64) for cell in rows[method]] for method in (*SINGLE, *ROLLED)}
    own[CHANCE] = [(np.arange(one.length) != one.query)[None].astype(np.float64) for one in found.placed]
    return {method: _aligned(values, found.placed) for method, values in own.items()}


def _aligned(values: Sequence[NDArray[np.float64]], found: Sequence[Placed]) -> NDArray[np.float64]:
    each = [[_measures(row, one) for row in layers] for layers, one in zip(values, found, strict=True)]
    return np.array(each).transpose(2, 0, 1)


def _measures(row: NDArray[np.float64], one: Placed) -> tuple[float, ...]:
    """The measures of one row, in the order of `MEASURES`."""
    cue, others = one.marks, np.arange(one.length) != one.query
    dot, precision = METRICS["cue_dot_product"].score, METRICS["average_precision"].score
    found = (dot(row, cue), precision(row, cue), dot(row[others], cue[others]))
    return tuple(np.nan if scored.value is None else scored.value for scored in found)


def _placed(model: TracedModel, pair: Pair, masked: bool) -> Placed | str:
    """The pair in the model's tokens, or why it cannot be used."""
    good, bad = _tokens(model, pair.good), _tokens(model, pair.bad)
    target, cue = _pieces(good, pair.target), _pieces(good, pair.cue)
    if len(target) != 1 or len(_pieces(bad, pair.bad_target)) != 1:
        return "the target is not one piece in both its forms"
    if good.ids == bad.ids:
        return "the model reads both forms as the same token"
    if model.is_causal and min(cue) > target[0]:
        return "the cue comes after the target, where a causal model does not look"
    if not masked:
        return Placed(pair, pair.good, target[0], cue, len(good))
    start, end = pair.target
    text = pair.good[:start] + model.tokenizer.mask_token + pair.good[end:]
    hidden = _tokens(model, text).ids or ()
    expected = [*(good.ids or ())]
    expected[target[0]] = model.tokenizer.mask_token_id
    if list(hidden) != expected:
        return "a mask in the place of the target changes other pieces"
    return Placed(pair, text, target[0], cue, len(good))


def _tokens(model: TracedModel, text: str) -> Tokens:
    (one,) = model.encode(text)
    if one.tokens is None or one.tokens.spans is None or one.tokens.ids is None:
        raise UnsupportedModel(
            f"The tokenizer of {model.origin.model} does not say where its pieces stand in a text, so target and cue "
            "cannot be found. Use a fast tokenizer (the library tokenizers)."
        )
    return one.tokens


def _pieces(tokens: Tokens, span: Span) -> tuple[int, ...]:
    """The pieces that share a character with a span."""
    spans = enumerate(tokens.spans or ())
    return tuple(place for place, own in spans if own and own[0] < span[1] and own[1] > span[0])


def _folder(data: Any) -> Path | str:
    if isinstance(data, str | Path):
        return data
    raise BadInput(f"The folder of BLiMP's data is needed; got {data!r}. Name it with data (--data).")

"""What each head of each block draws from each source of an answer, in one pass: what learning weighs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contextmix.models.answer_ablation import sourced_answer
from contextmix.models.generate import said_after
from contextmix.models.loaded_model import LoadedModel
from contextmix.models.spans import span_of
from contextmix.results.answer import Answer
from contextmix.traces.head_maps import Feature, HeadMaps, head_maps, sizes_of
from contextmix.tracing.recording.modes import undisturbed


@dataclass(frozen=True)
class HeadFeatures:
    """Maps of all heads, summed over the tokens of the answer and of each source.

    Attributes:
        values: (source, head): the heads of the first block first.
        heads: How many heads each block has.
        sizes: The length of each block's output projection.
    """

    values: NDArray[np.float64]
    heads: tuple[int, ...]
    sizes: tuple[float, ...]


@undisturbed
def head_features(loaded: LoadedModel, answer: Answer, feature: Feature) -> HeadFeatures:
    """The maps of all heads at the rows that said an answer.

    Args:
        loaded: The model that it is of.
        answer: From `TracedModel.explain_answer`.
        feature: What is measured of a head.

    Raises:
        UnsupportedModel: If the model has no such maps.
        BadInput: If the answer is of another model, or a source has no token of its own.
    """
    sourced = sourced_answer(loaded, answer)
    ids, start = list(sourced.ids), sourced.start
    done = said_after(loaded, {"input_ids": ids[:start]}, len(ids) - start, ids[start:], None)
    found: dict[int, NDArray[np.float64]] = {}
    seen: list[HeadMaps] = []
    with span_of(loaded, done) as run:
        for one in head_maps(run, feature, "learned"):
            found[one.number] = _per_source(one, sourced.sources)
            seen.append(HeadMaps(one.number, one.columns, one.values[:, :0], one.size))
    heads, sizes = sizes_of(seen)
    return HeadFeatures(np.concatenate([found[number] for number in sorted(found)], 1), tuple(heads), tuple(sizes))


def _per_source(one: HeadMaps, sources: Any) -> NDArray[np.float64]:
    """(source, head): rows and the tokens of each source summed."""
    keys = one.values.double().sum(1).cpu().numpy()  # (head, key)
    first = one.columns.start or 0
    inside = [[place - first for place in places if first <= place < first + keys.shape[1]] for places in sources]
    return np.stack([keys[:, places].sum(1) for places in inside])

"""A prompt of three sentences and a question, what follows it, and what a small model makes of them."""

import numpy as np

import contextmix as cm
from contextmix.models.ablations import SourcedAnswer

TEXTS = ["Lily had a red ball.", "Tom had a big dog.", "The dog was named Max."]
QUESTION = "Lily and Tom played with Max, the"


def prompt(kept: np.ndarray) -> str:
    return " ".join([*(text for text, here in zip(TEXTS, kept, strict=True) if here), QUESTION])


def sourced(stories: cm.TracedModel) -> SourcedAnswer:
    """Three sources, a question behind them, and two words more."""
    every = prompt(np.ones(3, bool))
    tokens, whole = (stories.encode(text)[0].tokens for text in (every, every + " dog. They"))
    ends = [span[1] - 1 if span and span[0] < span[1] else -1 for span in tokens.spans]
    starts = np.cumsum([0, *(len(text) + 1 for text in TEXTS)])
    sources = [
        tuple(place for place, end in enumerate(ends) if first <= end < first + len(text))
        for first, text in zip(starts, TEXTS, strict=False)
    ]
    return SourcedAnswer(whole.ids, len(tokens.ids), tuple(sources), prompt)

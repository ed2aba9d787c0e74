"""A tiny classifier to compare methods on."""

from collections.abc import Iterator

import pytest
from tests.tracing.tiny import build, one_thread, word_pieces

import contextmix as cm


@pytest.fixture(scope="module")
def model() -> Iterator[cm.TracedModel]:
    """A tiny classifier of the classes 0 and 1, called LABEL_0 and LABEL_1."""
    with one_thread():
        tokenizer = word_pieces()
        tokenizer.mask_token = "[MASK]"
        yield cm.load(build("bert", "ForSequenceClassification"), tokenizer)

"""Position alone."""

import numpy as np
import pytest

import contextmix as cm


@pytest.mark.parametrize("model", ["demo", "demo-decoder"])
def test_later_tokens_score_higher(model):
    found = cm.load(model).explain("a good film", "recency").values
    n = len(found)
    assert found.tolist() == pytest.approx([2 * rank / (n * (n + 1)) for rank in range(1, n + 1)], abs=1e-12)


def test_two_texts_of_a_length_have_the_same_scores():
    demo = cm.load("demo")
    assert np.array_equal(demo.explain("a good film", "recency").values, demo.explain("a bad plot", "recency").values)

"""What scores mean decides what becomes of them: a softmax, a logistic function, or a refusal."""

import math

import pytest
import torch

from contextmix.errors import UnsupportedModel
from contextmix.traces.meaning import Meaning, probabilities

SCORES = [[1.5, -0.5, 0.25], [-2.0, 3.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_that_exclude_each_other_share_one(dtype):
    found = probabilities(torch.tensor(SCORES, dtype=dtype), Meaning.ONE_OF)
    assert found.dtype is torch.float64
    for row, scores in zip(found.tolist(), SCORES, strict=True):
        whole = sum(math.exp(one) for one in scores)
        assert row == pytest.approx([math.exp(one) / whole for one in scores], abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_label_has_a_probability_of_its_own(dtype):
    found = probabilities(torch.tensor(SCORES, dtype=dtype), Meaning.EACH)
    assert found.dtype is torch.float64
    for row, scores in zip(found.tolist(), SCORES, strict=True):
        assert row == pytest.approx([1 / (1 + math.exp(-one)) for one in scores], abs=1e-12)


def test_amounts_are_made_no_probability_of():
    """Whoever forgets to ask `has_probability` gets no made-up number."""
    with pytest.raises(UnsupportedModel, match="are not probabilities of anything"):
        probabilities(torch.tensor(SCORES), Meaning.AMOUNTS)
    assert [one for one in Meaning if not one.has_probability] == [Meaning.AMOUNTS]

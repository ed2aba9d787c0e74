"""Random scores: the same for the same text, whatever the model has learnt, and normal over texts."""

import numpy as np
import pytest

import contextmix as cm


@pytest.fixture(scope="module")
def demo():
    return cm.load("demo")


def test_the_text_and_the_seed_decide(demo):
    one, same = (demo.explain("a good film", "random").values for _ in range(2))
    other, reseeded = demo.explain("a bad film", "random").values, demo.explain("a good film", "random", seed=1).values
    assert np.array_equal(one, same)
    assert not np.isclose(one, other).any()
    assert not np.isclose(one, reseeded).any()


def test_one_text_says_nothing_about_the_next(demo):
    words = ["good", "bad", "film", "story", "cast", "plot", "slow", "funny", "dull", "warm"]
    values = [demo.explain(f"{a} {b}", "random").values for a in words for b in words]
    drawn = np.array([row[:4] for row in values])
    assert abs(drawn.mean()) < 0.15
    assert drawn.std() == pytest.approx(1, abs=0.15)
    assert abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < 0.2

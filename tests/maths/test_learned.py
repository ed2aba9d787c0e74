"""Weights of heads: planted ones are found again, the loss is the one that is written down, and none is negative."""

import math

import numpy as np
import pytest

from contextmix.maths.ablations import random_masks
from contextmix.maths.learned import PULLS, Example, chosen_pull, correlation, fitted_weights


def planted(count=12, noise=0.0, seed=0, heads=6):
    """Answers whose worth is made by heads 1 and 4, each answer on a scale of its own."""
    chance = np.random.default_rng(seed)
    theta = np.zeros(heads)
    theta[[1, 4]] = 3.0, 1.0
    found = []
    for number in range(count):
        maps = chance.exponential(size=(8, heads))
        masks = random_masks(8, 32, seed=100 * number)
        worth = masks @ (maps @ theta)
        found.append(Example(maps, masks, worth + noise * chance.normal(size=32) - 5))
    return found, theta


def longhand(example, theta):
    """Pearson's r by loops."""
    found = []
    for mask in example.masks:
        found.append(sum(sum(t * x for t, x in zip(theta, row, strict=True)) for row, kept in
                         zip(example.maps, mask, strict=True) if kept))  # fmt: skip
    a, b = np.mean(found), np.mean(example.values)
    top = sum((x - a) * (y - b) for x, y in zip(found, example.values, strict=True))
    return top / math.sqrt(sum((x - a) ** 2 for x in found) * sum((y - b) ** 2 for y in example.values))


def test_planted_weights_are_found_again_with_their_scale():
    examples, theta = planted()
    np.testing.assert_allclose(fitted_weights(examples, 1e-6), theta, atol=0.02)


def test_the_correlation_is_that_of_the_formula():
    (example, *_), _ = planted(1, noise=2.0)
    theta = np.array([0.3, 0.1, 0.0, 2.0, 0.7, 0.2])
    assert correlation(example, theta) == pytest.approx(longhand(example, theta), abs=1e-12)
    assert correlation(example, np.zeros(6)) == 0.0


def test_the_weights_are_where_the_written_loss_is_lowest():
    """No small step within θ ≥ 0 lowers −mean r + λ (1/H) Σ (H θ_h/s − 1)², whatever the scale s of the result."""
    examples, _ = planted(6, noise=3.0)
    pull, found = 0.01, fitted_weights(examples, 0.01)

    def loss(theta):
        scales = theta.sum() * np.linspace(0.2, 5, 400)  # the scale in front of the penalty is free: the best one
        away = [pull * float(((len(theta) * theta / one - 1) ** 2).mean()) for one in scales]
        return min(away) - float(np.mean([longhand(one, theta) for one in examples]))

    best = loss(found)
    for head in range(len(found)):
        for step in (0.02, -0.02):
            other = found.copy()
            other[head] = max(0.0, other[head] + step * found.max())
            assert loss(other) >= best - 1e-5
    assert (found >= 0).all()


def test_a_strong_pull_gives_the_mean():
    examples, _ = planted()
    found = fitted_weights(examples, 1e6)
    np.testing.assert_allclose(found, found[0], rtol=1e-3)


def test_negative_heads_get_zero():
    examples, theta = planted()
    turned = [one._replace(values=one.masks @ (one.maps @ (theta - 2 * np.eye(6)[0]))) for one in examples]
    found = fitted_weights(turned, 1e-4)
    assert found[0] == 0
    assert found[1] > found[4] > 0


def test_the_pull_is_chosen_on_what_was_left_out():
    """With one mask of noise per answer a strong pull is the better one; without noise a weak one."""
    assert chosen_pull(planted(12)[0]) == PULLS[0]
    noisy, _ = planted(5, heads=60)
    wild = [one._replace(values=one.masks @ one.maps.sum(1) + 20 * np.random.default_rng(7).normal(size=32))
            for one in noisy]  # fmt: skip
    assert chosen_pull(wild) == PULLS[-1]


def test_answers_that_nothing_changes_say_nothing():
    examples, _ = planted(2)
    still = [one._replace(values=np.full(32, -1.0)) for one in examples]
    assert np.isfinite(fitted_weights(still, 0.01)).all()
    assert correlation(still[0], np.ones(6)) == 0.0

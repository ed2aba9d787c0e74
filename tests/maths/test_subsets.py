from itertools import permutations

import numpy as np
import pytest

from contextmix.maths.subsets import all_subsets, extreme_orders


def test_every_set_is_there_once_and_numbered_by_its_tokens():
    found = all_subsets(4)
    assert found.shape == (16, 4)
    assert [sum(2**token for token in range(4) if row[token]) for row in found] == list(range(16))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("seed", range(3))
def test_the_extremes_are_those_of_all_orders(n, seed):
    values = np.random.default_rng(seed).normal(size=2**n)
    means = []
    for order in permutations(range(n)):
        total, gone = 0.0, 0
        for token in order:
            gone += 2**token
            total += values[gone]
        means.append(total / n)
    assert extreme_orders(values) == pytest.approx((min(means), max(means)), abs=1e-12)

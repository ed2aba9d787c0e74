"""Cross-attention as a function of its queries, against running it again."""

import math

import pytest
import torch
from torch import Tensor

from contextmix.maths.cross_attention import CrossAttention
from contextmix.maths.projections import Affine

HEADS, SOURCE, TARGET, WIDTH, D = 3, 5, 4, 2, 6


def normal(*shape: int, seed: int, dtype=torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def make(dtype=torch.float64, mask: bool = False):
    """One cross-attention, its clean input, and its output as a function of the input, one number at a time."""
    query = Affine(normal(D, HEADS * WIDTH, seed=1), normal(HEADS * WIDTH, seed=2))
    key, value, weight = (normal(HEADS, SOURCE, WIDTH, seed=seed) for seed in (3, 4, 5))
    weight, read = normal(HEADS, WIDTH, D, seed=6), normal(TARGET, D, seed=7)
    hidden = [2] if mask else []

    def weights(z: Tensor) -> Tensor:
        found = torch.zeros(HEADS, len(z), SOURCE, dtype=torch.float64)
        for h in range(HEADS):
            own = slice(h * WIDTH, (h + 1) * WIDTH)
            for i in range(len(z)):
                asked = z[i] @ query.weight[:, own] + query.bias[own]
                scores = [-math.inf if j in hidden else 0.7 * float(asked @ key[h, j]) for j in range(SOURCE)]
                largest = max(scores)
                powers = [math.exp(score - largest) for score in scores]
                found[h, i] = torch.tensor(powers, dtype=torch.float64) / sum(powers)
        return found

    def output(z: Tensor) -> Tensor:
        return sum(weights(z)[h] @ value[h] @ weight[h] for h in range(HEADS))

    tensors = (Affine(query.weight.to(dtype), query.bias.to(dtype)), key.to(dtype), value.to(dtype), weight.to(dtype))
    return CrossAttention(*tensors, weights(read).to(dtype), 0.7), read, output


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("size", [1e-6, 0.1, 3.0, 200.0])
def test_a_change_is_the_difference_of_two_runs(size, mask):
    attention, read, output = make(mask=mask)
    changes = size * normal(2, TARGET, D, seed=8)
    found = attention.change(changes)
    for change, moved in zip(changes, found, strict=True):
        wanted = output(read + change) - output(read)
        torch.testing.assert_close(moved, wanted, rtol=1e-7, atol=1e-12 * max(1.0, size))
    assert attention.error(read) < 1e-12


def test_no_change_is_exactly_no_change():
    attention, _, _ = make(torch.float32)
    assert (attention.change(torch.zeros(3, TARGET, D)) == 0).all()


def test_small_changes_keep_their_digits_in_float32():
    attention, read, output = make(torch.float32)
    change = 1e-5 * normal(TARGET, D, seed=9)
    wanted = output(read + change) - output(read)
    found = attention.change(change.float()).double()
    assert (found - wanted).norm() < 1e-4 * wanted.norm()
    plainly = (output(read + change).float() - output(read).float()).double()
    assert (plainly - wanted).norm() > 3 * (found - wanted).norm()  # which is why it is done this way


def test_weights_that_are_no_softmax_of_these_scores_show():
    attention, read, _ = make()
    capped = CrossAttention(
        attention.query, attention.key, attention.value, attention.weight, attention.attention, scaling=0.5
    )
    assert capped.error(read) > 1e-3

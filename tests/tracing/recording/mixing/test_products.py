"""Which calls are products of two tensors, and how their operands are read as weights and values."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contextmix.traces.mixing import Mixer
from contextmix.tracing.recording.mixing.products import Product, Reading, is_product, product_of

B, H, Q, K, D = 2, 3, 4, 5, 6
GENERATOR = torch.Generator().manual_seed(0)
WEIGHTS = torch.rand(B, H, Q, K, generator=GENERATOR, dtype=torch.float64)
VALUES = torch.randn(B, H, K, D, generator=GENERATOR, dtype=torch.float64)


def by_hand() -> Tensor:
    """(batch, query, head, d_head), written out."""
    found = torch.zeros(B, Q, H, D, dtype=torch.float64)
    for batch in range(B):
        for head in range(H):
            for query in range(Q):
                for key in range(K):
                    found[batch, query, head] += WEIGHTS[batch, head, query, key] * VALUES[batch, head, key]
    return found


CALLS: dict[str, tuple[Any, tuple[Any, ...], Mixer]] = {
    "matmul": (torch.matmul, (WEIGHTS, VALUES), Mixer("", 0, 1, 0, H)),
    "the sign @": (Tensor.__matmul__, (WEIGHTS, VALUES), Mixer("", 0, 1, 0, H)),
    "batch and heads in one axis": (
        torch.bmm,
        (WEIGHTS.flatten(0, 1), VALUES.flatten(0, 1)),
        Mixer("", 0, 1, None, H),
    ),
    "heads first": (
        torch.matmul,
        (WEIGHTS.transpose(0, 1), VALUES.transpose(0, 1)),
        Mixer("", 0, 1, 1, H),
    ),
    "values on the left": (torch.matmul, (VALUES.mT, WEIGHTS.mT), Mixer("", 0, 0, 0, H)),
    "einsum, tokens first": (
        torch.einsum,
        ("bnij,jbnd->ibnd", WEIGHTS, VALUES.permute(2, 0, 1, 3)),
        Mixer("", 0, 1, 0, H),
    ),
    "einsum, heads in front": (
        torch.functional.einsum,
        ("jbnd, nbij -> nidb", VALUES.permute(2, 0, 1, 3), WEIGHTS.transpose(0, 1)),
        Mixer("", 0, 0, 1, H),
    ),
}


def made(name: str) -> tuple[Product, Mixer]:
    function, args, mixer = CALLS[name]
    found = product_of(function, args, {})
    assert is_product(function)
    assert found is not None
    return found, mixer


@pytest.mark.parametrize("name", CALLS)
def test_weights_and_values_are_what_was_multiplied(name: str):
    product, mixer = made(name)
    reading = Reading(product, mixer)
    assert torch.equal(reading.weights(), WEIGHTS)
    assert torch.equal(reading.values(), VALUES)
    output = reading.output(product.again(None, None))
    torch.testing.assert_close(output, by_hand(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CALLS)
def test_other_values_take_the_place_of_the_models_own(name: str):
    product, mixer = made(name)
    reading, other = Reading(product, mixer), VALUES.clone()
    other[1, 2, 3] = 0
    wanted = by_hand()
    wanted[1, :, 2] -= WEIGHTS[1, 2, :, 3, None] * VALUES[1, 2, 3]
    torch.testing.assert_close(reading.output(reading.with_values(other)), wanted, rtol=0, atol=1e-12)


def test_values_that_heads_share_stay_shared():
    product = product_of(torch.matmul, (WEIGHTS, VALUES[:, :1]), {})
    assert product is not None
    reading = Reading(product, Mixer("", 0, 1, 0, H))
    assert torch.equal(reading.values(), VALUES[:, :1])
    assert torch.equal(reading.with_values(VALUES[:, :1] * 2), WEIGHTS @ (VALUES[:, :1] * 2))


@pytest.mark.parametrize("mask", ["none", "causal", "added", "true and false"])
def test_a_fused_attention_runs_as_it_is_and_its_weights_are_made_beside_it(mask: str):
    query, key = (torch.randn(B, H, K, D, generator=GENERATOR, dtype=torch.float64) for _ in range(2))
    hidden = torch.randn(K, K, generator=GENERATOR, dtype=torch.float64)
    told: dict[str, Any] = {
        "none": {},
        "causal": {"is_causal": True},
        "added": {"attn_mask": hidden, "scale": 0.3},
        "true and false": {"attn_mask": (hidden > 0) | torch.eye(K, dtype=torch.bool)},
    }[mask]
    fused = nn.functional.scaled_dot_product_attention
    product = product_of(fused, (query, key, VALUES), told)
    assert product is not None
    reading, wrote = Reading(product, Mixer("", 0, 1, 0, H)), product.again(None, None)
    assert torch.equal(wrote, fused(query, key, VALUES, **told))
    torch.testing.assert_close(reading.weights() @ VALUES, wrote, rtol=0, atol=1e-12)
    torch.testing.assert_close(reading.with_values(2 * VALUES), 2 * wrote, rtol=0, atol=1e-12)


def test_keys_that_heads_share_in_a_fused_attention():
    query = torch.randn(B, 4, K, D, generator=GENERATOR, dtype=torch.float64)
    key, value = (torch.randn(B, 2, K, D, generator=GENERATOR, dtype=torch.float64) for _ in range(2))
    product = product_of(nn.functional.scaled_dot_product_attention, (query, key, value), {"enable_gqa": True})
    assert product is not None
    weights = Reading(product, Mixer("", 0, 1, 0, 4)).weights()
    wanted = product.again(None, None)
    torch.testing.assert_close(weights @ value.repeat_interleave(2, dim=1), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (torch.matmul, (WEIGHTS[0, 0], VALUES[0, 0]), {}),  # two axes: a linear map
        (torch.matmul, (WEIGHTS, VALUES), {"out": torch.empty(0)}),
        (torch.einsum, ("bhij,bhjd->bd", WEIGHTS, VALUES), {}),  # no token is left
        (torch.einsum, ("bhij,bhjd,bhid->bh", WEIGHTS, VALUES, by_hand().transpose(1, 2)), {}),
        (torch.einsum, ("...ij,...jd->...id", WEIGHTS, VALUES), {}),
        (torch.einsum, ("bhij->bhji", WEIGHTS), {}),
        (torch.add, (WEIGHTS, WEIGHTS), {}),
        (nn.functional.scaled_dot_product_attention, (VALUES, VALUES, VALUES), {"dropout_p": 0.5}),
    ],
)
def test_what_is_no_product_of_weights_and_values(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]):
    assert product_of(function, args, kwargs) is None

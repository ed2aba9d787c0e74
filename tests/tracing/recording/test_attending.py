"""One call of attention whose rows are made again: which keys they need, and how."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contextmix.tracing.recording.row_attention import Attending

N, HEADS, SHARED, WIDTH = 11, 4, 2, 8
ROWS = slice(4, 7)


def eager(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **told: Any):
    """Scaled scores of heads that share keys, as most models write it."""
    repeated = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scores = query @ repeated.mT * told["scaling"]
    weights = (scores if mask is None else scores + mask).softmax(-1)
    return weights @ value.repeat_interleave(query.shape[1] // key.shape[1], 1), weights


def call(attend: Any = eager, mask: Tensor | None = None, dtype: torch.dtype = torch.float32, **told: Any) -> Attending:
    torch.manual_seed(0)
    query = torch.randn(1, HEADS, N, WIDTH, dtype=dtype)
    key, value = torch.randn(2, 1, SHARED, N, WIDTH, dtype=dtype)
    return Attending(attend, nn.Module(), query, key, value, mask, {"scaling": 0.3, **told})


def test_places_of_tokens_keep_no_later_keys():
    told = {"position_ids": torch.arange(N)[None], "cache_position": torch.arange(N)}
    assert call(**told).seen(ROWS) == slice(0, 7)


def test_what_is_told_of_keys_keeps_all():
    assert call(alibi=torch.randn(HEADS, 1, N)).seen(ROWS) == slice(0, N)


def capped(*given: Any, **told: Any):
    """A soft cap so high that only stretched scores show it."""
    _, query, key, value, mask = given
    repeated = key.repeat_interleave(HEADS // SHARED, 1)
    scores = (query @ repeated.mT * told["scaling"] / 1000).tanh() * 1000
    weights = (scores if mask is None else scores + mask).softmax(-1)
    return value, weights


def other_order(*given: Any, **told: Any):
    """Heads that share keys stand apart."""
    module, query, key, value, mask = given
    key, value = (one.repeat(1, HEADS // SHARED, 1, 1) for one in (key, value))
    return eager(module, query, key, value, mask, **told)


def with_sink(*given: Any, **told: Any):
    """Rows do not sum to one."""
    value, weights = eager(*given, **told)
    return value, weights * 0.9


SEEN = torch.ones(N, N).tril().bool() & torch.ones(N, N).triu(-4).bool()
MASKS: dict[str, Tensor | None] = {
    "causal": None,
    "true and false": SEEN[None, None],
    "added": torch.zeros(1, 1, N, N).masked_fill(~SEEN, torch.finfo(torch.float32).min),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_products_are_the_eager_weights(mask: str, dtype: torch.dtype):
    one = call(mask=MASKS[mask], dtype=dtype)
    keys = one.seen(ROWS)
    assert keys.stop == ROWS.stop
    assert keys.start == (0 if mask == "causal" else ROWS.start - 4)
    assert one.plain
    torch.testing.assert_close(one.weights(ROWS, keys), one.eager_weights(ROWS, keys), rtol=1e-5, atol=1e-7)


def test_products_hide_no_key_of_an_encoder():
    one = call(is_causal=False)
    assert one.plain
    found = one.weights(ROWS, one.seen(ROWS))
    torch.testing.assert_close(found, one.eager_weights(ROWS, slice(0, N)), rtol=1e-5, atol=1e-7)
    assert found.shape == (1, HEADS, 3, N)
    assert bool((found > 0).all())


@pytest.mark.parametrize("attend", [capped, other_order, with_sink])
def test_what_is_more_than_a_softmax_of_products_stays_eager(attend: Any):
    one = call(attend)
    assert not one.plain
    assert torch.equal(one.weights(ROWS, slice(0, 7)), one.eager_weights(ROWS, slice(0, 7)))


def test_a_bias_stays_eager():
    """Even one of zeros on the rows of the probe, which only what is told shows."""
    assert not call(position_bias=torch.zeros(1, HEADS, N, N)).plain


def test_half_precision_stays_eager():
    assert not call(dtype=torch.bfloat16).plain

"""Blocks that add up more than their input, attention and a feed-forward part: what is found, and what is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tracing.sums import FURTHER, blocks_of, further
from tests.tracing.tiny import build, token_ids
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import TraceDoesNotAddUp, UnsupportedModel
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.places import Addition
from contextmix.tracing.discovery.sums import rebuilt


@pytest.mark.parametrize("family", FURTHER)
def test_the_equation_holds_on_another_input_than_the_probe(family: str):
    checks = cm.load(further(family)).trace({"input_ids": token_ids(9, seed=3)[0]}).checks
    assert checks.block_equation < 1e-14
    assert checks.conservation < 1e-14


def test_a_scalar_on_a_whole_block_and_its_third_addition_are_found():
    model = further("gemma4")
    for place, block in zip(cm.load(model).anatomy().blocks, blocks_of(model), strict=True):
        scalar = float(block.layer_scalar)
        assert (place.ffn.keep, place.ffn.scale) == pytest.approx((scalar, scalar), rel=1e-12)
        assert [one.output for one in place.ffn.additions] == ["post_per_layer_input_norm"]
        assert place.ffn.additions[0].scale == pytest.approx(scalar, rel=1e-12)
        assert (place.attention.keep, place.attention.scale, place.attention.additions) == (1.0, 1.0, ())
        assert place.layout == "sandwich, further additions"


def test_a_normed_residual_and_both_factors_are_found():
    for place in cm.load(further("minimax")).anatomy().blocks:
        attention, ffn = place.attention, place.ffn
        assert attention.normed
        assert attention.norm_after.path == "post_attention_layernorm"
        assert (attention.keep, attention.scale) == pytest.approx((1.5, 0.6), rel=1e-12)
        assert (ffn.keep, ffn.scale, ffn.modules) == (pytest.approx(0.8), pytest.approx(1.7), ("mlp",))
        assert place.layout.endswith("normed residual")


def test_a_vector_on_the_residual_is_found():
    model = further("doge")
    for place, block in zip(cm.load(model).anatomy().blocks, blocks_of(model), strict=True):
        np.testing.assert_allclose(place.attention.keep, block.input_residual.detach(), rtol=1e-10)
        np.testing.assert_allclose(place.ffn.keep, block.post_attention_residual.detach(), rtol=1e-10)
        assert place.attention.scale == place.ffn.scale == 1.0


def test_a_constant_that_is_added_is_found():
    model = further("gptneoxjapanese")
    first, last = cm.load(model).anatomy().blocks
    assert first.attention.shift is None
    bias = blocks_of(model)[1].attention.dense_bias.detach()
    np.testing.assert_allclose(last.attention.shift, bias, rtol=1e-9, atol=1e-12)


class OneSublayer(nn.Module):
    """A block of attention alone, or of a feed-forward part alone."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.norm, self.mixer = block.input_layernorm, block.self_attn

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        return hidden_states + self.mixer(self.norm(hidden_states), **kwargs)[0]


def test_a_block_of_attention_alone_is_found():
    model = build("llama").double()
    model.layers = nn.ModuleList(OneSublayer(block) for block in model.layers)
    traced = cm.load(model)
    assert [place.ffn.output for place in traced.anatomy().blocks] == ["", ""]
    assert traced.anatomy().layouts == ("pre-norm, no feed-forward part",)
    trace = traced.trace({"input_ids": token_ids(6)[0]})
    assert not trace.layers[0].ffn_out.any()
    assert cm.measure(trace, "value_zeroing").values.shape == (2, 6, 6)


class Neighbours(nn.Module):
    """What it reads and a little of the token before."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, states: Tensor) -> Tensor:
        return self.inner(states + 0.2 * states.roll(1, 1))


def test_a_further_addition_that_mixes_tokens_is_refused():
    model = further("gemma4")
    block = blocks_of(model)[1]
    block.per_layer_input_gate = Neighbours(block.per_layer_input_gate)
    with pytest.raises(UnsupportedModel, match=r"layers\.1 .*something beside attention mixes tokens"):
        cm.load(model).anatomy()


def test_a_factor_that_is_another_one_in_a_later_run_is_refused():
    model = further("gemma4")
    traced = cm.load(model)
    traced.anatomy()
    blocks_of(model)[1].layer_scalar.fill_(2.0)
    with pytest.raises(TraceDoesNotAddUp, match="Layer 1: residual, attention and feed-forward put together differ"):
        traced.trace({"input_ids": token_ids(6)[0]})


class Bent(nn.Module):
    """A block whose sum is no sum: its output is bent."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return torch.asinh(self.block(*args, **kwargs))


def test_what_is_no_sum_is_refused():
    model = further("gemma4")
    model.layers[0] = Bent(model.layers[0])
    with pytest.raises(UnsupportedModel, match=r"what layers\.1 reads is not what layers\.0\.block wrote"):
        cm.load(model).anatomy()


def test_an_addition_that_an_anatomy_names_wrongly_is_caught():
    model = further("gemma4")
    blocks = cm.load(model).anatomy().blocks
    for path in ("post_attention_layernorm", "per_layer_input_gate"):  # another sum; another shape
        wrong = [_with(place, Addition(path, 0.7)) for place in blocks]
        with pytest.raises(TraceDoesNotAddUp):
            cm.load(model, anatomy=Anatomy(tuple(wrong))).trace({"input_ids": token_ids(6)[0]})


def _with(place: cm.BlockAnatomy, addition: Addition) -> cm.BlockAnatomy:
    return replace(place, ffn=replace(place.ffn, additions=(addition,)))


def test_half_precision_finds_the_same_factors():
    model = further("gemma4").bfloat16()
    found = cm.load(model).trace({"input_ids": token_ids(6)[0]})
    assert found.checks.block_equation < 4e-2


# Least squares -------------------------------------------------------------------------------------------------------


def states(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.lists(st.floats(0.1, 3), min_size=2, max_size=4), st.integers(0, 100))
def test_numbers_are_found_again(factors: list[float], seed: int):
    terms = [states(seed + n, 1, 7, 5) for n in range(len(factors))]
    found = rebuilt(sum(f * t for f, t in zip(factors, terms, strict=True)), terms, 1e-4)
    assert found is not None
    assert found.factors == pytest.approx(factors, rel=1e-9)
    assert found.shift is None


def test_vectors_and_a_constant_are_found_again():
    x, a, keep, shift = states(0, 1, 7, 5), states(1, 1, 7, 5), states(2, 5), states(3, 5)
    found = rebuilt(keep * x + 2 * a + shift, (x, a), 1e-4)
    np.testing.assert_allclose(found.factors[0], keep, rtol=1e-10)
    assert found.factors[1] == pytest.approx(2.0, rel=1e-12)
    np.testing.assert_allclose(found.shift, shift, rtol=1e-10)


def test_wide_states_are_looked_at_by_a_sample_and_then_as_a_whole():
    x, a, keep = states(0, 1, 7, 96), states(1, 1, 7, 96), states(2, 96)
    found = rebuilt(keep * x + 2 * a, (x, a), 1e-4)
    np.testing.assert_allclose(found.factors[0], keep, rtol=1e-10)
    spoiled = keep * x + 2 * a
    spoiled[..., 1::3] += 0.1 * states(3, 1, 7, 96)[..., 1::3]  # not in the sample
    assert rebuilt(spoiled, (x, a), 1e-4) is None
    assert rebuilt(torch.tanh(x), (x, a), 1e-4) is None


@pytest.mark.parametrize(
    "whole",
    [
        lambda x, a: x,  # one of them is not needed
        lambda x, a: x + torch.tanh(a),
        lambda x, a: x + a + 1e-2 * states(9, 1, 7, 5),
        lambda x, a: x + a * torch.linspace(1, 2, 7, dtype=x.dtype).view(-1, 1),  # a factor of each token
    ],
)
def test_what_is_no_such_sum_is_none(whole: Any):
    x, a = states(0, 1, 7, 5), states(1, 1, 7, 5)
    assert rebuilt(whole(x, a), (x, a), 1e-4) is None


def test_few_tokens_fit_no_vectors():
    x, a = states(0, 1, 3, 5), states(1, 1, 3, 5)
    assert rebuilt(states(2, 1, 3, 5), (x, a), 1e-4) is None

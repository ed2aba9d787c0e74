"""Blocks that carry several streams of each token (Gemma 3n), against the plain model."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.methods.longhand import length
from tests.methods.test_further_sums import EXACT, IDS, drawn_of, heard, normed, projection, without_value
from tests.tracing.sums import blocks_of, further
from torch import Tensor

import contextmix as cm
from contextmix.errors import TraceDoesNotAddUp, UnsupportedModel


@pytest.fixture(scope="module")
def model() -> Any:
    model = further("gemma3n", "ForCausalLM")
    model.set_attn_implementation("eager")
    return model


@pytest.fixture(scope="module")
def traced(model: Any) -> cm.TracedModel:
    return cm.load(model)


@pytest.fixture(scope="module")
def trace(traced: cm.TracedModel) -> cm.Trace:
    return traced.trace({"input_ids": IDS[0]})


def test_where_the_stream_passes_is_found(traced: cm.TracedModel):
    for place in traced.anatomy().blocks:
        assert (place.stream.entered, place.stream.left, place.stream.count) == (
            "input_layernorm",
            "altup.router_norm",
            3,
        )
        half = pytest.approx(1 / math.sqrt(2), rel=1e-12)
        assert (place.attention.keep, place.attention.scale, place.attention.additions[0].scale) == (half, half, half)
        assert [one.output for one in place.attention.additions] == ["laurel"]
        assert (place.ffn.keep, place.ffn.scale, place.ffn.additions) == (1.0, 1.0, ())


def test_the_trace_holds_that_stream(model: Any, trace: cm.Trace):
    said = heard(model)
    assert trace.checks.block_equation < 1e-14
    for block, layer in zip(blocks_of(model), trace.layers, strict=True):
        np.testing.assert_allclose(layer.residual_in, said[block.input_layernorm][0][0][0], **EXACT)
        np.testing.assert_allclose(layer.residual_out, said[block.altup.router_norm][0][0][0], **EXACT)
        np.testing.assert_allclose(layer.attention_added, said[block.laurel][2][0] / math.sqrt(2), **EXACT)


def test_value_zeroing_is_what_really_zeroed_values_do_to_that_stream(model: Any, trace: cm.Trace):
    said, found = heard(model), cm.measure(trace, "value_zeroing").values
    for number, block in enumerate(blocks_of(model)):
        args, kwargs, _ = said[block]
        wanted, left = torch.zeros(6, 6, dtype=torch.float64), []
        handle = block.altup.router_norm.register_forward_pre_hook(lambda _, args, left=left: left.append(args[0][0]))
        with torch.no_grad():
            block(*args, **kwargs)
            clean = left[-1].clone()
            for token in range(6):
                with without_value(model, token):
                    block(*args, **kwargs)
                wanted[:, token] = 1 - torch.cosine_similarity(clean, left[-1], dim=-1)
        handle.remove()
        assert wanted.max() > 1e-3
        np.testing.assert_allclose(found[number], wanted / wanted.sum(-1, keepdim=True), **EXACT)


@torch.no_grad()
def test_parts_add_up_and_maps_hold_their_lengths(model: Any, trace: cm.Trace):
    said = heard(model)
    maps = {name: cm.measure(trace, name).values for name in ("norm_residual", "norm_encoder")}
    for number, (block, layer) in enumerate(zip(blocks_of(model), trace.layers, strict=True)):
        entered, left = said[block.input_layernorm][0][0][0], said[block.altup.router_norm][0][0][0]
        raw, ffn = said[block.post_attention_layernorm][0][0][0], said[block.post_feedforward_layernorm][2][0]
        laurel = said[block.laurel][2][0]
        for i in range(6):
            parts: list[Tensor] = []
            for j in range(6):
                drawn = normed(drawn_of(layer, projection(block), i, j), block.post_attention_layernorm, raw[i])
                parts.append((drawn + (entered[i] + laurel[i] if i == j else 0)) / math.sqrt(2))
            np.testing.assert_allclose(sum(parts) + ffn[i], left[i], **EXACT)
            for found in maps.values():
                np.testing.assert_allclose(found[number, i], [length(part) for part in parts], **EXACT)
                assert (found[number, i, i + 1 :] == 0).all()


def test_gradients_are_those_of_all_streams_of_a_token(model: Any, traced: cm.TracedModel):
    streams = []
    handle = blocks_of(model)[0].register_forward_pre_hook(
        lambda _, args: (streams.append(args[0].detach().requires_grad_()) or streams[-1], *args[1:])
    )
    model(input_ids=IDS).logits[0, -1, 7].backward()
    handle.remove()
    wanted = streams[0].grad.pow(2).sum((0, 1, 3)).sqrt()
    found = traced.explain({"input_ids": IDS[0]}, "gradient", target=7)
    np.testing.assert_allclose(found.values, wanted, rtol=1e-6)
    occluded = traced.explain({"input_ids": IDS[0]}, "occlusion", target=7)
    assert occluded.values.shape == (6,)


@pytest.mark.parametrize("method", ["decompx", "evidence", "hta", "hta_inputs"])
def test_what_needs_one_vector_per_token_is_refused(traced: cm.TracedModel, method: str):
    with pytest.raises(UnsupportedModel, match=r"No number was produced|several streams of each token"):
        traced.explain({"input_ids": IDS[0]}, method)


def test_a_block_that_mixes_tokens_behind_the_stream_is_refused():
    model = further("gemma3n")
    block = blocks_of(model)[1]
    block.per_layer_projection = torch.nn.Sequential(block.per_layer_projection, Shifted())
    with pytest.raises(UnsupportedModel, match="something beside attention mixes tokens"):
        cm.load(model).anatomy()


class Shifted(torch.nn.Module):
    """A little of the token before."""

    def forward(self, states: Tensor) -> Tensor:
        return states + 0.2 * states.roll(1, 1)


def test_a_stream_that_an_anatomy_names_wrongly_is_caught(traced: cm.TracedModel, model: Any):
    for name in ("pre_feedforward_layernorm", "altup"):  # in front of the feed-forward part; behind more than it
        wrong = [replace(one, stream=replace(one.stream, left=name)) for one in traced.anatomy().blocks]
        with pytest.raises(TraceDoesNotAddUp, match=r"put together differ|no residual_out"):
            cm.load(model, anatomy=cm.Anatomy(tuple(wrong))).trace({"input_ids": IDS[0]})

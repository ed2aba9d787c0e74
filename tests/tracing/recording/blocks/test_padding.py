"""Tokens that a model adds at the end by itself are left out; tokens that take part never are."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.tracing.tiny import build, in_float64, token_ids

import contextmix as cm
from contextmix.tracing.recording.blocks.padding import tokens_given, without_padding


def padded() -> Any:
    """Windows of four tokens: seven are padded to eight."""
    return in_float64(build("longformer"))


@torch.no_grad()
def test_the_map_is_over_the_tokens_that_were_given():
    model, ids = padded(), token_ids(7)[0]
    traced = cm.load(model)
    found = traced.explain({"input_ids": ids}, "globenc")
    assert found.values.shape == (7, 7)
    by_hand = torch.cat([ids, torch.tensor([1])])[None]  # as the model pads them
    mask = torch.tensor([[1] * 7 + [0]])
    trace = traced.trace({"input_ids": ids})
    states = model(by_hand, attention_mask=mask, output_hidden_states=True).hidden_states
    for layer in trace.layers:
        torch.testing.assert_close(layer.residual_in, states[layer.index][0, :7], rtol=0, atol=1e-9)
        torch.testing.assert_close(layer.attention.sum(-1), torch.ones(2, 7, dtype=torch.float64))


def test_replays_add_the_padding_again():
    layer = cm.load(padded()).trace({"input_ids": token_ids(7)[0]}).layers[1]
    torch.testing.assert_close(layer.replay(layer.residual_in), layer.residual_out, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.replay_zeroed(None, None), layer.residual_out, rtol=0, atol=1e-12)
    whole = layer.replay_from_embeddings(layer.embeddings)
    torch.testing.assert_close(whole, layer.residual_out, rtol=0, atol=1e-12)
    zeroed = layer.replay_zeroed(2, None)
    assert zeroed.shape == (7, 16)
    assert (zeroed - layer.residual_out).abs().max() > 1e-3


def test_gradients_flow_through_it():
    found = cm.load(padded()).explain({"input_ids": token_ids(7)[0]}, "hta").values
    assert found.shape == (2, 7, 7)
    assert np.abs(found).sum() > 0


@pytest.mark.parametrize(("row", "column"), [(1, 7), (7, 1), (7, 7)])
def test_a_token_that_takes_part_is_never_left_out(row: int, column: int):
    layer = cm.load(in_float64(build("bert"))).trace({"input_ids": token_ids(8)[0]}).layers[0]
    attention = layer.attention.clone()
    attention[:, 7:], attention[:, :, 7:] = 0, 0
    alone = replace(layer, attention=attention)
    assert without_padding(alone, 7).residual_in.shape[-2] == 7
    attention = attention.clone()
    attention[0, row, column] = 1e-3
    assert without_padding(replace(layer, attention=attention), 7).residual_in.shape[-2] == 8


def test_only_inputs_of_nothing_but_tokens_say_how_many_there_are():
    ids, image = torch.zeros(1, 5, dtype=torch.long), torch.zeros(1, 3, 8, 8)
    assert tokens_given({"input_ids": ids}) == 5
    assert tokens_given({"inputs_embeds": torch.zeros(1, 4, 16), "attention_mask": torch.ones(1, 4)}) == 4
    assert tokens_given({"input_ids": ids, "pixel_values": image}) is None
    assert tokens_given({"pixel_values": image}) is None

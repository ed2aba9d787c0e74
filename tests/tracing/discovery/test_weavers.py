"""Mixers that no single product holds are found by what they do, and what is not linear is not taken for one."""

import re
from typing import Any

import pytest
import torch
from tests.tracing.tiny import build, hook_count, token_ids
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import TraceDoesNotAddUp, UnsupportedModel
from contextmix.tracing.recording.mixing.watch import watched

N = 8


def strands(family: str, head: str = "Model") -> list[tuple[str, int, int]]:
    """Path, heads and width of the heads of what makes values in the first block."""
    block = cm.load(build(family, head)).anatomy().blocks[0]
    return [(strand.path, len(strand.reads), len(strand.reads[0])) for strand in block.mixer.strands]


def test_every_module_that_makes_values_is_found_with_its_heads():
    assert strands("longformer") == [("value", 2, 8)]
    assert strands("longformer", "ForSequenceClassification") == [("value", 2, 8), ("value_global", 2, 8)]
    assert strands("nystromformer") == [("value", 2, 8)]
    assert strands("convbert") == [("value", 2, 4), ("conv_out_layer", 2, 4)]


def test_a_head_with_two_kinds_of_values_fills_the_same_inputs_of_the_projection():
    mixer = cm.load(build("longformer", "ForSequenceClassification")).anatomy().blocks[0].mixer
    assert mixer.kinds == 2
    assert mixer.feeds == (*range(16), *range(16))
    assert cm.load(build("convbert")).anatomy().blocks[0].mixer.kinds == 1


class Own(nn.Module):
    """An attention of our own, with what is done to the values last."""

    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = own.q, own.k, own.v, own.o

    def forward(self, states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor]:
        query, key, value = (self.heads(one(states)) for one in (self.q, self.k, self.v))
        mixed = self.mix((query @ key.mT).softmax(-1), value)
        return (self.o(mixed.transpose(1, 2).flatten(2)),)

    @staticmethod
    def heads(states: Tensor) -> Tensor:
        return states.view(*states.shape[:2], 2, -1).transpose(1, 2)

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        raise NotImplementedError


class Powers(Own):
    """Two steps of the same weights: a chain of products."""

    shift = 0.0

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        return weights @ (weights @ value) + value + self.shift


class Crossed(Own):
    """The channels of a head are exchanged from token to token: its map is no number per pair of tokens."""

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        return weights @ value + value.roll(1, dims=-1)


class Squared(Own):
    """Not linear in the values."""

    def mix(self, weights: Tensor, value: Tensor) -> Tensor:
        return weights @ value.square() + value


def mpnet(attention: type[Own]) -> Any:
    model = build("mpnet")
    for layer in model.encoder.layer:
        layer.attention.attn = attention(layer.attention.attn)
    return model


@torch.no_grad()
def test_a_chain_of_products_is_their_product():
    model = mpnet(Powers)
    layer = cm.load(model).trace({"input_ids": token_ids(N)[0]}).layers[1]
    own = model.encoder.layer[1].attention.attn
    query, key = (own.heads(one(layer.residual_in[None])) for one in (own.q, own.k))
    weights = (query @ key.mT).softmax(-1)[0]
    torch.testing.assert_close(layer.attention, weights @ weights + torch.eye(N), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_part_that_no_value_sends_is_never_taken_for_one_that_they_do():
    model = mpnet(Powers)
    traced = cm.load(model)
    assert traced.check().checks.conservation <= 1e-5
    for layer in model.encoder.layer:
        layer.attention.attn.shift = 1.0
    with pytest.raises(TraceDoesNotAddUp, match="attention · value · output projection differs"):
        traced.trace({"input_ids": token_ids(N)[0]})
    layer = cm.load(model).trace({"input_ids": token_ids(N)[0]}).layers[1]  # looked at anew, it belongs to no token
    assert layer.channelwise
    own = model.encoder.layer[1].attention.attn
    query, key = (own.heads(one(layer.residual_in[None])) for one in (own.q, own.k))
    weights = (query @ key.mT).softmax(-1)[0]
    wanted = (weights @ weights + torch.eye(N)).repeat_interleave(8, dim=0)
    torch.testing.assert_close(layer.attention, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("attention", [Crossed, Squared])
def test_what_is_not_linear_head_by_head_is_refused(attention: type[Own]):
    model = mpnet(attention)
    with pytest.raises(UnsupportedModel, match="none of them is a linear mixer of these"):
        cm.load(model).explain({"input_ids": token_ids(N)[0]})
    assert hook_count(model) == 0
    assert not watched(model)


class Bent(nn.Module):
    """An output projection whose input passes a nonlinearity in no module of its own."""

    def __init__(self, dense: nn.Linear) -> None:
        super().__init__()
        self.dense = dense

    def forward(self, states: Tensor) -> Tensor:
        return self.dense(states.tanh())


def test_the_search_stops_where_the_layers_of_a_stack_are_alike():
    said = []
    for layers in (4, 7):
        model = build("convbert", num_hidden_layers=layers)
        for layer in model.encoder.layer:
            layer.attention.output.dense = Bent(layer.attention.output.dense)
        with pytest.raises(UnsupportedModel) as refused:
            cm.load(model).explain({"input_ids": token_ids(N)[0]})
        said.append(re.findall(r"(\d+) modules were run again", str(refused.value)))
    assert said[0] == said[1]


def test_values_that_pass_a_nonlinearity_are_refused_with_what_was_tried():
    model = build("convbert")
    for layer in model.encoder.layer:
        layer.attention.output.dense = Bent(layer.attention.output.dense)
    with pytest.raises(UnsupportedModel, match=r"\d+ modules were run again .* none of them is a linear mixer"):
        cm.load(model).explain({"input_ids": token_ids(N)[0]})
    assert hook_count(model) == 0

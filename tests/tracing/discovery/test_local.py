"""Layers that read one token at a time, between the blocks: the numbers are those of a model in one piece."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.tracing.discovery.test_sums import Neighbours, OneSublayer
from tests.tracing.tiny import build, token_ids
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import UnsupportedModel

IDS = {"input_ids": token_ids(6, seed=3)[0]}


class FeedForward(nn.Module):
    """The second half of a block as a layer of its own."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.norm, self.mixer = block.post_attention_layernorm, block.mlp

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        return hidden_states + self.mixer(self.norm(hidden_states))


def whole(*, last: bool = True) -> Any:
    """A decoder in one piece; ``last``: its last block has a feed-forward part."""
    model = build("llama", "ForCausalLM").double()
    if not last:
        model.model.layers[1] = OneSublayer(model.model.layers[1])
    return model


def halved(*, last: bool = True) -> Any:
    """The same with every half of a block as a layer."""
    model = build("llama", "ForCausalLM").double()
    halves = [half for block in model.model.layers for half in (OneSublayer(block), FeedForward(block))]
    model.model.layers = nn.ModuleList(halves if last else halves[:-1])
    model.config.num_hidden_layers = len(model.model.layers)
    return model


def test_layers_of_one_token_at_a_time_are_found():
    anatomy = cm.load(halved()).anatomy()
    assert [block.path for block in anatomy.blocks] == ["model.layers.0", "model.layers.2"]
    assert anatomy.local == ("model.layers.1", "model.layers.3")


def test_a_trace_says_what_they_add():
    model = halved()
    first, second = cm.load(model).trace(IDS).layers
    in_one, _ = cm.load(whole()).trace(IDS).layers
    assert first.added is None
    assert torch.equal(second.residual_in, in_one.residual_out)
    np.testing.assert_allclose(second.added, in_one.ffn_out, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "method", ["globenc", "attention_rollout", "gradient_inputs", "occlusion", "integrated_gradients"]
)
def test_what_goes_across_is_that_of_the_model_in_one_piece(method: str):
    found, wanted = (cm.load(model).explain(IDS, method).values for model in (halved(), whole()))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("signed", [False, True])
def test_evidence_is_that_of_the_model_in_one_piece(signed: bool):
    models = halved(last=False), whole(last=False)
    found, wanted = (cm.load(model).explain(IDS, "evidence", signed=signed).values for model in models)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_derivatives_to_the_embeddings_pass_through_them():
    found = cm.load(halved()).trace(IDS).layers[1]
    wanted = cm.load(whole(last=False)).trace(IDS).layers[1]
    with torch.enable_grad():
        other = found.embeddings + 0.1
        np.testing.assert_allclose(
            found.replay_from_embeddings(other), wanted.replay_from_embeddings(other), rtol=1e-9, atol=1e-9
        )


def test_a_layer_that_mixes_tokens_is_refused():
    model = halved()
    layer = model.model.layers[1]
    layer.mixer = Neighbours(layer.mixer)
    with pytest.raises(UnsupportedModel, match=r"made no attention call: model\.layers\.1 \(FeedForward\)"):
        cm.load(model).anatomy()


def test_what_acts_between_such_a_layer_and_a_block_in_a_later_run_is_refused():
    model = halved()
    traced = cm.load(model)
    traced.trace(IDS)
    model.model.layers[2].register_forward_pre_hook(lambda _, args: (args[0] * 1.1, *args[1:]))
    with pytest.raises(UnsupportedModel, match="acts between these blocks"):
        traced.trace(IDS)

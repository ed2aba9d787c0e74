"""Blocks of which only the sum after attention is to be seen, and what of them is refused."""

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.methods.test_further_sums import EXACT, IDS, first, heard, without_value
from tests.tracing.discovery.test_sums import Neighbours
from tests.tracing.tiny import build, in_float64, vivid
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import TraceDoesNotAddUp, UnsupportedModel

SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


class Gated(nn.Module):
    """A block whose second half is no sum: y = h · tanh(ffn(h))."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.norm, self.attention, self.second, self.mlp = (
            block.input_layernorm,
            block.self_attn,
            block.post_attention_layernorm,
            block.mlp,
        )

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        states = hidden_states + self.attention(self.norm(hidden_states), **kwargs)[0]
        return states * torch.tanh(self.mlp(self.second(states)))


def mobilebert() -> Any:
    config = transformers.MobileBertConfig(
        **SIZES, intermediate_size=24, embedding_size=8, intra_bottleneck_size=8, num_feedforward_networks=2
    )
    return vivid(transformers.MobileBertModel(config)).double()


def gated() -> Any:
    model = in_float64(build("llama"))
    model.layers = nn.ModuleList(Gated(block) for block in model.layers)
    return model


MODELS = {"mobilebert": mobilebert, "gated": gated}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    model = MODELS[request.param]()
    model.set_attn_implementation("eager")
    return model


def blocks_of(model: Any) -> Any:
    return model.layers if hasattr(model, "layers") else model.encoder.layer


def test_the_sum_after_attention_is_found(model: Any):
    traced = cm.load(model)
    for place in traced.anatomy().blocks:
        assert place.ffn.output == ""
        assert place.stream.count == 0
    checks = traced.trace({"input_ids": IDS[0]}).checks
    assert checks.block_equation < 1e-13


def test_the_narrow_stream_of_a_bottleneck_is_traced():
    model = mobilebert()
    trace = cm.load(model).trace({"input_ids": IDS[0]})
    said = heard(model)
    for block, layer in zip(blocks_of(model), trace.layers, strict=True):
        assert layer.residual_in.shape == (6, 8)
        np.testing.assert_allclose(layer.residual_out, said[block.attention][2][0], rtol=1e-9, atol=1e-9)


def test_value_zeroing_compares_what_the_whole_block_writes(model: Any):
    said, found = heard(model), cm.load(model).explain({"input_ids": IDS[0]}, "value_zeroing", layers="all").values
    file_of = model if not hasattr(model, "layers") else build("llama")
    for number, block in enumerate(blocks_of(model)):
        args, kwargs, _ = said[block]
        wanted = torch.zeros(6, 6, dtype=torch.float64)
        with torch.no_grad():
            clean = first(block(*args, **kwargs))[0]
            for token in range(6):
                with without_value(file_of, token):
                    wanted[:, token] = 1 - torch.cosine_similarity(clean, first(block(*args, **kwargs))[0], dim=-1)
        assert wanted.max() > 1e-4
        np.testing.assert_allclose(found[number], wanted / wanted.sum(-1, keepdim=True), **EXACT)


def test_maps_roll_out_and_gradients_flow(model: Any):
    for method in ("globenc", "alti_rollout", "hta_inputs", "evidence"):
        if method in ("hta_inputs", "evidence"):
            with pytest.raises((UnsupportedModel, TraceDoesNotAddUp, cm.errors.BadOption)):
                cm.load(model).explain({"input_ids": IDS[0]}, method)
        else:
            assert cm.load(model).explain({"input_ids": IDS[0]}, method).values.shape == (6, 6)


def test_what_mixes_tokens_behind_the_sum_is_refused():
    model = gated()
    model.layers[1].mlp = Neighbours(model.layers[1].mlp)
    with pytest.raises(UnsupportedModel, match="something beside attention mixes tokens"):
        cm.load(model).anatomy()


def test_a_part_of_a_module_that_does_more_is_no_block():
    """A convolution in the only layer of a model must not be passed by, because the first half of it is readable."""
    model = gated()
    model.layers = model.layers[:1]
    model.layers[0].mlp = Neighbours(model.layers[0].mlp)
    with pytest.raises(UnsupportedModel):
        cm.load(model).anatomy()

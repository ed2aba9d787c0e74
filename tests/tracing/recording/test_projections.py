"""Where queries, keys and values come from: found by their tensors, or known not to be three linear maps."""

import pytest
import torch
from tests.tracing.tiny import build, token_ids

import contextmix as cm
from contextmix.traces.places import ProjectionPlaces

OWN = {
    "bert": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "roberta": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "electra": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "distilbert": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    "albert": tuple(f"albert_layers.0.attention.{name}" for name in ("query", "key", "value")),
}


@pytest.mark.parametrize("family", OWN)
def test_three_linear_modules_are_named(family: str, request: pytest.FixtureRequest):
    blocks = request.getfixturevalue(family).anatomy().blocks
    assert [block.projections for block in blocks] == [ProjectionPlaces(*OWN[family])] * 2


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "modernbert"])
def test_rotated_or_joint_ones_are_not(family: str, request: pytest.FixtureRequest):
    assert {block.projections for block in request.getfixturevalue(family).anatomy().blocks} == {None}


@pytest.mark.parametrize("family", OWN)
def test_they_give_what_attention_reads(family: str, request: pytest.FixtureRequest):
    for layer in request.getfixturevalue(family).trace({"input_ids": token_ids(6)[0]}).layers:
        maps, scores = layer.block.projections, layer.scores
        recorded = (scores.query, scores.key, layer.value)
        for affine, wanted in zip((maps.query, maps.key, maps.value), recorded, strict=True):
            torch.testing.assert_close(affine.by_head(layer.residual_in, 2), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "distilbert", "llama"])
def test_the_scores_make_the_attention(family: str, request: pytest.FixtureRequest):
    for layer in request.getfixturevalue(family).trace({"input_ids": token_ids(6)[0]}).layers:
        query, key = layer.scores.query, layer.scores.key
        key = key.repeat_interleave(len(query) // len(key), 0)
        scores = query @ key.transpose(-1, -2) * layer.scores.scaling
        seen = scores.masked_fill(layer.attention == 0, -torch.inf).softmax(-1)
        torch.testing.assert_close(seen, layer.attention, rtol=1e-5, atol=1e-6)


def test_queries_and_keys_of_one_module_are_found_twice():
    """Tied weights write the same tensor for both; the derivative is that of both."""
    model = build("bert").double()
    for block in model.encoder.layer:
        block.attention.self.key.load_state_dict(block.attention.self.query.state_dict())
    trace = cm.load(model).trace({"input_ids": token_ids(5)[0]})
    found = cm.measure(trace, "hta").layer(0).values
    x = trace.layers[0].residual_in
    whole = torch.autograd.functional.jacobian(lambda states: trace.layers[0].replay(states), x)
    torch.testing.assert_close(torch.from_numpy(found.copy()), whole.square().sum((1, 3)).sqrt(), rtol=1e-10, atol=0)

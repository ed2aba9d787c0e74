"""The maps that make values and gates, found also inside modules that make several things at once."""

import pytest
import torch
from tests.methods.speakers import IDS, speaker
from tests.tracing.tiny import build

import contextmix as cm
from contextmix.maths.norms import normalise

FAMILIES = ["llama", "gpt2", "gemma", "gemma2", "granite", "phi", "phi3", "qwen2", "modernbert", "bert", "albert"]


def layers(model):
    return cm.load(model).trace({"input_ids": IDS}).layers


@pytest.mark.parametrize("family", FAMILIES)
def test_the_value_map_gives_the_recorded_values(family: str):
    for layer in layers(speaker(family)):
        norm = layer.block.attention.norm_in
        read = layer.residual_in if norm is None else normalise(layer.residual_in, norm)
        found = layer.block.value().by_head(read, len(layer.attention))
        torch.testing.assert_close(found, layer.value, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gated_part_gives_what_the_feed_forward_part_wrote(family: str):
    gated = {"llama", "gemma", "gemma2", "granite", "phi3", "qwen2", "modernbert"}
    for layer in layers(speaker(family)):
        assert (layer.block.gated is None) == (family not in gated)
        if layer.block.gated is not None:
            norm, states = layer.block.ffn.norm_in, layer.states.residual_mid
            read = states if norm is None else normalise(states, norm)
            torch.testing.assert_close(layer.block.gated()(read), layer.ffn_out, rtol=1e-6, atol=1e-9)


def test_a_module_that_makes_query_key_and_value_names_its_columns():
    place = cm.load(build("gpt2")).anatomy().blocks[0].value
    assert (place.path, place.columns, place.transposed) == ("attn.c_attn", tuple(range(32, 48)), True)
    place = cm.load(build("llama")).anatomy().blocks[0].value
    assert (place.path, place.columns, place.transposed) == ("self_attn.v_proj", None, False)


def test_gate_and_up_are_not_taken_for_each_other():
    places = cm.load(build("llama")).anatomy().blocks[0].ffn.gated
    assert (places.gate.path, places.up.path, places.second.path) == ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    places = cm.load(speaker("phi3")).anatomy().blocks[0].ffn.gated
    assert places.gate.path == places.up.path == "mlp.gate_up_proj"
    assert (places.gate.columns, places.up.columns) == (tuple(range(32)), tuple(range(32, 64)))


def test_values_that_are_changed_afterwards_are_no_linear_map():
    model = build("llama")
    for layer in model.layers:
        layer.self_attn.v_proj.register_forward_hook(lambda module, args, out: out.tanh())
    assert cm.load(model).anatomy().blocks[0].value is None

"""Maps that are no attention weights are refused where weights are asked for."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.tracing.tiny import build, token_ids

import contextmix as cm
from contextmix.errors import UnsupportedModel
from contextmix.traces.weights import weights_of


@pytest.fixture(name="layer")
def _layer() -> Any:
    return cm.load(build("bert")).trace({"input_ids": token_ids(5)[0]}).layers[0]


def test_weights_are_what_was_recorded(layer: Any):
    assert torch.equal(weights_of(layer), layer.attention)


def test_a_negative_entry_and_a_row_above_one_are_refused(layer: Any):
    for value, said in ((-1e-3, "the smallest is -0.001"), (2.0, "a row sums to ")):
        attention = layer.attention.clone()
        attention[1, 2, 3] = value
        with pytest.raises(UnsupportedModel, match=said):
            weights_of(replace(layer, attention=attention))


def test_kinds_of_values_add_up_to_the_weights_of_a_head(layer: Any):
    twice = replace(layer, block=replace(layer.block, kinds=2))
    assert torch.equal(weights_of(replace(twice, attention=layer.attention / 2)), layer.attention.sum(0, True) / 2)
    with pytest.raises(UnsupportedModel, match="no attention weights"):
        weights_of(replace(layer, block=replace(layer.block, kinds=0)))

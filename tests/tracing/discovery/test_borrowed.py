"""Blocks that mix the values of an earlier block: found, compared on every run, and kept out of what goes across."""

from typing import Any

import pytest
import torch
from tests.tracing.sums import further
from tests.tracing.tiny import build, token_ids
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import BadOption, TraceDoesNotAddUp, UnsupportedModel
from contextmix.tracing.recording.record import record

IDS = {"input_ids": token_ids(6, seed=3)[0]}


def test_the_block_whose_values_another_one_mixes_is_found():
    anatomy = cm.load(further("gemma4sharing")).anatomy()
    assert [place.values_of for place in anatomy.blocks] == [None, None, 0, 1]


def test_blocks_that_make_their_own_values_lend_none():
    assert [place.values_of for place in cm.load(build("llama")).anatomy().blocks] == [None, None]


def test_a_trace_says_whose_values_a_layer_mixes():
    trace = cm.load(further("gemma4sharing")).trace(IDS)
    assert [layer.values_of for layer in trace.layers] == [None, None, 0, 1]
    assert trace.checks.borrowed == (2, 3)
    assert torch.equal(trace.layers[2].value, trace.layers[0].value)


def test_what_goes_across_layers_is_refused_and_single_layers_are_not():
    traced = cm.load(further("gemma4sharing"))
    with pytest.raises(UnsupportedModel, match=r"Layer 2 mixes the values that layer 0 made.*rollout follows tokens"):
        traced.explain(IDS, "globenc")
    single = traced.explain(IDS, "norm_encoder", layers="all")
    assert single.values.shape == (4, 6, 6)
    for maps in (single, cm.measure(traced.trace(IDS), "norm_encoder")):
        with pytest.raises(BadOption, match="layers 2, 3 mix values that an earlier one made"):
            cm.aggregate(maps, "rollout")
    with pytest.raises(UnsupportedModel, match="recorded without a way to run it again"):
        traced.explain(IDS, "hta", span="embeddings", layers="all")


def test_a_model_that_is_asked_for_few_logits_keeps_all_rows():
    model = further("gemma4sharing", "ForCausalLM")
    with torch.no_grad():
        wanted = model(input_ids=IDS["input_ids"][None], logits_to_keep=1).logits[0, -1]
    rows = []
    model.lm_head.register_forward_hook(lambda _, args, output: rows.append(output.shape[1]))
    found = cm.load(model).explain(IDS, "value_zeroing", layers="all")
    assert found.values.shape == (4, 6, 6)
    assert set(rows) <= {1, 7}  # of the text the last one; of the probe all
    said = found.provenance.notes["prediction"]
    assert said["probability"] == pytest.approx(float(wanted.softmax(-1).max()), rel=1e-6)


class Own(nn.Module):
    """An attention module that stops borrowing: it mixes other values than it is given."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.on = inner, False

    def forward(self, hidden_states: Tensor, shared_kv_states: Any = None, **kwargs: Any) -> Any:
        if self.on:
            key, value = shared_kv_states[self.inner.layer_type]
            shared_kv_states = {self.inner.layer_type: (key, value * 1.01)}
        return self.inner(hidden_states, shared_kv_states=shared_kv_states, **kwargs)


def test_a_block_that_mixes_others_in_a_later_run_is_refused():
    model = further("gemma4sharing")
    model.layers[2].self_attn = Own(model.layers[2].self_attn)
    traced = cm.load(model)
    traced.trace(IDS)
    model.layers[2].self_attn.on = True
    with pytest.raises(TraceDoesNotAddUp, match="Layer 2 mixed the values that layer 0 had made"):
        traced.trace(IDS)


def test_a_block_that_runs_again_on_other_states_lends_nothing_to_the_run():
    model = further("gemma4sharing")
    traced = cm.load(model)
    wanted = traced.trace(IDS)
    found = []

    def visit(layer: cm.LayerTrace) -> None:
        layer.replay(2 * layer.residual_in)
        found.append(layer.residual_out)

    record(model, traced.anatomy(), {"input_ids": IDS["input_ids"][None]}, visit)
    for one, layer in zip(found, wanted.layers, strict=True):
        assert torch.equal(one[0], layer.residual_out)

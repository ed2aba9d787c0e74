"""What is kept of a block until a direction is known: nothing of the size of the sequence but weights and values."""

from typing import Any

import pytest
import torch
import transformers
from tests.methods.speakers import speaker
from tests.tracing.tiny import MARKS, SIZES, token_ids, vivid
from torch import Tensor

import contextmix as cm
from contextmix.maths.evidence import spoken_for
from contextmix.traces.meaning import Meaning
from contextmix.traces.span_run import ReadRows
from contextmix.traces.target import Target
from contextmix.tracing.runs.span import Reading

IDS = token_ids(20, seed=4)
ROWS = slice(17, 20)


def kept(model: Any) -> list[ReadRows]:
    loaded = cm.load(model)
    with loaded.running({"input_ids": IDS}, {"input_ids": IDS}) as anatomy:
        reading = Reading(loaded.model, anatomy, {"input_ids": IDS}, ROWS, causal=True)
        run = reading.span([Target(5, "five")] * 3, Meaning.ONE_OF)
        assert run is not None
        return run.recorded[0]


def held(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes() // tensor.element_size()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3", "gpt_neox"])
def test_no_block_keeps_more_than_rows_of_weights_and_the_values(family: str, attention: str):
    """Not the whole map whose rows are read, nor the queries and keys that a fused projection made with the values."""
    model = speaker(family)
    model.set_attn_implementation(attention)
    d_head, d_model, values = 8, SIZES["hidden_size"], 1 if family in ("llama", "phi3") else 2
    for layer in kept(model):
        assert layer.attention.shape == (2, 3, 20)
        assert layer.value.shape == (values, 20, d_head)
        assert held(layer.attention) == layer.attention.numel()
        assert held(layer.value) == layer.value.numel()
        states = layer.states
        for rows in (states.residual_in, states.attention_out, states.ffn_out, layer.residual_out):
            assert held(rows) == 3 * d_model


def test_of_a_window_the_keys_are_kept_that_a_row_sees():
    own = {**SIZES, **MARKS, "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 4}
    layers = ["sliding_attention", "full_attention"]
    model = vivid(transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**own, layer_types=layers)))
    window, full = kept(model)
    assert (window.columns, full.columns) == (slice(14, 20), slice(0, 20))
    assert window.attention.shape[-1] == window.value.shape[1] == 6
    torch.testing.assert_close(window.attention.sum(-1), torch.ones(2, 3))


def test_values_of_a_half_precision_model_stay_so_and_are_read_in_full():
    model = speaker("llama").bfloat16()
    (layer, _) = kept(model)
    assert layer.attention.dtype == layer.value.dtype == torch.bfloat16
    direction = torch.randn(3, SIZES["hidden_size"])
    weight = layer.block.output_weight.float()
    found = spoken_for(layer.attention, layer.value, weight, direction)
    exact = spoken_for(layer.attention.float(), layer.value.float(), weight, direction)
    assert found.dtype == torch.float32
    assert torch.equal(found, exact)

"""What is given beside token ids reaches the model: the truth is its own call with the same inputs."""

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.tracing.tiny import ROUNDOFF, build, token_ids, vivid, word_pieces
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLTextModel

import contextmix as cm
from contextmix.errors import BadInput
from contextmix.tracing.inputs.beside import used

IDS = token_ids(7)
PACKED = torch.tensor([[0, 1, 2, 3, 0, 1, 2]])
ODD = torch.tensor([[3, 1, 9, 2, 2, 8, 5]])


def attention(model: Any, given: dict[str, Any]) -> torch.Tensor:
    """The first layer's weights, mean over heads, by the model's own plain call."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.no_grad():
        found = model(**given, output_attentions=True).attentions[0].mean(1)
    model.set_attn_implementation(before)
    return found


def three_axes() -> Any:
    """The language model of Qwen2-VL, which counts along time, height and width."""
    config = transformers.Qwen2VLTextConfig(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
    )
    return vivid(Qwen2VLTextModel(config))


@pytest.mark.parametrize("positions", [PACKED, ODD])
@pytest.mark.parametrize("mask", [{}, {"attention_mask": torch.ones_like(IDS)}])
@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_positions_are_those_of_the_models_own_call(family: str, mask: dict[str, Any], positions: torch.Tensor):
    model = build(family)
    given = {"input_ids": IDS, "position_ids": positions, **mask}
    (found,) = cm.load(model).explain(given, "attention", layers=[0])
    true = attention(model, given)[0]
    assert abs(found.values.reshape(7, 7) - true.numpy()).max() <= ROUNDOFF
    assert abs(true - attention(model, {"input_ids": IDS})[0]).max() > 1e-3


@pytest.mark.parametrize("rows", [1, 3])
def test_positions_of_three_axes_go_with_their_sequence(rows: int):
    model, ids = three_axes(), token_ids(7, rows)
    positions = torch.randint(0, 9, (3, rows, 7), generator=torch.Generator().manual_seed(0))
    true = attention(model, {"input_ids": ids, "position_ids": positions})
    traced = cm.load(model)
    found = traced.explain({"input_ids": ids, "position_ids": positions}, "attention", layers=[0])
    for one, row in zip(found, true, strict=True):
        assert abs(one.values.reshape(7, 7) - row.numpy()).max() <= ROUNDOFF
    alone = traced.explain({"input_ids": ids[0], "position_ids": positions[:, 0]}, "attention", layers=[0])
    assert abs(alone.values.reshape(7, 7) - true[0].numpy()).max() <= ROUNDOFF


def test_padding_takes_its_positions_with_it():
    model = build("llama")
    padded = {
        "input_ids": torch.cat([torch.zeros(1, 2, dtype=torch.long), IDS], 1),
        "attention_mask": torch.tensor([[0, 0] + [1] * 7]),
        "position_ids": torch.cat([torch.tensor([[5, 5]]), ODD], 1),
    }
    (found,) = cm.load(model).explain(padded, "attention", layers=[0])
    true = attention(model, {"input_ids": IDS, "position_ids": ODD})[0]
    assert abs(found.values.reshape(7, 7) - true.numpy()).max() <= ROUNDOFF


@pytest.mark.parametrize("method", ["gradient_inputs", "integrated_gradients", "decompx", "value_zeroing", "globenc"])
@pytest.mark.parametrize("positions", [PACKED, ODD])
def test_every_method_runs_with_them(method: str, positions: torch.Tensor):
    """A position table whose rows are put in that order is the same model without the argument."""
    model, other = (build("bert", "ForSequenceClassification", num_labels=2) for _ in range(2))
    with torch.no_grad():
        table = other.bert.embeddings.position_embeddings.weight
        table[:7] = table[positions[0]].clone()
    found = cm.load(model).explain({"input_ids": IDS[0], "position_ids": positions[0]}, method).values
    true = cm.load(other).explain({"input_ids": IDS[0]}, method).values
    plain = cm.load(model).explain({"input_ids": IDS[0]}, method).values
    assert abs(found - true).max() <= 1e-4 * abs(true).max()
    assert abs(plain - true).max() > 1e-3 * abs(true).max()


def test_occlusion_reads_them_where_a_token_is_replaced_and_refuses_to_leave_one_out():
    model, other = (build("bert", "ForSequenceClassification", num_labels=2) for _ in range(2))
    with torch.no_grad():
        table = other.bert.embeddings.position_embeddings.weight
        table[:7] = table[ODD[0]].clone()
    given = {"input_ids": IDS[0], "position_ids": ODD[0]}
    found = cm.load(model, word_pieces()).explain(given, "occlusion", replace="unknown").values
    true = cm.load(other, word_pieces()).explain({"input_ids": IDS[0]}, "occlusion", replace="unknown").values
    assert abs(found - true).max() <= 1e-4 * abs(true).max()
    with pytest.raises(BadInput, match=r"came with position_ids.*Replace the token"):
        cm.load(model).explain(given, "occlusion", replace="delete")


@pytest.mark.parametrize("positions", [PACKED, ODD])
def test_gradients_of_rotated_positions_are_those_of_the_models_own_call(positions: torch.Tensor):
    """Here positions enter in every block, not in the embeddings alone."""
    model = build("llama", "ForCausalLM")
    found = cm.load(model).explain({"input_ids": IDS[0], "position_ids": positions[0]}, "gradient_inputs", target=9)
    leaf = model.get_input_embeddings()(IDS).detach().requires_grad_()
    model(inputs_embeds=leaf, position_ids=positions).logits[0, -1, 9].backward()
    true = (leaf.grad * leaf.detach())[0].norm(dim=-1).numpy()
    assert abs(found.values - true).max() <= 1e-4 * true.max()


@pytest.mark.parametrize(
    ("beside", "sentence"),
    [
        ({"head_mask": torch.ones(2, 2)}, "contextmix does not read head_mask"),
        ({"past_key_values": ((torch.ones(1),),)}, "contextmix does not read past_key_values"),
        ({"labels": torch.tensor([1])}, "contextmix does not read labels"),
        ({"use_cache": True}, "contextmix does not read use_cache"),
        ({"nonsense": torch.ones(1, 7)}, "does not read nonsense: the model would silently ignore it"),
        ({"nonsense": torch.zeros(1, 7)}, "does not read nonsense: the model would silently ignore it"),
        ({"attention_mask": torch.ones(1, 7, 7)}, r"attention_mask has 3 axes, \(1, 7, 7\)"),
        ({"attention_mask": torch.ones(1, 1, 7, 7)}, "attention_mask has 4 axes"),
        ({"attention_mask": torch.tensor([[0.0] * 6 + [-1e9]])}, "other numbers than 0 and 1"),
        ({"attention_mask": torch.tensor([[1, 1, 0, 1, 1, 1, 1]])}, "has a gap"),
        ({"position_ids": torch.zeros(1, 6, dtype=torch.long)}, r"position_ids has shape \(1, 6\)"),
        ({"position_ids": torch.zeros(1, 7)}, "Give whole numbers"),
        ({"position_ids": torch.full((1, 7), 999)}, r"does not read these .*position_ids \(1, 7\)"),
        ({"token_type_ids": torch.full((1, 7), 9)}, "token_type_ids hold numbers from 9 to 9"),
        ({"token_type_ids": torch.tensor([[0, 1, -1, 0, 0, 1, 1]])}, "token_type_ids hold numbers from -1 to 1"),
        ({"inputs_embeds": torch.zeros(1, 7, 16)}, "input_ids and inputs_embeds"),
    ],
)
@pytest.mark.parametrize("verb", ["explain", "trace", "explore"])
def test_what_cannot_be_used_is_refused_by_name(verb: str, beside: dict[str, Any], sentence: str):
    traced = cm.load(build("bert"))
    with pytest.raises(BadInput, match=sentence):
        getattr(traced, verb)({"input_ids": IDS, **beside})


REASONS = {
    "setting of the run": "output_attentions output_hidden_states return_dict use_cache output_router_logits "
    "logits_to_keep num_logits_to_keep cache_position",
    "only makes a loss": "labels start_positions end_positions next_sentence_label sentence_order_label "
    "num_items_in_batch return_loss",
    "changes the heads' outputs": "head_mask decoder_head_mask cross_attn_head_mask",
    "what the model has read before": "past_key_values past_key_value mems",
    "what an encoder made": "encoder_hidden_states encoder_attention_mask encoder_outputs",
}


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize(("reason", "names"), REASONS.items())
def test_what_contextmix_does_not_read_is_refused_with_the_reason(reason: str, names: str, family: str):
    """Whether the model would take it or not; some of these are in the signature of most models."""
    for name in names.split():
        with pytest.raises(BadInput, match=rf"contextmix does not read {name}\. It .*{reason}.* Leave {name} out"):
            used(build(family), {"input_ids": IDS, name: torch.ones(1, 7)})


def test_what_is_none_and_token_types_that_say_nothing_may_stand_there():
    traced = cm.load(build("llama"))
    plain = traced.explain({"input_ids": IDS[0]}).values
    given = {"input_ids": IDS[0], "attention_mask": None, "token_type_ids": torch.zeros(7, dtype=torch.long)}
    assert np.array_equal(traced.explain(given).values, plain)
    with pytest.raises(BadInput, match="does not read token_type_ids"):
        traced.explain({**given, "token_type_ids": torch.ones(7, dtype=torch.long)})


def test_a_switch_is_thrown():
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8
    )
    model = vivid(transformers.ViTForImageClassification(config))
    given = {"pixel_values": torch.randn(2, 3, 24, 24), "interpolate_pos_encoding": True}
    true = attention(model, given)
    found = cm.load(model).explain(given, "attention", layers=[0])
    for one, row in zip(found, true, strict=True):
        assert abs(one.values.reshape(10, 10) - row.numpy()).max() <= ROUNDOFF
    with pytest.raises(BadInput, match="add 'interpolate_pos_encoding': True"):
        cm.load(model).explain({"pixel_values": given["pixel_values"]})

"""Models whose embeddings say nothing: their parts are found on noise, and their numbers are those of the model."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.models.two_stacks import models as two_stacks
from tests.tracing.tiny import MARKS, SIZES, build, token_ids, vivid
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import ContextMixError, UnsupportedModel
from contextmix.plugins.plan import METHODS
from contextmix.tracing.discovery.claims import NotABlock
from contextmix.tracing.discovery.diary import keep_diary
from contextmix.tracing.discovery.flat import is_flat
from contextmix.tracing.discovery.reader import BlockReader

HOW = {"zero": 0.0, "denormal": 1e-40, "constant": 0.5}
HEADS = {"gpt2": "LMHeadModel", "bert": "ForSequenceClassification", "llama": "ForCausalLM"}
IDS = token_ids(5)[0]
each_way = pytest.mark.parametrize("value", HOW.values(), ids=HOW)
each_family = pytest.mark.parametrize("family", HEADS)


def flattened(model: nn.Module, value: float) -> Any:
    """The same model with all embeddings at one number."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Embedding) and module.weight.shape[1] > 2:  # not T5's biases of two heads
                module.weight.fill_(value)
    return model


def untrained(family: str) -> transformers.PreTrainedModel:
    """As the library makes one: every bias is zero, so zeros stay zeros in all of its blocks."""
    torch.manual_seed(0)
    name = {"gpt2": "GPT2", "bert": "Bert", "llama": "Llama"}[family]
    config = getattr(transformers, f"{name}Config")(**{**SIZES, **MARKS})
    return getattr(transformers, name + HEADS[family])(config).eval()


def opt() -> transformers.PreTrainedModel:
    config = transformers.OPTConfig(**{**SIZES, **MARKS, "ffn_dim": 32, "word_embed_proj_dim": 16})
    return vivid(transformers.OPTForCausalLM(config))


# Found ---------------------------------------------------------------------------------------------------------------


@each_way
@each_family
def test_the_anatomy_is_that_of_the_same_model_with_other_embeddings(family: str, value: float):
    known = cm.load(build(family, HEADS[family])).anatomy()
    assert cm.load(flattened(build(family, HEADS[family]), value)).anatomy() == known


@each_way
def test_so_it_is_for_opt(value: float):
    assert cm.load(flattened(opt(), value)).anatomy() == cm.load(opt()).anatomy()


@each_way
@pytest.mark.parametrize("family", ["bart", "t5"])
def test_so_it_is_for_both_stacks(family: str, value: float):
    source = two_stacks.source(family)
    known = cm.load(two_stacks.build(family)).anatomy(source)
    assert cm.load(flattened(two_stacks.build(family), value)).anatomy(source) == known


def test_weights_in_half_precision_change_nothing():
    known = cm.load(build("gpt2")).anatomy()
    assert cm.load(flattened(build("gpt2"), 0.0).bfloat16()).anatomy() == known


@each_family
def test_numbers_without_digits_are_none_also_where_they_differ(family: str):
    """Where every bias is zero, what the first block makes of such embeddings differs as they do."""
    model = untrained(family)
    known = cm.load(untrained(family)).anatomy()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.weight.mul_(1e-36)
    diary = keep_diary(model, {"input_ids": IDS[None]})
    assert len(diary.attended[0].value[0].unique(dim=0)) == len(IDS)
    assert is_flat(diary)
    assert cm.load(model).anatomy() == known


PROJECTIONS = {"gpt2": "transformer.h.0.attn.c_proj", "llama": "model.layers.0.self_attn.o_proj"}


@pytest.mark.parametrize("family", PROJECTIONS)
def test_what_wrote_the_same_zeros_before_attention_is_no_output_projection(family: str):
    """Llama's queries are made by a linear module that reads zeros and writes zeros, as the output projection does."""
    diary = keep_diary(flattened(untrained(family), 0.0), {"input_ids": IDS[None]})
    moment = diary.attended[0]
    path = PROJECTIONS[family].rsplit(".", 2)[0]
    block = next(call for call in diary.around(moment) if call.path == path)
    reader = BlockReader(diary, block, moment)
    assert reader._projection()[0].path == PROJECTIONS[family]
    with pytest.raises(NotABlock):
        reader.block(untrained(family))


class IdsOnly(transformers.BertModel):
    """Takes nothing in the place of its embeddings."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **own: Any) -> Any:
        return super().forward(input_ids=input_ids, attention_mask=attention_mask, **own)


@each_way
def test_without_a_way_to_read_noise_the_refusal_names_the_embeddings(value: float):
    model = flattened(vivid(IdsOnly(transformers.BertConfig(**SIZES))), value)
    with pytest.raises(UnsupportedModel, match="its embeddings are zero, constant, or too small"):
        cm.load(model).anatomy()


# Numbers -------------------------------------------------------------------------------------------------------------


@each_way
@pytest.mark.parametrize("make", [untrained, lambda family: build(family, HEADS[family])], ids=["untrained", "vivid"])
@each_family
def test_every_method_gives_finite_numbers_or_says_why_not(family: str, make: Any, value: float):
    traced, given = cm.load(flattened(make(family), value)), 0
    for name in METHODS:
        try:
            found = traced.explain({"input_ids": IDS}, name)
        except ContextMixError:
            continue
        assert np.isfinite(found.values).all(), name
        given += 1
    assert given >= 20


@each_way
def test_attention_without_a_difference_is_spread_evenly(value: float):
    model = flattened(untrained("gpt2"), value)
    found = cm.load(model).explain({"input_ids": IDS}, "attention", layers="all")
    evenly = np.tril(np.ones((5, 5))) / np.arange(1, 6)[:, None]
    np.testing.assert_allclose(found.values, np.stack([evenly] * 2), rtol=1e-6)


@cache
def _by_hand(value: float) -> np.ndarray:
    """‖Σ_h α^h_ij · f^h(x_j)‖ of GPT-2, from what the plain model gives out and its own weights."""
    model = flattened(build("gpt2", attn_implementation="eager").double(), value)
    with torch.no_grad():
        run = model(IDS[None], output_attentions=True, output_hidden_states=True)
        maps = []
        for block, states, weights in zip(model.h, run.hidden_states, run.attentions, strict=False):
            made = block.attn.c_attn(block.ln_1(states))[0, :, 32:].view(5, 2, 8)
            moved = torch.stack([made[:, h] @ block.attn.c_proj.weight[8 * h : 8 * h + 8] for h in range(2)])
            maps.append(torch.einsum("hij,hjd->ijd", weights[0], moved).norm(dim=-1))
    return torch.stack(maps).numpy()


@each_way
def test_the_norms_of_gpt2_are_those_by_hand(value: float):
    model = flattened(build("gpt2").double(), value)
    found = cm.load(model).explain({"input_ids": IDS}, "norm", layers="all")
    np.testing.assert_allclose(found.values, _by_hand(value), rtol=1e-10)


def test_a_head_that_may_read_any_of_several_equal_rows_is_not_split():
    traced = cm.load(flattened(build("bert", HEADS["bert"]), 0.5))
    with pytest.raises(UnsupportedModel, match="same vector of 5 tokens, at positions 0, 1, 2, 3, 4"):
        traced.explain({"input_ids": IDS}, "decompx")


def test_scores_that_are_all_zero_are_called_that():
    with pytest.raises(UnsupportedModel, match="Every score of the model is zero"):
        cm.load(flattened(untrained("gpt2"), 0.0)).explain({"input_ids": IDS}, "decompx")

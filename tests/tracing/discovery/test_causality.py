"""Which models look ahead, found by looking."""

import pytest
import torch
from tests.methods.speakers import CAUSAL, IDS, MASKED, speaker
from tests.tracing.tiny import build, hook_count, settings

import contextmix as cm
from contextmix.tracing.discovery.causality import is_causal


@pytest.mark.parametrize("family", [*CAUSAL, *MASKED])
def test_decoders_look_back_and_encoders_everywhere(family: str):
    assert is_causal(speaker(family), {"input_ids": IDS[None]}) == (family in CAUSAL)


def test_a_bert_that_was_made_a_decoder_is_one():
    model = build("bert", "LMHeadModel", is_decoder=True)
    assert cm.load(model).is_causal
    assert cm.load(model).usual_query == -1
    assert cm.load("demo").usual_query == 0


def test_one_layer_that_looks_ahead_is_enough():
    model = build("llama")
    last = model.layers[-1].self_attn
    inner = last.forward
    last.forward = lambda *args, **kwargs: inner(*args, **{**kwargs, "attention_mask": None})
    assert not is_causal(model, {"input_ids": IDS[None]})


def test_the_model_stays_as_it_was():
    model = build("llama").train()
    before = settings(model)
    is_causal(model, {"input_ids": torch.tensor([[5, 6, 7]])})
    assert settings(model) == before
    assert hook_count(model) == 0
    assert model.training

"""Greedy generation against the likeliest token of one plain run after another, for both kinds of model."""

from functools import partial

import pytest
import torch
from tests.methods.speakers import IDS, speaker
from tests.models.two_stacks.models import build, source
from transformers import GenerationMixin

from contextmix.tracing.runs.greedy import greedily


def likeliest(run, ids: list[int], count: int) -> list[int]:
    """Token after token by hand, until the end token."""
    for _ in range(count):
        with torch.no_grad():
            ids = [*ids, int(run(torch.tensor([ids])).logits[0, -1].argmax())]
        if ids[-1] == 2:
            break
    return ids


@pytest.fixture(params=["llama", "bart", "whisper"])
def case(request):
    """A model, what it reads, and its likeliest six tokens after what it begins with."""
    if request.param == "llama":
        model = speaker("llama")
        return model, {"input_ids": IDS[None]}, likeliest(lambda ids: model(ids), IDS.tolist(), 6)
    model, inputs = build(request.param), source(request.param)
    return model, inputs, likeliest(lambda ids: model(**inputs, decoder_input_ids=ids, use_cache=False), [2], 6)


def test_it_is_neither_sampled_nor_found_with_beams_and_the_model_stays_as_it_was(case):
    model, inputs, expected = case
    settings = {"do_sample": True, "temperature": 0.1, "num_beams": 3, "max_length": 3, "max_new_tokens": 1}
    model.generation_config.update(**settings, return_dict_in_generate=True)
    before = model.generation_config.to_dict()
    model.train()
    common = partial(GenerationMixin.generate, model)
    assert greedily(common, model, inputs, 6) == greedily(common, model, inputs, 6) == expected
    assert model.generation_config.to_dict() == before
    assert model.training


def test_the_rules_of_the_model_hold_but_for_those_given(case):
    model, inputs, expected = case
    common, first = partial(GenerationMixin.generate, model), expected[-6]
    model.generation_config.suppress_tokens = [first]
    assert first not in greedily(common, model, inputs, 1)[-1:]
    assert greedily(common, model, inputs, 6, suppress_tokens=[]) == expected


def test_an_id_of_padding_is_read_like_any_other():
    model = speaker("llama")
    ids = [*IDS.tolist(), 0, 7]
    model.generation_config.pad_token_id = 0
    found = greedily(model.generate, model, {"input_ids": torch.tensor([ids])}, 4)
    assert found == likeliest(lambda ids: model(ids), ids, 4)


def test_the_generation_that_was_given_is_asked():
    model, asked = speaker("llama"), []

    def generate(**options):
        asked.append(options)
        return torch.tensor([[3, 4]])

    assert greedily(generate, model, {"input_ids": IDS[None]}, 9) == [3, 4]
    (options,) = asked
    assert (options["generation_config"].max_new_tokens, options["generation_config"].max_length) == (9, None)
    assert bool(options["attention_mask"].all())

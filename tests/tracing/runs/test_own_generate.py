"""What a model writes by itself, against its own ``generate`` and against one plain run after another."""

import pytest
import torch
from tests.methods.speakers import IDS, speaker
from tests.models.two_stacks.models import (
    ENGLISH,
    GERMAN,
    NO_TIMES,
    START,
    TRANSCRIBE,
    TRANSLATE,
    bilingual,
    build,
    source,
)
from transformers import LlamaForCausalLM

from contextmix.errors import BadInput, BadOption
from contextmix.tracing.runs.own_generate import own_writing


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


def written(model, inputs, count, **settings):
    return own_writing(model, inputs, count, settings).ids


def test_it_is_not_sampled_and_the_model_stays_as_it_was(case):
    model, inputs, expected = case
    settings = {"do_sample": True, "temperature": 0.1, "max_length": 3, "max_new_tokens": 1, "num_return_sequences": 2}
    model.generation_config.update(**settings, return_dict_in_generate=True)
    before = model.generation_config.to_dict()
    model.train()
    first, second = (own_writing(model, inputs, 6) for _ in range(2))
    assert first.ids == second.ids == expected
    assert first.left_out == {"do_sample": True, "num_return_sequences": 2}
    assert (first.settings["do_sample"], first.settings["num_beams"]) == (False, 1)
    assert model.generation_config.to_dict() == before
    assert model.training


def test_sampling_that_is_asked_for_is_that_of_the_model(case):
    model, inputs, _ = case
    asked = {"do_sample": True, "top_k": 0, "temperature": 5.0}
    torch.manual_seed(3)
    found = own_writing(model, inputs, 6, asked)
    torch.manual_seed(3)
    assert found.ids == written(model, inputs, 6, **asked)
    assert (found.left_out, found.settings["temperature"]) == ({}, 5.0)
    assert len({tuple(written(model, inputs, 6, **asked)) for _ in range(5)}) > 1


def test_beams_of_the_models_own_settings_are_followed(case):
    model, inputs, greedy = case
    model.generation_config.update(num_beams=5, length_penalty=3.0, early_stopping=True)
    found = own_writing(model, inputs, 6)
    more = {"attention_mask": torch.ones_like(inputs["input_ids"])} if "input_ids" in inputs else {}
    own = model.generate(**inputs, **more, max_new_tokens=6, return_dict_in_generate=True)
    assert found.ids == own["sequences"][0].tolist()
    assert (found.settings["num_beams"], found.left_out) == (5, {})
    assert written(model, inputs, 6, num_beams=1) == greedy


def test_the_rules_of_the_model_hold_but_for_those_given(case):
    model, inputs, expected = case
    first = expected[-6]
    model.generation_config.suppress_tokens = [first]
    assert first not in written(model, inputs, 1)[-1:]
    assert written(model, inputs, 6, suppress_tokens=[]) == expected


def test_an_id_of_padding_is_read_like_any_other():
    model = speaker("llama")
    ids = [*IDS.tolist(), 0, 7]
    model.generation_config.pad_token_id = 0
    found = written(model, {"input_ids": torch.tensor([ids])}, 4)
    assert found == likeliest(lambda ids: model(ids), ids, 4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_length": 9}, "max_length of the generation is not free: say max_new_tokens"),
        ({"num_return_sequences": 2}, "one output is explained at a time"),
        ({"bad_words_ids": object()}, "is a object, which cannot be written down"),
        ({"temperature": float("nan")}, "cannot be written down"),
        ({"num_beams": -1}, "does not write with these settings .*num_beams=-1"),
        ({"languag": "en"}, "does not write with these settings .*languag"),
        (["en"], "are a mapping"),
    ],
    ids=lambda value: str(value).split(" at 0x")[0],
)
def test_settings_that_cannot_be_followed_are_refused(settings, said):
    with pytest.raises(BadOption, match=said):
        own_writing(build("bart"), source("bart"), 3, settings)


def window(*ids: int) -> dict:
    """A part of a sound, with what was written of the window that it lies in, as Whisper gives it."""
    return {"result": {"sequences": torch.tensor(ids)}}


def writing(gives) -> LlamaForCausalLM:
    """A model whose class has a generation of its own."""

    class Own(LlamaForCausalLM):
        def generate(self, generation_config=None, **inputs):
            return gives

    return Own(speaker("llama").config)


@pytest.mark.parametrize(
    ("gives", "why"),
    [
        (torch.rand(1, 4), " with these"),  # a sound
        (torch.ones(1, 2, 4, dtype=torch.long), " with these"),  # several rows of one input
        ({"sequences": [[1, 2]]}, " with these"),
        ({"segments": [[window(1, 2), window(1, 3)]]}, r".*\(it read the sound in several windows\)"),
        ({"segments": [[]]}, r".*\(it read the sound in several windows\)"),
    ],
)
def test_what_is_no_single_sequence_of_tokens_is_refused(gives, why):
    with pytest.raises(BadInput, match=f"Own writes no single sequence of tokens{why}"):
        written(writing(gives), {"input_ids": IDS[None]}, 4)


@pytest.mark.parametrize(
    "gives", [torch.tensor([[1, 2]]), {"sequences": torch.tensor([[1, 2]])}, {"segments": [[window(1, 2)] * 2]}]
)
def test_one_sequence_is_found_in_whatever_a_class_gives(gives):
    assert written(writing(gives), {"input_ids": IDS[None]}, 4) == [1, 2]


# Whisper -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def whisper():
    return bilingual()


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_whisper_writes_what_its_own_generate_does_in_this_language_and_task(whisper, language, task):
    given = {"language": language, "task": task}
    found = own_writing(whisper, source("whisper"), 5, given)
    own = whisper.generate(**source("whisper"), **given, max_new_tokens=5, return_dict_in_generate=True)
    assert found.ids == own["sequences"][0].tolist()
    marks = [{"en": ENGLISH, "de": GERMAN}[language], {"transcribe": TRANSCRIBE, "translate": TRANSLATE}[task]]
    assert found.ids[:4] == [START, *marks, NO_TIMES]
    assert len(found.ids) == 9
    assert {name: found.settings[name] for name in given} == given


def test_whisper_finds_the_language_where_none_is_given(whisper):
    found = own_writing(whisper, source("whisper"), 5)
    own = whisper.generate(**source("whisper"), max_new_tokens=5, return_dict_in_generate=True)
    assert found.ids == own["sequences"][0].tolist()
    assert found.ids[1] in (ENGLISH, GERMAN)


def test_a_language_that_whisper_does_not_know_is_refused(whisper):
    with pytest.raises(BadOption, match=r"WhisperForConditionalGeneration does not write with .*language='xx'"):
        own_writing(whisper, source("whisper"), 5, {"language": "xx"})

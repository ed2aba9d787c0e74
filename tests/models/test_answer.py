"""Answers of the built-in model and of tiny ones, explained end to end."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.methods.speakers import speaker
from tests.models.two_stacks.models import build as two_stacks
from tests.tokens.texts import visible_texts
from tests.tracing.inputs.chatting import TEMPLATES, chatty
from tests.tracing.tiny import build, one_thread

import contextmix as cm
from contextmix.errors import BadInput, BadOption, SourcesDoNotFit, UnknownName, UnsupportedModel
from contextmix.options.answering import METHOD_OF_ANSWERS
from contextmix.plugins.plan import METHODS

TEXTS = ["Tom had a big dog. The sun was hot.", "Lily had a red ball."]
QUESTION = "Lily wanted to play with her"


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def stories() -> cm.TracedModel:
    return cm.load("demo-decoder")


@pytest.fixture(scope="module")
def found(stories) -> cm.Answer:
    return stories.explain_answer(QUESTION, TEXTS, max_new_tokens=12, dependence=True)


def chatting(template: str = "headers", limit: int = 10**9) -> cm.TracedModel:
    """A tiny model with a chat template."""
    tokenizer = chatty(template, limit)
    return cm.load(build("llama", "ForCausalLM", vocab_size=len(tokenizer), max_position_embeddings=2048), tokenizer)


def test_a_story_goes_on_and_each_sentence_has_its_sources(found):
    assert found.text == " ball. She wanted to play with the ball"
    assert [one.text for one in found.units] == ["ball.", "She wanted to play with the ball"]
    assert [(one.text, one.document) for one in found.sources] == [
        ("Tom had a big dog.", 0),
        ("The sun was hot.", 0),
        ("Lily had a red ball.", 1),
    ]
    assert found.prompt == "\n\n".join([*TEXTS, QUESTION])
    assert found.top(0, 1)[0].text == "Lily had a red ball."
    assert found.provenance.notes["answer"] == {"by": "the model", "stopped": "max_new_tokens", "template": "plain"}
    assert len(found.probabilities) == 12


def test_the_numbers_are_those_of_the_generation(stories, found):
    whole = stories.explain_generation(found.prompt, METHOD_OF_ANSWERS, max_new_tokens=12)
    np.testing.assert_array_equal(found.token_map.values, whole.values)
    assert found.probabilities == tuple(whole.provenance.notes["generation"]["probabilities"])
    spans = [found.passages[one.document].place(one.span) for one in found.sources]
    columns = [
        [place for place, span in enumerate(whole.tokens.spans) if span and span[0] < stop and span[1] > start]
        for start, stop in spans
    ]
    expected = [
        [whole.values[:3][:, own].sum() for own in columns],
        [whole.values[3:][:, own].sum() for own in columns],
    ]
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)


def test_another_cut_costs_no_run(found, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "__call__", None)
    again = found.by("word", "whole")
    np.testing.assert_allclose(again.values.sum() + again.elsewhere.sum(), found.token_map.values.sum(), rtol=1e-6)


def test_a_given_answer_is_explained(stories):
    found = stories.explain_answer(QUESTION, TEXTS, "big dog.", units="word")
    assert (found.text, [one.text for one in found.units]) == ("big dog.", ["big", "dog."])
    assert found.token_map.tokens.text.endswith("with her big dog.")
    assert found.provenance.notes["answer"]["by"] == "given"
    assert found.top("dog.", 1)[0].text == "Tom had a big dog."
    spaced = stories.explain_answer(QUESTION, TEXTS, " big dog.", units="word")
    assert spaced.text == " big dog."
    np.testing.assert_array_equal(spaced.values, found.values)


def test_east_asian_answers_and_whole_prompts_get_no_space(stories):
    assert stories.explain_answer("q:", ["a"], "雨", method="attention").token_map.tokens.text.endswith("q:雨")
    found = stories.explain_answer("Tom ran. She", [(0, 8)], "s", method="attention")
    assert found.token_map.tokens.text == "Tom ran. Shes"


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_gives_an_answer(method):
    model = cm.load(speaker("llama", vocab_size=400, max_position_embeddings=256), chatty("chatml"))
    try:
        model.explain_generation("Who?", method, continuation=" The film.")
    except UnsupportedModel as refusal:
        with pytest.raises(UnsupportedModel, match=re.escape(str(refusal))[:60]):
            model.explain_answer("Who?", ["A deep film. Bad."], "The film.", method=method)
        return
    found = model.explain_answer("Who?", ["A deep film. Bad."], "The film.", method=method)
    assert found.values.shape == (1, 2)
    assert found.rows == ("sum" if hasattr(METHODS[method], "attribute") else "mean")
    assert np.isfinite(found.values).all()
    assert found.shares.sum() + found.shares_elsewhere.sum() == pytest.approx(1)


def test_layers_and_heads_are_averaged():
    model = cm.load(speaker("llama", vocab_size=400, max_position_embeddings=256), chatty("chatml"))
    found = model.explain_answer("Who?", ["A deep film. Bad."], "The film.", method="attention", heads="each")
    assert found.provenance.notes["joined"] == {"layer": "mean", "head": "mean"}
    # rows of attention sum to one, whatever they are averaged over
    np.testing.assert_allclose(found.values.sum(1) + found.elsewhere.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_chat_template_places_the_texts_with_one_start_token(template):
    model = chatting(template)
    found = model.explain_answer("Who has it?", ["Tom has a dog.", "Ann has a cat."], "Tom.", method="attention")
    assert found.token_map.tokens.pieces.count("<s>") == (0 if template == "chatml" else 1)
    assert found.provenance.notes["answer"]["template"] == "chat"
    assert found.prompt[slice(*found.question)] == "Who has it?"
    assert [
        found.prompt[slice(*found.passages[one.document].place(one.span))] for one in found.sources
    ] == TEXTS_OF_CHAT


TEXTS_OF_CHAT = ["Tom has a dog.", "Ann has a cat."]


def test_messages_and_marked_prompts():
    model = chatting()
    messages = [{"role": "system", "content": "Tom has a dog."}, {"role": "user", "content": "Who?"}]
    found = model.explain_answer(messages, answer="Tom.", method="attention", dependence=True)
    assert [one.text for one in found.sources] == ["Tom has a dog."]
    assert found.passages[0].name == "system"
    prompt = "Tom has a dog. Who? "
    marked = model.explain_answer(prompt, [(0, 14)], "Tom.", method="attention", sources="document")
    assert (marked.prompt, [one.text for one in marked.sources], marked.question) == (prompt, ["Tom has a dog."], None)


@settings(max_examples=40)
@given(st.lists(visible_texts, min_size=1, max_size=2), visible_texts, visible_texts, st.data())
def test_random_texts_are_slices_on_both_sides(context, question, answer, data):
    template = data.draw(st.sampled_from(["chatml", "brackets", "plain"]))
    by, units = (data.draw(st.sampled_from(["token", "word", "sentence", "line", 3])) for _ in "ab")
    model = MODELS[template]
    try:
        found = model.explain_answer(question, context, answer, sources=by, units=units, method="attention")
    except BadInput as refusal:  # a token of prompt and answer, or one of signs that no token holds
        if not re.search("changes the last tokens of the prompt|holds no token", str(refusal)):
            raise
        return
    assert found.text == answer
    assert all(answer[slice(*one.span)] == one.text for one in found.units)
    for one in found.sources:
        passage = found.passages[one.document]
        assert context[one.document][slice(*one.span)] == one.text == found.prompt[slice(*passage.place(one.span))]
    assert len(found.sources) > 0
    np.testing.assert_allclose(found.values.sum(1) + found.elsewhere.sum(1), 1, rtol=1e-5)


MODELS = {name: chatting(name) for name in ("chatml", "brackets", "plain")}
MODELS["plain"].tokenizer.chat_template = None


def test_what_depends_on_the_context(stories, found):
    """Against both distributions, taken from the model by hand."""
    ids = list(found.token_map.tokens.ids)
    said = ids[-12:]
    with torch.no_grad():
        whole = stories.model(torch.tensor([ids])).logits[0, -13:-1].double().log_softmax(-1)
        bare = stories.tokenizer(QUESTION)["input_ids"]
        alone = stories.model(torch.tensor([bare + said])).logits[0, -13:-1].double().log_softmax(-1)
    expected = (whole.exp() * (whole - alone)).sum(-1)
    np.testing.assert_allclose(found.dependence, expected, rtol=1e-4, atol=1e-6)
    assert found.tokens()["dependence"].tolist() == list(found.dependence)
    assert stories.explain_answer(QUESTION, TEXTS, "dog").dependence is None


def test_nothing_depends_on_a_prompt_of_sources_alone(stories):
    with pytest.raises(BadInput, match="Without the sources nothing remains"):
        stories.explain_answer("Once upon a time", dependence=True, max_new_tokens=2)


def test_an_answer_says_what_ended_it():
    model = chatting()
    found = model.explain_answer("Who?", ["Tom."], max_new_tokens=3, method="attention", units="token")
    assert found.provenance.notes["answer"]["stopped"] == "max_new_tokens"
    last = found.token_map.tokens.ids[-1]
    model.model.generation_config.eos_token_id = [last]
    ended = model.explain_answer("Who?", ["Tom."], max_new_tokens=9, method="attention", units="token")
    assert ended.provenance.notes["answer"]["stopped"] == "its end token"


def test_special_tokens_of_an_answer_count_as_written():
    model = chatting()
    ids = model.explain_answer(
        "Who?", ["Tom."], max_new_tokens=4, method="attention", units="token"
    ).token_map.tokens.ids
    mark = next(number for number in ids[-4:] if ids[-4:].count(number) < 4)
    model.tokenizer.add_special_tokens({"additional_special_tokens": [model.tokenizer.convert_ids_to_tokens(mark)]})
    found = model.explain_answer("Who?", ["Tom."], max_new_tokens=4, method="attention", units="token")
    assert found.tokens()["start"].isna().any()
    assert found.provenance.notes["answer"]["stopped"] == "max_new_tokens"


def test_settings_of_the_generation_are_the_models_own(stories):
    found = stories.explain_answer(
        QUESTION, TEXTS, max_new_tokens=4, method="attention", generation={"repetition_penalty": 1.5}
    )
    assert found.provenance.notes["generation"]["settings"]["repetition_penalty"] == 1.5


LONG = ["One. Two. Three.", "Four. Five.", "Six."]


def test_a_context_that_does_not_fit_names_what_would_be_cut():
    model = chatting("chatml", limit=100)
    with pytest.raises(
        SourcesDoNotFit, match=r"reads at most 100\. The first 4 of 6 sources fit; these would be dropped: 4 '"
    ) as refusal:
        model.explain_answer("Who?", LONG, max_new_tokens=20, method="attention")
    assert "4 'Five.', 5 'Six.'" in str(refusal.value)
    found = model.explain_answer("Who?", LONG, max_new_tokens=20, method="attention", truncate=True, units="token")
    assert [one.text for one in found.sources] == ["One.", "Two.", "Three.", "Four."]
    assert [(one.text, one.document, one.start) for one in found.cut] == [("Five.", 1, 6), ("Six.", 2, 0)]
    assert "Four.\n\nWho?" in found.prompt
    assert LONG[1][6:11] == "Five."
    again = found.by("document", "token")
    assert [one.text for one in again.sources] == [
        "One. Two. Three."
    ]  # a document of which a part was cut is not whole
    given = model.explain_answer("Who?", LONG, "Tom. " * 3, method="attention", truncate=True)
    assert len(given.cut) > 0


def test_the_last_token_of_an_answer_need_not_be_read():
    ids = chatting("chatml").explain_answer("Who?", LONG, "Tom.", method="attention").token_map.tokens.ids
    fits = chatting("chatml", limit=len(ids) - 1)
    assert fits.explain_answer("Who?", LONG, "Tom.", method="attention").cut == ()
    with pytest.raises(SourcesDoNotFit, match="The first 5 of 6 sources fit"):
        chatting("chatml", limit=len(ids) - 2).explain_answer("Who?", LONG, "Tom.", method="attention")


def test_what_does_not_fit_at_all_is_refused():
    model = chatting("chatml", limit=90)
    with pytest.raises(SourcesDoNotFit, match="Not even one source fits"):
        model.explain_answer("Who?", LONG, "Tom. " * 40, method="attention", truncate=True)
    with pytest.raises(SourcesDoNotFit, match="without separate sources is not truncated"):
        model.explain_answer("Tom. " * 40, [(0, 4)], max_new_tokens=5, method="attention", truncate=True)
    chat = [{"role": "user", "content": "Tom. " * 40}, {"role": "user", "content": "Who?"}]
    with pytest.raises(SourcesDoNotFit, match="without separate sources is not truncated"):
        model.explain_answer(chat, max_new_tokens=5, method="attention", truncate=True)


REFUSED = {
    "no context": ({"context": []}, BadInput, "holds no text"),
    "an empty source": ({"context": ["a", " "]}, BadInput, "Text 1 of the context is empty"),
    "overlapping sources": ({"sources": [(0, 0, 9), (0, 3, 12)]}, BadInput, "overlap"),
    "a source outside": ({"sources": [(1, 0, 900)]}, BadInput, "does not lie within the text of 20 characters"),
    "overlapping units": ({"answer": "red ball", "units": [(0, 4), (2, 5)]}, BadInput, "overlap"),
    "a unit outside": ({"answer": "red ball", "units": [(4, 9)]}, BadInput, "does not lie within the text of 8"),
    "no such cut": ({"sources": "chapter"}, BadOption, "not cut by 'chapter'"),
    "an answer of nothing": ({"answer": " \n"}, BadInput, "no token of it can have a source"),
    "no such option": ({"truncated": True}, UnknownName, "no option"),
    "no such template": ({"template": "mine"}, BadOption, "is none of chat, plain"),
    "messages without a template": ({"question": [{"role": "user", "content": "a"}]}, BadInput, "has no template"),
    "settings of what is given": ({"answer": "a", "generation": {"num_beams": 2}}, BadOption, "nothing is generated"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(stories, case):
    changes, error, why = REFUSED[case]
    with pytest.raises(error, match=why):
        stories.explain_answer(**{"question": QUESTION, "context": TEXTS, "max_new_tokens": 3, **changes})


def test_an_answer_that_the_template_alters_is_refused():
    with pytest.raises(BadInput, match=r"changes the answer ' Tom'.*Give it as 'Tom'\."):
        chatting("headers").explain_answer("Who?", ["Tom."], " Tom", method="attention")


def test_a_model_that_ends_at_once_says_nothing():
    model = chatting()
    spoken = model.explain_answer("Who?", ["Tom."], max_new_tokens=1, method="attention", units="token")
    model.tokenizer.add_special_tokens(
        {"additional_special_tokens": [model.tokenizer.convert_ids_to_tokens(spoken.token_map.tokens.ids[-1])]}
    )
    with pytest.raises(BadInput, match="contains no text"):
        model.explain_answer("Who?", ["Tom."], max_new_tokens=1, method="attention")


def test_other_models_are_refused():
    with pytest.raises(UnsupportedModel, match="does not generate text"):
        cm.load("demo").explain_answer("Who?", ["Tom."])
    with pytest.raises(UnsupportedModel, match="BartForConditionalGeneration is an encoder–decoder"):
        cm.load(two_stacks("bart").float(), chatty()).explain_answer("Who?", ["Tom."])
    with pytest.raises(BadInput, match="without a tokenizer"):
        cm.load(speaker("llama")).explain_answer("Who?", ["Tom."])

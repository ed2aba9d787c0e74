"""What an answer loses without a source, against the plain model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.models.two_stacks.models import build as two_stacks

import contextmix as cm
from contextmix.errors import BadInput, BadOption, NotInVocabulary, UnknownName, UnsupportedModel
from contextmix.models.answer_ablation import sourced_answer, units_of

QUESTION = "Lily wanted to play with her"
TEXTS = ["Tom had a big dog. He ran.", "Lily had a red ball. She loved it."]


@pytest.fixture(scope="module")
def stories() -> cm.TracedModel:
    return cm.load("demo-decoder")


@pytest.fixture(scope="module")
def answer(stories) -> cm.Answer:
    return stories.explain_answer(QUESTION, TEXTS, max_new_tokens=6, units="whole")


def log_probability(model: cm.TracedModel, prompt: str, ids: tuple[int, ...]) -> float:
    """Of an answer behind a prompt, token by token, by the plain model."""
    read = model.tokenizer(prompt)["input_ids"]
    total = 0.0
    for number in ids:
        with torch.no_grad():
            logits = model.model(input_ids=torch.tensor([read])).logits[0, -1]
        total += float(logits.double().log_softmax(-1)[number])
        read = [*read, number]
    return total


def test_a_deleted_source_is_a_prompt_without_its_text(stories, answer):
    found = stories.ablate(answer, away="deleted")
    said = answer.token_map.query_tokens.ids
    whole = log_probability(stories, answer.prompt, said)
    lefts = [
        answer.prompt.replace("Tom had a big dog. ", ""),
        answer.prompt.replace(" He ran.", ""),
        answer.prompt.replace("Lily had a red ball. ", ""),
        answer.prompt.replace(" She loved it.", ""),
    ]
    read = [sourced_answer(stories, answer).prompt(np.arange(4) != gone) for gone in range(4)]
    texts = [stories.tokenizer.decode(ids, skip_special_tokens=True).split() for ids in read]
    assert texts == [left.split() for left in lefts]
    wanted = [
        whole - log_probability(stories, stories.tokenizer.decode(ids, skip_special_tokens=True), said) for ids in read
    ]
    np.testing.assert_allclose(found.values[0], wanted, atol=1e-4)
    assert found.passes == 5


def test_the_sources_hold_their_own_tokens_and_the_units_theirs(stories, answer):
    sourced, tokens = sourced_answer(stories, answer), answer.token_map.tokens
    for source, places in zip(answer.sources, sourced.sources, strict=True):
        spelled = "".join(tokens.pieces[place] for place in places)
        assert spelled.split() == source.text.split()
    by_word = answer.by(units="word")
    for unit, where in zip(by_word.units, units_of(by_word), strict=True):
        assert "".join(answer.token_map.query_tokens.pieces[where]).strip() == unit.text.strip()


def test_units_share_their_passes_and_add_up(stories, answer):
    whole = stories.ablate(answer).values[0]
    parts = stories.ablate(answer.by(units="token"))
    assert parts.passes == 5
    np.testing.assert_allclose(parts.values.sum(0), whole, atol=1e-5)


@pytest.mark.parametrize("method", ["source_occlusion", "source_value_zeroing", "context_cite", "source_surrogate"])
def test_the_source_that_holds_the_ball_is_found(stories, answer, method):
    if method == "context_cite":
        pytest.importorskip("sklearn")
    found = stories.ablate(answer, method, masks=16)
    assert found.values.shape == (1, 4)
    assert found.values[0].argmax() == 2
    if method in ("context_cite", "source_surrogate"):
        assert found.held_out_lds[0] > 0.5


def test_other_models_and_other_answers_are_refused(stories, answer):
    with pytest.raises(TypeError, match="ablate: answer must be Answer; got str"):
        stories.ablate(answer.text)
    with pytest.raises(UnsupportedModel, match="does not generate text"):
        cm.load("demo").ablate(answer)
    with pytest.raises(UnsupportedModel, match="is an encoder–decoder"):
        cm.load(two_stacks("bart"), stories.tokenizer).ablate(answer)
    tokens = answer.token_map.tokens
    ids = (*tokens.ids[:-1], 10**6)
    new = replace(answer.token_map.query_tokens, ids=ids[-6:])
    other = answer.token_map.derive(tokens=replace(tokens, ids=ids), query_tokens=new)
    with pytest.raises(NotInVocabulary, match="no token with the id 1000000"):
        stories.ablate(replace(answer, token_map=other))


def test_an_answer_longer_than_the_model_reads_is_refused(answer):
    short = cm.load("demo-decoder")
    short.limit = len(answer.token_map.tokens) - 1  # the last token is not read
    assert short.ablate(answer).passes == 5
    short.limit -= 1
    with pytest.raises(BadInput, match="the model reads at most"):
        short.ablate(answer)


@pytest.mark.parametrize(
    "wrong",
    [{"masks": 4097}, {"masks": 0}, {"masks": "many"}, {"seed": -1}, {"seed": 2**70}, {"away": 3}, {"method": None}],
)
def test_numbers_of_masks_are_numbers(stories, answer, wrong):
    with pytest.raises(BadOption, match=next(iter(wrong))):
        stories.ablate(answer, **{"method": "source_surrogate", **wrong})


def test_what_cannot_be_taken_away_is_refused(stories, answer):
    with pytest.raises(UnknownName, match="source_occlusion"):
        stories.ablate(answer, "source_oclusion")
    tokens = answer.token_map.tokens
    others = replace(tokens, ids=(*tokens.ids[:3], tokens.ids[3] + 1, *tokens.ids[4:]))  # as another tokenizer's
    with pytest.raises(BadInput, match="gives different tokens"):
        stories.ablate(replace(answer, token_map=answer.token_map.derive(tokens=others)))

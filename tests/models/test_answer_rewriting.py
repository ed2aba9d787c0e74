"""What a model says without a source, against a plain prompt from which its text was taken by hand."""

from dataclasses import replace

import numpy as np
import pytest

import contextmix as cm
from contextmix.errors import BadInput, BadOption

QUESTION = "Lily wanted to play with her"
TEXTS = ["Tom had a big dog. The sun was hot.", "Lily had a red ball."]


@pytest.fixture(scope="module")
def stories() -> cm.TracedModel:
    return cm.load("demo-decoder")


@pytest.fixture(scope="module")
def answer(stories) -> cm.Answer:
    return stories.explain_answer(QUESTION, TEXTS, max_new_tokens=8, ablate="source_occlusion")


def said(model: cm.TracedModel, prompt: str, most: int, **settings) -> str:
    """What the plain model goes on with."""
    read = model.tokenizer(prompt, return_tensors="pt")
    written = model.model.generate(**read, max_new_tokens=most, do_sample=False, **settings)[0]
    return model.tokenizer.decode(written[read["input_ids"].shape[1] :], skip_special_tokens=True)


def test_the_cited_source_is_deleted_and_the_model_writes_again(stories, answer):
    assert set(answer.losses.says) == set(answer.citations().notes) == {0, 2}
    left = said(stories, f"{TEXTS[0]}\n\n{QUESTION}", 8)
    assert answer.losses.says[2].strip() == left.strip()
    assert answer.losses.own == answer.text
    assert "ball" in answer.text
    assert "ball" not in left


def test_named_sources_are_deleted_each_alone(stories, answer):
    assert list(stories.ablate(answer, rewrite=1).answer.losses.says) == [2]  # the strongest
    found = stories.ablate(answer, rewrite=[1, -1]).answer.losses.says
    assert list(found) == [1, 2]
    assert found[1].strip() == said(stories, f"Tom had a big dog. \n\n{TEXTS[1]}\n\n{QUESTION}", 8).strip()
    assert found[2] == answer.losses.says[2]


def test_the_settings_of_the_answer_are_those_of_the_new_one(stories):
    settings = {"repetition_penalty": 5.0}
    found = stories.explain_answer(
        QUESTION, TEXTS, max_new_tokens=8, generation=settings, ablate="source_occlusion", rewrite=[2]
    )
    text, left = found.losses.says[2], f"{TEXTS[0]}\n\n{QUESTION}"
    assert text.strip() == said(stories, left, 8, **settings).strip()
    assert text.strip() != said(stories, left, 8).strip()  # they matter here, or nothing was tried


def test_a_given_answer_is_compared_with_what_the_model_says_itself(stories):
    found = stories.explain_answer(QUESTION, TEXTS, "big dog.", ablate="source_occlusion", rewrite=[2])
    count = len(found.token_map.query_tokens)
    assert found.losses.own.strip() == said(stories, found.prompt.rstrip(), count).strip()
    assert found.losses.says[2].strip() == said(stories, f"{TEXTS[0]}\n\n{QUESTION}", count).strip()


def test_losses_are_those_of_ablate_whatever_the_cut(stories, answer):
    for units in ("sentence", "word", "whole"):
        other = answer.by(units=units)
        np.testing.assert_allclose(other.lost, stories.ablate(other).values, atol=1e-5)


@pytest.mark.parametrize("method", ["context_cite", "source_surrogate"])
def test_of_surrogates_the_whole_has_a_fit_of_its_own(stories, answer, method):
    if method == "context_cite":
        pytest.importorskip("sklearn")
    scores = stories.ablate(answer, method, masks=16)
    whole = stories.ablate(answer.by(units="whole"), method, masks=16)
    assert scores.values.shape == (len(answer.units), 3)
    np.testing.assert_allclose(scores.answer.by(units="whole").lost, whole.values, atol=1e-9)
    np.testing.assert_allclose(scores.answer.lost, scores.values)
    assert len(scores.held_out_lds) == len(answer.units)
    assert len(whole.answer.losses.parts) == 1


def test_progress_ends_what_nobody_wants(stories):
    told = []

    def progress(done: float, what: str) -> None:
        told.append((done, what))
        if "without source" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stories.explain_answer(QUESTION, TEXTS, max_new_tokens=3, ablate="source_occlusion", progress=progress)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[0] == (0.0, "asking the model and tracing its answer")
    assert "ablation 4 of 4" in [what for _, what in told]


def test_where_nothing_is_left_nothing_is_written(stories):
    alone = stories.explain_answer("Lily had a red", max_new_tokens=2, sources="document")
    assert stories.ablate(alone, rewrite=[0]).answer.losses.says == {}


def test_what_cannot_be_rewritten_is_refused(stories, answer):
    for wrong in (-1, [3], ["Tom"], "two", 1.5):
        with pytest.raises(BadOption, match="rewrite"):
            stories.ablate(answer, rewrite=wrong)
    with pytest.raises(BadOption, match=r"masks=8 says how to remove sources.*ablate="):
        stories.explain_answer(QUESTION, TEXTS, masks=8)
    with pytest.raises(BadOption, match="'source_oclusion' is not one of source_occlusion"):
        stories.explain_answer(QUESTION, TEXTS, ablate="source_oclusion")
    tokens = answer.token_map.tokens
    others = replace(tokens, ids=(*tokens.ids[:3], tokens.ids[3] + 1, *tokens.ids[4:]))
    with pytest.raises(BadInput, match="gives different tokens"):
        stories.ablate(replace(answer, token_map=answer.token_map.derive(tokens=others)), rewrite=1)


def test_of_a_model_that_thinks_first_the_answers_are_compared_not_the_thoughts():
    texts = ["Tom has the blue kite.", "The key is in the box. The box is in the kitchen."]
    asked = {"max_new_tokens": 40, "ablate": "source_occlusion", "rewrite": [2]}
    found = cm.load("demo-answers").explain_answer("Which room is the key in? Think first.", texts, **asked)
    assert (found.text, found.losses.own) == ("The key is in the kitchen.", "The key is in the kitchen.")
    assert found.losses.says == {2: "I don't know."}

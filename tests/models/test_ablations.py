"""What a model says of an answer without some of its sources, against the model run by hand on what is left."""

import numpy as np
import pytest
import torch
from tests.models.sourced import prompt, sourced

import contextmix as cm
from contextmix.errors import BadInput, BadOption, UnknownName, UnsupportedModel, WrongShape
from contextmix.maths.ablations import one_out
from contextmix.models.ablations import SourcedAnswer, ablations_of


@pytest.fixture(scope="module")
def stories() -> cm.TracedModel:
    return cm.load("demo-decoder")


@pytest.fixture(scope="module")
def answer(stories: cm.TracedModel) -> SourcedAnswer:
    return sourced(stories)


def by_hand(stories, ids, places=None, said: int = 3) -> list[float]:
    """log p of the last tokens, from one plain run."""
    ids = torch.tensor([ids])
    places = None if places is None else torch.tensor([places])
    with torch.no_grad():
        mask = torch.ones_like(ids)
        scores = stories.model(ids, attention_mask=mask, position_ids=places).logits[0].double().log_softmax(-1)
    return [float(scores[place - 1, ids[0, place]]) for place in range(ids.shape[1] - said, ids.shape[1])]


def said(answer: SourcedAnswer) -> int:
    return len(answer.ids) - answer.start


# What is asked -------------------------------------------------------------------------------------------------------


def test_masked_sources_are_dropped_and_the_others_stay_where_they_were(stories, answer):
    masks = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]], bool)
    found = ablations_of(stories, answer, "masked")(masks)
    assert found.shape == (4, said(answer))
    for mask, own in zip(masks, found, strict=True):
        gone = {place for source, here in zip(answer.sources, mask, strict=True) if not here for place in source}
        places = [place for place in range(len(answer.ids)) if place not in gone]
        wanted = by_hand(stories, [answer.ids[place] for place in places], places, said(answer))
        assert own == pytest.approx(wanted, abs=1e-4)


def test_deleted_sources_are_read_anew(stories, answer):
    masks = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 0]], bool)
    found = ablations_of(stories, answer, "deleted")(masks)
    for mask, own in zip(masks, found, strict=True):
        ids = [*stories.encode(prompt(mask))[0].tokens.ids, *answer.ids[answer.start :]]
        assert own == pytest.approx(by_hand(stories, ids, said=said(answer)), abs=1e-4)


def test_ids_are_as_good_as_a_text(stories, answer):
    def ids(kept: np.ndarray) -> tuple[int, ...]:
        return stories.encode(prompt(kept))[0].tokens.ids

    masks, given = one_out(3), SourcedAnswer(answer.ids, answer.start, answer.sources, ids)
    by_ids, by_text = (ablations_of(stories, one, "deleted")(masks) for one in (given, answer))
    assert by_ids == pytest.approx(by_text, abs=1e-12)


def test_every_mask_runs_once_and_progress_is_told(stories, answer):
    told = []
    ask = ablations_of(stories, answer, batch_tokens=1, progress=lambda done, what: told.append((done, what)))
    first = ask(np.array([[1, 1, 1], [0, 1, 1], [1, 1, 1]], bool))
    assert told[-2:] == [(0.5, "ablation 1 of 2"), (1.0, "ablation 2 of 2")]
    assert (first[0] == first[2]).all()
    count = len(told)
    assert (ask(np.array([[0, 1, 1]], bool))[0] == first[1]).all()
    assert (len(told), ask.passes) == (count, 2)


def test_the_token_that_reads_the_answer_stays(stories, answer):
    """Without a question the last source ends where the answer begins."""
    bare = SourcedAnswer(answer.ids, answer.start, (*answer.sources, (answer.start - 2, answer.start - 1)))
    assert bare.tokens_kept(np.zeros((1, 4), bool))[0, answer.start - 2 : answer.start].tolist() == [False, True]
    assert answer.tokens_kept(np.array([[True, False, True]]))[0].nonzero()[:, 0].tolist() == [
        place for place in range(len(answer.ids)) if place not in answer.sources[1]
    ]


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "sources", "match"),
    [
        (6, [(1,)], "at least one token, and one before"),
        (0, [(0,)], "at least one token, and one before"),
        (4, [], "no source"),
        (4, [(1,), ()], "a source has no token"),
        (4, [(1, 2), (2, 3)], "share a token"),
        (4, [(3, 4)], "tokens 3 to 4, and the prompt those from 0 to 3"),
        (4, [(-1, 2)], "tokens -1 to 2"),
    ],
)
def test_sources_that_are_none_are_refused(start, sources, match):
    with pytest.raises(BadInput, match=match):
        SourcedAnswer((1, 2, 3, 4, 5, 6), start, tuple(sources))


def test_what_cannot_be_asked_is_refused(stories, answer):
    ask = ablations_of(stories, answer)
    for masks in (np.ones((2, 4), bool), np.ones((2, 3)), np.ones(3, bool), np.ones((0, 3), bool)):
        with pytest.raises(WrongShape, match=r"Masks of 3 sources are True and False"):
            ask(masks)
    with pytest.raises(UnknownName, match=r"no way to remove a source 'mask'.*'masked'"):
        ablations_of(stories, answer, "mask")
    with pytest.raises(BadInput, match="have 514 tokens, and LlamaForCausalLM reads 512"):
        ablations_of(stories, SourcedAnswer(tuple(range(3, 503)) + tuple(range(3, 17)), 500, ((1, 2),)))
    ablations_of(stories, SourcedAnswer(tuple(range(3, 503)) + tuple(range(3, 16)), 500, ((1, 2),)))
    with pytest.raises(BadOption, match="needs the text that is left"):
        ablations_of(stories, SourcedAnswer(answer.ids, answer.start, answer.sources), "deleted")
    with pytest.raises(UnsupportedModel, match="does not generate text"):
        ablations_of(cm.load("demo"), answer)

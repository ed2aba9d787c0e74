"""Scores of sources from a model that is really asked, against the model run by hand on what is left."""

import math
from functools import partial

import numpy as np
import pytest
import torch

import contextmix as cm
from contextmix.errors import BadInput, BadOption, UnknownName, UnsupportedModel, WrongShape
from contextmix.maths.ablations import answer_log_odds, one_out, random_masks
from contextmix.models import ablations
from contextmix.models.ablations import (
    Asked,
    SourcedAnswer,
    ablations_of,
    explain_sources,
    score_sources,
)

TEXTS = ["Lily had a red ball.", "Tom had a big dog.", "The dog was named Max."]
QUESTION = "Lily and Tom played with Max, the"


@pytest.fixture(scope="module")
def stories() -> cm.TracedModel:
    return cm.load("demo-decoder")


@pytest.fixture(scope="module")
def answer(stories: cm.TracedModel) -> SourcedAnswer:
    """Three sentences, a question behind them, and two words more."""
    tokens = stories.encode(prompt(np.ones(3, bool)))[0].tokens
    whole = stories.encode(prompt(np.ones(3, bool)) + " dog. They")[0].tokens
    ends = [span[1] - 1 if span and span[0] < span[1] else -1 for span in tokens.spans]
    starts = np.cumsum([0, *(len(text) + 1 for text in TEXTS)])
    sources = [
        tuple(place for place, end in enumerate(ends) if first <= end < first + len(text))
        for first, text in zip(starts, TEXTS, strict=False)
    ]
    return SourcedAnswer(whole.ids, len(tokens.ids), tuple(sources), prompt)


def prompt(kept: np.ndarray) -> str:
    return " ".join([*(text for text, here in zip(TEXTS, kept, strict=True) if here), QUESTION])


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


# Scores --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "away"),
    [("source_occlusion", "masked"), ("source_occlusion", "deleted"), ("source_value_zeroing", "zeroed")],
)
def test_the_fall_without_each_source(stories, answer, method, away):
    ask = ablations_of(stories, answer, away)
    whole = ask(np.ones((1, 3), bool))[0]
    units = [slice(0, 1), slice(1, None)]
    found = explain_sources(stories, answer, method, away=away, units=units)
    assert found.values.shape == (2, 3)
    assert found.passes == 4
    for source in range(3):
        fall = whole - ask(np.arange(3)[None] != source)[0]
        assert found.values[:, source] == pytest.approx([fall[:1].sum(), fall[1:].sum()], abs=1e-5)
    assert (found.values != 0).all()


def test_context_cite_fits_each_unit_on_the_same_masks(stories, answer):
    pytest.importorskip("sklearn")
    found = explain_sources(stories, answer, "context_cite", units=[slice(None), slice(0, 1)], asked=Asked(masks=32))
    masks = random_masks(3, 32)
    log_probs = ablations_of(stories, answer, "deleted")(masks)
    for unit, own in zip([slice(None), slice(0, 1)], found.values, strict=True):
        assert own == pytest.approx(ablations.context_cite(masks, log_probs[:, unit]).weights, abs=1e-6)
    assert found.passes <= 8
    assert found.penalties == (0.01, 0.01)


def test_surrogates_print_how_well_they_foresee_what_they_did_not_see():
    """Of a model that is a line in the log-odds they foresee everything, of noise nothing."""
    worth, random = np.array([2.0, 1.0, 0.5, -0.3, 0.1]), np.random.RandomState(0)

    def line(masks: np.ndarray) -> np.ndarray:
        return -np.log1p(np.exp(2 - masks @ worth))[:, None]

    def noise(masks: np.ndarray) -> np.ndarray:
        return -random.rand(len(masks), 1)

    exact = score_sources(line, 5, "source_surrogate", asked=Asked(masks=24, prior=np.ones(5)))
    assert exact.held_out_lds[0] > 0.99
    assert exact.values[0] == pytest.approx(worth, abs=1e-3)
    assert score_sources(noise, 5, "source_surrogate", asked=Asked(masks=24)).held_out_lds[0] < 0.6
    pytest.importorskip("sklearn")
    lasso = score_sources(line, 5, "source_surrogate", asked=Asked(masks=24, penalty="lasso"))
    assert lasso.held_out_lds[0] > 0.9
    assert score_sources(line, 5, "context_cite", asked=Asked(masks=64)).held_out_lds[0] > 0.9


def test_a_prior_of_each_unit_goes_to_its_unit():
    priors = np.random.RandomState(1).rand(2, 10)

    def ask(masks: np.ndarray) -> np.ndarray:
        return np.stack([-np.log1p(np.exp(2 - masks @ prior)) for prior in priors], axis=1)

    units = [slice(0, 1), slice(1, 2)]
    found = score_sources(ask, 10, "source_surrogate", units=units, asked=Asked(masks=6, prior=priors))
    assert found.values == pytest.approx(priors, abs=1e-6)
    other = score_sources(ask, 10, "source_surrogate", units=units, asked=Asked(masks=6, prior=priors[::-1].copy()))
    assert np.abs(other.values - priors).max() > 0.05


def test_held_out_lds_is_that_of_predictions_and_odds():
    masks = random_masks(4, 20, seed=3)
    log_probs = -np.random.RandomState(2).rand(20, 3)
    fit = partial(ablations.prior_surrogate, prior=None)
    predicted = ablations.held_out(fit, masks, log_probs)
    from scipy.stats import spearmanr

    wanted = spearmanr(predicted, answer_log_odds(log_probs))[0]
    assert ablations._unseen_lds(fit, masks, log_probs) == pytest.approx(wanted, abs=1e-9)


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "sources", "match"),
    [
        (6, [(1,)], "at least one token, and one before"),
        (0, [(0,)], "at least one token, and one before"),
        (4, [], "no source"),
        (4, [(1,), ()], "without a token"),
        (4, [(1, 2), (2, 3)], "share a token"),
        (4, [(3, 4)], "tokens 3 to 4, and the prompt those from 0 to 3"),
        (4, [(-1, 2)], "tokens -1 to 2"),
    ],
)
def test_sources_that_are_none_are_refused(start, sources, match):
    with pytest.raises(BadInput, match=match):
        SourcedAnswer((1, 2, 3, 4, 5, 6), start, tuple(sources))


def test_what_cannot_be_asked_is_refused(stories, answer, monkeypatch):
    ask = ablations_of(stories, answer)
    for masks in (np.ones((2, 4), bool), np.ones((2, 3)), np.ones(3, bool), np.ones((0, 3), bool)):
        with pytest.raises(WrongShape, match=r"Masks of 3 sources are True and False"):
            ask(masks)
    with pytest.raises(UnknownName, match=r"no way to take a source away 'mask'.*'masked'"):
        ablations_of(stories, answer, "mask")
    with pytest.raises(BadOption, match="needs the text that is left"):
        ablations_of(stories, SourcedAnswer(answer.ids, answer.start, answer.sources), "deleted")
    with pytest.raises(UnsupportedModel, match="does not go on with a text"):
        ablations_of(cm.load("demo"), answer)
    with pytest.raises(UnknownName, match=r"no method on sources 'contextcite'.*'context_cite'"):
        score_sources(ask, 3, "contextcite")
    with pytest.raises(BadOption, match="masks=3 are too few"):
        score_sources(ask, 3, "source_surrogate", asked=Asked(masks=3))
    with pytest.raises(BadOption, match="does not take sources away as 'zeroed'"):
        explain_sources(stories, answer, "source_occlusion", away="zeroed")
    with pytest.raises(BadOption, match="source_value_zeroing does not take sources away as 'masked'"):
        explain_sources(stories, answer, "source_value_zeroing", away="masked")
    monkeypatch.setattr(ablations, "find_spec", lambda name: None)
    for method, how in (("context_cite", Asked()), ("source_surrogate", Asked(penalty="lasso"))):
        with pytest.raises(BadOption, match=r'pip install "contextmix\[answers\]"'):
            score_sources(ask, 3, method, asked=how)
    assert math.isfinite(score_sources(ask, 3, "source_surrogate").values.sum())  # a ridge needs nothing more

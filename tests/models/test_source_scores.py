"""Scores of sources by ablation, against the numbers that they are made of."""

import math
from functools import partial

import numpy as np
import pytest
from scipy.stats import spearmanr
from tests.models.sourced import sourced

import contextmix as cm
from contextmix.errors import BadOption, UnknownName
from contextmix.maths.ablations import (
    answer_log_odds,
    balanced_masks,
    context_cite,
    held_out,
    prior_surrogate,
    random_masks,
)
from contextmix.models import source_scores
from contextmix.models.ablations import SourcedAnswer, ablations_of
from contextmix.models.source_scores import Fitting, explain_sources, score_sources


@pytest.fixture(scope="module")
def stories() -> cm.TracedModel:
    return cm.load("demo-decoder")


@pytest.fixture(scope="module")
def answer(stories: cm.TracedModel) -> SourcedAnswer:
    return sourced(stories)


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
    units = [slice(None), slice(0, 1)]
    found = explain_sources(stories, answer, "context_cite", units=units, fitting=Fitting(masks=32))
    masks = random_masks(3, 32)
    log_probs = ablations_of(stories, answer, "deleted")(masks)
    for unit, own in zip(units, found.values, strict=True):
        assert own == pytest.approx(context_cite(masks, log_probs[:, unit]).weights, abs=1e-6)
    assert found.passes <= 8
    assert found.penalties == (0.01, 0.01)


def test_surrogates_print_how_well_they_foresee_what_they_did_not_see():
    """Of a model that is a line in the log-odds they foresee everything, of noise nothing."""
    worth, random = np.array([2.0, 1.0, 0.5, -0.3, 0.1]), np.random.RandomState(0)

    def line(masks: np.ndarray) -> np.ndarray:
        return -np.log1p(np.exp(2 - masks @ worth))[:, None]

    def noise(masks: np.ndarray) -> np.ndarray:
        return -random.rand(len(masks), 1)

    exact = score_sources(line, 5, "source_surrogate", fitting=Fitting(masks=24, prior=np.ones(5)))
    assert exact.held_out_lds[0] > 0.99
    assert exact.values[0] == pytest.approx(slope_of(worth, 24) * worth, abs=1e-3)
    assert score_sources(noise, 5, "source_surrogate", fitting=Fitting(masks=24)).held_out_lds[0] < 0.6
    pytest.importorskip("sklearn")
    lasso = score_sources(line, 5, "source_surrogate", fitting=Fitting(masks=24, penalty="lasso"))
    assert lasso.held_out_lds[0] > 0.9
    assert score_sources(line, 5, "context_cite", fitting=Fitting(masks=64)).held_out_lds[0] > 0.9


def slope_of(worth: np.ndarray, count: int) -> float:
    """∂ log p / ∂ log-odds where these are the mean of −2 + worth·v over the masks that a surrogate draws."""
    middle = float((balanced_masks(len(worth), count, 0) @ worth).mean()) - 2
    return 1 / (1 + math.exp(middle))


def test_a_prior_of_each_unit_goes_to_its_unit():
    priors = np.random.RandomState(1).rand(2, 10)

    def ask(masks: np.ndarray) -> np.ndarray:
        return np.stack([-np.log1p(np.exp(2 - masks @ prior)) for prior in priors], axis=1)

    units = [slice(0, 1), slice(1, 2)]
    found = score_sources(ask, 10, "source_surrogate", units=units, fitting=Fitting(masks=6, prior=priors))
    slopes = np.array([[slope_of(prior, 6)] for prior in priors])
    assert found.values == pytest.approx(slopes * priors, abs=1e-6)
    other = score_sources(ask, 10, "source_surrogate", units=units, fitting=Fitting(masks=6, prior=priors[::-1].copy()))
    assert np.abs(other.values / slopes - priors).max() > 0.05


def test_held_out_lds_is_that_of_predictions_and_odds():
    masks = random_masks(4, 20, seed=3)
    log_probs = -np.random.RandomState(2).rand(20, 3)
    fit = partial(prior_surrogate, prior=None)
    predicted = held_out(fit, masks, log_probs)
    wanted = spearmanr(predicted, answer_log_odds(log_probs))[0]
    assert source_scores._unseen_lds(fit, masks, log_probs) == pytest.approx(wanted, abs=1e-9)


def test_what_cannot_be_scored_is_refused(stories, answer, monkeypatch):
    ask = ablations_of(stories, answer)
    with pytest.raises(UnknownName, match=r"no method on sources 'contextcite'.*'context_cite'"):
        score_sources(ask, 3, "contextcite")
    with pytest.raises(BadOption, match="masks=3 is too few"):
        score_sources(ask, 3, "source_surrogate", fitting=Fitting(masks=3))
    with pytest.raises(BadOption, match="does not take sources away as 'zeroed'"):
        explain_sources(stories, answer, "source_occlusion", away="zeroed")
    with pytest.raises(BadOption, match="source_value_zeroing does not take sources away as 'masked'"):
        explain_sources(stories, answer, "source_value_zeroing", away="masked")
    monkeypatch.setattr(source_scores, "find_spec", lambda name: None)
    for method, how in (("context_cite", Fitting()), ("source_surrogate", Fitting(penalty="lasso"))):
        with pytest.raises(BadOption, match=r'pip install "contextmix\[answers\]"'):
            score_sources(ask, 3, method, fitting=how)
    assert math.isfinite(score_sources(ask, 3, "source_surrogate").values.sum())  # a ridge needs nothing more

"""Scores of sources from ablations: by hand, by loops, and beside the published pipeline of scikit-learn."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contextmix.maths.ablations import (
    SMALLEST,
    Surrogate,
    answer_log_odds,
    balanced_masks,
    context_cite,
    held_out,
    leave_one_out,
    one_out,
    paired_masks,
    prior_surrogate,
    random_masks,
)

needs_sklearn = pytest.mark.usefixtures("sklearn")


@pytest.fixture
def sklearn():
    return pytest.importorskip("sklearn")


def said(masks: np.ndarray, worth: np.ndarray, tokens: int = 5, seed: int = 0, noise: float = 0.1) -> np.ndarray:
    """log p (mask, token) that falls with what is left out, never above zero."""
    drawn = np.random.RandomState(seed).randn(len(masks), tokens)
    return -np.log1p(np.exp(-(masks @ worth)[:, None] / tokens - noise * drawn))


# Masks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sources", "count", "keep", "seed"), [(8, 64, 0.5, 0), (3, 5, 0.5, 7), (12, 9, 0.3, 100)])
def test_random_masks_are_those_of_the_released_code(sources, count, keep, seed):
    """It asks numpy for a choice of True and False with these probabilities, one seed for each mask."""
    wanted = [
        np.random.RandomState(seed + row).choice([False, True], size=sources, p=[1 - keep, keep])
        for row in range(count)
    ]
    found = random_masks(sources, count, keep, seed)
    assert found.dtype == bool
    assert (found == np.stack(wanted)).all()


@given(st.integers(1, 9), st.integers(1, 20), st.integers(0, 99))
def test_paired_masks_come_with_their_complements(sources: int, count: int, seed: int):
    found = paired_masks(sources, count, seed)
    assert found.shape == (count, sources)
    for first in range(0, count - 1, 2):
        assert (found[first] != found[first + 1]).all()
    assert (paired_masks(sources, count, seed) == found).all()


def test_paired_masks_do_not_all_keep_the_same_number():
    assert len(set(paired_masks(8, 16).sum(1).tolist())) > 3


@pytest.mark.parametrize(("sources", "count"), [(1, 4), (2, 4), (3, 8), (7, 8), (8, 16), (12, 16), (15, 16), (20, 64)])
def test_balanced_masks_are_orthogonal(sources: int, count: int):
    """Each kept in one half, any two in a quarter; by counting."""
    masks = balanced_masks(sources, count, seed=5).astype(int)
    assert masks.shape == (count, sources)
    for one in range(sources):
        assert sum(masks[:, one]) == count / 2
        for other in range(one):
            assert sum(masks[:, one] * masks[:, other]) == count / 4
    if sources <= count // 2:
        rows = {tuple(row) for row in masks.tolist()}
        assert rows == {tuple(1 - here for here in row) for row in rows}


@given(st.integers(1, 20), st.integers(4, 40), st.integers(0, 99))
def test_any_number_of_balanced_masks_can_be_had(sources: int, count: int, seed: int):
    found = balanced_masks(sources, count, seed)
    assert found.shape == (count, sources)
    assert found.dtype == bool
    assert (balanced_masks(sources, count, seed) == found).all()
    if sources > 4:
        assert (balanced_masks(sources, count, seed + 1) != found).any()


def test_balanced_masks_do_not_all_keep_the_same_number():
    assert len(set(balanced_masks(8, 16).sum(1).tolist())) > 2


def test_one_out_leaves_out_one_at_a_time():
    assert one_out(2).tolist() == [[True, True], [False, True], [True, False]]
    assert one_out(1).tolist() == [[True], [False]]


# Odds and falls ------------------------------------------------------------------------------------------------------


def test_log_odds_of_an_answer_by_hand():
    log_probs = np.log([[0.9, 0.5, 0.4], [1e-9, 0.5, 1.0]])
    wanted = [math.log(0.18 / 0.82), math.log(5e-10 / (1 - 5e-10))]
    assert answer_log_odds(log_probs) == pytest.approx(wanted, rel=1e-12)


def test_a_certain_answer_has_odds_that_are_a_number():
    assert answer_log_odds(np.zeros((1, 3)))[0] == pytest.approx(-math.log(SMALLEST), rel=1e-9)
    assert answer_log_odds(np.array([[-1e-12]]))[0] == pytest.approx(-math.log(1e-12), rel=1e-9)
    assert answer_log_odds(np.array([[-900.0]]))[0] == pytest.approx(-900.0)


def test_leave_one_out_by_hand():
    log_probs = np.array([[-1.0, -2.0], [-1.5, -2.0], [-4.0, -1.0]])  # all; without the first; without the second
    assert leave_one_out(log_probs).tolist() == [[0.5, 3.0], [0.0, -1.0]]


# ContextCite ---------------------------------------------------------------------------------------------------------


@needs_sklearn
@pytest.mark.parametrize(("sources", "count", "tokens"), [(8, 64, 20), (8, 32, 20), (20, 64, 1), (5, 16, 3)])
def test_context_cite_is_the_published_pipeline_on_the_same_masks(sources, count, tokens):
    """Standardise the masks, LASSO with 0.01 on the log-odds by token, undo both; masks in single precision."""
    from sklearn.linear_model import Lasso
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    masks = random_masks(sources, count)
    log_probs = said(masks, np.random.RandomState(1).randn(sources), tokens)
    whole = log_probs.sum(1)
    odds = whole - np.log1p(-np.exp(whole))
    steps = make_pipeline(StandardScaler(), Lasso(alpha=0.01, random_state=0, fit_intercept=True))
    steps.fit(masks.astype(np.float32), odds / tokens)
    scaler, lasso = steps[0], steps[1]
    found = context_cite(masks, log_probs)
    assert found.weights == pytest.approx(lasso.coef_ / scaler.scale_ * tokens, abs=1e-6)
    assert found(masks) == pytest.approx(steps.predict(masks.astype(np.float32)) * tokens, abs=2e-6 * tokens)


@needs_sklearn
def test_context_cite_longhand_on_all_masks():
    """Where every mask occurs once the columns are orthogonal, and the LASSO is a threshold for each source."""
    sources, tokens, penalty = 4, 3, 0.01
    masks = np.array(list(itertools.product([False, True], repeat=sources)))
    log_probs = said(masks, np.array([1.5, -0.6, 0.04, 0.0]), tokens)
    odds = []
    for row in log_probs:
        whole = sum(row.tolist())
        odds.append((whole - math.log(1 - math.exp(whole))) / tokens)
    wanted = []
    for source in range(sources):
        slope = sum(odd * (1 if mask[source] else -1) for odd, mask in zip(odds, masks, strict=True)) / len(masks)
        kept = max(0.0, abs(slope) - penalty)  # of columns of −1 and 1
        wanted.append(math.copysign(kept, slope) / 0.5 * tokens)
    found = context_cite(masks, log_probs)
    assert found.weights == pytest.approx(wanted, abs=1e-6)
    assert found.weights[3] == 0
    middle = sum(odds) / len(odds) * tokens - sum(weight * 0.5 for weight in wanted)
    assert found.intercept == pytest.approx(middle, abs=2e-6)


@needs_sklearn
def test_context_cite_is_the_minimum_up_to_the_tolerance_of_its_solver():
    """Coordinate descent in loops until nothing moves; the released code stops a little earlier."""
    sources, tokens, penalty = 8, 20, 0.01
    masks = random_masks(sources, 64)
    log_probs = said(masks, np.random.RandomState(2).randn(sources) * 4, tokens)
    y = answer_log_odds(log_probs) / tokens
    middle, spread = masks.mean(0), masks.std(0)
    x, weights = (masks - middle) / spread, np.zeros(sources)
    for _ in range(500):
        for source in range(sources):
            rest = y - y.mean() - x @ weights + x[:, source] * weights[source]
            slope = float((x[:, source] * rest).mean())
            weights[source] = math.copysign(max(0.0, abs(slope) - penalty), slope)
    wanted = weights / spread * tokens
    assert context_cite(masks, log_probs).weights == pytest.approx(wanted, abs=1e-3 * np.abs(wanted).max())


@needs_sklearn
def test_a_source_that_is_always_kept_has_no_weight():
    masks = random_masks(4, 32)
    masks[:, 2] = True
    found = context_cite(masks, said(masks, np.array([1.0, 2.0, 3.0, 4.0])))
    assert found.weights[2] == 0
    assert np.isfinite(found.weights).all()


# Ours ----------------------------------------------------------------------------------------------------------------


def exact(masks: np.ndarray, weights: np.ndarray, intercept: float = -2.0) -> np.ndarray:
    """log p (mask, 1) whose log-odds are exactly b + w·v."""
    return -np.log1p(np.exp(-(intercept + masks @ weights)))[:, None]


@pytest.mark.parametrize("prior", [None, np.array([3.0, 0.0, 1.0, 0.5, 0.0])])
def test_a_line_is_found_exactly(prior):
    weights = np.array([0.4, -1.0, 0.0, 2.0, 0.3])
    masks = random_masks(5, 40)
    found = prior_surrogate(masks, exact(masks, weights), prior)
    slope, start = tangent(masks, weights)
    assert found.weights == pytest.approx(slope * weights, abs=1e-3)
    assert found.intercept == pytest.approx(start, abs=1e-3)


def tangent(masks: np.ndarray, weights: np.ndarray, intercept: float = -2.0) -> tuple[float, float]:
    """Of log p as a function of its log-odds at their mean: its slope, and its value without any source."""
    middle = intercept + float((masks @ weights).mean())
    slope = 1 - 1 / (1 + math.exp(-middle))
    return slope, -math.log(1 + math.exp(-middle)) + slope * (intercept - middle)


def test_each_token_counts_as_much_as_its_log_probability_changes():
    """Three tokens whose log-odds are lines: one can go either way, one is never said, one is said in any case."""
    lines = [(np.array([1.0, 0.0, -0.5]), 0.2), (np.array([0.0, 2.0, 0.3]), -9.0), (np.array([5.0, -5.0, 5.0]), 30.0)]
    masks, unseen = random_masks(3, 24), np.array([[True, False, False], [False, True, True]])
    found = prior_surrogate(masks, np.concatenate([exact(masks, *line) for line in lines], axis=1))
    assert found(unseen) == pytest.approx(
        sum(start + slope * (unseen @ line[0]) for line in lines for slope, start in [tangent(masks, *line)]), abs=1e-3
    )
    assert found.weights == pytest.approx(sum(tangent(masks, *line)[0] * line[0] for line in lines), abs=1e-3)


def test_what_the_prior_says_is_believed_where_masks_cannot_say_more():
    """Six masks, twelve sources: no ridge could know, but the prior has the shape of the truth."""
    prior = np.random.RandomState(3).rand(12)
    masks = paired_masks(12, 6, seed=1)
    truth = 1.5 * prior + 0.2
    slope = tangent(masks, truth)[0]
    found = prior_surrogate(masks, exact(masks, truth), prior)
    assert found.weights / slope == pytest.approx(truth, abs=1e-6)
    assert np.abs(prior_surrogate(masks, exact(masks, truth)).weights / slope - truth).max() > 0.1


@pytest.mark.parametrize("with_prior", [False, True])
def test_the_ridge_by_leaving_out_each_mask_by_hand(with_prior: bool):
    """Each token by a least squares of augmented rows, refitted without each mask in turn, with several penalties."""
    masks, sources = random_masks(6, 20, seed=4), 6
    worth = np.random.RandomState(5).randn(sources) * 2
    log_probs = np.concatenate(
        [said(masks, worth, noise=0.2), said(masks, 0 * worth, tokens=1, seed=1, noise=3)], axis=1
    )
    prior = np.random.RandomState(6).rand(sources) if with_prior else None
    found = prior_surrogate(masks, log_probs, prior)
    odds = [[math.log(math.exp(one) / (1 - math.exp(one))) for one in row] for row in log_probs.T.tolist()]
    middles = [sum(row) / 20 for row in odds]
    slopes = [1 / (1 + math.exp(middle)) for middle in middles]
    tokens = [np.array([slope * one for one in row]) for slope, row in zip(slopes, odds, strict=True)]
    free = [np.ones(20), masks.sum(1), *([masks @ prior] if with_prior else [])]
    design = np.column_stack([masks.astype(float), *free])

    def fit(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
        rows = np.eye(sources, design.shape[1]) * math.sqrt(penalty)
        return np.linalg.lstsq(np.vstack([x, rows]), np.concatenate([y, np.zeros(sources)]), rcond=None)[0]

    def press(y: np.ndarray, penalty: float) -> float:
        return sum(
            (y[row] - design[row] @ fit(np.delete(design, row, 0), np.delete(y, row), penalty)) ** 2
            for row in range(20)
        )

    tried = [found.penalty * 10 ** (step / 4) for step in (-2, -1, 0, 1, 2)]
    by_token = [[press(y, penalty) for y in tokens] for penalty in tried]
    assert min(range(5), key=lambda place: math.prod(by_token[place])) == 2
    assert min(range(5), key=lambda place: sum(by_token[place])) > 2, "one token of nothing but noise outweighs all"
    own = sum(fit(design, y, found.penalty) for y in tokens)
    start = sum(-math.log(1 + math.exp(-m)) - slope * m for slope, m in zip(slopes, middles, strict=True))
    assert found(masks) == pytest.approx(design @ own + start, abs=1e-9)
    wanted = own[:sources] + own[sources + 1] + (own[sources + 2] * prior if with_prior else 0)
    assert found.weights == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("prior", [np.zeros(3), np.ones(3)])
def test_a_prior_that_says_nothing_changes_nothing(prior: np.ndarray):
    masks = random_masks(3, 12)
    log_probs = said(masks, np.array([2.0, 0.0, 1.0]))
    found, without = prior_surrogate(masks, log_probs, prior), prior_surrogate(masks, log_probs)
    assert found.weights == pytest.approx(without.weights, abs=1e-9)


def test_one_source_and_constant_answers():
    masks = np.array([[True], [False], [True], [False]])
    found = prior_surrogate(masks, exact(masks, np.array([1.7])))
    assert found.weights == pytest.approx([1.7 * tangent(masks, np.array([1.7]))[0]])
    flat = prior_surrogate(random_masks(4, 10), np.full((10, 2), -1.0))
    assert flat.weights == pytest.approx(np.zeros(4), abs=1e-12)


@needs_sklearn
def test_a_lasso_finds_the_few_of_many():
    weights = np.zeros(60)
    weights[[3, 40]] = 4.0, 2.0
    masks = random_masks(60, 48)
    found = prior_surrogate(masks, exact(masks, weights, -3.0), kind="lasso")
    assert set(np.argsort(-found.weights)[:2]) == {3, 40}
    assert np.median(np.abs(found.weights)) < 0.2
    flat = prior_surrogate(masks, np.full((48, 1), -1.0), kind="lasso")
    assert flat.weights == pytest.approx(np.zeros(60), abs=1e-12)


# Held out ------------------------------------------------------------------------------------------------------------


def test_what_is_held_out_was_not_fitted_on():
    masks, seen = random_masks(3, 10), []

    def fit(own: np.ndarray, log_probs: np.ndarray) -> Surrogate:
        seen.append(log_probs[:, 0].tolist())
        return Surrogate(np.array([1.0, 2.0, 4.0]), float(len(own)), 0.0)

    found = held_out(fit, masks, np.arange(10.0)[:, None], folds=4)
    for fold in range(4):
        assert seen[fold] == [float(row) for row in range(10) if row % 4 != fold]
    assert found == pytest.approx(masks @ [1, 2, 4] + [7, 7, 8, 8, 7, 7, 8, 8, 7, 7])

"""What sources are worth to an answer, from runs of a model with some of them taken away.

A mask v ∈ {0, 1}^d keeps sources. The model says log p_t(v) of each token of a given answer. Whatever is asked of the
answer (leave one out, a linear surrogate f̂(v) = b + Σ_j w_j v_j) is made of these numbers, so another unit of the
answer, such as one sentence of it, needs no new run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard

Numbers = NDArray[np.float64]
Masks = NDArray[np.bool_]

PENALTIES = np.logspace(-4, 4, 33)
"""λ that are tried for a ridge, in units of the largest squared singular value of the masks."""
SMALLEST = 2.0**-53
"""What counts as 1 − p where a probability is 1 to the last bit, so that its log-odds are a number: 36.7."""


@dataclass(frozen=True)
class Surrogate:
    """f̂(v) = b + Σ_j w_j v_j.

    Attributes:
        weights: (source,): w.
        intercept: b: what is left without any source.
        penalty: The λ that was chosen or given.
    """

    weights: Numbers
    intercept: float
    penalty: float

    def __call__(self, masks: Masks) -> Numbers:
        """f̂ of each mask (mask, source) → (mask,)."""
        return np.asarray(self.intercept + masks @ self.weights)


Fit = Callable[[Masks, Numbers], Surrogate]
"""Masks (mask, source) and log-probabilities (mask, token) → a surrogate."""


# Which sources are kept ----------------------------------------------------------------------------------------------


def random_masks(sources: int, count: int, keep: float = 0.5, seed: int = 0) -> Masks:
    """Each source kept by chance, in every mask anew: (mask, source).

    Mask i is drawn from numpy's ``RandomState(seed + i)``, as the released code of ContextCite draws it, so these are
    its masks.

    Example:
        >>> random_masks(3, 2).astype(int)
        array([[1, 1, 1],
               [0, 1, 0]])
    """
    drawn = [np.random.RandomState(seed + row).random_sample(sources) >= 1 - keep for row in range(count)]
    return np.array(drawn, dtype=np.bool_).reshape(count, sources)


def paired_masks(sources: int, count: int, seed: int = 0) -> Masks:
    """Each source kept by chance with ½, and each mask followed by its complement: (mask, source).

    In a pair, what sources do *together* (two that say the same) cancels from the difference, which is what tells one
    source from another; and each source is kept in half of the masks exactly.

    Example:
        >>> paired_masks(3, 4).astype(int)
        array([[0, 0, 0],
               [1, 1, 1],
               [0, 1, 0],
               [1, 0, 1]])
    """
    random = np.random.RandomState(seed)
    found = []
    for _ in range((count + 1) // 2):
        half = random.random_sample(sources) < 0.5
        found += [half, ~half]
    return np.array(found, dtype=np.bool_).reshape(-1, sources)[:count]


def balanced_masks(sources: int, count: int, seed: int = 0) -> Masks:
    """Masks that tell sources apart best: each source is kept in one half of them, and any two together in a quarter.

    They are columns of a Hadamard matrix of n = 2^k ≤ count rows, drawn, turned round and shuffled by chance. Random
    masks are alike by chance, and what one source does is then taken for what another does: of 16 masks of 8 sources
    that doubles the variance of every weight. Where n/2 columns are enough, each mask comes with its complement too,
    as in `paired_masks`, which also gives the masks beyond n, or all of them for n sources and more.

    Args:
        sources: d.
        count: How many masks.
        seed: Of what is drawn.

    Returns:
        (mask, source).

    Source:
        Plackett & Burman (1946), "The Design of Optimum Multifactorial Experiments"; Box & Wilson (1951) for fold-over.

    Example:
        >>> signs = 2 * balanced_masks(3, 8) - 1
        >>> signs.T @ signs
        array([[8, 0, 0],
               [0, 8, 0],
               [0, 0, 8]])
    """
    rows = 1 << (count.bit_length() - 1)
    if sources >= rows:
        return paired_masks(sources, count, seed)
    random, folded = np.random.RandomState(seed), sources <= rows // 2
    square = hadamard(rows // 2 if folded else rows)
    signs = np.concatenate([square, -square]) if folded else square[:, 1:]  # its first column is always kept
    drawn = signs[:, random.permutation(signs.shape[1])[:sources]] * random.choice([-1, 1], size=sources)
    masks = drawn[random.permutation(rows)] > 0
    return np.concatenate([masks, paired_masks(sources, count - rows, seed + 1)])


def one_out(sources: int) -> Masks:
    """All sources, and then all but each one in turn: (1 + source, source)."""
    return np.concatenate([np.ones((1, sources), np.bool_), ~np.eye(sources, dtype=np.bool_)])


# What the answer is worth --------------------------------------------------------------------------------------------


def leave_one_out(log_probs: Numbers) -> Numbers:
    """log p_t(all sources) − log p_t(all but j): the fall of each token's log-probability without each source.

    Args:
        log_probs: (1 + source, token): of the masks of `one_out`.

    Returns:
        (token, source); the fall of a unit is the sum over its tokens.
    """
    return np.asarray((log_probs[:1] - log_probs[1:]).T)


def log_odds(log_probs: Numbers) -> Numbers:
    """log p − log(1 − p), of any shape.

    Example:
        >>> log_odds(np.log(np.array([0.5, 0.8]))).round(4)
        array([0.    , 1.3863])
    """
    known = np.minimum(log_probs, -SMALLEST)
    return np.asarray(known - np.log(-np.expm1(known)))


def answer_log_odds(log_probs: Numbers) -> Numbers:
    """log P − log(1 − P) with P = Π_t p_t, of each mask: (mask, token) → (mask,).

    Source:
        Cohen-Wang et al. (2024), "ContextCite", section 3: the logit-scaled probability of the whole answer.

    Example:
        >>> answer_log_odds(np.log([[0.5, 0.5]])).round(4)  # P = 1/4: 1 to 3
        array([-1.0986])
    """
    return log_odds(log_probs.sum(-1))


# Surrogates ----------------------------------------------------------------------------------------------------------


def context_cite(masks: Masks, log_probs: Numbers, penalty: float = 0.01) -> Surrogate:
    """ContextCite: LASSO on the log-odds of the answer, divided by its number of tokens, as published.

        w', b' = argmin  ½N⁻¹ Σ_i (f(v_i)/m − b' − Σ_j w'_j (v_ij − v̄_j)/σ_j)² + λ Σ_j |w'_j|,      w_j = m w'_j / σ_j

    Args:
        masks: (mask, source).
        log_probs: (mask, token): m tokens.
        penalty: λ; 0.01 in the released code.

    Returns:
        The weights, in log-odds of the answer: ln 10 is a factor of ten.

    Raises:
        ImportError: If scikit-learn is not installed. Its coordinate descent stops at a tolerance, and the numbers of
            the released code are those at that point, in float32.

    Source:
        Cohen-Wang et al. (2024), "ContextCite: Attributing Model Generation to Context", section 3, with the scaling
        and the λ of the released code.
    """
    from sklearn.linear_model import Lasso
    from sklearn.preprocessing import StandardScaler

    tokens = log_probs.shape[1]
    scaler, lasso = StandardScaler(), Lasso(alpha=penalty, random_state=0)
    scaled = scaler.fit_transform(masks.astype(np.float32))
    lasso.fit(scaled, (answer_log_odds(log_probs) / tokens).astype(np.float32))
    weights = lasso.coef_.astype(np.float64) / scaler.scale_
    intercept = float(lasso.intercept_) - float(scaler.mean_ @ weights)
    return Surrogate(weights * tokens, intercept * tokens, penalty)


def prior_surrogate(
    masks: Masks, log_probs: Numbers, prior: Numbers | None = None, kind: Literal["ridge", "lasso"] = "ridge"
) -> Surrogate:
    """A surrogate that is shrunk towards what is known before any run, as far as cross-validation says.

    log p of a token is no line in the sources: it cannot rise above 0, and a token that only one source makes falls
    once. Its log-odds o_t are nearer to one. So these are fitted, token by token, and each counts as much as log p_t
    changes with them in the middle of the masks, at their mean m_t:

        Σ_t log p_t(v) ≈ Σ_t [ log σ(m_t) + s_t (o_t(v) − m_t) ],    s_t = ∂ log σ(o)/∂o at m_t = 1 − σ(m_t)

    A token that the model says in any case thus adds no noise. For each token

        w_t = a_t·prior + c_t + δ_t,    minimise Σ_i (s_t o_t(v_i) − b_t − w_t·v_i)² + λ‖δ_t‖²

    and w = Σ_t w_t (LASSO: λ‖δ‖₁, of the sum alone). a, b and c are free: with many λ the weights are those of the
    prior, scaled, plus the same for every source (more kept is more probable). λ is the same for all tokens, since so
    few masks tell no more, and chosen by leaving out one mask at a time, which for a ridge needs no second fit: the
    residual of a mask that was left out is its residual divided by 1 − h_ii (Allen's PRESS). Tokens differ in their
    noise, so the product of their PRESS counts, not the sum.

    Args:
        masks: (mask, source).
        log_probs: (mask, token).
        prior: (source,): scores of another method; None for none.
        kind: Which penalty; ``"lasso"`` needs scikit-learn, and is for far more sources than masks.

    Returns:
        The weights, in nats of the answer's log-probability.

    Raises:
        ImportError: If a LASSO is asked for and scikit-learn is not installed.
    """
    x, odds = masks.astype(np.float64), log_odds(log_probs)
    middle = odds.mean(0)
    slopes = np.exp(-np.logaddexp(0, middle))
    start = float((-np.logaddexp(0, -middle) - slopes * middle).sum())
    y = odds * slopes
    scaled = None if prior is None or not np.any(prior) else prior / np.linalg.norm(prior)
    free = np.stack([np.ones(len(x)), x.sum(1), *([] if scaled is None else [x @ scaled])], axis=1)
    basis = _basis(free)
    left, rest = x - basis @ (basis.T @ x), y - basis @ (basis.T @ y)
    own, penalty = _ridge(left, rest, (basis**2).sum(1)) if kind == "ridge" else _lasso(left, rest.sum(1))
    given = np.linalg.lstsq(free, y.sum(1) - x @ own, rcond=None)[0]
    weights = own + given[1] + (0 if scaled is None else given[2] * scaled)
    return Surrogate(weights, float(given[0]) + start, penalty)


def _basis(columns: Numbers) -> Numbers:
    """An orthonormal basis of what these columns span."""
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, sizes > 1e-10 * sizes[0]])


def _ridge(x: Numbers, y: Numbers, leverage: Numbers) -> tuple[Numbers, float]:
    """Σ_t δ_t, and the λ with the smallest Π_t Σ_i (r_it / (1 − h_ii))², where h counts what is free too."""
    left, sizes, right = np.linalg.svd(x, full_matrices=False)
    seen = sizes > 1e-10 * max(1.0, sizes[0])
    left, sizes, right = left[:, seen], sizes[seen], right[seen]
    moved = y[:, np.linalg.norm(y, axis=0) > 1e-10 * max(1.0, float(np.abs(y).max()))]  # others say nothing about λ
    along, tried = left.T @ moved, PENALTIES[::-1] * (sizes[0] ** 2 if len(sizes) else 1.0)
    errors = []
    for penalty in tried:
        kept = sizes**2 / (sizes**2 + penalty)
        unseen = np.maximum(1 - leverage - (left**2) @ kept, 1e-6)[:, None]
        missed = (((moved - left @ (kept[:, None] * along)) / unseen) ** 2).sum(0)
        errors.append(float(np.log(np.maximum(missed, np.finfo(float).tiny)).sum()))
    best = float(tried[int(np.argmin(errors))])
    return np.asarray(right.T @ (sizes / (sizes**2 + best) * (left.T @ y.sum(1)))), best


def _lasso(x: Numbers, y: Numbers) -> tuple[Numbers, float]:
    from sklearn.linear_model import LassoCV

    if not np.any(y):
        return np.zeros(x.shape[1]), float("inf")
    found = LassoCV(cv=min(5, len(x)), fit_intercept=False, random_state=0, max_iter=10_000).fit(x, y)
    return np.asarray(found.coef_, dtype=np.float64), float(found.alpha_)


def held_out(fit: Fit, masks: Masks, log_probs: Numbers, folds: int = 8) -> Any:
    """What surrogates predict of masks that they were not fitted on: (mask,).

    The masks are dealt into folds; each fold is predicted by a surrogate of all others. No run of the model is needed.
    """
    fold = np.arange(len(masks)) % min(folds, len(masks))
    found = np.empty(len(masks))
    for one in np.unique(fold):
        found[fold == one] = fit(masks[fold != one], log_probs[fold != one])(masks[fold == one])
    return found

"""One weight per head, so that maps of a single pass order what ablations say.

Of an example there is a table x (source, head) from one pass, and what the answer was worth, f(v), under masks v that
keep sources. A weighted sum of maps predicts

    f̂(v) = Σ_j v_j Σ_h θ_h x_jh

and its correlation with f is what is learned: which scale an answer's log-odds have differs from answer to answer, and
says nothing of heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Numbers = NDArray[np.float64]
Masks = NDArray[np.bool_]

PULLS = (0.001, 0.01, 0.1)
"""How strongly weights are pulled to the mean; which of them is chosen on examples that were left out."""


class Example(NamedTuple):
    """One answer: maps (source, head) of a pass, masks (mask, source), and what the answer was worth (mask,)."""

    maps: Numbers
    masks: Masks
    values: Numbers


def fitted_weights(examples: Sequence[Example], pull: float) -> Numbers:
    """Weights θ ≥ 0 whose predictions correlate best with what ablations say.

        minimise  −(1/E) Σ_e r(f̂_e, f_e) + λ (1/H) Σ_h (H θ_h − 1)²

    with Pearson's r over the masks of each example, which does not see the scale of θ: the second term holds it near
    the mean, θ_h = 1/H. Then θ is scaled by least squares over all examples, so that a sum of weighted maps is in units
    of f.

    Args:
        examples: At least one whose values differ.
        pull: λ.

    Returns:
        (head,), ≥ 0.

    Source:
        Cohen-Wang et al. (2025), "Learning to Attribute with Attention": linear weights of attention heads, ablations
        of random halves, Pearson's correlation per example. There θ has signs and no penalty, and is learned on
        thousands of answers; on the few dozen of a user, θ ≥ 0 and the pull to the mean are what keeps it from
        learning the examples by heart (ours).
    """
    unit = float(np.mean([np.abs(one.maps).mean() for one in examples])) or 1.0
    tables = [table for one in examples if (table := _centred(one, unit)) is not None]
    count = examples[0].maps.shape[1]
    start = np.full(count, 1 / count)
    if not tables:
        return start

    def loss(theta: Numbers) -> tuple[float, Numbers]:
        away = theta * count - 1
        value, slope = pull * float(away @ away) / count, 2 * pull * away
        for table, wanted in tables:
            found = table @ theta
            length = float(np.linalg.norm(found)) + 1e-12
            r = float(found @ wanted) / length
            value -= r / len(tables)
            slope -= table.T @ (wanted - r * found / length) / (length * len(tables))
        return value, slope

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * count, options={"maxiter": 500})
    return np.asarray(found.x / unit) * _scale(examples, found.x / unit)


def chosen_pull(examples: Sequence[Example], folds: int = 4) -> float:
    """The λ of `PULLS` whose weights correlate best with examples that they were not fitted on."""
    fold = np.arange(len(examples)) % min(folds, len(examples))
    scores = []
    for pull in PULLS:
        found = []
        for one in np.unique(fold):
            theta = fitted_weights([each for each, own in zip(examples, fold, strict=True) if own != one], pull)
            found += [correlation(each, theta) for each, own in zip(examples, fold, strict=True) if own == one]
        scores.append(float(np.mean(found)))
    return PULLS[int(np.argmax(scores))]


def correlation(example: Example, theta: Numbers) -> float:
    """Pearson's r of what weights predict and what ablations say; 0 where either is constant."""
    found, wanted = example.masks @ (example.maps @ theta), example.values
    found, wanted = found - found.mean(), wanted - wanted.mean()
    size = float(np.linalg.norm(found) * np.linalg.norm(wanted))
    return float(found @ wanted) / size if size > 1e-12 else 0.0


def _centred(one: Example, unit: float) -> tuple[Numbers, Numbers] | None:
    table, wanted = one.masks @ (one.maps / unit), one.values - one.values.mean()
    size = float(np.linalg.norm(wanted))
    return (table - table.mean(0), wanted / size) if size > 1e-9 else None


def _scale(examples: Sequence[Example], theta: Numbers) -> float:
    """The c ≥ 0 of least squares of f on c·f̂, each example about its own mean."""
    above = below = 0.0
    for one in examples:
        found = one.masks @ (one.maps @ theta)
        found = found - found.mean()
        above += float(found @ one.values)
        below += float(found @ found)
    return max(above / below, 0.0) if below > 0 else 0.0

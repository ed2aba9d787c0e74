"""One metric on one example, with everything that it is given checked first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contextmix.errors import BadInput, NotFinite, WrongQuantity, WrongShape
from contextmix.plugins.contracts import Scored
from contextmix.plugins.registry import METRICS as METRICS
from contextmix.plugins.selection import selected_metric

NEEDED = {
    "reference": ("a reference",),
    "rationale": ("a rationale",),
    "model": ("a predict function", "the removable tokens"),
}


def score(metric: str, scores: ArrayLike, *given: Any, **options: Any) -> Scored:
    """What a metric says of the scores of one example.

    Args:
        metric: Its name, see `contextmix.metrics`.
        scores: (token,).
        given: What it compares them with: a reference (token,), a rationale (token,) of True and False, or a predict
            function and the removable tokens (token,) of True and False; see `Metric`.
        options: Of the metric.

    Raises:
        UnknownName: If the metric or an option does not exist.
        BadInput: If more or less is given than the metric compares with.
        BadOption: If an option has a value that is not allowed.
        WrongShape: If the arrays do not have one number per token.
        WrongQuantity: If marks are not True and False.
        NotFinite: If a score is NaN or infinite.

    Example:
        >>> score("reciprocal_rank", [0.2, 0.1, 0.7], [True, False, False]).value
        0.5
        >>> score("token_f1", [0.2, 0.1, 0.7], [False, False, False]).reason
        'no marked token'
    """
    asked = METRICS[selected_metric(metric, options).name]
    needed = NEEDED[asked.against]
    if len(given) != len(needed):
        raise BadInput(
            f"{asked.name} takes scores and then {' and '.join(needed)}; got {len(given)} beside the scores."
        )
    numbers = _numbers("scores", scores)
    if asked.against == "model":
        predict, removable = given
        return asked.score(numbers, predict, _marks(removable, numbers), **options)
    (other,) = given
    if asked.against == "rationale":
        return asked.score(numbers, _marks(other, numbers), **options)
    reference = _numbers("reference", other)
    _refuse_lengths(reference, numbers)
    return asked.score(numbers, reference, **options)


def _numbers(name: str, given: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(given, float)
    if found.ndim != 1:
        raise WrongShape(f"A metric reads one number per token; the {name} have the shape {found.shape}. Give one row.")
    if not np.isfinite(found).all():
        bad = np.flatnonzero(~np.isfinite(found)).tolist()
        raise NotFinite(f"The {name} are NaN or infinite at the tokens {bad}, so the tokens cannot be ranked.")
    return found


def _marks(given: ArrayLike, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    found = np.asarray(given)
    if found.dtype != bool and not np.isin(found, (0, 1)).all():
        raise WrongQuantity(
            f"Marks are True or False for each token; got {found.dtype} numbers other than 0 and 1. Say which tokens "
            "count as marked, for example: marks > 0.5."
        )
    _refuse_lengths(found, scores)
    return found.astype(bool)


def _refuse_lengths(given: NDArray[Any], scores: NDArray[np.float64]) -> None:
    if given.shape != scores.shape:
        raise WrongShape(
            f"The scores have {len(scores)} tokens and what they are compared with has the shape {given.shape}; both "
            "must be for the same tokens."
        )

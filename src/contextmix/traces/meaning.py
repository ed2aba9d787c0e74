"""What the scores of a head mean, and the one place where they become probabilities.

Of classes, or tokens of a vocabulary, that exclude each other, p = softmax(y). Of labels that may hold together, each
p = σ(y). What a regression measures, and how well a token begins or ends an answer, has no probability here.
"""

from __future__ import annotations

from enum import StrEnum

from torch import Tensor

from contextmix.errors import UnsupportedModel


class Meaning(StrEnum):
    """What the scores of one head are.

    Example:
        >>> Meaning("each").has_probability, Meaning.AMOUNTS.has_probability
        (True, False)
    """

    ONE_OF = "one of"
    """Scores of classes or tokens of which exactly one holds."""
    EACH = "each"
    """Scores of labels each of which holds or not, whatever the others do."""
    AMOUNTS = "amounts"
    """Numbers that are no scores of a choice: there is no probability, and none of them is predicted."""

    @property
    def has_probability(self) -> bool:
        """Whether the scores say how likely something is."""
        return self is not Meaning.AMOUNTS


def probabilities(scores: Tensor, meaning: Meaning) -> Tensor:
    """Logits (..., class) as probabilities (..., class), in float64.

    Args:
        scores: The logits of one head.
        meaning: What they are.

    Returns:
        0 to 1; of scores that exclude each other the sum is 1.

    Raises:
        UnsupportedModel: If they have none.

    Example:
        >>> import torch
        >>> probabilities(torch.tensor([0.0, 0.0]), Meaning.ONE_OF)
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    if meaning is Meaning.ONE_OF:
        return scores.double().softmax(-1)
    if meaning is Meaning.EACH:
        return scores.double().sigmoid()
    raise UnsupportedModel(NO_PROBABILITY)


NO_PROBABILITY = (
    "A probability was asked for, and the outputs of this model are not probabilities of anything: it measures (a "
    "regression), has one output alone, or says where an answer lies. A softmax or a logistic function over them would "
    "be a made-up number. Explain the output itself, as gradient_inputs does, or occlusion with score='logit'."
)
"""Said wherever somebody needs one."""

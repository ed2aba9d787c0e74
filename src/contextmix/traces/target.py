"""Which of a model's scores is explained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Target:
    """The explained score: that of one class or token, or by how much it is above that of another.

    Attributes:
        number: The position of the class or token among the scores.
        name: Its name.
        foil: The position of the one that it is contrasted with ("why this and not that"); None for no contrast.
        foil_name: Its name.

    Source:
        Yin & Neubig (2022), "Interpreting language models with contrastive explanations", for target and foil.

    Example:
        >>> import torch
        >>> Target(0, "Lily", 2, "Tim").of(torch.tensor([3.0, 0.5, 1.0]))
        tensor(2.)
    """

    number: int
    name: str
    foil: int | None = None
    foil_name: str | None = None

    @property
    def title(self) -> str:
        """For sentences about it."""
        return repr(self.name) if self.foil is None else f"{self.name!r} minus {self.foil_name!r}"

    def of(self, scores: Tensor) -> Tensor:
        """The explained score among all scores: (..., class) → (...)."""
        own = scores[..., self.number]
        return own if self.foil is None else own - scores[..., self.foil]

"""Which of a model's scores is explained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from contextmix.errors import NotFinite, UnsupportedModel


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

    def refuse_gradient(self, gradient: Tensor) -> None:
        """A gradient of this score that says nothing; of zeros alone it would look like an attribution of nothing.

        Raises:
            UnsupportedModel: If it is zero everywhere.
            NotFinite: If it is NaN or infinite.
        """
        self.refuse_infinite(gradient)
        if not bool(gradient.any()):
            raise UnsupportedModel(self.without_effect)

    def refuse_infinite(self, *found: Tensor) -> None:
        """A score or a gradient of it that is NaN or infinite.

        Raises:
            NotFinite: If one is.
        """
        if not all(bool(one.isfinite().all()) for one in found):
            raise NotFinite(
                f"The gradient of the score of {self.title} is NaN or infinite, so every number made of it would be "
                "wrong. Half precision overflows easily: load the model in float32."
            )

    @property
    def without_effect(self) -> str:
        """Why a score that does not react to the embeddings explains nothing."""
        return (
            f"The score of {self.title} does not react to the embeddings at all: its gradient is zero everywhere, so "
            "no token can be told from another. Is the model trained, and its head connected? In half precision small "
            "gradients vanish: load it in float32."
        )

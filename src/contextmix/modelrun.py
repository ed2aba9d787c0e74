"""ModelRun: one input and the model, for methods that must run the model again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from contextmix.errors import NotFinite, UnsupportedModel
from contextmix.maths.gradients import Disconnected, score_gradients
from contextmix.tokens import Tokens
from contextmix.trace import LayerTrace


@dataclass(frozen=True)
class Head:
    """What turns the last block's output at one position into class scores: linear, activation, linear.

        scores = activation(y @ pooler + pooler_bias) @ classifier + classifier_bias

    Attributes:
        pooler: (d_model, d_pooled), or None where the classifier reads the block's output itself.
        pooler_bias: (d_pooled,) or None.
        activation: Element-wise; for a head without pooler the identity.
        classifier: (d_pooled, class).
        classifier_bias: (class,) or None.
    """

    pooler: Tensor | None
    pooler_bias: Tensor | None
    activation: Callable[[Tensor], Tensor]
    classifier: Tensor
    classifier_bias: Tensor | None


@dataclass(frozen=True)
class ModelRun:
    """One sequence, what the model makes of it, and ways to ask it again.

    Attributes:
        tokens: The labels.
        embeddings: (key, d_model): what enters the first block (GlobEnc's e⁰, the embedding layer's *output*).
        target: The explained class, a position in ``targets``.
        targets: Names of all classes.
        scores: (class,): the logits of the clean run.
        scores_from: Embeddings (batch, key, d_model) → logits (batch, class); gradients flow.
        scores_of: Token ids (batch, n), any n, all true tokens → logits (batch, class); no gradients. Where tokens were
            left out, a second argument (batch, n) says the position of each one in the input.
        embeddings_of: Token ids (batch, n), as many as the input has → what enters the first block (batch, n, d_model).
        layers: Runs the model and yields a proved `LayerTrace` per block, without a batch axis.
        head: Finds the classification head; None if it is not one of the usual kind.
        mask_id: The id of the mask token, or None.
        unknown_id: The id of the unknown token, or None.
        memory_budget: Bytes that a method may use for its own tensors.
    """

    tokens: Tokens
    embeddings: Tensor
    target: int
    targets: tuple[str, ...]
    scores: Tensor
    scores_from: Callable[[Tensor], Tensor]
    scores_of: Callable[..., Tensor]
    embeddings_of: Callable[[Tensor], Tensor]
    layers: Callable[[], Iterable[LayerTrace]]
    head: Callable[[], Head | None]
    mask_id: int | None
    unknown_id: int | None
    memory_budget: int

    def gradients(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The target's score and its gradient at other embeddings, in float32 at least.

        Args:
            points: (batch, key, d_model), like ``embeddings``.

        Returns:
            Scores (batch,) and gradients (batch, key, d_model).

        Raises:
            UnsupportedModel: If no gradient can be taken.
            NotFinite: If one is NaN or infinite.
        """
        try:
            scores, found = score_gradients(self.scores_from, points.to(self.embeddings.dtype), self.target)
        except Disconnected as reason:
            raise UnsupportedModel(self._without_effect()) from reason
        if not bool(scores.isfinite().all() and found.isfinite().all()):
            raise NotFinite(
                f"The gradient of the score of {self.targets[self.target]!r} is NaN or infinite, so every number made "
                "of it would be wrong. Half precision overflows easily: load the model in float32."
            )
        return scores, found

    def refuse_no_effect(self, gradient: Tensor) -> None:
        """A gradient of zeros alone would look like an attribution of nothing to everyone.

        Raises:
            UnsupportedModel: If it is one.
        """
        if not bool(gradient.any()):
            raise UnsupportedModel(self._without_effect())

    def _without_effect(self) -> str:
        return (
            f"The score of {self.targets[self.target]!r} does not react to the embeddings at all: its gradient is zero "
            "everywhere, so no token can be told from another. Is the model trained, and its head connected? In half "
            "precision small gradients vanish: load it in float32."
        )

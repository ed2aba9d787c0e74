"""ModelRun: one input and the model, for methods that must run the model again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from contextmix.errors import UnsupportedModel
from contextmix.maths.gradients import Disconnected, score_gradients
from contextmix.maths.kept import kept
from contextmix.maths.norms import Norm, normalise
from contextmix.maths.shapes import by_shapes
from contextmix.tokens.pieces import Tokens
from contextmix.traces.meaning import Meaning
from contextmix.traces.readout import Readout
from contextmix.traces.span_run import SpanRun
from contextmix.traces.target import Target
from contextmix.traces.trace import LayerTrace


@dataclass(frozen=True)
class Head:
    """What turns the last block's output at one position into scores: norm, linear, activation, norm, linear.

        scores = norm_pooled(activation(norm(y) @ pooler + pooler_bias)) @ classifier + classifier_bias

    All but the last are optional: a language model has the first norm and the last matrix, a classifier like BERT's two
    matrices, and BERT's head of words all but the first norm.

    Attributes:
        pooler: (d_model, d_pooled), or None where the classifier reads the block's output itself.
        pooler_bias: (d_pooled,) or None.
        activation: Element-wise; for a head without pooler the identity.
        classifier: (d_pooled, class); of a vocabulary only the columns of the explained tokens.
        classifier_bias: (class,) or None.
        norm: The norm of the block's output, or None.
        norm_pooled: The norm of what the activation gives, or None.
    """

    __repr__ = by_shapes

    pooler: Tensor | None
    pooler_bias: Tensor | None
    activation: Callable[[Tensor], Tensor]
    classifier: Tensor
    classifier_bias: Tensor | None
    norm: Norm | None = None
    norm_pooled: Norm | None = None

    @classmethod
    def of(cls, readout: Readout, state: Tensor, target: Target | None) -> Head:
        """As it reads one row, a soft cap replaced by the line through the origin that meets it.

        Args:
            readout: The head with all its classes.
            state: (1, d_model): the row of the last block's output.
            target: The explained score, which is then the only column; None for all classes.
        """
        classes = range(len(readout.weight if not readout.transposed else readout.weight[0]))
        numbers = [*classes] if target is None else [n for n in (target.number, target.foil) if n is not None]
        chosen = torch.tensor(numbers, device=readout.weight.device)
        weight, bias = readout.columns(chosen)
        slopes = readout.lines(state, chosen)
        weight, bias = weight * slopes, None if bias is None else bias * slopes
        if target is not None:
            signs = slopes.new_tensor([1.0, -1.0][: len(numbers)])
            weight = (weight * signs).sum(-1, keepdim=True)
            bias = None if bias is None else (bias * signs).sum(-1, keepdim=True)
        first, first_bias = (None, None) if readout.pooler is None else (readout.pooler.weight, readout.pooler.bias)
        return cls(first, first_bias, readout.activation, weight, bias, readout.norm, readout.norm_pooled)

    def scores(self, states: Tensor) -> Tensor:
        """What it makes of each row of states: (position, d_model) → (position, class)."""
        read = states if self.norm is None else normalise(states, self.norm)
        if self.pooler is not None:
            read = self.activation(read @ self.pooler + (0 if self.pooler_bias is None else self.pooler_bias))
        read = read if self.norm_pooled is None else normalise(read, self.norm_pooled)
        return read @ self.classifier + (0 if self.classifier_bias is None else self.classifier_bias)


@dataclass(frozen=True)
class ModelRun:
    """One sequence, what the model makes of it, and ways to ask it again.

    Attributes:
        tokens: The labels.
        embeddings: (key, d_model): what enters the first block (GlobEnc's e⁰, the embedding layer's *output*). Where
            features of an image are added between blocks, these stand behind it, and d_model is so many times as large.
        target: The explained score: of a class, or of a token of the vocabulary.
        targets: Names of all classes; empty where the scores are those of a vocabulary.
        clean: Gives `scores`, which may take a run of the model.
        scores_from: Embeddings (batch, key, d_model) → logits (batch, class); gradients flow.
        scores_of: Token ids (batch, n), any n, all true tokens → logits (batch, class); no gradients. Where tokens were
            left out, a second argument (batch, n) says the position of each one in the input.
        embeddings_of: Token ids (batch, n), as many as the input has → what enters the first block (batch, n, d_model).
        layers: Runs the model and yields a proved `LayerTrace` per block, without a batch axis.
        head: Finds the classification head; None if it is not one of the usual kind.
        mask_id: The id of the mask token, or None.
        unknown_id: The id of the unknown token, or None.
        memory_budget: Bytes that a method may use for its own tensors.
        position: The token whose scores are explained (a language model has scores at each): -1, the last one, however
            many are left, or a position that must not be left out. None where the scores are those of the whole input.
        meaning: What the scores are, which decides how they become probabilities, if they do.
        looks_back: Whether tokens see only what stands before them, as in decoders; found out when it is asked for.
        span: The one row whose scores these are, for methods that read it alone; None if no single row is read.
    """

    __repr__ = by_shapes

    tokens: Tokens
    embeddings: Tensor
    target: Target
    targets: tuple[str, ...]
    clean: Callable[[], Tensor]
    scores_from: Callable[[Tensor], Tensor]
    scores_of: Callable[..., Tensor]
    embeddings_of: Callable[[Tensor], Tensor]
    layers: Callable[[], Iterable[LayerTrace]]
    head: Callable[[], Head | None]
    mask_id: int | None
    unknown_id: int | None
    memory_budget: int
    position: int | None = None
    meaning: Meaning = Meaning.ONE_OF
    looks_back: Callable[[], bool] = lambda: False
    span: Callable[[], SpanRun | None] = lambda: None

    @kept
    def scores(self) -> Tensor:
        """The logits of the clean run at the explained position, (class,)."""
        return self.clean()

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

        def explained(points: Tensor) -> Tensor:
            return self.target.of(self.scores_from(points)).unsqueeze(-1)

        try:
            scores, found = score_gradients(explained, points.to(self.embeddings.dtype), 0)
        except Disconnected as reason:
            raise UnsupportedModel(self.target.without_effect) from reason
        self.target.refuse_infinite(scores, found)
        return scores, found

    @kept
    def gradient(self) -> Tensor:
        """The gradient of the target's score at the input, (key, d_model); taken once, whoever asks.

        Raises:
            UnsupportedModel: If no gradient can be taken, or it is zero everywhere.
            NotFinite: If it is NaN or infinite.
        """
        _, found = self.gradients(self.embeddings[None])
        self.target.refuse_gradient(found)
        return found.squeeze(0)

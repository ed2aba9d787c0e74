"""What turns rows of the last block's output into scores, read with the model's own matrices: nothing is copied.

    scores = cap( factor · (norm_pooled( activation( norm(x) @ pooler ) ) @ classifier + bias) )

All but the classifier are optional. A language model has one norm and the matrix of its vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from contextmix.maths.derivatives import slopes
from contextmix.maths.norms import Norm, denominator, normalise, pulled_back
from contextmix.maths.precision import at_least_float32
from contextmix.maths.projections import Affine
from contextmix.maths.shapes import by_shapes

_CLASSES = 1 << 14
"""Classes at a time, where their matrix is stored in half precision and must be converted."""


@dataclass(frozen=True)
class Readout:
    """The head of a model with all its classes.

    Attributes:
        weight: The classifier as it is stored, in its own precision: (class, d_read), or (d_read, class).
        transposed: Whether it is stored as (d_read, class).
        bias: (class,) or None.
        activation: Element-wise; the identity without a pooler.
        pooler: The linear map in front of the activation, or None.
        norm: The norm of the block's output, or None.
        norm_pooled: The norm of what the activation gives, or None.
        factor: What all scores are multiplied by (Granite, Cohere).
        cap: c of a soft cap c · tanh(score / c) (Gemma 2), or None.
    """

    __repr__ = by_shapes

    weight: Tensor
    transposed: bool
    bias: Tensor | None
    activation: Callable[[Tensor], Tensor]
    pooler: Affine | None = None
    norm: Norm | None = None
    norm_pooled: Norm | None = None
    factor: float = 1.0
    cap: float | None = None

    def read(self, states: Tensor) -> Tensor:
        """What the classifier reads of rows (row, d_model): (row, d_read)."""
        read = states if self.norm is None else normalise(states, self.norm)
        read = read if self.pooler is None else self.activation(self.pooler(read))
        return read if self.norm_pooled is None else normalise(read, self.norm_pooled)

    def raw(self, read: Tensor) -> Tensor:
        """Scores before a soft cap, (row, class), of what the classifier reads."""
        parts = [read @ matrix.mT for _, matrix in self._blocks(read)]
        found = parts[0] if len(parts) == 1 else torch.cat(parts, -1)
        return (found if self.bias is None else found + self.bias.to(found.dtype)) * self.factor

    def scores(self, states: Tensor) -> Tensor:
        """(row, d_model) → (row, class)."""
        raw = self.raw(self.read(states))
        return raw if self.cap is None else self.cap * torch.tanh(raw / self.cap)

    def direction(self, states: Tensor, weights: Tensor) -> Tensor:
        """The first-order change of a weighted sum of scores with each row, the denominators of norms held fixed.

        Args:
            states: (row, d_model): the last block's output.
            weights: (row, class): what each score counts. All zero but a few, or none zero.

        Returns:
            u, (row, d_model): a small change δ of a row changes Σ_c weights_c · score_c by ⟨u, δ⟩.
        """
        entered = states if self.norm is None else normalise(states, self.norm)
        before = entered if self.pooler is None else self.pooler(entered)
        pooled = before if self.pooler is None else self.activation(before)
        if self.cap is not None:
            read = pooled if self.norm_pooled is None else normalise(pooled, self.norm_pooled)
            weights = weights * (1 - torch.tanh(self.raw(read) / self.cap).square())
        found = self._summed(weights, states)
        if self.norm_pooled is not None:
            found = pulled_back(found, self.norm_pooled, denominator(pooled, self.norm_pooled).reciprocal())
        if self.pooler is not None:
            found = (found * slopes(self.activation, before)) @ self.pooler.weight.mT
        if self.norm is not None:
            found = pulled_back(found, self.norm, denominator(states, self.norm).reciprocal())
        return found

    def columns(self, classes: Tensor) -> tuple[Tensor, Tensor | None]:
        """The classifier's columns (d_read, k) and bias (k,) of some classes (k,), times the factor, in float32."""
        weight = self.weight[:, classes] if self.transposed else self.weight[classes].mT
        weight = at_least_float32(weight) * self.factor
        return weight, None if self.bias is None else at_least_float32(self.bias[classes]) * self.factor

    def lines(self, state: Tensor, classes: Tensor) -> Tensor:
        """The slopes (k,) of the lines through the origin that meet the soft cap at some classes of one row."""
        weight, bias = self.columns(classes)
        raw = (self.read(state) @ weight)[0] if bias is None else (self.read(state) @ weight + bias)[0]
        if self.cap is None:
            return torch.ones_like(raw)
        return torch.where(raw == 0, torch.ones_like(raw), self.cap * torch.tanh(raw / self.cap) / raw)

    def _summed(self, weights: Tensor, like: Tensor) -> Tensor:
        """Σ_c weights_c · column_c, (row, d_read)."""
        found = like.new_zeros(len(weights), self.weight.shape[0 if self.transposed else 1])
        for block, matrix in self._blocks(like):
            found += weights[:, block].to(like.dtype) @ matrix
        return found * self.factor

    def _blocks(self, like: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """The classifier as (class, d_read) in the precision of the maths, whole where nothing must be converted."""
        matrix = self.weight.mT if self.transposed else self.weight
        step = len(matrix) if matrix.dtype == like.dtype else _CLASSES
        for start in range(0, len(matrix), step):
            yield slice(start, start + step), matrix[start : start + step].to(like.dtype)

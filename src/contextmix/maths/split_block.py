"""One block as it acts on parts of rows: matrices and numbers only, what was recorded of the true rows among them.

A norm in front of a matrix or behind it, its denominator frozen, is that matrix changed and one number per row. Those
numbers go into the attention weights, so a block of any layout costs what one without norms does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from contextmix.maths.norms import Norm
from contextmix.maths.projections import Affine


@dataclass(frozen=True)
class NormAfter:
    """A norm that the residual stream itself passes (post-norm).

    Attributes:
        norm: The norm.
        total: (query, d_model): its true input.
    """

    norm: Norm
    total: Tensor

    def queries(self, rows: slice) -> NormAfter:
        """The same for some queries only."""
        return replace(self, total=self.total[rows])


@dataclass(frozen=True)
class SplitAttention:
    """Attention as it acts on parts, norms around it folded in.

    Attributes:
        attention: (head, query, key): weights after softmax, divided by the denominators of the norm in front (by key)
            and of the norm on the output (by query).
        value_weight: (d_model, head · d_head).
        output_weight: (head, d_head, d_model).
        bias: What it adds to each row beside the parts: (d_model,), or (query, d_model), or None.
        after: The norm after the addition, or None.
        gate: (query, head · d_head): what the heads' output is multiplied by, or None.
    """

    attention: Tensor
    value_weight: Tensor
    output_weight: Tensor
    bias: Tensor | None
    after: NormAfter | None = None
    gate: Tensor | None = None

    def queries(self, rows: slice) -> SplitAttention:
        """The same for some queries only."""
        after = None if self.after is None else self.after.queries(rows)
        bias, gate = _row(self.bias, rows), _row(self.gate, rows)
        return replace(self, attention=self.attention[:, rows], bias=bias, after=after, gate=gate)


@dataclass(frozen=True)
class SplitFeedForward:
    """The feed-forward part as it acts on parts, norms around it folded in.

    Attributes:
        first: What its activation reads: the only matrix in front of it, or that of the gate.
        up: The other factor of a gated part; None for a plain one.
        activation: Element-wise.
        before: (query, d_ffn): the true input of the activation.
        factor: (query, d_ffn): what ``up`` gives for the true rows; None for a plain part.
        second: The matrix after it, with its bias.
        read: (query, 1): one over the denominator of the norm in front, or None.
        write: (query, 1): the same for the norm on its output, or None.
        shift: (d_model,): the bias of the norm on its output, or None.
        after: The norm after the addition, or None.
    """

    first: Affine
    activation: Callable[[Tensor], Tensor]
    before: Tensor
    second: Affine
    up: Affine | None = None
    factor: Tensor | None = None
    read: Tensor | None = None
    write: Tensor | None = None
    shift: Tensor | None = None
    after: NormAfter | None = None

    def queries(self, rows: slice) -> SplitFeedForward:
        """The same for some queries only."""
        after = None if self.after is None else self.after.queries(rows)
        factor, read, write = (_row(each, rows) for each in (self.factor, self.read, self.write))
        return replace(self, before=self.before[rows], factor=factor, read=read, write=write, after=after)


@dataclass(frozen=True)
class SplitBlock:
    """One block of one sequence.

    Attributes:
        attention: Its attention.
        ffn: Its feed-forward part.
        parallel: Whether both read the block's input.
    """

    attention: SplitAttention
    ffn: SplitFeedForward
    parallel: bool = False

    def queries(self, rows: slice) -> SplitBlock:
        """The same for some queries only."""
        return replace(self, attention=self.attention.queries(rows), ffn=self.ffn.queries(rows))


def _row(tensor: Tensor | None, rows: slice) -> Tensor | None:
    """Some queries of what has one row each; what all queries share has no such axis."""
    return tensor[rows] if tensor is not None and tensor.ndim > 1 else tensor

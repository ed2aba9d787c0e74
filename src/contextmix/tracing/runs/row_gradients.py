"""Gradients of the scores of several neighbouring rows, each of its own, from one graph.

The head reads each row by itself. So one pass through it gives, for all rows, the gradient at what the last block
wrote; from there one backward pass per row leads through the blocks. The head, often the largest matrix of a model, is
passed once, and the forward pass is made once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from contextmix.errors import TraceDoesNotAddUp
from contextmix.maths.precision import at_least_float32
from contextmix.traces.span_run import RowGradients
from contextmix.traces.target import Target
from contextmix.tracing.recording.differentiable import frozen, refuse_gradientless
from contextmix.tracing.recording.quiet import evaluating, first_states, plain_outputs
from contextmix.tracing.recording.scores import scores_in
from contextmix.tracing.recording.turns import after, undone
from contextmix.tracing.recording.verify import relative_error, tolerance
from contextmix.tracing.runs.several_rows import SeveralRows


@dataclass(frozen=True)
class RowGradientsRun(SeveralRows):
    """A causal model, one sequence, and rows of it that each say something.

    Attributes:
        rows: Their positions; the last one is the sequence's last.
        targets: The explained score of each.
    """

    rows: slice = field(kw_only=True)
    targets: tuple[Target, ...] = field(kw_only=True)

    @property
    def last_logits(self) -> int:
        """One for each row."""
        return len(self.targets)

    def recorded(self) -> RowGradients:
        """The run, whose graph lives as long as what is given back.

        Raises:
            UnsupportedModel: If gradients are asked of a quantised model, or the scores do not depend on the embeddings
                in a way that they can follow.
            TraceDoesNotAddUp: If the head reads other rows too, or something leads around the last block.
            NotFinite: If a gradient is NaN or infinite.
        """
        refuse_gradientless(self.model)
        embeddings = self.entered()
        wrote: list[Tensor] = []

        def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            states = first_states(output)
            assert states is not None  # a block writes hidden states
            wrote[:] = [states]  # a shared block runs several times

        block = self.model.get_submodule(self.anatomy.blocks[-1].path)
        with torch.inference_mode(False), torch.enable_grad():
            leaves = embeddings[None].clone().requires_grad_()
            with (
                evaluating(self.model),
                plain_outputs(self.model),
                frozen(self.model),
                undone(after(block, note).remove),
            ):
                scores = self.scored(leaves)
            explained = torch.stack([target.of(row) for target, row in zip(self.targets, scores, strict=True)])
            self.refuse_no_path(explained, wrote[0])
            (directions,) = torch.autograd.grad(explained.sum(), wrote[0], retain_graph=True)
        graph = _Graph(leaves, wrote[0], directions, self.rows, self.anatomy.blocks[-1].turned)
        last = self._last(graph, explained[-1])
        return RowGradients(embeddings, scores.detach(), lambda: chain(graph.but_last(), [last]))

    def _scores(self, outputs: Any, places: Tensor | None = None) -> Tensor:
        """(row, class)."""
        scores = scores_in(outputs)
        assert scores is not None  # a language model has scores
        return scores[0, -len(self.targets) :]

    def _last(self, graph: _Graph, explained: Tensor) -> Tensor:
        """The last row's gradient, taken from its score alone: that of the graph must be the same."""
        with torch.inference_mode(False):
            (whole,) = torch.autograd.grad(explained, graph.leaves, retain_graph=True)
        self.targets[-1].refuse_infinite(whole)
        found = at_least_float32(whole[0])
        if len(self.targets) == 1:  # nothing is read by another way
            return found
        error = relative_error(graph.of(len(self.targets) - 1), found)
        allowed = tolerance(graph.leaves.dtype)
        if not error <= allowed:
            raise TraceDoesNotAddUp(
                f"The gradient of the last row's score differs by {error:.1e} (relative; allowed {allowed:.0e}) from "
                "the one that passes the last block's output in that row alone: the head reads other rows too, or "
                "something leads around the blocks. Explain each step with explain."
            )
        return found


@dataclass(frozen=True, eq=False)
class _Graph:
    """From the embeddings to what the last block wrote, and each row's direction there.

    Attributes:
        leaves: (1, key, d_model): the embeddings.
        last: What the last block wrote.
        directions: The gradient of the sum of all scores with respect to it.
        rows: The rows that say something.
        turned: See `BlockAnatomy`.
    """

    leaves: Tensor
    last: Tensor
    directions: Tensor
    rows: slice
    turned: bool

    def of(self, number: int) -> Tensor:
        """The gradient of one row's score, (key, d_model)."""
        place = self.rows.start + number
        row = (place, 0) if self.turned else (0, place)
        direction = torch.zeros_like(self.directions)
        direction[row] = self.directions[row]
        with torch.inference_mode(False):
            (found,) = torch.autograd.grad(self.last, self.leaves, direction, retain_graph=True)
        return at_least_float32(found[0])

    def but_last(self) -> Iterator[Tensor]:
        """The gradients of all rows but the last, one after another."""
        yield from map(self.of, range(self.rows.stop - self.rows.start - 1))

"""Gradients of one score with respect to the vectors that stand for the tokens, at one point or along a path.

Gradients are asked for by name (`torch.autograd.grad`), so no parameter's ``.grad`` is ever written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from contextmix.maths.precision import at_least_float32

Scores = Callable[[Tensor], Tensor]
"""Points (batch, key, d_model) → scores (batch, target); each row depends on its own point alone."""


class Disconnected(ValueError):
    """Scores that do not depend on the point in a way that gradients can follow."""


class NoRoom(ValueError):
    """A memory budget that does not hold one point; ``needed`` says how many bytes one takes."""

    def __init__(self, needed: int) -> None:
        super().__init__(f"One point takes {needed} bytes.")
        self.needed = needed


def score_gradients(scores_from: Scores, points: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """One score and its gradient at each of some points, all points in one pass.

        y_b = scores(e_b)[target],   g_b = ∂y_b/∂e_b

    Args:
        scores_from: The function.
        points: (batch, key, d_model): e.
        target: The score to take, a position on its last axis.

    Returns:
        Scores (batch,) and gradients (batch, key, d_model), in float32 at least.

    Raises:
        Disconnected: If the scores do not depend on the points.

    Example:
        >>> weights = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> score_gradients(lambda points: points[:, 0] @ weights, torch.ones(1, 2, 2), 1)
        (tensor([6.]), tensor([[[2., 4.],
                 [0., 0.]]]))
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaves = points.detach().clone().requires_grad_()
        scores = scores_from(leaves)[:, target]
        if not scores.requires_grad:
            raise Disconnected("The scores do not depend on the points.")
        (found,) = torch.autograd.grad(scores.sum(), leaves, allow_unused=True)
    if found is None:
        raise Disconnected("The scores do not depend on the points.")
    return at_least_float32(scores.detach()), at_least_float32(found)


def token_lengths(vectors: Tensor) -> Tensor:
    """The length of each token's vector: (..., key, d_model) → (..., key)."""
    lengths: Tensor = vectors.norm(dim=-1)
    return lengths


def token_sums(vectors: Tensor) -> Tensor:
    """The sum of each token's vector, which keeps the sign: (..., key, d_model) → (..., key)."""
    return vectors.sum(-1)


REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"norm": token_lengths, "sum": token_sums}
"""From one number per component to one per token."""


def path_gradient(
    gradients_at: Callable[[Tensor], Tensor], start: Tensor, end: Tensor, steps: int, memory: int
) -> Tensor:
    """The average gradient on the straight path between two points.

        ḡ = ∫₀¹ g(start + t·(end − start)) dt ≈ 1/m Σ_k g(start + t_k·(end − start)),   t_k = (k − ½)/m,   k = 1 … m

    ``(end − start) · ḡ`` is the difference of the score, up to the error of this midpoint rule.

    Args:
        gradients_at: Points (batch, key, d_model) → gradients of the same shape.
        start: (key, d_model).
        end: (key, d_model).
        steps: Points on the path.
        memory: Bytes that the backward passes may use; the first one is measured.

    Returns:
        (key, d_model), in the data type of the gradients.

    Raises:
        NoRoom: If one point needs more than that.
    """
    base, way = at_least_float32(start), at_least_float32(end) - at_least_float32(start)
    nodes = ((torch.arange(steps, dtype=torch.float64) + 0.5) / steps).to(base)[:, None, None]
    with kept_bytes() as kept:
        total = gradients_at(base + nodes[:1] * way)[0]
    # A backward pass adds half of what it finds, and nearly as much in a shallow model of a long text (measured).
    needed = 2 * sum(kept.values()) + 4 * base.nbytes
    if needed > memory:
        raise NoRoom(needed)
    room = memory // needed
    for rows in (slice(done, done + room) for done in range(1, steps, room)):
        total = total + gradients_at(base + nodes[rows] * way).sum(0)
    return total / steps


@contextmanager
def kept_bytes() -> Iterator[dict[int, int]]:
    """Counts what is kept for backward passes, apart from parameters: address → bytes, each storage once."""
    found: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        if not isinstance(tensor if tensor._base is None else tensor._base, nn.Parameter):
            storage = tensor.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        yield found

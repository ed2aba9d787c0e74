"""What each source position adds to a score through the attention of the rows that are read: no backward pass.

A score is a direction u_t in the stream that leaves the last block at row t. Going down, u_t passes each norm on the
stream as its transpose, the denominator held at its true value; everything that was added to the stream on the way is
then one number, ⟨u_t, what was added⟩. What attention added is a sum over source positions j,

    ⟨u_t, T_tj⟩ = Σ_h α^h_tj ⟨W^h u_t, v^h_j⟩

so that with u_t pulled back through the output projection first no vector of the size of the model is built per pair.
"""

from __future__ import annotations

import torch
from torch import Tensor

from contextmix.maths.norms import Norm, denominator, pulled_back


def at_heads(weight: Tensor, direction: Tensor, gate: Tensor | None = None) -> Tensor:
    """Directions in the stream as directions in the heads' output, W^h u_t, behind whatever gate that passes.

    Args:
        weight: W, the output projection cut by head, (head, d_head, d_model).
        direction: u, (..., row, d_model).
        gate: (head, row, d_head) or (head, row, 1): what the heads' output is multiplied by; None for ones.

    Returns:
        (head, ..., row, d_head).
    """
    found = torch.einsum("hcd,...td->h...tc", weight, direction)
    if gate is None:
        return found
    return found * gate.to(found.dtype).view(len(gate), *(1,) * (direction.ndim - 2), *gate.shape[1:])


def spoken_for(
    attention: Tensor, value: Tensor, weight: Tensor, direction: Tensor, gate: Tensor | None = None
) -> Tensor:
    """What each source position brings along a direction, heads summed.

    Args:
        attention: α, (head, row, key); like the values in the precision of the direction, or in a lower one.
        value: v with its bias, (key-value head, key, d_head); heads share them in neighbouring groups.
        weight: W, the output projection cut by head, (head, d_head, d_model).
        direction: u, (..., row, d_model).
        gate: See `at_heads`.

    Returns:
        Σ_h α^h_tj ⟨W^h u_t, v^h_j⟩, (..., row, key), signed. Cost: row · key · head · d_head multiplications.

    Example:
        >>> alpha, v, w = torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[2.0], [4.0]]]), torch.tensor([[[1.0, 3.0]]])
        >>> spoken_for(alpha, v, w, torch.tensor([[1.0, 0.0]]))
        tensor([[1., 2.]])
    """
    read = at_heads(weight, direction, gate)
    if weight.shape[1] == 1 and len(value) == len(read):  # channels: a loop over as many heads would take too long
        drawn = attention.to(direction.dtype) * value.to(direction.dtype).mT  # (channel, row, key)
        return torch.einsum("h...tc,htj->...tj", read, drawn)
    groups, found = len(read) // len(value), direction.new_zeros(*direction.shape[:-1], attention.shape[-1])
    for head, (rows, weights) in enumerate(zip(read, attention, strict=True)):
        found.addcmul_(weights.to(found.dtype), rows @ value[head // groups].to(found.dtype).mT)
    return found


def through_norm(direction: Tensor, norm: Norm | None, full: Tensor) -> tuple[Tensor, Tensor]:
    """A direction behind a norm as one in front of it, and what the norm's bias adds along it.

    Args:
        direction: (..., row, d_model).
        norm: The norm, or None for none.
        full: (row, d_model): the true input of the norm, which gives its denominator.

    Returns:
        (..., row, d_model) and (..., row).
    """
    if norm is None:
        return direction, direction.new_zeros(direction.shape[:-1])
    shift = (
        direction.new_zeros(direction.shape[:-1]) if norm.bias is None else direction @ norm.bias.to(direction.dtype)
    )
    return pulled_back(direction, norm, denominator(full, norm).reciprocal()), shift


def against_others(scores: Tensor, chosen: Tensor) -> Tensor:
    """What each score counts in the first-order change of the log-odds of the chosen one.

        ∂ log(p_y / (1 − p_y)) = ∂ s_y − Σ_{w≠y} q_w ∂ s_w,   q the softmax of the other scores

    Unlike log p_y, whose change vanishes where p_y is near one, this keeps its size.

    Args:
        scores: (row, class), at least two classes.
        chosen: y, (row,).

    Returns:
        (row, class): 1 at y, −q elsewhere; rows sum to zero.

    Example:
        >>> against_others(torch.tensor([[3.0, 1.0, 1.0]]), torch.tensor([0]))
        tensor([[ 1.0000, -0.5000, -0.5000]])
    """
    index = chosen.unsqueeze(-1)
    others = scores.scatter(-1, index, -torch.inf).softmax(-1)
    return (-others).scatter(-1, index, 1.0)


def spoken_by_head(
    attention: Tensor, value: Tensor, weight: Tensor, direction: Tensor, gate: Tensor | None = None
) -> Tensor:
    """The same as `spoken_for` with heads apart; a layer that mixes channel by channel counts as one head.

    Returns:
        α^h_tj ⟨W^h u_t, v^h_j⟩, (head, row, key), signed.
    """
    if weight.shape[1] == 1 and len(value) == len(weight):
        return spoken_for(attention, value, weight, direction, gate).unsqueeze(0)
    read = at_heads(weight, direction, gate)
    groups = len(read) // len(value)
    along = read @ value.to(direction.dtype).mT.repeat_interleave(groups, 0)
    return along * attention.to(direction.dtype)

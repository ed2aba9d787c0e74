"""What stands between the heads and the output projection, as recorded: one factor per row, head and channel.

    r = norm( D ⊙ o )

D is what was read over what the heads gave: both are the model's own tensors, so each quotient is right to rounding.
Where a factor is one number for a head, it is fitted to all its channels, and must fit. The γ of a norm over all heads
belongs to the output projection, and so do the mean that it subtracts and its bias; its denominator is one more factor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import TraceDoesNotAddUp
from contextmix.maths.norms import Norm, denominator
from contextmix.maths.precision import at_least_float32
from contextmix.maths.shapes import Bound
from contextmix.traces.anatomy import BlockAnatomy
from contextmix.traces.places import Outlet
from contextmix.tracing.recording.quiet import turned
from contextmix.tracing.recording.resolve import norm_at, part


def reader_path(place: BlockAnatomy) -> str:
    """The module that reads D ⊙ o."""
    outlet = place.outlet
    return place.attention.output if outlet is None or outlet.norm is None else outlet.norm.path


def turning(place: BlockAnatomy, hook: Callable[..., None]) -> Callable[..., None]:
    """A hook of either kind on a module that reads or writes (token, batch, channel), as if it did not."""
    if place.outlet is None or not place.outlet.turned:
        return hook

    def turn(module: nn.Module, args: tuple[Any, ...], states: Any) -> None:
        hook(module, tuple(turned(one) if isinstance(one, Tensor) else one for one in args), _turned(states))

    return turn


def _turned(states: Any) -> Any:
    return turned(states) if isinstance(states, Tensor) else states


def recorded_gate(
    model: PreTrainedModel,
    place: BlockAnatomy,
    tensors: Mapping[str, Tensor],
    heads: Tensor,
    read: Tensor,
    allowed: float,
) -> dict[str, Any]:
    """What the heads' output was multiplied by, as a `LayerTrace` has it.

    Args:
        model: The model.
        place: The block, which has an outlet.
        tensors: Attention and value of it, in float32 at least.
        heads: What its heads gave, (batch, query, head, d_head).
        read: What stands behind them read, (batch, query, head · d_head).
        allowed: The largest relative error.

    Raises:
        TraceDoesNotAddUp: If it is another kind of factor than on the probe.
    """
    outlet = place.outlet
    assert outlet is not None  # asked for by the caller
    norm = norm_at(part(model, place.path), outlet.norm)
    attention, value = tensors["attention"], tensors["value"]
    gate = gate_of(outlet, norm, attention, value, heads.detach(), read.detach(), allowed)
    return {} if gate is None else {"gate": gate, "gate_answers": outlet.answers}


def gate_of(
    outlet: Outlet, norm: Norm | None, attention: Tensor, value: Tensor, output: Tensor, read: Tensor, allowed: float
) -> Tensor | None:
    """What the heads' output was multiplied by, (batch, head, query, d_head) or (batch, head, query, 1).

    Args:
        outlet: What was found on the probe.
        norm: Its norm with parameters.
        attention: (batch, head, query, key).
        value: (batch, head, key, d_head).
        output: (batch, query, head, d_head): what the heads gave, in the model's precision.
        read: (batch, query, head · d_head): what the norm, or the projection, read.
        allowed: The largest relative error.

    Returns:
        None where the outlet changes nothing but the order of axes.

    Raises:
        TraceDoesNotAddUp: If it is another kind of factor than on the probe.
    """
    given = at_least_float32(output.transpose(1, 2))  # (batch, head, query, d_head)
    read = at_least_float32(read)
    factors = []
    if outlet.inside:
        factors.append(_fitted(attention @ value, given, allowed))
    if outlet.factor is not None:
        taken = read.reshape(output.shape).transpose(1, 2)
        sent = Bound(_sent, attention, value, torch.finfo(output.dtype).tiny)
        factors.append(_fitted(given, taken, allowed) if outlet.flat else _quotient(given, taken, sent))
    if norm is not None:
        inverse = denominator(read, norm).reciprocal().unsqueeze(1)  # (batch, 1, query, 1)
        factors.append(inverse.expand(*given.shape[:-1], 1))
    return reduce(torch.mul, factors) if factors else None


def _fitted(given: Tensor, taken: Tensor, allowed: float) -> Tensor:
    """The one number per head and row by which all channels were multiplied."""
    length = given.square().sum(-1, keepdim=True)
    factor = (given * taken).sum(-1, keepdim=True) / length.clamp_min(torch.finfo(length.dtype).tiny)
    error, size = (factor * given - taken).norm(dim=-1).amax(), taken.norm(dim=-1).mean()
    if error > allowed * size:  # NaN is called by its name when the layer is proved
        raise TraceDoesNotAddUp(
            f"On the probe the output of each head was multiplied by one number per row; here channels differ by "
            f"{float(error / size):.1e} (relative; allowed {allowed:.0e}), so it is another model on this input. No "
            "number was produced."
        )
    return factor


def _sent(attention: Tensor, value: Tensor, least: float) -> Tensor:
    """Where anything is sent, (batch, head, query, d_head), that the model's precision can hold."""
    return (attention @ value.abs()) >= least


def _quotient(given: Tensor, taken: Tensor, sent: Callable[[], Tensor]) -> Tensor:
    """The factor of each channel; where the heads gave nothing, zero if nothing was sent there either."""
    nothing = given == 0
    factor = taken / given.masked_fill(nothing, 1)
    if not bool(nothing.any()):
        return factor
    added = bool(taken.masked_select(nothing).any())
    if added or bool((nothing & sent()).any()):
        found = "something is added to them" if added else "what was sent there cancels to zero"
        raise TraceDoesNotAddUp(
            f"Channels of the heads' output are exactly zero and their gate cannot be read there, since {found}. "
            "Shares of the heads would not be shares of what is read. No number was produced. In half precision, try "
            "float32."
        )
    return factor.masked_fill(nothing, 0)

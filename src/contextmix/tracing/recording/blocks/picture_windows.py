"""Attention in windows of a picture as one map over all of its tokens.

A block cuts its tokens into windows, fills the last ones up, attends in each by itself, and puts the tokens back. Which
slot of which window holds which token is read from the block's own code: it runs once more on numbers of tokens in the
place of states, as far as its attention. Between tokens of two windows a map is zero. What fills a window up is no
token: what it sends is a constant of each row, like a bias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from contextmix.errors import UnsupportedModel
from contextmix.tracing.recording.listeners import unheard
from contextmix.tracing.recording.quiet import first_states
from contextmix.tracing.recording.turns import after, before, undone

_BASE = 128
"""Numbers of tokens are written in digits that half precision holds exactly."""
_DIGITS = 3


def flat(states: Tensor) -> Tensor:
    """States over (batch, token), also where tokens are rows and columns of a picture."""
    return states.flatten(1, 2) if states.ndim == 4 else states


@dataclass(frozen=True, eq=False)
class Windows:
    """Where the tokens of one sequence are.

    Attributes:
        slots: (window, slot): a token, or −1 for what fills a window up. Each token stands in one slot.
    """

    slots: Tensor

    @property
    def _order(self) -> Tensor:
        """(token,): its slot, of all windows in one row."""
        row = self.slots.flatten()
        return row.argsort()[int((row < 0).sum()) :]

    def hold(self, states: Tensor, batch: int) -> bool:
        """Whether states are over these windows, (batch · window, slot, channel)."""
        return states.ndim == 3 and states.shape[:2] == (batch * len(self.slots), self.slots.shape[1])

    def fit(self, attention: Tensor, batch: int) -> bool:
        """Whether weights are over these windows, (batch · window, head, slot, slot)."""
        n_windows, n_slots = self.slots.shape
        return (attention.shape[0], *attention.shape[2:]) == (batch * n_windows, n_slots, n_slots)

    def tokens(self, states: Tensor) -> Tensor:
        """States (batch · window, slot, channel) as (batch, token, channel)."""
        return states.reshape(-1, self.slots.numel(), states.shape[-1])[:, self._order]

    def values(self, value: Tensor) -> Tensor:
        """Values (batch · window, head, slot, d_head) as (batch, head, token, d_head)."""
        rows = value.transpose(1, 2).flatten(2)
        own = self.tokens(rows)
        return own.view(*own.shape[:2], value.shape[1], -1).transpose(1, 2)

    def back(self, values: Tensor, own: Tensor) -> Tensor:
        """The same the other way round; what fills windows up keeps its own value."""
        rows = own.transpose(1, 2).flatten(2).reshape(len(values), self.slots.numel(), -1).clone()
        rows[:, self._order] = values.transpose(1, 2).flatten(2)
        return rows.view(len(own), own.shape[2], own.shape[1], -1).transpose(1, 2)

    def maps(self, attention: Tensor) -> Tensor:
        """Maps (batch · window, head, slot, slot) as (batch, head, token, token)."""
        n_windows, n = len(self.slots), len(self._order)
        each = attention.view(-1, n_windows, *attention.shape[1:])
        whole = attention.new_zeros(len(each), attention.shape[1], n + 1, n + 1)  # one more, for what is no token
        for window in range(n_windows):
            own = self.slots[window]
            rows = own.where(own >= 0, torch.full_like(own, n))
            whole[:, :, rows[:, None], rows[None, :]] = each[:, window]
        return whole[:, :, :n, :n].contiguous()

    def constant(self, attention: Tensor, value: Tensor) -> Tensor | None:
        """What each row draws from what fills its window up, (batch, token, head · d_head); None if nothing does."""
        filling = self.slots < 0
        if not bool(filling.any()):
            return None
        groups = attention.shape[1] // value.shape[1]
        sent = value if groups == 1 else value.repeat_interleave(groups, dim=1)
        each = filling.repeat(len(attention) // len(filling), 1)
        drawn = attention @ (sent * each[:, None, :, None])
        return self.tokens(drawn.transpose(1, 2).flatten(2))


class _Enough(Exception):
    """What was wanted is known, and the rest of the block need not run."""


def windows_of(
    block: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    norm: nn.Module | None,
    attention: nn.Module,
) -> Windows | None:
    """Where a block puts its tokens before it attends.

    Args:
        block: The block.
        args: What it is called with.
        kwargs: The same.
        norm: What reads its states first; None if its attention does.
        attention: The module that attends: what it reads is cut into windows.

    Returns:
        The windows; None if its attention does not read one row for each token, moved and nothing else.
    """
    states = first_states(args, kwargs)
    assert states is not None  # a block reads hidden states
    if states.shape[-1] < _DIGITS or flat(states).shape[1] + 1 >= _BASE**_DIGITS:
        return None
    numbers = _numbers(states)
    read: list[Tensor] = []

    def stop(_: nn.Module, told: tuple[Any, ...], named: dict[str, Any]) -> None:
        found = first_states(told, named)
        if found is not None:
            read.append(found)
        raise _Enough

    with torch.no_grad(), ExitStack() as stack, unheard():
        where: tuple[nn.Module, Callable[..., Any]] = (block, lambda *_: _put((args, dict(kwargs)), states, numbers))
        if norm is None:
            stack.enter_context(undone(before(*where).remove))
        else:
            stack.enter_context(undone(after(norm, lambda *_: numbers).remove))
        stack.enter_context(undone(before(attention, stop).remove))
        with suppress(_Enough):
            block(*args, **kwargs)
    return _read(read[0], flat(states)) if read else None


def _put(place: Any, old: Tensor, new: Tensor) -> Any:
    if place is old:
        return new
    if type(place) is dict:
        return {name: _put(value, old, new) for name, value in place.items()}
    if type(place) in (tuple, list):
        return type(place)(_put(value, old, new) for value in place)
    return place


def _numbers(states: Tensor) -> Tensor:
    """States that say which token they are, counted from 1, in their first channels; the same in each sequence."""
    rows = flat(states)
    digits = torch.arange(1, rows.shape[1] + 1, device=states.device)
    numbers = torch.zeros_like(rows)
    for place in range(_DIGITS):
        numbers[..., place] = (digits // _BASE**place % _BASE).to(rows)
    return numbers.view(states.shape)


def _read(read: Tensor, states: Tensor) -> Windows | None:
    """The windows in what attention reads of these numbers."""
    rows = flat(read)
    batch, n = states.shape[:2]
    if rows.ndim != 3 or rows.shape[-1] != states.shape[-1] or len(rows) % batch:
        return None
    digits = rows[..., :_DIGITS].round().long()
    exact = rows.clone()
    exact[..., :_DIGITS] -= digits.to(rows)
    slots = sum((digits[..., place] * _BASE**place for place in range(_DIGITS)), start=torch.zeros_like(digits[..., 0]))
    each = slots.view(batch, len(rows) // batch, rows.shape[1]) - 1
    tokens = each[0][each[0] >= 0].sort().values
    moved = not bool(exact.ne(0).any()) and bool((each == each[0]).all())
    whole = len(tokens) == n and torch.equal(tokens, torch.arange(n, device=tokens.device))
    return Windows(each[0]) if moved and whole else None


def refuse_unknown(module: nn.Module, attention: Tensor, states: Tensor) -> None:
    """Refuse attention over other tokens than those of its block, where no windows explain it.

    Raises:
        UnsupportedModel: Always.
    """
    raise UnsupportedModel(
        f"{type(module).__name__}: the {states.shape[0]} × {states.shape[1]} tokens of its block attend as "
        f"{attention.shape[0]} sequences of {attention.shape[-2]}, and these are no windows in which each token stands "
        "once, so one map over its tokens cannot say that. No number was produced."
    )

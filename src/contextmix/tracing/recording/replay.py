"""Run one block again as a function of its input states, with gradients: what the model gave it stays as it was."""

from __future__ import annotations

from collections import UserDict
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import UnsupportedModel
from contextmix.maths.precision import at_least_float32
from contextmix.maths.shapes import by_shapes
from contextmix.traces.trace import Scores
from contextmix.tracing.recording.blocks.picture_windows import Windows, flat
from contextmix.tracing.recording.caches import untouched
from contextmix.tracing.recording.differentiable import refuse_gradientless, replaced_input
from contextmix.tracing.recording.listeners import Listener
from contextmix.tracing.recording.quiet import evaluating, first_states, turned, turned_back
from contextmix.tracing.recording.tap import tapped
from contextmix.tracing.recording.turns import is_ours


class _Slot:
    """Stands where the states were among a block's arguments, so that a replay does not keep them alive."""


_SLOT = _Slot()


class _Deaf:
    """A listener that wants to know nothing: the recorder of the clean run must not hear a replay."""

    deaf = True

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores | None) -> None:
        """See `tap.Listener`."""


@dataclass
class _Zeroing(_Deaf):
    """Sets the value of one token to zero before attention reads it, in every attention call or in one of them."""

    token: int
    heads: tuple[int, ...] | None
    call: int | None
    windows: bool
    cut: Windows | None = None
    calls: int = 0
    before: int = 0

    def edited(self, module: nn.Module, n_heads: int, value: Tensor) -> Tensor:
        """See `tap.ValueEditor`."""
        self.calls += 1
        if self.call is not None and self.call != self.calls - 1:
            return value
        if self.heads is not None and value.shape[1] != n_heads:
            raise UnsupportedModel(
                f"{type(module).__name__}: {n_heads} heads share {value.shape[1]} values, so the value of a few "
                "heads cannot be zeroed in a run of the block. Zero it in all heads."
            )
        here = self.token - (self.before if self.windows else 0)  # tokens of the windows before this one
        self.before += value.shape[2]
        if self.windows and not 0 <= here < value.shape[2]:
            return value
        values = value.clone() if self.cut is None else self.cut.values(value).clone()
        values[:, slice(None) if self.heads is None else list(self.heads), here] = 0
        return values if self.cut is None else self.cut.back(values, value)


@dataclass(frozen=True)
class BlockReplay:
    """One call of one block, to be made again with other states.

    Attributes:
        model: The model that the block is part of.
        block: The block.
        args: What it was called with, with a mark in the place of the states.
        kwargs: The same.
        dtype: Of the states.
        turned: See `BlockAnatomy`.
        axes: Of the states, as the block reads them.
        windows: Whether each of its attention calls is over some of the tokens alone.
        picture: Rows and columns of its tokens, if these are axes of the states.
        cut: The windows of a picture in which its tokens attend, in one call; None where all attend to all.
    """

    __repr__ = by_shapes

    model: PreTrainedModel
    block: nn.Module
    args: Any
    kwargs: Any
    dtype: torch.dtype
    turned: bool = False
    axes: int = 3
    windows: bool = False
    picture: tuple[int, ...] | None = None
    cut: Windows | None = None

    @classmethod
    def of(
        cls,
        model: PreTrainedModel,
        block: nn.Module,
        args: Any,
        kwargs: Any,
        is_turned: bool = False,
        is_picture: bool = False,
    ) -> BlockReplay:
        """From a call as a forward hook sees it."""
        states = first_states(args, kwargs)
        assert states is not None  # a block reads hidden states, or it would be none
        marked = untouched(put(args, states, _SLOT)), untouched(put(kwargs, states, _SLOT))
        picture = tuple(states.shape[1:3]) if is_picture else None
        return cls(model, block, *marked, states.dtype, is_turned, states.ndim, picture=picture)

    def __call__(self, states: Tensor) -> Tensor:
        """The block's output (batch, query, d_model) from other states of the shape of its own.

        Gradients flow if the states ask for them.

        Raises:
            UnsupportedModel: If they do not flow, or the model is quantised.
        """
        if states.requires_grad:
            refuse_gradientless(self.model)
        return self.run(states, _Deaf())

    def zeroed(
        self, states: Tensor, token: int | None, heads: tuple[int, ...] | None, call: int | None = None
    ) -> Tensor:
        """The block's output (batch, query, d_model) when the value of one token is zero, in some heads or in all.

        Args:
            states: (batch, query, d_model): the block's input.
            token: The token; None for the clean output.
            heads: Numbers of heads; None for all.
            call: Which of the block's attention calls, from 0; None for all.

        Raises:
            UnsupportedModel: If some heads are asked for and heads share values.
        """
        return self.run(states, _Deaf() if token is None else _Zeroing(token, heads, call, self.windows, self.cut))

    def run(self, states: Tensor, listener: Listener) -> Tensor:
        """The same, with someone who hears its attention."""
        with tapped(self.model, listener), evaluating(self.model), torch.set_grad_enabled(states.requires_grad):
            entering = self.as_read(states)
            args, kwargs = self.given(entering)
            with self._as_given(entering):
                found = first_states(self.block(*args, **kwargs))
            assert found is not None  # as in the clean run
            found = found if self.picture is None else flat(found)
            found = at_least_float32(turned(found) if self.turned else found)
        if states.requires_grad and not found.requires_grad:
            raise UnsupportedModel(
                f"{type(self.block).__name__} passes no gradients from its output to its input, so derivatives of it "
                "cannot be had (a quantised model?). No number was produced. Load the model in float32 or bfloat16."
            )
        return found

    def as_read(self, states: Tensor) -> Tensor:
        """States (batch, query, d_model) as the block reads them."""
        entering = states.to(self.dtype)
        if self.picture is not None:
            return entering.view(len(entering), *self.picture, -1)
        return turned_back(entering, self.axes) if self.turned else entering

    def given(self, entering: Tensor) -> tuple[Any, Any]:
        """What the block is called with, for these states."""
        return put(untouched(self.args), _SLOT, entering), put(untouched(self.kwargs), _SLOT, entering)

    def _as_given(self, states: Tensor) -> AbstractContextManager[None]:
        """The block was recorded behind the hooks that change its input, which must not change it twice."""
        theirs = any(not is_ours(hook) for hook in self.block._forward_pre_hooks.values())
        return replaced_input(self.block, states) if theirs else nullcontext()


@dataclass(frozen=True)
class ChainReplay:
    """Blocks one after another, from the embeddings to the last of them.

    Attributes:
        blocks: The blocks.
        later: The numbers of those before which something is added, which stands beside the embeddings.
    """

    __repr__ = by_shapes

    blocks: tuple[BlockReplay, ...]
    later: tuple[int, ...] = ()

    def __call__(self, states: Tensor) -> Tensor:
        """The last block's output from other embeddings, (batch, query, d_model · (1 + additions)); gradients flow."""
        states, *more = states.chunk(1 + len(self.later), -1)
        added = dict(zip(self.later, more, strict=True))
        for number, block in enumerate(self.blocks):
            states = block(states + added[number] if number in added else states)
        return states


def put(place: Any, old: Any, new: Any) -> Any:
    """The same arguments with one thing in the place of another."""
    if place is old:
        return new
    if type(place) is dict:
        return {name: put(value, old, new) for name, value in place.items()}
    if isinstance(place, UserDict):  # where blocks leave what later ones read: a replay leaves nothing there
        return copy(place)
    if type(place) in (tuple, list):
        return type(place)(put(value, old, new) for value in place)
    return place

"""Prove that nothing but attention mixes tokens in a block; the block equation alone cannot see it.

A feed-forward part that convolves over tokens, or values that come from another layer, fit the equation, and yet a map
of the attention would not say which tokens a state is made of. So each block runs again with one token of its input
changed, while the output of its attention is held at what it was: only that token's output may change, and only that
token's value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import UnsupportedModel
from contextmix.traces.trace import Scores
from contextmix.tracing.discovery.diary import Attended, Call, Diary
from contextmix.tracing.discovery.other_token import same_elsewhere, with_other_token
from contextmix.tracing.discovery.second_mixer import second_mixer
from contextmix.tracing.recording.blocks.picture_windows import Windows
from contextmix.tracing.recording.listeners import Listener, listening
from contextmix.tracing.recording.mixing.routing import Routed
from contextmix.tracing.recording.quiet import first_states
from contextmix.tracing.recording.replay import BlockReplay, put
from contextmix.tracing.recording.turns import after, undone
from contextmix.tracing.recording.verify import close, float32_tolerance


@dataclass(frozen=True, eq=False)
class Suspect:
    """A block as it was found.

    Attributes:
        call: The module call that is the block.
        moment: Its self-attention.
        attention_out: What the output projection of each of its attention calls wrote, by path within the block.
        turned: See `BlockAnatomy`.
        borrows: Whether it mixes the values of an earlier block.
        cut: The windows of a picture in which its tokens attend; None where all attend to all.
        picture: See `BlockAnatomy`.
        beside: Whether a mixer that is no attention stands beside its attention.
    """

    call: Call
    moment: Attended
    attention_out: Mapping[str, Tensor]
    turned: bool = False
    borrows: bool = False
    cut: Windows | None = None
    picture: bool = False
    beside: bool = False

    @classmethod
    def of(cls, diary: Diary, call: Call, moment: Attended, *projections: str, turned: bool = False) -> Suspect:
        """From the diary and the paths of the output projections within the block."""
        within = {one.path: one.wrote for one in diary.inside(call)}
        return cls(call, moment, {path: within[f"{call.path}.{path}".strip(".")] for path in projections}, turned)


def refuse_hidden_mixing(model: PreTrainedModel, blocks: Sequence[Suspect]) -> None:
    """Change one token of each block's input and see what else moves.

    Args:
        model: The model.
        blocks: All its blocks in running order.

    Raises:
        UnsupportedModel: If another token's output or value moves, or the token's own value does not; names the block.
    """
    for block in reversed(blocks):  # a later one may read what an earlier one left behind, and that one runs again too
        reason = _mixes(model, block)
        if reason is not None:
            raise UnsupportedModel(
                f"{model.config.model_type!r}: in {block.call.path} ({type(block.call.module).__name__}), {reason}. "
                "A map of its attention would not say which tokens its output is made of. No number was produced."
            )


def _mixes(model: PreTrainedModel, block: Suspect) -> str | None:
    """What mixes tokens in a block beside attention; None if nothing does."""
    entered, left, value = block.call.read, block.call.wrote, block.moment.value
    allowed = float32_tolerance(left.dtype)  # as for finding it
    token, changed = with_other_token(entered)
    ear, own = _Ear(changed.shape[-2], block.cut, beside=block.beside), block.call
    replay = BlockReplay.of(model, own.module, own.args, own.kwargs, block.turned, block.picture)
    try:
        with torch.no_grad(), _held(block, ear):
            before = _values_beside(replay, block)
            wrote = replay.run(changed, ear).to(left.dtype)
    except Exception as failure:  # whatever a model raises
        return f"nothing can be changed: it does not run a second time ({type(failure).__name__}: {failure})"
    if not same_elsewhere(wrote, left, token, allowed):
        return _mixed_beside(model, block, ear.value, token, changed)
    if ear.value is None or ear.value.shape != value.shape or ear.value.shape[-2] != changed.shape[-2]:
        return "the keys of attention are not the tokens that enter it"
    if not same_elsewhere(ear.value, value, token, allowed):
        return "the value of one token is made of several tokens"
    if block.beside and not _by_token(before, ear.other, changed.shape[-2], token, allowed):
        return "the values of the mixer beside attention are not made of what enters it, one token at a time"
    held = close(ear.value[..., token, :], value[..., token, :], allowed)
    if block.borrows:
        return None if held else "attention mixes values of its own and of another layer"
    if held:
        return "the values that attention mixes are not made of what enters it (they come from another layer)"
    return None


def _values_beside(replay: BlockReplay, block: Suspect) -> Tensor | None:
    """The values of the mixer beside attention as they were, (batch, token, channel)."""
    ear = _Ear(block.call.read.shape[-2], block.cut, beside=True)
    if block.beside:
        replay.run(block.call.read, ear)
    return ear.other


def _by_token(before: Tensor | None, found: Tensor | None, tokens: int, token: int, allowed: float) -> bool:
    """Whether of the values (batch, token, channel) those of the changed token moved, and no others."""
    if before is None or found is None or found.shape != before.shape or found.shape[1] != tokens:
        return False
    moved = not close(found[:, token], before[:, token], allowed)
    return moved and same_elsewhere(found, before, token, allowed)


class _Ear:
    """Hears the values of the first attention call, and of those after it until all tokens have one (in windows)."""

    def __init__(self, tokens: int, cut: Windows | None = None, *, beside: bool = False) -> None:
        self.tokens, self.cut, self.beside = tokens, cut, beside
        self.value: Tensor | None = None
        self.other: Tensor | None = None

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores | None) -> None:
        """See `tap.Listener`."""
        values = value if self.cut is None else self.cut.values(value)
        own, heard = values.transpose(1, 2).flatten(2), self.value
        if heard is None:
            self.value = own
        elif heard.shape[1] < self.tokens:
            self.value = torch.cat([heard, own], 1)

    def routed(self, module: nn.Module, call: Routed) -> None:
        """See `RoutedListener`."""
        if self.beside:
            self.other = call.value.transpose(1, 2).flatten(2)
        else:
            self.heard(module, call.value, call.value, call.output, None)


@contextmanager
def _held(block: Suspect, listener: Listener) -> Iterator[None]:
    """The output projections write what they wrote before, whatever they read, in the run that the listener hears."""

    def holding(states: Tensor) -> Callable[..., Any]:
        def hold(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            said = first_states(output)  # of a module that says more than its states (I-BERT's scaling factors)
            held = said is not None and said.numel() == states.numel() and listening(listener)
            return put(output, said, states.view_as(said)) if said is not None and held else output

        return hold

    with ExitStack() as stack:
        for path, states in block.attention_out.items():
            handle = after(block.call.module.get_submodule(path), holding(states))
            stack.enter_context(undone(handle.remove))
        yield


def _mixed_beside(model: PreTrainedModel, block: Suspect, heard: Tensor | None, token: int, changed: Tensor) -> str:
    """What mixes tokens beside attention, and whether the values of attention are made of several tokens too."""
    said = "something beside attention mixes tokens (a convolution, a recurrence, a sorting step)"
    found = second_mixer(model, block.call, block.moment, token, changed)
    said += f": {found}" if found else ""
    value = block.moment.value
    if heard is None or heard.shape != value.shape or heard.shape[-2] != changed.shape[-2]:
        return said
    apart = not same_elsewhere(heard, value, token, float32_tolerance(block.call.wrote.dtype))
    return f"{said}; and what attention mixes are no values of single tokens, but made of several" if apart else said

"""Say what else mixes tokens in a block that is refused, and how it stands to attention: beside it, or behind it.

The block runs again with one token of its input changed and the output of its attention held. A module that reads the
same of all other tokens and yet writes something else for them mixes tokens. Then the output of attention is changed
alone: what that module reads moves if it stands behind attention, and if the block's output stays while the module's
output is held, attention reaches it through that module alone. No name is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.traces.trace import Scores
from contextmix.tracing.discovery.diary import Attended, Call
from contextmix.tracing.discovery.other_token import same_elsewhere
from contextmix.tracing.recording.listeners import listening
from contextmix.tracing.recording.quiet import first_states
from contextmix.tracing.recording.replay import BlockReplay, put
from contextmix.tracing.recording.turns import of_this_thread, undone
from contextmix.tracing.recording.verify import close, float32_tolerance

_BESIDE = "beside attention, and reads nothing of it; the two cannot be read as one mixer, channel by channel"
_BEHIND = (
    "behind attention: it reads what attention has changed, so the block mixes tokens in two steps, one after the "
    "other, and a trace has one map for each block"
)
_CHAIN = (
    "behind attention, and nothing carries what attention wrote around it: the block is a chain of two mixers, and the "
    "one map that a trace has for each block would have to be a product of two"
)


def second_mixer(model: PreTrainedModel, block: Call, moment: Attended, token: int, changed: Tensor) -> str:
    """What else mixes tokens in a block, as a part of a sentence.

    Args:
        model: The model.
        block: The call of the block.
        moment: Its attention.
        token: A token.
        changed: What enters the block, with that token changed.

    Returns:
        Which module it is and where it stands; empty if none is seen.
    """
    if block.module is moment.module or block.read.ndim != 3:
        return ""
    try:
        with torch.no_grad():
            return _Trials(model, block, moment.module, token, changed).told()
    except Exception:  # a refusal is being said already, and this only adds to it
        return ""


@dataclass(frozen=True)
class _Note:
    """One call of a module: which tensors it read, and what it wrote."""

    path: str
    module: nn.Module
    read: Sequence[Tensor]
    wrote: Tensor


@dataclass
class _Run:
    """Notes the calls of one run of a block; the modules in ``held`` write what is given there, whatever they read."""

    held: Mapping[nn.Module, Tensor]
    notes: list[_Note] = field(default_factory=list)

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores | None) -> None:
        """See `Listener`."""

    def note(self, path: str, module: nn.Module) -> Callable[..., Any]:
        """A forward hook with keyword arguments."""

        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            wrote = first_states(output)
            if wrote is None or not listening(self):
                return output
            own = self.held.get(module, wrote)
            self.notes.append(_Note(path, module, [one.clone() for one in _tensors(args, kwargs)], own.clone()))
            return put(output, wrote, own) if own is not wrote else output

        return hook


@dataclass(frozen=True)
class _Trials:
    """Runs of one block with something in it changed."""

    model: PreTrainedModel
    block: Call
    attention: nn.Module
    token: int
    changed: Tensor

    def told(self) -> str:
        """See `second_mixer`."""
        clean, before = self._run(self.block.read, {})
        own = {note.module: note.wrote for note in clean if note.module is self.attention}
        moved, _ = self._run(self.changed, own)
        mixers = self._innermost([old for old, new in zip(clean, moved, strict=True) if self._mixes(old, new)])
        if not mixers:
            return ""
        other = {module: wrote.flip(-1) for module, wrote in own.items()}
        behind, _ = self._run(self.block.read, other)
        kept = {note.module: note.wrote for note in mixers}
        _, left = self._run(self.block.read, other | kept)
        reads = {old.path: old for old, new in zip(clean, behind, strict=True) if not self._same_reads(old, new)}
        place = _BESIDE if not any(note.path in reads for note in mixers) else _BEHIND
        place = _CHAIN if place is _BEHIND and self._same(left, before) else place
        names = ", ".join(dict.fromkeys(f"{note.path} ({type(note.module).__name__})" for note in mixers))
        return f"{names} {'mixes' if ',' not in names else 'mix'} tokens {place}"

    def _run(self, states: Tensor, held: Mapping[nn.Module, Tensor]) -> tuple[list[_Note], Tensor]:
        run = _Run(held)
        inside = set(self.attention.modules()) - {self.attention}
        with ExitStack() as stack:
            for path, module in self.block.module.named_modules(prefix=self.block.path):
                if module is not self.block.module and module not in inside:
                    hook = module.register_forward_hook(of_this_thread(run.note(path, module)), with_kwargs=True)
                    stack.enter_context(undone(hook.remove))
            left = BlockReplay.of(self.model, self.block.module, self.block.args, self.block.kwargs).run(states, run)
        return run.notes, left

    def _mixes(self, old: _Note, new: _Note) -> bool:
        """Whether a module wrote something else for the other tokens, of which it read the same."""
        own = old.wrote.ndim == 3 and old.wrote.shape[1] == self._tokens and old.module is not self.attention
        if not own or not any(one.ndim == 3 and one.shape[1] == self._tokens for one in old.read):
            return False
        same = len(old.read) == len(new.read) and all(map(self._same_elsewhere, old.read, new.read))
        return same and not self._same_elsewhere(old.wrote, new.wrote)

    def _innermost(self, notes: Sequence[_Note]) -> list[_Note]:
        return [
            note
            for note in notes
            if not any(other.module is not note.module and other.module in note.module.modules() for other in notes)
        ]

    @property
    def _tokens(self) -> int:
        return self.block.read.shape[1]

    def _same_elsewhere(self, old: Tensor, new: Tensor) -> bool:
        """Whether two tensors are the same, the changed token aside if they have one."""
        if old.shape == new.shape and old.ndim == 3 and old.shape[1] == self._tokens:
            return same_elsewhere(new, old, self.token, self._allowed)
        return self._same(old, new)

    def _same_reads(self, old: _Note, new: _Note) -> bool:
        return len(old.read) == len(new.read) and all(map(self._same, old.read, new.read))

    def _same(self, old: Tensor, new: Tensor) -> bool:
        return old.shape == new.shape and close(new, old, self._allowed)

    @property
    def _allowed(self) -> float:
        return float32_tolerance(self.block.wrote.dtype)


def _tensors(*places: Any) -> Iterator[Tensor]:
    """All floating-point tensors in a module's arguments."""
    for place in places:
        if isinstance(place, Tensor):
            if place.is_floating_point():
                yield place
        elif isinstance(place, Mapping):
            yield from _tensors(*place.values())
        elif isinstance(place, tuple | list):
            yield from _tensors(*place)

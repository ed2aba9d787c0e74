"""Find mixers that no single product holds: modules whose output is linear in what some linear modules in them write.

Each candidate is run again, on the probe, with other outputs of one of its linear modules. If what an output projection
reads then changes as a linear function does, and tokens reach other tokens, that module makes values. Channels that
share a map are a head. Nothing is looked at by name, and what is found must rebuild what the projection read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.traces.mixing import Strand, Woven
from contextmix.tracing.discovery.diary import Call, Diary
from contextmix.tracing.recording.listeners import heard_by
from contextmix.tracing.recording.mixing.watch import watch
from contextmix.tracing.recording.mixing.woven import Weaving, unit_maps, values_of
from contextmix.tracing.recording.resolve import linear_form
from contextmix.tracing.recording.turns import after, turn_of, undone
from contextmix.tracing.recording.verify import close, float32_tolerance, tolerance

_MOST = 16
"""Linear modules in the largest module that is tried: more are several layers."""
_OFTEN = 2
"""How many modules of a class are tried where none of them is such a mixer: the layers of a stack are alike."""


def find_weavers(model: PreTrainedModel, run: Callable[[], object]) -> int:
    """Find these mixers of a model and have them heard from now on.

    Args:
        model: The model.
        run: Runs it on a probe of one sequence.

    Returns:
        How many modules were tried in vain.
    """
    diary = Diary()
    with turn_of(model):
        with heard_by(diary), ExitStack() as stack:
            for path, module in model.named_modules():
                diary.write_down(stack, path, module)
            run()
        found: list[Call] = []
        failed: Counter[type[nn.Module]] = Counter()
        for call, projections in _candidates(diary):
            holds = any(call.began < other.began and other.ended < call.ended for other in found)
            kind = type(call.module)
            if holds or (failed[kind] >= _OFTEN and all(type(one.module) is not kind for one in found)):
                continue
            mixer = next((one for p in projections if (one := _mixer(diary, call, p)) is not None), None)
            if mixer is None:
                failed[kind] += 1
            else:
                found.append(call)
                watch(call.module, mixer)
    return failed.total()


def _candidates(diary: Diary) -> Iterator[tuple[Call, list[Call]]]:
    """Calls that hold linear modules, the smallest first, with the linear modules that may read their heads."""
    linear = [call for call in diary.calls if _is_linear(call)]
    for call in sorted(diary.calls, key=lambda call: call.ended - call.began):
        within = [one for one in linear if call.began < one.began and one.ended < call.ended]
        if call.read.ndim != 3 or not 2 <= len(within) <= _MOST:
            continue
        after = [one for one in linear if one.began > call.ended and _same(one.read, call.wrote)]
        projections = [*after[:1], *(one for one in within if one is not within[0])]
        if projections:
            yield call, projections


def _is_linear(call: Call) -> bool:
    allowed = float32_tolerance(call.read.dtype)
    return call.read.ndim == 3 and linear_form(call.module, call.read, call.wrote, allowed) is not None


def _same(left: Tensor, right: Tensor) -> bool:
    return close(left, right, tolerance(left.dtype))


@dataclass(frozen=True, eq=False)
class _Try:
    """A module with a linear module that may read its heads, run with other outputs of the modules inside of it."""

    call: Weaving
    read: Tensor
    generator: torch.Generator

    def change(self, maker: nn.Module, states: Tensor) -> Tensor:
        """What the projection reads (query, channel) where a module writes these states."""
        return self.call.again({maker: states})[0]

    def noise(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator).to(like)


def _mixer(diary: Diary, call: Call, projection: Call) -> Woven | None:
    """How a module mixes what the projection reads; None if it is not linear in anything that it holds."""
    within = call.began < projection.began and projection.ended < call.ended
    paths = {module: path for path, module in call.module.named_modules()}
    own = projection.module if within else None
    trial = _Try(Weaving(call.module, call.args, call.kwargs, own), projection.read, torch.Generator().manual_seed(0))
    try:
        if not _same(trial.call.again({}), projection.read):
            return None
    except Exception:  # whatever a model raises when it is called a second time
        return None
    until = projection.began if within else call.ended
    makers = [one for one in diary.inside(call) if one.ended < until and _is_linear(one) and one.module in paths]
    makers = [one for one in makers if sum(one.module is other.module for other in makers) == 1]
    strands, modules = [], []
    for maker in makers:
        strand = _strand(trial, maker, paths[maker.module])
        if strand is not None:
            strands.append(strand)
            modules.append(maker)
    if not strands or len({len(head) for strand in strands for head in strand.reads}) > 1:
        return None
    others = _untouched(diary, call, trial, modules)
    mixer = Woven("", tuple(strands), paths[own] if own is not None else None, tuple(paths[one] for one in others))
    return mixer if _rebuilds(trial, mixer, modules) else None


def _strand(trial: _Try, maker: Call, path: str) -> Strand | None:
    """The heads whose values one module makes; None if it makes none."""
    turned = maker.wrote.shape[:2] != trial.read.shape[:2]
    wrote = maker.wrote.transpose(0, 1) if turned else maker.wrote
    if wrote.shape[:2] != trial.read.shape[:2]:
        return None

    def given(states: Tensor) -> Tensor:
        return trial.change(maker.module, states.transpose(0, 1) if turned else states)

    try:
        still = given(torch.zeros_like(wrote))
        one, two = trial.noise(wrote), trial.noise(wrote)
        first, second = given(one) - still, given(two) - still
        both = given(one + 2 * two) - still
    except Exception:  # whatever a model raises
        return None
    feeds = _fed(given, still, wrote, trial)
    if not _same(both, first + 2 * second) or not bool(first.ne(0).any()) or feeds is None:
        return None
    heads = _heads(given, still, wrote, feeds, trial)
    return None if heads is None else Strand(path, *heads, turned)


def _fed(given: Callable[[Tensor], Tensor], still: Tensor, wrote: Tensor, trial: _Try) -> dict[int, int] | None:
    """Which output of the module each channel of the projection's input is made of, one of one; None if they mix."""
    tokens = trial.noise(wrote[..., :1]).expand_as(wrote)
    numbers = torch.arange(1, wrote.shape[-1] + 1, device=wrote.device).to(wrote)
    plain, numbered = given(tokens.clone()) - still, given(tokens * numbers) - still
    row = plain.abs().argmax(0)
    columns = torch.arange(plain.shape[-1], device=row.device)
    fed = plain[row, columns].ne(0)
    source = (numbered[row, columns] / plain[row, columns].where(fed, torch.ones(()).to(plain))).round().long() - 1
    if not bool(fed.any()) or not bool(((source >= 0) & (source < wrote.shape[-1]))[fed].all()):
        return None
    weights = trial.noise(wrote[0, 0])
    mixed = given(tokens * weights) - still
    if not _same(mixed[:, fed], plain[:, fed] * weights[source[fed]]):
        return None
    found = {int(column): int(source[column]) for column in columns[fed]}
    return found if len(set(found.values())) == len(found) else None


def _heads(
    given: Callable[[Tensor], Tensor], still: Tensor, wrote: Tensor, feeds: dict[int, int], trial: _Try
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]] | None:
    """Channels of one map side by side, as outputs of the module and inputs of the projection; None if none mix."""
    columns = sorted(feeds, key=lambda column: feeds[column])
    halves = []
    for first in (0, 1):  # every other token
        half = torch.zeros_like(wrote)
        half[:, first::2] = trial.noise(half[:, first::2, :1])
        halves.append((given(half) - still)[:, columns])
    if not any(bool(halves[first][1 - first :: 2].ne(0).any()) for first in (0, 1)):
        return None  # each token keeps to itself: no mixer
    signs = torch.cat(halves).T  # (channel, what its map does)
    heads: list[list[int]] = []
    for number, column in enumerate(columns):
        alike = heads and _same(signs[number], signs[columns.index(heads[-1][0])])
        if alike:
            heads[-1].append(column)
        else:
            heads.append([column])
    if len({len(head) for head in heads}) > 1 or len(heads[0]) < 2:
        return None
    return tuple(tuple(feeds[column] for column in head) for head in heads), tuple(map(tuple, heads))


def _untouched(diary: Diary, call: Call, trial: _Try, makers: Sequence[Call]) -> list[nn.Module]:
    """Modules without parts, called once, that write the same whatever the values are."""
    inside = diary.inside(call)
    values = [maker.module for maker in makers]
    once = [one for one in inside if sum(one.module is other.module for other in inside) == 1]
    leaves = {one.module: one.wrote for one in once if one.module not in values and not list(one.module.children())}
    heard: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            heard[module] = output.clone()

    with ExitStack() as stack:
        for module in leaves:
            stack.enter_context(undone(after(module, note).remove))
        trial.call.again({maker.module: trial.noise(maker.wrote) for maker in makers})
    return [module for module, wrote in heard.items() if torch.equal(wrote, leaves[module])]


def _rebuilds(trial: _Try, mixer: Woven, makers: Sequence[Call]) -> bool:
    """Whether the maps of all heads times their values are what the projection read."""
    zeros = {maker.module: torch.zeros_like(maker.wrote) for maker in makers}
    rebuilt = trial.call.again(zeros)
    if bool(rebuilt.ne(0).any()):
        return False
    for strand, maker in zip(mixer.strands, makers, strict=True):
        maps = unit_maps(trial.call, strand, maker.module, zeros, trial.read.shape[1])
        sent = maps @ values_of(strand, maker.wrote)  # (batch, head, query, d_head)
        rebuilt[..., torch.tensor(strand.feeds, device=rebuilt.device)] += sent.movedim(1, -2)
    return close(rebuilt, trial.read, 10 * tolerance(trial.read.dtype))

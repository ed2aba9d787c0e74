"""Hooks that users put on a model: which are there, and which change what flows through the blocks.

A map is proved on what a block read and wrote. Some methods go on from there with formulas of the block's parts, which
know nothing of a hook. Where a hook changed something when the parts were found, no formula was made of that part. A
hook that changes something only now would be missed silently, so it is looked for in every run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks_of_all

from contextmix.errors import TraceDoesNotAddUp, UnsupportedModel
from contextmix.tracing.recording.quiet import configurations, first_states
from contextmix.tracing.recording.tap import own_name
from contextmix.tracing.recording.turns import before, is_ours, of_this_thread, undone


def state_of(model: Any, blocks: Iterable[str]) -> tuple[Any, ...]:
    """What of a model's blocks may be changed between two runs, weights apart: modules, their hooks, the attention."""
    kept: list[Any] = [[number for number, hook in list(hooks.items()) if not is_ours(hook)] for hooks in _of_all()]
    for _, module in _inside(model, blocks):
        kept.append(type(module))
        own = module.__dict__
        if own["_forward_hooks"] or own["_forward_pre_hooks"] or "forward" in own:
            kept.append((list(_theirs(module)), own.get("forward")))
    return (*kept, [own_name(one._attn_implementation) for one in configurations(model)])


def _theirs(module: nn.Module) -> Iterator[int]:
    """The numbers of a module's hooks that are not of a recording."""
    for hooks in (module._forward_pre_hooks, module._forward_hooks):
        yield from (number for number, hook in list(hooks.items()) if not is_ours(hook))


def hooked(model: nn.Module, blocks: Iterable[str]) -> list[str]:
    """The modules in these blocks (or the blocks themselves) with hooks of the user, by path.

    Hooks that torch calls for every module there is are hooks of each.
    """
    of_all = any(not is_ours(hook) for hooks in _of_all() for hook in list(hooks.values()))
    return [path for path, module in _inside(model, blocks) if of_all or any(True for _ in _theirs(module))]


def _of_all() -> tuple[Any, Any]:
    return hooks_of_all._global_forward_pre_hooks, hooks_of_all._global_forward_hooks


def _inside(model: nn.Module, blocks: Iterable[str]) -> Iterator[tuple[str, nn.Module]]:
    """The blocks and all modules in them, by path."""
    inside = tuple(f"{path}." for path in blocks)
    yield from ((path, module) for path, module in model.named_modules() if f"{path}.".startswith(inside))


@contextmanager
def watched(model: nn.Module, paths: Iterable[str]) -> Iterator[set[str]]:
    """The modules among these whose hooks change what they read or write, filled while this thread runs the model."""
    changing: set[str] = set()
    with ExitStack() as stack:
        found = {model.get_submodule(path): path for path in paths}
        for module, path in found.items():
            for handle in _watch(module, _Look(path, changing)):
                stack.enter_context(undone(handle.remove))
        if any(_of_all()):
            for handle in _watch_all({module: _Look(path, changing) for module, path in found.items()}):
                stack.enter_context(undone(handle.remove))
        yield changing


class _Look:
    """At what a module reads or writes, before some hooks and after them."""

    def __init__(self, path: str, changing: set[str]) -> None:
        self.path, self.changing = path, changing
        self.kept: list[Tensor | None] = []

    def reads(self, module: nn.Module, *told: Any) -> None:
        states = first_states(*told)
        self.kept.append(None if states is None else states.clone())

    def reads_now(self, module: nn.Module, *told: Any) -> None:
        was, now = self.kept.pop(), first_states(*told)
        if was is not None and (now is None or now.shape != was.shape or not torch.equal(now, was)):
            self.changing.add(self.path)

    def writes(self, module: nn.Module, args: Any, output: Any) -> None:
        self.reads(module, output)

    def writes_now(self, module: nn.Module, args: Any, output: Any) -> None:
        self.reads_now(module, output)


def _watch(module: nn.Module, look: _Look) -> Iterator[Any]:
    """A look before the hooks of a module and one after them, at what it reads and at what it writes."""
    yield module.register_forward_pre_hook(of_this_thread(look.reads), with_kwargs=True, prepend=True)
    yield before(module, look.reads_now)
    yield module.register_forward_hook(of_this_thread(look.writes), prepend=True)
    yield module.register_forward_hook(of_this_thread(look.writes_now))


def _watch_all(looks: Mapping[nn.Module, _Look]) -> Iterator[Any]:
    """The same around the hooks of all modules, which torch calls before a module's own and without its keywords."""

    def reads(module: nn.Module, *told: Any) -> None:
        if module in looks:
            looks[module].reads(module, *told)

    def writes(module: nn.Module, *told: Any) -> None:
        if module in looks:
            looks[module].writes(module, *told)

    for module, look in looks.items():
        yield module.register_forward_pre_hook(of_this_thread(look.reads_now), prepend=True)
        yield module.register_forward_hook(of_this_thread(look.writes_now), prepend=True)
    first = (
        hooks_of_all.register_module_forward_pre_hook(of_this_thread(reads)),
        hooks_of_all.register_module_forward_hook(of_this_thread(writes)),
    )
    for handle, hooks in zip(first, _of_all(), strict=True):
        hooks.move_to_end(handle.id, last=False)
        yield handle


class Hooks:
    """What the user's hooks in the blocks of a model may change: what they changed when its parts were found.

    Args:
        model: The model, or the stack that the blocks are in.
        blocks: Their paths.
        try_out: Runs the model on what its parts were found on.
    """

    def __init__(self, model: nn.Module, blocks: Iterable[str], try_out: Callable[[], object]) -> None:
        self.model, self.paths, self.known = model, hooked(model, blocks), set[str]()
        if self.paths:
            with watched(model, self.paths) as changing:
                try_out()
            self.known = changing

    @contextmanager
    def seen(self) -> Iterator[None]:
        """Refuse what a run finds if a hook changed more than it did before.

        Raises:
            UnsupportedModel: With the modules.
        """
        if not self.paths:
            yield
            return
        with watched(self.model, self.paths) as changing:
            try:
                yield
            except TraceDoesNotAddUp as reason:
                if not changing:
                    raise
                raise TraceDoesNotAddUp(f"{reason} {_refusal(changing)}") from reason
        if changing - self.known:
            raise UnsupportedModel(_refusal(changing - self.known))


def _refusal(changing: Iterable[str]) -> str:
    listed = ", ".join(sorted(changing))
    return (
        f"Hooks that you put on {listed} change what flows there, in a way that the block's parts do not show, so the "
        "numbers would be those of another model. No number was produced. Remove the hooks, or build the change into "
        "the module itself."
    )

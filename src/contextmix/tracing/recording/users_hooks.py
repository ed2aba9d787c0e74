"""Hooks that users put on a model: which are there, and which change what flows through the blocks.

A map is proved on what a block read and wrote. Some methods go on from there with formulas of the block's parts, which
know nothing of a hook. Where a hook changed something when the parts were found, no formula was made of that part. A
hook that changes something only now would be passed over in silence, so it is looked for in every run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
    kept: list[Any] = [list(hooks_of_all._global_forward_hooks), list(hooks_of_all._global_forward_pre_hooks)]
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
    """The modules in these blocks (or the blocks themselves) with hooks of the user, by path."""
    return [path for path, module in _inside(model, blocks) if any(True for _ in _theirs(module))]


def _inside(model: nn.Module, blocks: Iterable[str]) -> Iterator[tuple[str, nn.Module]]:
    """The blocks and all modules in them, by path."""
    inside = tuple(f"{path}." for path in blocks)
    yield from ((path, module) for path, module in model.named_modules() if f"{path}.".startswith(inside))


@contextmanager
def watched(model: nn.Module, paths: Iterable[str]) -> Iterator[set[str]]:
    """The modules among these whose hooks change what they read or write, filled while this thread runs the model."""
    changing: set[str] = set()
    with ExitStack() as stack:
        for path in paths:
            for handle in _watch(model.get_submodule(path), path, changing):
                stack.enter_context(undone(handle.remove))
        yield changing


def _watch(module: nn.Module, path: str, changing: set[str]) -> Iterator[Any]:
    """A look before the hooks of a module and one after them, at what it reads and at what it writes."""
    kept: list[Tensor | None] = []

    def look(*told: Any) -> None:
        states = first_states(*told[1:])
        kept.append(None if states is None else states.clone())

    def look_again(*told: Any) -> None:
        was, now = kept.pop(), first_states(*told[1:])
        if was is not None and (now is None or now.shape != was.shape or not torch.equal(now, was)):
            changing.add(path)

    def look_out(module: nn.Module, args: Any, output: Any) -> None:
        look(module, output)

    def look_out_again(module: nn.Module, args: Any, output: Any) -> None:
        look_again(module, output)

    yield module.register_forward_pre_hook(of_this_thread(look), with_kwargs=True, prepend=True)
    yield before(module, look_again)
    yield module.register_forward_hook(of_this_thread(look_out), prepend=True)
    yield module.register_forward_hook(of_this_thread(look_out_again))


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

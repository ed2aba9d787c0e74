"""Whose turn it is with a model: one lock for all its parts, hooks of one thread, and what a forked child takes back.

Recording changes a model for a moment: its attention setting, hooks on its modules, its mode. Threads that explain take
turns. Threads that only run the model are not asked to, so whatever is put on it acts in the thread that put it there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import PreTrainedModel

_TURNS: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_NEW_TURN = threading.RLock()
_OPEN: list[tuple[int, Callable[[], None]]] = []
"""Changes of models that are in effect: the thread that made each, and what takes it back."""


def turn_of(model: nn.Module) -> threading.RLock:
    """The one lock of a model and the models inside it: whoever records it, or runs it while others may, holds it."""
    known = _TURNS.get(model)
    if known is not None:
        return known
    with _NEW_TURN:
        parts = [part for part in model.modules() if part is model or isinstance(part, PreTrainedModel)]
        lock = next((_TURNS[part] for part in parts if part in _TURNS), None) or threading.RLock()
        for part in parts:
            _TURNS.setdefault(part, lock)
        return _TURNS[model]


def of_this_thread(act: Callable[..., Any]) -> Callable[..., Any]:
    """A hook that acts in the thread that makes it and does nothing in others.

    It takes any number of arguments: while a hook is put on or taken off, another thread may be told of it without the
    keyword arguments.
    """
    own = threading.get_ident()

    def hook(*told: Any) -> Any:
        return act(*told) if threading.get_ident() == own else None

    return hook


def before(module: nn.Module, act: Callable[..., Any], *, first: bool = False) -> Any:
    """A forward pre-hook with keyword arguments, in this thread alone, before other hooks or after; its handle."""
    return module.register_forward_pre_hook(of_this_thread(act), with_kwargs=True, prepend=first)


def after(module: nn.Module, act: Callable[..., Any]) -> Any:
    """A forward hook, in this thread alone; returns its handle."""
    return module.register_forward_hook(of_this_thread(act))


def is_ours(hook: Callable[..., Any]) -> bool:
    """Whether a hook was made by `of_this_thread`."""
    return getattr(hook, "__module__", None) == __name__


@contextmanager
def undone(undo: Callable[[], None]) -> Iterator[None]:
    """Take a change back at the end; a child that is forked meanwhile by another thread takes it back at its start.

    Args:
        undo: Takes the change back, also if it was not made yet.
    """
    mine = (threading.get_ident(), undo)
    _OPEN.append(mine)
    try:
        yield
    finally:
        _OPEN.remove(mine)
        undo()


def _after_fork() -> None:
    """In a child only the thread that forked goes on: what the others hold is set free and what they changed undone."""
    own = threading.get_ident()
    lock: Any
    for lock in {id(lock): lock for lock in [*_TURNS.values(), _NEW_TURN]}.values():
        if not lock._is_owned():
            lock._at_fork_reinit()
    left = [undo for thread, undo in reversed(_OPEN) if thread != own]
    _OPEN[:] = [one for one in _OPEN if one[0] == own]
    for undo in left:
        undo()
    if len(_TURNS):  # the threads that compute are gone, and torch would wait for them for ever
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

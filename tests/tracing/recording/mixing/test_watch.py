"""A product that is watched is heard in the thread that listens, and nobody else notices."""

import threading
from typing import Any

import pytest
import torch
from tests.tracing.tiny import build, hook_count, token_ids
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import UnsupportedModel
from contextmix.tracing.recording.listeners import current, heard_by, listening, unheard
from contextmix.tracing.recording.mixing.watch import unwatch, watched
from contextmix.tracing.recording.tap import tapped

N = 6


class Heard:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.calls: list[tuple[nn.Module, Tensor, Tensor, Tensor]] = []

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Any) -> None:
        assert scores is None
        self.calls.append((module, attention, value, output))


class OfRows(Heard):
    rows = slice(2, 4)


class Doubling(Heard):
    """Hands attention twice the values."""

    def edited(self, module: nn.Module, n_heads: int, value: Tensor) -> Tensor:
        assert n_heads == 2
        return 2 * value


@pytest.fixture
def model() -> Any:
    found = build("bloom")
    cm.load(found).anatomy()
    return found


@torch.no_grad()
def heard(model: Any, listener: Any) -> Tensor:
    with tapped(model, listener):
        return model(token_ids(N, batch=2))[0]


def test_every_layer_is_heard_in_the_form_of_the_registry(model: Any):
    listener = Heard()
    with torch.no_grad():
        plain = model(token_ids(N, batch=2), output_attentions=True)
    assert torch.equal(heard(model, listener), plain[0])
    assert [module for module, *_ in listener.calls] == [block.self_attention for block in model.h]
    for (_, attention, value, output), own in zip(listener.calls, plain.attentions, strict=True):
        assert torch.equal(attention, own)
        assert value.shape == (2, 2, N, 8)
        torch.testing.assert_close(output, (attention @ value).transpose(1, 2))
    assert hook_count(model) == 0


def test_some_rows_are_rows_of_the_whole(model: Any):
    all_of_them, some = Heard(), OfRows()
    heard(model, all_of_them)
    heard(model, some)
    for (_, whole, *_), (_, rows, *_) in zip(all_of_them.calls, some.calls, strict=True):
        assert torch.equal(whole[:, :, 2:4], rows)


def test_other_values_change_what_the_model_says(model: Any):
    listener = Doubling()
    with torch.no_grad():
        plain = model(token_ids(N, batch=2))[0]
    assert (heard(model, listener) - plain).abs().max() > 1e-3
    for _, attention, value, output in listener.calls:
        torch.testing.assert_close(output, (attention @ value).transpose(1, 2))


def test_runs_of_other_threads_and_inner_runs_are_not_heard(model: Any):
    listener, ids = Heard(), token_ids(N)

    def run() -> None:
        with torch.no_grad():
            model(ids)

    with tapped(model, listener):
        other = threading.Thread(target=run)
        other.start()
        other.join()
        assert current() is listener
        with unheard():
            assert not listening(listener)
            run()
        inner = Heard()
        with heard_by(inner):
            run()
    assert not listener.calls
    assert not inner.calls


def test_a_run_that_fails_leaves_nothing_behind(model: Any):
    listener = Heard()
    with pytest.raises(IndexError), tapped(model, listener):
        model(torch.full((1, N), 10_000))
    assert hook_count(model) == 0
    heard(model, listener)
    assert len(listener.calls) == 2


def test_what_is_no_longer_watched_is_refused(model: Any):
    assert len(watched(model)) == 2
    unwatch(model)
    assert not watched(model)
    with pytest.raises(UnsupportedModel, match="computes attention itself"), tapped(model, Heard()):
        pass

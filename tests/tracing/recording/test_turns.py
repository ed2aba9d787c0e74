"""Threads on one model: everyone gets their own answer, a child that is forked meanwhile too."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tests.tracing.tiny import build, hook_count, one_thread, settings, token_ids

import contextmix as cm
from contextmix.errors import UnsupportedModel
from contextmix.tracing.recording.tap import tapped
from contextmix.tracing.recording.turns import before, turn_of, undone
from contextmix.tracing.recording.upcast import in_float32

SOURCE = {"input_ids": token_ids(6)[0]}
OTHER = {"input_ids": token_ids(6, seed=1)}
METHODS = tuple(cm.methods().index)
SECONDS = 10


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def classifier(**changes: Any) -> Any:
    return build("bert", "ForSequenceClassification", **changes)


@torch.no_grad()
def logits(model: Any, **inputs: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = model(**(inputs or OTHER)).logits
    return found


def elsewhere(act: Callable[[], Any]) -> Any:
    """What another thread finds, which is waited for."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(act())
        except Exception as error:  # handed to the test
            found.append(error)

    other = threading.Thread(target=run)
    other.start()
    other.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def meanwhile(model: Any, act: Callable[[], Any]) -> list[Any]:
    """Whenever this thread calls a module of the model, another thread acts at that very moment."""
    found: list[Any] = []
    own = threading.get_ident()

    def hook(*_: Any) -> None:
        if threading.get_ident() == own:
            found.append(elsewhere(act))

    for module in (model.bert.embeddings, model.bert.encoder.layer[0].attention, model.bert.encoder.layer[1].output):
        module.register_forward_pre_hook(hook)
    return found


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", ["globenc", "value_zeroing", "hta_inputs", "decompx", "integrated_gradients"])
def test_whoever_runs_the_model_meanwhile_gets_their_own_answer(method: str, dtype: torch.dtype, fresh: bool):
    """Inputs of the same length, so that states of the one would fit into the run of the other."""
    model = classifier().to(dtype)
    wanted, alone = logits(model), cm.load(classifier().to(dtype)).explain(SOURCE, method).values
    traced = cm.load(model)
    if not fresh:
        traced.explain(SOURCE, method)
    found = meanwhile(model, lambda: logits(model))
    assert np.array_equal(traced.explain(SOURCE, method).values, alone)
    assert len(found) >= 3
    assert all(torch.equal(one, wanted) for one in found)


def test_another_thread_sees_none_of_the_settings_of_a_recording():
    model = build("llama", "ForCausalLM", use_cache=True)
    wanted, seen = logits(model), []

    def look() -> None:
        out = model(**OTHER)
        seen.append((out.past_key_values is not None, bool(torch.equal(out.logits, wanted))))

    own = threading.get_ident()
    model.model.layers[1].register_forward_pre_hook(
        lambda *_: elsewhere(look) if threading.get_ident() == own else None
    )
    cm.load(model).explain(SOURCE)
    assert seen
    assert all(one == (True, True) for one in seen)


def test_a_hook_that_another_thread_is_told_of_too_early_or_too_late_does_not_mind():
    """Torch passes keyword arguments only to hooks that it finds marked for them, and looks that up afterwards."""
    model = torch.nn.Linear(2, 2)
    handle = before(model, lambda module, args, kwargs: 1 / 0)
    model._forward_pre_hooks_with_kwargs.clear()
    assert elsewhere(lambda: model(torch.ones(1, 2))).shape == (1, 2)
    handle.remove()


def test_float32_is_for_the_thread_that_asked():
    model = classifier().bfloat16()
    wanted = logits(model)
    with in_float32(model):
        assert elsewhere(lambda: torch.equal(logits(model), wanted))
        assert logits(model).dtype == torch.float32
    assert torch.equal(logits(model), wanted)
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_model_and_its_parts_have_one_turn():
    model = build("bert", "ForSequenceClassification")
    assert turn_of(model.bert) is turn_of(model)
    assert turn_of(build("bert")) is not turn_of(model)
    assert cm.load(model).turn is cm.load(model.bert).turn


def test_nobody_waits_for_somebody_who_waits_for_them():
    """One thread has the model and asks whether it is causal; the other asks first and waits for the model."""
    first, second = (cm.load(model) for model in [build("llama", "ForCausalLM")] * 2)
    asking = threading.Thread(target=lambda: first.is_causal, daemon=True)
    with first.turn:
        asking.start()
        time.sleep(0.2)
        assert second.is_causal
    asking.join(10)
    assert not asking.is_alive()


@pytest.mark.campaign
def test_everyone_at_once_for_a_while():
    """See `benchmarks/threads.py` for a minute of it."""
    model = classifier()
    traced, inputs = cm.load(model), [token_ids(6, seed=seed) for seed in range(4)]
    wanted = [logits(model, input_ids=one) for one in inputs]
    alone: dict[tuple[str, int], np.ndarray] = {}
    for method in METHODS:
        for number, one in enumerate(inputs):
            alone[method, number] = traced.explain({"input_ids": one[0]}, method).values
    end, wrong, counts = time.monotonic() + SECONDS, [], [0, 0]

    def infer() -> None:
        while time.monotonic() < end:
            for one, true in zip(inputs, wanted, strict=True):
                found = logits(model, input_ids=one)
                counts[0] += 1
                if not torch.allclose(found, true, rtol=0, atol=1e-5) or found.argmax() != true.argmax():
                    wrong.append(found)

    def explain(start: int) -> None:
        keys = list(alone)
        for method, number in (keys[start:] + keys[:start]) * 1000:
            if time.monotonic() >= end:
                return
            found = traced.explain({"input_ids": inputs[number][0]}, method).values
            counts[1] += 1
            if not np.allclose(found, alone[method, number], rtol=0, atol=1e-5 * np.abs(alone[method, number]).max()):
                wrong.append((method, number))

    def kept(act: Callable[..., None], *told: Any) -> None:
        try:
            act(*told)
        except Exception as error:  # nobody else's run may bring one about
            wrong.append(error)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    threads = [threading.Thread(target=kept, args=(infer,)) for _ in range(4)]
    threads += [threading.Thread(target=kept, args=(explain, 20 * number)) for number in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert wrong == []
    assert min(counts) > 10


# Forked children -----------------------------------------------------------------------------------------------------


def in_child(act: Callable[[], Any]) -> int:
    """The exit status of a child that acts, killed after a minute: 0 where it is done, 1 where it raised."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)
        try:
            act()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
MANY_THREADS = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@FORKS
@MANY_THREADS
def test_a_child_forked_while_another_thread_explains_works():
    model = classifier()
    before_all, wanted = settings(model), cm.load(classifier()).explain(SOURCE).values
    traced, inside, go_on = cm.load(model), threading.Event(), threading.Event()
    traced.explain(SOURCE)

    def wait(*_: Any) -> None:
        inside.set()
        go_on.wait(60)

    traced.explain(SOURCE, "gradient_inputs")
    handle = model.classifier.register_forward_pre_hook(wait)
    other = threading.Thread(target=lambda: traced.explain(SOURCE, "globenc"))
    other.start()
    assert inside.wait(60)
    handle.remove()

    def act() -> None:
        assert settings(model) == before_all
        assert hook_count(model) == 0
        assert np.array_equal(traced.explain(SOURCE).values, wanted)

    try:
        assert in_child(act) == 0
    finally:
        go_on.set()
        other.join()
    assert np.array_equal(traced.explain(SOURCE).values, wanted)


@FORKS
@MANY_THREADS
def test_what_the_forking_thread_holds_stays_its_own():
    model, undo = classifier(), []
    with turn_of(model), undone(lambda: undo.append(1)):

        def act() -> None:
            assert not undo
            with turn_of(model):
                assert cm.load(model).explain(SOURCE).shape == (6, 6)

        assert in_child(act) == 0
    assert undo == [1]


@FORKS
@MANY_THREADS
def test_a_child_does_not_wait_for_the_threads_of_torch(monkeypatch: pytest.MonkeyPatch):
    torch.set_num_threads(2)
    model, large = classifier(), torch.randn(600, 600)
    cm.load(model).explain(SOURCE)
    assert float((large @ large).exp().sum()) != 0

    def act() -> None:
        assert torch.get_num_threads() == 1
        assert float((large @ large).exp().sum()) != 0

    assert in_child(act) == 0


def test_a_model_that_cannot_be_switched_is_left_alone():
    model = build("bloom")
    known = settings(model)
    with pytest.raises(UnsupportedModel, match="computes attention itself"), tapped(model, None):
        pass
    assert settings(model) == known

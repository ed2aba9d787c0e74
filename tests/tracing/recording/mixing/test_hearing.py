"""Mixers that are no attention are heard while the model runs, and nowhere else."""

import pytest
import torch
from tests.tracing.mixing import FAMILIES, N
from tests.tracing.tiny import hook_count, token_ids

import contextmix as cm
from contextmix.errors import UnsupportedModel
from contextmix.tracing.recording.tap import tapped


class Values:
    """Keeps values, or puts others in their place."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.heard_of, self.calls = factor, [], 0

    def heard(self, module, attention, value, output, scores) -> None:
        """Attention is none of its business."""

    def routed(self, module, call) -> None:
        self.calls += 1
        self.heard_of.append((call.value, call.output, call.attention(slice(2, 4)), call.attention(), call.constant))


class Edited(Values):
    def edited(self, module, n_heads, value):
        return value * self.factor


@pytest.mark.parametrize("name", FAMILIES)
def test_some_rows_are_those_of_the_whole_map(name: str):
    model, listener = FAMILIES[name].build(), Values()
    cm.load(model).check({"input_ids": token_ids(N)[0]})
    with torch.no_grad(), tapped(model, listener):
        model(token_ids(N), use_cache=False)
    assert hook_count(model) == 0
    for value, output, rows, whole, constant in listener.heard_of:
        torch.testing.assert_close(rows, whole[:, :, 2:4], rtol=0, atol=1e-6)
        again = torch.einsum("bcij,bcj->bic", whole, value[..., 0]) + constant
        torch.testing.assert_close(again, output, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_values_give_the_same_states(name: str):
    model, ids = FAMILIES[name].build(), token_ids(N)
    cm.load(model).check({"input_ids": ids[0]})
    with torch.no_grad():
        plain = model(ids, use_cache=False)[0]
        with tapped(model, Edited()):
            torch.testing.assert_close(model(ids, use_cache=False)[0], plain, rtol=0, atol=1e-6)
        with tapped(model, Edited(0.5)):
            assert (model(ids, use_cache=False)[0] - plain).abs().max() > 1e-3


def test_a_cache_is_refused():
    model = FAMILIES["short convolution"].build()
    cm.load(model).check({"input_ids": token_ids(N)[0]})
    with pytest.raises(UnsupportedModel, match="runs with a cache"), torch.no_grad(), tapped(model, Values()):
        model(token_ids(N), use_cache=True)

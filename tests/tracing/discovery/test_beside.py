"""A mixer beside attention is found by what it does; one that cannot be heard is refused."""

from contextlib import ExitStack
from typing import Any

import pytest
import torch
from tests.tracing.beside import INNER, MIXER_OUT, falcon_h1, zeroing
from tests.tracing.mixing import Squared
from tests.tracing.tiny import build, token_ids
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import UnsupportedModel
from contextmix.tracing.discovery.blocks import discover
from contextmix.tracing.recording.mixing.watch import unwatch, watched
from contextmix.tracing.runs.zeroed import zeroed_log_probs

N = 7


class _Summed(nn.Module):
    """A mixer that is linear in values that are made of several tokens each."""

    def __init__(self, own: Any) -> None:
        super().__init__()
        self.in_proj, self.out_proj = own.in_proj, own.out_proj

    def forward(self, hidden_states: Tensor, **_: Any) -> Tensor:
        """States to states."""
        read: Tensor = self.in_proj(hidden_states.cumsum(1))[..., : self.out_proj.in_features]
        return self.out_proj(read.cumsum(1))  # type: ignore[no-any-return]


class _Local(_Summed):
    """One token at a time: an addition, and no mixer."""

    def forward(self, hidden_states: Tensor, **_: Any) -> Tensor:
        """States to states."""
        return self.out_proj(self.in_proj(hidden_states)[..., : self.out_proj.in_features])  # type: ignore[no-any-return]


def _with_mixer(kind: type[nn.Module]) -> Any:
    model = falcon_h1()
    for layer in model.layers:
        layer.mamba = kind(layer.mamba)
    return model


def test_where_it_is_and_by_what_it_is_multiplied_is_data():
    place = discover(falcon_h1(), {"input_ids": token_ids(N)}).blocks[0]
    assert place.beside is not None
    assert place.beside.output == "mamba.out_proj"
    assert place.beside.scale == pytest.approx(MIXER_OUT, rel=1e-6)
    assert place.beside.mixer.columns == tuple(range(INNER, 2 * INNER))
    assert place.layout == "pre-norm, a mixer beside attention"
    assert not place.attention.additions


def test_a_mixer_that_is_linear_in_nothing_is_refused():
    with pytest.raises(UnsupportedModel, match="something beside attention mixes tokens"):
        discover(_with_mixer(Squared), {"input_ids": token_ids(N)})


def test_values_that_are_made_of_several_tokens_are_refused():
    with pytest.raises(UnsupportedModel, match="the values of the mixer beside attention are not made of"):
        discover(_with_mixer(_Summed), {"input_ids": token_ids(N)})


def test_what_reads_one_token_at_a_time_stays_an_addition():
    place = discover(_with_mixer(_Local), {"input_ids": token_ids(N)}).blocks[0]
    assert place.beside is None
    assert len(place.attention.additions) == 1


def test_both_are_zeroed_in_a_model_whose_anatomy_nobody_asked_for():
    model, ids, answer = falcon_h1("ForCausalLM"), token_ids(N)[0], 2
    kept = torch.ones(2, N, dtype=torch.bool)
    kept[1, 2] = False
    found = zeroed_log_probs(model, ids, kept, answer)
    assert len(watched(model)) == len(model.model.layers)
    with ExitStack() as stack, torch.no_grad():
        for layer in model.model.layers:
            stack.enter_context(zeroing(layer, [2]))
        logits = model(ids[None, :-1], use_cache=False).logits[0, -answer:].log_softmax(-1)
    wanted = logits.gather(1, ids[-answer:, None])[:, 0]
    torch.testing.assert_close(found[1], wanted, rtol=0, atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_nothing_else_is_heard_in_a_model_with_attention_alone():
    model = build("llama")
    cm.load(model).trace({"input_ids": token_ids(N)[0]})
    assert not watched(model)
    unwatch(model)
    assert cm.load(model).is_causal
    assert not watched(model)

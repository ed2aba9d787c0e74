"""What stands between the heads and the output projection is found by its numbers, or refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.tracing.tiny import build, hook_count, settings, token_ids, vivid
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import TraceDoesNotAddUp, UnsupportedModel
from contextmix.traces.places import Outlet

D, HEADS, N = 16, 2, 7
GAMMA = torch.linspace(0.5, 1.5, D)


class Behind(nn.Module):
    """A linear module that reads what a function makes of the heads' output; what the function holds is its own."""

    def __init__(self, dense: nn.Linear, act: Callable[[Tensor], Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.dense, self.act, self.parts = dense, act, nn.ModuleList(parts)

    def forward(self, heads: Tensor) -> Tensor:
        return self.dense(self.act(heads))


def with_act(make: Callable[[], Callable[[Tensor], Tensor]], family: str = "bert") -> Any:
    """A model of the family with something between its heads and its output projection."""
    model = build(family)
    for block in model.encoder.layer if family == "bert" else model.layers:
        holder, name = (block.attention.output, "dense") if family == "bert" else (block.self_attn, "o_proj")
        act = make()
        parts = [act] if isinstance(act, nn.Module) else []
        setattr(holder, name, Behind(getattr(holder, name), act, *parts))
    return model.eval()


def by_head(heads: Tensor) -> Tensor:
    return heads.unflatten(-1, (HEADS, -1))


def rms_of_each_head(heads: Tensor) -> Tensor:
    split = by_head(heads)
    return (split * torch.rsqrt(split.square().mean(-1, keepdim=True) + 1e-6)).flatten(-2) * GAMMA


def rms_of_all(heads: Tensor) -> Tensor:
    return heads * torch.rsqrt(heads.square().mean(-1, keepdim=True) + 1e-6) * GAMMA


def a_gate(heads: Tensor) -> Tensor:
    rows = torch.arange(heads.shape[-2]).unsqueeze(-1)
    return heads * torch.sigmoid(torch.sin(rows + 3 * torch.arange(D)))


def a_gate_per_head(heads: Tensor) -> Tensor:
    rows = torch.arange(heads.shape[-2]).unsqueeze(-1)
    return heads * torch.sigmoid(torch.sin(rows + 5 * torch.arange(HEADS))).repeat_interleave(D // HEADS, dim=-1)


class GateThenNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = vivid(nn.RMSNorm(D, eps=1e-6))

    def forward(self, heads: Tensor) -> Tensor:
        return self.norm(a_gate(heads))


FOUND: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    "a gate": (lambda: a_gate, ("fixed", False, None)),
    "a gate per head": (lambda: a_gate_per_head, ("fixed", True, None)),
    "a constant": (lambda: lambda heads: heads * GAMMA, ("fixed", False, None)),
    "a norm of each head": (lambda: rms_of_each_head, ("head", False, None)),
    "a norm that no module holds": (lambda: rms_of_all, ("row", False, None)),
    "an RMS norm": (lambda: vivid(nn.RMSNorm(D, eps=1e-6)), (None, False, "rms")),
    "a LayerNorm": (lambda: vivid(nn.LayerNorm(D)), (None, False, "layer")),
    "a gate before a norm": (GateThenNorm, ("fixed", False, "rms")),
}


def kind(outlet: Outlet | None) -> tuple[Any, ...] | None:
    return outlet and (outlet.factor, outlet.flat, outlet.norm and outlet.norm.kind)


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("name", FOUND)
def test_what_stands_there_is_told_by_its_numbers(name: str, family: str):
    make, wanted = FOUND[name]
    traced = cm.load(with_act(make, family))
    before = hook_count(traced.model)
    report = traced.check()
    assert [kind(block.outlet) for block in report.anatomy.blocks] == [wanted] * 2
    assert report.checks.conservation < 1e-5
    assert hook_count(traced.model) == before


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_where_nothing_stands_nothing_is_found(family: str):
    assert [block.outlet for block in cm.load(build(family)).anatomy().blocks] == [None] * 2


REFUSED: dict[str, Callable[[Tensor], Tensor]] = {
    "a gate of the values": lambda heads: heads * heads.sigmoid(),
    "a bias": lambda heads: heads + GAMMA,
    "a mean that is subtracted": lambda heads: heads - heads.mean(-1, keepdim=True),
    "heads that are mixed": lambda heads: heads + heads.roll(D // HEADS, -1),
    "tokens that are mixed": lambda heads: heads + heads.roll(1, -2),
    "another order of channels": lambda heads: heads.flip(-1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_factor_is_refused(name: str):
    model = with_act(lambda: REFUSED[name])
    before, hooks = settings(model), hook_count(model)
    with pytest.raises(UnsupportedModel, match=r"is not the heads' output times a gate, nor times one number") as said:
        cm.load(model).anatomy()
    assert "attention.output.dense.dense (Linear)" in str(said.value)
    assert settings(model) == before
    assert hook_count(model) == hooks


class Turning(nn.Module):
    """An output projection that reads and writes (token, batch, channel)."""

    def __init__(self, dense: nn.Linear) -> None:
        super().__init__()
        self.dense = dense

    def forward(self, heads: Tensor) -> Tensor:
        return self.dense(heads.transpose(0, 1)).transpose(0, 1)


def test_a_projection_that_reads_tokens_in_front_of_the_batch():
    plain, model = build("bert"), build("bert")
    for block in model.encoder.layer:
        block.attention.output.dense = Turning(block.attention.output.dense)
    traced, ids = cm.load(model), token_ids(N, batch=3)
    assert {block.outlet for block in traced.anatomy().blocks} == {Outlet(turned=True)}
    for found, wanted in zip(traced.trace({"input_ids": ids}), cm.load(plain).trace({"input_ids": ids}), strict=True):
        for one, other in zip(found.layers, wanted.layers, strict=True):
            assert one.gate is None
            torch.testing.assert_close(one.attention_out, other.attention_out)


def test_a_factor_that_is_another_kind_on_a_long_input_is_refused():
    def act(heads: Tensor) -> Tensor:
        return a_gate(heads) if heads.shape[-2] > N else a_gate_per_head(heads)

    traced = cm.load(with_act(lambda: act))
    assert traced.anatomy().blocks[0].outlet == Outlet("fixed", flat=True)
    with pytest.raises(TraceDoesNotAddUp, match="here channels differ by"):
        traced.trace({"input_ids": token_ids(N + 4)[0]})

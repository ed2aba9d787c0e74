"""The factor between heads and output projection as it is recorded: exact to rounding, or refused."""

import pytest
import torch
from torch import Tensor

from contextmix.errors import TraceDoesNotAddUp
from contextmix.maths.norms import Norm
from contextmix.traces.places import NormPlace, Outlet
from contextmix.tracing.recording.blocks.outlet import gate_of

HEADS, N, WIDTH = 2, 5, 3
NORM = Norm("rms", None, None, 1e-5)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


ATTENTION = numbers(1, HEADS, N, N).softmax(-1)
VALUE = numbers(1, HEADS, N, WIDTH, seed=1)
GATE = numbers(1, HEADS, N, WIDTH, seed=2).sigmoid()


def given(value: Tensor = VALUE) -> Tensor:
    """What the heads give, (batch, query, head, d_head)."""
    return (ATTENTION @ value).transpose(1, 2)


def taken(heads: Tensor, gate: Tensor) -> Tensor:
    return (heads.transpose(1, 2) * gate).transpose(1, 2).flatten(2)


def found(outlet: Outlet, heads: Tensor, read: Tensor, value: Tensor = VALUE, norm: Norm | None = None) -> Tensor:
    gate = gate_of(outlet, norm, ATTENTION, value, heads, read, 1e-6)
    assert gate is not None
    return gate


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_gate_per_channel_is_right_to_the_rounding_of_the_model(dtype: torch.dtype):
    """Also where heads almost cancel: what was read is that small number times the gate, rounded once."""
    heads = given().clone()
    heads[0, 2, 1, 0] = 1e-4
    heads, gate = heads.to(dtype), GATE.to(dtype)
    read = taken(heads, gate)
    wanted, eps = gate.double(), torch.finfo(dtype).eps
    assert ((found(Outlet("fixed"), heads, read) - wanted).abs() <= eps * wanted).all()


@pytest.mark.parametrize("inside", [True, False])
def test_one_number_per_head_fits_all_its_channels(inside: bool):
    scale = GATE[..., :1]
    heads = taken(given(), scale).view_as(given())
    outlet = Outlet(inside=True) if inside else Outlet("fixed", flat=True)
    gate = found(outlet, heads if inside else given(), heads.flatten(2))
    torch.testing.assert_close(gate, scale)


def test_both_at_once():
    """A sink inside, a gate behind it, and a norm behind that."""
    sink = numbers(1, HEADS, N, 1, seed=3).sigmoid()
    heads = taken(given(), sink).view_as(given())
    read = taken(heads, GATE)
    place = NormPlace("norm", "rms")
    gate = found(Outlet("fixed", inside=True, norm=place), heads, read, norm=NORM)
    length = (read.square().mean(-1) + NORM.eps).sqrt()
    torch.testing.assert_close(gate, sink * GATE / length[:, None, :, None])


def test_a_norm_by_itself_is_one_number_per_row():
    read = given().flatten(2)
    gate = found(Outlet(norm=NormPlace("norm", "rms")), given(), read, norm=NORM)
    assert gate.shape == (1, HEADS, N, 1)
    torch.testing.assert_close(gate[0, 0, :, 0], 1 / (read[0].square().mean(-1) + NORM.eps).sqrt())


def test_nothing_but_another_order_of_axes_is_no_gate():
    assert gate_of(Outlet(turned=True), None, ATTENTION, VALUE, given(), given().flatten(2), 1e-6) is None


def test_channels_that_differ_are_not_one_number():
    with pytest.raises(TraceDoesNotAddUp, match="here channels differ by"):
        found(Outlet("fixed", flat=True), given(), taken(given(), GATE))


def test_a_gate_that_is_shut_is_zero():
    gate = GATE.clone()
    gate[0, 1, 2, 0] = 0
    assert torch.equal(found(Outlet("fixed"), given(), taken(given(), gate))[0, 1, 2, :1], torch.zeros(1).double())


def test_where_heads_give_nothing_because_nothing_is_sent_the_gate_does_not_matter():
    value = VALUE.clone()
    value[:, 0, :, 1] = 0
    gate = found(Outlet("fixed"), given(value), taken(given(value), GATE), value)
    assert not gate[0, 0, :, 1].any()
    torch.testing.assert_close(gate[0, 1], GATE[0, 1])


def test_what_cancels_to_zero_hides_its_gate():
    heads = given().clone()
    heads[0, 2, 1, 0] = 0
    with pytest.raises(TraceDoesNotAddUp, match="what was sent there cancels to zero"):
        found(Outlet("fixed"), heads, taken(heads, GATE))


def test_what_is_added_is_no_factor():
    value = VALUE.clone()
    value[:, 0, :, 1] = 0
    with pytest.raises(TraceDoesNotAddUp, match="something is added to them"):
        found(Outlet("fixed"), given(value), taken(given(value), GATE) + 1, value)

"""Lengths of Jacobians by backward passes, on functions whose Jacobians are known."""

import pytest
import torch

from contextmix.maths import backward
from contextmix.maths.backward import backward_lengths

GENERATOR = torch.Generator().manual_seed(0)
STATES = torch.randn(4, 3, generator=GENERATOR, dtype=torch.float64)
MIX = torch.randn(4, 4, generator=GENERATOR, dtype=torch.float64)
TURN = torch.randn(3, 3, generator=GENERATOR, dtype=torch.float64)


def linear(states):
    return MIX @ states @ TURN


def test_of_a_linear_function_they_are_its_weights():
    torch.testing.assert_close(backward_lengths(linear, STATES), MIX.abs() * TURN.norm())


def test_weights_scale_the_input_axis():
    found = backward_lengths(linear, STATES, STATES)
    wanted = [[float(MIX[i, j].abs() * (STATES[j, :, None] * TURN).norm()) for j in range(4)] for i in range(4)]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64))


def test_of_a_function_that_bends_they_are_those_at_the_states():
    found = backward_lengths(lambda states: states**3, STATES)
    torch.testing.assert_close(found, torch.diag((3 * STATES**2).norm(dim=-1)))


@pytest.mark.parametrize("elements", [1, 200, 10**6])
def test_the_number_of_passes_at_a_time_changes_nothing(monkeypatch, elements):
    at_once = backward_lengths(linear, STATES, STATES)
    monkeypatch.setattr(backward, "WORKING_ELEMENTS", elements)
    torch.testing.assert_close(backward_lengths(linear, STATES, STATES), at_once)


def test_sequences_of_a_batch_do_not_mix():
    batch = torch.stack([STATES, STATES.flip(0), 2 * STATES])
    found = backward_lengths(lambda states: linear(states).tanh(), batch, batch)
    assert found.shape == (3, 4, 4)
    for own, states in zip(found, batch, strict=True):
        torch.testing.assert_close(own, backward_lengths(lambda one: linear(one).tanh(), states, states))


def test_it_works_where_gradients_are_switched_off_and_leaves_the_states_alone():
    before = STATES.clone()
    with torch.no_grad():
        found = backward_lengths(linear, STATES)
    assert not found.requires_grad
    assert not STATES.requires_grad
    assert torch.equal(STATES, before)

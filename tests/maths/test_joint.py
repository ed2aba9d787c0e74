"""The joint rollout: against products of one large matrix per layer, and on cases whose answer is known."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import causal_maps, stochastic_maps, tensors

from contextmix.maths.joint import joint_rollout, side_by_side, through_residual
from contextmix.maths.shares import row_shares


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@given(stochastic_maps(4, 4), tensors(2, 3, 5, low=0.0), causal_maps(2, 3, 3))
def test_it_is_the_rollout_of_both_stacks_as_one(encoder, cross, own):
    cross = row_shares(cross + 0.1)
    layers = torch.stack([through_residual(*pair) for pair in zip(own, cross, strict=True)])
    found = joint_rollout(encoder, layers)
    product = torch.eye(7, dtype=torch.float64)
    product[:4, :4] = encoder  # the encoder's outputs stay what they are while the decoder runs
    for number, layer in enumerate(layers):
        whole = torch.eye(7, dtype=torch.float64)
        whole[4:] = layer
        product = whole @ product
        close(found[number], product[4:])
    close(found.sum(-1), torch.ones(2, 3, dtype=torch.float64))


def test_a_decoder_that_never_looks_at_the_source_is_a_decoder():
    own = torch.tensor([[1.0, 0.0], [0.25, 0.75]], dtype=torch.float64)
    cross = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    layer = through_residual(own, cross)
    found = joint_rollout(torch.eye(2, dtype=torch.float64), torch.stack([layer, layer]))
    assert (found[..., :2] == 0).all()
    close(found[1, :, 2:], own @ own)


def test_a_row_that_draws_on_nothing_stays_zero_and_takes_nothing_from_others():
    layer = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.25, 0.25]], dtype=torch.float64)
    found = joint_rollout(torch.ones(1, 1, dtype=torch.float64), torch.stack([layer, layer]))
    assert found[:, 0].tolist() == [[0, 0, 0], [0, 0, 0]]
    close(found[:, 1].sum(-1), torch.ones(2, dtype=torch.float64))


@given(tensors(3, 3, low=0.0), tensors(3, 4, low=0.0))
def test_side_by_side_the_halves_keep_their_proportions(own, cross):
    found = row_shares(side_by_side(own, cross))
    sums = own.sum(-1) + cross.sum(-1)
    for row, total in enumerate(sums.tolist()):
        wanted = [*cross[row].tolist(), *own[row].tolist()]
        close(found[row], torch.tensor([x / total if total else 0.0 for x in wanted], dtype=torch.float64))


@given(st.floats(0, 1), stochastic_maps(2, 2))
def test_the_residual_shares_out_what_it_holds(kept, own):
    cross = torch.tensor([[1 - kept, kept]] * 2, dtype=torch.float64)
    found = through_residual(own, cross)
    close(found[:, 1:].sum(-1), torch.full((2,), kept, dtype=torch.float64))
    close(found[:, 0], torch.full((2,), 1 - kept, dtype=torch.float64))

"""Effective attention (Brunner et al. 2020): attention without the part that the values cancel."""

import numpy as np
import pytest
import torch
from tests.methods.longhand import affine
from tests.strategies import toy_layer

import contextmix as cm
from contextmix.errors import BadOption, WrongQuantity
from contextmix.methods.effective_attention import measure


def orthonormal(columns):
    """Gram–Schmidt, twice for each vector; what vanishes is left out."""
    basis = []
    for column in columns:
        rest, size = np.array(column, dtype=float), np.linalg.norm(column)
        for _ in range(2):
            for one in basis:
                rest = rest - (rest @ one) * one
        if np.linalg.norm(rest) > 1e-9 * size:
            basis.append(rest / np.linalg.norm(rest))
    return basis


def projected(row, basis):
    return sum(((row @ one) * one for one in basis), np.zeros_like(row))


def values_by_hand(block, layer, h, width):
    """The value vectors of one head, (n, d_head), with their bias."""
    own = slice(h * width, (h + 1) * width)
    return np.stack([affine(x, block.attention.self.value)[own] for x in layer.x])


def longhand(layers, extra=None):
    """(layer, head, query, key): each row of attention, projected on the columns of T = V W_O of its head."""
    found = []
    for layer in layers:
        heads = []
        for h in layer.heads:
            columns = list(layer.f[h].T) + ([] if extra is None else [extra(len(layer.x))])
            basis = orthonormal(columns)
            heads.append([projected(row, basis) for row in layer.alpha[h]])
        found.append(heads)
    return np.array(found)


def test_rows_are_projected_on_what_reaches_the_output(trace, layers):
    wanted = longhand(layers)
    np.testing.assert_allclose(cm.measure(trace, "effective_attention", heads="each").values, wanted, atol=1e-10)
    found = cm.measure(trace, "effective_attention")
    np.testing.assert_allclose(found.values, wanted.mean(1), atol=1e-10)
    assert found.quantity == "signed"
    assert np.abs(found.values - cm.measure(trace, "attention").values).max() > 0.01  # n = 5 is more than d_head = 4


def test_the_variant_that_keeps_the_sums_of_rows(trace, layers):
    wanted = longhand(layers, extra=np.ones)
    found = cm.measure(trace, "effective_attention", heads="each", rows="sum").values
    np.testing.assert_allclose(found, wanted, atol=1e-10)
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-10)


def test_what_each_head_sends_stays(trace, layers):
    found = cm.measure(trace, "effective_attention", heads="each").values
    for number, layer in enumerate(layers):
        for h in layer.heads:
            np.testing.assert_allclose(found[number, h] @ layer.f[h], layer.alpha[h] @ layer.f[h], atol=1e-9)


def test_null_spaces_of_values_and_of_projected_values_are_the_same(bert, layers):
    """T = V W_O, and W_O^h has full row rank."""
    for block, layer in zip(bert.encoder.layer, layers, strict=True):
        for h in layer.heads:
            value = values_by_hand(block, layer, h, 4)
            along, of_t = orthonormal(value.T), orthonormal(layer.f[h].T)
            assert len(along) == len(of_t) == 4
            for row in layer.alpha[h]:
                np.testing.assert_allclose(projected(row, along), projected(row, of_t), atol=1e-10)


def test_the_rank_of_each_head_is_reported(trace):
    assert cm.measure(trace, "effective_attention").provenance.notes["rank"] == [[4, 4], [4, 4]]
    assert cm.measure(trace, "effective_attention", rows="sum").provenance.notes["rank"] == [[5, 5], [5, 5]]


def test_with_no_more_tokens_than_d_head_it_is_attention_itself(bert):
    short = cm.load(bert).trace({"input_ids": torch.tensor([3, 1, 4, 15])})
    for heads in ("mean", "each"):
        found = cm.measure(short, "effective_attention", heads=heads)
        assert np.array_equal(found.values, cm.measure(short, "attention", heads=heads).values)
        assert found.provenance.notes["rank"] == [[4, 4], [4, 4]]


def test_equal_values_share_the_weight():
    layer = toy_layer()
    layer.value[:] = layer.value[:, :1]  # every token sends the same
    found = measure(layer)
    torch.testing.assert_close(found.values, torch.full((5, 5), 0.2, dtype=torch.float64))
    assert found.notes["rank"].tolist() == [1, 1, 1]


def test_a_causal_row_is_projected_among_the_tokens_that_it_sees():
    layer = toy_layer("pre-norm", causal=True, n=7)
    found = measure(layer, heads="each").values
    for h in range(3):
        for i in range(7):
            basis = orthonormal(layer.value[h, : i + 1].T.numpy())
            wanted = projected(layer.attention[h, i, : i + 1].numpy(), basis)
            np.testing.assert_allclose(found[h, i, : i + 1], wanted, atol=1e-10)
            assert found[h, i, i + 1 :].eq(0).all()
    torch.testing.assert_close(measure(layer).values, found.mean(0))
    sums = measure(layer, rows="sum", heads="each").values
    torch.testing.assert_close(sums.sum(-1), torch.ones(3, 7, dtype=torch.float64))
    torch.testing.assert_close(sums @ layer.value, layer.attention @ layer.value)


def test_signed_numbers_cannot_be_multiplied_over_layers(bert, ids):
    for way in ("rollout", "flow"):
        with pytest.raises(WrongQuantity, match="effective_attention gives signed"):
            cm.load(bert).explain({"input_ids": ids}, method="effective_attention", aggregation=way)


def test_an_unknown_kind_of_rows_is_refused(trace):
    with pytest.raises(BadOption, match="'free' or 'sum'"):
        cm.measure(trace, "effective_attention", rows="one")

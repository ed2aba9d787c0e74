"""ALTI of Ferrando et al. (2022): how much nearer each token's vector brings a row to what it became after the norm."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.methods.longhand import g, length
from tests.strategies import toy_layer

import contextmix as cm
from contextmix.errors import BadOption
from contextmix.methods.alti import measure
from contextmix.plugins.plan import METHODS
from contextmix.plugins.selection import quantity_of
from contextmix.results.provenance import Quantity


def manhattan(vector):
    return sum(abs(float(number)) for number in vector)


def contributions(layer, size):
    """c_ij = max(0, ‖y_i‖ − ‖y_i − T_i(x_j)‖), T of the norm after attention, y its true output."""
    rows = []
    for i in layer.tokens:
        row, y = [], layer.z_tilde[i]
        for j in layer.tokens:
            part = sum(layer.alpha[h, i, j] * layer.f[h, j] for h in layer.heads)
            part = part + layer.x[i] if i == j else part
            row.append(max(0.0, size(y) - size(y - g(part, layer.z_plus[i], layer.gamma1, layer.eps))))
        rows.append(row)
    return rows


def shares(rows):
    return [[number / sum(row) if sum(row) else 0.0 for number in row] for row in rows]


LENGTHS = pytest.mark.parametrize(("distance", "size"), [("l1", manhattan), ("l2", length)])


@LENGTHS
def test_rows_are_shares_of_what_each_token_contributes(trace, layers, distance, size):
    found = cm.measure(trace, "alti", distance=distance)
    np.testing.assert_allclose(
        found.values, [shares(contributions(one, size)) for one in layers], rtol=1e-8, atol=1e-12
    )
    assert found.quantity == "share"


@LENGTHS
def test_not_normalised_they_are_lengths(trace, layers, distance, size):
    found = cm.measure(trace, "alti", distance=distance, normalise=False)
    np.testing.assert_allclose(found.values, [contributions(one, size) for one in layers], rtol=1e-8, atol=1e-10)
    assert found.quantity == "norm"


def test_l1_is_the_default_and_another_measure_than_l2(trace):
    found = cm.measure(trace, "alti").values
    assert np.array_equal(found, cm.measure(trace, "alti", distance="l1").values)
    assert np.abs(found - cm.measure(trace, "alti", distance="l2").values).max() > 0.01


def test_the_parts_and_the_biases_add_up_to_the_row(layers):
    """If they did not, the distances would mean nothing."""
    for layer in layers:
        for i in layer.tokens:
            mixed = sum(layer.alpha[h, i, j] * layer.f[h, j] for h in layer.heads for j in layer.tokens)
            total = g(mixed + layer.x[i] + layer.b_o, layer.z_plus[i], layer.gamma1, layer.eps)
            beta = layer.z_tilde[i] - total
            np.testing.assert_allclose(
                beta, layer.z_tilde[0] - g(layer.z_plus[0], layer.z_plus[0], layer.gamma1, layer.eps)
            )


@pytest.mark.parametrize("layout", ["pre-norm", "no norm", "parallel"])
def test_without_a_norm_after_attention_parts_are_those_of_the_residual_stream(layout):
    layer = toy_layer(layout)
    sources, n = layer.value @ layer.block.output_weight, 5
    for i in range(n):
        y = layer.residual_in[i] + layer.attention_out[i]  # with the output bias
        row = []
        for j in range(n):
            part = sum(layer.attention[h, i, j] * sources[h, j] for h in range(3)) + (
                layer.residual_in[i] if i == j else 0
            )
            row.append(max(0.0, manhattan(y) - manhattan(y - part)))
        np.testing.assert_allclose(measure(layer).values[i], shares([row])[0], rtol=1e-9)


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_rows_without_any_contribution_stay_zero_and_are_counted(distance):
    layer = toy_layer("no norm", batch=(2,))
    assert measure(layer, distance=distance).notes["zero_rows"].tolist() == [0, 0]
    layer.residual_in[1, 3] = 0  # nothing of its own, and no attention: a bias alone
    layer.attention[1, :, 3] = 0
    layer.attention_out[1, 3] = layer.block.output_bias
    found = measure(layer, distance=distance)
    assert found.notes["zero_rows"].tolist() == [0, 1]
    assert found.values[1, 3].tolist() == [0.0] * 5
    torch.testing.assert_close(found.values.sum(-1)[0], torch.ones(5, dtype=torch.float64))


def test_the_count_travels_with_the_result(trace):
    assert cm.measure(trace, "alti").provenance.notes["zero_rows"] == [0, 0]


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_all_attention_on_one_token_leaves_that_token_and_the_residual(distance):
    layer = toy_layer("post-norm")
    attention = torch.zeros_like(layer.attention)
    attention[..., 2] = 1
    out = (attention @ layer.value @ layer.block.output_weight).sum(0) + layer.block.output_bias
    one = replace(layer, attention=attention, attention_out=out)
    found = measure(one, distance=distance).values
    for i in range(5):
        assert all(found[i, j] == 0 for j in range(5) if j not in (i, 2))
    assert (found[:, 2] > 0).any()


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_one_token_takes_everything(distance):
    layer = toy_layer("post-norm", n=1, seed=2)
    layer.block.attention.norm_after.bias.zero_()
    layer.block.output_bias.zero_()
    attention_out = (layer.attention @ layer.value @ layer.block.output_weight).sum(0)
    one = replace(layer, attention_out=attention_out)
    raw = measure(one, distance=distance, normalise=False).values.item()
    y = one.states.residual_mid[0].tolist()
    assert raw == pytest.approx(manhattan(y) if distance == "l1" else math.hypot(*y), rel=1e-6)
    assert measure(one, distance=distance).values.tolist() == [[1.0]]


def test_an_unknown_length_is_refused(trace):
    with pytest.raises(BadOption, match="'l1' or 'l2'"):
        cm.measure(trace, "alti", distance="cosine")


def test_what_the_numbers_are_depends_on_the_option():
    assert quantity_of(METHODS["alti"], {}) is Quantity.SHARE
    assert quantity_of(METHODS["alti"], {"normalise": False}) is Quantity.NORM

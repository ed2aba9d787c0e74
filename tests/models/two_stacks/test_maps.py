"""The maps of both steps of a decoder block against the same formulas written out with loops."""

import math

import numpy as np
import pytest

import contextmix as cm
from contextmix.errors import BadOption, UnknownName, UnsupportedModel
from contextmix.traces.encoder_decoder import RESIDUAL

CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def close(found: cm.TokenMap, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found.values, wanted, **CLOSE)
    assert np.std(wanted) > 1e-3


def by_loops(half, formula, cross: bool) -> np.ndarray:
    """formula(i, j) for every row and key; of cross-attention also for the residual, j None."""
    n_rows, n_keys = half.alpha.shape[1:]
    keys = [*range(n_keys), None] if cross else list(range(n_keys))
    return np.array([[formula(half, i, j) for j in keys] for i in range(n_rows)])


def length(vector: np.ndarray) -> float:
    return math.sqrt(sum(number**2 for number in vector))


def stacked(case, formula, cross: bool) -> np.ndarray:
    return np.stack([by_loops(pair[int(cross)], formula, cross) for pair in case.halves])


STREAMS = pytest.mark.parametrize("stream", ["decoder", "cross"])


@STREAMS
def test_attention_is_what_the_model_gives_out(case, stream):
    wanted = np.stack([pair[int(stream == "cross")].alpha for pair in case.halves])
    close(cm.measure(case.trace, "attention", stream=stream, heads="each"), wanted)
    close(cm.measure(case.trace, "attention", stream=stream), wanted.mean(1))


@STREAMS
def test_norm_is_the_length_of_what_attention_moves(case, stream):
    cross = stream == "cross"
    wanted = stacked(case, lambda half, i, j: 0.0 if j is None else length(half.part(i, j, 0, own=False)), cross)
    close(cm.measure(case.trace, "norm", stream=stream), wanted[..., :-1] if cross else wanted)


@STREAMS
@pytest.mark.parametrize(("method", "norms"), [("norm_residual", 0), ("norm_attention_block", 1), ("norm_encoder", 2)])
def test_the_norm_family_has_the_residual_on_the_diagonal_or_apart(case, stream, method, norms):
    cross = stream == "cross"
    wanted = stacked(case, lambda half, i, j: length(half.part(i, j, norms, own=not cross)), cross)
    close(cm.measure(case.trace, method, stream=stream), wanted)


@STREAMS
@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_alti_is_how_far_each_part_goes_towards_the_whole(case, stream, distance):
    cross = stream == "cross"
    size = (lambda vector: sum(abs(number) for number in vector)) if distance == "l1" else length

    def contribution(half, i, j):
        if j is not None and not any(half.alpha[:, i, j]) and (cross or i != j):
            return 0.0
        part = half.part(i, j, 1, own=not cross)
        return max(0.0, size(half.left[i]) - size(half.left[i] - part))

    raw = stacked(case, contribution, cross)
    close(cm.measure(case.trace, "alti", stream=stream, distance=distance, normalise=False), raw)
    sums = raw.sum(-1, keepdims=True)
    shares = np.divide(raw, sums, out=np.zeros_like(raw), where=sums > 0)
    close(cm.measure(case.trace, "alti", stream=stream, distance=distance), shares)


def test_fixed_and_measured_residuals_have_their_own_column_in_cross_attention(case):
    alphas = np.stack([cross.alpha.mean(0) for _, cross in case.halves])
    halved = np.concatenate([alphas / 2, np.full_like(alphas[..., :1], 0.5)], axis=-1)
    close(cm.measure(case.trace, "attention_fixed_residual", stream="cross"), halved)
    lengths = cm.measure(case.trace, "norm", stream="cross").values
    lengths = lengths / lengths.sum(-1, keepdims=True) / 2
    close(
        cm.measure(case.trace, "norm_fixed_residual", stream="cross"), np.concatenate([lengths, halved[..., -1:]], -1)
    )

    def kept(half, i):
        others = sum(half.part(i, j, 2, own=False) for j in range(half.alpha.shape[2]))
        return length(half.part(i, None, 2, own=False)) / (length(half.part(i, None, 2, own=False)) + length(others))

    shares = np.array([[kept(cross, i) for i in range(len(cross.residual))] for _, cross in case.halves])
    np.testing.assert_allclose(cm.mixing_ratio(case.trace, "norm_encoder", stream="cross").values, 1 - shares, **CLOSE)
    wanted = np.concatenate([alphas * (1 - shares[..., None]), shares[..., None]], axis=-1)
    close(cm.measure(case.trace, "attention_residual", stream="cross"), wanted)


def test_effective_attention_leaves_what_the_values_of_the_source_keep(case):
    found = cm.measure(case.trace, "effective_attention", stream="cross", heads="each").values
    for number, layer in enumerate(case.trace.cross.layers):
        for head, (weights, value) in enumerate(zip(layer.attention.numpy(), layer.value.numpy(), strict=True)):
            np.testing.assert_allclose(found[number, head], weights @ value @ np.linalg.pinv(value), atol=1e-8)


@pytest.mark.parametrize("method", ["norm_encoder", "alti", "value_zeroing", "attention"])
def test_no_position_draws_on_a_later_one(case, method):
    found = cm.measure(case.trace, method, stream="decoder").values
    later = np.triu_indices(found.shape[-1], 1)
    assert (found[:, later[0], later[1]] == 0).all()
    assert (found[:, -1] > 0).sum() > 1


def test_axes_carry_the_right_names(case):
    read, written = case.trace.target.read.pieces, case.trace.target.written.pieces
    source = case.trace.encoder.tokens.pieces
    assert (len(read), read[1:]) == (5, written[:-1])
    own = cm.measure(case.trace, "norm_encoder", stream="decoder")
    cross = cm.measure(case.trace, "norm_encoder", stream="cross")
    bare = cm.measure(case.trace, "norm", stream="cross")
    assert (own.query_tokens.pieces, own.tokens.pieces) == (read, read)
    assert (cross.query_tokens.pieces, cross.tokens.pieces) == (read, (*source, RESIDUAL))
    assert bare.tokens.pieces == source
    assert cm.measure(case.trace, "norm_encoder", stream="encoder").tokens.pieces == source
    assert cross.row(-1, layer=0).top(1)[0][0] in (*source, RESIDUAL)


def test_the_encoder_stream_is_that_of_the_encoder_alone(case):
    alone = cm.load(case.model.get_encoder()).trace(case.flat)
    alone = alone[0] if isinstance(alone, list) else alone
    for method in ("norm_encoder", "alti", "value_zeroing"):
        ours = cm.measure(case.trace, method, stream="encoder").values
        np.testing.assert_allclose(ours, cm.measure(alone, method).values, rtol=1e-9)


@pytest.mark.parametrize("method", ["hta", "hta_inputs", "norm_encoder_ffn"])
@STREAMS
def test_methods_without_a_meaning_for_a_decoder_block_are_refused_by_name(case, method, stream):
    with pytest.raises(UnsupportedModel, match=rf"{method} is defined for a block.*alti"):
        cm.measure(case.trace, method, stream=stream)


@pytest.mark.parametrize("stream", [None, "encode", "self"])
def test_a_stream_must_be_named(case, stream):
    with pytest.raises(BadOption, match="three places"):
        cm.measure(case.trace, "norm", stream=stream)


def test_a_model_of_one_stack_has_no_streams():
    with pytest.raises(BadOption, match="only one stack"):
        cm.measure(cm.load("demo").trace("a good film"), "norm", stream="cross")


def test_a_recipe_is_no_map_of_a_stream(case):
    with pytest.raises(UnknownName):
        cm.measure(case.trace, "globenc", stream="cross")

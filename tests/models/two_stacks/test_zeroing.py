"""Value Zeroing of a decoder block against the definition: really set a value to zero, and run the whole model."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.models.two_stacks.models import PLACES, build

import contextmix as cm
from contextmix.errors import UnsupportedModel
from contextmix.methods.value_zeroing import measure


def outputs(model, family, inputs, ids, number, step=None, token=None):
    """The output of decoder block ``number`` with one value of its self-attention or cross-attention at zero."""
    place, seen = PLACES[family], []
    block = model.get_submodule(place.blocks)[number]

    def zero(module, args, output):
        output = output.clone()
        output[0, token] = 0
        return output

    def keep(module, args, output):
        seen.append((output if torch.is_tensor(output) else output[0])[0].numpy())

    handles = [block.register_forward_hook(keep)]
    if step is not None:
        handles.append(block.get_submodule(f"{step}.{place.value}").register_forward_hook(zero))
    try:
        with torch.no_grad():
            model(**inputs, decoder_input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return seen[0]


def cosine(y, other):
    dot = sum(a * b for a, b in zip(y, other, strict=True))
    return 1 - dot / math.sqrt(sum(a * a for a in y)) / math.sqrt(sum(b * b for b in other))


def euclidean(y, other):
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(y, other, strict=True)))


def brute_force(case, stream, distance):
    step = getattr(PLACES[case.family], "own" if stream == "decoder" else "cross")
    layers = (case.trace.decoder if stream == "decoder" else case.trace.cross).layers
    maps = []
    for number, layer in enumerate(layers):
        clean = outputs(case.model, case.family, case.inputs, case.ids, number)
        found = np.zeros(layer.attention.shape[1:])
        for token in range(found.shape[1]):
            changed = outputs(case.model, case.family, case.inputs, case.ids, number, step, token)
            found[:, token] = [distance(*rows) for rows in zip(clean, changed, strict=True)]
        maps.append(found)
    return np.stack(maps)


@pytest.mark.parametrize("stream", ["decoder", "cross"])
@pytest.mark.parametrize("distance", [cosine, euclidean])
def test_both_steps_move_the_output_of_the_whole_block(case, stream, distance):
    options = {"distance": distance.__name__, "normalise": False}
    found = cm.measure(case.trace, "value_zeroing", stream=stream, **options).values
    wanted = brute_force(case, stream, distance)
    tolerance = 1e-6 if PLACES[case.family].rms else 1e-9  # T5's norm runs in float32
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * wanted.max())
    assert wanted.max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("heads", [None, [1]])
def test_running_the_block_again_gives_what_the_closed_form_gives(case, heads):
    tolerance = 1e-6 if PLACES[case.family].rms else 1e-9
    for own, cross in zip(case.trace.decoder.layers, case.trace.cross.layers, strict=True):
        unknown = replace(cross, block=replace(cross.block, query=None))
        again = measure(replace(own, following=unknown), heads=heads, normalise=False).values
        exact = measure(own, heads=heads, normalise=False).values
        torch.testing.assert_close(again, exact, rtol=tolerance, atol=tolerance * float(exact.max()))
        unknown = replace(cross, block=replace(cross.block, feed_forward=None))
        again = measure(unknown, heads=heads, normalise=False).values
        exact = measure(cross, heads=heads, normalise=False).values
        torch.testing.assert_close(again, exact, rtol=tolerance, atol=tolerance * float(exact.max()))


def test_other_queries_than_the_recorded_ones_are_not_taken_for_them(case):
    own = case.trace.decoder.layers[0]
    query = own.following.block.query
    wrong = replace(own.following.block, query=replace(query, weight=1.1 * query.weight))
    with pytest.raises(UnsupportedModel, match="what follows attention cannot be run"):
        measure(replace(own, following=replace(own.following, block=wrong), replay_zeroed=None))
    again = measure(replace(own, following=replace(own.following, block=wrong))).values  # by running the block again
    torch.testing.assert_close(again, measure(own).values, rtol=1e-6, atol=1e-7)


def test_reduced_precision_is_refused_where_cross_attention_follows(case):
    with pytest.raises(UnsupportedModel, match="Use precision='full'"):
        measure(case.trace.decoder.layers[0], precision="bfloat16")


def test_one_token_at_a_time_gives_the_same(case, monkeypatch):
    own = case.trace.decoder.layers[0]
    whole = measure(own, normalise=False).values
    monkeypatch.setattr("contextmix.maths.zeroing_steps.CHANGE_ELEMENTS", 1)
    torch.testing.assert_close(measure(own, normalise=False).values, whole)


def test_small_distances_keep_their_digits_in_float32():
    ids, written = torch.tensor([5, 9, 17, 30]), [7, 31, 12, 2]

    def weak(dtype):
        model = build("bart", dtype)
        with torch.no_grad():
            for block in model.model.decoder.layers:
                block.self_attn.out_proj.weight.mul_(1e-3)  # self-attention hardly moves anything
        return cm.measure(cm.load(model).trace({"input_ids": ids}, output=written), "value_zeroing", stream="decoder")

    np.testing.assert_allclose(weak(torch.float32).values, weak(torch.float64).values, atol=2e-3)

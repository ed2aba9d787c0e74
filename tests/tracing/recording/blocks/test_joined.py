"""Attention and a mixer without attention in one block: the trace is of both, as by hand and as by hooks."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from tests.tracing.beside import falcon_h1, really_zeroed, sent
from tests.tracing.tiny import hook_count, token_ids

import contextmix as cm
from contextmix.errors import BadInput, TapSilent, UnsupportedModel
from contextmix.traces.block import Block, SublayerNorms
from contextmix.traces.mixing import Beside, Channels
from contextmix.traces.trace import LayerTrace
from contextmix.tracing.discovery.blocks import discover
from contextmix.tracing.recording.blocks.joined import joined
from contextmix.tracing.recording.record import layers_of, record_rows
from contextmix.tracing.recording.recorder import Attended

N, EXACT = 7, 1e-6  # the scan computes in float32
PLAIN, NORMED = {}, {"mamba_rms_norm": True, "mamba_norm_before_gate": False}
LATER = {"mamba_rms_norm": True, "mamba_norm_before_gate": True}


def test_what_each_token_brings_is_what_both_mixers_bring_by_hand():
    model, ids = falcon_h1(), token_ids(N)
    wanted, rest = sent(model, ids)
    layer = cm.load(model).trace({"input_ids": ids[0]}).layers[0]
    assert layer.channelwise
    found = torch.einsum("cij,cj,cd->ijd", layer.attention, layer.value[..., 0], layer.block.output_weight[:, 0])
    torch.testing.assert_close(found, wanted, rtol=0, atol=EXACT * float(wanted.abs().max()))
    torch.testing.assert_close(layer.block.output_bias, rest, rtol=0, atol=EXACT * float(rest.abs().max()))
    assert not layer.attention.triu(1).any()


@pytest.mark.parametrize("changes", [PLAIN, NORMED, LATER])
def test_parts_with_the_residual_are_the_state_that_the_feed_forward_part_reads(changes: dict[str, bool]):
    model, ids, read = falcon_h1(**changes), token_ids(N), []
    model.set_attn_implementation("eager")  # its softmax is in float32, and the recorded run is eager
    hook = model.layers[0].pre_ff_layernorm.register_forward_pre_hook(lambda _, args: read.append(args[0][0].clone()))
    with torch.no_grad():
        model(ids, use_cache=False)
    hook.remove()
    layer = cm.load(model).trace({"input_ids": ids[0]}).layers[0]
    parts = torch.einsum("cij,cj,cd->ijd", layer.attention, layer.value[..., 0], layer.block.output_weight[:, 0])
    parts[range(N), range(N)] += layer.residual_in
    torch.testing.assert_close(parts.sum(1) + layer.block.output_bias, read[0], rtol=0, atol=10 * EXACT)
    torch.testing.assert_close(layer.states.attention_sum, read[0], rtol=0, atol=1e-9)
    torch.testing.assert_close(layer.residual_parts.lengths(), parts.norm(dim=-1), rtol=0, atol=1e-9)
    assert not np.triu(cm.load(model).explain({"input_ids": ids[0]}, "globenc").values, 1).any()


@pytest.mark.parametrize("changes", [PLAIN, NORMED, LATER])
def test_value_zeroing_is_what_really_zeroed_values_of_both_do(changes: dict[str, bool]):
    model, ids = falcon_h1(**changes), token_ids(N)
    clean = really_zeroed(model, ids, [])
    trace, wanted = cm.load(model).trace({"input_ids": ids[0]}), torch.zeros(N, N, dtype=clean.dtype)
    for token in range(N):
        changed = really_zeroed(model, ids, [token])
        wanted[:, token] = 1 - torch.nn.functional.cosine_similarity(clean, changed, dim=-1)
        replayed = trace.layers[0].replay_zeroed(token, None)
        torch.testing.assert_close(replayed, changed, rtol=0, atol=10 * EXACT)
    found = cm.measure(trace, "value_zeroing", normalise=False).values[0]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=EXACT)
    assert not np.triu(found, 1).any()


def test_a_model_proves_itself_and_is_left_as_it_was():
    model, ids = falcon_h1(), token_ids(N)
    with torch.no_grad():
        plain = model(ids, use_cache=False)[0]
    traced = cm.load(model)
    report = traced.check({"input_ids": ids[0]})
    assert report.parity <= EXACT
    assert report.checks.layers == 2
    assert traced.is_causal
    assert hook_count(model) == 0
    with torch.no_grad():
        assert torch.equal(model(ids, use_cache=False)[0], plain)


def test_a_batch_is_its_sequences_one_by_one():
    traced, ids = cm.load(falcon_h1()), token_ids(N, batch=3)
    for row, trace in enumerate(traced.trace({"input_ids": ids})):
        alone = traced.trace({"input_ids": ids[row]})
        for layer, own in zip(trace.layers, alone.layers, strict=True):
            for name in ("attention", "value", "attention_out"):
                torch.testing.assert_close(getattr(layer, name), getattr(own, name), rtol=0, atol=EXACT)
            torch.testing.assert_close(layer.replay_zeroed(2, None), own.replay_zeroed(2, None), rtol=0, atol=EXACT)


def test_some_rows_are_those_of_the_whole():
    model, ids, rows = falcon_h1(), token_ids(N), slice(4, 6)
    anatomy, found = discover(model, {"input_ids": ids}), []
    record_rows(model, anatomy, {"input_ids": ids}, rows, lambda layer, heard: found.append((layer, heard)))
    for whole, (layer, (weights, value)) in zip(layers_of(model, anatomy, {"input_ids": ids}), found, strict=True):
        torch.testing.assert_close(layer.attention, whole.attention[:, rows], rtol=0, atol=EXACT)
        torch.testing.assert_close(layer.attention_out, whole.attention_out[rows], rtol=0, atol=EXACT)
        torch.testing.assert_close(weights, whole.attention[:, rows], rtol=0, atol=EXACT)
        torch.testing.assert_close(value, whole.value, rtol=0, atol=EXACT)


def test_a_copy_with_an_anatomy_from_elsewhere_is_heard_too():
    model, ids = falcon_h1(), {"input_ids": token_ids(N)}
    anatomy = discover(model, ids)
    for own, copied in zip(layers_of(model, anatomy, ids), layers_of(deepcopy(model), anatomy, ids), strict=True):
        assert torch.equal(own.attention, copied.attention)


@pytest.mark.parametrize("method", ["alti_rollout", "value_zeroing_rollout", "hta", "hta_inputs"])
def test_methods_that_follow_what_tokens_send_work(method: str):
    found = cm.load(falcon_h1()).explain({"input_ids": token_ids(N)[0]}, method).values
    assert np.isfinite(found).all()
    assert not np.triu(found, 1).any()


def test_what_needs_weights_or_heads_is_refused_by_name():
    traced, ids = cm.load(falcon_h1()), {"input_ids": token_ids(N)[0]}
    with pytest.raises(UnsupportedModel, match=r"Layer 0 is no attention.*so attention would not be shares"):
        traced.explain(ids, "attention")
    with pytest.raises(UnsupportedModel, match="value_zeroing knows no heads here"):
        traced.explain(ids, "value_zeroing", heads=[0])
    assert not {"attention", "attention_rollout"} & set(traced.explore(ids).maps)


def test_maps_of_both_that_do_not_fit_are_refused_before_they_are_made():
    root, n, zero = falcon_h1().layers[0], 1 << 20, torch.zeros(1, dtype=torch.float64)  # shapes without memory
    states = dict.fromkeys(["residual_in", "attention_out", "ffn_out", "residual_out"], zero.expand(1, n, 16))
    block = Block(zero.expand(2, 8, 16), None, SublayerNorms(), SublayerNorms())
    layer = LayerTrace(0, zero.expand(1, 2, n, n), zero.expand(1, 2, n, 8), **states, block=block)
    kernel, value = zero.expand(1, 32, n, n), zero.expand(1, 32, n, 1)
    heard = [Attended(kernel, value, None, constant=zero.expand(1, n, 32))]
    beside = Beside(Channels("mamba", "out_proj", 0, tuple(range(32))))
    with pytest.raises(BadInput, match=r"FalconH1DecoderLayer has a map of its own for every channel: 393216\.0 GiB"):
        joined(root, beside, layer, heard, states["ffn_out"])
    with pytest.raises(TapSilent, match="Block 0 ran without mamba"):
        joined(root, beside, layer, [], states["ffn_out"])

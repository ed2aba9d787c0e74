"""Value Zeroing against the definition: really set the value of each token to zero in one layer, and run the model."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from tests.strategies import toy_layer
from tests.tracing.tiny import MARKS, SIZES, build, in_float64, one_thread, token_ids, vivid
from torch import nn

import contextmix as cm
from contextmix.errors import BadOption, UnsupportedModel
from contextmix.methods.value_zeroing import measure

VALUES = {  # where each family computes its values: module, and which slice of its output holds them
    "bert": ("attention.self.value", None),
    "roberta": ("attention.self.value", None),
    "electra": ("attention.self.value", None),
    "distilbert": ("attention.v_lin", None),
    "albert": ("albert_layers.0.attention.value", None),
    "llama": ("self_attn.v_proj", None),
    "gpt2": ("attn.c_attn", slice(32, 48)),
    "gemma2": ("self_attn.v_proj", None),
    "granite": ("self_attn.v_proj", None),
    "olmo2": ("self_attn.v_proj", None),
    "modernbert": ("attn.Wqkv", slice(32, 48)),
    "phi": ("self_attn.v_proj", None),
    "gpt_neox": ("attention.query_key_value", [*range(16, 24), *range(40, 48)]),  # head by head: q, k, v
}
GATED = ("llama", "gemma2", "granite", "olmo2", "modernbert")


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread(), torch.no_grad():
        yield


def zeroed_outputs(model, place, ids, number, token, family):
    """The output of block ``number`` when the value of ``token`` is zero in that block alone."""
    block = model.get_submodule(place.path)
    name, part = VALUES[family]
    seen, turn = [], [0]

    def zero(module, args, output):
        if turn[0] == number:  # a shared block runs once per layer
            output = output.clone()
            output[0, token, part if part else slice(None)] = 0
        return output

    def keep(module, args, output):
        if turn[0] == number:
            seen.append(output if torch.is_tensor(output) else output[0])
        turn[0] += 1

    before = 0 if family == "albert" else number
    turn[0] = before if before else 0
    handles = [block.get_submodule(name).register_forward_hook(zero), block.register_forward_hook(keep)]
    try:
        with torch.no_grad():
            model(input_ids=ids)
    finally:
        for handle in handles:
            handle.remove()
    return seen[0][0].numpy()


def brute_force(model, anatomy, ids, distance, family):
    maps = []
    for number, place in enumerate(anatomy.blocks):
        n = ids.shape[1]
        clean = zeroed_outputs(model, place, ids, number, slice(0, 0), family)
        found = np.zeros((n, n))
        for j in range(n):
            changed = zeroed_outputs(model, place, ids, number, j, family)
            for i in range(n):
                found[i, j] = distance(clean[i], changed[i])
        maps.append(found)
    return np.stack(maps)


def cosine(y, other):
    dot = sum(a * b for a, b in zip(y, other, strict=True))
    return 1 - dot / math.sqrt(sum(a * a for a in y)) / math.sqrt(sum(b * b for b in other))


def euclidean(y, other):
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(y, other, strict=True)))


@pytest.mark.parametrize("family", VALUES)
@pytest.mark.parametrize("distance", [cosine, euclidean])
def test_closed_form_is_the_definition_in_every_layout(family, distance):
    model, ids = in_float64(build(family)), token_ids(5, seed=3)
    model.set_attn_implementation("eager")  # some families take the softmax in float32, and only then
    traced = cm.load(model)
    trace = traced.trace({"input_ids": ids[0]})
    found = cm.measure(trace, "value_zeroing", distance=distance.__name__, normalise=False).values
    wanted = brute_force(model, traced.anatomy(), ids, distance, family)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9 * wanted.max())
    assert found.max() > 1e-3


@pytest.mark.parametrize("family", VALUES)
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_running_the_block_again_gives_the_closed_form_in_every_layout(family, distance):
    traced = cm.load(in_float64(build(family)))
    for layer in traced.trace({"input_ids": token_ids(5, seed=3)[0]}).layers:
        closed = measure(layer, distance=distance, normalise=False).values
        block = replace(layer.block, feed_forward=None, parallel=False)  # as if nobody knew what follows attention
        again = measure(replace(layer, block=block), distance=distance, normalise=False).values
        torch.testing.assert_close(again, closed, rtol=1e-9, atol=1e-9 * float(closed.max()))


EXPERTS = {**MARKS, "num_key_value_heads": 1, "num_local_experts": 2, "num_experts_per_tok": 1}
LATENT = {
    "num_key_value_heads": 2,
    "kv_lora_rank": 6,
    "q_lora_rank": 6,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 6,
}
ROUTED = {"n_routed_experts": 2, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 1, "moe_intermediate_size": 8}
LESS_USUAL = {  # what no family above has
    "experts": ("Mixtral", EXPERTS),
    "attention sinks": ("GptOss", {**EXPERTS, "head_dim": 8}),
    "values of another width than keys": ("DeepseekV3", {**MARKS, **LATENT, **ROUTED, "first_k_dense_replace": 1}),
    "a scale for each dimension": ("Dinov2", {"image_size": 8, "patch_size": 4, "mlp_ratio": 2}),
}


@pytest.mark.parametrize("feature", LESS_USUAL)
def test_running_the_block_again_gives_the_closed_form_in_less_usual_blocks(feature):
    prefix, own = LESS_USUAL[feature]
    sizes = {name: size for name, size in SIZES.items() if prefix != "Dinov2" or not name.startswith(("vocab", "max"))}
    config = getattr(transformers, f"{prefix}Config")(**{**sizes, **own})
    model = in_float64(vivid(getattr(transformers, f"{prefix}Model")(config)))
    model.set_attn_implementation("eager")
    if "num_experts_per_tok" in own:
        model.set_experts_implementation("eager")  # the fast ones know no float64
    pixels = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inputs = {"pixel_values": pixels} if prefix == "Dinov2" else {"input_ids": token_ids(5, seed=3)[0]}
    for layer in cm.load(model).trace(inputs).layers:
        closed = measure(layer, normalise=False).values
        again = measure(replace(layer, block=replace(layer.block, feed_forward=None)), normalise=False).values
        torch.testing.assert_close(again, closed, rtol=1e-9, atol=1e-9 * float(closed.max()))
        assert closed.max() > 1e-3


def test_running_the_block_again_for_some_heads_and_some_sequences():
    layers = []
    traced = cm.load(build("bert").double())
    traced._record({"input_ids": token_ids(5, batch=2)}, layers.append)
    for row in range(2):
        layer = layers[0][row]
        unknown = replace(layer, block=replace(layer.block, feed_forward=None))
        closed, again = (measure(one, heads=[1], normalise=False).values for one in (layer, unknown))
        torch.testing.assert_close(again, closed, rtol=1e-9, atol=1e-12)


def test_heads_that_share_a_value_cannot_be_zeroed_apart_in_a_run():
    layer = cm.load(build("llama")).trace({"input_ids": token_ids(5)[0]}).layers[0]
    assert measure(layer, heads=[1]).values.isfinite().all()  # the closed form can
    with pytest.raises(UnsupportedModel, match="2 heads share 1 values"):
        measure(replace(layer, block=replace(layer.block, feed_forward=None)), heads=[1])


def test_a_block_that_can_neither_be_read_nor_run_is_refused():
    layer = cm.load(build("bert")).trace({"input_ids": token_ids(5)[0]}).layers[0]
    with pytest.raises(UnsupportedModel, match="Layer 0: what follows attention cannot"):
        measure(replace(layer, block=replace(layer.block, feed_forward=None), replay_zeroed=None))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_token_never_moves_those_before_it(family):
    trace = cm.load(build(family)).trace({"input_ids": token_ids(6)[0]})
    found = cm.measure(trace, "value_zeroing", normalise=False).values
    assert (np.triu(found, 1) == 0).all()
    assert (np.tril(found) > 0).any()


def test_what_is_rounded_otherwise_in_another_shape_moves_no_token_that_is_out_of_sight():
    layer = toy_layer("pre-norm", causal=True)
    ffn = layer.block.feed_forward

    def uneven(states):  # as a product of matrices may be
        return ffn(states) * (1 + states.ndim * 1e-15)

    def zeroed(token, heads):
        return layer.residual_out * (1 if token is None else 1 + 1e-15)

    closed = replace(layer, block=replace(layer.block, feed_forward=uneven))
    again = replace(layer, block=replace(layer.block, feed_forward=None), replay_zeroed=zeroed)
    for one in (closed, again):
        found = measure(one, distance="euclidean", normalise=False).values
        assert (found.triu(1) == 0).all()
        assert (found.tril().diagonal() > 0).all()


def test_rows_sum_to_one_and_raw_rows_are_what_they_were_divided_from():
    trace = cm.load(build("bert")).trace({"input_ids": token_ids(6)[0]})
    shares, raw = cm.measure(trace, "value_zeroing"), cm.measure(trace, "value_zeroing", normalise=False)
    assert (shares.quantity, raw.quantity) == (cm.Quantity.SHARE, cm.Quantity.DISTANCE)
    np.testing.assert_allclose(shares.values, raw.values / raw.values.sum(-1, keepdims=True), rtol=1e-6)


def test_small_distances_keep_their_digits_in_float32():
    model, ids = build("bert"), {"input_ids": token_ids(6)[0]}
    with torch.no_grad():
        for block in model.encoder.layer:
            block.attention.output.dense.weight.mul_(1e-3)  # attention hardly moves anything: distances near 1e-7
    exact = cm.measure(cm.load(build_double(model)).trace(ids), "value_zeroing").values
    found = cm.measure(cm.load(model).trace(ids), "value_zeroing").values
    np.testing.assert_allclose(found, exact, atol=2e-3)


def build_double(model: nn.Module):
    twin = type(model)(model.config)
    twin.load_state_dict(model.state_dict())
    return twin.double().eval()


def test_all_heads_chosen_one_by_one_are_all_heads_and_others_count_for_nothing():
    model, ids = build("bert").double(), {"input_ids": token_ids(5)[0]}
    layer = cm.load(model).trace(ids).layers[0]
    everything = measure(layer, normalise=False).values
    torch.testing.assert_close(measure(layer, heads=[0, 1], normalise=False).values, everything)
    one = measure(layer, heads=[0], normalise=False).values
    assert not torch.allclose(one, everything)
    with torch.no_grad():
        model.encoder.layer[0].attention.self.value.weight[:8] = 0
        model.encoder.layer[0].attention.self.value.bias[:8] = 0
    layer = cm.load(model).trace(ids).layers[0]
    assert (measure(layer, heads=[0], normalise=False).values == 0).all()


def test_rows_that_nothing_moves_stay_zero_and_are_counted():
    model = build("bert")
    with torch.no_grad():
        model.encoder.layer[1].attention.output.dense.weight.zero_()
    found = cm.measure(cm.load(model).trace({"input_ids": token_ids(5)[0]}), "value_zeroing")
    assert (found.values[1] == 0).all()
    assert found.provenance.notes["zero_rows"] == [0, 5]


def test_a_batch_is_its_sequences():
    traced, ids = cm.load(build("bert")), token_ids(6, batch=3)
    together = traced.explain({"input_ids": ids}, "value_zeroing")
    for row, one in enumerate(together):
        alone = traced.explain({"input_ids": ids[row]}, "value_zeroing")
        np.testing.assert_allclose(one.values, alone.values, atol=1e-5)


def test_small_blocks_of_tokens_give_the_same_map(monkeypatch):
    layer = cm.load(build("bert").double()).trace({"input_ids": token_ids(7)[0]}).layers[0]
    whole = measure(layer).values
    monkeypatch.setattr("contextmix.maths.zeroing.BLOCK_ELEMENTS", 1)
    torch.testing.assert_close(measure(layer).values, whole)


def test_reduced_precision_is_close_and_measures_its_own_error(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)  # or emulated
    traced, ids = cm.load(build("bert")), {"input_ids": token_ids(12)[0]}
    exact = traced.explain(ids, "value_zeroing").values
    found = traced.explain(ids, "value_zeroing", precision="bfloat16")
    error = np.abs(found.values - exact).max(axis=(1, 2))
    noted = np.array(found.provenance.notes["bfloat16_error"])
    assert 0 < error.max() < 1e-2
    assert (noted > 0).all()
    assert (noted <= error + 1e-6).all()


def test_reduced_precision_is_refused_where_it_would_be_slower(monkeypatch):
    trace = cm.load(build("bert")).trace({"input_ids": token_ids(3)[0]})
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(BadOption, match="this processor has no instructions for it"):
        cm.measure(trace, "value_zeroing", precision="bfloat16")


def test_one_token_draws_everything_from_itself():
    trace = cm.load(build("bert")).trace({"input_ids": token_ids(1)[0]})
    assert cm.measure(trace, "value_zeroing").values.tolist() == [[[1.0]], [[1.0]]]


@pytest.mark.parametrize("options", [{"distance": "manhattan"}, {"precision": "int4"}, {"heads": [2]}, {"heads": []}])
def test_unknown_options_are_refused(options):
    trace = cm.load(build("bert")).trace({"input_ids": token_ids(3)[0]})
    with pytest.raises(BadOption):
        cm.measure(trace, "value_zeroing", **options)


@pytest.mark.parametrize("family", [*GATED, "gpt_neox"])
def test_reduced_precision_is_refused_where_there_is_no_second_matrix(family):
    trace = cm.load(build(family)).trace({"input_ids": token_ids(3)[0]})
    with pytest.raises(UnsupportedModel, match="Layer 0: reduced precision is for"):
        cm.measure(trace, "value_zeroing", precision="bfloat16")

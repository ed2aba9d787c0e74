"""Models with a gate, a norm or a sink between heads and output projection: every method against the plain model."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.gated import FAMILIES, NORMS, blocks_of, gated
from tests.tracing.tiny import build, one_thread, token_ids
from torch import Tensor

import contextmix as cm
from contextmix.errors import NotFinite, UnsupportedModel
from contextmix.methods import hta, norm
from contextmix.methods.value_zeroing import measure
from contextmix.traces.trace import LayerTrace

N = 6
IDS = token_ids(N, seed=3)


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread(), torch.no_grad():
        yield


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def traced(family: str) -> cm.TracedModel:
    model = gated(family)
    model.set_attn_implementation("eager")  # takes the softmax in float32, which is the model's own business
    return cm.load(model)


@pytest.fixture(scope="module")
def layers(traced: cm.TracedModel) -> tuple[LayerTrace, ...]:
    return traced.trace({"input_ids": IDS[0]}).layers


def written(model: Any, block: int, token: int | None) -> tuple[Tensor, Tensor]:
    """What a block's attention and the block itself write when a token's value is zero in it, by plain hooks."""
    seen: dict[str, Tensor] = {}

    def zero(module: Any, args: Any, output: Tensor) -> Tensor:
        return output if token is None else output.index_fill(1, torch.tensor([token]), 0)

    def keep(name: str) -> Any:
        return lambda module, args, output: seen.update({name: output if torch.is_tensor(output) else output[0]})

    layer = blocks_of(model)[block]
    hooks = [layer.self_attn.v_proj.register_forward_hook(zero)]
    hooks += [layer.self_attn.register_forward_hook(keep("attention")), layer.register_forward_hook(keep("block"))]
    try:
        model(input_ids=IDS)
    finally:
        for hook in hooks:
            hook.remove()
    return seen["attention"][0], seen["block"][0]


def test_something_stands_there(family: str, layers: tuple[LayerTrace, ...]):
    for layer in layers:
        assert layer.gate is not None
        assert layer.gate_answers == (family in NORMS)
        assert (layer.gate - layer.gate.mean()).abs().max() > 1e-3


def test_really_zeroed_values_are_value_zeroing(traced: cm.TracedModel, layers: tuple[LayerTrace, ...]):
    for number, layer in enumerate(layers):
        clean = written(traced.model, number, None)[1]
        moved = [(written(traced.model, number, token)[1] - clean).norm(dim=-1) for token in range(N)]
        found = measure(layer, distance="euclidean", normalise=False).values
        torch.testing.assert_close(found, torch.stack(moved, dim=-1), rtol=1e-9, atol=1e-9)
        assert not found.triu(1).any()


def test_what_a_token_sends_is_what_attention_loses_without_it(
    family: str, traced: cm.TracedModel, layers: tuple[LayerTrace, ...]
):
    """The norm map. Behind a norm that answers to the values the loss is another: the map holds its denominator."""
    for number, layer in enumerate(layers):
        found = norm.measure(layer)
        if family not in NORMS:
            clean = written(traced.model, number, None)[0]
            lost = [(clean - written(traced.model, number, token)[0]).norm(dim=-1) for token in range(N)]
            torch.testing.assert_close(found, torch.stack(lost, dim=-1), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found, longhand(layer).norm(dim=-1), rtol=1e-9, atol=1e-9)
        assert not found.triu(1).any()


def longhand(layer: LayerTrace) -> Tensor:
    """What each token sends each row, (query, key, d_model), head by head and pair by pair."""
    heads, n, d_head = layer.value.shape
    gate = layer.gate.expand(heads, n, d_head)
    found = layer.attention_out.new_zeros(n, n, layer.attention_out.shape[-1])
    for h in range(heads):
        for i in range(n):
            for j in range(n):
                sent = gate[h, i] * layer.attention[h, i, j] * layer.value[h, j]
                found[i, j] += sent @ layer.block.output_weight[h]
    return found


def test_parts_add_up_to_the_states(layers: tuple[LayerTrace, ...]):
    for layer in layers:
        bias = layer.block.output_bias
        total = longhand(layer).sum(1) if bias is None else longhand(layer).sum(1) + bias
        torch.testing.assert_close(total, layer.attention_out, rtol=1e-9, atol=1e-9)
        parts = layer.residual_parts
        vectors = longhand(layer) * layer.block.attention.scale
        if layer.block.attention.norm_out is None:
            vectors[range(N), range(N)] += layer.residual_in
            torch.testing.assert_close(parts.lengths(), vectors.norm(dim=-1), rtol=1e-9, atol=1e-9)


METHODS = ("attention", "norm", "norm_residual", "globenc", "alti", "alti_rollout", "value_zeroing", "hta")


@pytest.mark.parametrize("method", [*METHODS, "attention_flow", "effective_attention"])
def test_maps_are_causal_and_finite(traced: cm.TracedModel, method: str):
    found = traced.explain({"input_ids": IDS[0]}, method, layers="all").values
    assert np.isfinite(found).all()
    assert not np.triu(found, 1).any()
    assert np.abs(found).max() > 1e-3


def test_a_batch_is_its_sequences(traced: cm.TracedModel):
    ids = token_ids(N, batch=2, seed=5)
    for method in ("globenc", "alti", "value_zeroing"):
        both = traced.explain({"input_ids": ids}, method)
        for one, own in zip(both, ids, strict=True):
            alone = traced.explain({"input_ids": own}, method)
            np.testing.assert_allclose(one.values, alone.values, rtol=1e-7, atol=1e-9)


@pytest.fixture(scope="module")
def speaking(family: str) -> cm.TracedModel:
    model = gated(family, "ForCausalLM")
    model.set_attn_implementation("eager")
    return cm.load(model)


@pytest.mark.parametrize("reach", ["direct", "answer", "all"])
def test_evidence_adds_up_to_the_score(family: str, speaking: cm.TracedModel, reach: str):
    with refused(reach != "direct" and family == "bitnet"):
        found = speaking.explain({"input_ids": IDS[0]}, "evidence", reach=reach)
        assert found.provenance.checks["completeness"] < 1e-9


def test_decompx_adds_up_to_the_score(family: str, speaking: cm.TracedModel):
    with refused(family == "bitnet"):
        found = speaking.explain({"input_ids": IDS[0]}, "decompx", bias="norm")
        assert found.provenance.checks["completeness"] < 1e-9


def refused(by_its_feed_forward_part: bool) -> Any:
    """BitNet has a norm inside of its feed-forward part, too, which no rule splits."""
    return (
        pytest.raises(UnsupportedModel, match="its feed-forward part is neither")
        if by_its_feed_forward_part
        else nullcontext()
    )


def test_the_rows_of_a_fused_attention_are_those_of_the_eager_one(family: str):
    model = gated(family, "ForCausalLM")
    if not model._supports_sdpa:
        pytest.skip("it has no fused attention")
    model.set_attn_implementation("sdpa")
    fused = cm.load(model).explain({"input_ids": IDS[0]}, "evidence").values
    model.set_attn_implementation("eager")
    np.testing.assert_allclose(cm.load(model).explain({"input_ids": IDS[0]}, "evidence").values, fused, atol=1e-6)


class Gate(torch.nn.Module):
    """An output projection behind a gate that the values do not change."""

    def __init__(self, dense: torch.nn.Linear) -> None:
        super().__init__()
        self.dense = dense

    def forward(self, heads: Tensor) -> Tensor:
        return self.dense(heads * torch.linspace(0.2, 1.8, heads.shape[-1], dtype=heads.dtype))


def test_derivatives_of_a_gated_block_are_those_of_running_it_again():
    """The closed form of post-norm blocks knows no gate, so it must not be taken for one."""
    model = build("bert").double()
    for block in model.encoder.layer:
        block.attention.output.dense = Gate(block.attention.output.dense)
    layer = cm.load(model).trace({"input_ids": IDS[0]}).layers[1]
    with torch.enable_grad():
        jacobian = torch.autograd.functional.jacobian(layer.replay, layer.residual_in)
    torch.testing.assert_close(hta.measure(layer), jacobian.norm(dim=(1, 3)), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", ["value_zeroing", "norm", "globenc", "alti"])
def test_a_hook_that_ablates_a_head_is_a_head_without_weights(method: str):
    def ablate(module: torch.nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        return (args[0].index_fill(-1, torch.arange(8), 0),)

    hooked, without = build("llama").double(), build("llama").double()
    for layer, other in zip(hooked.layers, without.layers, strict=True):
        layer.self_attn.o_proj.register_forward_pre_hook(ablate)
        other.self_attn.o_proj.weight[:, :8] = 0
    found, wanted = (cm.load(one).explain({"input_ids": IDS[0]}, method).values for one in (hooked, without))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_weights_that_overflow_are_called_what_they_are(family: str):
    model = gated(family)
    traced = cm.load(model)
    traced.anatomy()
    blocks_of(model)[0].self_attn.v_proj.weight.fill_(torch.inf)
    with pytest.raises(NotFinite):
        traced.trace({"input_ids": IDS[0] * 0 + 7})

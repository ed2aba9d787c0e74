"""Blocks with factors, constants, normed residuals and further additions: every method against the plain model."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from tests.methods.longhand import length
from tests.tracing.sums import FURTHER, blocks_of, further
from tests.tracing.tiny import token_ids
from torch import Tensor

import contextmix as cm
from contextmix.errors import UnsupportedModel

IDS = token_ids(6, seed=3)
EXACT = {"rtol": 0, "atol": 1e-9}


@pytest.fixture(scope="module", params=FURTHER)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(family: str) -> Any:
    model = further(family, "ForCausalLM")
    model.set_attn_implementation("eager")  # which is what is recorded
    return model


@pytest.fixture(scope="module")
def trace(model: Any) -> cm.Trace:
    return cm.load(model).trace({"input_ids": IDS[0]})


# The plain model -----------------------------------------------------------------------------------------------------


def heard(model: Any) -> dict[Any, tuple[Any, Any, Any]]:
    """What every module of a plain run was called with, and what it gave."""
    found: dict[Any, tuple[Any, Any, Any]] = {}

    def keep(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        found[module] = [one.clone() if torch.is_tensor(one) else one for one in args], kwargs, first(output).clone()

    handles = [part.register_forward_hook(keep, with_kwargs=True) for part in model.modules()]
    with torch.no_grad():
        model(input_ids=IDS, use_cache=False)
    for handle in handles:
        handle.remove()
    return found


def first(output: Any) -> Any:
    if torch.is_tensor(output):
        return output
    return first(output[0]) if isinstance(output, tuple) else torch.zeros(())


@contextmanager
def without_value(model: Any, token: int) -> Iterator[None]:
    """The value of one token is zero wherever the model's own code multiplies it with weights."""
    file = importlib.import_module(type(model).__module__)
    place, name = file, "eager_attention_forward"
    if not hasattr(file, name):  # GPT-NeoX-Japanese calls a method of its own
        place, name = type(blocks_of(model)[0].attention), "_attn"
    own = getattr(place, name)

    def zeroing(module: Any, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        value = value.clone()
        value[:, :, token] = 0
        return own(module, query, key, value, *args, **kwargs)

    setattr(place, name, zeroing)
    try:
        yield
    finally:
        setattr(place, name, own)


# Value Zeroing -------------------------------------------------------------------------------------------------------


def test_value_zeroing_is_what_really_zeroed_values_do(family: str, model: Any, trace: cm.Trace):
    said = heard(model)
    found = cm.measure(trace, "value_zeroing").values
    for number, block in enumerate(blocks_of(model)):
        args, kwargs, _ = said[block]
        with torch.no_grad():
            clean = first(block(*args, **kwargs))[0]
            wanted = torch.zeros(len(clean), len(clean), dtype=clean.dtype)
            for token in range(len(clean)):
                with without_value(model, token):
                    other = first(block(*args, **kwargs))[0]
                wanted[:, token] = 1 - torch.cosine_similarity(clean, other, dim=-1)
        assert wanted.max() > 1e-3  # something was zeroed
        wanted = wanted / wanted.sum(-1, keepdim=True)
        np.testing.assert_allclose(found[number], wanted.nan_to_num(), **EXACT)


def test_value_zeroing_takes_the_closed_form_where_nothing_else_reads_the_stream(family: str, trace: cm.Trace):
    layer = trace.layers[0]
    bare = cm.LayerTrace(
        **{
            name: getattr(layer, name)
            for name in ("index", "attention", "value", "residual_in", "attention_out", "ffn_out", "residual_out")
        },
        block=layer.block,
        ffn_added=layer.ffn_added,
    )
    if family.startswith("gemma4"):
        with pytest.raises(UnsupportedModel, match="value_zeroing cannot tell"):
            cm.measure(_alone(trace, bare), "value_zeroing")
    else:
        found = cm.measure(_alone(trace, bare), "value_zeroing").values[0]
        np.testing.assert_allclose(found, cm.measure(trace, "value_zeroing").values[0], **EXACT)


def test_reduced_precision_is_refused_where_something_else_reads_the_stream(family: str, trace: cm.Trace):
    if family != "gptneoxjapanese":
        with pytest.raises(UnsupportedModel, match="alone reads the result of attention"):
            cm.measure(trace, "value_zeroing", precision="bfloat16")
    else:
        assert cm.measure(trace, "value_zeroing", precision="bfloat16").values.shape == (2, 6, 6)


def _alone(trace: cm.Trace, layer: cm.LayerTrace) -> cm.Trace:
    return cm.Trace(trace.tokens, (layer,), trace.checks, trace.origin)


def test_zeroing_and_derivatives_while_the_model_runs_leave_no_trace_in_it(family: str, model: Any, trace: cm.Trace):
    """A block runs again between two others, and what it leaves for later ones must not be what they read."""
    for method in ("value_zeroing", "hta"):
        found = cm.load(model).explain({"input_ids": IDS[0]}, method, layers="all")
        np.testing.assert_allclose(found.values, cm.measure(trace, method).values, **EXACT)


# Parts ---------------------------------------------------------------------------------------------------------------


def normed(vector: Tensor, norm: Any, full: Tensor) -> Tensor:
    """A vector through a norm module of the model whose denominator is that of the full row, without its bias."""
    if isinstance(norm, torch.nn.LayerNorm):
        centred = vector - vector.mean(-1, keepdim=True)
        return centred / (full.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt() * norm.weight
    return vector / (full.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight


def steps(family: str, model: Any, number: int, said: dict[Any, Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """From the family's own code: own and drawn parts of a row → the stream after attention; and that → the output.

    A part of the row's own token is of the block's input; `whole` says that constants are added.
    """
    block = blocks_of(model)[number]
    config = model.config

    def read(module: Any) -> Tensor:
        return said[module][0][0][0]

    def wrote(module: Any) -> Tensor:
        return said[module][2][0]

    if family.startswith("gemma4"):
        added = read(block.post_attention_layernorm)
        rest = wrote(block.post_feedforward_layernorm) + wrote(block.post_per_layer_input_norm)
        return (
            lambda own, drawn, i, whole: own + normed(drawn, block.post_attention_layernorm, added[i]),
            lambda part, i, whole: block.layer_scalar * (part + (rest[i] if whole else 0)),
        )
    if family == "minimax":
        entered, summed = read(block.input_layernorm), read(block.post_attention_layernorm)
        alpha, beta = config.full_attn_alpha_factor, config.full_attn_beta_factor

        def middle(own: Tensor, drawn: Tensor, i: int, whole: bool) -> Tensor:
            passed = alpha * normed(own, block.input_layernorm, entered[i]) + beta * drawn
            return normed(passed, block.post_attention_layernorm, summed[i])

        ffn = config.mlp_beta_factor * wrote(block.mlp)
        return middle, lambda part, i, whole: config.mlp_alpha_factor * part + (ffn[i] if whole else 0)
    if family == "doge":
        keep, kept = block.input_residual, block.post_attention_residual
        return (
            lambda own, drawn, i, whole: keep * own + drawn,
            lambda part, i, whole: kept * part + (wrote(block.mlp)[i] if whole else 0),
        )
    bias = block.attention.dense_bias
    shift = torch.zeros(16, dtype=torch.float64) if bias is None else bias
    return (
        lambda own, drawn, i, whole: own + drawn + (shift if whole else 0),
        lambda part, i, whole: part + (wrote(block.mlp)[i] if whole else 0),
    )


def drawn_of(layer: cm.LayerTrace, weight: Tensor, i: int, j: int) -> Tensor:
    """Σ_h α^h_ij v^h_j W^h with the model's own weight (d_model, head · d_head), head by head."""
    found = torch.zeros(weight.shape[0], dtype=weight.dtype)
    for h, head in enumerate(weight.split(layer.value.shape[-1], dim=1)):
        found = found + layer.attention[h, i, j] * (head @ layer.value[h, j])
    return found


def projection(block: Any) -> Tensor:
    module = block.attention.dense if hasattr(block, "attention") else block.self_attn.o_proj
    return module.weight.detach()


@torch.no_grad()
def test_parts_add_up_to_the_states_of_the_plain_model_and_maps_hold_their_lengths(
    family: str, model: Any, trace: cm.Trace
):
    said = heard(model)
    maps = {name: cm.measure(trace, name).values for name in ("norm_residual", "norm_attention_block", "norm_encoder")}
    alti = cm.measure(trace, "alti", normalise=False).values
    for number, (block, layer) in enumerate(zip(blocks_of(model), trace.layers, strict=True)):
        middle, out = steps(family, model, number, said)
        entered, left = said[block][0][0][0], said[block][2][0]
        count, nothing = len(left), torch.zeros_like(left[0])
        for i in range(count):
            drawn = [drawn_of(layer, projection(block), i, j) for j in range(count)]
            parts = [middle(entered[i] if i == j else nothing, drawn[j], i, False) for j in range(count)]
            full = middle(entered[i], sum(drawn), i, True)
            np.testing.assert_allclose(out(full, i, True), left[i], **EXACT)
            np.testing.assert_allclose(sum(parts), middle(entered[i], sum(drawn), i, False), **EXACT)
            np.testing.assert_allclose(maps["norm_attention_block"][number, i], [length(p) for p in parts], **EXACT)
            wanted = [length(out(part, i, False)) for part in parts]
            np.testing.assert_allclose(maps["norm_encoder"][number, i], wanted, **EXACT)
            nearer = [max(0.0, float(full.abs().sum() - (full - part).abs().sum())) for part in parts]
            np.testing.assert_allclose(alti[number, i], nearer, **EXACT)
            assert i + 1 == count or (maps["norm_residual"][number, i, i + 1 :] == 0).all()


def test_causal_maps_are_exactly_zero_above_the_diagonal(trace: cm.Trace):
    for method in ("attention", "norm", "norm_encoder", "value_zeroing", "alti", "globenc"):
        found = cm.measure(trace, method).values if method != "globenc" else cm.measure(trace, "norm_residual").values
        assert (found[:, np.triu(np.ones((6, 6), dtype=bool), 1)] == 0).all(), method


# Derivatives, evidence, DecompX --------------------------------------------------------------------------------------


def test_hta_is_the_jacobian_of_the_block_itself(model: Any, trace: cm.Trace):
    said = heard(model)
    found = cm.measure(trace, "hta").values
    for number, block in enumerate(blocks_of(model)):
        (states, *args), kwargs, _ = said[block]
        run = partial(_again, block, args, kwargs)
        jacobian = torch.autograd.functional.jacobian(run, states)
        wanted = jacobian[:, :, 0].pow(2).sum((1, 3)).sqrt()  # (query, d_model, key, d_model)
        np.testing.assert_allclose(found[number], wanted, rtol=1e-6, atol=1e-9)


def _again(block: Any, args: Any, kwargs: Any, states: Tensor) -> Tensor:
    return first(block(states, *args, **kwargs))[0]


def test_evidence_is_what_each_message_adds_to_a_score_along_a_frozen_stream(family: str, model: Any, trace: cm.Trace):
    """By autograd: each message times a one of its own, pushed through the family's own additions to the logit."""
    said, last = heard(model), IDS.shape[1] - 1
    ones = torch.ones(len(trace.layers), last + 1, dtype=torch.float64, requires_grad=True)
    stream = said[blocks_of(model)[0]][0][0][0, last]
    for number, (block, layer) in enumerate(zip(blocks_of(model), trace.layers, strict=True)):
        middle, out = steps(family, model, number, said)
        drawn = sum(ones[number, j] * drawn_of(layer, projection(block), last, j) for j in range(last + 1))
        stream = out(middle(stream, drawn, last, True), last, True)
    norm = next(part for part in (getattr(_base(model), name, None) for name in ("norm", "final_layer_norm")) if part)
    classifier = model.embed_out if hasattr(model, "embed_out") else model.lm_head
    logits = normed(stream, norm, stream.detach()) @ classifier.weight.T
    (logits[7] - logits.mean()).backward()
    found = cm.load(model).explain({"input_ids": IDS[0]}, "evidence", target=7, score="logit", signed=True)
    np.testing.assert_allclose(np.ravel(found.values), ones.grad.sum(0), **EXACT)


def _base(model: Any) -> Any:
    return next(part for part in model.modules() if hasattr(part, "layers"))


@pytest.mark.parametrize(("method", "options"), [("decompx", {}), ("evidence", {"reach": "all"})])
def test_what_splits_blocks_by_token_is_refused_by_name(model: Any, method: str, options: dict[str, Any]):
    with pytest.raises(UnsupportedModel, match="a factor or norm lies on it"):
        cm.load(model).explain({"input_ids": IDS[0]}, method, target=7, **options)

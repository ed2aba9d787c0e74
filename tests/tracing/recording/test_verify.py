"""A trace proves itself: what was recorded adds up to what the model computed, and a corrupted part is caught."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.tracing.tiny import FAMILIES, ROUNDOFF, build, token_ids
from torch import Tensor

import contextmix as cm
from contextmix.errors import NotFinite, TraceDoesNotAddUp
from contextmix.tracing.recording.verify import conservation_error, prove, relative_error, tolerance

READABLE = [family for family in FAMILIES if family != "lfm2"]


def layer_of(traced: cm.TracedModel) -> cm.LayerTrace:
    return traced.trace({"input_ids": token_ids(9)[0]}).layers[-1]


# Small ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", READABLE)
def test_both_errors_are_tiny_in_float32(family: str, request: pytest.FixtureRequest):
    checks = request.getfixturevalue(family).trace({"input_ids": token_ids(11)[0]}).checks
    assert 0 < checks.conservation <= ROUNDOFF
    assert checks.block_equation <= ROUNDOFF


@pytest.mark.parametrize("family", READABLE)
def test_both_errors_are_tinier_in_float64(family: str, request: pytest.FixtureRequest):
    traced = cm.load(build(family).double())
    checks = traced.trace({"input_ids": token_ids(11)[0]}).checks
    # The norms of these three stand in the block equation, and compute in float32 whatever the model's precision.
    assert checks.conservation <= 1e-12
    assert checks.block_equation <= (ROUNDOFF if family in ("gemma2", "olmo2", "deberta") else 1e-12)
    assert traced.anatomy().layouts == request.getfixturevalue(family).anatomy().layouts


@pytest.mark.parametrize("family", READABLE)
def test_check_reports_what_it_proved(family: str, request: pytest.FixtureRequest):
    report = request.getfixturevalue(family).check()
    assert report.checks.layers == len(report.anatomy.blocks) == 2
    assert report.n_heads == 2
    assert report.parity <= 1e-5


# Caught --------------------------------------------------------------------------------------------------------------

CONSERVED = "attention · value · output projection differs"
REBUILT = "residual, attention and feed-forward put together differ"


def one_percent(tensor: Tensor) -> Tensor:
    """A copy in which the largest number of the first row (which every token may attend to) is one percent larger."""
    changed = tensor.clone()
    row = changed[..., 0, :]
    row[row.abs() == row.abs().max()] *= 1.01
    return changed


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("attention", CONSERVED),
        ("value", CONSERVED),
        ("attention_out", CONSERVED),
        ("ffn_out", REBUILT),
        ("residual_in", REBUILT),
        ("residual_out", REBUILT),
    ],
)
@pytest.mark.parametrize("family", ["bert", "llama", "gemma2", "phi"])
def test_one_number_that_is_one_percent_off_is_caught(
    family: str, part: str, sentence: str, request: pytest.FixtureRequest
):
    layer = layer_of(request.getfixturevalue(family))
    prove(layer, torch.float32)
    with pytest.raises(TraceDoesNotAddUp, match=f"Layer 1: {sentence}"):
        prove(replace(layer, **{part: one_percent(getattr(layer, part))}), torch.float32)


def test_heads_in_another_order_are_caught(bert: cm.TracedModel):
    layer = layer_of(bert)
    with pytest.raises(TraceDoesNotAddUp, match=CONSERVED):
        prove(replace(layer, attention=layer.attention.flip(0)), torch.float32)


def test_a_forgotten_output_bias_is_caught(bert: cm.TracedModel):
    layer = layer_of(bert)
    with pytest.raises(TraceDoesNotAddUp, match=CONSERVED):
        prove(replace(layer, block=replace(layer.block, output_bias=None)), torch.float32)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["attention", "attention_out", "ffn_out", "residual_in", "residual_out"])
def test_what_is_not_a_number_is_called_so(bert: cm.TracedModel, part: str, bad: float):
    layer = layer_of(bert)
    tensor = getattr(layer, part).clone()
    tensor[..., -1, -1] = bad
    with pytest.raises(NotFinite, match=f"Layer 1: {part} holds NaN or infinity"):
        prove(replace(layer, **{part: tensor}), torch.float32)


# The measures --------------------------------------------------------------------------------------------------------


def test_the_sketch_sees_an_error_as_large_as_the_full_sum_does(bert: cm.TracedModel):
    layer = layer_of(bert)
    wrong = replace(layer, attention=one_percent(layer.attention))
    weighted = torch.einsum("hij,hjc,hcd->id", wrong.attention, wrong.value, wrong.block.output_weight)
    full = relative_error(weighted + wrong.block.output_bias, wrong.attention_out)
    assert 0.3 * full < conservation_error(wrong) < 3 * full


def test_the_error_is_the_longest_difference_over_the_mean_length():
    true = torch.tensor([[3.0, 4.0], [0.0, 15.0]])
    assert relative_error(true + torch.tensor([[0.0, 0.0], [3.0, 4.0]]), true) == pytest.approx(0.5)
    assert relative_error(true, true) == 0
    assert not relative_error(true * float("nan"), true) <= 1


def test_less_precision_is_allowed_a_larger_error_and_never_a_large_one():
    allowed = [tolerance(dtype) for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)]
    assert allowed == sorted(allowed)
    assert allowed[-1] < 0.05


def test_a_behaviour_that_depends_on_the_implementation_is_caught(monkeypatch: pytest.MonkeyPatch):
    model = build("llama")
    plain = model.forward

    def forward(input_ids: Tensor, **inputs: Any):
        found = plain(input_ids, **inputs)
        if not model.config._attn_implementation.startswith("contextmix"):
            found.last_hidden_state = found.last_hidden_state * 1.01
        return found

    traced = cm.load(model)
    traced.check()
    monkeypatch.setattr(model, "forward", forward)
    with pytest.raises(TraceDoesNotAddUp, match=r"differ by 9\.9e-03"):
        traced.check()


def test_a_model_that_draws_random_numbers_is_called_what_it_is():
    model = build("bert")
    model.encoder.register_forward_hook(
        lambda module, args, output: output.__class__(output.last_hidden_state * (1 + torch.rand(())))
    )
    with pytest.raises(TraceDoesNotAddUp, match="gives other outputs on every run"):
        cm.load(model).check()

"""The checks by which a trace proves itself. A number that does not pass them is never handed out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from transformers import PreTrainedModel

from contextmix.errors import NotFinite, TraceDoesNotAddUp
from contextmix.maths.differences import largest_error
from contextmix.traces.checks import Checks
from contextmix.traces.trace import LayerTrace
from contextmix.tracing.recording.quiet import first_states, quiet_run
from contextmix.tracing.recording.walk import modules_of

SKETCH_DIRECTIONS = 8

# Largest relative error of a sum of parts, by the precision in which the model ran. float32: 4e-7 is usual, deep sums
# reach 1e-5; bfloat16 keeps 8 bits, and the model itself rounds between the heads and the projection. float64: 1e-15 is
# usual, but the RMS norms of many families compute in float32 whatever the model's precision.
_TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 4e-2}


def tolerance(dtype: torch.dtype) -> float:
    """The largest relative error that a check allows for a model that ran in this precision."""
    return _TOLERANCES.get(dtype, 1e-4)


def float32_tolerance(dtype: torch.dtype) -> float:
    """The same where a part may have computed in float32 whatever the precision of the model: norms, softmax, scans."""
    return max(tolerance(dtype), tolerance(torch.float32))


def is_quantised(module: nn.Module) -> bool:
    """Whether a module's own weights are stored in fewer bits than it computes with."""
    # Asked of every module on every run: `parameters(recurse=False)` would take three times as long.
    if _quantises(type(module).__module__):
        return True
    return any(
        (type(weight) is not nn.Parameter and _quantises(type(weight).__module__)) or not weight.is_floating_point()
        for weight in module._parameters.values()
        if weight is not None
    )


@cache
def _quantises(maker: str) -> bool:
    """Whether the Python module that defines a class is part of a library for quantised weights."""
    return any(part.startswith(("quantized", "bitsandbytes", "torchao")) for part in maker.split("."))


def precision(model: nn.Module, states: Tensor) -> torch.dtype:
    """The precision that a model computes in, for its `tolerance`: that of its hidden states.

    Modules with quantised weights round what they read as well (bitsandbytes to 8 bits, or to bfloat16 on a CPU), which
    is that of bfloat16.
    """
    quantised = any(is_quantised(module) for module in modules_of(model))
    return torch.bfloat16 if quantised else states.dtype


def relative_error(found: Tensor, true: Tensor) -> float:
    """The longest difference of two rows over the mean length of the true rows; NaN if anything is not finite."""
    longest, mean = vector_norm(found - true, dim=-1).amax(), vector_norm(true, dim=-1).mean()
    return float(longest / mean.clamp_min(torch.finfo(true.dtype).tiny))


def close(left: Tensor, right: Tensor, allowed: float, noise: float = 0.0) -> bool:
    """Whether two tensors are the same one, up to a tenth of what a check of sums allows, or to rounding noise."""
    if left.shape != right.shape or not left.numel():
        return left.shape == right.shape
    return bool((left - right).abs().max() <= 0.1 * allowed * right.abs().max() + noise)


def prove(layer: LayerTrace, ran_in: torch.dtype) -> Checks:
    """Conservation and the block equation for one layer.

    Args:
        layer: The recorded layer, in float32 or float64.
        ran_in: The precision in which the model computed it.

    Returns:
        The two relative errors.

    Raises:
        NotFinite: If an activation is NaN or infinite.
        TraceDoesNotAddUp: If an error is above the `tolerance` of the precision.
    """
    # A scan is as exact as the precision that it computes in, and what rounding leaves adds up in it.
    allowed = (float32_tolerance if layer.channelwise else tolerance)(ran_in)
    conservation = conservation_error(layer)
    if not conservation <= allowed:
        _refuse_non_finite(layer)
        raise TraceDoesNotAddUp(
            f"Layer {layer.index}: attention · value · output projection differs from the recorded attention output by "
            f"{conservation:.1e} (relative; allowed {allowed:.0e}). Something acts between the heads and the output "
            "projection, such as a gate or a norm, so shares of the heads would not be shares of the output."
        )
    equation = relative_error(layer.states.residual_out, layer.residual_out)
    if not equation <= allowed:
        _refuse_non_finite(layer)
        raise TraceDoesNotAddUp(
            f"Layer {layer.index}: residual, attention and feed-forward put together differ from the recorded output "
            f"of the block by {equation:.1e} (relative; allowed {allowed:.0e}). The anatomy does not describe this "
            "block."
        )
    return Checks(conservation, equation, layers=1)


def parity(model: PreTrainedModel, inputs: Mapping[str, Tensor], tapped_outputs: Any, *, last_logits: int = 0) -> float:
    """How far the model's outputs under the tap are from those of a plain run, relative to the largest output.

    Args:
        model: The model.
        inputs: What it read.
        tapped_outputs: What it gave under the tap.
        last_logits: With how many of the last logits; see `quiet_run`.

    Raises:
        TraceDoesNotAddUp: If they differ by more than the `tolerance` of the model's precision: then the model computes
            something else when its attention implementation changes, or something else on every run.
    """
    plain, tapped = first_states(quiet_run(model, inputs, last_logits=last_logits)), first_states(tapped_outputs)
    if plain is None or tapped is None:
        raise TraceDoesNotAddUp("The model gave no floating-point output to compare, so parity cannot be shown.")
    difference = float(largest_error(tapped, plain))
    if not difference <= tolerance(plain.dtype):
        again = first_states(quiet_run(model, inputs, last_logits=last_logits))
        if again is None or not close(again, plain, tolerance(plain.dtype)):
            raise TraceDoesNotAddUp(
                "The model gives other outputs on every run (it draws random numbers, such as a random mask), so a "
                "trace is of one run only. Pass it what it draws, or fix that part of the model."
            )
        raise TraceDoesNotAddUp(
            f"The outputs differ by {difference:.1e} (relative; allowed {tolerance(plain.dtype):.0e}) between a "
            "plain run and a traced one: this model behaves differently under another attention implementation, so a "
            "trace is not of it."
        )
    return difference


def conservation_error(layer: LayerTrace) -> float:
    """How far Σ_j Σ_h attention · value · W_O + bias is from the recorded attention output, relative to its rows.

    Both sides are compared along `SKETCH_DIRECTIONS` fixed random directions instead of all d_model: by Johnson and
    Lindenstrauss lengths survive, so an error cannot hide, and the check costs a small fraction of the attention
    itself.
    """
    out = layer.attention_out
    # The few directions stand on the left of every product: BLAS takes four times as long with them on the right.
    directions = _directions(out.shape[-1], out.dtype, out.device)
    n_heads, d_head, _ = layer.block.output_weight.shape
    if layer.value.shape[-1] != d_head or layer.value.shape[-2] != layer.attention.shape[-1]:
        return torch.inf  # a hand-written anatomy names another product
    if d_head == 1:
        mixed = torch.einsum("...hij,...hjc->...ihc", layer.attention, layer.value).flatten(-2)
        rebuilt = mixed @ (layer.block.output_weight.flatten(0, 1) @ directions.T)
        rebuilt = rebuilt if layer.block.output_bias is None else rebuilt + layer.block.output_bias @ directions.T
        return relative_error(rebuilt, (directions @ out.mT).mT)
    weight, kept = layer.block.output_weight, layer.block.pushed
    sketch = None if kept is None else kept.sketch_of(weight)
    seen = (sketched(weight) if sketch is None else sketch).view(-1, n_heads, d_head).transpose(0, 1)
    weights, gate = layer.mixing
    if gate is None:
        rebuilt = (seen @ layer.value.mT @ weights.mT).sum(-3)  # (..., direction, query)
    else:
        rebuilt = (seen @ (weights @ layer.value * gate).mT).sum(-3)
    bias = layer.block.output_bias
    if bias is not None:
        rebuilt += directions @ (bias.unsqueeze(-1) if bias.ndim == 1 else bias.mT)
    return relative_error(rebuilt.mT, (directions @ out.mT).mT)


def sketched(weight: Tensor, count: int = SKETCH_DIRECTIONS) -> Tensor:
    """An output projection (head, d_head, d_model) along the first fixed directions, (direction, head · d_head)."""
    return _directions(weight.shape[-1], weight.dtype, weight.device)[:count] @ weight.flatten(0, 1).T


@cache
def _directions(d_model: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(SKETCH_DIRECTIONS, d_model, generator=generator, dtype=torch.float64).to(device, dtype)


def _refuse_non_finite(layer: LayerTrace) -> None:
    for name in ("residual_in", "attention", "attention_out", "ffn_out", "residual_out"):
        if not torch.isfinite(getattr(layer, name)).all():
            raise NotFinite(
                f"Layer {layer.index}: {name} holds NaN or infinity, so every number that follows would be wrong. "
                "Check the model's weights and inputs; in float16, large activations overflow: load the model in "
                "float32 or bfloat16."
            )

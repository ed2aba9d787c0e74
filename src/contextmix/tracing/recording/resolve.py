"""From an anatomy, which is paths, to a block with its parameters; and how a norm is recognised by what it computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from contextmix.errors import UnsupportedModel
from contextmix.maths.feedforward import FeedForward, GatedFeedForward
from contextmix.maths.norms import Norm, normalise
from contextmix.maths.precision import at_least_float32
from contextmix.maths.projections import Affine, Projections
from contextmix.maths.shapes import Bound
from contextmix.traces.anatomy import BlockAnatomy, Sublayer
from contextmix.traces.block import Block, SublayerNorms
from contextmix.traces.mixing import Woven
from contextmix.traces.places import GatedPlaces, LinearPlace, NormPlace, ProjectionPlaces
from contextmix.traces.splitting import behind_norm
from contextmix.tracing.recording.offload import execution_device, stored
from contextmix.tracing.recording.quiet import evaluating, first_states
from contextmix.tracing.recording.verify import is_quantised, tolerance

_KINDS: tuple[Literal["layer", "rms"], ...] = ("layer", "rms")
_EPS_NAMES = ("eps", "variance_epsilon", "epsilon", "norm_eps")


def part(root: nn.Module, path: str) -> nn.Module:
    """A module by its path.

    Raises:
        UnsupportedModel: If there is none, which only a hand-written anatomy can bring about.
    """
    found: nn.Module | None = root
    for name in path.split(".") if path else ():  # several times faster than `get_submodule`, which says what is wrong
        found = None if found is None else found.__dict__["_modules"].get(name)
    if found is not None:
        return found
    try:
        return root.get_submodule(path)
    except AttributeError as reason:
        raise UnsupportedModel(
            f"The anatomy names the module {path!r}, and {type(root).__name__} has none ({reason}). Write the path as "
            "named_modules() gives it, relative to the block."
        ) from reason


def resolve_block(model: PreTrainedModel, place: BlockAnatomy, n_heads: int) -> Block:
    """The parameters of one block, as views of the model's own wherever the data type allows."""
    root = part(model, place.path)
    output = place.projection or LinearPlace(place.attention.output, transposed=place.transposed)
    found = behind_norm(_linear(root, output), None if place.outlet is None else norm_at(root, place.outlet.norm))
    by_input, bias = found.weight, found.bias  # (head · d_head, d_model)
    if isinstance(place.mixer, Woven):
        by_input = by_input[list(place.mixer.feeds)]
    return Block(
        output_weight=by_input.reshape(n_heads, -1, by_input.shape[-1]),
        output_bias=bias,
        attention=_resolve_norms(root, place.attention),
        ffn=_resolve_norms(root, place.ffn),
        parallel=place.parallel,
        feed_forward=_feed_forward(root, place.ffn),
        projections=_projections(root, place.projections),
        value=None if place.value is None else Bound(_value, root, place.value, n_heads, len(by_input)),
        gated=None if place.ffn.gated is None else Bound(_gated, root, place.ffn.gated),
        kinds=place.mixer.kinds if isinstance(place.mixer, Woven) else 1,
    )


def with_constant(block: Block, constant: Tensor | None) -> Block:
    """A block whose mixer gives something without any value, (batch, query, head · d_head): nobody's, like a bias."""
    if constant is None:
        return block
    own = at_least_float32(constant.detach()) @ block.output_weight.flatten(0, 1)
    return replace(block, output_bias=own if block.output_bias is None else own + block.output_bias)


def _value(root: nn.Module, place: LinearPlace, n_heads: int, width: int) -> Affine:
    """The map that makes the values, with the heads that several queries share repeated like the values are."""
    found = _linear(root, place)
    groups = width // found.weight.shape[-1]
    if groups == 1:
        return found
    d_head = width // n_heads
    weight, bias = (
        None if own is None else own.reshape(*own.shape[:-1], -1, d_head).repeat_interleave(groups, dim=-2).flatten(-2)
        for own in (found.weight, found.bias)
    )
    assert weight is not None
    return Affine(weight, bias)


def _gated(root: nn.Module, places: GatedPlaces) -> GatedFeedForward:
    activation = part(root, places.activation) if isinstance(places.activation, str) else places.activation
    gate, up, second = (_linear(root, place) for place in (places.gate, places.up, places.second))
    return GatedFeedForward(gate, up, activation, second)


def _linear(root: nn.Module, place: LinearPlace) -> Affine:
    """A linear map with its weight as (in, out)."""
    if place.parameter is not None:
        return Affine(flat_weight(_parameter(root, place.path), place.parameter, place.transposed), None)
    weight, bias = affine(root, place.path, place.transposed)
    if place.added is not None:
        own = _linear(root, replace(place, added=None))
        shift = _parameter(root, place.added).flatten()
        return Affine(own.weight, shift if own.bias is None else own.bias + shift)
    if place.columns is None:
        return Affine(weight, bias)
    every = range(place.columns[0], place.columns[-1] + 1)
    # neighbours are a view, others a copy
    rows = slice(every.start, every.stop) if place.columns == tuple(every) else list(place.columns)
    return Affine(weight[:, rows], None if bias is None else bias[rows])


def _parameter(root: nn.Module, path: str) -> Tensor:
    module, _, name = path.rpartition(".")
    found = _tensor(part(root, module), name)
    if found is None:
        raise UnsupportedModel(f"The anatomy names the parameter {path!r}, and {type(root).__name__} has none.")
    return found


def flat_weight(parameter: Tensor, width: int, transposed: bool) -> Tensor:
    """A parameter of two axes or more as a matrix (in, out) of so many inputs; stored so, or the other way round."""
    return parameter.reshape(width, -1) if transposed else parameter.reshape(-1, width).T


def _projections(root: nn.Module, places: ProjectionPlaces | None) -> Projections | None:
    if places is None:
        return None
    paths = (places.query, places.key, places.value)
    return Projections(*(Affine(*affine(root, path, places.transposed)) for path in paths))


def affine(root: nn.Module, path: str, transposed: bool) -> tuple[Tensor, Tensor | None]:
    """The weight (in, out) and the bias of a linear module."""
    module = part(root, path)
    own = module._parameters
    matrix, shift = own.get("weight"), own.get("bias")
    if type(module) in (nn.Linear, Conv1D) and _is_plain(matrix) and (shift is None or _is_plain(shift)):
        assert matrix is not None
        found = matrix.detach()
        return found if transposed else found.T, None if shift is None else shift.detach()
    weight = linear_weight(module, transposed)
    if weight is None:
        raise UnsupportedModel(f"The anatomy names {path} as a linear map, and it has no weight.")
    return weight, _tensor(module, "bias")


def _is_plain(own: Tensor | None) -> bool:
    """Whether a parameter can be read as it is: it lies here, in float32 or float64."""
    return type(own) is nn.Parameter and not own.is_meta and own.dtype in (torch.float32, torch.float64)


def linear_weight(module: nn.Module, transposed: bool) -> Tensor | None:
    """The matrix (in, out) by which a linear module multiplies, in float32 at least; None if it has none.

    A module that stores something else (quantised, or with an adapter beside its weight) is asked: its rows are what it
    makes of the unit vectors.
    """
    weight = getattr(module, "weight", None)
    usual = type(module).forward in (nn.Linear.forward, Conv1D.forward) and type(weight) in (Tensor, nn.Parameter)
    width = getattr(module, "in_features", None)
    if usual or width is None:
        stored = _tensor(module, "weight")
        return None if stored is None or stored.ndim != 2 else stored if transposed else stored.T
    bias = _tensor(module, "bias")
    device, dtype = execution_device(module), next(own.dtype for own in (*module.parameters(), torch.empty(0)))
    with torch.no_grad(), evaluating(module):
        said = module(torch.eye(width, device=device, dtype=dtype if dtype.is_floating_point else None))
    found = [one for one in (said if isinstance(said, tuple) else (said,)) if isinstance(one, Tensor)]
    if len(found) != 1:  # a router of experts says several things
        return None
    rows = at_least_float32(found[0])
    return rows if bias is None else rows - bias


def _feed_forward(root: nn.Module, sublayer: Sublayer) -> FeedForward | Callable[[Tensor], Tensor] | None:
    places = sublayer.matrices
    if not sublayer.output:
        return None
    if places is None:
        return Bound(_one_after_another, [part(root, path) for path in sublayer.modules]) if sublayer.modules else None
    first, second = (affine(root, path, places.transposed) for path in (places.first, places.second))
    return FeedForward(*first, Bound(_activated, part(root, places.activation)), *second)


def _activated(module: nn.Module, states: Tensor) -> Tensor:
    """What an activation makes of states, where it says more than that too (I-BERT's scaling factors)."""
    said: Any = module(states)
    return said[0] if isinstance(said, tuple) else said  # type: ignore[no-any-return]


def _one_after_another(modules: list[nn.Module], states: Tensor) -> Tensor:
    """A feed-forward part as its own modules, in their own precision."""
    dtype = next((weight.dtype for module in modules for weight in module.parameters()), states.dtype)
    found: Any = states.to(dtype) if states.ndim > 2 else states.to(dtype).unsqueeze(0)  # experts insist on a batch
    for module in modules:
        found = first_states(module(found))
    return at_least_float32(found.reshape(states.shape))  # and some of them give all tokens in one row


def _resolve_norms(root: nn.Module, sublayer: Sublayer) -> SublayerNorms:
    norms = (norm_at(root, sublayer.norm_in), norm_at(root, sublayer.norm_out), norm_at(root, sublayer.norm_after))
    return SublayerNorms(*norms, sublayer.scale, sublayer.keep, sublayer.normed, sublayer.shift)


def norm_at(root: nn.Module, place: NormPlace | None) -> Norm | None:
    """A norm of a block with its parameters, if there is one."""
    return None if place is None else parameters(part(root, place.path), place)


def parameters(module: nn.Module, place: NormPlace) -> Norm:
    """A norm module as kind, γ, β and eps."""
    weight, bias = _tensor(module, "weight"), _tensor(module, "bias")
    eps = next((getattr(module, name) for name in _EPS_NAMES if hasattr(module, name)), None)
    if eps is None:
        raise UnsupportedModel(f"The norm {place.path} ({type(module).__name__}) does not say its eps.")
    if weight is not None and place.offset:
        weight = weight + place.offset
    return Norm(place.kind, weight, bias, float(eps))


def _tensor(module: nn.Module, name: str) -> Tensor | None:
    found = stored(module, name)
    return None if found is None else at_least_float32(found.detach())


def recognise_norm(path: str, module: nn.Module, read: Tensor, wrote: Tensor, close: float) -> NormPlace | None:
    """The form of a norm, if the module is one: its output must be the norm of its input under its own weight."""
    if read.shape != wrote.shape or not any(hasattr(module, name) for name in _EPS_NAMES):
        return None
    if any(p.ndim != 1 or p.shape[0] != read.shape[-1] for p in module.parameters(recurse=False)):
        return None
    weight = getattr(module, "weight", None)  # a buffer is no parameter
    if isinstance(weight, Tensor) and weight.shape != read.shape[-1:]:
        return None
    places = [NormPlace(path, kind, offset) for kind, offset in product(_KINDS, (0.0, 1.0))]
    # In half precision both kinds are close enough where the mean of a row is small: the closest one is it.
    errors = [_norm_error(module, place, read, wrote) for place in places]
    error, best = min(zip(errors, places, strict=True), key=lambda one: one[0])
    return best if error <= close * float(wrote.abs().max()) else None


def _norm_error(module: nn.Module, place: NormPlace, read: Tensor, wrote: Tensor) -> float:
    """How far what a norm of this form gives is from what the module wrote, at most; infinite if that is no number."""
    expected = normalise(at_least_float32(read), parameters(module, place))
    error = float((expected - wrote).abs().max())
    return error if error == error else float("inf")


def linear_form(module: nn.Module, read: Tensor, wrote: Tensor, close: float) -> bool | None:
    """Whether a linear module stores its weight as (in, out), like GPT-2's Conv1D; None if it is not linear."""
    bias = _tensor(module, "bias")
    close = max(close, tolerance(torch.bfloat16)) if is_quantised(module) else close
    for transposed in (False, True):
        matrix = linear_weight(module, transposed)
        if matrix is None or matrix.shape != (read.shape[-1], wrote.shape[-1]):
            continue
        expected = at_least_float32(read) @ matrix
        if bias is not None:
            expected = expected + bias
        if (expected - wrote).abs().max() <= close * wrote.abs().max():
            return transposed
    return None

"""The verbs of contextmix: load, trace, measure, aggregate, explain.

text ─encode→ Inputs ─trace→ Trace ─measure→ TokenMap(layer, query, key) ─aggregate→ TokenMap(layer, query, key)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from contextmix.errors import BadOption, UnknownName, WrongShape
from contextmix.models.traced_encoder_decoder import TracedEncoderDecoder
from contextmix.models.traced_model import TracedModel
from contextmix.models.traced_towers import TracedTowers
from contextmix.options.catalogue import (
    AggregationName,
    DeviceMap,
    MapName,
    NewHead,
    QueryOrAll,
    Stream,
)
from contextmix.options.option import takes
from contextmix.plugins.contracts import Measured, Method
from contextmix.plugins.plan import (
    AGGREGATIONS,
    METHODS,
    in_range,
    layer_notes,
    make_plan,
    measured,
    noted,
)
from contextmix.plugins.registry import check_options
from contextmix.plugins.selection import refuse_quantity, refuse_values
from contextmix.results.provenance import Quantity
from contextmix.results.token_map import TokenMap
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.encoder_decoder import EncoderDecoderTrace, with_residual
from contextmix.traces.trace import LayerTrace, Trace
from contextmix.tracing.discovery.blocks import has_two_stacks
from contextmix.tracing.inputs.checkpoints import load_pretrained, move, refuse_unusable
from contextmix.tracing.inputs.placement import refuse_loaded, refuse_placement
from contextmix.tracing.inputs.readers import given_readers
from contextmix.tracing.inputs.towers import towers_of
from contextmix.tracing.inputs.unwrap import unwrapped
from contextmix.tracing.recording.modes import undisturbed


@takes
@undisturbed
def load(  # noqa: D417
    model: Any = "demo",
    tokenizer: Any = None,
    *,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    anatomy: Anatomy | None = None,
    new_head: NewHead = False,
    device_map: DeviceMap = None,
    **loading: Any,
) -> TracedModel:
    """Make a model ready to be traced.

    Args:
        model: ``"demo"``, ``"demo-decoder"`` or ``"demo-answers"`` (built in, no network), a folder, a name on the
            Hugging Face hub, or a loaded transformers model.
        tokenizer: Only for a loaded model: its tokenizer; for images its image processor, for sounds its feature
            extractor; or the name or folder of one. Without one, pass model inputs.
        dtype: Precision in which a named model is loaded; ``"auto"`` keeps the stored one. Maths is float32 at least.
        device: Where to put it; left out, it stays where it is.
        revision: Version on the hub.
        trust_remote_code: Whether code that comes with a hub model may run.
        anatomy: A hand-written anatomy for a model whose blocks cannot be found by looking.
        loading: Of ``from_pretrained``: ``max_memory``, ``offload_folder``, ``offload_buffers``,
            ``quantization_config``, ``attn_implementation``, ``variant``, ``use_safetensors``.

    Raises:
        ModelNotFound: If there is no such model, or its checkpoint lacks weights.
        UnsupportedModel: If it is not a transformers model.
        NotFinite: If a weight is NaN or infinite.
        BadOption: If there is no such precision or device, or a loaded model is to be loaded in another way.

    Example:
        >>> load("demo").explain("a deep and meaningful film .").row("[CLS]").top(1)[0][0]
        'meaningful'
    """
    if isinstance(model, str | Path):
        options = {"dtype": dtype, "revision": revision, "trust_remote_code": trust_remote_code, "new_head": new_head}
        where = {**loading, **({} if device_map is None else {"device_map": device_map})}
        refuse_placement(where, device)
        loaded, *beside = load_pretrained(model, where=where, **options)  # type: ignore[arg-type]
        name = str(model)
    else:
        refuse_loaded(model, [*loading, *([] if device_map is None else ["device_map"])])
        beside, model = [None, None], unwrapped(model)
        loaded, name = model, getattr(getattr(model, "config", None), "_name_or_path", "") or type(model).__name__
    refuse_unusable(loaded)
    if device is not None:
        move(loaded, device)
    given = given_readers(tokenizer, loaded)
    tokenizer, processor = (other if one is None else one for one, other in zip(given, beside, strict=True))
    towers = anatomy is None and bool(towers_of(loaded))
    kind = TracedEncoderDecoder if has_two_stacks(loaded) else TracedTowers if towers else TracedModel
    return kind(loaded, tokenizer, processor, name=name, revision=revision, anatomy=anatomy)


@takes
@undisturbed
def measure(trace: Trace | EncoderDecoderTrace, method: MapName, *, stream: Stream = None, **options: Any) -> TokenMap:
    """The mixing map of every layer of a trace.

    Args:
        trace: From `TracedModel.trace`.
        method: Name of a mixing map, see `methods`.
        stream: Of an encoder–decoder: ``"encoder"``, ``"decoder"`` (its self-attention) or ``"cross"``, whose keys are
            the source tokens and, in maps with the residual, ``"[residual]"`` last.
        options: Of the method.

    Returns:
        Dims (layer, query, key), or with a head axis where the option asks for each head.

    Raises:
        UnknownName: If the method or an option does not exist, or the name is a recipe.
        BadOption: If an encoder–decoder has no such stream, or another model is asked for one.
        UnsupportedModel: If the method is not defined for a stream.

    Example:
        >>> trace = load("demo").trace("a good film")
        >>> measure(trace, "norm_encoder").dims
        ('layer', 'query', 'key')
    """
    plan = make_plan(method, None, options) if isinstance(METHODS[method], Method) else None
    if plan is None:
        layerwise = [name for name in METHODS if isinstance(METHODS[name], Method)]
        raise UnknownName("mixing map (it needs more than one layer: use explain)", method, layerwise)
    return _per_layer(_stream(trace, stream), plan.measure, plan.quantity, **plan.describe())


@takes
@undisturbed
def mixing_ratio(trace: Trace | EncoderDecoderTrace, method: MapName, *, stream: Stream = None) -> TokenMap:
    """How much each token mixes in each layer, as a method sees it: 0 keeps itself, 1 is all others.

    Args:
        trace: From `TracedModel.trace`.
        method: A mixing map that defines the ratio.
        stream: Of an encoder–decoder, as for `measure`; in ``"cross"``, what is kept is the residual.

    Returns:
        Dims (layer, query), between 0 and 1.

    Raises:
        UnknownName: If the method does not exist or defines no ratio.

    Source:
        Kobayashi et al. (2021), eq. 8.
    """
    found = METHODS[method]
    ratio = found.ratio if isinstance(found, Method) else None
    if ratio is None:
        defined = [name for name, one in METHODS.items() if isinstance(one, Method) and one.ratio]
        raise UnknownName("mixing ratio of the method", method, defined)
    return _per_layer(_stream(trace, stream), ratio, Quantity.SHARE, method=method, notes={"of": "mixing_ratio"})


def _stream(trace: Trace | EncoderDecoderTrace, name: str | None) -> Trace:
    if not isinstance(trace, Trace | EncoderDecoderTrace):
        raise TypeError(f"Maps are measured on the result of model.trace; got {type(trace)}.")
    if isinstance(trace, EncoderDecoderTrace):
        return trace.stream(name)
    if name is not None:
        raise BadOption(f"stream={name!r} chooses a part of an encoder–decoder, but this trace has only one stack.")
    return trace


def _per_layer(
    trace: Trace, formula: Callable[[LayerTrace], torch.Tensor | Measured], quantity: Quantity, **made: Any
) -> TokenMap:
    with torch.no_grad():
        found = [measured(formula(layer)) for layer in trace.layers]
    values = torch.stack([one.values for one in found]).cpu().numpy()
    dims = {2: ("layer", "query"), 3: ("layer", "query", "key"), 4: ("layer", "head", "query", "key")}[values.ndim]
    notes: dict[str, Any] = layer_notes(found)
    if trace.checks.borrowed:
        notes["values_of_earlier_layers_in"] = list(trace.checks.borrowed)
    made_how = trace.provenance(**made).noting(**notes)
    keys = trace.tokens
    if "key" in dims and values.shape[-1] > len(keys):
        keys = with_residual(keys)
    return TokenMap(values, dims, keys, quantity, made_how, query_tokens=trace.query_tokens or trace.tokens)


@takes
@undisturbed
def aggregate(
    token_map: TokenMap, aggregation: AggregationName, *, query: QueryOrAll = None, **options: Any
) -> TokenMap:
    """Combine the maps of all layers into attributions to the input tokens.

    Args:
        token_map: Dims (layer, query, key), all layers.
        aggregation: Its name, see `aggregations`.
        query: Only the row of this token in the last layer, which is cheaper.
        options: Of the aggregation.

    Returns:
        Dims (layer, query, key), where layer l holds the attribution up to layer l; with a query (key,).

    Raises:
        UnknownName: If the aggregation or an option does not exist.
        WrongShape: If the map has other dims.
        WrongQuantity: If its numbers cannot be combined this way.
    """
    if not isinstance(token_map, TokenMap):
        raise TypeError(
            f"aggregate() combines the layers of a TokenMap, such as the result of measure; got {type(token_map)}."
        )
    way = AGGREGATIONS[aggregation]
    check_options("aggregation", way.name, way.combine, options)
    refuse_values(way.combine, options)
    if token_map.dims != ("layer", "query", "key"):
        raise WrongShape(f"{way.name} combines maps with dims ('layer', 'query', 'key'); these have {token_map.dims}.")
    refuse_quantity(way, token_map.quantity, token_map.provenance.title)
    _refuse_borrowed(token_map, way.name)
    maps = torch.from_numpy(token_map.values.copy())
    made = token_map.provenance.derive(aggregation=way.name, aggregation_options=options)
    if query is None:
        found = in_range(measured(way.combine(maps.double(), **options)), maps, token_map.quantity, way)
        return token_map.derive(values=found.values.numpy(), provenance=noted(made, found))
    position = token_map.query_tokens.position(query)
    found = in_range(measured(way.combine_row(maps.double(), position, **options)), maps, token_map.quantity, way)
    selected = {"layer": token_map.layers[-1], "query": position}
    return token_map.derive(
        values=found.values.numpy(), dims=("key",), layers=None, selected=selected, provenance=noted(made, found)
    )


def _refuse_borrowed(token_map: TokenMap, way: str) -> None:
    """Maps of layers that mix the values of other layers."""
    if layers := token_map.provenance.notes.get("values_of_earlier_layers_in"):
        raise BadOption(
            f"{way} follows tokens from each layer to the one before, and layers {', '.join(map(str, layers))} mix "
            "values that an earlier one made. Look at the layers one by one, or ask for evidence."
        )

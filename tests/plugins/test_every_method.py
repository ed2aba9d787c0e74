"""What every method promises, asked of whatever file lies in `methods/`: a new file is tested the moment it exists."""

import importlib
import pkgutil
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch
from tests.strategies import LAYOUTS, toy_layer

import contextmix as cm
from contextmix.errors import UnknownName, UnsupportedModel
from contextmix.maths.projections import Affine, Projections
from contextmix.plugins.contracts import Method, ModelMethod, Recipe, options_of
from contextmix.plugins.papers import Paper
from contextmix.plugins.plan import AGGREGATIONS, METHODS, make_plan, measured
from contextmix.plugins.registry import Registry
from contextmix.plugins.selection import quantity_of
from contextmix.results.provenance import Quantity
from contextmix.tokens.pieces import Tokens
from contextmix.traces.checks import Checks, Origin
from contextmix.traces.trace import LayerTrace, Trace

FOLDER = importlib.import_module("contextmix.methods").__path__  # the name `contextmix.methods` may be the function
FILES = sorted(module.name for module in pkgutil.iter_modules(FOLDER))
MAPS = sorted(name for name, one in METHODS.items() if isinstance(one, Method))
RECIPES = sorted(name for name, one in METHODS.items() if isinstance(one, Recipe))
RATIOS = [name for name in MAPS if METHODS[name].ratio]
RECORDED = ("attention", "value", "residual_in", "attention_out", "ffn_out", "residual_out")

each_file = pytest.mark.parametrize("name", FILES)
each_map = pytest.mark.parametrize("name", MAPS)
each_ratio = pytest.mark.parametrize("name", RATIOS)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)


def measure(name: str, layer: LayerTrace, **options) -> torch.Tensor:
    """The map. A method may refuse parallel sub-layers, if its docstring and the refusal say so, and nothing else."""
    try:
        return measured(METHODS[name].measure(layer, **options)).values
    except UnsupportedModel as refusal:
        documented = "UnsupportedModel:" in METHODS[name].measure.__doc__ and name in str(refusal)
        if not (layer.block.parallel and documented):
            raise
        return pytest.skip(str(refusal))


def offers_each_head(name: str) -> bool:
    return "each" in str(options_of(METHODS[name].measure).get("heads"))


def quantity(name: str) -> Quantity:
    return quantity_of(METHODS[name], {})


def close(found, wanted, rtol=1e-9):
    torch.testing.assert_close(found, wanted, rtol=rtol, atol=1e-10)


def tensors_in(thing) -> list[torch.Tensor]:
    """Every tensor of a layer and its block, norms included."""
    if isinstance(thing, torch.Tensor):
        return [thing]
    return [t for one in fields(thing) for t in tensors_in(getattr(thing, one.name))] if is_dataclass(thing) else []


def with_heads(layer: LayerTrace, order: list[int]) -> LayerTrace:
    """The same layer with its heads in another order, wherever a head is to be seen."""

    def turned(affine: Affine) -> Affine:
        by_head = (one.unflatten(-1, (len(order), -1)) for one in (affine.weight, affine.bias))
        return Affine(*(one[..., order, :].flatten(-2) for one in by_head))

    made = layer.block.projections
    projections = Projections(turned(made.query), turned(made.key), turned(made.value))
    block = replace(layer.block, output_weight=layer.block.output_weight[order], projections=projections)
    scores = replace(layer.scores, query=layer.scores.query[order], key=layer.scores.key[order])
    return replace(layer, attention=layer.attention[order], value=layer.value[order], block=block, scores=scores)


def with_tokens(layer: LayerTrace, order: list[int]) -> LayerTrace:
    """The same layer with its tokens in another order; it knows no positions, so it can be run again as it is."""
    rows = {name: getattr(layer, name)[order] for name in (*RECORDED[2:], "embeddings")}
    scores = replace(layer.scores, query=layer.scores.query[:, order], key=layer.scores.key[:, order])
    attention, value = layer.attention[:, order][:, :, order], layer.value[:, order]
    return replace(layer, attention=attention, value=value, scores=scores, **rows)


def promised(values: torch.Tensor, quantity: Quantity) -> None:
    """The range that a quantity promises."""
    assert torch.isfinite(values).all()
    if quantity in (Quantity.SHARE, Quantity.NORM, Quantity.DISTANCE, Quantity.GRADIENT):
        assert (values >= 0).all()
    if quantity is Quantity.SHARE:
        assert (values <= 1).all()
        assert (values.sum(-1) <= 1 + 1e-12).all()  # float64, and a row of five numbers
    if quantity is Quantity.DISTANCE:
        assert (values <= 2 + 1e-6).all()


# The files


def test_every_file_is_found():
    assert set(FILES) == set(METHODS)
    assert {"norm_encoder", "globenc"} <= set(FILES)  # reading nothing would pass everything
    assert MAPS
    assert RECIPES


@each_file
def test_the_name_is_the_files_name(name):
    assert METHODS[name].name == name


@each_file
def test_a_method_says_what_it_is(name):
    one = METHODS[name]
    assert isinstance(one.paper, Paper)
    assert one.paper.year > 1950
    assert one.paper.url.startswith("https://")
    assert one.formula.strip()
    assert one.cost.strip()
    first = importlib.import_module(f"contextmix.methods.{name}").__doc__.splitlines()[0]
    assert first.endswith((".", "?"))


@pytest.mark.parametrize("name", sorted(set(FILES) - set(RECIPES)))
def test_a_method_says_what_it_returns_where_it_is_from_and_what_it_needs(name):
    one = METHODS[name]
    assert isinstance(one, Method | ModelMethod)
    docs = (one.measure if isinstance(one, Method) else one.attribute).__doc__
    assert "Returns:" in docs
    assert "Source:" in docs
    assert one.needs.strip()
    assert isinstance(quantity(name), Quantity)
    assert not getattr(one, "ratio", None) or one.ratio.__doc__


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_a_map_and_an_aggregation_that_fit_and_options_that_exist(name):
    one = METHODS[name]
    assert isinstance(METHODS[one.method], Method)
    assert quantity_of(METHODS[one.method], one.options) in AGGREGATIONS[one.aggregation].accepts
    assert set(one.options) <= set(options_of(METHODS[one.method].measure))
    assert set(one.aggregation_options) <= set(options_of(AGGREGATIONS[one.aggregation].combine))
    plan = make_plan(name)
    assert (plan.name, plan.method.name, plan.aggregation.name) == (name, one.method, one.aggregation)


# The numbers


@each_layout
@each_map
def test_a_map_has_one_finite_number_per_pair_in_the_range_of_its_quantity(name, layout):
    found = measure(name, toy_layer(layout))
    assert found.shape == (5, 5)
    assert found.std() > 0
    promised(found, quantity(name))


@each_layout
@each_ratio
def test_a_mixing_ratio_has_one_number_between_zero_and_one_per_token(name, layout):
    found = METHODS[name].ratio(toy_layer(layout))
    assert found.shape == (5,)
    assert ((found >= 0) & (found <= 1)).all()
    assert found.std() > 0


@each_layout
@each_map
def test_measuring_changes_nothing_in_the_trace_and_repeats_exactly(name, layout):
    layer = toy_layer(layout)
    before = [tensor.clone() for tensor in tensors_in(layer)]
    first = measure(name, layer).clone()
    if METHODS[name].ratio:
        METHODS[name].ratio(layer)
    assert torch.equal(measure(name, layer), first)
    assert len(before) > len(RECORDED)
    assert all(torch.equal(old, new) for old, new in zip(before, tensors_in(layer), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@each_map
def test_precision_stays_and_float32_agrees_with_float64(name, dtype):
    found = measure(name, toy_layer(dtype=dtype))
    assert found.dtype == dtype
    close(found.double(), measure(name, toy_layer()), rtol=1e-4)


@each_layout
@each_map
def test_a_batch_gives_the_numbers_of_each_sequence(name, layout):
    layer = toy_layer(layout, batch=(3,))
    found = measure(name, layer)
    assert found.shape == (3, 5, 5)
    for row in range(3):
        close(found[row], measure(name, layer[row]))
        if METHODS[name].ratio:
            close(METHODS[name].ratio(layer)[row], METHODS[name].ratio(layer[row]))
    assert (found[0] - found[1]).abs().max() > 1e-3


@each_layout
@each_map
def test_one_token_is_a_map_of_one_number(name, layout):
    found = measure(name, toy_layer(layout, n=1))
    assert found.shape == (1, 1)
    promised(found, quantity(name))
    if METHODS[name].ratio:
        assert METHODS[name].ratio(toy_layer(layout, n=1)).tolist() == pytest.approx([0.0], abs=1e-9)


@each_map
def test_one_head_is_enough(name):
    promised(measure(name, toy_layer(n_heads=1)), quantity(name))


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2, 0]])
@each_map
def test_the_order_of_the_heads_changes_nothing(name, order):
    layer = toy_layer()
    close(measure(name, with_heads(layer, order)), measure(name, layer))
    if METHODS[name].ratio:
        close(METHODS[name].ratio(with_heads(layer, order)), METHODS[name].ratio(layer))


@pytest.mark.parametrize("name", [name for name in MAPS if offers_each_head(name)])
def test_heads_by_themselves_have_a_head_axis_and_come_in_their_order(name):
    layer = toy_layer(batch=(2,))
    found = measure(name, layer, heads="each")
    assert found.shape == (2, 3, 5, 5)
    promised(found, quantity(name))
    order = [2, 0, 1]
    close(measure(name, with_heads(layer[0], order), heads="each"), found[0][order])


@pytest.mark.parametrize("order", [[4, 3, 2, 1, 0], [1, 2, 0, 4, 3]])
@each_map
def test_tokens_in_another_order_give_the_same_numbers_in_that_order(name, order):
    layer = toy_layer()
    close(measure(name, with_tokens(layer, order)), measure(name, layer)[order][:, order])


@each_layout
@each_map
def test_nothing_comes_from_tokens_that_a_causal_model_cannot_see(name, layout):
    found = measure(name, toy_layer(layout, causal=True))
    assert all(found[i, j] == 0 for i in range(5) for j in range(i + 1, 5))


@each_map
def test_other_labels_give_the_same_numbers(name):
    def trace(pieces: str) -> Trace:
        return Trace(Tokens(tuple(pieces)), (toy_layer(), toy_layer(seed=1)), Checks(), Origin("toy", None, {}))

    found, other = cm.measure(trace("abcde"), name), cm.measure(trace("vwxyz"), name)
    assert found.dims == ("layer", "query", "key")
    assert found.quantity == quantity(name)
    np.testing.assert_array_equal(found.values, other.values)


# The registry


def plugin_folder(path, monkeypatch, name: str, **files: str) -> str:
    package = path / name
    package.mkdir()
    for stem, source in {"__init__": "", **files}.items():
        (package / f"{stem}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(path)
    return name


def test_a_new_file_is_found_under_its_name(tmp_path, monkeypatch):
    package = plugin_folder(tmp_path, monkeypatch, "plugins_found", one_way="METHOD = 'one'", other="METHOD = 'two'")
    registry = Registry(package, "METHOD", "method")
    assert dict(registry) == {"one_way": "one", "other": "two"}
    assert registry["one-way"] == "one"
    assert "one-way" in registry
    assert len(registry) == 2


def test_a_plugin_file_without_its_constant_is_an_error_that_names_both(tmp_path, monkeypatch):
    package = plugin_folder(tmp_path, monkeypatch, "plugins_bare", good="METHOD = 1", forgotten="measure = len")
    with pytest.raises(AttributeError, match=r"plugins_bare\.forgotten.*METHOD"):
        Registry(package, "METHOD", "method")["good"]


def test_a_plugin_file_that_cannot_be_imported_is_an_error_and_not_left_out(tmp_path, monkeypatch):
    package = plugin_folder(tmp_path, monkeypatch, "plugins_broken", broken="import no_such_library_here")
    with pytest.raises(ModuleNotFoundError, match="no_such_library_here"):
        list(Registry(package, "METHOD", "method"))


def test_an_unknown_method_is_refused_with_near_misses():
    with pytest.raises(UnknownName, match=r"no method 'norm_encodr'.*Did you mean 'norm_encoder'"):
        METHODS["norm_encodr"]

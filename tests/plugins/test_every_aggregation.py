"""What every aggregation promises, asked of whatever file lies in `aggregations/`."""

import importlib
import inspect
import pkgutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import contextmix as cm
from contextmix.errors import UnknownName, WrongQuantity, WrongShape
from contextmix.maths.shares import parts_again
from contextmix.plugins.contracts import options_of
from contextmix.plugins.papers import Paper
from contextmix.plugins.plan import AGGREGATIONS, METHODS, make_plan, measured
from contextmix.plugins.selection import refuse_quantity
from contextmix.results.provenance import Provenance, Quantity
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens

FOLDER = importlib.import_module("contextmix.aggregations").__path__  # that name may be the function
FILES = sorted(module.name for module in pkgutil.iter_modules(FOLDER))


def switched(name: str) -> list[dict[str, bool]]:
    """No options, and every switch turned over."""
    options = options_of(AGGREGATIONS[name].combine).values()
    return [{}, *({option.name: not option.default} for option in options if isinstance(option.default, bool))]


CASES = [pytest.param(name, options, id=f"{name}-{options}") for name in FILES for options in switched(name)]
each_file = pytest.mark.parametrize("name", FILES)
each_case = pytest.mark.parametrize(("name", "options"), CASES)


def random_maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def token_map(quantity: Quantity, n_layers: int = 3) -> TokenMap:
    values = random_maps(n_layers, 4, 4).softmax(-1).numpy()
    return TokenMap(values, ("layer", "query", "key"), Tokens(tuple("abcd")), quantity, Provenance("toy", model="toy"))


def combine(name: str, maps: torch.Tensor, **options) -> torch.Tensor:
    return measured(AGGREGATIONS[name].combine(maps, **options)).values


def combine_row(name: str, maps: torch.Tensor, query: int, **options) -> torch.Tensor:
    return measured(AGGREGATIONS[name].combine_row(maps, query, **options)).values


def close(found, wanted):
    # What each aggregation computes is held to 1e-10 in its own test. Max-flow rounds capacities to whole numbers.
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_every_file_is_found():
    assert set(FILES) == set(AGGREGATIONS)
    assert {"rollout", "mean", "last"} <= set(FILES)


@each_file
def test_an_aggregation_says_what_it_is(name):
    one = AGGREGATIONS[name]
    assert one.name == name
    assert isinstance(one.paper, Paper)
    assert one.formula.strip()
    assert one.cost.strip()
    assert one.combine.__doc__
    assert one.combine_row.__doc__
    assert one.accepts
    assert one.accepts <= set(Quantity)
    assert importlib.import_module(f"contextmix.aggregations.{name}").__doc__


@each_file
def test_both_functions_have_the_same_options_with_the_same_defaults(name):
    one = AGGREGATIONS[name]
    assert options_of(one.combine) == options_of(one.combine_row)
    assert all(option.default is not inspect.Parameter.empty for option in options_of(one.combine).values())


@each_case
@pytest.mark.parametrize("n_layers", [1, 2, 5])
def test_one_row_is_that_row_of_the_last_layer(name, options, n_layers):
    maps = random_maps(n_layers, 4, 4)
    whole = combine(name, maps, **options)
    for query in range(4):
        close(combine_row(name, maps, query, **options), whole[-1, query])


@each_case
def test_entry_l_looks_at_the_layers_up_to_l_and_no_further(name, options):
    maps = random_maps(4, 3, 3)
    whole = combine(name, maps, **options)
    assert whole.shape == maps.shape
    for layer in range(4):
        close(whole[layer], combine(name, maps[: layer + 1], **options)[-1])


@each_file
def test_a_single_layer_is_its_own_attribution(name):
    maps = random_maps(1, 4, 4).softmax(-1)
    close(combine(name, maps), maps)


@each_case
def test_layers_that_mix_nothing_attribute_every_token_to_itself(name, options):
    maps = torch.eye(4, dtype=torch.float64).expand(3, 4, 4)
    close(combine(name, maps, **options), maps)


@each_case
def test_shares_stay_shares(name, options):
    found = combine(name, random_maps(4, 5, 5).softmax(-1), **options)
    if AGGREGATIONS[name].exceeds:
        assert (found.sum(-1) > 1).any(), "nothing to divide"
        found = parts_again(found)
    assert (found >= 0).all()
    assert (found.sum(-1) <= 1 + 1e-12).all()  # float64, rows of five numbers, and products of four maps


@each_case
def test_a_causal_model_stays_causal(name, options):
    found = combine(name, random_maps(3, 4, 4) * torch.ones(4, 4).tril(), **options)
    assert all((found[:, i, j] == 0).all() for i in range(4) for j in range(i + 1, 4))


@each_case
def test_float64_in_float64_out_and_the_maps_stay_as_they_were(name, options):
    maps = random_maps(3, 4, 4)
    before = maps.clone()
    assert combine(name, maps, **options).dtype == torch.float64
    assert combine_row(name, maps, 0, **options).dtype == torch.float64
    assert torch.equal(maps, before)


@each_case
def test_tokens_in_another_order_give_the_same_numbers_in_that_order(name, options):
    maps, order = random_maps(3, 4, 4), [2, 0, 3, 1]
    moved = combine(name, maps[:, order][:, :, order], **options)
    close(moved, combine(name, maps, **options)[:, order][:, :, order])


@each_case
def test_axes_between_layer_and_query_are_separate(name, options):
    maps = random_maps(3, 2, 4, 4)
    for b in range(2):
        close(combine(name, maps, **options)[:, b], combine(name, maps[:, b], **options))
        close(combine_row(name, maps, 1, **options)[b], combine_row(name, maps[:, b], 1, **options))


# What fits together


@pytest.mark.parametrize("quantity", Quantity)
@each_file
def test_a_quantity_is_accepted_or_refused_as_the_file_says(name, quantity):
    way = AGGREGATIONS[name]
    if quantity in way.accepts:
        assert cm.aggregate(token_map(quantity), name).quantity == quantity
        return
    for ask in (lambda: cm.aggregate(token_map(quantity), name), lambda: refuse_quantity(way, quantity, "toy")):
        with pytest.raises(WrongQuantity, match=f"{name} combines .*{quantity}"):
            ask()


@pytest.mark.parametrize("quantity", [Quantity.SIGNED])
def test_rollout_refuses_numbers_whose_products_mean_nothing(quantity):
    with pytest.raises(WrongQuantity, match="rollout combines distance, gradient, norm, share; toy gives"):
        cm.aggregate(token_map(quantity), "rollout")


def test_a_plan_refuses_the_wrong_quantity_before_any_work(monkeypatch):
    signed = replace(METHODS["norm"], quantity=Quantity.SIGNED)
    monkeypatch.setitem(METHODS._plugins(), "norm", signed)
    with pytest.raises(WrongQuantity, match=r"rollout combines .*norm gives signed"):
        make_plan("norm", "rollout")
    assert make_plan("norm", "mean").aggregation.name == "mean"


@each_case
def test_aggregating_a_map_keeps_labels_and_says_how(name, options):
    local = token_map(Quantity.SHARE)
    found = cm.aggregate(local, name, **options)
    wanted = combine(name, torch.from_numpy(local.values.copy()), **options)
    wanted = parts_again(wanted) if AGGREGATIONS[name].exceeds else wanted
    np.testing.assert_allclose(found.values, wanted.numpy(), rtol=1e-12)
    assert found.dims == ("layer", "query", "key")
    assert found.tokens == local.tokens
    assert found.provenance.aggregation == name
    assert dict(found.provenance.aggregation_options) == options
    row = cm.aggregate(local, name, query="c", **options)
    np.testing.assert_allclose(row.values, wanted[-1, 2].numpy(), rtol=1e-12)
    assert row.selected == {"layer": 2, "query": 2}


def test_only_maps_of_all_layers_can_be_combined():
    with pytest.raises(WrongShape, match="rollout combines maps with dims"):
        cm.aggregate(token_map(Quantity.SHARE).layer(0), "rollout")


def test_an_unknown_aggregation_or_option_is_refused_with_near_misses():
    with pytest.raises(UnknownName, match=r"no aggregation 'rolout'.*'rollout'"):
        cm.aggregate(token_map(Quantity.SHARE), "rolout")
    with pytest.raises(UnknownName, match=r"normalize.*Did you mean 'normalise'"):
        cm.aggregate(token_map(Quantity.SHARE), "rollout", normalize=True)
    with pytest.raises(UnknownName, match="option of the aggregation mean"):
        cm.aggregate(token_map(Quantity.SHARE), "mean", normalise=True)

"""What every method promises for cross-attention, asked of whatever file lies in `methods/`."""

from dataclasses import replace

import pytest
import torch
from tests.strategies import LAYOUTS, toy_layer

from contextmix.errors import UnsupportedModel
from contextmix.maths.norms import normalise
from contextmix.plugins.contracts import Method
from contextmix.plugins.plan import METHODS, make_plan, measured
from contextmix.results.provenance import Quantity
from contextmix.traces.block import BlockStates
from contextmix.traces.trace import LayerTrace

MAPS = [name for name, one in METHODS.items() if isinstance(one, Method)]
JOINED = [name for name in MAPS if METHODS[name].decoder]
SERIAL = [layout for layout in LAYOUTS if layout != "parallel"]
SOURCE = 7

layouts = pytest.mark.parametrize("layout", SERIAL)
joined = pytest.mark.parametrize("name", JOINED)


def cross_layer(layout: str = "post-norm", batch: tuple[int, ...] = (), seed: int = 0) -> LayerTrace:
    """A toy layer whose five queries attend to seven tokens of another sequence."""
    layer = toy_layer(layout, batch=batch, seed=seed)
    generator = torch.Generator().manual_seed(seed + 9)
    n_heads, d_head, _ = layer.block.output_weight.shape
    attention = torch.randn(*batch, n_heads, 5, SOURCE, generator=generator, dtype=torch.float64).softmax(-1)
    value = torch.randn(*batch, n_heads, SOURCE, d_head, generator=generator, dtype=torch.float64)
    block, states = layer.block, layer.residual_in
    out = (attention @ value @ block.output_weight).sum(-3) + block.output_bias
    mid = BlockStates(block, states, out, out).residual_mid
    ffn = block.feed_forward(mid if block.ffn.norm_in is None else normalise(mid, block.ffn.norm_in))
    left = BlockStates(block, states, out, ffn).residual_out
    states = {"attention_out": out, "ffn_out": ffn, "residual_out": left}
    return replace(layer, attention=attention, value=value, scores=None, replay=None, cross=True, **states)


def values(name: str, layer: LayerTrace) -> torch.Tensor:
    return measured(METHODS[name].measure(layer)).values


@layouts
@joined
def test_a_cross_map_has_a_column_per_source_token_and_one_for_the_residual_that_it_knows(name, layout):
    found = values(name, cross_layer(layout))
    assert found.shape == (5, SOURCE + (METHODS[name].decoder == "stream"))
    assert found.isfinite().all()
    assert found.std() > 0
    if make_plan(name).quantity is Quantity.SHARE:
        torch.testing.assert_close(found.sum(-1), torch.ones(5, dtype=torch.float64))


@layouts
@joined
def test_a_batch_gives_the_numbers_of_each_sequence(name, layout):
    layer = cross_layer(layout, batch=(3,))
    found = values(name, layer)
    for row in range(3):
        assert layer[row].cross
        torch.testing.assert_close(found[row], values(name, layer[row]))
        if METHODS[name].ratio:
            torch.testing.assert_close(METHODS[name].ratio(layer)[row], METHODS[name].ratio(layer[row]))


@joined
def test_source_tokens_in_another_order_give_the_same_numbers_in_that_order(name):
    layer, order = cross_layer(), [3, 0, 6, 1, 5, 2, 4]
    moved = replace(layer, attention=layer.attention[..., order], value=layer.value[:, order])
    columns = [*order, SOURCE][: values(name, layer).shape[-1]]
    torch.testing.assert_close(values(name, moved), values(name, layer)[:, columns])


@joined
def test_as_many_source_tokens_as_queries_are_not_taken_for_the_queries(name):
    layer = cross_layer()
    square = replace(layer, attention=layer.attention[..., :5], value=layer.value[:, :5])
    found = values(name, square)
    assert found.shape == (5, 5 + (METHODS[name].decoder == "stream"))


@pytest.mark.parametrize("name", [name for name in JOINED if METHODS[name].ratio])
def test_what_is_kept_is_the_residual(name):
    layer = cross_layer()
    ratio = METHODS[name].ratio(layer)
    assert ((ratio > 0) & (ratio <= 1)).all()
    assert bool((ratio > 1 - 1e-9).all()) == (METHODS[name].decoder == "attention")  # which sees no residual


@pytest.mark.parametrize("name", [name for name in MAPS if name not in JOINED])
def test_other_methods_refuse_both_steps(name):
    cross = cross_layer()
    for layer in (cross, replace(toy_layer(), following=cross)):
        with pytest.raises(UnsupportedModel, match=name):
            make_plan(name).measure(layer)


def test_the_parts_that_stand_apart_add_up():
    layer = cross_layer("pre-norm")
    parts = layer.residual_parts
    total = (parts.attention.unsqueeze(-1) * parts.sources().transpose(0, 1).unsqueeze(1)).sum((0, 2)) + parts.own
    torch.testing.assert_close(total, parts.total)

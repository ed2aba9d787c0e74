"""Rows of a layer by themselves: a method that says they can be measured so gives the rows of the whole map."""

from dataclasses import replace

import pytest
import torch
from tests.strategies import LAYOUTS, toy_layer

from contextmix.errors import UnsupportedModel
from contextmix.plugins.contracts import Method
from contextmix.plugins.plan import METHODS, measured
from contextmix.traces.trace import LayerTrace

N = 9
MAPS = {name: one for name, one in METHODS.items() if isinstance(one, Method)}
OF_ROWS = sorted(name for name, one in MAPS.items() if one.by_rows)
RATIOS = sorted(name for name, one in MAPS.items() if one.by_rows and one.ratio)
BLOCKS = [slice(0, 4), slice(3, 7), slice(8, 9)]
SEEN = {"all": (False, None), "earlier": (True, None), "a window": (True, 3)}  # causal, and how far back

each_layout = pytest.mark.parametrize("layout", LAYOUTS)
each_seen = pytest.mark.parametrize("seen", SEEN)


def cut(layer: LayerTrace, rows: slice, keys: slice) -> LayerTrace:
    """Some rows over some keys, which hold all that these rows see."""
    states = ("residual_in", "attention_out", "ffn_out", "residual_out")
    own = {name: getattr(layer, name)[rows] for name in states}
    own |= {"attention": layer.attention[:, rows, keys], "value": layer.value[:, keys]}
    own |= dict.fromkeys(("scores", "replay", "embeddings", "replay_from_embeddings"))
    return replace(layer, first=rows.start - keys.start, **own)


def keys_of(layer: LayerTrace, rows: slice) -> slice:
    """From the first to the last token that gets any weight from these rows."""
    places = layer.attention[:, rows].ne(0).any(0).any(0).nonzero()
    return slice(int(places[0]), int(places[-1]) + 1)


@each_seen
@each_layout
@pytest.mark.parametrize("name", OF_ROWS)
def test_rows_of_a_block_are_those_of_the_whole_map(name: str, layout: str, seen: str):
    causal, window = SEEN[seen]
    layer = toy_layer(layout, n=N, causal=causal, window=window)
    whole = measured(MAPS[name].measure(layer)).values
    for rows in BLOCKS:
        keys = keys_of(layer, rows)
        found = measured(MAPS[name].measure(cut(layer, rows, keys))).values
        torch.testing.assert_close(found, whole[rows, keys], rtol=0, atol=1e-9)


@each_seen
@each_layout
@pytest.mark.parametrize("name", RATIOS)
def test_rows_of_a_block_mix_as_much_as_in_the_whole_layer(name: str, layout: str, seen: str):
    causal, window = SEEN[seen]
    layer, ratio = toy_layer(layout, n=N, causal=causal, window=window), MAPS[name].ratio
    assert ratio is not None
    for rows in BLOCKS:
        found = ratio(cut(layer, rows, keys_of(layer, rows)))
        torch.testing.assert_close(found, ratio(layer)[rows], rtol=0, atol=1e-9)


def test_a_window_leaves_out_the_first_keys():
    layer = toy_layer(n=N, causal=True, window=3)
    assert keys_of(layer, BLOCKS[1]) == slice(1, 7)


@pytest.mark.parametrize("name", ["effective_attention", "norm_encoder_ffn"])
def test_what_looks_at_all_rows_refuses_some(name: str):
    rows = slice(3, 7)
    with pytest.raises(UnsupportedModel, match=r"looks at all rows.*4 rows \(from token 3 on\) over 7 tokens"):
        MAPS[name].measure(cut(toy_layer(n=N, causal=True), rows, slice(0, 7)))

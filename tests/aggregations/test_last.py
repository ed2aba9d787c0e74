"""The last layer alone."""

import torch

from contextmix.plugins.plan import AGGREGATIONS
from contextmix.results.provenance import Quantity

LAST = AGGREGATIONS["last"]
MAPS = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_entry_l_is_the_map_of_layer_l_itself():
    found = LAST.combine(MAPS)
    for layer in range(4):
        for i in range(3):
            assert found[layer, i].tolist() == MAPS[layer, i].tolist()


def test_one_row_is_that_row_of_the_last_map():
    assert LAST.combine_row(MAPS, 1).tolist() == MAPS.tolist()[-1][1]


def test_it_accepts_every_quantity():
    assert LAST.accepts == set(Quantity)

"""Mean over layers, with loops and numbers."""

import torch

from contextmix.plugins.plan import AGGREGATIONS
from contextmix.results.provenance import Quantity

MEAN = AGGREGATIONS["mean"]
MAPS = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def longhand(maps):
    found = []
    for last in range(len(maps)):
        seen = maps[: last + 1].tolist()
        rows = [[sum(one[i][j] for one in seen) / len(seen) for j in range(3)] for i in range(3)]
        found.append(rows)
    return torch.tensor(found, dtype=torch.float64)


def test_entry_l_is_the_mean_of_the_maps_up_to_layer_l():
    torch.testing.assert_close(MEAN.combine(MAPS), longhand(MAPS), rtol=1e-10, atol=1e-12)


def test_one_row_is_that_row_of_the_mean_over_all_layers():
    torch.testing.assert_close(MEAN.combine_row(MAPS, 1), longhand(MAPS)[-1, 1], rtol=1e-10, atol=1e-12)


def test_it_accepts_every_quantity():
    assert MEAN.accepts == set(Quantity)

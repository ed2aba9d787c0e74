"""Mean over layers, with loops and numbers."""

import pytest
import torch

import contextmix as cm
from contextmix.errors import BadOption
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


@pytest.mark.parametrize("last", [1, 2, 4, 9])
def test_the_last_layers_alone(last):
    expected = torch.stack([MAPS[max(0, end - last) : end].mean(0) for end in range(1, len(MAPS) + 1)])
    torch.testing.assert_close(MEAN.combine(MAPS, last=last), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(MEAN.combine_row(MAPS, 1, last=last), expected[-1, 1], rtol=1e-10, atol=1e-12)


def test_no_layer_is_no_mean():
    with pytest.raises(BadOption, match="last=0"):
        cm.load("demo").explain("a film", "attention+mean", last=0)

"""Rollout across layers (Abnar & Zuidema 2020, eq. 1; GlobEnc, eq. 12), with loops and numbers."""

import pytest
import torch

from contextmix.plugins.plan import AGGREGATIONS
from contextmix.results.provenance import Quantity

ROLLOUT = AGGREGATIONS["rollout"]
MAPS = torch.rand(4, 5, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 3


def close(found, wanted):
    torch.testing.assert_close(found, torch.as_tensor(wanted, dtype=torch.float64), rtol=1e-10, atol=1e-12)


def longhand(maps):
    """R_1 = M_1, R_l = M_l R_{l−1}: row i of the later map weights the rows of what came before."""
    found, n = [maps[0].tolist()], maps.shape[-1]
    for one in maps[1:].tolist():
        before = found[-1]
        found.append([[sum(one[i][k] * before[k][j] for k in range(n)) for j in range(n)] for i in range(n)])
    return found


def row_normalised(maps):
    return torch.tensor([[[x / sum(row) for x in row] for row in one] for one in maps.tolist()], dtype=torch.float64)


def test_every_layer_multiplies_what_came_before():
    close(ROLLOUT.combine(MAPS), longhand(MAPS))


@pytest.mark.parametrize("query", [0, 3, 4])
def test_one_row_is_that_row_of_the_last_layer(query):
    close(ROLLOUT.combine_row(MAPS, query), longhand(MAPS)[-1][query])


def test_normalise_divides_each_row_of_each_map_before_the_product():
    wanted = longhand(row_normalised(MAPS))
    close(ROLLOUT.combine(MAPS, normalise=True), wanted)
    close(ROLLOUT.combine_row(MAPS, 2, normalise=True), wanted[-1][2])
    close(ROLLOUT.combine(MAPS, normalise=True).sum(-1), torch.ones(4, 5))


def test_normalising_the_maps_is_another_method_than_normalising_the_result():
    late = row_normalised(ROLLOUT.combine(MAPS))[-1]
    assert (ROLLOUT.combine(MAPS, normalise=True)[-1] - late).abs().max() > 1e-3


def test_by_default_nothing_is_added_and_nothing_is_divided():
    zeros = torch.zeros(3, 2, 2, dtype=torch.float64)
    assert torch.equal(ROLLOUT.combine(zeros), zeros)  # an added identity would survive
    close(ROLLOUT.combine(2 * MAPS)[-1], 2**4 * torch.tensor(longhand(MAPS)[-1], dtype=torch.float64))


def test_rows_that_sum_to_one_still_do():
    close(ROLLOUT.combine(row_normalised(MAPS)).sum(-1), torch.ones(4, 5))


def test_norms_of_deep_models_do_not_overflow():
    deep = torch.full((48, 8, 8), 1e4, dtype=torch.float64)  # 8e4 per layer: float32 ends after eight layers
    assert torch.isfinite(ROLLOUT.combine(deep)).all()


def test_it_multiplies_what_has_no_sign_and_nothing_else():
    assert set(Quantity) - {Quantity.SIGNED, Quantity.EVIDENCE} == ROLLOUT.accepts  # of evidence there are no layers

"""Distances tile by tile, of all rows or a block of them, against sums of single numbers."""

import pytest
import torch

from contextmix.maths import l1_distances as tiles_module
from contextmix.maths.l1_distances import l1_distances

N_HEADS, N_KEYS, D = 2, 9, 4


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def longhand(weights, sources, own, whole, first):
    rows = []
    for i in range(len(whole)):
        row = []
        for j in range(N_KEYS):
            distance = 0.0
            for c in range(D):
                left = whole[i, c].item()
                for h in range(N_HEADS):
                    left -= weights[h, i, j].item() * sources[h, j, c].item()
                if own is not None and j == first + i:
                    left -= own[i, c].item()
                distance += abs(left)
            row.append(distance)
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(("elements", "height", "strip"), [(1 << 17, 64, 64), (12, 2, 4), (1, 64, 3), (20, 1, 64)])
@pytest.mark.parametrize(("n_rows", "first"), [(9, 0), (4, 0), (3, 2), (4, 5), (1, 8)])
@pytest.mark.parametrize("residual", [True, False])
def test_a_block_of_rows_finds_its_own_tokens_where_they_are(
    elements, height, strip, n_rows, first, residual, monkeypatch
):
    for name, value in (("VECTOR_ELEMENTS", elements), ("ROWS", height), ("STRIP", strip)):
        monkeypatch.setattr(tiles_module, name, value)
    weights, sources = drawn(N_HEADS, n_rows, N_KEYS, seed=1), drawn(N_HEADS, N_KEYS, D, seed=2)
    own, whole = drawn(n_rows, D, seed=3) if residual else None, drawn(n_rows, D, seed=4)
    seen = torch.arange(N_KEYS) <= torch.arange(n_rows)[:, None] + first
    found = l1_distances(weights, sources, own, whole, seen, first)
    wanted = longhand(weights, sources, own, whole, first)
    torch.testing.assert_close(found[seen], wanted[seen], rtol=1e-12, atol=1e-12)


def test_keys_that_no_row_sees_take_no_product(monkeypatch):
    monkeypatch.setattr(tiles_module, "STRIP", 3)
    weights, sources = drawn(N_HEADS, 4, N_KEYS, seed=1), drawn(N_HEADS, N_KEYS, D, seed=2)
    seen = torch.zeros(4, N_KEYS, dtype=torch.bool)
    seen[1, 4] = True
    found = l1_distances(weights, sources, None, drawn(4, D, seed=4), seen)
    assert found[:, 4].gt(0).all()
    assert not found[:, [0, 1, 2, 3, 5, 6, 7, 8]].any()

"""What rows draw from the tokens of an image tower, longhand."""

import pytest
import torch

from contextmix.maths.image_tower import through_tower


def test_the_product_longhand_and_its_sum() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    made_of = torch.tensor([[0, 0, 0, 0, 0.0], [0.5, 0.5, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0]])
    tiles = [torch.rand(2, 2, generator=generator).double(), torch.rand(3, 3, generator=generator).double()]
    whole = [[0.0] * 5 for _ in range(5)]
    for first, tile in ((0, tiles[0]), (2, tiles[1])):
        for token in range(len(tile)):
            for patch in range(len(tile)):
                whole[first + token][first + patch] = float(tile[token, patch] / tile[token].sum())
    found = through_tower(rows, made_of, tiles)
    for row in range(3):
        for patch in range(5):
            expected = sum(
                float(rows[row, place]) * float(made_of[place, token]) * whole[token][patch]
                for place in range(5)
                for token in range(5)
            )
            assert float(found[row, patch]) == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(found.sum(-1), rows[:, 1:].sum(-1))

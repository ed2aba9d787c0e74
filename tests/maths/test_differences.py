"""Changes pushed through norms and distances, against the subtraction that they avoid."""

import numpy as np
import pytest
import torch
from scipy.spatial import distance

from contextmix.maths.differences import cosine_distance, euclidean_distance, norm_change
from contextmix.maths.norms import Norm, normalise


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["layer", "rms"])
@pytest.mark.parametrize("size", [1e-8, 1.0, 100.0])
def test_the_change_of_a_norm_is_the_difference_of_two_norms(kind, size):
    norm = Norm(kind, normal(6, seed=1), normal(6, seed=2), 1e-5)
    total, change = normal(3, 6, seed=3), size * normal(4, 3, 6, seed=4)
    wanted = normalise(total + change, norm) - normalise(total, norm)
    found = norm_change(total, change, norm)
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9 * max(size, 1e-6))


def test_without_a_norm_a_change_stays_what_it_is():
    change = normal(2, 3)
    assert norm_change(normal(2, 3, seed=1), change, None) is change


@pytest.mark.parametrize("size", [1e-3, 1.0, 50.0])
def test_distances_are_scipys(size):
    clean, change = normal(5, seed=1), size * normal(5, seed=2)
    pair = clean.numpy(), (clean + change).numpy()
    assert float(cosine_distance(clean, change)) == pytest.approx(distance.cosine(*pair), rel=1e-9)
    assert float(euclidean_distance(clean, change)) == pytest.approx(distance.euclidean(*pair), rel=1e-12)


def test_a_tiny_angle_keeps_its_digits_in_float32():
    clean, change = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1e-5])
    assert float(cosine_distance(clean, change)) == pytest.approx(0.5e-10, rel=1e-5)
    assert 1 - float(torch.cosine_similarity(clean, clean + change, dim=0)) != pytest.approx(0.5e-10, rel=0.5)


def test_no_change_is_no_distance_and_opposite_is_two():
    clean = torch.tensor([3.0, 4.0])
    assert float(cosine_distance(clean, torch.zeros(2))) == 0
    assert float(cosine_distance(clean, -2 * clean)) == pytest.approx(2)
    assert np.isfinite(float(cosine_distance(clean, -clean)))

"""ALTI's contributions: the algebra against vectors that are really built, one number at a time."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import Mixture, causal_maps, mixtures, norms, random_mixture, stochastic_maps, tensors
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from contextmix.maths import l1_distances as tiles_module
from contextmix.maths.alti import l1_contributions, l2_contributions
from contextmix.maths.norms import denominator, linear
from contextmix.maths.parts import Parts

few = settings(max_examples=40)
each_length = pytest.mark.parametrize(("contributions", "power"), [(l1_contributions, 1), (l2_contributions, 2)])


def close(found, wanted, atol=1e-9):
    torch.testing.assert_close(found, torch.as_tensor(wanted, dtype=found.dtype), rtol=1e-9, atol=atol)


def parts_of(mixture: Mixture) -> Parts:
    return Parts(mixture.attention, mixture.value, mixture.weight, mixture.total)


def length(vector: list[float], power: int) -> float:
    return sum(abs(x) for x in vector) if power == 1 else math.hypot(*vector)


def longhand(vectors: torch.Tensor, whole: torch.Tensor, power: int) -> list[list[float]]:
    """max(0, ‖y‖ − ‖y − T‖) for vectors (query, key, d_model)."""
    rows = []
    for i, y in enumerate(whole.tolist()):
        row = []
        for part in vectors[i].tolist():
            rest = [a - b for a, b in zip(y, part, strict=True)]
            row.append(max(0.0, length(y, power) - length(rest, power)))
        rows.append(row)
    return rows


def built(mixture: Mixture) -> torch.Tensor:
    """Every part as a vector, residual included."""
    vectors = mixture.vectors().sum(-4)
    n = vectors.shape[-2]
    vectors[..., range(n), range(n), :] += mixture.residual
    return vectors


@each_length
@given(mixtures(), st.data())
@few
def test_parts_of_the_residual_stream(contributions, power, mixture, data):
    whole = data.draw(tensors(*mixture.residual.shape))
    parts = parts_of(mixture).plus_residual(mixture.residual)
    # An L2 length that cancels is exact to the square root of roundoff.
    close(contributions(parts, whole), longhand(built(mixture), whole, power), atol=1e-9 if power == 1 else 1e-7)


@each_length
@given(mixtures(), norms(3), st.data())
@few
def test_parts_behind_a_norm(contributions, power, mixture, norm, data):
    total = data.draw(tensors(*mixture.residual.shape))
    parts = parts_of(mixture).plus_residual(mixture.residual).through(norm, total)
    vectors = linear(built(mixture), norm) / denominator(total, norm).unsqueeze(-2)
    whole = data.draw(tensors(*mixture.residual.shape))
    size = 1 + vectors.abs().max().item()
    wanted = torch.tensor(longhand(vectors, whole, power), dtype=torch.float64)
    close(contributions(parts, whole), wanted, atol=1e-7 * size)


@each_length
@pytest.mark.parametrize("chunk", [1, 7, 20, 40, 10**6])
@pytest.mark.parametrize("batch", [(), (2,), (2, 2)])
def test_chunks_and_batches_change_nothing(contributions, power, chunk, batch, monkeypatch):
    monkeypatch.setattr(tiles_module, "VECTOR_ELEMENTS", chunk)
    mixture = random_mixture(3, batch=batch)
    parts, whole = parts_of(mixture).plus_residual(mixture.residual), mixture.total + mixture.residual + 0.1
    found = contributions(parts, whole)
    assert found.shape == (*batch, 5, 5)
    vectors, flat = built(mixture).reshape(-1, 5, 5, 6), whole.reshape(-1, 5, 6)
    for one, wanted in zip(found.reshape(-1, 5, 5), zip(vectors, flat, strict=True), strict=True):
        close(one, longhand(*wanted, power))
    assert (found == 0).any()
    assert (found > 0.5).any()


@each_length
def test_a_part_that_is_the_whole_takes_everything(contributions, power):
    mixture = random_mixture(5)
    attention = torch.eye(5, dtype=torch.float64)[[2, 0, 1, 4, 3]].expand(2, 5, 5)  # each token reads one other
    parts = Parts(attention, mixture.value, mixture.weight, mixture.total)
    whole = built(replace(mixture, attention=attention, residual=torch.zeros_like(mixture.residual))).sum(1)
    found = contributions(parts, whole)
    sizes = torch.tensor([length(row, power) for row in whole.tolist()], dtype=torch.float64)
    close(found, attention[0] * sizes[:, None], atol=1e-6)


@each_length
def test_a_part_that_points_away_counts_nothing(contributions, power):
    mixture = replace(random_mixture(6), attention=torch.eye(5, dtype=torch.float64).expand(2, 5, 5))
    assert contributions(parts_of(mixture), -mixture.total).abs().max() == 0
    assert contributions(parts_of(mixture), mixture.total).max() > 1


@each_length
@pytest.mark.parametrize("chunk", [1, 30, 10**6])
@given(causal_maps(2, 5, 5))
@few
def test_a_token_without_weight_has_exactly_nothing(contributions, power, chunk, attention):
    mixture = replace(random_mixture(7), attention=attention)
    parts = parts_of(mixture).plus_residual(mixture.residual)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles_module, "VECTOR_ELEMENTS", chunk)
        found = contributions(parts, mixture.total + mixture.residual)
    unseen = (attention == 0).all(0) & ~torch.eye(5, dtype=torch.bool)
    assert (found[unseen] == 0).all()
    close(found, longhand(built(mixture), mixture.total + mixture.residual, power), atol=1e-7)


@each_length
@pytest.mark.parametrize("chunk", [1, 30, 10**6])
def test_a_token_that_only_later_ones_attend_to_still_has_its_residual(contributions, power, chunk, monkeypatch):
    monkeypatch.setattr(tiles_module, "VECTOR_ELEMENTS", chunk)
    before = torch.eye(5, dtype=torch.float64)[[0, 0, 1, 2, 3]].expand(2, 5, 5)  # each token reads the one before it
    mixture = replace(random_mixture(12), attention=before)
    whole = mixture.total + mixture.residual + 0.1
    found = contributions(parts_of(mixture).plus_residual(mixture.residual), whole)
    close(found, longhand(built(mixture), whole, power))
    assert (found.diagonal() > 0).sum() > 2


@each_length
@given(stochastic_maps(2, 5, 5), tensors(5, 6))
@few
def test_no_contribution_is_longer_than_its_part_or_the_whole(contributions, power, attention, whole):
    mixture = replace(random_mixture(8), attention=attention)
    found = contributions(parts_of(mixture).plus_residual(mixture.residual), whole)
    reach = torch.linalg.vector_norm(built(mixture), power, dim=-1)
    size = torch.linalg.vector_norm(whole, power, dim=-1, keepdim=True)
    assert (found >= 0).all()
    assert (found <= torch.minimum(reach, size) + 1e-7).all()


@each_length
def test_one_token(contributions, power):
    mixture = random_mixture(9, n=1)
    whole = mixture.total + mixture.residual + 0.2
    found = contributions(parts_of(mixture).plus_residual(mixture.residual), whole)
    close(found, longhand(built(mixture), whole, power))


@each_length
def test_a_whole_of_zero_gives_zeros(contributions, power):
    mixture = random_mixture(9)
    still = replace(mixture, value=torch.zeros_like(mixture.value))
    for one in (mixture, still):
        assert contributions(parts_of(one), torch.zeros_like(one.residual)).abs().max() == 0


@each_length
def test_float32_agrees_with_float64(contributions, power):
    mixture = random_mixture(10, n=20, d_model=48, n_heads=4)
    whole = mixture.total + mixture.residual
    parts = parts_of(mixture).plus_residual(mixture.residual)
    single = Parts(*(getattr(parts, name).float() for name in ("attention", "value", "weight", "total")))
    found = contributions(single.plus_residual(mixture.residual.float()), whole.float())
    wanted = contributions(parts, whole)
    assert found.dtype == torch.float32
    assert ((found - wanted).abs().max() / wanted.max()).item() < 1e-5


class LargestTensor(TorchDispatchMode):
    """Remembers the most numbers that any tensor held while it was on."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.size = max(self.size, *(one.numel() for one in tree_leaves(out) if torch.is_tensor(one)), 0)
        return out


@each_length
@pytest.mark.parametrize("n", [16, 64])
def test_no_tensor_holds_vectors_of_all_pairs(contributions, power, n, monkeypatch):
    monkeypatch.setattr(tiles_module, "VECTOR_ELEMENTS", 512)
    mixture = random_mixture(11, n=n, d_model=24, d_head=2)
    with LargestTensor() as largest:
        contributions(parts_of(mixture).plus_residual(mixture.residual), mixture.total)
    assert n * n <= largest.size <= max(2 * n * n, 2 * n * 24, 512)  # (head, query, key), or (head, key, d_model)


def test_the_budget_is_small_and_constant():
    assert 8 * tiles_module.VECTOR_ELEMENTS <= 32 * 2**20

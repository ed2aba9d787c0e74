"""Gradients of one score at a point and along a path, against derivatives taken by hand."""

import math

import pytest
import torch
from torch import nn

from contextmix.maths.gradients import (
    Disconnected,
    NoRoom,
    kept_bytes,
    path_gradient,
    score_gradients,
    token_lengths,
    token_sums,
)


def points(batch: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def waves(at: torch.Tensor) -> torch.Tensor:
    """Two scores of each point: Σ sin e_kd, and Π_k of the first components."""
    return torch.stack([at.sin().sum((1, 2)), at[:, :, 0].prod(-1)], -1)


def close(found, wanted, rtol=1e-12):
    torch.testing.assert_close(found, wanted, rtol=rtol, atol=1e-14)


def test_the_score_and_its_gradient_are_those_of_calculus():
    at = points(4)
    scores, found = score_gradients(waves, at, 0)
    for b in range(4):
        assert float(scores[b]) == pytest.approx(sum(math.sin(x) for x in at[b].flatten().tolist()))
        for k in range(3):
            for d in range(2):
                assert float(found[b, k, d]) == pytest.approx(math.cos(float(at[b, k, d])))


def test_another_target_is_another_gradient():
    at = points(1)
    _, found = score_gradients(waves, at, 1)
    a, b, c = at[0, :, 0].tolist()
    close(found[0, :, 0], torch.tensor([b * c, a * c, a * b], dtype=torch.float64))
    assert not found[0, :, 1].any()


def test_a_batch_is_its_points_one_by_one():
    at = points(5)
    for target in (0, 1):
        scores, found = score_gradients(waves, at, target)
        for row in range(5):
            one_score, one = score_gradients(waves, at[row : row + 1], target)
            close(found[row], one[0])
            close(scores[row], one_score[0])


def test_nothing_is_written_to_parameters_or_to_the_points():
    layer, at = nn.Linear(2, 2).double(), points(2).requires_grad_()
    before = at.detach().clone()
    score_gradients(lambda some: layer(some).sum(1), at, 0)
    assert layer.weight.grad is None
    assert at.grad is None
    assert torch.equal(at, before)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_caller_without_gradients_gets_them_all_the_same(mode):
    with mode():
        _, found = score_gradients(waves, points(2), 0)
    close(found, points(2).cos())
    assert not found.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_out_as_float32(dtype):
    scores, found = score_gradients(waves, points(2).to(dtype), 0)
    assert scores.dtype == found.dtype == torch.float32


@pytest.mark.parametrize(
    "scores_from",
    [
        lambda at: torch.ones(len(at), 2),
        lambda at: waves(at.detach()),
        lambda at: torch.ones(len(at), 2, requires_grad=True) * 2,
    ],
    ids=["constant", "detached", "of something else"],
)
def test_scores_that_do_not_depend_on_the_points_are_refused(scores_from):
    with pytest.raises(Disconnected):
        score_gradients(scores_from, points(1), 0)


def test_a_token_is_the_length_or_the_sum_of_its_vector():
    vectors = torch.tensor([[3.0, -4.0], [0.0, 0.0]])
    assert token_lengths(vectors).tolist() == [5.0, 0.0]
    assert token_sums(vectors).tolist() == [-1.0, 0.0]


# Along a path


def gradients_at(at: torch.Tensor) -> torch.Tensor:
    return 3 * at.square()  # of Σ e³


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_average_over_midpoints_misses_a_cube_by_a_quarter_of_the_squared_step(steps):
    start, end = torch.zeros(3, 2, dtype=torch.float64), points(1)[0]
    found = path_gradient(gradients_at, start, end, steps, 2**20)
    close(found, end.square() * (1 - 1 / (4 * steps**2)))  # the integral is e²


def test_a_path_from_elsewhere_is_summed_longhand():
    start, end = points(2)
    total = torch.zeros(3, 2, dtype=torch.float64)
    for k in range(1, 6):
        total += 3 * (start + (k - 0.5) / 5 * (end - start)) ** 2
    close(path_gradient(gradients_at, start, end, 5, 2**20), total / 5)


def test_one_point_is_enough_where_the_gradient_is_linear():
    start, end = points(2)
    found = path_gradient(lambda at: 2 * at, start, end, 1, 2**20)
    close(((end - start) * found).sum(), end.square().sum() - start.square().sum())


def test_points_come_in_batches_that_the_memory_holds():
    layer, sizes = nn.Linear(2, 2).double(), []

    def slopes(at):
        sizes.append(len(at))
        return score_gradients(lambda some: layer(some).tanh().sum(1), at, 0)[1]

    start, end = points(2)
    # One point keeps 3·2 numbers for tanh and 3·2 for the weight's gradient, and as much again goes by; four
    # tensors of the path are held.
    needed = (2 * 2 + 4) * 3 * 2 * 8
    whole = path_gradient(slopes, start, end, 8, 100 * needed)
    assert sizes == [1, 7]
    sizes.clear()
    close(path_gradient(slopes, start, end, 8, 3 * needed), whole)
    assert sizes == [1, 3, 3, 1]
    with pytest.raises(NoRoom) as caught:
        path_gradient(slopes, start, end, 8, needed - 1)
    assert caught.value.needed == needed


def test_kept_bytes_count_each_storage_once_and_no_parameter():
    layer = nn.Linear(2, 50).double().requires_grad_(False)
    at = points(1).requires_grad_()
    with kept_bytes() as kept:
        hidden = layer(at).tanh()
        (hidden + hidden * hidden).sum()
    assert sum(kept.values()) == 3 * 50 * 8

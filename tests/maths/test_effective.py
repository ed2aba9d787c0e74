"""Effective attention: a projection on the column space of the values, against singular values and rows one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import lower_half, stochastic_maps, tensors

from contextmix.maths import effective_causal as causal_module
from contextmix.maths.effective import effective, effective_mean, value_space, with_ones
from contextmix.maths.effective_causal import causal_effective, first_seen

few = settings(max_examples=40)
ROUNDOFF = 1e-9


def close(found, wanted, atol=ROUNDOFF):
    torch.testing.assert_close(found, torch.as_tensor(wanted), rtol=0, atol=atol)


def drawn(seed: int, n: int, d: int, n_heads: int = 3, rank: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention and values without zeros or repeats; of a lower rank if asked."""
    generator = torch.Generator().manual_seed(seed)
    attention = torch.randn(n_heads, n, n, generator=generator, dtype=torch.float64).softmax(-1)
    inner = min(n, d) if rank is None else rank
    left = torch.randn(n_heads, n, inner, generator=generator, dtype=torch.float64)
    return attention, left @ torch.randn(n_heads, inner, d, generator=generator, dtype=torch.float64)


def projected(attention: torch.Tensor, value: torch.Tensor) -> tuple[np.ndarray, int]:
    """One head longhand: row by row, what lies along each left singular vector of V that counts (numpy's rank)."""
    left, sizes, _ = np.linalg.svd(value.numpy(), full_matrices=False)
    counted = [k for k in range(len(sizes)) if sizes[k] > sizes[0] * max(value.shape) * np.finfo(np.float64).eps]
    rows = []
    for row in attention.numpy():
        kept = np.zeros_like(row)
        for k in counted:
            kept += (row @ left[:, k]) * left[:, k]
        rows.append(kept)
    return np.array(rows), len(counted)


SHAPES = [(1, 2), (2, 2), (3, 5), (5, 3), (9, 2), (12, 12), (13, 12)]


@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("rank", [None, 1])
def test_each_head_is_projected_on_the_singular_vectors_of_its_values(n, d, rank):
    attention, value = drawn(n * 31 + d, n, d, rank=rank)
    space = value_space(value)
    found = effective(attention, space)
    for h in range(len(attention)):
        wanted, size = projected(attention[h], value[h])
        close(found[h], wanted)
        assert space.rank[h] == size
    close(effective_mean(attention, space), found.mean(0))


@given(st.integers(1, 6), st.integers(1, 4), st.data())
@few
def test_the_output_of_the_head_stays_and_a_second_projection_changes_nothing(n, d, data):
    attention, value = data.draw(stochastic_maps(2, n, n)), data.draw(tensors(2, n, d))
    space = value_space(value)
    found = effective(attention, space)
    close(found @ value, attention @ value)
    close(effective(found, space), found)


@given(st.integers(1, 6), st.integers(1, 4), st.data())
@few
def test_what_is_removed_is_orthogonal_to_the_values_and_to_what_stays(n, d, data):
    attention, value = data.draw(stochastic_maps(2, n, n)), data.draw(tensors(2, n, d))
    found = effective(attention, value_space(value))
    close((attention - found) @ value, torch.zeros(2, n, d, dtype=torch.float64))
    close((attention - found) @ found.mT, torch.zeros(2, n, n, dtype=torch.float64))


@given(st.integers(1, 6), st.integers(1, 4), st.data())
@few
def test_the_size_of_the_space_is_numpys_rank(n, d, data):
    value = data.draw(tensors(2, n, d))
    assert value_space(value).rank.tolist() == np.linalg.matrix_rank(value.numpy()).tolist()


@pytest.mark.parametrize(("n", "d"), [(1, 1), (4, 4), (3, 8)])
def test_with_no_more_tokens_than_d_head_it_is_attention_itself(n, d):
    attention, value = drawn(3, n, d)
    space = value_space(value)
    assert space.is_everything.all()
    assert torch.equal(effective(attention, space), attention)
    assert torch.equal(effective_mean(attention, space), attention.mean(-3))


def test_heads_that_lose_nothing_stand_beside_heads_that_do():
    attention, value = drawn(4, 4, 6)
    value[1, 3] = value[1, 0]  # two tokens that send the same: their weights may be shared out
    space = value_space(value)
    found = effective(attention, space)
    assert space.rank.tolist() == [4, 3, 4]
    assert torch.equal(found[0], attention[0])
    shared = (attention[1, :, 0] + attention[1, :, 3]) / 2
    close(found[1, :, 0], shared)
    close(found[1, :, 3], shared)
    close(found[1, :, 1:3], attention[1, :, 1:3])
    close(effective_mean(attention, space), found.mean(0))


def test_values_of_zero_leave_nothing():
    attention, value = drawn(5, 6, 2)
    space = value_space(torch.zeros_like(value))
    assert space.rank.tolist() == [0, 0, 0]
    assert effective(attention, space).abs().max() == 0


def test_all_attention_on_one_token_spreads_over_tokens_that_send_alike():
    attention, value = torch.zeros(1, 4, 4, dtype=torch.float64), torch.ones(1, 4, 1, dtype=torch.float64)
    attention[..., 0] = 1
    close(effective(attention, value_space(value)), torch.full((1, 4, 4), 0.25, dtype=torch.float64))


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(("n", "d", "rank"), [(9, 2, None), (9, 4, 2), (4, 3, None), (3, 3, None), (5, 3, 0)])
def test_rows_keep_their_sums_in_the_other_variant(n, d, rank, size):
    attention, value = drawn(6, n, d, rank=rank)
    wide = with_ones(value * size)
    space = value_space(wide)
    found = effective(attention, space)
    close(found.sum(-1), attention.sum(-1))
    close(found @ value, attention @ value)
    ones = torch.cat([value, torch.ones(*value.shape[:-1], 1, dtype=torch.float64)], -1)
    for h in range(len(attention)):
        wanted, count = projected(attention[h], ones[h])
        close(found[h], wanted)
        assert space.rank[h] == count


def test_sums_are_lost_in_the_first_variant():
    attention, value = drawn(6, 9, 2)
    assert (effective(attention, value_space(value)).sum(-1) - 1).abs().max() > 0.05


def test_the_rank_is_relative_to_the_largest_singular_value_and_to_the_precision():
    attention, value = drawn(7, 40, 3)
    for size in (1e-8, 1.0, 1e8):
        assert value_space(value * size).rank.tolist() == [3, 3, 3]
    tiny = value.clone()
    tiny[..., 2] = value[..., 0] + 1e-9 * value[..., 2]
    assert value_space(tiny).rank.tolist() == [3, 3, 3]  # float64 tells 1e-9 from noise
    assert value_space(tiny.float()).rank.tolist() == [2, 2, 2]  # float32 does not
    close(effective(attention, value_space(tiny)), effective(attention, value_space(value)), atol=1e-5)


def test_badly_conditioned_values_still_give_an_orthonormal_basis():
    n = 60
    _, value = drawn(8, n, 6)
    for dtype in (torch.float32, torch.float64):
        for power in range(7):
            scaled = value * torch.logspace(0, -power, 6, dtype=torch.float64)
            mixed = (scaled @ torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).to(
                dtype
            )
            space = value_space(mixed)
            gram = space.basis.mT @ space.basis
            wanted = torch.eye(6, dtype=dtype) * (torch.arange(6) < space.rank[:, None]).to(dtype)[:, None]
            torch.testing.assert_close(gram, wanted, rtol=0, atol=n * torch.finfo(dtype).eps)  # sums of n products


def test_float32_agrees_with_float64():
    attention, value = drawn(9, 64, 16)
    found = effective_mean(attention.float(), value_space(value.float()))
    assert found.dtype == torch.float32
    wanted = effective_mean(attention, value_space(value))
    assert ((found - wanted).abs().max() / wanted.abs().max()).item() < 1e-5


def test_leading_axes_are_separate():
    attention, value = (torch.stack(pair) for pair in zip(drawn(1, 5, 3), drawn(2, 5, 3), strict=True))
    value[1, 2, 4] = 0
    value[1, 2, :, 1] = 0
    space = value_space(value)
    assert space.rank.tolist() == [[3, 3, 3], [3, 3, 2]]
    for b in range(2):
        alone = value_space(value[b])
        close(effective(attention, space)[b], effective(attention[b], alone))
        close(effective_mean(attention, space)[b], effective_mean(attention[b], alone))


def test_nothing_is_changed_in_place():
    attention, value = drawn(1, 3, 3)
    before = attention.clone(), value.clone()
    effective(attention, value_space(value)).zero_()
    effective_mean(attention, value_space(with_ones(value))).zero_()
    assert torch.equal(attention, before[0])
    assert torch.equal(value, before[1])


# Causal models: each row among the tokens that it sees


def by_rows(attention: torch.Tensor, value: torch.Tensor, first: list[int]) -> np.ndarray:
    """One head longhand: each row projected by the values of the tokens from its first one to itself."""
    found = np.zeros(attention.shape)
    for i in range(len(attention)):
        own = slice(first[i], i + 1)
        found[i, own] = projected(attention[i : i + 1, own], value[own])[0][0]
    return found


def masked(attention: torch.Tensor, window: int) -> torch.Tensor:
    n = attention.shape[-1]
    gap = torch.arange(n)[:, None] - torch.arange(n)
    seen = (gap >= 0) & (gap < window)
    return attention * seen / (attention * seen).sum(-1, keepdim=True)


@pytest.mark.parametrize("window", [1, 2, 4, 100])
@pytest.mark.parametrize(("n", "d"), [(1, 2), (3, 5), (9, 1), (12, 3), (12, 11)])
@pytest.mark.parametrize("rank", [None, 1])
@pytest.mark.parametrize(("chunk", "shared"), [(1, 1), (40, 4), (1 << 18, 64)])
def test_each_row_is_projected_among_the_tokens_that_it_sees(n, d, rank, window, chunk, shared, monkeypatch):
    monkeypatch.setattr(causal_module, "GRAM_ELEMENTS", chunk)
    monkeypatch.setattr(causal_module, "ROWS", shared)
    attention, value = drawn(n * 7 + d, n, d, n_heads=2, rank=rank)
    attention = masked(attention, window)
    first = [max(0, i - window + 1) for i in range(n)]
    if n > 1:
        assert first_seen(attention).tolist() == first
    found = causal_effective(attention, value, torch.tensor(first))
    for h in range(2):
        close(found[h], by_rows(attention[h], value[h], first))
    assert lower_half(found).eq(found).all()


def test_many_rows_share_their_factors_in_float32(monkeypatch):
    monkeypatch.setattr(causal_module, "ROWS", 8)
    attention, value = drawn(14, 90, 7, n_heads=2)
    value[1, 7:30] = value[1, 3]  # of one head, what the first rows see is of rank 7, and hardly grows
    attention = masked(attention, 100).float()
    found = causal_effective(attention, value.float(), first_seen(attention))
    for h in range(2):
        wanted = by_rows(attention[h].double(), value[h].float().double(), [0] * 90)
        assert np.abs(found[h].numpy() - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_tokens_that_send_the_same_are_found_in_any_row():
    attention, value = drawn(11, 10, 4, n_heads=2)
    value[:, 3] = value[:, 1]
    value[0, 8] = value[0, 1]
    attention = masked(attention, 100)
    found = causal_effective(attention, value, torch.zeros(10, dtype=torch.long))
    for h in range(2):
        close(found[h], by_rows(attention[h], value[h], [0] * 10))
    close(found[0, 3, 1], found[0, 3, 3])
    close(found @ value, attention @ value)


def test_the_last_row_of_a_causal_model_is_projected_like_any_row():
    attention, value = drawn(12, 10, 4)
    causal = masked(attention, 100)
    found = causal_effective(causal, value, first_seen(causal))
    close(found[:, -1], effective(causal, value_space(value))[:, -1])
    assert (found - effective(causal, value_space(value))).abs().max() > 0.01


def test_a_batch_of_a_causal_model_is_a_batch_of_sequences():
    attention, value = (torch.stack(pair) for pair in zip(drawn(1, 6, 3), drawn(2, 6, 3), strict=True))
    attention = masked(attention, 100).float()
    found = causal_effective(attention, value.float(), first_seen(attention))
    assert found.dtype == torch.float32
    for b in range(2):
        torch.testing.assert_close(found[b], causal_effective(attention[b], value[b].float(), first_seen(attention[b])))


def test_what_counts_as_causal():
    attention, _ = drawn(13, 4, 2)
    assert first_seen(attention) is None
    assert first_seen(attention[..., :1, :1]) is None  # one token sees itself either way
    one = torch.zeros(2, 4, 4)
    one[..., 0] = 1
    assert first_seen(one) is None  # all attention on the first token
    late = masked(attention, 100)
    late[1, 1, 3] = 1e-30  # one head, one weight
    assert first_seen(late) is None
    late[1, 1, 3] = 0
    late[:2, 2, 2] = 0  # underflow in some heads
    assert first_seen(late).tolist() == [0, 0, 0, 0]
    late[:, 2, 0] = 0  # underflow in all heads: the last row shows that the first token is in sight
    assert first_seen(late).tolist() == [0, 0, 0, 0]

"""One block step of DecompX against the sums written out, and what must hold for any numbers."""

import pytest
import torch
from torch.nn import functional as F

from contextmix.maths import decompx
from contextmix.maths.decompx import PostNormBlock
from contextmix.maths.feedforward import FeedForward
from contextmix.maths.norms import Norm, normalise
from contextmix.maths.parts import Parts

N, HEADS, WIDTH, D, INNER = 5, 2, 3, 4, 7


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


ATTENTION = numbers(HEADS, N, N, seed=1).softmax(-1)
VALUE, OUTPUT = numbers(D, HEADS * WIDTH, seed=2), numbers(HEADS, WIDTH, D, seed=3)
PARTS = numbers(N, N, D, seed=4)


def mixed_longhand() -> torch.Tensor:
    found = PARTS.clone()
    for k in range(N):
        for i in range(N):
            for h in range(HEADS):
                value = VALUE[:, h * WIDTH : (h + 1) * WIDTH]
                for j in range(N):
                    found[k, i] += ATTENTION[h, i, j] * (PARTS[k, j] @ value @ OUTPUT[h])
    return found


def block(ffn: FeedForward | None = None) -> PostNormBlock:
    """A block whose states are those of the parts, so that everything must add up."""
    ffn = ffn or FeedForward(numbers(D, INNER, seed=5), numbers(INNER, seed=6), F.gelu, numbers(INNER, D, seed=7), None)
    norms = [Norm("layer", numbers(D, seed=8 + k), numbers(D, seed=10 + k), 1e-2) for k in range(2)]
    bias = numbers(D, seed=12)
    attention_sum = mixed_longhand().sum(0) + bias
    mid = normalise(attention_sum, norms[0])
    before = ffn.before_activation(mid)
    return PostNormBlock(ATTENTION, OUTPUT, bias, attention_sum, norms[0], ffn, before, mid + ffn(mid), norms[1])


@pytest.mark.parametrize("step", [1, 2, N, 100])
def test_mixing_is_the_sum_over_heads_and_keys(step):
    found = decompx.mix_(PARTS.clone(), ATTENTION, VALUE, OUTPUT, step)
    torch.testing.assert_close(found, mixed_longhand())


@pytest.mark.parametrize("query", [0, N - 1])
def test_one_row_of_the_mixing_is_that_row(query):
    before = PARTS.clone()
    found = decompx.mix_row(PARTS, ATTENTION, VALUE, OUTPUT, query)
    torch.testing.assert_close(found[:, 0], mixed_longhand()[:, query])
    assert torch.equal(PARTS, before)


def test_the_first_block_starts_from_rows_that_are_their_own_source():
    states, value = numbers(N, D, seed=13), numbers(HEADS, N, WIDTH, seed=14)
    attended = Parts(ATTENTION, value, OUTPUT, torch.zeros(N, D)).plus_residual(states)
    found = decompx.first_parts(attended)
    for k in range(N):
        for i in range(N):
            wanted = sum(ATTENTION[h, i, k] * (value[h, k] @ OUTPUT[h]) for h in range(HEADS))
            torch.testing.assert_close(found[k, i], wanted + states[i] if i == k else wanted)


@pytest.mark.parametrize("kind", ["layer", "rms"])
@pytest.mark.parametrize("rule", ["zero_origin", "tangent"])
def test_the_parts_of_a_block_add_up_to_its_output(rule, kind):
    one = block()
    norm_last = Norm(kind, one.norm_last.weight, one.norm_last.bias, 1e-2)
    one = PostNormBlock(**{**vars(one), "norm_last": norm_last})
    found = decompx.through_block_(mixed_longhand(), one, "absdot", rule, N)
    torch.testing.assert_close(found.sum(0), normalise(one.ffn_sum, norm_last))


@pytest.mark.parametrize("step", [1, 2, 3])
def test_chunks_change_nothing(step):
    whole, pieces = (decompx.through_block_(mixed_longhand(), block(), "norm", "tangent", size) for size in (N, step))
    torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=1e-13)


def test_one_query_of_a_block_is_that_query():
    whole = decompx.through_block_(mixed_longhand(), block(), "absdot", "zero_origin", N)
    rows = slice(3, 4)
    found = decompx.after_attention_(
        mixed_longhand()[:, rows].contiguous(), block().queries(rows), "absdot", "zero_origin"
    )
    torch.testing.assert_close(found, whole[:, rows])


def test_without_the_feed_forward_part_only_the_norms_remain():
    one = block()
    found = decompx.after_attention_(PARTS.clone(), one, "none", "none")
    wanted = PARTS
    for norm, full in ((one.norm_mid, one.attention_sum), (one.norm_last, one.ffn_sum)):
        spread = (full.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
        wanted = (wanted - wanted.mean(-1, keepdim=True)) / spread * norm.weight
    torch.testing.assert_close(found, wanted)


def test_memory_is_counted_in_what_is_really_held():
    assert decompx.held_elements(10, 2, 8) == 10 * 10 * (8 + 2) + 10 * 2 * 8
    assert decompx.row_elements(10, 8, 8, 32) == 10 * (8 + 8 + 32)
    assert decompx.row_elements(10, 64, 8, 32) == 10 * 128

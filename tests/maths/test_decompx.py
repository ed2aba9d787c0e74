"""One block step of DecompX against the sums written out, and what must hold for any numbers."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from contextmix.maths import decompx
from contextmix.maths.biases import assign_bias
from contextmix.maths.decompx import Rules
from contextmix.maths.feedforward import FeedForward, GatedFeedForward
from contextmix.maths.norms import Norm, normalise
from contextmix.maths.parts import Parts
from contextmix.maths.projections import Affine
from contextmix.maths.split_block import NormAfter, SplitAttention, SplitBlock, SplitFeedForward

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


def block(ffn: FeedForward | GatedFeedForward | None = None) -> SplitBlock:
    """A post-norm block whose states are those of the parts, so that everything must add up."""
    ffn = ffn or PLAIN
    norms = [Norm("layer", numbers(D, seed=8 + k), numbers(D, seed=10 + k), 1e-2) for k in range(2)]
    bias = numbers(D, seed=12)
    attention_sum = mixed_longhand().sum(0) + bias
    mid = normalise(attention_sum, norms[0])
    attention = SplitAttention(ATTENTION, VALUE, OUTPUT, bias, NormAfter(norms[0], attention_sum))
    after = NormAfter(norms[1], mid + ffn(mid))
    if isinstance(ffn, GatedFeedForward):
        before, factor = ffn.gate(mid), ffn.up(mid)
        return SplitBlock(
            attention, SplitFeedForward(ffn.gate, ffn.activation, before, ffn.second, ffn.up, factor, after=after)
        )
    first, second = Affine(ffn.first, ffn.first_bias), Affine(ffn.second, ffn.second_bias)
    return SplitBlock(
        attention, SplitFeedForward(first, ffn.activation, ffn.before_activation(mid), second, after=after)
    )


PLAIN = FeedForward(numbers(D, INNER, seed=5), numbers(INNER, seed=6), F.gelu, numbers(INNER, D, seed=7), None)
GATED = GatedFeedForward(
    Affine(numbers(D, INNER, seed=15), numbers(INNER, seed=16)),
    Affine(numbers(D, INNER, seed=17), numbers(INNER, seed=18)),
    F.silu,
    Affine(numbers(INNER, D, seed=19), numbers(D, seed=20)),
)


@pytest.mark.parametrize("step", [1, 2, N, 100])
def test_mixing_is_the_sum_over_heads_and_keys(step):
    found = decompx.mix_(PARTS.clone(), SplitAttention(ATTENTION, VALUE, OUTPUT, None), step)
    torch.testing.assert_close(found, mixed_longhand())


@pytest.mark.parametrize("rows", [slice(0, 1), slice(N - 1, N), slice(1, 4)], ids=str)
@pytest.mark.parametrize("gated", [False, True])
def test_some_rows_of_the_mixing_are_these_rows(rows, gated):
    before, gate = PARTS.clone(), numbers(N, HEADS * WIDTH, seed=21) if gated else None
    one = SplitAttention(ATTENTION, VALUE, OUTPUT, None, gate=gate)
    found = decompx.mix_rows_(PARTS, one, rows, N)
    wanted = decompx.mix_(PARTS.clone(), one, N) if gated else mixed_longhand()
    torch.testing.assert_close(found, wanted[:, rows])
    assert torch.equal(PARTS, before)


def test_many_rows_are_mixed_as_all_of_them_are():
    heads = 6  # 4 rows of 6 heads are more than 2 · D + N
    attention, value = numbers(heads, N, N, seed=22).softmax(-1), numbers(D, heads * WIDTH, seed=23)
    one = SplitAttention(attention, value, numbers(heads, WIDTH, D, seed=24), None)
    few = [decompx.mix_rows_(PARTS.clone(), one, slice(i, i + 1), N) for i in range(1, N)]
    torch.testing.assert_close(decompx.mix_rows_(PARTS.clone(), one, slice(1, N), 2), torch.cat(few, 1))


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
@pytest.mark.parametrize("gate", ["half", "frozen"])
@pytest.mark.parametrize("ffn", [PLAIN, GATED], ids=["plain", "gated"])
def test_the_parts_of_a_block_add_up_to_its_output(ffn, gate, rule, kind):
    one = block(ffn)
    norm, total = one.ffn.after.norm, one.ffn.after.total
    norm = Norm(kind, norm.weight, norm.bias, 1e-2)
    one = replace(one, ffn=replace(one.ffn, after=NormAfter(norm, total)))
    found = decompx.through_block_(PARTS.clone(), one, Rules("absdot", rule, gate), N)
    torch.testing.assert_close(found.sum(0), normalise(total, norm))


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("ffn", [PLAIN, GATED], ids=["plain", "gated"])
@pytest.mark.parametrize("parallel", [False, True])
def test_chunks_change_nothing(step, ffn, parallel):
    one = replace(block(ffn), parallel=parallel)
    whole, pieces = (decompx.through_block_(PARTS.clone(), one, Rules("norm", "tangent"), size) for size in (N, step))
    torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("ffn", [PLAIN, GATED], ids=["plain", "gated"])
def test_one_query_of_a_block_is_that_query(ffn):
    whole = decompx.through_block_(PARTS.clone(), block(ffn), Rules(), N)
    rows = slice(3, 4)
    own = mixed_longhand()[:, rows].contiguous()
    found = decompx.after_attention_(own, block(ffn).queries(rows), Rules())
    torch.testing.assert_close(found, whole[:, rows])


@pytest.mark.parametrize("gate", ["half", "frozen"])
def test_the_product_of_a_gate_is_split_number_by_number(gate):
    """Each factor is a sum of parts; half of the product goes to the parts of each, the other factor as it is."""
    rule = Rules("norm", "zero_origin", gate)
    ffn = block(GATED).ffn
    gates, ups = (
        assign_bias(torch.stack([PARTS[k] @ one.weight for k in range(N)]), one.bias, "norm")
        for one in (GATED.gate, GATED.up)
    )
    split = torch.zeros(N, N, INNER, dtype=torch.float64)
    for k in range(N):
        for i in range(N):
            for c in range(INNER):
                g, u = float(ffn.before[i, c]), float(ffn.factor[i, c])
                silu = g / (1 + math.exp(-g))
                to_up, to_gate = silu * float(ups[k, i, c]), silu / g * float(gates[k, i, c]) * u
                split[k, i, c] = to_up if gate == "frozen" else (to_up + to_gate) / 2
    wanted = assign_bias(split @ GATED.second.weight, GATED.second.bias, "norm")
    torch.testing.assert_close(decompx.feed_forward_parts(PARTS, ffn, rule), wanted)


def test_without_the_feed_forward_part_only_the_norms_remain():
    one = block()
    found = decompx.after_attention_(PARTS.clone(), one, Rules("none", "none"))
    wanted = PARTS
    for after in (one.attention.after, one.ffn.after):
        norm, full = after.norm, after.total
        spread = (full.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
        wanted = (wanted - wanted.mean(-1, keepdim=True)) / spread * norm.weight
    torch.testing.assert_close(found, wanted)
    parallel = decompx.parallel_parts(PARTS, replace(one, parallel=True), Rules(ffn="none"), N)
    assert not parallel.any()


def test_memory_is_counted_in_what_is_really_held():
    assert decompx.held_elements(10, 2, 8) == 10 * 10 * (8 + 2) + 10 * 2 * 8
    assert decompx.row_elements(10, 8, 8, 32) == 10 * (8 + 8 + 32)
    assert decompx.row_elements(10, 64, 8, 32) == 10 * 128
    assert decompx.held_elements(10, 2, 8, parallel=True) == 10 * 10 * (16 + 2) + 10 * 2 * 8
    assert decompx.row_elements(10, 8, 8, 32, gated=True) == 10 * (16 + 8 + 64)

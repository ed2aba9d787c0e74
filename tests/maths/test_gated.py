"""Attention behind a gate: the algebra against vectors that are built number by number."""

import math
from dataclasses import replace

import pytest
import torch
from tests.strategies import lower_half, random_mixture
from torch import Tensor
from torch.nn.functional import gelu

from contextmix.maths import decompx, gated
from contextmix.maths.alti import l1_contributions, l2_contributions
from contextmix.maths.differences import euclidean_distance
from contextmix.maths.encoder_vectors import encoder_lengths, through_matrix
from contextmix.maths.evidence import spoken_for
from contextmix.maths.evidence_flow import messages
from contextmix.maths.feedforward import FeedForward
from contextmix.maths.gated import GatedHeads, folded
from contextmix.maths.norms import Norm, normalise
from contextmix.maths.parts import Parts
from contextmix.maths.split_block import SplitAttention
from contextmix.maths.zeroing import Tail, zeroing_changes

N, HEADS, WIDTH, D = 5, 2, 3, 6
NORM = Norm("layer", torch.linspace(0.5, 1.5, D, dtype=torch.float64), None, 1e-2)
SMALL = pytest.mark.parametrize("elements", [1, 40, 1 << 21])


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(seed: int = 0, channels: int = WIDTH, *, causal: bool = True) -> tuple[GatedHeads, Tensor]:
    """Gated heads, of a causal model or not, and a residual."""
    mixture = random_mixture(seed, N, HEADS, WIDTH, D)
    attention = lower_half(mixture.attention) if causal else mixture.attention
    gate = numbers(HEADS, N, channels, seed=seed + 1)
    return GatedHeads(attention, mixture.value, gate, mixture.weight), mixture.residual


def longhand(heads: GatedHeads) -> Tensor:
    """Every part as a vector, (head, query, key, d_model)."""
    found = torch.zeros(HEADS, N, N, D, dtype=torch.float64)
    for h in range(HEADS):
        for i in range(N):
            for j in range(N):
                for c in range(WIDTH):
                    gate = heads.gate[h, i, min(c, heads.gate.shape[-1] - 1)]
                    found[h, i, j] += gate * heads.attention[h, i, j] * heads.value[h, j, c] * heads.weight[h, c]
    return found


def parts_of(heads: GatedHeads) -> Parts:
    weights, gate = folded(heads.attention, heads.gate)
    return Parts(weights, heads.value, heads.weight, longhand(heads).sum((0, 2)), gate=gate)


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
@SMALL
def test_lengths_are_those_of_built_vectors(causal: bool, elements: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gated, "PAIR_ELEMENTS", elements)
    heads, _ = drawn(causal=causal)
    vectors = longhand(heads)
    close(heads.lengths(), vectors.sum(0).norm(dim=-1))
    close(heads.lengths_per_head(), vectors.norm(dim=-1))
    close(heads.vectors(slice(1, 3), slice(2, 5)), vectors.sum(0)[2:5, 1:3].transpose(0, 1))
    assert not causal or not heads.lengths().triu(1).any()


@pytest.mark.parametrize("channels", [1, WIDTH])
def test_parts_with_residual_norm_and_scale(channels: int):
    heads, residual = drawn(3, channels)
    vectors = longhand(heads).sum(0)
    vectors[range(N), range(N)] += residual
    full = numbers(N, D, seed=9)
    parts = parts_of(heads).plus_residual(residual).through(NORM, full).scaled(0.5)
    centre = full - full.mean(-1, keepdim=True)
    spread = (centre.square().mean(-1) + NORM.eps).sqrt()
    pushed = 0.5 * (vectors - vectors.mean(-1, keepdim=True)) * NORM.weight / spread[:, None, None]
    close(parts.lengths(), pushed.norm(dim=-1))
    close(parts.diagonal(), pushed[range(N), range(N)])
    close(parts.total, pushed.sum(1))
    own = pushed[range(N), range(N)]
    mixed = (pushed.sum(1) - own).norm(dim=-1)
    close(parts.mixing_ratio(), mixed / (mixed + own.norm(dim=-1)))


@pytest.mark.parametrize("channels", [1, WIDTH])
def test_lengths_of_single_heads_know_the_gain(channels: int):
    heads, _ = drawn(4, channels)
    full = numbers(N, D, seed=9)
    rms = Norm("rms", None, None, 1e-2)
    parts = parts_of(heads).through(rms, full)
    spread = (full.square().mean(-1) + rms.eps).sqrt()
    close(parts.lengths_per_head(), longhand(heads).norm(dim=-1) / spread[:, None])


def test_a_batch_is_its_sequences():
    one, two = (drawn(seed)[0] for seed in (5, 6))
    weight = one.weight
    stacked = [torch.stack([getattr(each, name) for each in (one, two)]) for name in ("attention", "value", "gate")]
    parts = Parts(*stacked[:2], weight, torch.zeros(2, N, D, dtype=torch.float64), gate=stacked[2])
    own = [replace(each, weight=weight) for each in (one, two)]
    close(parts.lengths(), torch.stack([each.lengths() for each in own]))
    close(parts.lengths_per_head(), torch.stack([each.lengths_per_head() for each in own]))


@pytest.mark.parametrize(("contributions", "power"), [(l1_contributions, 1), (l2_contributions, 2)])
@SMALL
def test_alti(contributions, power: int, elements: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gated, "PAIR_ELEMENTS", elements)
    heads, residual = drawn(7)
    full, whole = numbers(N, D, seed=9), numbers(N, D, seed=10)
    parts = parts_of(heads).plus_residual(residual).through(NORM, full)
    vectors = longhand(heads).sum(0)
    vectors[range(N), range(N)] += residual
    centre = full - full.mean(-1, keepdim=True)
    spread = (centre.square().mean(-1) + NORM.eps).sqrt()
    vectors = (vectors - vectors.mean(-1, keepdim=True)) * NORM.weight / spread[:, None, None]
    wanted = whole.norm(p=power, dim=-1)[:, None] - (whole[:, None] - vectors).norm(p=power, dim=-1)
    torch.testing.assert_close(contributions(parts, whole), wanted.clamp(min=0).tril(), rtol=1e-9, atol=1e-9)


def test_the_feed_forward_part_inside():
    heads, residual = drawn(8)
    first, second, slopes = numbers(D, 7, seed=1), numbers(7, D, seed=2), numbers(N, 7, seed=3)
    out = parts_of(heads).plus_residual(residual)
    vectors = longhand(heads).sum(0)
    vectors[range(N), range(N)] += residual
    wanted = (vectors + (slopes[:, None] * (vectors @ first)) @ second).norm(dim=-1)
    close(encoder_lengths(out, through_matrix(out, first), slopes, second), wanted)


@pytest.mark.parametrize("chosen", [[0], [0, 1]])
def test_zeroed_values_move_the_rest_of_a_block(chosen: list[int]):
    heads, residual = drawn(9)
    ffn = FeedForward(numbers(D, 7, seed=1), numbers(7, seed=2), gelu, numbers(7, D, seed=3), None)

    def run(attention_out: Tensor) -> Tensor:
        stream = residual + attention_out
        return stream + ffn(normalise(stream, NORM))

    vectors = longhand(heads)
    clean = vectors.sum((0, 2))
    stream = residual + clean
    ffn_out = ffn(normalise(stream, NORM))
    tail = Tail(clean, None, 1.0, stream, None, stream, NORM, ffn, ffn_out, None, 1.0, stream + ffn_out, None)
    found, some = torch.zeros(N, N, dtype=torch.float64), heads.of_heads(chosen)
    for zeroed, queries, changes in zeroing_changes(some.attention, some, tail):
        found[queries, zeroed] = euclidean_distance(run(clean)[queries], changes).T
    wanted = [(run(clean - vectors[chosen][:, :, j].sum(0)) - run(clean)).norm(dim=-1) for j in range(N)]
    close(found, torch.stack(wanted, dim=-1))


@pytest.mark.parametrize("channels", [1, WIDTH])
def test_evidence_along_a_direction(channels: int):
    heads, _ = drawn(11, channels)
    direction, vectors = numbers(2, N, D, seed=4), longhand(heads)
    wanted = torch.einsum("hijd,sid->sij", vectors, direction)
    own = (heads.attention, heads.value, heads.weight, direction, heads.gate)
    close(spoken_for(*own), wanted)
    sent, at_values = messages(*own)
    close(sent, wanted)
    pulled = torch.zeros(2, N, HEADS, WIDTH, dtype=torch.float64)
    gate = heads.gate.expand(-1, -1, WIDTH)
    for h in range(HEADS):
        for i in range(N):
            for j in range(N):
                pulled[:, j, h] += heads.attention[h, i, j] * gate[h, i] * (direction[:, i] @ heads.weight[h].T)
    close(at_values, pulled.flatten(2))


@pytest.mark.parametrize("step", [1, 2, N])
def test_decompx_mixes_behind_the_gate(step: int):
    heads, residual = drawn(12)
    value_weight, parts = numbers(D, HEADS * WIDTH, seed=5), numbers(N, N, D, seed=6)
    gate = heads.gate.transpose(0, 1).flatten(1)
    block = SplitAttention(heads.attention, value_weight, heads.weight, None, gate=gate)
    wanted = parts.clone()
    for h in range(HEADS):
        read = value_weight[:, h * WIDTH : (h + 1) * WIDTH]
        for i in range(N):
            for j in range(N):
                sent = heads.gate[h, i] * (parts[:, j] @ read)
                wanted[:, i] += heads.attention[h, i, j] * (sent @ heads.weight[h])
    close(decompx.mix_rows_(parts.clone(), block, slice(3, 4), step), wanted[:, 3:4])
    close(decompx.mix_(parts.clone(), block, step), wanted)
    rows = block.queries(slice(1, 3))
    assert rows.gate is not None
    assert torch.equal(rows.gate, gate[1:3])
    first = decompx.first_parts(parts_of(heads).plus_residual(residual))
    vectors = longhand(heads).sum(0)
    vectors[range(N), range(N)] += residual
    close(first, vectors.transpose(0, 1))


def test_lengths_of_zero_are_zero():
    heads, _ = drawn(13)
    assert not replace(heads, attention=torch.zeros_like(heads.attention)).lengths().any()
    assert math.isclose(float(replace(heads, gate=torch.zeros_like(heads.gate)).lengths_per_head().max()), 0.0)

"""Channels as heads one number wide: the same lengths and evidence as with every vector written out."""

import pytest
import torch

from contextmix.maths import channels
from contextmix.maths.alti import l1_contributions, l2_contributions
from contextmix.maths.channels import channel_lengths
from contextmix.maths.evidence import spoken_for
from contextmix.maths.parts import Parts

C, N, D = 5, 6, 4


@pytest.fixture
def drawn():
    generator = torch.Generator().manual_seed(0)
    maps, value, weight, own = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((2, C, N, N), (2, C, N, 1), (C, 1, D), (2, N, D))
    )
    return maps.tril(), value, weight, own


def vectors(maps, value, weight):
    """u[b, i, j] one by one."""
    found = torch.zeros(2, N, N, D, dtype=torch.float64)
    for batch in range(2):
        for row in range(N):
            for key in range(N):
                for channel in range(C):
                    sent = maps[batch, channel, row, key] * value[batch, channel, key, 0]
                    found[batch, row, key] += sent * weight[channel, 0]
    return found


@pytest.mark.parametrize("elements", [1, 40, 1 << 22])
def test_lengths_in_tiles_are_those_of_the_vectors(drawn, elements, monkeypatch):
    maps, value, weight, _ = drawn
    monkeypatch.setattr(channels, "VECTOR_ELEMENTS", elements)
    found = channel_lengths(maps * value.mT, weight[:, 0])
    torch.testing.assert_close(found, vectors(maps, value, weight).norm(dim=-1), rtol=0, atol=1e-12)


def test_parts_of_channels_are_their_vectors(drawn):
    maps, value, weight, own = drawn
    sent = vectors(maps, value, weight)
    whole = sent.sum(2)
    alone = Parts.of_channels(maps, value, weight, whole)
    by_head = (maps * value.mT).abs() * weight[:, 0].norm(dim=-1)[:, None, None]
    torch.testing.assert_close(alone.lengths_per_head(), by_head, rtol=0, atol=1e-12)
    parts = alone.plus_residual(own)
    sent[:, range(N), range(N)] += own
    torch.testing.assert_close(parts.lengths(), sent.norm(dim=-1), rtol=0, atol=1e-12)
    torch.testing.assert_close(parts.diagonal(), sent[:, range(N), range(N)], rtol=0, atol=1e-12)
    total = sent.sum(2)
    for lengths, order in ((l1_contributions, 1), (l2_contributions, 2)):
        left = torch.linalg.vector_norm(total[:, :, None] - sent, ord=order, dim=-1)
        wanted = (torch.linalg.vector_norm(total, ord=order, dim=-1)[..., None] - left).clamp(min=0)
        torch.testing.assert_close(lengths(parts, total), wanted.tril(), rtol=0, atol=1e-12)


def test_what_channels_say_along_a_direction_is_what_their_vectors_say(drawn):
    maps, value, weight, own = drawn
    wanted = torch.einsum("ijd,id->ij", vectors(maps, value, weight)[0], own[0])
    torch.testing.assert_close(spoken_for(maps[0], value[0], weight, own[0]), wanted, rtol=0, atol=1e-12)

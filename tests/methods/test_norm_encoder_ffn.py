"""GlobEnc's local map with the feed-forward part inside (a baseline of Modarressi et al. 2023)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.methods.longhand import affine, g, gelu, length
from tests.strategies import LAYOUTS, toy_layer

import contextmix as cm
from contextmix.errors import UnsupportedModel
from contextmix.maths import encoder_vectors
from contextmix.maths.norms import denominator, linear, normalise
from contextmix.plugins.plan import METHODS


def measure(layer):
    return METHODS["norm_encoder_ffn"].measure(layer)


def longhand(bert, layers):
    """Vector by vector: z̃_{i←j}, W₁, the slope gelu(ζ)/ζ of the true ζ, W₂, the sum, and the second norm."""
    found = []
    for layer, block in zip(layers, bert.encoder.layer, strict=True):
        first, second = (one.dense.weight.detach().numpy() for one in (block.intermediate, block.output))
        rows = []
        for i in layer.tokens:
            slope = np.array([gelu(number) / number for number in affine(layer.z_tilde[i], block.intermediate.dense)])
            row = []
            for j in layer.tokens:
                part = sum(layer.alpha[h, i, j] * layer.f[h, j] for h in layer.heads)
                part = g(part + layer.x[i] if i == j else part, layer.z_plus[i], layer.gamma1, layer.eps)
                part = part + second @ (slope * (first @ part))
                row.append(length(g(part, layer.z_tilde_plus[i], layer.gamma2, layer.eps)))
            rows.append(row)
        found.append(rows)
    return found


def test_the_map_holds_lengths_after_the_whole_block(bert, trace, layers):
    np.testing.assert_allclose(cm.measure(trace, "norm_encoder_ffn").values, longhand(bert, layers), rtol=1e-10)


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "parallel"])
def test_in_every_layout_each_part_passes_all_norms_with_their_true_denominators(layout):
    layer = toy_layer(layout)
    block, states = layer.block, layer.states

    def push(vectors, norm, full):
        return vectors if norm is None else linear(vectors, norm) / denominator(full, norm).unsqueeze(-2)

    sources = torch.einsum("hjc,hcd->jhd", layer.value, block.output_weight)
    vectors = torch.einsum("hij,jhd->ijd", layer.attention, sources)
    vectors = push(vectors, block.attention.norm_out, layer.attention_out) * block.attention.scale
    vectors = vectors + torch.diag_embed(layer.residual_in.T).permute(1, 2, 0)
    vectors = push(vectors, block.attention.norm_after, states.attention_sum)
    norm_in, ffn = block.ffn.norm_in, block.feed_forward
    read = states.residual_mid if norm_in is None else normalise(states.residual_mid, norm_in)
    before = read @ ffn.first + ffn.first_bias
    inner = push(vectors, norm_in, states.residual_mid) @ ffn.first
    moved = inner * (ffn.activation(before) / before).unsqueeze(-2) @ ffn.second
    vectors = vectors + push(moved, block.ffn.norm_out, layer.ffn_out) * block.ffn.scale
    wanted = push(vectors, block.ffn.norm_after, states.ffn_sum).norm(dim=-1)
    torch.testing.assert_close(measure(layer), wanted, rtol=1e-10, atol=1e-12)


def test_chunks_of_queries_change_nothing(monkeypatch):
    whole = measure(toy_layer())
    monkeypatch.setattr(encoder_vectors, "CHUNK_ELEMENTS", 1)
    torch.testing.assert_close(measure(toy_layer()), whole, rtol=1e-12, atol=0)


def test_a_feed_forward_part_that_adds_nothing_leaves_norm_encoder():
    layer = toy_layer()
    ffn = replace(layer.block.feed_forward, second=torch.zeros_like(layer.block.feed_forward.second))
    layer = replace(layer, block=replace(layer.block, feed_forward=ffn))
    torch.testing.assert_close(measure(layer), METHODS["norm_encoder"].measure(layer), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("change", ["function", "parallel", "sigmoid"])
def test_what_cannot_be_split_is_refused(change):
    layer = toy_layer("parallel" if change == "parallel" else "post-norm")
    own = layer.block.feed_forward
    ffn = {"function": torch.relu, "parallel": own, "sigmoid": replace(own, activation=torch.sigmoid)}[change]
    with pytest.raises(UnsupportedModel, match="Layer 0: norm_encoder_ffn needs"):
        measure(replace(layer, block=replace(layer.block, feed_forward=ffn)))

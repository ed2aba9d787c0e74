"""What hypothesis draws: maps, norms, attention with its values and weights; and toy layers of every layout.

All tensors are float64 and small, with numbers between -2 and 2, so that roundoff can be bounded by the size of what
was added. Hypothesis draws shapes, seeds and textures: numbers on a coarse grid cancel
exactly, which random ones never do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import gelu

from contextmix.maths.feedforward import FeedForward
from contextmix.maths.norms import Norm, normalise
from contextmix.maths.projections import Affine, Projections
from contextmix.traces.block import Block, BlockStates, SublayerNorms
from contextmix.traces.trace import LayerTrace, Scores

TEXTURES = ("coarse", "smooth", "sparse", "zeros")
_SEEDS = st.tuples(st.sampled_from(TEXTURES), st.integers(0, 2**16))
LAYOUTS = ("post-norm", "pre-norm", "sandwich", "norm on output", "no norm", "parallel")


def tensors(*shape: int, low: float = -2.0, high: float = 2.0) -> st.SearchStrategy[Tensor]:
    """Tensors of one shape, every number between low and high."""
    return _SEEDS.map(lambda drawn: _filled(*drawn, shape, low, high))


def _filled(texture: str, seed: int, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low) + low
    if texture == "zeros":
        return torch.zeros_like(numbers)
    if texture == "coarse":
        step = (high - low) / 4
        return (numbers / step).round() * step
    return numbers * (torch.rand(shape, generator=generator) < 0.4) if texture == "sparse" else numbers


def _rows_divided(weights: Tensor) -> Tensor:
    filled = torch.where(weights.sum(-1, keepdim=True) > 0, weights, torch.eye(weights.shape[-1], dtype=weights.dtype))
    return filled / filled.sum(-1, keepdim=True)


def stochastic_maps(*shape: int) -> st.SearchStrategy[Tensor]:
    """(..., query, key), rows sum to one; some weights are exactly zero."""
    return tensors(*shape, low=0.0, high=1.0).map(_rows_divided)


def causal_maps(*shape: int) -> st.SearchStrategy[Tensor]:
    """The same with exact zeros above the diagonal."""
    return tensors(*shape, low=0.0, high=1.0).map(lower_half).map(_rows_divided)


def lower_half(maps: Tensor) -> Tensor:
    """What a causal model may see (`torch.tril` starts threads, which costs more than the rest of a test)."""
    return maps * (torch.arange(maps.shape[-2])[:, None] >= torch.arange(maps.shape[-1]))


@st.composite
def norms(draw: st.DrawFn, d_model: int) -> Norm:
    """Layer norms and RMS norms, with and without weight and bias."""
    return Norm(
        kind=draw(st.sampled_from(("layer", "rms"))),
        weight=draw(st.none() | tensors(d_model)),
        bias=draw(st.none() | tensors(d_model)),
        eps=draw(st.sampled_from((1e-5, 1e-2, 1.0))),
    )


@dataclass(frozen=True)
class Mixture:
    """What one attention sub-layer mixes, and the residual stream that it adds to."""

    attention: Tensor  # (..., head, query, key)
    value: Tensor  # (..., head, key, d_head)
    weight: Tensor  # (head, d_head, d_model)
    residual: Tensor  # (..., query, d_model)

    def vectors(self) -> Tensor:
        """Every head's contribution to every pair as a vector, the tensor that the package never builds:
        (..., head, query, key, d_model)."""
        sources = self.value @ self.weight
        return self.attention.unsqueeze(-1) * sources.unsqueeze(-3)

    @property
    def total(self) -> Tensor:
        """What attention adds to each row, without the output bias."""
        return (self.attention @ self.value @ self.weight).sum(-3)


@st.composite
def mixtures(draw: st.DrawFn, batch: tuple[int, ...] = (), maps=stochastic_maps, d_model: int = 3) -> Mixture:
    """One to four heads over one to four tokens."""
    n_heads, n, d_head = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 2))
    return Mixture(
        attention=draw(maps(*batch, n_heads, n, n)),
        value=draw(tensors(*batch, n_heads, n, d_head)),
        weight=draw(tensors(n_heads, d_head, d_model)),
        residual=draw(tensors(*batch, n, d_model)),
    )


def random_mixture(
    seed: int, n: int = 5, n_heads: int = 2, d_head: int = 3, d_model: int = 6, batch: tuple[int, ...] = ()
) -> Mixture:
    """One without zeros or repeats: what cancels does so by design of the test, not by chance."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    attention = normal(*batch, n_heads, n, n).softmax(-1)
    return Mixture(
        attention, normal(*batch, n_heads, n, d_head), normal(n_heads, d_head, d_model), normal(*batch, n, d_model)
    )


def toy_layer(
    layout: str = "post-norm",
    *,
    seed: int = 0,
    n: int = 5,
    n_heads: int = 3,
    causal: bool = False,
    window: int | None = None,
    batch: tuple[int, ...] = (),
    dtype: torch.dtype = torch.float64,
) -> LayerTrace:
    """A layer that no model computed but that is one: a function of its input, with biases everywhere."""
    block = _toy_block(layout, seed, n_heads, dtype)
    generator = torch.Generator().manual_seed(seed + 1)
    states = torch.randn(*batch, n, 6, generator=generator, dtype=torch.float64).to(dtype)
    mask = torch.full((n, n), -torch.inf, dtype=dtype).triu(1) if causal else torch.zeros(n, n, dtype=dtype)
    if window is not None:
        mask += torch.full((n, n), -torch.inf, dtype=dtype).tril(-window)
    return _ran(block, mask, states)


def toy_layers(layout: str, depth: int, *, causal: bool = False, n: int = 5) -> list[LayerTrace]:
    """Toy layers that read one another."""
    found = [toy_layer(layout, causal=causal, n=n)]
    mask = torch.full((n, n), -torch.inf, dtype=torch.float64).triu(1) if causal else torch.zeros(n, n)
    for index in range(1, depth):
        block = _toy_block(layout, 10 * index, 3, torch.float64)
        found.append(replace(_ran(block, mask, found[-1].residual_out), index=index))
    return found


def _toy_block(layout: str, seed: int, n_heads: int, dtype: torch.dtype) -> Block:
    generator = torch.Generator().manual_seed(seed)
    d_head, d_model, d_ffn = 2, 6, 7

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    def sublayer() -> SublayerNorms:
        kind = "rms" if layout == "sandwich" else "layer"
        before, after, last = (Norm(kind, 1 + normal(d_model) / 2, normal(d_model), 1e-2) for _ in range(3))
        return {
            "post-norm": SublayerNorms(norm_after=last),
            "pre-norm": SublayerNorms(norm_in=before),
            "sandwich": SublayerNorms(norm_in=before, norm_out=after, scale=normal(d_model)),
            "norm on output": SublayerNorms(norm_out=after, scale=0.5),
            "no norm": SublayerNorms(),
            "parallel": SublayerNorms(norm_in=before),
        }[layout]

    def affine() -> Affine:
        return Affine(normal(d_model, n_heads * d_head) / 2, normal(n_heads * d_head) / 2)

    return Block(
        output_weight=normal(n_heads, d_head, d_model),
        output_bias=normal(d_model),
        attention=sublayer(),
        ffn=sublayer(),
        parallel=layout == "parallel",
        feed_forward=FeedForward(normal(d_model, d_ffn), normal(d_ffn), gelu, normal(d_ffn, d_model), normal(d_model)),
        projections=Projections(affine(), affine(), affine()),
    )


def _ran(block: Block, mask: Tensor, states: Tensor) -> LayerTrace:
    """The block run on its input states (..., n, 6)."""

    def replay(new: Tensor) -> Tensor:
        return _ran(block, mask, new).residual_out

    def normed(norm: Norm | None, total: Tensor) -> Tensor:
        return total if norm is None else normalise(total, norm)

    n_heads = len(block.output_weight)
    places = (block.projections.query, block.projections.key, block.projections.value)
    query, key, value = (place.by_head(normed(block.attention.norm_in, states), n_heads) for place in places)
    attention = (query @ key.transpose(-1, -2) * 0.7 + mask).softmax(-1)
    out = (attention @ value @ block.output_weight).sum(-3) + block.output_bias
    mid = states if block.parallel else BlockStates(block, states, out, out).residual_mid
    ffn_out = block.feed_forward(normed(block.ffn.norm_in, mid))
    return LayerTrace(
        index=0,
        attention=attention,
        value=value,
        residual_in=states,
        attention_out=out,
        ffn_out=ffn_out,
        residual_out=BlockStates(block, states, out, ffn_out).residual_out,
        block=block,
        scores=Scores(query, key, 0.7),
        replay=replay,
        embeddings=states,
        replay_from_embeddings=replay,
    )

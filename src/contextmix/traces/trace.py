"""What one forward pass left behind, layer by layer.

A `LayerTrace` holds what entered, mixed and left one block. All tensors may carry a leading batch axis: sequences of a
batch have equal length, so no formula knows about padding. A mixing map is a pure function of one `LayerTrace`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from contextmix.errors import UnknownPosition, WrongShape, refuse_entries, refuse_kinds
from contextmix.maths.gated import folded
from contextmix.maths.grams import Grams
from contextmix.maths.kept import kept
from contextmix.maths.parts import Parts
from contextmix.maths.shapes import Bound, by_shapes, cut
from contextmix.maths.whole import index_of
from contextmix.results.provenance import Provenance
from contextmix.tokens.pieces import Tokens
from contextmix.traces.block import Block, BlockStates
from contextmix.traces.checks import Checks, Origin


@dataclass(frozen=True)
class Scores:
    """What attention weights are made of: softmax over keys of scaling · query · key, plus masks and biases.

    Attributes:
        query: (..., head, query, d_head): as attention reads it (rotated, where positions enter so).
        key: (..., head, key, d_head): the same; grouped keys are not repeated.
        scaling: Factor of the products.
    """

    __repr__ = by_shapes

    query: Tensor
    key: Tensor
    scaling: float


Replay = Callable[[Tensor], Tensor]
ReplayZeroed = Callable[[int | None, tuple[int, ...] | None], Tensor]


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One block of one forward pass.

    Attributes:
        index: The block's number, from 0.
        attention: (..., head, query, key): weights after softmax; rows sum to at most one.
        value: (..., head, key, d_head): with the value bias; grouped keys repeated.
        residual_in: (..., query, d_model): the block's input.
        attention_out: (..., query, d_model): output projection of attention, with its bias.
        ffn_out: (..., query, d_model): raw output of the feed-forward part.
        residual_out: (..., query, d_model): the block's output, as the model computed it.
        block: The block's parameters.
        scores: What the attention weights were made of.
        replay: Other input states (..., query, d_model) → the block's output; gradients flow. None on toy traces.
        replay_zeroed: A token and heads (None: all) whose value is set to zero → the block's output; without a token,
            the clean one. None on toy traces.
        embeddings: (..., query, d_model): what entered the first block; behind it, side by side, what was added before
            later blocks up to this one, if anything was.
        replay_from_embeddings: Other embeddings → this block's output, through all blocks before it; gradients flow.
        tolerance: Largest relative error by which what is computed again may differ, in the precision of the model.
        cross: Whether the keys are tokens of another sequence (cross-attention). Then no key is a row's own token, and
            maps with the residual have it in a column of its own, the last.
        following: In a decoder block of an encoder–decoder: the step that reads what this one leaves.
        attention_added: (..., query, d_model): what further modules add to the stream where attention is, or None. They
            read one token at a time, so it belongs to the row's own token, like the residual.
        ffn_added: The same where the feed-forward part is.
        added: (..., query, d_model): features of an image that were added to what the block before wrote, at the places
            of that image, and are part of ``residual_in``; None where nothing was.
        gate: (..., head, query, d_head), or with 1 in the place of d_head: what the heads' output is multiplied by
            before the output projection reads it (a gate, one over the denominator of a norm); None for ones.
        gate_answers: Whether it would be another one if the values were (a norm): maps hold it at what it was.
        values_of: Number of the earlier block whose values these are, made of what entered that one; None where the
            block makes its own.
        channelwise: Whether it is no attention but another mixer, linear in its values given its routing. Its heads are
            its channels; entries may be negative and rows need not sum to one; nonlinearities behind the values are
            held at what they were, so zeroing a value takes a replay.
        first: Which key is the first row's own token: 0, unless the rows are a block of the sequence.
        grams: What such blocks of one sequence share; None where all rows are here.
    """

    index: int
    attention: Tensor
    value: Tensor
    residual_in: Tensor
    attention_out: Tensor
    ffn_out: Tensor
    residual_out: Tensor
    block: Block
    scores: Scores | None = None
    replay: Replay | None = None
    replay_zeroed: ReplayZeroed | None = None
    embeddings: Tensor | None = None
    replay_from_embeddings: Replay | None = None
    tolerance: float = 1e-4
    cross: bool = False
    following: LayerTrace | None = None
    attention_added: Tensor | None = None
    ffn_added: Tensor | None = None
    added: Tensor | None = None
    gate: Tensor | None = None
    gate_answers: bool = False
    values_of: int | None = None
    channelwise: bool = False
    first: int = 0
    grams: Grams | None = None

    def __post_init__(self) -> None:
        refuse_kinds(self, index=int, block=Block, gate=(Tensor, type(None)), **dict.fromkeys(_BATCHED, Tensor))
        if self.attention.ndim < 3 or self.residual_in.ndim < 2:
            raise WrongShape(
                "Attention weights have the axes (head, query, key) and states (query, d_model), with a batch in front "
                f"or without; these have the shapes {tuple(self.attention.shape)} and {tuple(self.residual_in.shape)}."
            )

    def __repr__(self) -> str:
        *batch, _, n_queries, n_keys = self.attention.shape
        many = f"batch of {batch[0]}, " if batch else ""
        kind = "cross-attention of " if self.cross else ""
        return f"<LayerTrace {self.index}: {many}{kind}{n_queries} queries × {n_keys} keys, {self.size}>"

    @property
    def size(self) -> str:
        """Heads and width, in words."""
        return f"{self.attention.shape[-3]} heads, d_model {self.residual_in.shape[-1]}"

    @kept
    def states(self) -> BlockStates:
        """The steps of the block equation (shared by the checks and the methods, computed once)."""
        added = self.attention_added, self.ffn_added
        return BlockStates(self.block, self.residual_in, self.attention_out, self.ffn_out, *added)

    @property
    def plain(self) -> bool:
        """Whether the stream is its input, attention and the feed-forward part added up: no factor, nothing else."""
        added = self.attention_added is not None or self.ffn_added is not None
        return self.block.attention.plain and self.block.ffn.plain and not added

    @kept
    def mixing(self) -> tuple[Tensor, Tensor | None]:
        """Weights (..., head, query, key) with all of the gate that can be part of them, and what is left of it."""
        return folded(self.attention, self.gate)

    @kept
    def attention_parts(self) -> Parts:
        """The attention output split by source token, without the output bias."""
        bias = self.block.output_bias
        total = self.attention_out if bias is None else self.attention_out - bias
        if self.channelwise:
            return Parts.of_channels(self.attention, self.value, self.block.output_weight, total, self.first)
        weights, gate = self.mixing
        own: Any = {"apart": self.cross, "gate": gate, "pushed": self.block.pushed}
        own |= {"first": self.first, "grams": self.grams}
        return Parts(weights, self.value, self.block.output_weight, total, **own)

    @kept
    def residual_parts(self) -> Parts:
        """The same as it enters the residual stream (norm on the output, scale), plus the residual."""
        norms = self.block.attention
        added = self.attention_parts.through(norms.norm_out, self.attention_out).scaled(norms.scale)
        return added.plus_residual(self.states.own)

    @kept
    def mid_parts(self) -> Parts:
        """The same after the norm that follows attention, if there is one."""
        return self.residual_parts.through(self.block.attention.norm_after, self.states.attention_sum)

    @kept
    def out_parts(self) -> Parts:
        """The same after the norm that follows the feed-forward part, whose own output enters only the denominator."""
        norms = self.block.ffn
        kept = self.mid_parts.through(norms.norm_in if norms.normed else None, self.states.residual_mid)
        return kept.scaled(norms.keep).through(norms.norm_after, self.states.ffn_sum)

    def __getitem__(self, example: int) -> LayerTrace:
        """One sequence of a batch.

        Raises:
            WrongShape: If there is no batch axis.
            UnknownPosition: If the batch has no such sequence.
        """
        if self.attention.ndim != 4:
            raise WrongShape("One sequence of a batch was asked for, and this block was recorded of one alone.")
        count = len(self.attention)
        example = index_of("LayerTrace: example", example)
        if not -count <= example < count:
            raise UnknownPosition("sequence", example, range(count))
        added = [name for name in ("attention_added", "ffn_added") if getattr(self, name) is not None]
        own: dict[str, Any] = {name: getattr(self, name)[example] for name in (*_BATCHED, *added)}
        own |= {"block": self.block.of(example), "channelwise": self.channelwise}
        if self.scores is not None:
            own["scores"] = Scores(self.scores.query[example], self.scores.key[example], self.scores.scaling)
        if self.replay is not None:
            own["replay"] = Bound(_replay_one, self.replay, self.residual_in, example)
        if self.replay_zeroed is not None:
            own["replay_zeroed"] = Bound(_zero_one, self.replay_zeroed, example)
        if self.embeddings is not None and self.replay_from_embeddings is not None:
            own["embeddings"] = self.embeddings[example]
            own["replay_from_embeddings"] = Bound(_replay_one, self.replay_from_embeddings, self.embeddings, example)
        if self.following is not None:
            own["following"] = self.following[example]
        if self.added is not None:
            own["added"] = self.added[example]
        if self.gate is not None:
            own |= {"gate": self.gate[example], "gate_answers": self.gate_answers}
        own |= {"cross": self.cross, "values_of": self.values_of, "first": self.first, "grams": self.grams}
        return LayerTrace(index=self.index, tolerance=self.tolerance, **own)


_BATCHED = ("attention", "value", "residual_in", "attention_out", "ffn_out", "residual_out")


def _replay_one(replay: Replay, states: Tensor, example: int, own: Tensor) -> Tensor:
    """Run a batch again with other states for one of its sequences."""
    with torch.set_grad_enabled(own.requires_grad):
        return replay(torch.cat([states[:example], own.unsqueeze(0), states[example + 1 :]]))[example]


def _zero_one(replay: ReplayZeroed, example: int, token: int | None, heads: tuple[int, ...] | None) -> Tensor:
    return replay(token, heads)[example]


@dataclass(frozen=True, eq=False)
class Trace:
    """One sequence through the whole model, no batch axis.

    Attributes:
        tokens: The labels of the keys, and of the queries unless these have their own.
        layers: One `LayerTrace` per block, in order.
        checks: How well it proved itself.
        origin: Model and versions.
        prediction: What the model's head said, if it has one: ``{"label": …, "probability": …}``.
        query_tokens: The labels of the queries, where the keys are another sequence (cross-attention).
    """

    tokens: Tokens
    layers: tuple[LayerTrace, ...]
    checks: Checks
    origin: Origin
    prediction: Mapping[str, Any] = field(default_factory=dict)
    query_tokens: Tokens | None = None

    def __post_init__(self) -> None:
        refuse_kinds(self, tokens=Tokens, layers=tuple, checks=Checks, origin=Origin, prediction=Mapping)
        refuse_kinds(self, query_tokens=(Tokens, type(None)))
        refuse_entries("Trace: layers", self.layers, LayerTrace)

    def __repr__(self) -> str:
        queries = "" if self.query_tokens is None else f"{len(self.query_tokens)} queries × "
        depth = f"{len(self.layers)} layers" + (f", {self.layers[0].size}" if self.layers else "")
        tokens = f"{queries}{len(self.tokens)} tokens"
        return f"<Trace of {cut(repr(self.origin.model))}: {tokens}, {depth}; {self.checks.told}>"

    def provenance(self, **made: Any) -> Provenance:
        """How a result on this trace was made: ``made`` says the method and its options."""
        found = self.origin.provenance(self.checks, **made)
        return found.noting(prediction=dict(self.prediction)) if self.prediction else found

"""Where a model keeps the parts of a block, and the one equation that puts them together.

    h = norm_after ( x + scale  · norm_out ( attention( norm_in (x) ) ) )
    y = norm_after'( h + scale' · norm_out'( ffn      ( norm_in'(h) ) ) )
    parallel:   y = x + scale · norm_out(attention(…)) + scale' · norm_out'(ffn(…))
    in full:    h = norm_after ( keep · x + scale · norm_out(attention(…)) + shift + additions ), and y from h alike

Every norm is optional, and so are a factor on the residual, a constant, further additions, and what the heads' output
passes on its way to the output projection (`Outlet`). The residual may be norm_in(x) in the place of x. An `Anatomy` is
data: module paths and the form of each norm. It is found by looking at one run (`tracing.discover`) and proved on every
run (`tracing.verify`), so there is no list of supported architectures. For an odd model, write one by hand and pass it
to `contextmix.load(..., anatomy=...)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from contextmix.errors import refuse_entries, refuse_kinds
from contextmix.maths.shapes import by_shapes
from contextmix.traces.mixing import Beside, Mixing
from contextmix.traces.places import (
    Addition,
    GatedPlaces,
    LinearPlace,
    Matrices,
    NormPlace,
    Outlet,
    ProjectionPlaces,
    StreamPlaces,
)


@dataclass(frozen=True)
class Sublayer:
    """One sub-layer of a block, attention or feed-forward, as paths relative to the block.

    Attributes:
        output: The module whose output is the sub-layer's contribution, before `norm_out` and `scale`.
        modules: Modules that, called one after another, compute the contribution from the sub-layer's input; empty for
            attention, and for a feed-forward part that is no such chain.
        norm_in: Norm in front of the sub-layer (pre-norm).
        norm_out: Norm on the contribution, before the addition.
        norm_after: Norm after the addition (post-norm).
        scale: Factor of the contribution: a number, or one per d_model.
        matrices: The two matrices of a plain feed-forward part; None for attention and for gated parts.
        gated: The three matrices of a gated feed-forward part.
        keep: Factor of the residual that the contribution is added to: a number, or one per d_model.
        normed: Whether that residual is what `norm_in` writes, and not what it reads.
        shift: One number per d_model that is added too.
        additions: What else is added.
    """

    __repr__ = by_shapes

    output: str
    modules: tuple[str, ...] = ()
    norm_in: NormPlace | None = None
    norm_out: NormPlace | None = None
    norm_after: NormPlace | None = None
    scale: float | Tensor = 1.0
    matrices: Matrices | None = None
    gated: GatedPlaces | None = None
    keep: float | Tensor = 1.0
    normed: bool = False
    shift: Tensor | None = None
    additions: tuple[Addition, ...] = ()


@dataclass(frozen=True)
class BlockAnatomy:
    """One block: its path from the model's root and its two sub-layers."""

    path: str
    attention: Sublayer
    ffn: Sublayer
    parallel: bool = False
    transposed: bool = False
    """Whether the output projection stores its weight as (in, out), like GPT-2's Conv1D."""
    projections: ProjectionPlaces | None = None
    """Where queries, keys and values come from; None if one module makes several, or they are rotated afterwards."""
    value: LinearPlace | None = None
    """Where the values alone come from (one head per group of queries); None if they are no linear map of its input."""
    projection: LinearPlace | None = None
    """The output projection, where it is a parameter by itself; the output of attention then only passes its states."""
    turned: bool = False
    """Whether its modules read and write (token, batch, d_model)."""
    picture: bool = False
    """Whether it reads and writes (batch, row, column, d_model): rows and columns of a picture are axes."""
    mixer: Mixing | None = None
    """What is heard as its attention; None where that passes through the registry."""
    outlet: Outlet | None = None
    """What stands between its heads and the output projection; None for nothing."""
    stream: StreamPlaces | None = None
    """Where its stream enters and leaves; None where that is what the block itself reads and writes."""
    values_of: int | None = None
    """Number of the earlier block whose values its attention mixes; None where it makes its own."""
    beside: Beside | None = None
    """Another mixer, whose output is added to that of its attention; None for none."""

    def __post_init__(self) -> None:
        refuse_kinds(self, path=str, attention=Sublayer, ffn=Sublayer, parallel=bool, transposed=bool)

    def __repr__(self) -> str:
        parts = f"attention {self.attention.output}, feed-forward {self.ffn.output or 'none'}"
        behind = f", {self.outlet.told}" if self.outlet else ""
        return f"<BlockAnatomy {self.path}: {self.layout}; {parts}{behind}>"

    @property
    def layout(self) -> str:
        """The usual name of the arrangement, for people."""
        beside = ", a mixer beside attention" if self.beside else ""
        return self.arrangement + beside + (", no feed-forward part" if not (self.ffn.output or self.parallel) else "")

    @property
    def arrangement(self) -> str:
        """The same of a step of a block, whose feed-forward part may be in another one."""
        if self.parallel:
            return "parallel"
        norms = {name for name in ("norm_in", "norm_out", "norm_after") if getattr(self.attention, name)}
        names = {frozenset({"norm_in"}): "pre-norm", frozenset({"norm_after"}): "post-norm", frozenset(): "no norm"}
        names |= {frozenset({"norm_in", "norm_out"}): "sandwich", frozenset({"norm_out"}): "norm on output"}
        found = names.get(frozenset(norms), " + ".join(sorted(norms)))
        found += ", normed residual" if self.attention.normed else ""
        return found + (", further additions" if self.attention.additions or self.ffn.additions else "")


@dataclass(frozen=True)
class Anatomy:
    """All blocks in the order in which they run; a shared block (ALBERT) appears once per run.

    Attributes:
        blocks: What mixes tokens.
        local: Paths of the layers between and around them that read one token at a time.
    """

    blocks: tuple[BlockAnatomy, ...]
    local: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        refuse_kinds(self, blocks=tuple, local=tuple)
        refuse_entries("Anatomy: blocks", self.blocks, BlockAnatomy)

    def __repr__(self) -> str:
        return f"<Anatomy: {_row_of(self.blocks)}; {', '.join(self.layouts)}>"

    def __len__(self) -> int:
        """The number of blocks."""
        return len(self.blocks)

    @property
    def first(self) -> tuple[BlockAnatomy, ...]:
        """The first block."""
        return self.blocks[:1]

    @property
    def layouts(self) -> tuple[str, ...]:
        """The distinct layouts, in order of appearance."""
        return tuple(dict.fromkeys(block.layout for block in self.blocks))


def _row_of(blocks: Sequence[BlockAnatomy]) -> str:
    places = dict.fromkeys([block.path for block in (*blocks[:1], *blocks[-1:])])
    return f"{len(blocks)} blocks, {' … '.join(places)}"

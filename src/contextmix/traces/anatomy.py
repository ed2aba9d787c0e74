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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from contextmix.errors import refuse_entries, refuse_kinds
from contextmix.maths.shapes import by_shapes


@dataclass(frozen=True)
class NormPlace:
    """A norm inside a block: its module path, and how its parameters are meant.

    Attributes:
        path: Module path relative to the block.
        kind: ``"layer"`` or ``"rms"``.
        offset: Added to the stored weight: 1.0 where the weight is stored as its difference from one (Gemma), else 0.0.
    """

    path: str
    kind: Literal["layer", "rms"]
    offset: float = 0.0


@dataclass(frozen=True)
class Matrices:
    """A feed-forward part that is two matrices with an activation between them, as module paths.

    Attributes:
        first: d_model to d_ffn.
        activation: Element-wise.
        second: d_ffn to d_model.
        transposed: Whether they store their weights as (in, out), like GPT-2's Conv1D.
    """

    first: str
    activation: str
    second: str
    transposed: bool = False


@dataclass(frozen=True)
class ProjectionPlaces:
    """The linear modules that turn a block's (normed) input into queries, keys and values, as module paths.

    Attributes:
        query: d_model to head · d_head.
        key: The same.
        value: The same.
        transposed: Whether they store their weights as (in, out), like GPT-2's Conv1D.
    """

    query: str
    key: str
    value: str
    transposed: bool = False


@dataclass(frozen=True)
class LinearPlace:
    """A linear map: a module, some outputs of one that makes several at once, or a parameter that no module holds.

    Attributes:
        path: Module path relative to the block, or that of the parameter.
        columns: Which of the module's outputs, in order; None for all.
        transposed: Whether it stores its weight as (in, out), like GPT-2's Conv1D.
        parameter: How many inputs it has, if it is a parameter, of two axes or more; None for a module.
        added: Path of a parameter that is added to what the module gives.
    """

    __repr__ = by_shapes

    path: str
    columns: tuple[int, ...] | None = None
    transposed: bool = False
    parameter: int | None = None
    added: str | None = None


@dataclass(frozen=True)
class GatedPlaces:
    """A gated feed-forward part, (activation(z G) ⊙ z U) D.

    Attributes:
        gate: G, d_model to d_ffn.
        up: U, the same.
        second: D, d_ffn to d_model.
        activation: Element-wise: a module path, or a function that no module holds.
    """

    __repr__ = by_shapes

    gate: LinearPlace
    up: LinearPlace
    second: LinearPlace
    activation: str | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Mixer:
    """The one product of attention weights and values, where a model makes it outside of the registry.

    Attributes:
        path: Of the module in whose call it is made, relative to the block.
        number: Which product of two tensors in that call, from 0.
        value: Which of its operands is the values, 0 or 1.
        batch: Which of the axes that the operands share is the batch; the others are heads. None where one axis holds
            both, the batch first.
        n_heads: Attention heads.
    """

    path: str
    number: int
    value: int
    batch: int | None
    n_heads: int


@dataclass(frozen=True)
class Addition:
    """What else is added to the stream where a sub-layer is; it reads one token at a time.

    Attributes:
        output: The module whose output is added.
        scale: Factor of it: a number, or one per d_model.
    """

    __repr__ = by_shapes

    output: str
    scale: float | Tensor = 1.0


@dataclass(frozen=True)
class Outlet:
    """What the heads' output o passes before the output projection reads it:  r = norm( D ⊙ o ).

    Attributes:
        factor: What D answers to: ``"fixed"``, not to the values (a gate); ``"row"`` or ``"head"``, to the values by
            one number per row, or per row and head (a norm over all heads, or one over each); None where there is none.
        flat: Whether D is one number for all channels of a head.
        inside: Whether o is the sum of values already times a number per row and head that the attention weights do not
            hold (a sink that is a factor); D is that number then.
        norm: The norm over all heads that the projection reads, if there is one.
        turned: Whether the projection reads and writes (token, batch, channel), although the block does not.
    """

    factor: Literal["fixed", "row", "head"] | None = None
    flat: bool = False
    inside: bool = False
    norm: NormPlace | None = None
    turned: bool = False

    @property
    def told(self) -> str:
        """In words.

        Example:
            >>> Outlet("fixed", norm=NormPlace("norm", "rms")).told
            'heads behind a gate per channel, a norm'
        """
        factors = {
            "fixed": f"a gate per {'head' if self.flat else 'channel'}",
            "row": "a norm over all heads",
            "head": "a norm over each head",
        }
        found = ["a sink"] * self.inside + ([factors[self.factor]] if self.factor else [])
        found += ["a norm"] * (self.norm is not None)
        return f"heads behind {', '.join(found)}" if found else "heads turned"

    @property
    def answers(self) -> bool:
        """Whether the values change what o is multiplied by."""
        return self.norm is not None or self.factor in ("row", "head")


@dataclass(frozen=True)
class StreamPlaces:
    """Where a stream passes the block equation inside of a block, around which it reads one token at a time.

    Attributes:
        entered: The module that reads it in front of attention; its last call in the block.
        left: The module that reads it behind what is added; its last call in the block.
        count: How many streams a token has, as the first axis of what the block reads and writes; 0 for no such axis.
        written: Whether the first of these modules writes the stream, and does not read it.
    """

    entered: str
    left: str
    count: int = 0
    written: bool = False


@dataclass(frozen=True)
class Strand:
    """One linear module that makes values for a mixer, and where its heads end.

    Attributes:
        path: Of the module, relative to the mixer's.
        reads: For each head the outputs of the module that are its values.
        feeds: For each head the inputs of the output projection that it fills, channel by channel.
        turned: Whether the module writes (token, batch, channel).
    """

    __repr__ = by_shapes

    path: str
    reads: tuple[tuple[int, ...], ...]
    feeds: tuple[tuple[int, ...], ...]
    turned: bool = False


@dataclass(frozen=True)
class Woven:
    """A mixer of which no single product holds the whole map, but which is linear in its values, head by head.

    Such are windows cut into chunks, a chain of products, a convolution beside attention, values of two projections.
    Its map is what it makes of unit values.

    Attributes:
        path: Of the module in whose call it is made, relative to the block.
        strands: What makes its values. A head whose values two modules make counts twice.
        projection: Of the output projection, relative to that module; None if it reads what the module gives.
        routing: Modules inside that do not read the values; what they wrote need not be computed again.
    """

    __repr__ = by_shapes

    path: str
    strands: tuple[Strand, ...]
    projection: str | None = None
    routing: tuple[str, ...] = ()

    @property
    def feeds(self) -> tuple[int, ...]:
        """The inputs of the output projection, head after head; those of a head that counts twice stand twice."""
        return tuple(column for strand in self.strands for head in strand.feeds for column in head)

    @property
    def kinds(self) -> int:
        """How many kinds of values each head has: what it mixes is the sum over these; 0 if heads differ in that."""
        feeds, inputs = self.feeds, len(set(self.feeds))
        return len(feeds) // inputs if feeds == feeds[:inputs] * (len(feeds) // inputs) else 0


@dataclass(frozen=True)
class Channels:
    """A mixer that is no attention and is linear in its values channel by channel, given its routing.

    Attributes:
        path: Of the module in whose call all of it is made, relative to the block.
        projection: Of its output projection, relative to that module.
        value: Which product with a parameter in that call holds the values, from 0.
        columns: Which of that product's outputs is the value of each channel.
        held: Which of the products read something that was made of the values: routing all the same.
    """

    __repr__ = by_shapes

    path: str
    projection: str
    value: int
    columns: tuple[int, ...]
    held: tuple[int, ...] = ()


Mixing = Mixer | Woven | Channels
"""What is heard as a block's attention, where that does not pass through the registry."""


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

    def __post_init__(self) -> None:
        refuse_kinds(self, path=str, attention=Sublayer, ffn=Sublayer, parallel=bool, transposed=bool)

    def __repr__(self) -> str:
        parts = f"attention {self.attention.output}, feed-forward {self.ffn.output or 'none'}"
        behind = f", {self.outlet.told}" if self.outlet else ""
        return f"<BlockAnatomy {self.path}: {self.layout}; {parts}{behind}>"

    @property
    def layout(self) -> str:
        """The usual name of the arrangement, for people."""
        return self.arrangement + (", no feed-forward part" if not (self.ffn.output or self.parallel) else "")

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

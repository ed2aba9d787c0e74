"""Where the parts of a block are: module paths relative to it, and the form of each part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

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

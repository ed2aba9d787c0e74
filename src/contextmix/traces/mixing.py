"""What is heard as the attention of a block that does not attend through the registry of transformers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from contextmix.maths.shapes import by_shapes


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


@dataclass(frozen=True)
class Beside:
    """A mixer that is no attention in the block of an attention, whose output is added to that of attention.

    Attributes:
        mixer: The mixer.
        scale: Factor of what it adds: a number, or one per d_model.
        transposed: Whether its output projection stores its weight as (in, out).
    """

    __repr__ = by_shapes

    mixer: Channels
    scale: float | Tensor = 1.0
    transposed: bool = False

    @property
    def output(self) -> str:
        """Its output projection, relative to the block."""
        return f"{self.mixer.path}.{self.mixer.projection}"


Mixing = Mixer | Woven | Channels
"""What is heard as a block's attention, where that does not pass through the registry."""

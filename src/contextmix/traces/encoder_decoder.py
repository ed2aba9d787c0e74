"""Models of two stacks: where the parts of a decoder block with cross-attention are, and what one run left behind.

A decoder block is two steps of mixing, one after the other, and each of them is a block of the one block equation
(`anatomy`): the first without a feed-forward part, the second with cross-attention as its attention.

    h = norm_after ( x + scale · norm_out( self-attention( norm_in(x) ) ) )
    y = the block equation from h, with keys and values from the encoder
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contextmix.errors import BadOption, WrongShape, refuse_entries, refuse_kind, refuse_kinds
from contextmix.maths.shapes import cut
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.places import placed, where
from contextmix.traces.anatomy import Anatomy, BlockAnatomy, Sublayer
from contextmix.traces.checks import Checks, Origin
from contextmix.traces.trace import Trace

NO_FEED_FORWARD = Sublayer("")
"""In the place of the feed-forward part of a step that has none."""

RESIDUAL = "[residual]"
"""The label of what a decoder position brings along from its own side, where it is a column beside the source."""


@dataclass(frozen=True)
class StreamPlace:
    """Where the residual stream between the two steps can be seen: a module, and whether it writes or reads it."""

    path: str
    written: bool


@dataclass(frozen=True)
class QueryPlace:
    """The linear module that makes the queries of cross-attention.

    Attributes:
        path: Module path relative to the block.
        transposed: Whether it stores its weight as (in, out).
        factor: What its output is multiplied by before attention reads it (Whisper).
    """

    path: str
    transposed: bool = False
    factor: float = 1.0


@dataclass(frozen=True)
class DecoderBlockAnatomy:
    """One decoder block as two steps; all paths but its own are relative to it.

    Attributes:
        own: Self-attention; its feed-forward part is `NO_FEED_FORWARD`.
        cross: Cross-attention and the feed-forward part.
        between: Where what the first step leaves can be seen.
        query: What makes the queries of cross-attention; None if no single linear map does.
    """

    own: BlockAnatomy
    cross: BlockAnatomy
    between: StreamPlace
    query: QueryPlace | None = None

    def __repr__(self) -> str:
        steps = f"self-attention {self.own.attention.output}, cross-attention {self.cross.attention.output}"
        return f"<DecoderBlockAnatomy {self.path}: {self.cross.layout}; {steps}>"

    @property
    def path(self) -> str:
        """Its path from the model's root."""
        return self.cross.path


@dataclass(frozen=True)
class EncoderDecoderAnatomy(Anatomy):
    """The blocks of an encoder, with paths from the encoder's root, and those of the decoder, from the model's root."""

    decoder: tuple[DecoderBlockAnatomy, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_entries("EncoderDecoderAnatomy: decoder", self.decoder, DecoderBlockAnatomy)

    def __repr__(self) -> str:
        stacks = f"{len(self.blocks)} encoder blocks, {len(self.decoder)} decoder blocks"
        return f"<EncoderDecoderAnatomy: {stacks}; {', '.join(self.layouts)}>"

    def __len__(self) -> int:
        """The number of blocks of both stacks."""
        return len(self.blocks) + len(self.decoder)

    @property
    def first(self) -> tuple[BlockAnatomy, ...]:
        """The first block of the encoder, and both steps of the decoder's."""
        return (*self.blocks[:1], *(step for block in self.decoder[:1] for step in (block.own, block.cross)))

    @property
    def layouts(self) -> tuple[str, ...]:
        """The distinct layouts of both stacks, in order of appearance."""
        steps = [step.arrangement for block in self.decoder for step in (block.own, block.cross)]
        return tuple(dict.fromkeys([*(block.layout for block in self.blocks), *steps]))


@dataclass(frozen=True)
class Target:
    """What a decoder is to have written.

    Attributes:
        start: The token that the decoder begins with.
        written: The tokens that it writes, in order, with their ids; position t of the decoder predicts token t.
        generated: Whether the model wrote them itself.
        generation: What it wrote then (ids, and the text without marks) and how it was asked to (settings).
    """

    start: Tokens
    written: Tokens
    generated: bool = False
    generation: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        by = "by the model itself" if self.generated else "as given"
        return f"<Target: {len(self.written)} tokens written {by}: {self.written.glimpse()}>"

    @property
    def read(self) -> Tokens:
        """What the decoder reads: the start, and all that it writes but the last."""
        return joined(self.start, first_tokens(self.written, len(self.written) - 1))


@dataclass(frozen=True, eq=False)
class EncoderDecoderTrace:
    """One source and one target through an encoder–decoder, no batch axis.

    Attributes:
        encoder: Encoder self-attention: source tokens to source tokens.
        decoder: Decoder self-attention: what the decoder read to what it read, up to the position itself.
        cross: Cross-attention: what the decoder read to source tokens.
        target: What was written.
        checks: How well the whole trace proved itself.
        origin: Model and versions.
    """

    encoder: Trace
    decoder: Trace
    cross: Trace
    target: Target
    checks: Checks
    origin: Origin

    def __post_init__(self) -> None:
        refuse_kinds(self, **dict.fromkeys(("encoder", "decoder", "cross"), Trace))
        refuse_kinds(self, target=Target, checks=Checks, origin=Origin)

    def __repr__(self) -> str:
        read = f"{len(self.encoder.tokens)} source tokens, {len(self.target.written)} written"
        depth = f"{len(self.encoder.layers)} encoder layers, {len(self.decoder.layers)} decoder layers"
        size = self.encoder.layers[0].size if self.encoder.layers else "none recorded"
        return f"<EncoderDecoderTrace of {cut(repr(self.origin.model))}: {read}; {depth}, {size}; {self.checks.told}>"

    def stream(self, name: str | None) -> Trace:
        """One of the three.

        Raises:
            BadOption: If the name is none of theirs.
        """
        streams = {"encoder": self.encoder, "decoder": self.decoder, "cross": self.cross}
        if not isinstance(name, str) or name not in streams:
            raise BadOption(
                "An encoder–decoder mixes tokens in three places, each with maps of its own: say stream='encoder', "
                f"'decoder' or 'cross'; got {name!r}. model.explain joins all three."
            )
        return streams[name]


def source_and_target(found: TokenMap) -> tuple[TokenMap, TokenMap]:
    """The two halves of a joint map: the columns of the source tokens, and those of what the decoder had read.

    The sum of a row of the first is the source share of that token, unless the map was not made of shares.

    Args:
        found: From `TracedModel.explain` of an encoder–decoder.

    Raises:
        WrongShape: If it is no joint map.
    """
    refuse_kind("source_and_target: found", found, TokenMap)
    count = found.provenance.notes.get("source_tokens")
    if count is None or "key" not in found.dims or not 0 < count < len(found.tokens):
        raise WrongShape(
            "The map has no source and target halves. They are those of model.explain for an encoder–decoder, before "
            "words are merged."
        )
    length = len(found.tokens)
    halves = ((0, count), (count, length))
    return tuple(  # type: ignore[return-value]
        found.derive(values=found.values[..., start:stop], tokens=part_of(found.tokens, start, stop))
        for start, stop in halves
    )


def first_tokens(tokens: Tokens, count: int) -> Tokens:
    """The first tokens of a sequence."""
    return part_of(tokens, 0, count)


def part_of(tokens: Tokens, start: int, stop: int) -> Tokens:
    """Neighbouring tokens by themselves, without the text that they stand in."""
    labels = {name: getattr(tokens, name) for name in ("ids", "words")}
    own = {name: None if found is None else found[start:stop] for name, found in labels.items()}
    there = _where(tokens)[start:stop]
    return Tokens(
        tokens.pieces[start:stop], special=tokens.special[start:stop], places=placed(tokens.places, there), **own
    )


def joined(first: Tokens, second: Tokens) -> Tokens:
    """Two sequences side by side; words of the second one are numbered on, and places are those of the first."""
    ids = None if first.ids is None or second.ids is None else first.ids + second.ids
    words = None
    if first.words is not None and second.words is not None:
        offset = 1 + max((word for word in first.words if word is not None), default=-1)
        words = first.words + tuple(None if word is None else word + offset for word in second.words)
    places = placed(first.places, _where(first) + (None,) * len(second))
    return Tokens(first.pieces + second.pieces, ids, first.special + second.special, words, places=places)


def with_residual(tokens: Tokens) -> Tokens:
    """Source tokens and the column of the residual."""
    return joined(tokens, Tokens((RESIDUAL,), special=(True,), words=(None,)))


def _where(tokens: Tokens) -> tuple[Any, ...]:
    """For each token of an image or a sound its patch or frame."""
    return (None,) * len(tokens) if tokens.places is None else where(tokens.places)

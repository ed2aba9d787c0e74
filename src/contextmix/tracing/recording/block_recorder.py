"""Hear the blocks of a model of one stack, whatever stands in them and between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import TapSilent, TraceDoesNotAddUp
from contextmix.maths.precision import at_least_float32
from contextmix.maths.shapes import Bound
from contextmix.traces.anatomy import Anatomy, BlockAnatomy
from contextmix.traces.checks import Checks
from contextmix.traces.mixing import Mixing
from contextmix.traces.trace import LayerTrace, Scores
from contextmix.tracing.recording.blocks.additions import listen_to_additions, names_of_additions, taken_additions
from contextmix.tracing.recording.blocks.between import Between, side_by_side
from contextmix.tracing.recording.blocks.joined import joined
from contextmix.tracing.recording.blocks.lent import Lent, keep_last, last_rows_said
from contextmix.tracing.recording.blocks.outlet import reader_path, recorded_gate, turning
from contextmix.tracing.recording.blocks.padding import tokens_given, without_padding
from contextmix.tracing.recording.blocks.passing import Passing, plus
from contextmix.tracing.recording.blocks.picture_windows import flat
from contextmix.tracing.recording.blocks.windowed_call import WindowedCall
from contextmix.tracing.recording.blocks.windows import are_windows, over_all
from contextmix.tracing.recording.listeners import listening
from contextmix.tracing.recording.quiet import over, turned
from contextmix.tracing.recording.recorder import Attended, Recorder
from contextmix.tracing.recording.replay import BlockReplay, ChainReplay
from contextmix.tracing.recording.resolve import part, resolve_block, with_constant
from contextmix.tracing.recording.stack import Tower, image_places
from contextmix.tracing.recording.turns import after, before
from contextmix.tracing.recording.verify import tolerance

Visitor = Callable[[LayerTrace], None]

STATES = {"entered": "residual_in", "attention_out": "attention_out", "ffn_out": "ffn_out", "left": "residual_out"}
"""What a block says → what a `LayerTrace` calls it."""


class BlockRecorder(Recorder[BlockAnatomy]):
    """Of blocks with one attention."""

    embeddings: Tensor | None = None
    tower: Tower | None = None
    between: Between
    lent: Lent
    given: int | None = None
    given_to_block: Tensor

    def __init__(self, model: PreTrainedModel, anatomy: Anatomy, visit: Callable[..., None]) -> None:
        super().__init__(model, anatomy.blocks, visit)
        self.later: dict[int, Tensor] = {}
        self.local, self.passing = anatomy.local, Passing(self.pass_in, self.pass_out)
        self.brought: Tensor | None = None
        self.windowed = WindowedCall()

    def run(self, inputs: Mapping[str, Any], *, last_logits: int = 0) -> tuple[Any, Checks]:
        """See `Recorder`; images of a prompt may have a tower of their own."""
        self.tower = Tower.of(self.model, self.places[0].path, inputs)
        self.between = Between(self.model.config.model_type, image_places(self.model, inputs))
        self.lent, self.given = Lent(self.places), tokens_given(inputs)
        wanted = 0 if self.lent.borrowers else last_logits
        with last_rows_said(self.model, last_logits - wanted):
            outputs, checks = super().run(inputs, last_logits=wanted)
        if wanted != last_logits:
            keep_last(outputs, last_logits)
        return outputs, replace(checks, added=tuple(self.between.changed), borrowed=self.lent.borrowers)

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores | None) -> None:
        """See `Listener`."""
        began, rows = self.inside or self.number > 0, getattr(self, "rows", None)
        if began or self.tower is None or not self.tower.holds(module):
            if self.inside and rows is None and self._place is not None and self._place.stream is None:
                entered = self.said["entered"]
                again = self.windowed.heard(self.replays[-1], self._place, module, (attention, value), entered)
                if again is not None and again.cut is not None:
                    self.replays[-1], scores = again, None
                    attention, value = again.cut.maps(attention), again.cut.values(value)
            super().heard(module, attention, value, output, scores)
            self.lent.mixed(self.number, value)
            if self._place is not None and self._place.outlet is not None:
                heads = output if rows is None else output[:, rows]
                self.attended[-1] = self.attended[-1]._replace(output=heads.clone())  # a gate may act in place

    @property
    def _place(self) -> BlockAnatomy | None:
        return self.places[self.number] if self.number < len(self.places) else None

    def listen(self, block: nn.Module, place: BlockAnatomy) -> Iterator[Any]:
        """Output projection, what it reads where something stands in front of it, and feed-forward output."""
        yield after(part(block, place.attention.output), turning(place, self.note("attention_out")))
        if place.outlet is not None:
            yield before(part(block, reader_path(place)), turning(place, self.note_read("heads_read")))
        if place.ffn.output:
            yield after(part(block, place.ffn.output), self.note("ffn_out"))
        if place.stream is not None:
            entered = part(block, place.stream.entered)
            yield (
                after(entered, self.note("entered"))
                if place.stream.written
                else before(entered, self.note_read("entered"))
            )
            yield before(part(block, place.stream.left), self.note_read("left"))
        yield from listen_to_additions(block, place, self.note)

    def mixers(self, place: BlockAnatomy) -> Iterator[Mixing | None]:
        """Of its one attention, and what stands beside it."""
        yield place.mixer
        yield None if place.beside is None else place.beside.mixer

    def shaped(self, states: Tensor) -> Tensor:
        """Experts and routers hold the tokens of a batch in one row; some models have the tokens in front."""
        if self.turned:
            return turned(states)
        entered = self.said["entered"]
        found = over(flat(states) if self.picture else states, entered.shape[:-1])
        return self.windowed.tokens(found, len(entered))

    @property
    def turned(self) -> bool:
        """See `BlockAnatomy`."""
        return self.number < len(self.places) and self.places[self.number].turned

    @property
    def picture(self) -> bool:
        """See `BlockAnatomy`."""
        return self.number < len(self.places) and self.places[self.number].picture

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """What enters the first block are the embeddings, and what enters another one is what the last one wrote."""
        super().enter(module, args, kwargs)
        if listening(self):
            self.given_to_block = self.said["entered"]
            self.windowed = WindowedCall()
            self.note_added(args, kwargs)
        if listening(self) and self.embeddings is None:
            self.embeddings = at_least_float32(self.said["entered"].detach())

    def note_added(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """What was added to each token before this block: features of an image, and by layers in front of it."""
        self.note_change(args, kwargs)
        brought = self.passing.taken()
        self.brought = brought if self.number else None  # before the first block it is part of what enters that

    def note_change(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The same, before this block or a layer in front of it."""
        found = self.between.added(self.places, self.number, args, kwargs)
        if found is not None:
            self.later[self.number] = found

    def _hooks(self) -> Iterator[Any]:
        """Those on layers that read one token at a time, too."""
        yield from super()._hooks()
        yield from self.passing.hooks(self.model, self.local)

    def pass_in(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A layer between blocks begins, and reads what the one before it wrote."""
        if listening(self):
            self.note_change(args, kwargs)
            if self.replays:
                self.replays.append(BlockReplay.of(self.model, module, args, kwargs))

    def pass_out(self, output: Any) -> None:
        """It ends."""
        if listening(self):
            self.between.wrote(output)

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """See `Recorder`; what was written is compared with what the next block reads."""
        super().leave(module, args, output)
        if listening(self):
            self.between.wrote(output)

    def steps(self, place: BlockAnatomy, ran_in: torch.dtype) -> tuple[LayerTrace, ...]:
        """The block is one step."""
        heard, more = self.weighed_in_all(), taken_additions(self.said, place)
        attention, said = heard.attention, {own: self.said[name] for name, own in STATES.items()}
        said |= {"attention": attention, "value": heard.value}
        tensors: dict[str, Any] = {name: at_least_float32(tensor.detach()) for name, tensor in said.items()} | more
        block = with_constant(resolve_block(self.model, place, attention.shape[1]), heard.constant)
        layer = LayerTrace(
            index=self.number,
            block=with_constant(block, self.windowed.constant),
            **self.gate(place, tensors, ran_in),
            channelwise=heard.constant is not None,
            scores=heard.scores,
            tolerance=tolerance(ran_in),
            values_of=place.values_of,
            added=plus(self.later.get(self.number), self.brought),
            **tensors,
        )
        layer = self.with_mixer(place, layer)
        again, later = replace(self.replays[-1], windows=self.in_windows), self.later
        if place.stream is not None:  # the block maps other states than those of the equation
            whole = None if place.stream.count else Bound(again.zeroed, at_least_float32(self.given_to_block.detach()))
            return (replace(layer, replay_zeroed=whole),)
        ways: dict[str, Any] = {"replay": again, "replay_zeroed": Bound(again.zeroed, layer.residual_in)}
        alone = not later or not self.local  # places in a chain are numbers of blocks
        if alone and all(number > self.number for number in self.lent.borrowers):
            ways["replay_from_embeddings"] = ChainReplay(tuple(self.replays), tuple(later))
        ways["embeddings"] = None if self.embeddings is None else side_by_side(self.embeddings, later)
        return (replace(layer, **ways),)

    def with_mixer(self, place: BlockAnatomy, layer: LayerTrace) -> LayerTrace:
        """A block together with what stands beside its attention, if anything does."""
        if place.beside is None:
            return layer
        said = self.said.pop("beside_out")
        return joined(part(self.model, place.path), place.beside, layer, self.attended, said)

    def gate(self, place: BlockAnatomy, tensors: Mapping[str, Tensor], ran_in: torch.dtype) -> dict[str, Any]:
        """What the heads' output was multiplied by, as a `LayerTrace` has it."""
        if place.outlet is None:
            return {}
        heads, read = self.weighed_in_all().output, self.said.get("heads_read")
        assert heads is not None  # noted with the attention call
        assert read is not None  # or the block would have been refused
        return recorded_gate(self.model, place, tensors, heads, read, tolerance(ran_in))

    def show(self, *steps: LayerTrace) -> None:
        """A proved block, without tokens that the model added."""
        super().show(*(without_padding(step, self.given) for step in steps))

    @property
    def in_windows(self) -> bool:
        """Whether the attention calls of the block share out its tokens."""
        return are_windows([one.attention.shape for one in self.attended], self.said["entered"].shape[1])

    def weighed_in_all(self) -> Attended:
        """The attention of the block; that of windows is put together."""
        if self._place is not None and self._place.beside is not None:
            return next((one for one in self.attended if one.constant is None), self.attended[-1])
        if not self.in_windows:
            return self.attended[-1]
        values = torch.cat([one.value for one in self.attended], 2)
        outputs = [one.output for one in self.attended if one.output is not None]
        weights = over_all([one.attention for one in self.attended])
        return Attended(weights, values, None, torch.cat(outputs, 1) if outputs else None)

    def refuse_call(self, name: str) -> None:
        """Attention between or around the blocks."""
        if not self.inside:
            raise TraceDoesNotAddUp(
                f"{name} attends outside of the blocks that the anatomy names, so what it mixes would be lost."
            )

    def refuse_other_anatomy(self) -> None:
        """Too few blocks are named, or modules that do not run or are no sub-layer."""
        if not self.attended:
            raise TapSilent(self.silent())
        places = self.places[self.number : self.number + 1]
        if any(not place.ffn.output for place in places):
            self.said["ffn_out"] = torch.zeros_like(self.said["entered"])
        wrong = [STATES[name] for name in self.strays(STATES)]
        wrong += [name for place in places for name in self.strays(names_of_additions(place))]
        if self._place is not None and self._place.outlet is not None and "heads_read" not in self.said:
            wrong.append("input of its output projection")
        if wrong or self.number == len(self.places):
            found = f"left no {', no '.join(wrong)} of its shape" if wrong else "ran, and the anatomy names no more"
            raise TraceDoesNotAddUp(
                f"Block {self.number} of {len(self.places)} {found}. The anatomy does not describe this model."
            )

    def silent(self) -> str:
        """See `Recorder`."""
        return (
            f"Block {self.number} of {len(self.places)} made no attention call through the registry of transformers, "
            "so what it mixes was not recorded and an attribution would skip a layer. No number was produced."
        )

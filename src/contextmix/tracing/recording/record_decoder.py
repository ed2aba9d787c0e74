"""Run a decoder on what its encoder gave, and hand out both proved steps of every decoder block while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import TapSilent, TraceDoesNotAddUp
from contextmix.maths.projections import Affine
from contextmix.traces.anatomy import Block
from contextmix.traces.encoder_decoder import DecoderBlockAnatomy
from contextmix.traces.trace import Checks, LayerTrace, Scores
from contextmix.tracing.recording.quiet import first_states, keep_freed_memory, quiet_run
from contextmix.tracing.recording.replay import BlockReplay
from contextmix.tracing.recording.resolve import affine, at_least_float32, part, resolve_block
from contextmix.tracing.recording.tap import listening, tapped
from contextmix.tracing.recording.verify import precision, prove, tolerance

Visitor = Callable[[LayerTrace, LayerTrace], None]


def record_decoder(
    model: PreTrainedModel, anatomy: tuple[DecoderBlockAnatomy, ...], inputs: Mapping[str, Any], visit: Visitor
) -> tuple[Any, Checks]:
    """Run the decoder on one sequence and show both steps of every block to a visitor.

    Args:
        model: The model.
        anatomy: Its decoder blocks.
        inputs: ``encoder_outputs`` and ``decoder_input_ids``, with a batch axis of one.
        visit: Called once per block, in order, with the self-attention and the cross-attention of the sequence.

    Returns:
        The model's outputs, and how well the trace proved itself.

    Raises:
        TraceDoesNotAddUp: If the parts of a step do not rebuild what the model computed.
        TapSilent: If a block did not make its two attention calls.
        NotFinite: If an activation is NaN or infinite.
    """
    keep_freed_memory()
    recorder = _Recorder(model, anatomy, visit)
    with ExitStack() as stack:
        for hook in recorder.hooks():
            stack.callback(hook.remove)
        stack.enter_context(tapped(model, recorder))
        outputs = quiet_run(model, inputs)
    if recorder.blocks != len(anatomy):
        raise TapSilent(recorder.silent())
    return outputs, recorder.checks


class _Recorder:
    """Collects what one decoder block says, and turns it into two `LayerTrace`s when the block ends."""

    def __init__(self, model: PreTrainedModel, anatomy: tuple[DecoderBlockAnatomy, ...], visit: Visitor) -> None:
        self.model, self.anatomy, self.visit = model, anatomy, visit
        self.checks, self.blocks, self.inside = Checks(), 0, False
        self.said: dict[str, Tensor] = {}
        self.attended: list[tuple[Tensor, Tensor, Scores]] = []
        self.replay: BlockReplay | None = None
        self.ran_in: torch.dtype | None = None

    def hooks(self) -> Iterator[Any]:
        """Hooks on blocks, both output projections, feed-forward outputs and the stream between the steps."""
        for place in {place.path: place for place in self.anatomy}.values():
            block = part(self.model, place.path)
            yield block.register_forward_pre_hook(self.enter, with_kwargs=True)
            yield part(block, place.own.attention.output).register_forward_hook(self.note("own_out"))
            between = part(block, place.between.path)
            if place.between.written:
                yield between.register_forward_hook(self.note("between"))
            else:
                yield between.register_forward_pre_hook(self.note_read("between"), with_kwargs=True)
            yield part(block, place.cross.attention.output).register_forward_hook(self.note("cross_out"))
            yield part(block, place.cross.ffn.output).register_forward_hook(self.note("ffn_out"))
            yield block.register_forward_hook(self.leave)

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores) -> None:
        """See `tap.Listener`."""
        if not self.inside or len(self.attended) == 2:
            raise TraceDoesNotAddUp(
                f"{type(module).__name__} attends outside of the blocks that the anatomy names, or a third time in one "
                "of them, so what it mixes would be lost."
            )
        groups = attention.shape[1] // value.shape[1]
        self.attended.append((attention, value if groups == 1 else value.repeat_interleave(groups, dim=1), scores))

    def note(self, name: str) -> Callable[..., None]:
        """A forward hook that keeps a module's output; it returns None, or it would replace that output."""

        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if self.inside and listening(self):
                self.said[name] = first_states(output)  # type: ignore[assignment]

        return hook

    def note_read(self, name: str) -> Callable[..., None]:
        """A forward pre-hook that keeps a module's input."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self.inside and listening(self):
                self.said[name] = first_states(args, kwargs)  # type: ignore[assignment]

        return hook

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A block begins."""
        if listening(self):
            self.inside, self.attended = True, []
            self.replay = BlockReplay.of(self.model, module, args, kwargs)
            self.said = {"entered": first_states(args, kwargs)}  # type: ignore[dict-item]

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A block ends: prove both steps, show them, forget them."""
        if not listening(self):
            return
        self.said["left"] = first_states(output)  # type: ignore[assignment]
        self._refuse_other_anatomy()
        ran_in = self.ran_in = self.ran_in or precision(self.model, self.said["entered"])
        place, number = self.anatomy[self.blocks], self.blocks
        own, cross = self._steps(place, number, tolerance(ran_in))
        self.inside, self.said, self.attended, self.blocks = False, {}, [], number + 1
        with torch.no_grad():
            checks = prove(own, ran_in).merged(prove(cross, ran_in))
            self.checks = self.checks.merged(replace(checks, layers=1))
            self.visit(own, cross)

    def _steps(self, place: DecoderBlockAnatomy, number: int, allowed: float) -> tuple[LayerTrace, LayerTrace]:
        assert self.replay is not None  # the block was entered
        said = {name: at_least_float32(tensor.detach())[0] for name, tensor in self.said.items()}
        (own, own_value, own_scores), (cross, cross_value, cross_scores) = (_one(call) for call in self.attended)
        second = LayerTrace(
            index=number,
            attention=cross,
            value=cross_value,
            residual_in=said["between"],
            attention_out=said["cross_out"],
            ffn_out=said["ffn_out"],
            residual_out=said["left"],
            block=_with_query(self.model, resolve_block(self.model, place.cross, len(cross)), place),
            scores=cross_scores,
            replay_zeroed=partial(_zeroed, self.replay, self.said["entered"], 1),
            tolerance=allowed,
            cross=True,
        )
        first = LayerTrace(
            index=number,
            attention=own,
            value=own_value,
            residual_in=said["entered"],
            attention_out=said["own_out"],
            ffn_out=torch.zeros_like(said["between"]),
            residual_out=said["between"],
            block=resolve_block(self.model, place.own, len(own)),
            scores=own_scores,
            replay_zeroed=partial(_zeroed, self.replay, self.said["entered"], 0),
            tolerance=allowed,
            following=second,
        )
        return first, second

    def _refuse_other_anatomy(self) -> None:
        if self.blocks == len(self.anatomy) or len(self.attended) < 2:
            raise TapSilent(self.silent())
        shape = self.said["entered"].shape
        names = ("own_out", "between", "cross_out", "ffn_out", "left")
        wrong = [name for name in names if getattr(self.said.get(name), "shape", None) != shape]
        if wrong or self.attended[0][0].shape[-1] != shape[-2]:
            found = f"left no {', no '.join(wrong)} of its shape" if wrong else "does not begin with self-attention"
            raise TraceDoesNotAddUp(
                f"Decoder block {self.blocks} of {len(self.anatomy)} {found}. The anatomy does not describe this model."
            )

    def silent(self) -> str:
        """The refusal of a block that did not speak."""
        return (
            f"Decoder block {self.blocks} of {len(self.anatomy)} did not make its two attention calls through the "
            "registry of transformers, self-attention and cross-attention, so an attribution would skip what it mixes. "
            "No number was produced."
        )


def _one(call: tuple[Tensor, Tensor, Scores]) -> tuple[Tensor, Tensor, Scores]:
    """Attention, values and scores of the one sequence of the batch."""
    attention, value, scores = call
    weights, values = (at_least_float32(tensor.detach())[0] for tensor in (attention, value))
    return weights, values, Scores(scores.query.detach()[0], scores.key.detach()[0], scores.scaling)


def _zeroed(replay: BlockReplay, states: Tensor, call: int, token: int | None, heads: tuple[int, ...] | None) -> Tensor:
    """See `LayerTrace.replay_zeroed`; of self-attention (call 0) or cross-attention (call 1)."""
    return replay.zeroed(states, token, heads, call)[0]


def _with_query(model: PreTrainedModel, block: Block, place: DecoderBlockAnatomy) -> Block:
    if place.query is None:
        return block
    weight, bias = affine(part(model, place.path), place.query.path, place.query.transposed)
    factor = place.query.factor
    return replace(block, query=Affine(weight * factor, None if bias is None else bias * factor))

"""Run a model of one stack and hand out one proved `LayerTrace` per block while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import TapSilent, TraceDoesNotAddUp
from contextmix.maths.shapes import Bound
from contextmix.traces.anatomy import Anatomy, BlockAnatomy
from contextmix.traces.trace import Checks, LayerTrace
from contextmix.tracing.recording.quiet import over
from contextmix.tracing.recording.recorder import Recorder
from contextmix.tracing.recording.replay import ChainReplay
from contextmix.tracing.recording.resolve import at_least_float32, part, resolve_block
from contextmix.tracing.recording.tap import listening
from contextmix.tracing.recording.turns import after
from contextmix.tracing.recording.verify import tolerance

Visitor = Callable[[LayerTrace], None]

_STATES = {"entered": "residual_in", "attention_out": "attention_out", "ffn_out": "ffn_out", "left": "residual_out"}
"""What a block says → what a `LayerTrace` calls it."""


def record(
    model: PreTrainedModel,
    anatomy: Anatomy,
    inputs: Mapping[str, Tensor],
    visit: Visitor,
    *,
    last_logits: int = 0,
) -> tuple[Any, Checks]:
    """Run a batch of equal-length sequences and show every block to a visitor.

    Args:
        model: The model.
        anatomy: Where its parts are.
        inputs: Model inputs with a batch axis, without padding.
        visit: Called once per block, in order, with tensors (batch, …); what it does not keep is freed.
        last_logits: See `quiet_run`.

    Returns:
        The model's outputs, and how well the trace proved itself.

    Raises:
        TraceDoesNotAddUp: If the parts of a block do not rebuild what the model computed.
        TapSilent: If a block made no attention call that could be heard.
        NotFinite: If an activation is NaN or infinite.
    """
    return _BlockRecorder(model, anatomy.blocks, visit).run(inputs, last_logits=last_logits)


def layers_of(model: PreTrainedModel, anatomy: Anatomy, inputs: Mapping[str, Tensor]) -> list[LayerTrace]:
    """Every block of one sequence, without a batch axis; see `record`."""
    found: list[LayerTrace] = []
    record(model, anatomy, inputs, lambda layer: found.append(layer[0]))
    return found


class _BlockRecorder(Recorder[BlockAnatomy]):
    """Of blocks with one attention."""

    embeddings: Tensor | None = None

    def listen(self, block: nn.Module, place: BlockAnatomy) -> Iterator[Any]:
        """Output projection and feed-forward output."""
        yield after(part(block, place.attention.output), self.note("attention_out"))
        yield after(part(block, place.ffn.output), self.note("ffn_out"))

    def shaped(self, states: Tensor) -> Tensor:
        """Experts and routers hold the tokens of a batch in one row."""
        return over(states, self.said["entered"].shape[:-1])

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """What enters the first block are the embeddings."""
        super().enter(module, args, kwargs)
        if listening(self) and self.embeddings is None:
            self.embeddings = at_least_float32(self.said["entered"].detach())

    def steps(self, place: BlockAnatomy, ran_in: torch.dtype) -> tuple[LayerTrace]:
        """The block is one step."""
        attention, value, scores = self.attended[-1]
        said = {_STATES[name]: tensor for name, tensor in self.said.items()} | {"attention": attention, "value": value}
        tensors: dict[str, Any] = {name: at_least_float32(tensor.detach()) for name, tensor in said.items()}
        layer = LayerTrace(
            index=self.number,
            block=resolve_block(self.model, place, attention.shape[1]),
            scores=scores,
            replay=self.replays[-1],
            replay_zeroed=Bound(self.replays[-1].zeroed, tensors["residual_in"]),
            embeddings=self.embeddings,
            replay_from_embeddings=ChainReplay(tuple(self.replays)),
            tolerance=tolerance(ran_in),
            **tensors,
        )
        return (layer,)

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
        wrong = [_STATES[name] for name in self.strays(_STATES)]
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

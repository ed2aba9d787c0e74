"""Run a model and hand out one proved `LayerTrace` per block while it runs.

Each block is measured as it passes and then let go, so memory follows one layer, not the depth, unless the visitor
keeps what it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import TapSilent, TraceDoesNotAddUp
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.trace import Checks, LayerTrace, Scores
from contextmix.tracing.recording.quiet import first_states, keep_freed_memory, over, quiet_run
from contextmix.tracing.recording.replay import BlockReplay, ChainReplay
from contextmix.tracing.recording.resolve import at_least_float32, part, resolve_block
from contextmix.tracing.recording.tap import listening, tapped
from contextmix.tracing.recording.verify import precision, prove, tolerance

Visitor = Callable[[LayerTrace], None]

_STATES = ("residual_in", "attention_out", "ffn_out", "residual_out")


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
    keep_freed_memory()
    recorder = _Recorder(model, anatomy, visit)
    with ExitStack() as stack:
        for hook in recorder.hooks():
            stack.callback(hook.remove)
        stack.enter_context(tapped(model, recorder))
        outputs = quiet_run(model, inputs, last_logits=last_logits)
    recorder.refuse_silence()
    return outputs, recorder.checks


class _Recorder:
    """Collects what one block says, and turns it into a `LayerTrace` when the block ends."""

    def __init__(self, model: PreTrainedModel, anatomy: Anatomy, visit: Visitor) -> None:
        self.model, self.anatomy, self.visit = model, anatomy, visit
        self.checks = Checks()
        self.said: dict[str, Tensor] = {}
        self.scores: Scores | None = None
        self.replays: list[BlockReplay] = []
        self.embeddings: Tensor | None = None
        self.inside = False
        self.ran_in: torch.dtype | None = None

    def hooks(self) -> Iterator[Any]:
        """Hooks on blocks, output projections and feed-forward outputs; a shared block is hooked once."""
        for place in {place.path: place for place in self.anatomy.blocks}.values():
            block = part(self.model, place.path)
            yield block.register_forward_pre_hook(self.enter, with_kwargs=True)
            yield part(block, place.attention.output).register_forward_hook(self.note("attention_out"))
            yield part(block, place.ffn.output).register_forward_hook(self.note("ffn_out"))
            yield block.register_forward_hook(self.leave)

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores) -> None:
        """See `tap.Listener`."""
        if not self.inside:
            raise TraceDoesNotAddUp(
                f"{type(module).__name__} attends outside of the blocks that the anatomy names, so what it mixes "
                "would be lost."
            )
        groups = attention.shape[1] // value.shape[1]
        self.said["attention"] = attention
        self.said["value"] = value if groups == 1 else value.repeat_interleave(groups, dim=1)
        self.scores = scores

    def note(self, name: str) -> Callable[..., None]:
        """A forward hook that keeps a module's output; it returns None, or it would replace that output."""

        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if self.inside and listening(self):
                states = first_states(output)
                if states is not None:
                    self.said[name] = over(states, self.said["residual_in"].shape[:-1])

        return hook

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A block begins."""
        if not listening(self):
            return
        self.inside = True
        self.said["residual_in"] = first_states(args, kwargs)  # type: ignore[assignment]
        self.replays.append(BlockReplay.of(self.model, module, args, kwargs))
        if self.embeddings is None:
            self.embeddings = at_least_float32(self.said["residual_in"].detach())

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A block ends: prove what was recorded, show it, forget it."""
        if not listening(self):
            return
        number = self.checks.layers
        if "attention" not in self.said:
            raise TapSilent(self._silent(number))
        self.said["residual_out"] = first_states(output)  # type: ignore[assignment]
        self._refuse_other_anatomy(number)
        ran_in = self.ran_in = self.ran_in or precision(self.model, self.said["residual_in"])
        tensors: dict[str, Any] = {name: at_least_float32(tensor.detach()) for name, tensor in self.said.items()}
        self.inside, self.said = False, {}
        place = self.anatomy.blocks[number]
        layer = LayerTrace(
            index=number,
            block=resolve_block(self.model, place, tensors["attention"].shape[1]),
            scores=self.scores,
            replay=self.replays[-1],
            replay_zeroed=partial(self.replays[-1].zeroed, tensors["residual_in"]),
            embeddings=self.embeddings,
            replay_from_embeddings=ChainReplay(tuple(self.replays)),
            tolerance=tolerance(ran_in),
            **tensors,
        )
        with torch.no_grad():
            self.checks = self.checks.merged(prove(layer, ran_in))
            self.visit(layer)

    def _refuse_other_anatomy(self, number: int) -> None:
        """A hand-written anatomy may name too few blocks, or modules that do not run or are no sub-layer."""
        shapes = {name: getattr(self.said.get(name), "shape", None) for name in _STATES}
        wrong = [name for name, shape in shapes.items() if shape is None or shape != shapes["residual_in"]]
        if wrong or number == len(self.anatomy.blocks):
            found = f"left no {', no '.join(wrong)} of its shape" if wrong else "ran, and the anatomy names no more"
            raise TraceDoesNotAddUp(
                f"Block {number} of {len(self.anatomy.blocks)} {found}. The anatomy does not describe this model."
            )

    def refuse_silence(self) -> None:
        """After the run: every block must have spoken."""
        if self.checks.layers != len(self.anatomy.blocks):
            raise TapSilent(self._silent(self.checks.layers))

    def _silent(self, number: int) -> str:
        return (
            f"Block {number} of {len(self.anatomy.blocks)} made no attention call through the registry of "
            "transformers, so what it mixes was not recorded and an attribution would skip a layer. No number was "
            "produced."
        )

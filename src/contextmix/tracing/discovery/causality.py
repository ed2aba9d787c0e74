"""Whether a model's tokens see only what stands before them, found by looking at what attends to what."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.traces.trace import Scores
from contextmix.tracing.discovery.mixers import ensure_heard
from contextmix.tracing.recording.mixing.routing import Routed
from contextmix.tracing.recording.quiet import quiet_run
from contextmix.tracing.recording.tap import tapped


class _Look:
    """Remembers whether any token attended to a later one; see `tap.Listener`."""

    def __init__(self) -> None:
        self.calls, self.later = 0, False

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores | None) -> None:
        self.calls += 1
        square = attention.shape[-2] == attention.shape[-1]
        self.later |= not square or bool(attention.triu(1).any())

    def routed(self, module: nn.Module, call: Routed) -> None:
        self.heard(module, call.attention(), call.value, call.output, None)


def is_causal(model: PreTrainedModel, probe: Mapping[str, Tensor]) -> bool:
    """Whether no token attends to a later one in any block, on one input.

    Args:
        model: The model.
        probe: Model inputs with at least two tokens: what is never masked for them is never masked.
    """
    look, inner = _Look(), model.base_model  # a head attends to nothing
    ensure_heard(model, probe)
    with tapped(model, look):
        quiet_run(inner if isinstance(inner, PreTrainedModel) else model, probe)
    return look.calls > 0 and not look.later

"""Whether the towers of a model are models of their own, seen in one run of the whole on what all of them read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import UnsupportedModel
from contextmix.traces.trace import Scores
from contextmix.tracing.inputs.probe import default_probe
from contextmix.tracing.recording.quiet import first_states, on_device, quiet_run
from contextmix.tracing.recording.tap import tapped
from contextmix.tracing.recording.turns import after, undone
from contextmix.tracing.recording.verify import close, tolerance
from contextmix.tracing.runs.side import Side


class _Heard:
    """Remembers the modules that attended; a `tap.Listener`."""

    def __init__(self) -> None:
        self.modules: list[nn.Module] = []

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores | None) -> None:
        """See `tap.Listener`."""
        self.modules.append(module)


def refuse_joined(whole: PreTrainedModel, sides: Sequence[Side]) -> None:
    """Towers that give something else in the whole model than by themselves, or attention beside them.

    Args:
        whole: The model.
        sides: All of its sides.

    Raises:
        UnsupportedModel: With the tower, or the module that attends.
    """
    probes = [on_device(whole, default_probe(side)) for side in sides]
    parts = [whole.get_submodule(side.tower.path) for side in sides]
    wrote: dict[int, Any] = {}
    ear = _Heard()
    with ExitStack() as stack:
        for number, part in enumerate(parts):
            stack.enter_context(undone(after(part, partial(_keep, wrote, number)).remove))
        stack.enter_context(tapped(whole, ear))
        quiet_run(whole, {name: value for probe in probes for name, value in probe.items()})
    inside = {id(module) for part in parts for module in part.modules()}
    beside = dict.fromkeys(type(module).__name__ for module in ear.modules if id(module) not in inside)
    if beside:
        raise UnsupportedModel(
            f"{whole.config.model_type!r} ({type(whole).__name__}): {', '.join(beside)} attends beside the towers, so "
            "what it mixes is in no map of a tower. The towers by themselves can be explained."
        )
    for side, probe, number in zip(sides, probes, range(len(sides)), strict=True):
        alone, joined = first_states(quiet_run(side, probe)), wrote.get(number)
        if alone is None or joined is None or not close(joined, alone, 10 * tolerance(alone.dtype)):
            raise UnsupportedModel(
                f"{whole.config.model_type!r} ({type(whole).__name__}): its {side.tower.kind} tower "
                f"({side.tower.path}) gives something else in the whole model than by itself, so the towers are no "
                "models of their own and a map of one would not be of the model."
            )


def _keep(wrote: dict[int, Any], number: int, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    wrote[number] = first_states(output)

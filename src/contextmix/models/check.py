"""The proof that a model can be read, whatever its stacks: a traced run of it, and a plain one beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from contextmix.errors import refuse_kinds
from contextmix.maths.shapes import cut
from contextmix.models.loaded_model import LoadedModel
from contextmix.results.attached import attached
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.checks import Checks
from contextmix.tracing.recording.block_recorder import Visitor
from contextmix.tracing.recording.quiet import on_device
from contextmix.tracing.recording.verify import parity


@dataclass(frozen=True)
class CheckReport:
    """What `TracedModel.check` found.

    Attributes:
        model: Its name.
        anatomy: Where its parts are.
        n_heads: Attention heads of the first block.
        checks: Errors of conservation and of the block equation, and the number of blocks that spoke.
        parity: Relative difference of the model's outputs with and without the tap.
    """

    model: str
    anatomy: Anatomy
    n_heads: int
    checks: Checks
    parity: float

    def __post_init__(self) -> None:
        refuse_kinds(self, model=str, anatomy=Anatomy, n_heads=int, checks=Checks, parity=(float, int))

    def __repr__(self) -> str:
        blocks = f"{len(self.anatomy)} blocks ({', '.join(self.anatomy.layouts)}), {self.n_heads} heads"
        return f"<CheckReport of {cut(repr(self.model))}: {blocks}; {self.checks.told}, parity {self.parity:.1e}>"

    @property
    def lines(self) -> list[tuple[str, str, str]]:
        """Each check with its largest relative error and what it shows, for tables."""
        found, blocks = self.checks, len(self.anatomy)
        return [
            (
                "conservation",
                f"{found.conservation:.1e}",
                "attention · value · W_O + bias is the recorded attention output",
            ),
            (
                "block equation",
                f"{found.block_equation:.1e}",
                "residual, attention, norms and feed-forward rebuild each block",
            ),
            ("recorded layers", f"{found.layers} of {blocks}", "attention recorded in every block"),
            ("parity", f"{self.parity:.1e}", "outputs with and without recording are equal"),
        ]

    @attached
    def _repr_html_(self) -> str:
        """The last line of a notebook cell."""


class Recording(Protocol):
    """A traced run of a whole model."""

    def __call__(self, tensors: Mapping[str, Tensor], visit: Visitor, *, last_logits: int = 1) -> tuple[Any, Checks]:
        """The outputs and the proof; the visitor sees the blocks that read the input."""


def checked(loaded: LoadedModel, record: Recording, inputs: Mapping[str, Tensor]) -> CheckReport:
    """One traced run and one plain run.

    Args:
        loaded: The model.
        record: Runs it.
        inputs: All that it reads, with a batch axis of one.

    Raises:
        UnsupportedModel: If its blocks cannot be read.
        TraceDoesNotAddUp: If a check fails.
    """
    heads: list[int] = []
    outputs, checks = record(inputs, lambda layer: heads.append(layer.attention.shape[-3]), last_logits=0)
    with loaded.turn:
        difference = parity(loaded.model, on_device(loaded.model, inputs), outputs)
    return CheckReport(loaded.origin.model, loaded.anatomy(), heads[0], checks, difference)

"""Run a model of one stack and hand out one proved `LayerTrace` per block while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from contextmix.traces.anatomy import Anatomy
from contextmix.traces.checks import Checks
from contextmix.traces.trace import LayerTrace
from contextmix.tracing.recording.block_recorder import BlockRecorder, Visitor
from contextmix.tracing.recording.row_recorder import RowRecorder, RowVisitor
from contextmix.tracing.recording.tile_recorder import KeptBlock, TileRecorder


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
        UnsupportedModel: If something acts between the blocks; see `Between`.
        TraceDoesNotAddUp: If the parts of a block do not rebuild what the model computed.
        TapSilent: If a block made no attention call that could be heard.
        NotFinite: If an activation is NaN or infinite.
    """
    return BlockRecorder(model, anatomy, visit).run(inputs, last_logits=last_logits)


def layers_of(model: PreTrainedModel, anatomy: Anatomy, inputs: Mapping[str, Tensor]) -> list[LayerTrace]:
    """Every block of one sequence, without a batch axis; see `record`."""
    found: list[LayerTrace] = []
    record(model, anatomy, inputs, lambda layer: found.append(layer[0]))
    return found


def record_rows(
    model: PreTrainedModel,
    anatomy: Anatomy,
    inputs: Mapping[str, Tensor],
    rows: slice,
    visit: RowVisitor,
    *,
    last_logits: int = 0,
) -> tuple[Any, Checks]:
    """Run one sequence with the attention that the model has set, and show a visitor some rows of every block.

    A fused attention makes no map, and neither does this: the model's own eager attention is asked for these rows
    alone. They are proved like whole maps, against what the model made of the fused attention's output.

    Args:
        model: The model.
        anatomy: Where its parts are.
        inputs: Model inputs with a batch axis of one, without padding.
        rows: Neighbouring positions.
        visit: Called once per block, in order: with the trace of these rows, without a batch axis, and with the
            weights and values as attention read them. Nothing else there is of the size of the sequence.
        last_logits: See `quiet_run`.

    Returns:
        The model's outputs, and how well the trace proved itself; raises as `record` does.
    """
    return RowRecorder(model, anatomy, rows, visit).run(inputs, last_logits=last_logits)


def record_tiles(
    model: PreTrainedModel, anatomy: Anatomy, inputs: Mapping[str, Tensor], *, last_logits: int = 0
) -> tuple[Any, list[KeptBlock], Checks]:
    """Run one sequence and keep of every block what any of its rows can be made of afterwards.

    Nothing is proved yet but that every block spoke: rows are proved when they are made.

    Args:
        model: The model.
        anatomy: Where its parts are.
        inputs: Model inputs with a batch axis of one, without padding.
        last_logits: See `quiet_run`.

    Returns:
        The model's outputs, its blocks in order, and what changes between them.

    Raises:
        UnsupportedModel: If a block cannot be made some rows at a time.
    """
    recorder = TileRecorder(model, anatomy)
    outputs, checks = recorder.run(inputs, last_logits=last_logits)
    return outputs, recorder.blocks, checks

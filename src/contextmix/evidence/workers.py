"""How many processes share a comparison, unless the user says it."""

from __future__ import annotations

from pathlib import Path

import torch

from contextmix.datasets.reading.source import Source
from contextmix.evidence.experiment import Setup
from contextmix.tracing.recording.offload import device_of, is_offloaded

MOST = 4
"""More processes cost more memory than time is left to win; the threads of torch are divided among them."""
MODEL_BYTES = 2**30
"""What the models of all processes may take together."""


def usual_workers(setup: Setup, source: Source, shard_rows: int) -> int:
    """One process per thread of torch, where each can have its own model and read the data; else one in all.

    Small matrices keep no second thread busy: two processes of one thread each do nearly twice the work of one with
    two. ``OMP_NUM_THREADS`` says how many processors to use, here as everywhere.

    Args:
        setup: The model and its device.
        source: The rows.
        shard_rows: Rows that one process takes at a time.
    """
    model = setup.traced.model
    named = isinstance(setup.model, str | Path) and device_of(model).type == "cpu" and not is_offloaded(model)
    if not named or not source.portable:
        return 1
    room = MODEL_BYTES // sum(weight.nbytes for weight in model.parameters())
    return max(1, min(torch.get_num_threads(), MOST, room, -(-source.count // shard_rows)))

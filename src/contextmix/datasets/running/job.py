"""A run as another process can take it up: where model, data and folder are, and what the model must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contextmix.datasets.reading.source import Source
from contextmix.datasets.running.answering import ANSWER
from contextmix.datasets.running.explaining import EXPLAIN
from contextmix.datasets.running.task import AnySettings
from contextmix.datasets.running.work import Work
from contextmix.datasets.storage.folder import RunFolder
from contextmix.datasets.storage.identity import differences
from contextmix.errors import OtherRun
from contextmix.models.traced_model import TracedModel
from contextmix.models.verbs import load
from contextmix.options.option import declared
from contextmix.options.sets import Precision

TASKS = {one.name: one for one in (EXPLAIN, ANSWER)}
"""What can be done with rows, by name."""


@dataclass(frozen=True)
class Job:
    """All that a worker needs to know; cheap to copy and to send.

    Attributes:
        model: What `load` takes; a loaded model only in the process that has it.
        dtype: Precision in which it is loaded.
        device: Where it runs.
        device_map: Which of its parts go where.
        settings: What is measured.
        source: The rows.
        out: The folder.
        batch_tokens: Tokens that run together at most.
        memory_budget: Bytes that a batch may take.
        strict: Whether a row with a problem ends the run.
        retry: Whether failed rows are measured again.
    """

    model: Any
    dtype: str
    device: str | None
    device_map: str | Mapping[str, Any] | None
    settings: AnySettings
    source: Source
    out: Path
    batch_tokens: int
    memory_budget: int
    strict: bool = False
    retry: bool = False

    def work(self, identity: Mapping[str, Any] | None = None) -> Work:
        """Load the model and take up the work.

        Args:
            identity: What the model must be; a worker is told by the process that began the run.

        Raises:
            OtherRun: If the model is another one here.
        """
        loaded = isinstance(self.model, TracedModel)
        how = {name: getattr(self, name) for name in declared(Precision)}
        model = (self.model if loaded else load(self.model, **how)).of_texts
        measurer = TASKS[self.settings.task].maker(model, self.settings, self.batch_tokens, self.memory_budget)
        found = [] if identity is None else differences(measurer.identity, identity)
        if found:
            raise OtherRun(
                f"{self.model!r} is another model in this worker than where the run began: {'; '.join(found)}."
            )
        return Work(measurer, self.source, RunFolder(self.out), strict=self.strict, retry=self.retry)

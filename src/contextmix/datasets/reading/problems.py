"""What went wrong with a text, in a word and a sentence; and what is no fault of any text."""

from __future__ import annotations

import re

import torch

from contextmix.datasets.reading.rows import Problem
from contextmix.errors import ContextMixError

OUT_OF_MEMORY = "out_of_memory"
_NO_MEMORY = re.compile(r"not enough memory|out of memory|can(no|')t allocate memory|ALLOC_FAILED", re.IGNORECASE)
"""What CUDA, MPS, the allocators of Windows and Linux, and cuBLAS say."""


def problem_of(failure: BaseException) -> Problem | None:
    """The reason that is recorded for a text, or None for what is no fault of a text or its size: a defect."""
    if isinstance(failure, ContextMixError):
        kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(failure).__name__).lower()
        return Problem(kind, str(failure))
    if isinstance(failure, MemoryError | torch.OutOfMemoryError) or _NO_MEMORY.search(str(failure)):
        return Problem(OUT_OF_MEMORY, f"It did not fit into memory, even alone in its batch: {failure!s:.200}.")
    return None

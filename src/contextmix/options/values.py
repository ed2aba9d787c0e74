"""The types of values that options have, and the defaults that code beside the options needs too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from contextmix.errors import BadOption

Asked: TypeAlias = int | str | tuple[int | str, int | str] | None
"""A score to explain: one by name or number, two to contrast, or None for the predicted one."""
Removal: TypeAlias = Literal["mask", "delete", "unknown", "pad", "masked_keys", "zero", "infill"]
"""What stands in the place of a token that is taken away."""
SuiteName: TypeAlias = Literal["2026"]
"""A fixed comparison: who takes part stands in `contextmix.evidence.suites`."""
Layers: TypeAlias = Literal["all"] | Sequence[int] | None
OfEach: TypeAlias = Mapping[str, Mapping[str, Any]] | None
"""Name of a method or metric → its options."""
Progress: TypeAlias = Callable[[float, str], None]
"""Called with how much is done, from 0 to 1, and what comes next; what it raises ends the work."""

Scorer: TypeAlias = Callable[[str], Any]
"""A method of one's own: a text → one score per token."""

SHARD_SIZE = 1024
"""Rows per shard, unless told otherwise or there are many."""
LARGEST_SHARD, ENOUGH_SHARDS = 4096, 16
"""More rows together make fuller batches. Of so many shards as these, several processes have about the same to do."""
ANSWERS_SIZE = 64
"""The same of answers, each of which takes longer: workers share a data set by its shards."""
BATCH_TOKENS = 1024
"""Tokens that run together in a run over a data set, unless told otherwise."""
MEMORY_BUDGET = 2**30
"""Bytes, unless told otherwise."""
MAX_NEW_TOKENS = 64
"""Tokens that an encoder–decoder writes itself at most, unless told otherwise."""
REFERENCE = "gradient_inputs"
"""What metrics against a reference compare with, unless told otherwise."""
SANITY_ROWS = 50
"""Texts on which the model with random weights is run too."""
OF_SCORE, OF_REPRESENTATION = "evidence", "globenc"
"""The method where none was named: for a class or what a decoder says, and for what a representation is made of."""
PRECISIONS = ("float32", "float64", "bfloat16", "float16", "auto")
"""In which a named model can be loaded; ``"auto"`` keeps the stored one."""


def precision(_: str, value: Any) -> None:
    """Refuse the name of a precision that there is not, before anything that computes is loaded."""
    if isinstance(value, str) and value not in PRECISIONS:
        *first, last = PRECISIONS
        raise BadOption(f"There is no data type {value!r}. Use {', '.join(first)} or {last}.")

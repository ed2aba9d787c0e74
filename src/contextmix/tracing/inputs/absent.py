"""Why what stands beside a model could not be loaded, for the sentence that says that it is missing."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from transformers import PreTrainedModel

from contextmix.tracing.inputs.hub import first_line

_WHY: WeakKeyDictionary[PreTrainedModel, str] = WeakKeyDictionary()
OWN_CODE = (
    "it comes with its own code, which could do anything on this machine and only runs if you allow it. Read that "
    "code, then use trust_remote_code=True"
)


def is_own_code(reason: BaseException) -> bool:
    """Whether transformers refuses to run code that a checkpoint brings along."""
    return "trust_remote_code" in str(reason)


def note_absent(model: PreTrainedModel, reason: Exception) -> None:
    """Keep why a processor was not loaded; most models have none, and nobody asks."""
    _WHY[model] = OWN_CODE if is_own_code(reason) else first_line(reason)


def why_absent(model: PreTrainedModel) -> str | None:
    """Why a model was loaded without its processor; None if nothing was tried."""
    return _WHY.get(model)

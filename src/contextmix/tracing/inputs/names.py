"""Names of models: which are built in, and which can be nowhere. Torch and transformers are not needed to say so."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import constants

from contextmix import errors
from contextmix.errors import ModelNotFound, did_you_mean
from contextmix.results.files import at_home

BUILT_IN = {"demo": "sentiment", "demo-decoder": "stories", "demo-answers": "answers"}
"""Names that need no network, and their folders in the package."""

_ON_THE_HUB = re.compile(r"(?=.{1,96}$)([\w-][\w.-]*/)?[\w-][\w.-]*", re.ASCII)


def refuse_absent(name: str) -> None:
    """Refuse a model that can be nowhere; of others only loading can tell.

    Args:
        name: What people typed.

    Raises:
        ModelNotFound: If it is no built-in model and no folder or file here, and no name on the hub either, by its
            spelling or because there is no network and it was never fetched.

    Example:
        >>> refuse_absent("./demo model")
        Traceback (most recent call last):
        contextmix.errors.ModelNotFound: There is no model './demo model': not a local folder, not a built-in model ...
    """
    reason = "" if name in BUILT_IN or is_here(name) else _not_on_the_hub(name)
    if reason:
        raise ModelNotFound(
            f"There is no model {name!r}: not a local folder, not a built-in model ({', '.join(BUILT_IN)}), "
            f"{reason}.{near_misses(name)}"
        )


def near_misses(name: str) -> str:
    """The end of a sentence about an unknown name: built-in models and folders beside it that are called almost so.

    Example:
        >>> near_misses("dmeo")
        " Did you mean 'demo'?"
    """
    asked = at_home(name)
    near = errors.near_misses(name, BUILT_IN.keys() - {name}, 1)
    there = asked.parent.glob("*/config.json") if is_here(str(asked.parent)) else ()
    beside = {path.parent.name: path.parent for path in there}
    near += [str(beside[one]) for one in errors.near_misses(asked.name, beside)]
    return did_you_mean(near)


def is_here(name: str) -> bool:
    """Whether a name is that of a file or folder; of one that no file can have it is not."""
    try:
        return name != "" and at_home(name).exists()
    except (OSError, ValueError):  # too long for a name, no text of a name
        return False


def _not_on_the_hub(name: str) -> str:
    """Why the hub cannot have it; empty where it may."""
    if not _ON_THE_HUB.fullmatch(name) or "--" in name or ".." in name:
        return "not a name on the Hugging Face Hub (NAME or OWNER/NAME)"
    fetched = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    if constants.HF_HUB_OFFLINE and not fetched.is_dir():
        return "not downloaded from the Hugging Face Hub, which this process may not contact (HF_HUB_OFFLINE is set)"
    return ""

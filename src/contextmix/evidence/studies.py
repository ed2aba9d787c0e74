"""Which experiments there are, from what their files say: none of them is imported, nor torch."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

from contextmix.errors import BadOption, UnknownName
from contextmix.plugins.reading import texts_of

FOLDER = "contextmix.experiments"


def studies() -> dict[str, list[str]]:
    """Study → the names of its experiments.

    Example:
        >>> studies()["globenc"]
        ['hta', 'layers', 'outliers', 'rows', 'table1']
    """
    found: dict[str, list[str]] = {}
    for file in sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(FOLDER).__path__)):
        texts = texts_of(f"{FOLDER}.{file}", "EXPERIMENT")
        found.setdefault(texts["study"], []).append(texts["name"])
    return found


def refuse_unknown(study: str, only: Sequence[str] | None = None) -> None:
    """Refuse experiments that do not exist.

    Raises:
        UnknownName: If there is no such study or experiment; with near misses.
    """
    known, asked = studies(), study.replace("-", "_") if isinstance(study, str) else ""
    if asked not in known:
        raise UnknownName("study", study, known)
    if only is not None and not len(only):
        raise BadOption(f"only={only!r} names no experiment, so nothing would run. Leave it out to run all.")
    for name in only or ():
        if not isinstance(name, str) or name not in known[asked]:
            raise UnknownName(f"experiment of {asked}", name, known[asked])

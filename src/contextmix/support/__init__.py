"""What is known about every model type of transformers: the results of the last sweep, as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from contextmix.errors import UnknownName

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped, unused-ignore]

STATUSES = ("verified", "refused", "not tried", "inside another")

Record = Mapping[str, Any]


def records(model_type: str | None = None, status: str | None = None) -> tuple[dict[str, Record], dict[str, str]]:
    """Model type → what is known of it, and the versions of the libraries that were looked at; without pandas.

    Raises:
        UnknownName: If there is no such model type or status.

    Example:
        >>> records("llama")[0]["llama"]["layouts"]
        'pre-norm'
    """
    kept = json.loads((files("contextmix") / "support" / "models.json").read_text(encoding="utf-8"))
    found: dict[str, Record] = kept["models"]
    if model_type is not None:
        if not isinstance(model_type, str) or model_type not in found:
            raise UnknownName("model type", model_type, found)
        found = {model_type: found[model_type]}
    if status is not None:
        if not isinstance(status, str) or status not in STATUSES:
            raise UnknownName("status", status, STATUSES)
        found = {name: one for name, one in found.items() if one["status"] == status}
    return found, kept["versions"]


def table(model_type: str | None = None, status: str | None = None) -> pd.DataFrame:
    """One row per model type; see `contextmix.models`."""
    import pandas as pd  # a list on the command line needs none

    every, versions = records()
    chosen, _ = records(model_type, status)
    # Made of all, so that the columns have the same types whichever rows are asked for.
    frame = pd.DataFrame.from_dict(every, orient="index").rename_axis("model_type").loc[list(chosen)]
    frame.attrs["versions"] = versions
    return frame

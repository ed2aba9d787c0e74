"""What is known about every model type of transformers: the results of the last sweep, as a table."""

from __future__ import annotations

import json
from importlib.resources import files

import pandas as pd

from contextmix.errors import UnknownName

STATUSES = ("verified", "refused", "not tried")


def table(model_type: str | None = None, status: str | None = None) -> pd.DataFrame:
    """One row per model type; see `contextmix.models`."""
    kept = json.loads((files("contextmix") / "support" / "models.json").read_text(encoding="utf-8"))
    frame = pd.DataFrame.from_dict(kept["models"], orient="index").rename_axis("model_type")
    frame.attrs["versions"] = kept["versions"]
    if model_type is not None:
        if model_type not in frame.index:
            raise UnknownName("model type", model_type, list(frame.index))
        frame = frame.loc[[model_type]]
    if status is not None:
        if status not in STATUSES:
            raise UnknownName("status", status, STATUSES)
        frame = frame[frame["status"] == status]
    return frame

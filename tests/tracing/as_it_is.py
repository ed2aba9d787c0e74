"""A tiny classifier that people have changed in some way, and the methods that must see the change."""

from typing import Any

import numpy as np
from tests.tracing.tiny import build, token_ids

import contextmix as cm

SOURCE = {"input_ids": token_ids(7)[0]}
METHODS = ("globenc", "value_zeroing", "hta_inputs", "decompx", "gradient_inputs", "integrated_gradients", "occlusion")


def classifier(**changes: Any) -> Any:
    return build("bert", "ForSequenceClassification", **changes)


def values(model: Any, method: str = "globenc") -> np.ndarray:
    return cm.load(model).explain(SOURCE, method).values

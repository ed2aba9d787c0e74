"""HTA and HTA × inputs against frozen Jacobians, written out longhand in float64; see README.md beside this file."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import contextmix as cm

TEXTS = {"s00": "bad .", "s08": "a movie with a real anarchic flair ."}
DTYPES = {"float32": torch.float32, "float64": torch.float64}
LIMITS = {"float32": 1e-5, "float64": 1e-12}
"""Relative to the largest value of a layer: 8e-7 and 2e-15 were measured."""

with np.load(Path(__file__).with_name("hta.npz"), allow_pickle=False) as stored:
    FROZEN = {name: stored[name] for name in stored.files}


@pytest.fixture(scope="module")
def maps(shared):
    """`maps(sentence, name, dtype)`: each measured once."""
    folder = shared("models/minilm-sst2")
    load = cache(lambda dtype: cm.load(folder, dtype=DTYPES[dtype]))
    return cache(lambda sentence, name, dtype: load(dtype).explain(TEXTS[sentence], name))


def difference(found: np.ndarray, frozen: np.ndarray) -> float:
    """The largest difference in any layer, relative to the layer's largest value."""
    assert found.shape == frozen.shape
    return float((np.abs(found - frozen).max((-1, -2)) / frozen.max((-1, -2))).max())


def test_nothing_was_left_out_of_the_frozen_numbers():
    assert set(FROZEN) == {f"{key}.f64.{name}" for key in TEXTS for name in ("hta", "hta_inputs", "hta_inputs_rollout")}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["hta", "hta_inputs"])
@pytest.mark.parametrize("sentence", TEXTS)
def test_maps_are_the_lengths_of_the_jacobians(maps, sentence, name, dtype):
    found = maps(sentence, name, dtype).values
    assert difference(found, FROZEN[f"{sentence}.f64.{name}"]) <= LIMITS[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sentence", TEXTS)
def test_the_rollout_is_theirs(maps, sentence, dtype):
    found = cm.aggregate(maps(sentence, "hta_inputs", dtype), "rollout").values
    assert difference(found, FROZEN[f"{sentence}.f64.hta_inputs_rollout"]) <= LIMITS[dtype]

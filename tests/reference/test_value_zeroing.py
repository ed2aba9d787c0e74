"""Value Zeroing against what its authors' released code gives in float64 for minilm-sst2 (`vz.npz`).

Arrays are named SENTENCE.f64.NAME. Their float32 numbers are partly rounding: row shares are off by up to 0.27.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import contextmix as cm

TEXTS = {
    "s00": "bad .",
    "s05": "the best revenge may just be living well because this film , unlike other dumas adaptations , is far more "
    "likened to a treasure than a lengthy jail sentence .",
    "s08": "a movie with a real anarchic flair .",
}
LIMITS = {"float32": 1e-4, "float64": 1e-9}

with np.load(Path(__file__).with_name("vz.npz"), allow_pickle=False) as stored:
    FROZEN = {name: stored[name] for name in stored.files}

each_sentence = pytest.mark.parametrize("sentence", TEXTS)
each_precision = pytest.mark.parametrize("precision", LIMITS)


@pytest.fixture(scope="module")
def models(shared):
    """The model in each precision."""
    return cache(lambda precision: cm.load(shared("models/minilm-sst2"), dtype=precision))


@each_precision
@each_sentence
def test_shares_are_those_of_the_authors_code(models, sentence, precision):
    found = models(precision).explain(TEXTS[sentence], "value_zeroing").values
    assert np.abs(found - FROZEN[f"{sentence}.f64.map"]).max() <= LIMITS[precision]


@each_sentence
def test_distances_are_those_of_the_authors_code(models, sentence):
    found = models("float64").explain(TEXTS[sentence], "value_zeroing", normalise=False).values
    frozen = FROZEN[f"{sentence}.f64.raw"]
    assert np.abs(found - frozen).max() / frozen.max() <= LIMITS["float64"]


@each_precision
@each_sentence
def test_rollouts_are_those_of_the_authors_code(models, sentence, precision):
    found = models(precision).explain(TEXTS[sentence], "value_zeroing_rollout", layers="all").values
    assert np.abs(found - FROZEN[f"{sentence}.f64.rollout"]).max() <= LIMITS[precision]


@each_sentence
def test_bfloat16_differences_stay_within_a_thousandth(models, sentence, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)  # or emulated
    found = models("float32").explain(TEXTS[sentence], "value_zeroing", precision="bfloat16").values
    assert 0 < np.abs(found - FROZEN[f"{sentence}.f64.map"]).max() <= 1e-3

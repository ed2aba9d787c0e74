"""ALTI against what its authors' released code gives for minilm-sst2 (from `shared/reference/alti.npz`).

Arrays are named SENTENCE.f64.NAME; `_noeps` is their code without the 1e-6 that torch's pairwise distance adds to every
component of a difference. Those of s13 were stored in float32.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import contextmix as cm

TEXTS = {
    "s00": "bad .",
    "s05": "the best revenge may just be living well because this film , unlike other dumas adaptations , is far more "
    "likened to a treasure than a lengthy jail sentence .",
    "s08": "a movie with a real anarchic flair .",
    "s13": "jones ... does offer a brutal form of charisma .",
}
# Relative to the largest value. float32: 4e-6 was measured, float64: 3e-13 (a distance is a small part of the whole).
LIMITS = {("float32", "float64"): 1e-5, ("float32", "float32"): 1e-5, ("float64", "float64"): 1e-11}
LIMITS["float64", "float32"] = 1e-6

with np.load(Path(__file__).with_name("alti.npz"), allow_pickle=False) as stored:
    FROZEN = {name: stored[name] for name in stored.files}

each_sentence = pytest.mark.parametrize("sentence", TEXTS)
each_precision = pytest.mark.parametrize("precision", ["float32", "float64"])


@pytest.fixture(scope="module")
def models(shared):
    """The model in each precision."""
    return cache(lambda precision: cm.load(shared("models/minilm-sst2"), dtype=precision))


def agree(found, name, precision):
    frozen = FROZEN[name]
    assert found.shape == frozen.shape
    assert np.abs(found - frozen).max() / np.abs(frozen).max() <= LIMITS[precision, str(frozen.dtype)]


@each_precision
@each_sentence
def test_maps_are_those_of_the_authors_code(models, sentence, precision):
    trace = models(precision).trace(TEXTS[sentence])
    agree(cm.measure(trace, "alti").values, f"{sentence}.f64.map_noeps", precision)


@each_precision
@each_sentence
def test_rollouts_are_those_of_the_authors_code(models, sentence, precision):
    name = f"{sentence}.f64.rollout_noeps"
    found = models(precision).explain(TEXTS[sentence], method="alti_rollout", layers="all").values
    agree(found, name, precision)
    row = models(precision).explain(TEXTS[sentence], method="alti_rollout", query="[CLS]").values
    assert np.abs(row - FROZEN[name][-1, 0]).max() <= LIMITS[precision, str(FROZEN[name].dtype)]


@each_sentence
def test_the_whole_is_what_the_authors_code_takes_for_it(models, sentence):
    layers = models("float64").trace(TEXTS[sentence]).layers
    found = np.stack([layer.states.residual_mid.abs().sum(-1).numpy() for layer in layers])
    agree(found, f"{sentence}.f64.resultant_norm", "float64")


def test_without_normalising_they_are_the_authors_distances_up_to_their_epsilon(models):
    found = cm.measure(models("float64").trace(TEXTS["s08"]), "alti", normalise=False).values
    wanted = np.maximum(0, FROZEN["s08.f64.resultant_norm"][..., None] + FROZEN["s08.f64.raw"])  # raw is −distance
    assert 1e-6 < np.abs(found - wanted).max() <= 384 * 1e-6 + 1e-9


def test_the_authors_epsilon_matters_more_than_our_rounding():
    """Why the comparison is with the arrays without it."""
    departure = np.abs(FROZEN["s08.f64.map"] - FROZEN["s08.f64.map_noeps"]).max()
    assert departure / FROZEN["s08.f64.map"].max() > 1e-5

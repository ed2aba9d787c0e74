"""Gradient methods against numbers by longhand autograd on minilm-sst2 (`shared/reference/grad.npz`, committed whole).

The authors of GlobEnc published a notebook, not a function, so the reference is their formula written out: the gradient
of the logit at the output of the embedding layer. Arrays are named SENTENCE.PRECISION.NAME.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import contextmix as cm

TEXTS = {  # with the true class
    "s00": ("bad .", 0),
    "s03": (
        "the subtle strength of `` elling '' is that it never loses touch with the reality of the grim situation .",
        1,
    ),
    "s05": (
        "the best revenge may just be living well because this film , unlike other dumas adaptations , is far more "
        "likened to a treasure than a lengthy jail sentence .",
        1,
    ),
    "s08": ("a movie with a real anarchic flair .", 1),
    "s13": ("jones ... does offer a brutal form of charisma .", 1),
}
ASKED = {
    "saliency_gold": ("norm", True),
    "saliency_pred": ("norm", False),
    "gradxinput_sum_gold": ("sum", True),
}
# Relative to the largest value. float64 kept in float32 has lost 6e-8 by rounding. In float32 lengths agree to 6e-7 and
# sums, whose terms cancel, to 8.6e-6 (both sides are rounded; the model's attention kernel decides), so sums get twice.
LIMITS = {("f32", "float32"): 1e-5, ("f64", "float32"): 1e-6, ("f64", "float64"): 1e-9}

with np.load(Path(__file__).with_name("grad.npz"), allow_pickle=False) as stored:
    FROZEN = {name: stored[name] for name in stored.files}


@pytest.fixture(scope="module")
def model(shared):
    folder = shared("models/minilm-sst2")
    return cache(lambda precision: cm.load(folder, dtype={"f32": "float32", "f64": "float64"}[precision]))


@pytest.mark.parametrize("name", FROZEN)
def test_gradient_times_input_is_the_longhand_number(model, name):
    sentence, precision, array = name.split(".")
    (text, gold), (reduce, is_gold) = TEXTS[sentence], ASKED[array]
    target = gold if is_gold else None
    found = model(precision).explain(text, method="gradient_inputs", reduce=reduce, target=target).values
    wanted = FROZEN[name]
    limit = LIMITS[precision, str(wanted.dtype)] * (2 if reduce == "sum" else 1)
    assert np.abs(found - wanted).max() / np.abs(wanted).max() <= limit


def test_the_frozen_numbers_tell_classes_and_tokens_apart(model):
    assert len(FROZEN) == 30
    for key, (text, gold) in TEXTS.items():
        right, summed = (FROZEN[f"{key}.f32.{name}"] for name in ("saliency_gold", "gradxinput_sum_gold"))
        other = model("f32").explain(text, method="gradient_inputs", target=1 - gold).values
        assert right.std() > 0.1 * right.mean()
        assert np.abs(np.abs(summed) - right).max() > 0.1 * right.max()
        assert np.abs(other - right).max() > 1e-3 * right.max()

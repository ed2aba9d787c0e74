"""Metrics on a trained model: explanations by occlusion, by chance and turned round, in this order."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.tracing.tiny import one_thread

import contextmix as cm
from contextmix.metrics import (
    accuracy_curve,
    aopc,
    blank_out,
    comprehensiveness,
    deletion_area,
    insertion_area,
    log_odds,
    sufficiency,
)
from contextmix.models.predictor import predictor, removable

TEXTS = [
    "a deep and meaningful film .",
    "the plot is dull and the actors are worse .",
    "an unforgettable and moving story about two sisters who find each other again .",
    "not even the fine cast can save this tedious mess of a movie .",
    "it is hard to imagine a more charming way to spend an evening .",
    "the jokes are stale , the pace is slow and nothing ever happens .",
    "one of the best films of the year , funny , warm and clever .",
    "a lifeless sequel that nobody asked for and nobody will remember .",
]
FILES = [
    accuracy_curve,
    aopc,
    blank_out,
    comprehensiveness,
    deletion_area,
    insertion_area,
    log_odds,
    sufficiency,
]


@pytest.fixture(scope="module")
def examples():
    """For each text: a predictor, which tokens may go, and the scores of occlusion."""
    with one_thread():
        demo = cm.load("demo")
        inputs = demo.encode(TEXTS)
        scores = [demo.explain(text, "occlusion").values for text in TEXTS]
        yield [(predictor(demo, one), removable(one.tokens), own) for one, own in zip(inputs, scores, strict=True)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.METRIC.name)
def test_occlusion_is_better_than_chance_and_its_reverse_worse(file, examples):
    draws = np.random.default_rng(0)
    metric, found = file.METRIC, {"occlusion": [], "chance": [], "reverse": []}
    for predict, may_go, scores in examples:
        found["occlusion"].append(metric.score(scores, predict, may_go).value)
        found["reverse"].append(metric.score(-scores, predict, may_go).value)
        for _ in range(5):
            found["chance"].append(metric.score(draws.normal(size=len(scores)), predict, may_go).value)
    sign = 1 if metric.higher_is_better else -1
    good, chance, bad = (sign * np.mean(found[name]) for name in ("occlusion", "chance", "reverse"))
    assert good > chance > bad
    if metric.name == "blank_out":
        # The same question in other batches, so two tokens whose drops tie up to rounding may change places: ρ falls by
        # 12 / (n³ − n), which is 0.057 of six tokens.
        assert min(found["occlusion"]) > 0.94
        assert np.mean(found["occlusion"]) > 0.99


def test_aopc_and_areas_by_one_run_of_the_model_after_another(examples):
    """Nothing of the package but the scores."""
    demo = cm.load("demo")
    text, (predict, may_go, scores) = TEXTS[3], examples[3]
    ids = demo.tokenizer(text, return_tensors="pt")["input_ids"]
    order = sorted(np.flatnonzero(may_go), key=lambda token: -scores[token])

    def said(gone) -> float:
        changed = ids.clone()
        changed[0, list(gone)] = demo.tokenizer.mask_token_id
        with torch.no_grad():
            chosen = demo.model(input_ids=ids).logits[0].argmax()
            return float(demo.model(input_ids=changed).logits[0].double().softmax(-1)[chosen])

    n = len(order)
    falls = [said([]) - said(order[: tenth * n // 10]) for tenth in range(1, 10)]
    assert aopc.METRIC.score(scores, predict, may_go).value == pytest.approx(np.mean(falls), abs=1e-6)
    curve = [said(order[:gone]) for gone in range(n + 1)]
    area = sum((one + other) / 2 for one, other in pairwise(curve)) / n
    assert deletion_area.METRIC.score(scores, predict, may_go).value == pytest.approx(area, abs=1e-6)

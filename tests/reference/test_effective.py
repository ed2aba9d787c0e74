"""Effective attention against a float64 longhand for minilm-sst2 (from `shared/reference/effective.npz`).

The released code is wrong on padded inputs (`knowledge/methods.md` 6.2), so the reference is the definition: true
tokens, rank by a relative tolerance. Arrays are named SENTENCE.f64.NAME, in float32; of long0 (87 tokens), layers 0, 3
and 5 were kept, and of its single heads one. d_head is 32, so sentences of up to 32 tokens keep their attention.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import contextmix as cm

TEXTS = {
    "s05": "the best revenge may just be living well because this film , unlike other dumas adaptations , is far more "
    "likened to a treasure than a lengthy jail sentence .",
    "s08": "a movie with a real anarchic flair .",
}
LAYERS = {"long0": [0, 3, 5], "s05": range(6), "s08": range(6)}
# Relative to the largest value; the frozen numbers are in float32. One token more than d_head (s05): the projection
# removes one direction alone, that of the smallest singular value (5e-4 of the largest), and float32 values fix it to
# 1e-4. A float64 decomposition of the same float32 values is as far away (1.35e-5).
LIMITS = {("s05", "float32"): 3e-5}

with np.load(Path(__file__).with_name("effective.npz"), allow_pickle=False) as stored:
    FROZEN = {name: stored[name] for name in stored.files}

each_sentence = pytest.mark.parametrize("sentence", LAYERS)
each_precision = pytest.mark.parametrize("precision", ["float32", "float64"])


@pytest.fixture(scope="module")
def traces(shared):
    """One run of the model per sentence and precision."""
    load = cache(lambda precision: cm.load(shared("models/minilm-sst2"), dtype=precision))
    ids = {"input_ids": torch.from_numpy(FROZEN["long0.input_ids"]).long()}
    return cache(lambda sentence, precision: load(precision).trace(TEXTS.get(sentence, ids)))


def agree(found, name, precision):
    sentence, frozen = name.split(".")[0], FROZEN[name]
    limit = LIMITS.get((sentence, precision), 1e-5 if precision == "float32" else 1e-6)
    assert np.abs(found - frozen).max() / np.abs(frozen).max() <= limit


@each_precision
@each_sentence
def test_the_mean_over_heads_is_that_of_the_definition(traces, sentence, precision):
    found = cm.measure(traces(sentence, precision), "effective_attention").values
    agree(found[LAYERS[sentence]], f"{sentence}.f64.headmean", precision)


@each_precision
@pytest.mark.parametrize("sentence", ["long0", "s05"])
def test_so_is_the_variant_that_keeps_the_sums_of_rows(traces, sentence, precision):
    found = cm.measure(traces(sentence, precision), "effective_attention", rows="sum").values
    agree(found[LAYERS[sentence]], f"{sentence}.f64.headmean_rowsum", precision)
    np.testing.assert_allclose(found.sum(-1), 1.0, atol=1e-5)


@each_precision
def test_so_is_a_single_head(traces, precision):
    found = cm.measure(traces("long0", precision), "effective_attention", heads="each").values
    agree(found[5, 7], "long0.f64.per_head", precision)


@each_precision
@each_sentence
def test_ranks_are_those_of_the_definition(traces, sentence, precision):
    found = cm.measure(traces(sentence, precision), "effective_attention")
    assert found.provenance.notes["rank"] == FROZEN[f"{sentence}.f64.rank"].tolist()


def test_a_sentence_of_few_tokens_keeps_its_attention(traces):
    trace = traces("s08", "float32")
    assert np.array_equal(cm.measure(trace, "effective_attention").values, cm.measure(trace, "attention").values)
    longer = traces("long0", "float32")
    difference = cm.measure(longer, "effective_attention").values - cm.measure(longer, "attention").values
    assert np.abs(difference).max() > 0.1


@each_precision
def test_what_each_head_sends_stays(traces, precision):
    trace = traces("long0", precision)
    found = cm.measure(trace, "effective_attention", heads="each").values
    for maps, layer in zip(found, trace.layers, strict=True):
        sent = (layer.attention @ layer.value).numpy()
        left = np.abs(maps @ layer.value.numpy() - sent).max() / np.abs(sent).max()
        assert left < (3e-6 if precision == "float32" else 1e-13)

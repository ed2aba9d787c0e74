"""DecompX against numbers that the authors' released code gave; `decompx.npz`, arrays KEY.PRECISION.NAME.

Code: mohsenfayyaz/DecompX, `aggregation="vector"`, on `minilm-sst2`, one sentence at a time, no padding.
``classifier`` (key, class) is the default (AbsDot, zero-origin GELU and tanh), ``var_*`` the same with one option
changed, ``agg_norm`` (layer, query, key) and ``pooler_norm`` (key,) are lengths of the vectors on the way, and
``globenc_ffn_rollout`` is GlobEnc with the feed-forward part, as that repository's notebook runs it.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import contextmix as cm
from contextmix.maths import decompx
from contextmix.maths.decompx import Rules
from contextmix.maths.projections import Affine
from contextmix.maths.split_block import SplitFeedForward
from contextmix.traces.splitting import split_block
from contextmix.tracing.discovery.head import find_head

TEXTS = {
    "s00": "bad .",
    "s05": "the best revenge may just be living well because this film , unlike other dumas adaptations , "
    "is far more likened to a treasure than a lengthy jail sentence .",
    "s08": "a movie with a real anarchic flair .",
    "s13": "jones ... does offer a brutal form of charisma .",
}
VARIANTS = {
    "classifier": {},
    "var_no_bias": {"bias": "none"},
    "var_no_ffn": {"ffn": "none"},
    "var_tanh_LA": {"head": "tangent"},
    "var_gelu_LA": {"ffn": "tangent"},
    "var_relu": {"ffn": "relu"},
    "var_bias_norm": {"bias": "norm"},
    "var_bias_equal": {"bias": "equal"},
    "var_bias_abssim": {"bias": "abssim"},
    "var_bias_cls": {"bias": "cls"},
}
DTYPES = {"f32": torch.float32, "f64": torch.float64}
# Relative to the largest value of an array. float32: 9e-7 was measured. float64: 2.3e-10 was measured, all of it the
# 1e-12 that the authors add to their denominators. float64 kept in float32: 6e-8 is lost by rounding.
LIMITS = {("f32", "float32"): 1e-5, ("f64", "float32"): 1e-6, ("f64", "float64"): 1e-9}

with np.load(Path(__file__).with_name("decompx.npz"), allow_pickle=False) as stored:
    FROZEN = {name: stored[name] for name in stored.files}


def named(*arrays: str) -> list[str]:
    return [name for name in FROZEN if name.split(".")[2] in arrays]


def agree(found: np.ndarray, name: str) -> None:
    frozen = FROZEN[name]
    assert found.shape == frozen.shape
    assert np.abs(found - frozen).max() / np.abs(frozen).max() <= LIMITS[name.split(".")[1], str(frozen.dtype)]


@pytest.fixture(scope="module")
def models(shared):
    folder = shared("models/minilm-sst2")
    return cache(lambda precision: cm.load(folder, dtype=DTYPES[precision]))


def layer_parts(model, sentence):
    """All rows of all layers (the method keeps only the row that its head reads)."""
    found, parts = [], None
    for layer in model.trace(TEXTS[sentence]).layers:
        block = split_block(layer)
        if parts is None:
            parts = decompx.rest_of_block_(decompx.first_parts(layer.residual_parts), block, Rules(), 3, None)
        else:
            parts = decompx.through_block_(parts, block, Rules(), 3)
        torch.testing.assert_close(parts.sum(0), layer.residual_out, rtol=0, atol=1e-4)
        found.append(parts.clone())
    return found, layer.residual_out


def test_nothing_was_left_out_of_the_frozen_numbers():
    held = {sentence: {name.split(".", 1)[1] for name in FROZEN if name.startswith(sentence)} for sentence in TEXTS}
    variants = {f"f64.{name}" for name in VARIANTS}
    usual = {f"{precision}.{name}" for precision in DTYPES for name in ("classifier", "pooler_norm", "agg_norm")}
    whole = variants | usual | {"f64.globenc_ffn_rollout"}
    short = {name for name in usual if "agg_norm" not in name}
    assert held == {"s00": whole, "s08": whole, "s05": {"f64.classifier"}, "s13": short}


@pytest.mark.parametrize("name", named(*VARIANTS))
def test_scores_are_those_of_the_authors_code(models, name):
    sentence, precision, array = name.split(".")
    found = models(precision).explain(TEXTS[sentence], "decompx", target="all", **VARIANTS[array])
    agree(found.values.T, name)


@pytest.mark.parametrize("name", named("agg_norm"))
def test_lengths_of_all_vectors_of_all_layers_are_those_of_the_authors_code(models, name):
    sentence, precision, _ = name.split(".")
    parts, _ = layer_parts(models(precision), sentence)
    agree(torch.stack([one.norm(dim=-1).T for one in parts]).numpy(), name)
    found = models(precision).explain(TEXTS[sentence], "decompx", head="none")
    np.testing.assert_allclose(found.values, FROZEN[name][-1, 0], rtol=1e-5)


@pytest.mark.parametrize("name", named("pooler_norm"))
def test_lengths_behind_the_pooler_are_those_of_the_authors_code(models, name):
    sentence, precision, _ = name.split(".")
    model = models(precision)
    parts, states = layer_parts(model, sentence)
    head = find_head(model.model, model.anatomy(), model.tokenizer(TEXTS[sentence], return_tensors="pt"))
    unit = torch.eye(head.pooler.shape[1], dtype=head.pooler.dtype)
    pooler = Affine(head.pooler, head.pooler_bias)
    ffn = SplitFeedForward(pooler, head.activation, pooler(states[:1]), Affine(unit, None))
    found = decompx.feed_forward_parts(parts[-1][:, :1], ffn, Rules())
    agree(found[:, 0].norm(dim=-1).numpy(), name)


@pytest.mark.parametrize("name", named("globenc_ffn_rollout"))
def test_globenc_with_the_feed_forward_part_is_that_of_the_authors_notebook(models, name):
    sentence, precision, _ = name.split(".")
    trace = models(precision).trace(TEXTS[sentence])
    agree(cm.aggregate(cm.measure(trace, "norm_encoder_ffn"), "rollout").values, name)

"""Load a model and ask it, in one call."""

import numpy as np
import pandas as pd
import pytest

import contextmix as cm
from contextmix.errors import UnknownName

FILM = "a deep and meaningful film ."
NAMES = ["globenc", "attention_rollout", "norm_encoder", "attention"]


@pytest.fixture(scope="module")
def model():
    return cm.load("demo")


def test_explain_is_load_and_explain(model):
    wanted = model.explain(FILM, "alti_rollout", query="film").values
    for which in (model, "demo"):
        np.testing.assert_array_equal(cm.explain(FILM, "alti_rollout", model=which, query="film").values, wanted)
    assert cm.explain([FILM, "good"])[1].tokens.pieces == ("[CLS]", "good", "[SEP]")
    with pytest.raises(UnknownName, match="globnec"):
        cm.explain(FILM, "globnec", model=model)


def test_compare_is_load_and_compare(model):
    found, wanted = cm.compare(FILM, NAMES, model=model, query="film"), model.compare(FILM, NAMES, query="film")
    pd.testing.assert_frame_equal(found.spearman, wanted.spearman)


def test_only_public_names_are_listed():
    assert set(dir(cm)) == {*cm.__all__, "__version__", "plots"}

"""The norm family against numbers that the authors' released code of GlobEnc gave; see README.md beside this file."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import contextmix as cm

TEXTS = {
    "s00": "bad .",
    "s08": "a movie with a real anarchic flair .",
    "s13": "jones ... does offer a brutal form of charisma .",
}
MAPS = {
    "W": "attention",
    "W_FixedRes": "attention_fixed_residual",
    "W_Res": "attention_residual",
    "N": "norm",
    "N_FixedRes": "norm_fixed_residual",
    "N_Res": "norm_residual",
    "N_ResLN": "norm_attention_block",
    "N_Enc": "norm_encoder",
}
RATIOS = {
    "ratio_AttnN": "norm",
    "ratio_AttnResN": "norm_residual",
    "ratio_AttnResLNN": "norm_attention_block",
    "ratio_Enc": "norm_encoder",
}
DTYPES = {"f32": torch.float32, "f64": torch.float64}
# Relative to the largest value of an array. float32: 1.6e-6 was measured, and sums in another order may double it.
# float64 kept in float32: 6e-8 is lost by rounding. float64: 2.4e-15 was measured.
LIMITS = {("f32", "float32"): 1e-5, ("f64", "float32"): 1e-6, ("f64", "float64"): 1e-9}

with np.load(Path(__file__).with_name("norm_family.npz"), allow_pickle=False) as stored:
    FROZEN = {name: stored[name] for name in stored.files}


def named(kind: str, names) -> list[str]:
    return [name for name in FROZEN if name.split(".")[0] == kind and name.split(".")[3] in names]


@pytest.fixture(scope="module")
def traces(shared):
    """One run of the model per sentence and precision."""
    folder = shared("models/minilm-sst2")
    load = cache(lambda precision: cm.load(folder, dtype=DTYPES[precision]))
    return cache(lambda sentence, precision: load(precision).trace(TEXTS[sentence]))


@pytest.fixture(scope="module")
def maps(traces):
    """Each map once, as contextmix measures it."""
    return cache(lambda sentence, precision, array: cm.measure(traces(sentence, precision), MAPS[array]))


def difference(found: np.ndarray, name: str) -> float:
    """The largest difference, relative to the frozen array's largest value."""
    frozen = FROZEN[name]
    assert found.shape == frozen.shape
    return float(np.abs(found - frozen).max() / np.abs(frozen).max())


def limit(name: str) -> float:
    return LIMITS[name.split(".")[2], str(FROZEN[name].dtype)]


def test_nothing_was_left_out_of_the_frozen_numbers():
    held = {(kind, sentence, precision): set() for kind, sentence, precision, _ in (name.split(".") for name in FROZEN)}
    for name in FROZEN:
        kind, sentence, precision, array = name.split(".")
        held[kind, sentence, precision].add(array)
    every = {*MAPS, *RATIOS}
    wanted = {("maps", sentence, "f32"): every for sentence in TEXTS}
    wanted |= {("maps", sentence, "f64"): {*every, "headN"} for sentence in ("s00", "s08")}
    wanted |= {("rollouts", sentence, precision): {*MAPS} for sentence in ("s00", "s08") for precision in DTYPES}
    assert held == {**wanted, ("rollouts", "s13", "f64"): {*MAPS}}


@pytest.mark.parametrize("name", named("maps", MAPS))
def test_maps_are_those_of_the_authors_code(maps, name):
    assert difference(maps(*name.split(".")[1:]).values, name) <= limit(name)


@pytest.mark.parametrize("name", named("maps", RATIOS))
def test_mixing_ratios_are_those_of_the_authors_code(traces, name):
    _, sentence, precision, array = name.split(".")
    assert difference(cm.mixing_ratio(traces(sentence, precision), RATIOS[array]).values, name) <= limit(name)


@pytest.mark.parametrize("name", named("maps", ("headN",)))
def test_norms_of_each_head_are_those_of_the_authors_code(traces, name):
    _, sentence, precision, _ = name.split(".")
    found = cm.measure(traces(sentence, precision), "norm", heads="each")
    assert difference(found.values, name) <= limit(name)


@pytest.mark.parametrize("name", named("rollouts", MAPS))
def test_rollouts_of_every_layer_are_those_of_the_authors_code(maps, name):
    found = cm.aggregate(maps(*name.split(".")[1:]), "rollout").values
    for layer, wanted in enumerate(FROZEN[name]):  # each layer to its own scale: un-normalised norms grow with depth
        assert np.abs(found[layer] - wanted).max() / np.abs(wanted).max() <= limit(name)


@pytest.mark.parametrize("query", ["[CLS]", -2])
@pytest.mark.parametrize("name", named("rollouts", MAPS))
def test_the_row_of_one_token_is_that_row_of_the_authors_rollout(maps, name, query):
    local = maps(*name.split(".")[1:])
    found = cm.aggregate(local, "rollout", query=query).values
    wanted = FROZEN[name][-1][local.tokens.position(query)]
    assert np.abs(found - wanted).max() / np.abs(wanted).max() <= limit(name)


@pytest.mark.parametrize(("recipe", "array"), [("globenc", "N_Enc"), ("attention_rollout", "W_FixedRes")])
def test_recipes_go_from_a_text_to_the_authors_numbers(shared, recipe, array):
    model = cm.load(shared("models/minilm-sst2"), dtype="float64")
    name = f"rollouts.s08.f64.{array}"
    whole = model.explain(TEXTS["s08"], method=recipe, layers="all")
    row = model.explain(TEXTS["s08"], method=recipe, query="[CLS]")
    assert difference(whole.values, name) <= limit(name)
    assert np.abs(row.values - FROZEN[name][-1, 0]).max() / FROZEN[name][-1, 0].max() <= limit(name)

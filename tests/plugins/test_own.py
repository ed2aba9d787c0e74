"""Functions of the user as methods: their names, what they may give, and what is refused."""

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import contextmix as cm
from contextmix.errors import BadInput, BadOption, NotFinite, WrongShape
from contextmix.plugins.own import CODE, fitted, is_own, named, plan_of
from contextmix.tokens.pieces import Tokens

TOKENS = Tokens(
    ("[CLS]", "a", "fi", "##lm"),
    special=(True, False, False, False),
    spans=(None, (0, 1), (2, 4), (4, 6)),
    text="a film",
)


def lengths(text):
    return [len(one) for one in text.split()]


def test_functions_take_part_under_their_names():
    names, options = named(["globenc", lengths])
    assert names == ["globenc", "lengths"]
    assert list(options) == ["lengths"]
    assert options["lengths"]["function"] == f"{__name__}.lengths"
    assert is_own(options["lengths"])
    assert not is_own(None)
    assert named("globenc") == ("globenc", {})
    assert named(["globenc", "norm"]) == (["globenc", "norm"], {})
    assert named(lengths)[0] == ["lengths"]


def test_a_change_of_the_code_is_another_method():
    def method(text, weight=1):
        return [weight * 2.0 for one in text]

    first = named([method])[1]["method"][CODE]

    def method(text, weight=1):
        return [weight * 3.0 for one in text]

    assert named([method])[1]["method"][CODE] != first


def test_the_digest_is_the_same_in_another_process():
    """Sets of texts print in another order there."""
    code = "def f(text): return text in {'a', 'b', 'c', 'd', 'e'}\n"
    code += "from contextmix.plugins.own import named; print(named([f])[1]['f']['code'])"
    told = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                       env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(cm.__file__).parents[1])}).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert told[0] == told[1] != ""


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ([lambda text: [1.0]], "has no name"),
        ([functools.partial(lengths)], "has no name"),
        ([lengths, lengths], "Two methods are called lengths"),
        ([lengths, "lengths"], "Two methods are called lengths"),
    ],
)
def test_names_that_a_table_cannot_hold(methods, said):
    with pytest.raises(BadOption, match=said):
        named(methods)


def test_the_name_of_a_method_of_ours_is_taken():
    def globenc(text):
        return [1.0]

    with pytest.raises(BadOption, match="Rename it"):
        named([globenc])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        (np.array([[1.0, 2, 3, 4]]), [1, 2, 3, 4]),  # a batch of one
        ([2, 3, 4], [0, 2, 3, 4]),  # special tokens left out
        (cm.scores([5, 2, 3, 4], TOKENS), [5, 2, 3, 4]),
        (cm.scores([2.0, 6.0], ["a", "film"], text="a film"), [0, 2, 3, 3]),
    ],
)
def test_what_a_function_may_give(given, expected):
    assert fitted("mine", given, TOKENS).tolist() == expected


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ([1, 2], WrongShape, r"mine gave scores of the shape \(2,\) for a text of 4 tokens \(3 without special ones\)"),
        (np.ones((4, 4)), WrongShape, r"\(4, 4\)"),
        ([1, 2, float("nan"), 4], NotFinite, r"mine gave NaN or infinite scores for the tokens \[2\]"),
        (None, WrongShape, r"shape \(\)|rectangle"),
        ("words", WrongShape, "rectangular"),
        (cm.scores(np.ones((4, 4)), TOKENS, query_tokens=TOKENS), WrongShape, "'query', 'key'"),
        (cm.scores([1.0, 2.0], ["a", "film"]), BadInput, "Give contextmix.scores the text"),
    ],
)
def test_what_does_not_fit_the_text(given, error, said):
    with pytest.raises(error, match=said):
        fitted("mine", given, TOKENS)


def test_a_function_of_another_process_is_known_by_its_name_alone():
    plan = plan_of("gone", {"function": "x.gone", CODE: "0"})
    assert (plan.name, plan.of_model, plan.quantity) == ("gone", True, cm.Quantity.SIGNED)
    model = cm.load("demo")
    with pytest.raises(BadOption, match="another process"):
        model.attribute(model.encode("a film")[0], plan, None, None)


def test_a_pair_of_texts_is_refused():
    plan = plan_of("lengths", named([lengths])[1]["lengths"])
    model = cm.load("demo")
    (pair,) = model.encode({"text": "a film", "text_pair": "good"})
    with pytest.raises(BadInput, match="pair of texts"):
        model.attribute(pair, plan, None, None)

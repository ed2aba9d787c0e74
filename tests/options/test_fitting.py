"""Values of options: numbers of numpy and torch are numbers, arrays are lists, all else is refused in words."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pytest
import torch

import contextmix as cm
from contextmix.options.fitting import fitted

TOKEN = int | str | None


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (np.int64(3), TOKEN, 3),
        (np.array(3), TOKEN, 3),
        (torch.tensor(3), TOKEN, 3),
        (np.str_("film"), TOKEN, "film"),
        (None, TOKEN, None),
        (2**70, int, 2**70),
        (np.float64(0.5), float, 0.5),
        (torch.tensor(0.5), float, 0.5),
        (1, float, 1),
        (np.bool_(True), bool, True),
        (np.array([0, 1]), Literal["all"] | Sequence[int] | None, [0, 1]),
        (torch.tensor([0, 1]), Sequence[int], [0, 1]),
        (range(2), Sequence[int], [0, 1]),
        (("a", "b"), str | Sequence[str], ["a", "b"]),
        ((np.int64(1), np.int64(0)), int | str | tuple[int | str, int | str] | None, (1, 0)),
        ({"norm": {"heads": "each"}}, Mapping[str, Mapping[str, Any]] | None, {"norm": {"heads": "each"}}),
        (len, Callable[[str], int] | None, len),
        (object, Any, object),
    ],
)
def test_what_fits_comes_back_as_its_type(value, kind, expected):
    found = fitted("x", value, kind, "")
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (0.5, TOKEN, "x must be a whole number or a text; got 0.5 (float)"),
        (True, TOKEN, "x must be a whole number or a text; got True (bool)"),
        (float("nan"), int, "x must be a whole number; got nan (float)"),
        (np.array([1.5]), int, "x must be a whole number; got … (ndarray)"),
        (float("inf"), float, "x must be a finite number; got inf (float)"),
        (np.float32("nan"), float | None, "x must be a finite number; got … (float32)"),
        (True, float, "x must be a finite number; got True (bool)"),
        (torch.tensor(True), float, "x must be a finite number; got … (Tensor)"),
        ([0.5, float("nan")], Sequence[float], "x must be a list of numbers; got … (list)"),
        (torch.tensor([3]), int, "x must be a whole number; got … (Tensor)"),
        (1, bool, "x must be True or False; got 1 (int)"),
        ("abc", Sequence[int], "x must be a list; got 'abc' (str)"),
        ([1], Mapping[str, Any], "x must be a mapping; got … (list)"),
        ((1, 2, 3), tuple[int, int], "x must be a pair; got … (tuple)"),
        (object(), Literal["a", "b"], "x must be a word; got … (object)"),
        ("f", Callable[[], None] | None, "x must be a function; got 'f' (str)"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(value, kind, words):
    with pytest.raises(cm.ContextMixError, match=re.escape(words)):
        fitted("x", value, kind, "What it is.")


def test_every_way_in_uses_it():
    model = cm.load("demo")
    expected = model.explain("a good film", query=2).values
    assert (model.explain("a good film", query=np.int64(2)).values == expected).all()
    assert model.explain("a good film", "norm", layers=np.array([0, 1])).layers == (0, 1)
    for wrong in ({"query": 0.5}, {"truncate": "yes"}, {"batch_size": 1.5}, {"aggregation": 3}):
        with pytest.raises(cm.ContextMixError, match="must be "):
            model.explain("a good film", **wrong)
    with pytest.raises(cm.ContextMixError, match="heads must be True or False; got 1"):
        model.explore("a good film", heads=1)
    with pytest.raises(cm.ContextMixError, match="limit must be a whole number; got '3'"):
        cm.run([{"text": "a"}], "out", limit="3")
    with pytest.raises(TypeError, match="TokenMap"):
        cm.aggregate("map", "rollout")

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
        (0.5, TOKEN, "x=0.5 has the type float, and a whole number or a text is needed"),
        (True, TOKEN, "x=True has the type bool, and a whole number or a text is needed"),
        (float("nan"), int, "x=nan has the type float, and a whole number is needed"),
        (np.array([1.5]), int, "x=… has the type ndarray, and a whole number is needed"),
        (float("inf"), float, "x=inf has the type float, and a finite number is needed"),
        (np.float32("nan"), float | None, "has the type float32, and a finite number is needed"),
        (True, float, "x=True has the type bool, and a finite number is needed"),
        (torch.tensor(True), float, "x=… has the type Tensor, and a finite number is needed"),
        ([0.5, float("nan")], Sequence[float], "x=… has the type list, and a list of numbers is needed"),
        (torch.tensor([3]), int, "x=… has the type Tensor, and a whole number is needed"),
        (1, bool, "x=1 has the type int, and True or False is needed"),
        ("abc", Sequence[int], "x='abc' has the type str, and a list is needed"),
        ([1], Mapping[str, Any], "x=… has the type list, and a mapping is needed"),
        ((1, 2, 3), tuple[int, int], "x=… has the type tuple, and a pair is needed"),
        (object(), Literal["a", "b"], "x=… has the type object, and a word is needed"),
        ("f", Callable[[], None] | None, "x='f' has the type str, and a function is needed"),
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
        with pytest.raises(cm.ContextMixError, match="is needed"):
            model.explain("a good film", **wrong)
    with pytest.raises(cm.ContextMixError, match="heads=1 has the type int, and True or False"):
        model.explore("a good film", heads=1)
    with pytest.raises(cm.ContextMixError, match="limit='3' has the type str"):
        cm.run([{"text": "a"}], "out", limit="3")
    with pytest.raises(TypeError, match="TokenMap"):
        cm.aggregate("map", "rollout")

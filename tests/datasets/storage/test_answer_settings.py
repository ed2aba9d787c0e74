"""Settings of answers survive a trip through JSON, and what cannot be is refused before the work."""

import json
from dataclasses import fields

import numpy as np
import pytest

from contextmix.datasets.storage.answer_settings import AnswerSettings
from contextmix.errors import BadOption, UnknownName

FULL = {
    "method": "integrated_gradients",
    "options": {"steps": 4},
    "sources": np.array([[0, 3]]),
    "units": np.int64(2),
    "max_new_tokens": 5,
    "generation": {"num_beams": 2},
    "template": "question",
    "truncate": True,
    "dependence": True,
    "thoughts": "Answer:",
    "hops": "all",
    "add_special_tokens": False,
    "shard_size": 3,
}


@pytest.mark.parametrize("given", [{}, FULL], ids=["defaults", "all"])
def test_a_trip_through_json(given):
    settings = AnswerSettings(**given)
    document = json.loads(json.dumps(settings.to_dict()))
    assert document["task"] == "answer"
    assert AnswerSettings.from_dict(document) == settings


def test_what_explain_answer_is_told():
    assert FULL.keys() == {one.name for one in fields(AnswerSettings)}
    told = AnswerSettings(**FULL).asked
    assert told["steps"] == 4
    assert (told["sources"], told["units"]) == ([[0, 3]], 2)
    assert told.keys() == FULL.keys() - {"options", "shard_size"} | {"steps"}


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"method": "evidnce"}, UnknownName, "Did you mean 'evidence'"),
        ({"options": {"steps": 4}}, UnknownName, "no option of evidence 'steps'"),
        ({"sources": 0}, BadOption, "A text is not cut by 0"),
        ({"units": None}, BadOption, "A text is not cut by None"),
        ({"thoughts": (0, 3)}, BadOption, "a run separates thoughts"),
        ({"hops": -1}, BadOption, "passed on 0, 1, 2"),
        ({"generation": {"a": {1}}}, BadOption, "generation: a run records"),
        ({"generation": {"a": float("nan")}}, BadOption, "generation: a run records"),
    ],
)
def test_what_cannot_be(given, error, said):
    with pytest.raises(error, match=said):
        AnswerSettings(**given)

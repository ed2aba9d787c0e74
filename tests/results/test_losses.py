"""What an answer loses without a source: bound to characters, whatever cut the answer has."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.results.answers import answer

from contextmix.errors import BadFile, BadInput
from contextmix.results.answer import Answer
from contextmix.results.losses import Losses, lds_of, says_without

FALLS = [[1.0, 0.5, 2.0], [0.25, 0.0, -1.0], [0.5, 0.25, 4.0], [0.0, 0.0, 8.0], [0.125, 0.0, 16.0]]
SOURCES = ((0, 0, 14), (0, 15, 22), (1, 0, 16))  # the sentences of the two texts


def losses(**changes) -> Losses:
    given = {"method": "source_occlusion", "away": "masked", "sources": SOURCES, "values": FALLS, "passes": 4}
    return Losses(**{**given, "says": {2: " Tom. Yes.", 0: " Lily. Yes."}, "own": " Lily. Yes.", **changes})


def fitted(**changes) -> Losses:
    """Of a surrogate: of both units of the answer and of the whole."""
    parts = ((1, 6), (7, 11), (1, 11))
    values = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    return losses(values=values, parts=parts, held_out_lds=(0.5, None, 0.75), **{"method": "context_cite", **changes})


def test_tokens_add_up_to_units_of_any_cut():
    found = answer(losses=losses())
    np.testing.assert_array_equal(found.lost, [[1.25, 0.5, 1.0], [0.5, 0.25, 12.0]])
    np.testing.assert_array_equal(found.by(units="whole").lost, [[1.75, 0.75, 13.0]])
    np.testing.assert_array_equal(found.by(units="token").lost[:, 2], [2.0, -1.0, 4.0, 8.0])


def test_a_mean_over_rows_does_not_thin_what_is_lost():
    np.testing.assert_array_equal(answer(rows="mean", losses=losses()).lost, answer(losses=losses()).lost)


def test_a_source_that_is_cut_in_another_way_has_no_number():
    found = answer(losses=losses()).by(sources="document")
    assert np.isnan(found.lost[:, 0]).all()  # two sentences
    np.testing.assert_array_equal(found.lost[:, 1], [1.0, 12.0])  # one sentence: the same characters
    assert says_without(found.losses, found.sources) == {1: " Tom. Yes."}
    assert np.isnan(answer(losses=losses()).by(sources="word").lost).all()


def test_parts_of_surrogates_do_not_add_up():
    found = answer(losses=fitted())
    np.testing.assert_array_equal(found.lost, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(found.by(units="whole").lost, [[7, 8, 9]])
    assert np.isnan(found.by(units="token").lost).all()
    assert lds_of(found.losses, found.units) == [0.5, None]
    assert (found.losses.unit, losses().unit) == ("log-odds", "nats")


def test_tables_have_them():
    found = answer(losses=losses())
    table = found.to_pandas()
    assert table["lost"][:3].tolist() == [1.25, 0.5, 1.0]
    assert table["lost"][3:6].isna().all()  # of what no source gave
    lines = found.without()
    assert lines["lost"].tolist() == [1.75, 0.75, 13.0]
    assert lines["says"].tolist()[2] == " Tom. Yes."
    assert lines["changed"].tolist() == [False, None, True]
    assert "lost" not in answer().to_pandas()
    assert answer().without().empty
    assert answer().lost is None


@pytest.mark.parametrize("made", [losses(), fitted(), losses(says={}, own="")])
def test_files_keep_them(made, tmp_path):
    found = answer(losses=made)
    found.save(tmp_path / "a.json")
    read = Answer.load(tmp_path / "a.json")
    assert read.to_dict() == found.to_dict()
    np.testing.assert_array_equal(read.lost, found.lost)
    assert read.losses.says == made.says


def test_files_of_before_have_none():
    document = answer().to_dict()
    del document["losses"]
    assert Answer.from_dict(document).losses is None


def test_broken_files_are_refused():
    whole = json.loads(json.dumps(answer(losses=losses()).to_dict()))
    for broken in (3, {}, {**whole["losses"], "values": [[1]]}, {**whole["losses"], "says": {"9": "x"}}):
        with pytest.raises(BadFile):
            Answer.from_dict({**whole, "losses": broken})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"values": [[1.0, 2.0]]}, r"finite numbers.* and 3 columns"),
        ({"values": [[1.0, 2.0, float("nan")]]}, "finite"),
        ({"values": "many"}, "numbers, "),
        ({"sources": ((0, 0, 14), (0, 0, 14), (1, 0, 16))}, "none of them twice"),
        ({"sources": ((0, 0.5, 14),)}, "whole numbers"),
        ({"parts": ((0, 4),)}, "1 rows"),
        ({"says": {3: "x"}}, "none of 3"),
    ],
)
def test_what_does_not_fit_is_refused(changes, told):
    with pytest.raises(BadInput, match=told):
        losses(**changes)


def test_losses_of_another_answer_are_refused():
    with pytest.raises(BadInput, match="4 rows, and the answer 5 tokens"):
        answer(losses=losses(values=FALLS[:4]))
    assert replace(answer(), losses=losses()).losses.passes == 4

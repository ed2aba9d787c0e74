"""An answer and its sources, against numbers that were added by hand."""

import numpy as np
import pytest
from tests.results.answers import ROWS, SAID, TEXTS, answer

from contextmix.errors import (
    AmbiguousToken,
    BadFile,
    BadInput,
    BadOption,
    OutputExists,
    OutputUnwritable,
    UnknownToken,
)
from contextmix.results.answer import Answer


def test_units_and_sources_are_slices():
    found = answer()
    assert (found.text, found.prompt[:6]) == (SAID, "<s>Tom")
    assert [one.text for one in found.units] == ["Lily.", "Yes."]
    assert [(one.text, one.document) for one in found.sources] == [("Tom had a dog.", 0), ("It ran.", 0), (TEXTS[1], 1)]
    assert all(SAID[slice(*one.span)] == one.text for one in found.units)
    assert found.cut == ()


def test_rows_of_a_unit_are_summed_and_so_are_the_columns_of_a_source():
    found = answer()
    # the line break within the context is of neither text; </s> says nothing
    np.testing.assert_array_equal(found.values, [[1.0, 0.5, 9.0], [8.0, 1.0, 0.0]])
    np.testing.assert_array_equal(found.elsewhere, [[2.0, 5.5, 2.0], [1.0, 0.5, 4.0]])
    np.testing.assert_allclose(found.shares, np.array([[1.0, 0.5, 9.0], [8.0, 1.0, 0.0]]) / [[20.0], [14.5]])
    np.testing.assert_allclose(found.shares.sum(1) + found.shares_elsewhere.sum(1), 1)


def test_rows_of_a_unit_are_averaged_for_mixing_maps():
    np.testing.assert_array_equal(answer(rows="mean").values, np.array([[1.0, 0.5, 9.0], [8.0, 1.0, 0.0]]) / 2)


def test_every_number_is_in_one_column():
    for sources in ("token", "word", "sentence", "line", "document", 2):
        found = answer().by(sources, "whole")
        assert found.values.sum() + found.elsewhere.sum() == np.array(ROWS[:4]).sum()


def test_other_units_and_sources_are_cut_from_the_same_map():
    found = answer().by("document", "token")
    assert [one.text for one in found.units] == ["Lily", ".", "Ye", "s."]
    np.testing.assert_array_equal(found.values, [[1.5, 8.0], [0.0, 1.0], [9.0, 0.0], [0.0, 0.0]])
    assert answer().by(units=[(0, 6), (7, 10)]).units[0].text == " Lily."
    assert [one.text for one in answer().by([(0, 4, 9), (1, 0, 4)]).sources] == ["had a", "Lily"]
    assert found.token_map is not None
    assert found.by().units_by == "token"


def test_a_unit_within_a_token_has_its_row():
    found = answer().by(units=[(1, 3), (3, 5), (8, 10)])
    np.testing.assert_array_equal(found.values[0], found.values[1])
    assert found.values[0].tolist() == [1.0, 0.5, 8.0]


def test_the_strongest_sources_of_a_unit():
    found = answer()
    assert [(one.text, one.value, one.source) for one in found.top(0, 2)] == [
        (TEXTS[1], 9.0, 2),
        ("Tom had a dog.", 1.0, 0),
    ]
    assert found.top(-1)[0].share == 8 / 14.5
    assert found.top("Yes.") == found.top(1) == found.top("the second sentence") == found.top("last sentence")
    assert found.top("Lil", 1)[0].text == TEXTS[1]
    assert found.top("the third token", 1)[0].value == 8.0
    assert found.top(k=1)[0] == found.by(units="whole").top(0, 1)[0]
    for asked in (2, -3, "dog", "the fifth word"):
        with pytest.raises(UnknownToken):
            found.top(asked)
    with pytest.raises(AmbiguousToken, match="occurs 2 times"):
        found.top(".")
    with pytest.raises(BadOption, match="k=0 would list no sources"):
        found.top(0, k=0)


def test_what_speaks_against_is_never_cited():
    values = np.array(ROWS)
    values[0, 5] = -6.0
    found = answer(values, "signed")
    assert found.values[0].tolist() == [1.0, 0.5, -3.0]
    assert found.signed_values is not None
    assert found.shares[0].tolist() == [1 / 11, 0.5 / 11, 0.0]
    assert found.citations().of_units == ((1,), (1,))
    assert answer().signed_values is None
    beside = answer(signed=found.token_map)
    assert beside.citations().notes == (0,)  # the ball has most evidence for "Lily.", and more against it
    assert answer().citations().notes == (2, 0)
    assert beside.signed_values.tolist() == found.values.tolist()
    assert beside.values.tolist() == answer().values.tolist()
    assert beside.to_pandas()["signed"].tolist()[:4] == [1.0, 0.5, -3.0, 2.0]


def test_the_answer_with_footnotes():
    assert answer().cite() == "Lily.[1] Yes.[2]\n\n[1] Lily had a ball. (text 2)\n[2] Tom had a dog. (text 1)"
    assert answer().cite(least=0.5) == "Lily. Yes.[1]\n\n[1] Tom had a dog. (text 1)"
    assert answer().by("document", "whole").cite(threshold=0.1, most=2).startswith("Lily. Yes.[1][2]\n\n[1] Tom had")
    assert answer(np.zeros((5, 14))).cite(least=0) == "Lily. Yes."
    for wrong in ({"threshold": 0}, {"threshold": 1.5}, {"least": -1}, {"most": 0}):
        with pytest.raises(BadOption, match="a source is cited if"):
            answer().cite(**wrong)


def test_tables():
    table = answer().to_dataframe()
    assert len(table) == 2 * (3 + 3)
    line = table.iloc[2].to_dict()
    assert line == {
        "unit": 0, "unit_text": "Lily.", "unit_start": 1, "unit_stop": 6,
        "source": 2, "source_text": TEXTS[1], "document": 1, "source_start": 0, "source_stop": 16,
        "value": 9.0, "share": 0.45,
    }  # fmt: skip
    assert table["source_text"].tolist()[3:6] == ["[question]", "[template]", "[answer so far]"]
    np.testing.assert_allclose(table.groupby("unit")["share"].sum(), 1)
    words = answer(dependence=(1.0, 0.5, 0.25, 0.0, 0.0)).tokens()
    assert words["token"].tolist() == [" Lily", ".", " Ye", "s.", "</s>"]
    assert words["start"].tolist()[:4] == [0, 5, 6, 9]
    assert words["stop"].isna().tolist() == [False] * 4 + [True]
    assert words[["probability", "dependence"]].iloc[1].tolist() == [0.25, 0.5]
    assert "dependence" not in answer().tokens()


def test_prints_are_short():
    assert repr(answer()) == "<Answer of 'demo' by example: 2 × 3 (unit × source), 57% from the sources>"


@pytest.mark.parametrize(
    "changes", [{}, {"units_by": [(0, 6)], "sources_by": 2, "rows": "mean", "dependence": (0.1,) * 5, "question": None}]
)
def test_a_file_keeps_every_bit(tmp_path, changes):
    whole = answer(np.array(ROWS) / 3, **changes)
    whole = answer(np.array(ROWS) / 3, signed=whole.token_map, **changes)
    whole.save(tmp_path / "a.json")
    found = Answer.load(tmp_path / "a.json")
    assert found.to_dict() == whole.to_dict()
    np.testing.assert_array_equal(found.values, whole.values)
    assert (found.units, found.sources, found.dependence) == (whole.units, whole.sources, whole.dependence)
    with pytest.raises(OutputExists):
        whole.save(tmp_path / "a.json")


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(OutputUnwritable, match=r"written as \.json or \.html"):
        answer().save(tmp_path / "a.pdf")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": "contextmix.tokenmap"}, "format is 'contextmix.answer'"),
        ({"schema": 2}, "schema is 2"),
        ({"begins": "3"}, "field 'begins'"),
        ({"rows": "max"}, "field 'rows'"),
        ({"sources_by": "chapter"}, "do not fit each other. A text is not cut"),
        ({"units_by": None}, "field 'units_by'"),
        ({"question": [1]}, "field 'question'"),
        ({"passages": [{"text": "a"}]}, "A passage needs a field 'offset'"),
        ({"passages": []}, "no section"),
        ({"token_map": {}}, "format is 'contextmix.tokenmap'"),
        ({"dependence": ["a"]}, "field 'dependence'"),
    ],
)
def test_damaged_files_are_refused(change, why):
    with pytest.raises(BadFile, match=why):
        Answer.from_dict({**answer().to_dict(), **change})


def test_what_is_no_answer_is_refused():
    with pytest.raises(BadInput, match="a map over query and key"):
        answer(token_map=answer().token_map.row(0))
    with pytest.raises(BadInput, match="contains no text"):
        answer(begins=len(answer().token_map.tokens.text))
    with pytest.raises(BadInput, match="overlap"):
        answer(units_by=[(0, 4), (3, 5)])
    with pytest.raises(BadInput, match="does not lie within"):
        answer(units_by=[(0, 40)])

"""Answers in a terminal: what is printed fits, and says where the evidence came from."""

import io

import numpy as np
import pytest
from rich.console import Console
from tests.results.answers import ROWS, answer
from tests.results.test_answer_tables import thinking
from tests.results.test_losses import losses

from contextmix.results.answer import Answer
from contextmix.views.terminal.answer import show


def shown(found: Answer, width: int = 80, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    show(found, Console(file=file, width=width, color_system=None))
    file.flush()
    return file.buffer.getvalue().decode(encoding)


def test_the_answer_its_footnotes_and_where_the_rest_came_from():
    lines = shown(answer()).splitlines()
    assert lines[0] == "Who?"
    assert lines[1] == "Lily.[1] Yes.[2]"
    assert [line.split()[:2] for line in lines[3:5]] == [["[1]", "26%"], ["[2]", "26%"]]
    assert lines[3].rstrip().endswith("Lily had a ball. (Text 2)")
    assert lines[4].rstrip().endswith("Tom had a dog. (a.txt)")
    rows = {line[:20].strip(): line[20:].split() for line in lines[6:10]}
    assert rows["Lily."] == ["52%", "10%", "28%", "10%"]
    assert rows["Yes."] == ["62%", "7%", "3%", "28%"]
    assert list(rows)[-1] == "the whole answer"
    assert "example · gradient" in "\n".join(lines)


@pytest.mark.parametrize("width", [40, 80])
def test_many_units_and_sources_fit_a_screen(width):
    found = answer(np.array(ROWS) + 1).by("token", "token")
    wide = shown(found, width)
    assert max(map(len, wide.splitlines())) <= width
    assert len(wide.splitlines()) <= 45


def test_an_answer_without_sources_says_so():
    assert "No source stands out, so none is cited." in shown(answer(np.zeros((5, 14))))


def test_signs_and_what_was_cut_are_told():
    values = np.array(ROWS)
    values[0, 5] = -6.0
    assert "Red sources speak for a part" in shown(answer(values, "signed"))
    assert "Red" not in shown(answer())


def test_how_far_a_part_depends_on_the_texts_is_a_column():
    lines = shown(answer(dependence=(1.0, 2.5, 0.25, 0.0, 9.0))).splitlines()
    (row,) = [line for line in lines if line.startswith("Lily. ")]
    assert row.split()[-1] == "2.50"
    assert "depends (nats)" in "\n".join(lines)
    assert "depends" not in shown(answer())


def test_hostile_names_cannot_move_the_cursor():
    found = answer()
    assert "\x1b" not in shown(found.by(units="whole"))
    assert shown(found, encoding="ascii").isascii()


def test_thoughts_stand_before_the_answer_with_a_column_of_their_own():
    for hops, told in (
        (0, "not traced back"),
        (1, "is traced back once"),
        (2, "2 times"),
        ("all", "as often as it takes"),
    ):
        found = thinking(hops=hops)
        text = shown(found, 120)
        lines = text.splitlines()
        assert lines[:3] == ["Who?", "(It is Tom)", lines[2]]
        assert lines[2].startswith("Tom.")
        assert told in " ".join(text.split())
        (row,) = [line for line in lines if line.startswith("the whole answer")]
        assert row.split()[-1] == f"{found.shares_elsewhere[0, 3]:.0%}"
        assert "own thoughts" in " ".join(text.split())
    assert "thoughts" not in shown(answer())


@pytest.mark.parametrize("width", [60, 120])
def test_what_is_lost_without_a_source_stands_below_it(width):
    found = answer(losses=losses(says={1: " No. " * 40, 2: " Tom. Yes."}))
    text = shown(found, width)
    assert max(map(len, text.splitlines())) <= width
    told = " ".join(text.split())
    assert "Lily had a ball. (Text 2) Without it: −13.0 nats; the model says: “Tom. Yes.”" in told
    assert "It ran. Without it: −0.8 nats; the model says: “No. No." in told  # is not cited, but was taken away
    assert "Without it" not in shown(answer(), width)

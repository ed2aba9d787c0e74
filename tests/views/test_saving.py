"""Files to look at: the ending of the name chooses, and a new kind is one new file."""

import pytest

import contextmix as cm
from contextmix.errors import BadOption, OutputExists, OutputUnwritable
from contextmix.views.saving import SAVED

MAGIC = {".pdf": b"%PDF", ".png": b"\x89PNG", ".svg": b"<?xml", ".tex": b"%", ".html": b"<!doctype html", ".htm": b"<!"}


@pytest.fixture(scope="module")
def row():
    return cm.load("demo").explain("a good film", query=0)


@pytest.mark.parametrize("ending", sorted(MAGIC))
def test_the_ending_chooses_the_kind(row, tmp_path, ending):
    path = tmp_path / f"film{ending}"
    row.save(path)
    assert path.read_bytes().lower().startswith(MAGIC[ending].lower())
    with pytest.raises(OutputExists):
        row.save(path)
    row.save(tmp_path / f"FILM{ending.upper()}")
    assert path.read_bytes() == (tmp_path / f"FILM{ending.upper()}").read_bytes()


def test_each_ending_has_one_kind():
    endings = [ending for one in SAVED.values() for ending in one.endings]
    assert sorted(endings) == sorted(set(endings)) == sorted(MAGIC)


def test_text_for_latex_is_that_of_to_latex(row, tmp_path):
    row.save(tmp_path / "film.tex")
    assert (tmp_path / "film.tex").read_text(encoding="utf-8") == row.to_latex()


def test_what_cannot_be_drawn_leaves_no_file(row, tmp_path):
    with pytest.raises(
        OutputUnwritable, match=r"ends in '\.gif', and maps are written as .*\.html, or drawn as .*\.tex"
    ):
        row.save(tmp_path / "film.gif")
    with pytest.raises(BadOption, match="belongs into a page"):
        row.save(tmp_path / "film.png", over="photo.jpg")
    with pytest.raises(cm.ContextMixError):
        cm.load("demo").explain("a good film", "attention", heads="each").save(tmp_path / "heads.png")
    assert list(tmp_path.iterdir()) == []

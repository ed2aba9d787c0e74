"""Files to look at: the ending of the name chooses, and a new kind is one new file."""

import os
import re
import stat
import zlib

import numpy as np
import pytest

import contextmix as cm
from contextmix import plots
from contextmix.errors import BadOption, OutputExists, OutputUnwritable
from contextmix.results.provenance import Provenance
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


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and links")
@pytest.mark.parametrize("ending", sorted(MAGIC))
def test_a_link_stays_one_and_what_it_names_keeps_its_permissions(row, tmp_path, ending):
    (tmp_path / "paper").mkdir()
    real, link = tmp_path / "paper" / f"real{ending}", tmp_path / f"film{ending}"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    with pytest.raises(OutputExists):
        row.save(link)
    row.save(link, overwrite=True)
    assert link.is_symlink()
    assert real.read_bytes().lower().startswith(MAGIC[ending].lower())
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert [path.name for path in real.parent.iterdir()] == [real.name]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and links")
def test_a_figure_is_written_through_a_link_too(row, tmp_path):
    real, link = tmp_path / "real.svg", tmp_path / "film.svg"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    plots.save(plots.bars(row), link, overwrite=True)
    assert link.is_symlink()
    assert real.read_bytes().startswith(b"<?xml")
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


BROKEN = cm.TokenMap(
    np.array([[0.25, 0.5, 0.25], [1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]),
    ("query", "key"),
    cm.Tokens(("half\ud83d", "b", "caf\udce9")),
    "norm",
    Provenance("norm_encoder", model="folder\udce9"),
)


@pytest.mark.parametrize("ending", sorted(MAGIC))
def test_half_a_character_is_readable_in_every_file(tmp_path, ending):
    """A token of bytes, an emoji that was cut in two, a folder whose name is not UTF-8."""
    path = tmp_path / f"broken{ending}"
    BROKEN.row(0).save(path)
    content = path.read_bytes()
    if ending == ".tex":
        assert r"half$\langle$U+D83D$\rangle$" in content.decode()
        assert "folder⟨U+DCE9⟩" in content.decode()
    elif ending in (".html", ".htm", ".svg"):
        assert "half⟨U+D83D⟩" in content.decode()
    elif ending == ".pdf":
        parts = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
        assert any(b"ET" in zlib.decompress(part) for part in parts if part[:1] == b"\x78")
    assert not re.search(r"\\ud[89a-f]", content.decode("latin-1"))


@pytest.mark.parametrize("draw", [plots.plot, plots.bars, plots.tokens], ids=lambda one: one.__name__)
def test_half_a_character_is_readable_in_every_figure(tmp_path, draw):
    axes = draw(BROKEN.row(0)) if draw is plots.bars else draw(BROKEN)
    plots.save(axes, tmp_path / "broken.svg")
    assert "⟨U+D83D⟩" in (tmp_path / "broken.svg").read_text(encoding="utf-8")

"""Tables in a terminal and in LaTeX."""

import os
import stat

import pandas as pd
import pytest

from contextmix.evidence.report import Figure, Report, Table, folded, latex

HALF = "half \ud83d of a face"


def report(text: str = "a") -> Report:
    frame = pd.DataFrame({"number": [1.0]}, index=pd.Index(["globenc"], name="method"))
    figure = Figure("drawn", f"caption {text}", lambda canvas: canvas.suptitle("x"))
    tables = [Table("t", f"caption {text}", frame)]
    return Report("made", f"title {text}", [f"said of {text}"], tables, [figure], {"model": text})


def wide(columns: int) -> Table:
    frame = pd.DataFrame({f"metric_{i} ↑": ["0.50★", "0.1 %"] for i in range(columns)}, index=["a_b", "c"])
    return Table("t", "50 % of a_b", frame.rename_axis("method"))


def test_a_wide_table_is_folded_and_nothing_is_lost():
    table = wide(7)
    pieces = folded(table, 40)
    assert len(pieces) > 1
    assert all(piece.columns[0] == "method" for piece in pieces)
    assert [name for piece in pieces for name in piece.columns[1:]] == list(table.numbers.columns)
    assert all(sum(2 + len(name) for name in piece.columns) <= 42 for piece in pieces)
    assert len(folded(table, 200)) == 1
    assert len(folded(table, 5)) == 7  # one column at least


def test_signs_that_latex_reads_otherwise_are_escaped():
    text = latex(wide(1))
    assert r"a\_b & 0.50$\star$" in text
    assert r"0.1 \%" in text
    assert r"metric\_0 $\uparrow$" in text
    assert r"\caption{50 \% of a\_b}" in text


def test_a_negative_number_gets_a_minus_and_a_word_keeps_its_hyphen():
    frame = pd.DataFrame({"x": ["-0.5 [-1, 2]", "BERT-2"]}, index=["a", "b"])
    text = latex(Table("t", "", frame.rename_axis("method")))
    assert r"a & $-$0.5 [$-$1, 2] \\" in text
    assert r"b & BERT-2 \\" in text


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and links")
def test_files_that_are_links_stay_links_and_keep_their_permissions(tmp_path):
    """Also tables and figures: some people keep them in the folder of a paper."""
    out, paper = tmp_path / "out", tmp_path / "paper"
    out.mkdir()
    paper.mkdir()
    for name in ("t.tex", "drawn.png", "made.json"):
        (paper / name).write_text("old")
        (paper / name).chmod(0o640)
        (out / name).symlink_to(paper / name)
    written = report().save(out)
    for name in ("t.tex", "drawn.png", "made.json"):
        assert out / name in written
        assert (out / name).is_symlink()
        assert (paper / name).read_bytes() != b"old"
        assert stat.S_IMODE((paper / name).stat().st_mode) == 0o640


def test_half_a_character_is_readable_in_every_file_that_says_it(tmp_path):
    written = {path.name: path for path in report(HALF).save(tmp_path)}
    for name, shown in {
        "made.md": ("# title half \\ud83d of a face", "- said of half \\ud83d of a face"),
        "t.tex": (r"\caption{caption half $\langle$U+D83D$\rangle$ of a face}",),
        "made.json": (r'"half \ud83d of a face"',),
    }.items():
        text = written[name].read_text(encoding="utf-8")
        assert all(one in text for one in shown), text

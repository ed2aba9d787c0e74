"""Tables in a terminal and in LaTeX."""

import pandas as pd

from contextmix.evidence.report import Table, folded, latex


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

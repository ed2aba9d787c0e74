"""LaTeX: read back by a tokeniser that knows TeX's rules of reading, so that every text prints as itself."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

import contextmix as cm
from contextmix.errors import WrongShape
from contextmix.evidence.report import Table, latex
from contextmix.tokens.pieces import printable
from contextmix.views.drawing.colours import background
from contextmix.views.drawing.running_text import spelled
from contextmix.views.figures.latex import escape

NAMES = """textbackslash textasciitilde textasciicircum textbar textless textgreater textasciigrave textquotesingle
ldots
textendash textemdash textonehalf textvisiblespace textquotedblleft textquotedblright textperiodcentered uparrow
downarrow star dagger ge le pm infty times div langle rangle emptyset hookleftarrow mapsto leftarrow rightarrow
Sigma rho xi alpha tau |"""
SAID = dict(zip(NAMES.split(), "\\~^|<>`'…–—½␣“”·↑↓★†≥≤±∞×÷⟨⟩∅⏎⇥←→Σρξατ‖", strict=True))
LIGATURES = ("--", "''", "``", "!`", "?`", "<<", ">>", ",,")


def read(source: str) -> str:
    """The text that TeX prints; fails on whatever it would take for something else than a letter or a known command."""
    out, place, depth, maths = [], 0, 0, False
    plain = re.sub(r"\\[a-zA-Z]+|\\.", "", source)
    assert not any(pair in plain for pair in LIGATURES)
    while place < len(source):
        sign = source[place]
        if sign == "\\":
            command = re.match(r"\\([a-zA-Z]+|.)", source[place:], re.DOTALL)
            assert command
            place += command.end()
            name = command[1]
            if name == "char":
                number = re.match(r"\d+", source[place:])
                assert number
                out.append(chr(int(number[0])))
                place += number.end()
            elif name == "texttt":
                code = re.match(r"\{U\+([0-9A-F]{4})\}", source[place:])
                assert code
                out.append(chr(int(code[1], 16) + 0x2400))
                place += code.end()
            elif name in SAID:
                out.append(SAID[name])
                assert maths or source[place : place + 2] == "{}"  # else it would swallow a space or join a letter
            else:
                assert name in "&%$#_{}"
                out.append(name)
            continue
        assert sign not in "&%#_~^", f"{sign} has a meaning of its own"
        if sign == "$":
            maths = not maths
        elif sign in "{}":
            depth += 1 if sign == "{" else -1
            assert depth >= 0
        elif maths and sign == "-":
            out.append("−")
        else:
            out.append(sign)
        place += 1
    assert depth == 0
    assert not maths
    return "".join(out)


@given(some.text(some.one_of(some.sampled_from("\\{}$&#^_%~-'`\"<>,|?! ab…–∅⏎⟨⟩−"), some.characters()), max_size=30))
def test_every_text_prints_as_itself(text: str):
    shown = printable(text)
    assert read(escape(shown)) == shown


def test_a_row_is_its_text_in_boxes_of_the_colours_of_every_view():
    text = r"\input{x} costs 50% of $10 & more_or_less -- isn't it?"
    row = cm.load("demo").explain(text).row("[CLS]")
    written = row.to_latex()
    boxes = re.findall(
        r"^(\\space |\\allowbreak |)\\colorbox\[HTML\]\{(\w{6})\}\{\\textcolor\{(black|white)\}\{\\strut (.*)\}\}%$",
        written,
        re.MULTILINE,
    )
    assert len(boxes) == len(row.tokens)
    scores = row.values / row.values.max()
    assert [f"#{box[1].lower()}" for box in boxes] == [background(float(score), False) for score in scores]
    joined = "".join((" " if gap == r"\space " else "") + read(word) for gap, _, _, word in boxes)
    assert joined == "".join(gap + label for gap, label in spelled(row.tokens))
    assert joined.replace(" ", "").removeprefix("[CLS]").removesuffix("[SEP]") == text.replace(" ", "")
    others = [line for line in written.splitlines() if "colorbox" not in line]
    assert [line for line in others if not line.startswith("%")] == [
        r"{\setlength{\fboxsep}{1pt}\raggedright%",
        r"\par}",
    ]
    assert any("divided by the largest" in line for line in others)


def test_sub_words_stand_close_signs_are_red_and_blue_and_a_document_is_whole():
    tokens = cm.Tokens(("un", "##real", "x" * 10_000, "a  b "), words=(0, 0, 1, 2))
    row = cm.TokenMap(np.array([1.0, -1.0, 0.0, 0.5]), ("key",), tokens, "signed", cm.Provenance("a\nb%", model="\\m"))
    lines = row.to_latex(document=True).splitlines()
    assert lines[0].startswith(r"\documentclass")
    assert (lines[-1], lines.count(r"\begin{document}")) == (r"\end{document}", 1)
    boxes = [line for line in lines if "colorbox" in line]
    assert boxes[0] == r"\colorbox[HTML]{67001F}{\textcolor{white}{\strut un}}%"
    assert boxes[1] == r"\allowbreak \colorbox[HTML]{053061}{\textcolor{white}{\strut real}}%"
    assert len(boxes[2]) < 150
    assert r"\strut a\ \ b}" in boxes[3]


def test_more_than_one_row_is_refused_with_the_way_to_choose():
    found = cm.load("demo").explain("a good film")
    with pytest.raises(WrongShape, match=r"map\.row"):
        found.to_latex()
    assert found.to_latex("film") == found.row("film").to_latex()


def test_wide_tables_go_on_below_and_no_cell_breaks_a_row():
    import pandas as pd

    numbers = pd.DataFrame({f"a_long_{number} & co": ["1 % \\\\", "x_y"] for number in range(12)}, index=["a&b", "c"])
    written = latex(Table("t", "50 % of all", numbers))
    tables = re.findall(r"\\begin\{tabular\}\{(l+)\}(.*?)\\end\{tabular\}", written, re.DOTALL)
    assert len(tables) > 1
    seen = []
    for columns, body in tables:
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) == 3
        for line in rows:
            cells = re.split(r"(?<!\\) & ", line.removesuffix(r" \\"))
            assert len(cells) == len(columns)
        assert sum(1 + len(cell) for cell in columns) < 120
        seen += [read(cell) for cell in re.split(r"(?<!\\) & ", rows[0].removesuffix(r" \\"))[1:]]
    assert seen == list(numbers.columns)
    assert read(re.search(r"\\caption\{(.*)\}", written)[1]) == "50 % of all"  # type: ignore[index]

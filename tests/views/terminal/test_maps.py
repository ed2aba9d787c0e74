"""The terminal view: what is coloured is also written, and no token is ever an instruction."""

import io
import re
import sys
import types
from itertools import pairwise

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from contextmix.errors import UnknownToken, WrongShape
from contextmix.results.token_map import Provenance, TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.views.drawing.colours import background, contrast, foreground, scaled
from contextmix.views.drawing.picture import number_texts, picture
from contextmix.views.drawing.running_text import spelled
from contextmix.views.terminal.maps import render, show

TEXT = "a deep and meaningful film, unwatchable."
PIECES = ("[CLS]", "a", "deep", "and", "meaningful", "film", ",", "un", "##watch", "##able", ".", "[SEP]")
SPANS = (None, (0, 1), (2, 6), (7, 10), (11, 21), (22, 26), (26, 27), (28, 30), (30, 35), (35, 39), (39, 40), None)
WORDS = (None, 0, 1, 2, 3, 4, 5, 6, 6, 6, 7, None)
TOKENS = Tokens(PIECES, special=tuple(word is None for word in WORDS), words=WORDS, spans=SPANS, text=TEXT)
SCORES = np.array([0.01, 0.05, 0.2, 0.0, 0.4, 0.1, 0.0, 0.02, 0.12, 0.06, 0.03, 0.01])
MADE = Provenance("norm_encoder", aggregation="rollout", model="demo")


def line(pieces=None, values=SCORES, quantity="share", **options):
    tokens = TOKENS if pieces is None else Tokens(tuple(pieces))
    return TokenMap(values, ("key",), tokens, quantity, MADE, **options)


def stack(size=12, layers=3, quantity="share"):
    values = np.random.default_rng(0).dirichlet(np.ones(size), (layers, size))
    tokens = TOKENS if size == 12 else Tokens(tuple(f"t{position}" for position in range(size)))
    return TokenMap(values, ("layer", "query", "key"), tokens, quantity, MADE)


def printed(token_map, query=None, width=100, colour=None):
    console = Console(file=io.StringIO(), width=width, color_system=colour, force_terminal=colour is not None)
    show(token_map, query, console=console)
    return console.file.getvalue()


def test_a_row_reads_as_the_sentence():
    assert printed(line()).splitlines()[0].rstrip() == "[CLS] a deep and meaningful film, unwatchable. [SEP]"


def test_a_row_without_colour_still_tells_every_number():
    text = printed(line(selected={"query": 0, "layer": 5}))
    for position, (piece, score) in enumerate(zip(PIECES, SCORES, strict=True)):
        assert re.search(rf"^ *{position} +{re.escape(piece)} .*{score:.3f}", text, re.MULTILINE)
    assert re.findall(r"meaningful.*strongest", text)
    assert text.count("strongest") == 1
    assert "\x1b" not in text


def test_the_caption_states_method_quantity_scaling_and_query():
    text = printed(line(selected={"query": 0, "layer": 5}))
    assert "norm_encoder + rollout · share: part of the whole · demo" in text
    assert "What “[CLS]” (position 0) draws from each token (layer 5)." in text
    assert "Scale: divided by the largest (0.4)." in text
    assert "olour" not in text


def test_no_color_is_obeyed(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*[34]8;", printed(line(), colour="truecolor"))


def test_the_strongest_token_has_the_darkest_colour():
    text = printed(line(), colour="truecolor")
    darkest = ";".join(str(channel) for channel in bytes.fromhex(background(1, False)[1:]))
    assert re.search(rf"48;2;{darkest}m\[?meaningful", text.replace("\x1b[38;2;255;255;255;", "\x1b["))
    assert text.count(f"48;2;{darkest}m") == 2  # this token, and the 1 of the key


@pytest.mark.parametrize(
    "piece", ["[bold]", "[/]", "[red]x[/red]", "[CLS]", ":smile:", "\\[", "{0}", "[link=http://a]"]
)
def test_markup_in_tokens_prints_literally(piece):
    square = TokenMap(np.eye(2), ("query", "key"), Tokens((piece, "b")), "share", Provenance(piece, model=piece))
    for token_map in (square, square.row(0)):
        for colour in (None, "truecolor"):
            plain = re.sub(r"\x1b\[[\d;]*m", "", printed(token_map, colour=colour))
            assert plain.count(piece[:12]) >= 3


def test_control_characters_reach_no_terminal():
    bad = "\x1b]0;title\x07"
    square = TokenMap(np.eye(3), ("query", "key"), Tokens((bad, "\n", "\u202e")), "share", Provenance(bad, model=bad))
    for text in (printed(square), printed(square, query=0), printed(square, query=1)):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
        assert "⏎" in text
        assert "⟨U+202E⟩" in text


def test_broken_text_can_be_printed():
    printed(line(("\ud800", ""), [0.1, 0.2])).encode("utf-8")


def test_a_table_shows_every_number_with_its_labels():
    text = printed(stack().layer(1), width=120)
    rows = [row.split() for row in text.splitlines()]
    assert rows[0] == list(PIECES)
    for piece, values, row in zip(PIECES, stack().values[1], rows[1:], strict=False):
        assert row == [piece, *(f"{value:.2f}" for value in values)]
    assert "Rows receive, columns are what they draw from (layer 1)." in text
    assert "divided by the largest of the table" in text


@pytest.mark.parametrize("width", [30, 50, 80])
def test_a_wide_table_breaks_into_blocks_that_fit(width):
    text = printed(stack(20).layer(0), width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    numbers = re.findall(r"\d\.\d\d", text.split("Rows receive")[0])
    assert len(numbers) == 400
    assert all(re.search(rf"\bt{position}\b", text) for position in range(20))


def test_wide_characters_line_up():
    tokens = Tokens(("電影", "a"))
    text = printed(TokenMap(np.eye(2), ("query", "key"), tokens, "share", MADE))
    first, second = text.splitlines()[1:3]
    assert cell_len(first.split("1.00")[0]) == cell_len(second.split("0.00")[0])


def test_a_long_label_is_cut_visibly():
    text = printed(TokenMap(np.eye(2), ("query", "key"), Tokens(("x" * 99, "b")), "share", MADE))
    assert "x…" in text
    assert "x" * 20 not in text


def test_a_large_table_becomes_one_row_and_says_so():
    text = printed(stack(26).layer(0), width=200)
    assert "What “t0” (position 0)" in text
    assert "No query was chosen, so this is the first token. Choose another with query=" in text
    assert "Rows receive" in printed(stack(25).layer(0))
    assert "What “t7” (position 7) draws from each token (layer 0).\n" in printed(stack(26).layer(0), "t7")


def test_where_no_token_sees_later_ones_the_last_row_is_shown():
    causal = np.tril(stack(26).values)
    text = printed(stack(26).derive(values=causal))
    assert "What “t25” (position 25)" in text
    assert "this is the last token, as no token draws from a later one" in " ".join(text.split())


def test_layers_are_rows_with_the_last_on_top():
    text = printed(stack(), query="film")
    assert [label for label in re.findall(r"^layer \d", text, re.MULTILINE)] == ["layer 2", "layer 1", "layer 0"]
    top = text.splitlines()[1].split()[2:]
    assert top == [f"{value:.2f}" for value in stack().values[2, 5]]
    assert "“film” (position 5)" in text
    assert "each row divided by its largest" in text


def test_each_layer_reaches_the_strongest_colour():
    values = stack().values * np.array([1, 1e-3, 1e3])[:, None, None]
    drawn = picture(stack(quantity="norm").derive(values=values), "film")
    assert np.abs(drawn.scores).max(axis=1).tolist() == [1, 1, 1]
    assert drawn.rows == ("layer 2", "layer 1", "layer 0")
    np.testing.assert_allclose(drawn.scores[0], values[2, 5] / values[2, 5].max())


def test_long_rows_list_the_strongest_in_order():
    values = np.linspace(0, 1, 60)
    text = printed(line([f"t{position}" for position in range(60)], values))
    assert "The 40 strongest of 60 tokens." in text
    listed = re.findall(r"^ *(\d+) +t\1 ", text, re.MULTILINE)
    assert listed == [str(position) for position in range(20, 60)]


def test_a_long_sentence_wraps():
    text = printed(line([f"token{position}" for position in range(60)], np.ones(60)), width=40)
    assert max(map(len, text.splitlines())) <= 40
    assert "token59" in text


def test_signs_are_told_by_number_and_colour():
    signed = line(values=SCORES - 0.1, quantity="signed", selected={"query": 0})
    text = printed(signed)
    assert re.search(r"\[CLS\] .* -0\.090", text)
    assert "+ adds, − removes" in text
    assert "+ adds" not in printed(line())
    assert "+ adds" in printed(line(values=SCORES - 0.1, quantity="norm"))  # negative where none should be: shown


def test_zeros_are_said_to_be_zeros():
    text = printed(line(values=np.zeros(12)))
    assert "All values are 0." in text
    assert "strongest" not in text


@pytest.mark.parametrize("axis", ["head", "target"])
def test_axes_that_no_picture_shows(axis):
    token_map = TokenMap(
        np.ones((1, 2)), (axis, "key"), Tokens(("a", "b")), "share", MADE, targets=("x",) if axis == "target" else None
    )
    with pytest.raises(WrongShape, match=rf"map\.{axis}\(0\)\.show\(\)"):
        render(token_map)


def test_a_map_without_keys_has_no_picture():
    with pytest.raises(WrongShape, match="no key axis"):
        render(TokenMap(np.ones((1, 2)), ("layer", "query"), Tokens(("a", "b")), "share", MADE))


def test_a_query_must_exist():
    with pytest.raises(UnknownToken, match="Did you mean 'film'"):
        render(stack(), "films")
    with pytest.raises(WrongShape, match="query axis"):
        render(line(), "film")


def test_poor_encodings_lose_signs_but_no_numbers():
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    show(line(("é", "b"), [0.25, 0.5]), console=Console(file=file, width=60, color_system=None))
    file.flush()
    assert b"0.250" in raw.getvalue()
    assert b"?" in raw.getvalue()


def test_show_of_a_map_prints(capsys):
    stack().show("film")
    assert "layer 2" in capsys.readouterr().out


def test_show_of_a_map_displays_in_a_notebook(monkeypatch, capsys):
    shown = []
    display = types.SimpleNamespace(display=shown.append, HTML=lambda text: text)
    ipython = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(kernel=1), display=display)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    stack().show("film")
    assert shown[0].startswith("<figure")
    assert capsys.readouterr().out == ""


def test_ipython_in_a_terminal_is_no_notebook(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=object))
    stack().show("film")
    assert "layer 2" in capsys.readouterr().out


# Spelling, numbers and colours, which both views share


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (TOKENS, "[CLS] a deep and meaningful film, unwatchable. [SEP]"),
        (Tokens(("gl", "##ob", "##enc", "!")), "globenc !"),
        (Tokens(("The", " film", "s", " end")), "The films end"),
        (Tokens(("The", "film", "s"), words=(0, 1, 1)), "The films"),
        (Tokens(("The", " film", "s"), spans=((0, 3), (3, 8), (8, 9)), text="The films"), "The films"),
        (Tokens(("##ing",)), "##ing"),
        (Tokens(("a", "\n", "b")), "a ⏎ b"),
    ],
)
def test_spelled(tokens, text):
    assert "".join(gap + label for gap, label in spelled(tokens)) == text


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1.0, 0.333], ("1.00", "0.33")),
        ([12.34, 0.5], ("12", "0")),
        ([-0.001, 0.5], ("0.00", "0.50")),
        ([0.0123, 0.0], ("0.012", "0.000")),
        ([3e-7, 1e-9], ("3.0e-07", "1.0e-09")),
        ([2e8, 0.0], ("2.0e+08", "0.0e+00")),
        ([0.0, 0.0], ("0.00", "0.00")),
    ],
)
def test_number_texts(values, texts):
    assert number_texts(np.array(values)) == texts


def test_scaled():
    assert scaled(np.array([[1.0, -4.0], [0.0, 2.0]])).tolist() == [[0.25, -1], [0, 0.5]]
    assert scaled(np.array([[1.0, -4.0], [0.0, 2.0], [0.0, 0.0]]), axis=1).tolist() == [[0.25, -1], [0, 1], [0, 0]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("signed", [True, False])
def test_text_is_readable_on_every_colour(signed, theme):
    for score in np.linspace(-1 if signed else 0, 1, 201):
        colour = background(score, signed, theme)
        assert contrast(foreground(colour), colour) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("signed", "direction"), [(False, 1), (True, 1), (True, -1)])
def test_stronger_scores_stand_out_more_even_in_grey(signed, direction, theme):
    page = background(0, signed, theme)
    steps = [contrast(background(direction * score, signed, theme), page) for score in np.linspace(0, 1, 41)]
    assert all(after > before for before, after in pairwise(steps))
    assert steps[-1] > 7


def test_signs_differ_in_hue():
    for theme in ("light", "dark"):
        red, _, blue = bytes.fromhex(background(0.6, True, theme)[1:])
        assert red > blue + 60
        red, _, blue = bytes.fromhex(background(-0.6, True, theme)[1:])
        assert blue > red + 60


# Rows that are other tokens than the columns -------------------------------------------------------------------------


def steps(keys=PIECES, rows=("Lily", "\x1b[31m"), values=None, quantity="share", **options):
    values = np.arange(len(rows) * len(keys), dtype=float).reshape(len(rows), -1) if values is None else values
    tokens, queries = Tokens(tuple(keys)), Tokens(tuple(rows))
    return TokenMap(values, ("query", "key"), tokens, quantity, MADE, query_tokens=queries, **options)


def test_rows_that_are_other_tokens_list_what_they_draw_most_from():
    values = np.zeros((2, 12))
    values[0, [2, 4, 5]] = 0.1, 0.6, 0.3
    values[1] = np.linspace(0.01, 0.12, 12)
    text = printed(steps(values=values))
    first, second = text.splitlines()[:2]
    assert first.split() == ["Lily", "←", "meaningful", "0.60", "film", "0.30", "deep", "0.10"]
    assert second.split()[2:8:2] == ["[SEP]", ".", "##able"]
    assert second.split()[3:8:2] == ["0.12", "0.11", "0.10"]
    assert "The 6 strongest of each row." in text
    assert "each row divided by its largest" in text
    assert "\x1b" not in text


def test_their_signs_are_told_and_rows_of_zeros_are_empty():
    values = np.array([[0.5, -2.0], [0.0, 0.0]])
    text = printed(steps(("a", "b"), ("x", "y"), values, "signed"))
    assert text.splitlines()[0].split() == ["x", "←", "b", "-2.0", "a", "0.5"]
    assert text.splitlines()[1].split() == ["y", "←"]
    assert "+ adds, − removes" in text
    assert "strongest of each row" not in text


def test_the_row_of_one_of_them_is_a_line_and_a_large_table_one_row():
    one = steps()
    assert picture(one, query="Lily").kind == "line"
    assert picture(one).kind == "steps"
    np.testing.assert_array_equal(picture(one).scores.max(1), [1, 1])
    large = steps(tuple(f"k{position}" for position in range(200)), tuple(f"q{position}" for position in range(100)))
    assert picture(large).kind == "line"


def test_an_attribution_says_which_score_it_explains():
    notes = {"target": " Lily", "foil": " Tim", "prediction": {"label": " Lily", "after": " named"}}
    text = " ".join(printed(line().derive(provenance=MADE.noting(**notes))).split())
    assert "What each token did for the score of “ Lily” over “ Tim” after “ named”." in text
    text = " ".join(printed(line().derive(provenance=MADE.noting(target="positive"))).split())
    assert "What each token did for the score of “positive”." in text

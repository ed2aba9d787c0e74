"""Terminal views in consoles of any width: nothing is lost, nothing sticks out, nothing needs colour."""

import io
import re

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from contextmix.results.comparison import Comparison
from contextmix.results.token_map import Provenance, TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.views.terminal import comparison as terminal_comparison
from contextmix.views.terminal import maps as terminal

PIECES = (
    "[CLS]",
    "深い映画",
    "👩‍👩‍👧",
    "مرحبا",
    "x" * 10_000,
    "\x1b[31m",
    "\u202e",
    "",
    "\n",
    "the",
    "[red]x[/]",
    "e\u0301",
)
NAMES = (
    "globenc",
    "attention_fixed_residual",
    "alongnamewithoutanyplacetobreak" * 3,
    "深い映画",
    "norm+rollout",
    "a",
    "b",
)


def row(quantity: str = "share", pieces: tuple[str, ...] = PIECES, seed: int = 0) -> TokenMap:
    values = np.random.default_rng(seed).dirichlet(np.ones(len(pieces))) - (0.1 if quantity == "signed" else 0)
    return TokenMap(values, ("key",), Tokens(pieces), quantity, Provenance("m", model="demo"))


def compared(pieces: tuple[str, ...] = PIECES) -> Comparison:
    kinds = ("share", "signed", "norm", "share", "share", "share", "share")
    return Comparison(
        {name: row(kind, pieces, seed) for seed, (name, kind) in enumerate(zip(NAMES, kinds, strict=True))}
    )


def printed(drawn: RenderableType, width: int, colour: bool = False) -> str:
    system = "truecolor" if colour else None
    console = Console(file=io.StringIO(), width=width, color_system=system, force_terminal=colour)
    console.print(drawn)
    return console.file.getvalue()  # type: ignore[attr-defined]


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def _words(text: str) -> str:
    """Without spaces: a sentence of other words breaks elsewhere."""
    return "".join(text.split())


@pytest.mark.parametrize("width", [34, 40, 80, 200])
def test_nothing_sticks_out_and_every_number_is_there(width: int):
    for drawn in (terminal.render(row()), terminal.render(row("signed")), terminal_comparison.render(compared())):
        bare, full = printed(drawn, width), printed(drawn, width, colour=True)
        assert max(map(cell_len, bare.splitlines())) <= width
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", bare)
        without_key = "\n".join(line for line in plain(full).splitlines() if "× largest" not in line)
        told = without_key.replace("Colours:", "Scale:").replace("red adds, blue removes", "+ adds, − removes")
        assert _words(told) == _words(bare)  # colours add the key and words about them, and nothing else
    for value in row().values:
        assert f"{value:.3f}" in printed(terminal.render(row()), width)
    text = printed(terminal_comparison.render(compared()), width)
    for one in compared().rows.values():
        for value in one.values / np.abs(one.values).max():
            assert re.search(rf"(?<![\d.]){re.escape(f'{value:.3f}')}(?!\d)", text)
    correlations = compared().spearman.to_numpy()
    for value in correlations.ravel():
        assert f"{value:+.2f}" in text


def test_a_comparison_has_a_line_per_token_and_a_column_per_method():
    text = printed(terminal_comparison.render(compared()), 200)
    lines = text.splitlines()
    first = next(line for line in lines if line.startswith("[CLS]"))
    expected = [f"{one.values[0] / np.abs(one.values).max():.3f}" for one in compared().rows.values()]
    assert first.split()[1:] == expected
    assert [line.split()[:2] for line in lines if re.match(r"\d ", line)][:2] == [["1", "globenc"], ["2", NAMES[1]]]
    assert "attention_fixed_residual (signed)" in text
    assert "red adds, blue removes" not in text
    assert "+ adds, − removes" in text


def test_numbers_stay_on_their_side_of_right_to_left_tokens():
    line = next(
        line for line in printed(terminal.render(row()), 80).splitlines() if "مرحبا" in line and "█" not in line[:9]
    )
    assert printed(terminal.render(row()), 80).count("\u200eمرحبا\u200e") == 1
    assert cell_len(line) <= 80


def test_of_many_tokens_the_strongest_of_any_method_are_compared():
    pieces = tuple(f"t{number}" for number in range(100))
    weak, strong = np.full(100, 0.01), np.full(100, 0.01)
    weak[3], strong[97] = 1, 1
    tokens = Tokens(pieces)
    rows = {
        name: TokenMap(values, ("key",), tokens, "norm", Provenance(name))
        for name, values in (("a", weak), ("b", strong))
    }
    text = printed(terminal_comparison.render(Comparison(rows)), 80)
    assert "The 40 strongest of 100 tokens" in text
    assert re.search(r"^t3 +1\.000 0\.010", text, re.MULTILINE)
    assert re.search(r"^t97 +0\.010 1\.000", text, re.MULTILINE)


def test_the_key_says_what_colours_mean_where_there_are_any(monkeypatch: pytest.MonkeyPatch):
    keyed = plain(printed(terminal.render(row("signed")), 80, colour=True))
    assert "-1  -0.5  0  0.5  1  × largest" in keyed
    assert " 0  0.25  0.5  0.75  1  × largest" in plain(
        printed(terminal_comparison.render(Comparison({"a": row()})), 80, colour=True)
    )
    monkeypatch.setenv("NO_COLOR", "1")
    assert "× largest" not in printed(terminal.render(row()), 80, colour=True)

"""Figures for papers: what is drawn are the numbers, and no token is a formula, an empty box or a warning."""

import re
import sys
from collections.abc import Iterator
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest

import contextmix as cm
from contextmix.errors import BadOption, OutputExists, OutputUnwritable, UnknownToken, WrongShape
from contextmix.plugins.contracts import Scored
from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.statistics.summaries import interval
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.places import Patches

HOSTILE = (
    "$x_1$",
    "$\\frac{$",
    "深い",
    "👩‍👩‍👧",
    "مرحبا",
    "x" * 10_000,
    "\x1b[31m",
    "\u202e",
    "",
    "_a^b",
    "%#&{}",
    "\n",
    "#",
)
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def made(
    shape: tuple[int, ...], dims: tuple[str, ...], quantity: str = "norm", pieces: tuple[str, ...] = ()
) -> TokenMap:
    values = RNG.standard_normal(shape) if quantity == "signed" else RNG.random(shape)
    tokens = Tokens(pieces or tuple(f"t{place}" for place in range(shape[-1])))
    return TokenMap(values, dims, tokens, quantity, Provenance("norm_encoder", model="demo"))


def words(axes: plt.Axes, side: str = "x") -> list[str]:
    return [tick.get_text() for tick in getattr(axes, f"get_{side}ticklabels")()]


def shown(axes: plt.Axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


def bar_label(axes: plt.Axes) -> str:
    return axes.images[0].colorbar.ax.get_ylabel().replace("\n", " ")


def test_layers_stand_with_the_last_on_top_and_each_is_divided_by_its_largest():
    whole = made((3, 4, 4), ("layer", "query", "key"))
    axes = whole.plot("t2")
    row = whole.values[::-1, 2]
    np.testing.assert_allclose(shown(axes), row / row.max(1, keepdims=True))
    assert words(axes, "y") == ["2", "1", "0"]
    assert bar_label(axes) == "norm, each layer ÷ its largest"
    assert axes.get_title() == "norm_encoder · t2"
    np.testing.assert_allclose(shown(cm.plots.layers(whole, 2, scale="map")), row / row.max())
    raw = cm.plots.layers(whole, 2, scale="none")
    np.testing.assert_allclose(shown(raw), row)
    assert bar_label(raw) == "norm (units of the residual stream)"


def test_a_table_has_a_row_for_each_that_receives_and_signs_meet_at_zero():
    table = made((4, 4), ("query", "key"), "signed")
    axes = table.plot()
    np.testing.assert_allclose(shown(axes), table.values / np.abs(table.values).max())
    assert words(axes) == words(axes, "y") == ["t0", "t1", "t2", "t3"]
    image = axes.images[0]
    assert (image.norm.vmin, image.norm.vmax) == (-1, 1)
    assert image.cmap(0.5)[:3] == pytest.approx((1, 1, 1), abs=0.01)
    assert "the largest of the map" in bar_label(axes)


def test_bars_have_the_numbers_and_long_rows_say_what_they_left_out():
    row = made((60,), ("key",), "signed")
    axes = cm.plots.bars(row, limit=10)
    kept = sorted(np.argsort(-np.abs(row.values))[:10])
    assert [bar.get_width() for bar in axes.patches] == row.values[kept].tolist()
    assert words(axes, "y") == [f"t{place}" for place in kept]
    assert axes.get_ylabel() == "the 10 strongest of 60 tokens"
    reds = {bool(bar.get_facecolor()[0] > bar.get_facecolor()[2]) == bool(bar.get_width() > 0) for bar in axes.patches}
    assert reds == {True}
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first token on top


def test_patches_lie_where_they_are_in_the_image():
    places = Patches((8, 8), (2, 2), (0, 0, 8, 8), (None, (0, 0), (0, 1), (1, 0), (1, 1)))
    tokens = Tokens(("[CLS]", "r0c0", "r0c1", "r1c0", "r1c1"), special=(True, *(False,) * 4), places=places)
    values = np.array([9.0, 1, 2, 3, 4])
    image = TokenMap(values, ("key",), tokens, "norm", Provenance("norm"))
    assert shown(image.plot()).tolist() == [[0.25, 0.5], [0.75, 1.0]]


def test_layers_and_heads_share_a_scale_and_methods_have_their_own():
    whole = made((5, 4, 4), ("head", "query", "key"))
    panels = cm.plots.grid(whole)
    assert [axes.get_title() for axes in panels] == [f"head {number}" for number in range(5)]
    for number, axes in enumerate(panels):
        np.testing.assert_allclose(shown(axes), whole.values[number])
        assert axes.images[0].norm.vmax == pytest.approx(whole.values.max())
    one, other = made((4, 4), ("query", "key")), made((4, 4), ("query", "key"), "signed")
    panels = cm.plots.grid({"a": one, "b": other})
    assert [float(np.abs(shown(axes)).max()) for axes in panels] == [1.0, 1.0]
    assert [axes.images[0].norm.vmin for axes in panels] == [0, -1]
    with pytest.raises(BadOption, match="no common scale"):
        cm.plots.grid({"a": one, "b": other}, scale="same")
    with pytest.raises(WrongShape, match="share their axes"):
        cm.plots.grid({"a": one, "b": made((5, 5), ("query", "key"))})


def test_a_band_is_the_bootstrap_interval_and_undefined_examples_are_left_out():
    values = RNG.normal(0.5, 0.1, (30, 3)).tolist()
    values[0][1] = None
    axes = cm.plots.by_layer({"globenc": values, "norm": [[0, 0, 1]] * 3}, layers=[0, 1, 5])
    column = [row[1] for row in values if row[1] is not None]
    found = interval(column, resamples=1999)
    band = axes.collections[0].get_paths()[0].vertices
    assert axes.lines[0].get_ydata()[1] == pytest.approx(np.mean(column))
    assert {round(y, 9) for x, y in band if x == 1} == {round(found.low, 9), round(found.high, 9)}
    assert axes.lines[0].get_xdata().tolist() == [0, 1, 5]
    with pytest.raises(WrongShape, match="as many layers"):
        cm.plots.by_layer({"a": [[1, 2]], "b": [[1, 2, 3]]})


def test_curves_are_means_over_the_examples_that_have_one():
    outcomes = [
        Scored(0.2, curve={"10%": 0.1, "20%": 0.3}),
        Scored(None, "too short"),
        Scored(0.4, curve={"10%": 0.5, "20%": 0.7}),
    ]
    axes = cm.plots.curves({"globenc": outcomes})
    assert axes.lines[0].get_ydata() == pytest.approx([0.3, 0.5])
    assert axes.lines[0].get_xdata().tolist() == [10, 20]
    assert axes.get_xlabel() == "tokens taken away (%)"
    with pytest.raises(BadOption, match="No example of 'norm' has a curve"):
        cm.plots.curves({"globenc": outcomes, "norm": [Scored(0.5)]})


@pytest.mark.parametrize("serif", [False, True])
def test_hostile_tokens_are_labels_and_never_warn(serif: bool, tmp_path):
    count = len(HOSTILE)
    whole = made((2, count, count), ("layer", "query", "key"), "share", HOSTILE)
    with cm.plots.column("single", serif=serif):
        for number, axes in enumerate((whole.plot(0), whole.layer(0).plot(), whole.layer(0).row(0).plot())):
            cm.plots.save(axes, tmp_path / f"{number}.pdf")  # warnings are errors: a missing glyph would be one
        texts = words(axes, "y")
    assert texts[:2] == ["$x_1$", "$\\frac{$"]
    assert texts[2] == "⟨U+6DF1⟩⟨U+3044⟩"
    assert texts[6:10] == ["⟨U+001B⟩[31m", "⟨U+202E⟩", "∅", "_a^b"]
    assert max(map(len, texts)) <= 19
    assert len(texts) == count


def test_a_figure_fits_its_column_and_letters_stay_letters(tmp_path):
    table = made((30, 30), ("query", "key"))
    for width, inches in (("single", 3.03), ("double", 6.3), (5.5, 5.5)):
        with cm.plots.column(width):
            axes = table.plot()
        assert axes.figure.get_figwidth() == pytest.approx(inches)
    with cm.plots.column("single"):
        cm.plots.save(table.plot(), tmp_path / "a.pdf")
    first = (tmp_path / "a.pdf").read_bytes()
    assert b"/Type0" in first  # text with an embedded TrueType font; /Type3 would be refused by conferences
    assert b"/Type3" not in first
    assert b"/FontFile2" in first
    with cm.plots.column("single"):
        cm.plots.save(table.plot(), tmp_path / "a.pdf", overwrite=True)
    assert (tmp_path / "a.pdf").read_bytes() == first
    cm.plots.save(cm.plots.grid({"a": table}), tmp_path / "b.svg")
    assert "<svg" in (tmp_path / "b.svg").read_text()
    with pytest.raises(OutputExists):
        cm.plots.save(axes, tmp_path / "a.pdf")
    with pytest.raises(OutputUnwritable, match=re.escape("not as '.gif'")):
        cm.plots.save(axes, tmp_path / "a.gif")
    with pytest.raises(BadOption, match="no width 'triple'"), cm.plots.column("triple"):  # type: ignore[arg-type]
        pass


def test_axes_that_were_given_are_drawn_on_and_labels_never_run_together():
    _, ax = plt.subplots(figsize=(3, 3))
    assert made((200, 200), ("query", "key")).plot(ax=ax) is ax
    ax.figure.draw_without_rendering()
    boxes = [tick.get_window_extent() for tick in ax.get_xticklabels()]
    assert 5 < len(boxes) < 200
    assert all(one.x1 <= other.x0 + 1 for one, other in pairwise(boxes))


def test_what_cannot_be_drawn_is_refused():
    whole = made((2, 3, 3), ("layer", "query", "key"))
    for draw in (cm.plots.tokens, cm.plots.bars, cm.plots.patches):
        with pytest.raises(WrongShape):
            draw(whole)
    with pytest.raises(WrongShape, match="layers='all'"):
        cm.plots.layers(whole.layer(0))
    with pytest.raises(BadOption, match="Known: 'row', 'map', 'none'"):
        cm.plots.layers(whole, scale="column")  # type: ignore[arg-type]
    with pytest.raises(UnknownToken):
        whole.plot("t9")


def test_without_matplotlib_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)  # any way to import it fails, not only the usual one
    for dims in (("key",), ("query", "key"), ("layer", "query", "key")):
        with pytest.raises(BadOption, match=re.escape('pip install "contextmix[plot]"')):
            made((3,) * len(dims), dims).plot()

"""What a reader does with the explorer, in a real report in a real browser."""

import re
from typing import Any

import numpy as np
import pytest

from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.places import Frames, Patches
from contextmix.views.drawing.colours import background

PIECES = ("[CLS]", "deep", "##ly", "moving", "film", "[SEP]")
TOKENS = Tokens(PIECES, special=(True, False, False, False, False, True), words=(None, 0, 0, 1, 2, None))
COUNT = len(PIECES)


def numbers(*shape: int) -> np.ndarray[Any, Any]:
    """Different numbers everywhere, so that no cell can be mistaken for another."""
    return np.random.default_rng(sum(shape)).permutation(np.arange(1.0, np.prod(shape) + 1)).reshape(shape)


NORM, HEADS, SCORE = numbers(3, COUNT, COUNT), numbers(2, 3, COUNT, COUNT), numbers(COUNT) - 3
MAPS = {
    "norm": TokenMap(NORM, ("layer", "query", "key"), TOKENS, "norm", Provenance("norm")),
    "twice": TokenMap(2 * NORM, ("layer", "query", "key"), TOKENS, "norm", Provenance("twice")),
    "heads": TokenMap(HEADS, ("layer", "head", "query", "key"), TOKENS, "share", Provenance("heads")),
    "score": TokenMap(SCORE, ("key",), TOKENS, "signed", Provenance("score")),
}


def token(page: Any, name: str, panel: int = 0) -> Any:
    return page.locator(".panel").nth(panel).get_by_role("option").filter(has_text=re.compile(f"^{re.escape(name)}$"))


def question(page: Any) -> str:
    frame(page)
    return str(page.locator(".question").inner_text()).replace("\u2068", "").replace("\u2069", "")


def text_of(page: Any, place: str, panel: int = 0) -> str:
    frame(page)
    found = page.locator(".panel").nth(panel).locator(place).first.inner_text()
    return str(found).replace("\u2068", "").replace("\u2069", "").replace("−", "-")


def frame(page: Any) -> None:
    """Wait until what was asked for is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def strongest(page: Any, panel: int = 0) -> float:
    return float(re.search(r"” (?:\(position \d+\) )?(-?[\d.]+)", text_of(page, ".answer", panel))[1])


def colours(page: Any) -> list[tuple[int, ...]]:
    frame(page)
    script = "(all) => all.map((each) => getComputedStyle(each).backgroundColor)"
    [bare] = page.locator(".explorer").evaluate_all(script)
    found = page.locator(".panel").first.get_by_role("option").evaluate_all(script)
    found = [bare if colour == "rgba(0, 0, 0, 0)" else colour for colour in found]
    return [tuple(map(int, re.findall(r"\d+", colour)[:3])) for colour in found]


def expected(values: Any, signed: bool = False, theme: str = "light") -> list[tuple[int, ...]]:
    return [tuple(bytes.fromhex(background(value, signed, theme)[1:])) for value in values / np.abs(values).max()]


def assert_same(found: list[tuple[int, ...]], wanted: list[tuple[int, ...]]) -> None:
    assert np.abs(np.array(found) - np.array(wanted)).max() <= 2  # a page has 256 steps of colour, Python all


def test_hover_asks_click_pins_and_escape_lets_go(open_plain: Any):
    page = open_plain(MAPS)
    token(page, "film").hover()
    assert question(page) == "What “film” draws from each token"
    assert_same(colours(page), expected(NORM[2, 4]))
    assert strongest(page) == NORM[2, 4].max()
    token(page, "film").click()
    token(page, "deep").hover()
    assert text_of(page, ".readout").startswith(f"“film” ← “deep”: {NORM[2, 4, 1]:.0f}")
    assert "units of the residual stream" in text_of(page, ".readout")
    assert "film" in question(page)
    page.keyboard.press("Escape")
    token(page, "moving").hover()
    assert question(page) == "What “moving” draws from each token"


def test_switched_it_shows_what_draws_from_a_token(open_plain: Any):
    page = open_plain(MAPS)
    token(page, "film").hover()
    page.get_by_role("button", name="gives to").click()
    assert question(page) == "What draws from “film”"
    assert_same(colours(page), expected(NORM[2, :, 4]))
    token(page, "film").click()
    token(page, "deep").hover()
    assert text_of(page, ".readout").startswith(f"“deep” ← “film”: {NORM[2, 1, 4]:.0f}")


def test_slider_and_play_go_through_the_layers(open_plain: Any):
    page = open_plain(MAPS, query="film")
    slider = page.get_by_role("slider", name="Layer")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    frame(page)
    assert page.locator(".layer .now").inner_text() == "layer 1"
    assert strongest(page) == NORM[1, 4].max()
    page.get_by_role("button", name="Play").click()
    page.locator(".layer .now", has_text="layer 2").wait_for()
    page.locator(".layer .now", has_text="layer 0").wait_for()
    page.get_by_role("button", name="Pause").click()
    frame(page)
    assert page.get_by_role("button", name="Play").is_visible()
    assert slider.get_attribute("aria-valuetext").startswith("layer")


def test_methods_one_or_several_with_their_own_or_one_scale(open_plain: Any):
    page = open_plain(MAPS, query="film")
    page.get_by_role("button", name="score").click()
    assert question(page) == "What each token did for the output"
    assert_same(colours(page), expected(SCORE, signed=True))
    assert "Red adds, blue removes" in text_of(page, ".scaling")
    page.get_by_role("button", name="Norm-based attention").click()
    page.get_by_role("button", name="Side by side").click()
    frame(page)
    assert page.locator(".panel").count() == 2  # one that answers another question
    page.get_by_role("button", name="twice").click()
    page.get_by_role("button", name="score").click()
    page.locator(".panel:not([aria-busy])").nth(1).wait_for()
    assert (strongest(page, 0), strongest(page, 1)) == (NORM[2, 4].max(), 2 * NORM[2, 4].max())
    assert_same(colours(page), expected(NORM[2, 4]))
    page.locator("summary", has_text="View").click()
    page.get_by_label("Same scale").check()
    assert_same(colours(page), expected(np.append(NORM[2, 4], 2 * NORM[2, 4].max()))[:COUNT])
    assert "over all methods shown with this unit" in text_of(page, ".scaling")


def test_words_special_tokens_thresholds_and_scales_are_said_on_screen(open_plain: Any):
    page = open_plain(MAPS, query="film")
    page.get_by_role("button", name="Words").click()
    frame(page)
    assert page.locator(".panel .token").all_inner_texts() == ["[CLS]", "deeply", "moving", "film", "[SEP]"]
    assert_same(colours(page), expected(MAPS["norm"].words().values[2, 3]))
    assert "Words: the sum" in text_of(page, ".scaling")
    page.get_by_role("button", name="Words").click()
    page.locator("summary", has_text="View").click()
    page.get_by_label("Special tokens").select_option("hidden")
    assert "Special tokens are hidden" in text_of(page, ".scaling")
    assert_same(colours(page), expected(NORM[2, 4, 1:5]))
    page.get_by_label("Special tokens").select_option("coloured")
    page.get_by_label("Colour scale").select_option("table")
    assert "One scale per picture" in text_of(page, ".scaling")
    assert_same(colours(page), expected(np.append(NORM[2, 4], NORM[2].max()))[:COUNT])
    page.get_by_label("Threshold").fill("50")
    assert "Below 50 % of full colour" in text_of(page, ".scaling")
    assert [colour != (255, 255, 255) for colour in colours(page)] == list(NORM[2, 4] >= 0.5 * NORM[2].max())


def test_heads_mean_one_or_each(open_plain: Any):
    page = open_plain(MAPS, query="film")
    page.get_by_role("button", name="heads").click()
    page.locator("summary", has_text="View").click()
    assert strongest(page) == pytest.approx(HEADS[1, :, 4].mean(0).max(), abs=0.1)
    assert "mean of 3 heads" in text_of(page, ".meaning")
    token(page, "film").click()
    page.get_by_role("combobox", name="Heads").select_option("each")
    frame(page)
    assert page.locator(".head").count() == 3
    page.locator(".head").nth(2).get_by_role("application").click()
    assert "head 2" in text_of(page, ".meaning")
    assert strongest(page) == HEADS[1, 2, 4].max()
    page.get_by_role("combobox", name="Heads").select_option("each")
    frame(page)
    page.locator(".head").nth(1).get_by_role("application").press("Enter")
    assert "head 1" in text_of(page, ".meaning")
    page.keyboard.press("ArrowDown")  # goes on in the map that stands in their place
    frame(page)
    assert tip(page.locator(".panel .map").nth(1)).startswith("“film” ← “[CLS]”")


def test_pointing_at_a_cell_of_a_map_reads_its_number(open_plain: Any):
    page = open_plain(MAPS, query="film")
    layers, grid = page.locator(".panel .map").all()[:2]
    (x, y), row = cell_at(grid, 0, 0), cell_at(grid, 1, 4)
    pixel = "(canvas, [x, y]) => [...canvas.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3)"
    assert_same([grid.locator("canvas").first.evaluate(pixel, [x, y])], expected(NORM[2, 0])[:1])
    grid.locator("canvas").last.hover(position={"x": row[0], "y": row[1]})
    assert tip(grid).startswith(f"“film” ← “deep”: {NORM[2, 4, 1]:.0f}")
    assert question(page) == "What “film” draws from each token"
    grid.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    frame(page)
    assert tip(grid).startswith("“moving” ← “##ly”")
    assert "“moving” ← “##ly”" in page.get_by_role("status").inner_text().replace("\u2068", "").replace("\u2069", "")
    layers.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    frame(page)
    assert page.locator(".layer .now").inner_text() == "layer 1"


def test_a_pointer_at_rest_on_a_cell_that_goes_leaves_the_page_alive(open_plain: Any):
    page = open_plain(MAPS, query="film")
    page.locator("summary", has_text="View").click()
    grid = page.locator(".panel .map").nth(1)
    x, y = cell_at(grid, COUNT - 1, COUNT - 1)
    grid.locator("canvas").last.hover(position={"x": x, "y": y})
    assert tip(grid).startswith("“[SEP]” ← “[SEP]”")
    page.get_by_label("Special tokens").focus()
    page.keyboard.press("End")  # hidden
    assert "Special tokens are hidden" in text_of(page, ".scaling")
    assert grid.locator(".tip").is_hidden()


def cell_at(grid: Any, column: int, row: int) -> tuple[float, float]:
    """The middle of a cell, as the map says where its cells begin and how large they are."""
    left, top, width, height = map(float, grid.get_attribute("data-cells").split())
    return left + width * (column + 0.5), top + height * (row + 0.5)


def tip(grid: Any) -> str:
    return str(grid.locator(".tip").inner_text()).replace("\u2068", "").replace("\u2069", "")


def test_keys_alone_reach_and_read_everything(open_plain: Any):
    page = open_plain(MAPS, query="deep")
    token(page, "deep").focus()
    page.keyboard.press("ArrowRight")
    assert question(page) == "What “##ly” draws from each token"
    page.keyboard.press("End")
    assert question(page) == "What “[SEP]” draws from each token"
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    assert question(page).startswith("What “[CLS]” draws")
    assert text_of(page, ".readout").startswith("“[CLS]” ← “deep”")
    page.keyboard.press("?")
    assert page.locator(".hints").is_visible()
    page.wait_for_timeout(500)  # screen readers are told once the reader rests
    assert page.get_by_role("status").inner_text().startswith("What")
    assert re.fullmatch(rf"film, {NORM[2, 0, 4]:.0f}(\.0+)?", token(page, "film").get_attribute("aria-label"))
    page.keyboard.press("Escape")
    for _ in range(3):
        page.keyboard.press("Tab")  # past the two buttons that save the map
    assert (
        page.evaluate("() => document.querySelector('.contextmix-explorer').shadowRoot.activeElement.className")
        == "map"
    )


def test_dark_and_light_follow_the_system_and_the_switch(open_plain: Any):
    page = open_plain(MAPS, query="film", color_scheme="dark")
    assert page.locator(".explorer").get_attribute("data-theme") == "dark"
    assert_same(colours(page), expected(NORM[2, 4], theme="dark"))
    page.emulate_media(color_scheme="light")
    assert_same(colours(page), expected(NORM[2, 4]))
    page.get_by_role("button", name="Theme").click()  # light
    page.get_by_role("button", name="Theme").click()  # dark
    assert_same(colours(page), expected(NORM[2, 4], theme="dark"))
    assert page.evaluate("() => getComputedStyle(document.documentElement).colorScheme") == "dark"


def test_forced_colours_keep_the_data(open_plain: Any):
    page = open_plain(MAPS, query="film", forced_colors="active")
    assert_same(colours(page), expected(NORM[2, 4]))


@pytest.mark.parametrize("large", [False, True])
def test_a_narrow_screen_needs_no_sideways_scrolling(open_plain: Any, large: bool):
    classes = TokenMap(
        np.stack([NORM[0], NORM[1]]),
        ("target", "query", "key"),
        TOKENS,
        "norm",
        Provenance("classes"),
        targets=("long " * 20, "b"),
    )
    page = open_plain({"classes": classes, **MAPS}, width=320)
    page.get_by_role("button", name="Methods and view").click()
    page.locator("summary", has_text="View").click()
    page.locator("summary", has_text="How it was made").click()
    page.locator("summary", has_text="Numbers").click()
    if large:
        page.get_by_role("button", name="Larger type").click()
    frame(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 320


def test_the_table_holds_the_same_numbers(open_plain: Any):
    page = open_plain(MAPS, query="film")
    page.locator("summary", has_text="Numbers").click()
    frame(page)
    assert [float(cell) for cell in page.locator("td").all_inner_texts()] == NORM[2, 4].tolist()


def test_patches_are_pointed_at_in_the_image(open_plain: Any):
    image = pytest.importorskip("PIL.Image").new("RGB", (40, 20), (200, 180, 40))
    cells = (None, (0, 0), (0, 1))
    patches = Patches(size=(40, 20), grid=(1, 2), window=(0, 0, 40, 20), cells=cells)
    tokens = Tokens(("[CLS]", "r0c0", "r0c1"), special=(True, False, False), places=patches)
    values = np.array([[0.0, 0.0, 1.0], [1.0, 2.0, 3.0], [4.0, 6.0, 5.0]])
    page = open_plain(
        {"map": TokenMap(values, ("query", "key"), tokens, "norm", Provenance("map"))}, over=image, query="[CLS]"
    )
    assert token(page, "[CLS]").is_visible()
    page.wait_for_timeout(100)  # the image is unpacked
    canvas = page.locator(".placed canvas")
    script = (
        "(c) => [0.25, 0.75].map((x) => [...c.getContext('2d').getImageData(x * c.width, c.height / 2, 1, 1).data])"
    )
    plain, blue = canvas.evaluate(script)
    assert plain[0] > 100
    assert blue[2] > blue[0] + 30
    box = canvas.bounding_box()
    canvas.hover(position={"x": 0.8 * box["width"], "y": 0.5 * box["height"]})
    assert question(page) == "What “r0c1” draws from each token"
    page.locator(".placed").focus()
    page.keyboard.press("ArrowLeft")
    assert question(page) == "What “r0c0” draws from each token"


def test_frames_are_pointed_at_along_the_wave(open_plain: Any):
    frames = Frames(rate=100, samples=100, step=25, first=0, reach=25, numbers=(0, 1, 2, 3))
    tokens = Tokens(("0.00s", "0.25s", "0.50s", "0.75s"), places=frames)
    found = TokenMap(numbers(4, 4), ("query", "key"), tokens, "norm", Provenance("map"))
    page = open_plain({"map": found}, over=np.sin(np.arange(100) / 3).astype(np.float32))
    canvas = page.locator(".placed canvas")
    box = canvas.bounding_box()
    canvas.hover(position={"x": 0.6 * box["width"], "y": 40})
    assert question(page) == "What “0.50s” draws from each token"
    page.locator(".placed").focus()
    page.keyboard.press("ArrowRight")
    assert question(page) == "What “0.75s” draws from each token"
    assert strongest(page) == numbers(4, 4)[3].max()


def test_other_queries_than_keys_are_asked_above(open_plain: Any):
    source, written = Tokens(("Das", "Haus")), Tokens(("The", "house"))
    values = np.array([[5.0, 1.0], [2.0, 7.0]])
    found = TokenMap(values, ("query", "key"), source, "share", Provenance("map"), query_tokens=written)
    page = open_plain({"map": found}, query="The")
    page.locator(".explorer > .strips").get_by_role("option", name="house").hover()
    assert question(page) == "What “house” draws from each token"
    assert strongest(page) == 7
    token(page, "Das").hover()
    assert text_of(page, ".readout").startswith("“house” ← “Das”: 2.00")

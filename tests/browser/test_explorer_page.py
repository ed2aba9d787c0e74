"""What the page says first, in which numbers, and what a reader takes along: links and pictures."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from tests.browser.test_explorer import (
    HEADS,
    MAPS,
    NORM,
    PIECES,
    SCORE,
    TOKENS,
    assert_same,
    cell_at,
    colours,
    expected,
    frame,
    question,
    strongest,
    text_of,
    tip,
    token,
)

from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.places import Frames, Patches
from contextmix.views.drawing.colours import background


def test_the_page_opens_with_a_sentence_and_says_what_the_method_shown_explains(open_report: Any):
    said = {"label": "positive", "probability": 0.9991}
    made = [Provenance(name, model="demo", notes={"prediction": said}) for name in ("globenc", "gradient_inputs")]
    rows = TokenMap(NORM, ("layer", "query", "key"), TOKENS, "norm", made[0])
    why = TokenMap(SCORE, ("key",), TOKENS, "signed", made[1].noting(target="positive"))
    page = open_report({"globenc": rows, "gradient_inputs": why}, title="Deeply moving film")
    opening = page.get_by_role("heading", level=1)
    assert shown(opening) == "demo predicts “positive” (99.9 %). Below: what its “[CLS]” vector is built from."
    assert page.locator(".typed").inner_text() == "Deeply moving film"
    assert text_of(page, "h3").split()[:2] == ["GlobEnc", "globenc"]
    assert page.locator("h3 a").get_attribute("href").startswith("https://aclanthology.org/")
    group = page.get_by_role("group", name="Why this class?")
    group.get_by_role("button", name="Gradient × input").click()
    frame(page)
    assert shown(opening).endswith("Below: what speaks for and against “positive”.")
    page.get_by_role("button", name="Side by side").click()
    frame(page)
    assert shown(opening).endswith("is built from, and what speaks for and against “positive”.")


def shown(place: Any) -> str:
    return str(place.inner_text()).replace("\u2068", "").replace("\u2069", "")


def test_numbers_are_shares_and_special_tokens_outside_the_scale_unless_asked_for(open_report: Any):
    page = open_report(MAPS, query="film")
    row = NORM[2, 4]
    inner = row[1:5]
    share = re.search(r"” (?:\(position \d+\) )?([\d.]+) %", text_of(page, ".answer"))[1]
    assert float(share) == pytest.approx(100 * inner.max() / row.sum(), abs=0.5)
    assert "Special tokens hold" in text_of(page, ".answer")
    assert "outside the colour scale" in text_of(page, ".scaling")
    assert_same(colours(page)[1:5], expected(inner))
    assert token(page, "[CLS]").get_attribute("data-aside") == ""
    grid = page.locator(".panel .map").nth(1)
    x, y = cell_at(grid, 1, 4)
    grid.locator("canvas").last.hover(position={"x": x, "y": y})
    found = re.match(r"“film” ← “deep”: ([\d.]+) % \((\d+)", tip(grid))
    assert float(found[1]) == pytest.approx(100 * row[1] / row.sum(), abs=0.5)
    assert float(found[2]) == row[1]
    page.get_by_role("button", name="raw", exact=True).click()
    assert strongest(page) == inner.max()


def test_the_address_shows_another_reader_the_same(open_report: Any):
    page = open_report(MAPS, query="film")
    page.get_by_role("button", name="raw", exact=True).click()
    page.get_by_role("button", name="heads").click()
    token(page, "deep").click()
    page.wait_for_timeout(600)
    assert page.evaluate("location.hash") == "#method=heads&token=1&layer=1&pinned=true&numbers=raw"
    other = open_report(MAPS, query="film", state=page.evaluate("location.hash")[1:])
    assert question(other) == question(page) == "What “deep” draws from each token"
    assert other.locator(".panel").get_attribute("aria-label") == "heads"
    assert text_of(other, ".answer") == text_of(page, ".answer")
    other.evaluate("location.hash = 'token=3'")
    other.get_by_text("What “\u2068moving\u2069” draws").wait_for()


def test_bars_tell_equal_words_apart(open_report: Any):
    twice = Tokens(("film", "a", "film"))
    values = np.array([[3.0, 1.0, 2.0]] * 3)
    page = open_report({"map": TokenMap(values, ("query", "key"), twice, "norm", Provenance("map"))})
    frame(page)
    assert page.locator(".strongest .label").all_inner_texts() == [
        "film\nposition 0",
        "film\nposition 2",
        "a",
        *[""] * 5,
    ]


def test_a_phone_shows_the_sentence_first(open_report: Any):
    page = open_report(MAPS, query="film", width=360)
    box = page.get_by_role("heading", level=1).bounding_box()
    assert box["y"] + box["height"] <= 200
    assert page.get_by_role("button", name="heads").is_hidden()
    page.get_by_role("button", name="Methods and view").click()
    page.get_by_role("button", name="heads").click()
    frame(page)
    assert page.locator(".panel").get_attribute("aria-label") == "heads"


def test_all_layers_and_heads_at_once_and_one_of_them_alone(open_report: Any):
    page = open_report(MAPS, query="film", state="method=heads&head=all&special=coloured&numbers=raw")
    overview = page.get_by_role("application", name="Small maps of every layer and head")
    page.wait_for_timeout(300)
    left, top, width, height = map(float, overview.get_attribute("data-cells").split())
    # The middle of the map of layer 1 (above) and head 2: six tokens, so its cell (4, 5) lies beside the middle.
    x, y = left + 2.75 * width, top + 0.6 * height
    density = page.evaluate("devicePixelRatio")
    pixel = "(canvas, [x, y]) => [...canvas.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3)"
    found = overview.locator("canvas").first.evaluate(pixel, [x * density, y * density])
    assert_same([tuple(found)], expected(HEADS[1, 2, 3])[4:5])
    overview.locator("canvas").last.hover(position={"x": x, "y": y})
    assert tip(overview) == "layer 1, head 2"
    overview.locator("canvas").last.click(position={"x": x, "y": top + 1.5 * height})
    frame(page)
    assert "in layer 0 alone, head 2" in text_of(page, ".meaning")
    assert strongest(page) == HEADS[0, 2, 4].max()


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_maps_are_saved_as_pictures(open_plain: Any, tmp_path: Path, kind: str):
    page = open_plain(MAPS, query="film")
    with page.expect_download() as saved:
        page.get_by_role("button", name=f"Save Tokens × tokens as {kind.upper()}").click()
    assert saved.value.suggested_filename == f"contextmix-norm-tokens-tokens.{kind}"
    file = tmp_path / f"map.{kind}"
    saved.value.save_as(file)
    if kind == "svg":
        shapes = ElementTree.parse(file).getroot()
        texts = [one.text for one in shapes.iter("{http://www.w3.org/2000/svg}text")]
        assert texts == [*PIECES, *PIECES]
        fills = [one.get("fill") for one in shapes.iter("{http://www.w3.org/2000/svg}rect")][1:]
        wanted = [background(value, False, "light") for value in (NORM[2] / NORM[2].max(1, keepdims=True)).ravel()]
        assert_same([tuple(bytes.fromhex(one[1:])) for one in fills], [tuple(bytes.fromhex(one[1:])) for one in wanted])
    else:
        picture = pytest.importorskip("PIL.Image").open(file)
        left, top, width, height = map(float, page.locator(".panel .map").nth(1).get_attribute("data-cells").split())
        place = (int(3 * (left + 1.5 * width)), int(3 * (top + 4.5 * height)))
        assert_same([picture.convert("RGB").getpixel(place)], expected(NORM[2, 4])[1:2])


def test_tokens_that_a_model_wrote_light_up_what_they_rest_on(open_report: Any):
    read, written = Tokens(("<s>", "a", "b", "c"), special=(True, False, False, False)), Tokens(("b", "c"))
    values = np.array([[1.0, 3.0, 0.0, 0.0], [1.0, 2.0, 5.0, 0.0]])
    made = Provenance("norm", model="stories", notes={"generation": {"probabilities": [0.93, 0.5]}})
    steps = TokenMap(values, ("query", "key"), read, "norm", made, query_tokens=written)
    page = open_report({"norm": steps}, query="b")
    assert (
        shown(page.get_by_role("heading", level=1)) == "stories writes “b c”. Below: what its “b” vector is built from."
    )
    page.locator(".explorer > .strips").get_by_role("option", name="c").hover()
    assert question(page) == "What “c” draws from each token · probability 50 %"
    assert_same(colours(page)[1:], expected(values[1, 1:]))
    grid = page.get_by_role("figure").filter(has_text="Steps × tokens")
    left, top, width, height = map(float, grid.get_by_role("application").get_attribute("data-cells").split())
    grid.locator("canvas").last.hover(position={"x": left + 2.5 * width, "y": top + 1.5 * height})
    assert tip(grid).startswith("“c” ← “b”: 63 % (5.00")


def test_an_image_keeps_its_colours_and_scores_cover_it_as_strongly_as_asked(open_report: Any):
    image = pytest.importorskip("PIL.Image").new("RGB", (40, 20), (220, 40, 40))
    patches = Patches(size=(40, 20), grid=(1, 2), window=(0, 0, 40, 20), cells=(None, (0, 0), (0, 1)))
    tokens = Tokens(("[CLS]", "r0c0", "r0c1"), special=(True, False, False), places=patches)
    values = np.array([[90.0, 0.0, 1.0]] * 3)
    page = open_report({"map": TokenMap(values, ("query", "key"), tokens, "norm", Provenance("map"))}, over=image)
    page.wait_for_timeout(200)
    script = (
        "(c) => [0.25, 0.75].map((x) => [...c.getContext('2d').getImageData(x * c.width, c.height / 2, 1, 1).data])"
    )

    def pixels() -> Any:
        frame(page)
        return np.array(page.locator(".placed canvas").evaluate(script), float)[:, :3]

    plain, covered = pixels()
    assert np.abs(plain - (220, 40, 40)).max() < 8
    assert covered[2] > covered[0] + 30  # the scale is that of the patches: the special token does not stretch it
    page.locator("summary", has_text="View").click()
    page.get_by_label("Opacity of the scores").fill("0")
    assert np.abs(pixels() - (220, 40, 40)).max() < 8
    page.get_by_label("Image in colour").uncheck()
    assert np.ptp(pixels(), axis=1).max() <= 2


def test_a_sound_is_played_beside_its_frames(open_report: Any):
    frames = Frames(rate=8000, samples=8000, step=2000, first=0, reach=2000, numbers=(0, 1, 2, 3))
    tokens = Tokens(("0.00s", "0.25s", "0.50s", "0.75s"), places=frames)
    found = TokenMap(np.ones((4, 4)), ("query", "key"), tokens, "norm", Provenance("map"))
    page = open_report({"map": found}, over=np.sin(np.arange(8000) / 3).astype(np.float32))
    player = page.locator("audio")
    page.wait_for_function("(one) => one.readyState > 0", arg=player.element_handle())
    assert player.evaluate("(one) => one.duration") == pytest.approx(1.0, abs=0.01)
    count = "(c) => { const d = c.getContext('2d').getImageData(0, 5, c.width, 1).data; let n = 0; "
    count += (
        "for (let i = 0; i < d.length; i += 4) if (d[i] === 194 && d[i + 1] === 65 && d[i + 2] === 12) n++; return n }"
    )
    assert page.locator(".placed canvas").evaluate(count) == 0
    player.evaluate("(one) => { one.currentTime = 0.5; }")
    page.wait_for_timeout(200)
    assert page.locator(".placed canvas").evaluate(count) >= 2


AXE = Path(__file__).parents[2] / "explorer/node_modules/axe-core/axe.min.js"
WORST = "(found) => found.violations.filter((one) => ['serious', 'critical'].includes(one.impact))"
TOLD = "(all) => all.map((one) => [one.id, one.nodes.map((node) => node.html.slice(0, 200))])"
WORST = f"axe.run().then({WORST}).then({TOLD})"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("state", ["", "method=norm,score", "method=heads&head=all", "method=heads&head=each"])
def test_axe_finds_no_serious_fault(open_report: Any, theme: Any, state: str):
    if not AXE.exists():
        pytest.skip("explorer/node_modules is not installed")
    page = open_report(MAPS, query="film", state=state, color_scheme=theme, bypass_csp=True)
    page.locator("summary", has_text="View").click()
    page.locator("summary", has_text="Numbers").click()
    page.wait_for_timeout(300)
    page.add_script_tag(path=str(AXE))
    assert page.evaluate(WORST) == []
    page.get_by_label("Threshold").evaluate(
        "(one) => { one.removeAttribute('aria-label'); one.parentElement.before(one); }"
    )
    assert page.evaluate(WORST) != []  # it looks inside the explorer

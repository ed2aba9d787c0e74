"""Maps over the images of a prompt: drawn side by side, with the words of the prompt beside them."""

import io

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from contextmix.errors import BadInput, BadOption
from contextmix.results.exploration import Exploration
from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.tokens.media import images_in
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.regions import Regions
from contextmix.views.drawing.side_by_side import GAP, canvas_for, on_canvas, raster
from contextmix.views.figures.maps import plot
from contextmix.views.figures.overlay import overlay
from contextmix.views.page.exhibit import exhibit
from contextmix.views.page.fragment import to_html
from contextmix.views.terminal.maps import show

SIZES = ((80, 40), (20, 60))
BOXES = (None, (0, 0, 0, 40, 40), (0, 40, 0, 80, 40), (1, 0, 0, 20, 60), (0, 40, 0, 60, 20), None)
PIECES = ("user", "i0.t0.r0c0", "i0.t0.r0c1", "i1.r0c0", "i0.t1.r0c0", "colour")
SCORES = [9.0, 0.0, 0.5, 1.0, 0.25, 2.0]
IMAGES = [Image.new("RGB", size, (90, 120, 150)) for size in SIZES]
MADE = Provenance("evidence", model="tiny")


def prompt_map(scores=SCORES, quantity="evidence", dims=("key",)):
    return TokenMap(scores, dims, Tokens(PIECES, places=Regions(SIZES, BOXES)), quantity, MADE)


def test_places_on_a_canvas_keep_their_size_and_order():
    canvas = on_canvas(Regions(SIZES, BOXES))
    assert canvas.sizes == ((80 + GAP + 20, 60),)
    assert canvas.boxes == (None, BOXES[1], BOXES[2], (0, 88, 0, 108, 60), BOXES[4], None)
    alone = Regions(SIZES[:1], BOXES[:2])
    assert on_canvas(alone) is alone


@pytest.mark.parametrize(
    "source",
    [
        IMAGES,
        {"images": IMAGES, "text": "a"},
        [
            {"role": "user", "content": [{"type": "image", "image": IMAGES[0]}, {"type": "text", "text": "a"}]},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": [{"type": "image", "path": IMAGES[1]}]},
        ],
    ],
)
def test_whatever_holds_the_images_gives_the_canvas(source):
    canvas = canvas_for(Regions(SIZES, BOXES), source)
    assert canvas.size == (108, 60)
    assert [canvas.getpixel(place) for place in ((79, 39), (84, 0), (88, 59), (0, 50))] == [
        (90, 120, 150),
        (255, 255, 255),
        (90, 120, 150),
        (255, 255, 255),
    ]


def test_other_images_are_refused():
    with pytest.raises(BadInput, match=r"2 images of 80 × 40, 20 × 60 pixels, and 1 image of 80 × 40 came"):
        canvas_for(Regions(SIZES, BOXES), IMAGES[0])
    with pytest.raises(BadInput, match="20 × 60, 80 × 40 came"):
        canvas_for(Regions(SIZES, BOXES), IMAGES[::-1])


def test_images_in_one_image_or_a_prompt():
    assert images_in(IMAGES[0]) == [IMAGES[0]]
    assert images_in({"image": "a.png", "text": "b"}) == ["a.png"]
    assert images_in("a.png") == ["a.png"]


def test_an_overlay_is_strongest_where_the_score_is_and_shows_the_stronger_of_two_places():
    found = np.asarray(overlay(prompt_map(), IMAGES)).astype(int)
    blue = found[..., 2] - found[..., 0]
    assert found.shape == (60, 108, 3)
    assert blue[10, 10] == 0  # seen, and it gives nothing
    assert blue[10, 100] > blue[10, 70] > 0
    assert blue[10, 50] == blue[30, 50] == blue[10, 70]  # the tile below the weaker one is the stronger
    strong = np.asarray(overlay(prompt_map([0, 0, 0.5, 1, 0.75, 0]), IMAGES)).astype(int)
    assert strong[10, 50, 2] - strong[10, 50, 0] > strong[30, 50, 2] - strong[30, 50, 0]
    with pytest.raises(BadOption, match="smooth=True"):
        overlay(prompt_map(), IMAGES, smooth=True)


def test_a_grid_holds_the_strongest_place_of_each_cell():
    table = raster(np.array(SCORES), on_canvas(Regions(SIZES, BOXES)), 3, 27)
    assert table.shape == (3, 27)
    assert np.isnan(table[2, 0])  # below the first image
    assert table[0, 0] == 0
    assert table[0, 12] == 0.5
    assert table[2, 26] == 1


def test_colours_are_those_of_image_places_and_words_are_listed():
    page = to_html(prompt_map(), over=IMAGES)
    assert "divided by the largest of the image places (1); words may exceed it" in page
    assert page.count("<rect ") >= 4
    assert "<bdi>user</bdi> 9.00" in page
    assert "<bdi>colour</bdi> 2.00" in page
    out = io.StringIO()
    show(prompt_map(), console=Console(file=out, width=60, color_system=None))
    assert "████" in out.getvalue()
    assert "user" in out.getvalue()


def test_the_explorer_is_told_where_places_stand_on_the_canvas():
    found = exhibit({"evidence": prompt_map()}, over=IMAGES)
    assert (found["media"]["kind"], found["media"]["width"], found["media"]["height"]) == ("image", 108, 60)
    assert found["keys"]["places"][0] is None
    assert found["keys"]["places"][3] == [round(88 / 108, 5), 0.0, round(20 / 108, 5), 1.0]
    assert found["title"] == "a prompt with images"


def test_the_last_row_is_shown_where_none_was_chosen():
    square = prompt_map(np.ones((6, 6)) / 6, "share", ("query", "key"))
    assert Exploration({"a": square}, 5, {}, None).query == 5
    assert "the last token. Choose" in to_html(square)


def test_a_figure_shows_all_images():
    axes = plot(prompt_map())
    table = axes.images[0].get_array()
    assert table.shape == (60, 108)

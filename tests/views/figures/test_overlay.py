"""Maps over images and sounds: every pixel of a patch says its score, and nothing else does."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from contextmix.errors import BadInput, BadOption, WrongShape
from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.places import Frames, Patches
from contextmix.views.drawing.colours import background
from contextmix.views.drawing.scene import envelope, ticks
from contextmix.views.figures.overlay import AXIS, BARS, TINT, UNSEEN, WAVE, WIDTH
from contextmix.views.page.fragment import to_html
from contextmix.views.terminal.maps import show

CELLS = tuple((row, column) for row in range(2) for column in range(3))
NAMES = tuple(f"r{row}c{column}" for row, column in CELLS)
WINDOW = (10, 0, 70, 40)  # of an image of 80 × 40: patches of 20 × 20
SCORES = [9.0, 0.0, 0.5, 1.0, 0.25, 0.0, 0.75]  # [CLS] first
MADE = Provenance("globenc", model="tiny")


def image_map(scores=SCORES, quantity="norm", dims=("key",), size=(80, 40), window=WINDOW, **options):
    tokens = Tokens(
        ("[CLS]", *NAMES), special=(True, *[False] * 6), places=Patches(size, (2, 3), window, (None, *CELLS))
    )
    return TokenMap(scores, dims, tokens, quantity, MADE, **options)


def sound_map(scores, samples=8000):
    count = len(scores)
    frames = Frames(rate=16000, samples=samples, step=1600, first=0, reach=1600, numbers=tuple(range(count)))
    names = tuple(f"{number / 10:.2f}s" for number in range(count))
    tokens = Tokens(names, special=tuple(map(frames.is_added, range(count))), places=frames)
    return TokenMap(scores, ("key",), tokens, "norm", MADE)


def grey(level=100, size=(80, 40)):
    return Image.new("RGB", size, (level, level, level))


def mixed(level, score, signed=False):
    colour = bytes.fromhex(background(0.65 if score >= 0 else -0.65, signed)[1:])
    opacity = abs(score) * TINT
    return tuple(round(level * (1 - opacity) + channel * opacity) for channel in colour)


def test_every_pixel_of_a_patch_has_the_colour_of_its_score():
    image = image_map().overlay(grey())
    assert image.size == (80, 40)
    for (row, column), score in zip(CELLS, SCORES[1:], strict=True):
        pixels = np.asarray(image)[20 * row : 20 * row + 20, 10 + 20 * column : 30 + 20 * column]
        assert {tuple(pixel) for pixel in pixels.reshape(-1, 3).tolist()} == {mixed(100, score)}


def test_what_the_processor_cut_away_is_dark():
    pixels = np.asarray(image_map().overlay(grey()))
    for edge in (pixels[:, :10], pixels[:, 70:]):
        assert (edge == round(100 * UNSEEN)).all()


def test_numbers_with_sign_have_two_colours():
    image = image_map([0, 1.0, -1.0, 0, 0, 0, 0], "signed").overlay(grey())
    assert image.getpixel((15, 5)) == mixed(100, 1.0, True)
    assert image.getpixel((35, 5)) == mixed(100, -1.0, True)
    red, blue = image.getpixel((15, 5)), image.getpixel((35, 5))
    assert red[0] > red[2]
    assert blue[2] > blue[0]


def test_colour_means_score_alone():
    colourful = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)
    pixels = np.asarray(image_map([0.0] * 7).overlay(colourful))
    assert (pixels == pixels[..., :1]).all()


def test_smooth_scores_meet_the_patches_in_their_middle():
    image = image_map([0, 0, 1.0, 0, 0, 0, 0]).overlay(grey(), smooth=True)
    half = [image.getpixel((x, 10))[0] for x in (20, 30, 40, 50, 60)]
    assert image.getpixel((40, 3)) == pytest.approx(mixed(100, 1.0), abs=4)  # half a pixel from the middle
    assert half[0] > half[1] > half[2] < half[3] < half[4]
    assert image.getpixel((15, 3)) == mixed(100, 0.0)


def test_an_image_of_another_size_is_refused():
    with pytest.raises(BadInput, match="belongs to an image of 80 × 40 pixels and this one has 40 × 80"):
        image_map().overlay(grey(size=(40, 80)))


def test_a_map_of_text_has_no_overlay():
    text = TokenMap([1.0, 2.0], ("key",), Tokens(("a", "b")), "norm", MADE)
    with pytest.raises(BadOption, match="stand in no image or sound"):
        text.overlay(grey())
    with pytest.raises(BadOption, match="stand in no image or sound"):
        to_html(text, over=grey())


def test_layers_must_be_chosen_first():
    layers = image_map([SCORES, SCORES], dims=("layer", "key"))
    with pytest.raises(WrongShape, match=r"map.layer\(-1\).overlay"):
        layers.overlay(grey())
    assert layers.layer(-1).overlay(grey()).size == (80, 40)


def test_a_table_becomes_the_row_of_the_first_token():
    table = image_map(np.diag(np.arange(1.0, 8.0)), dims=("query", "key"))
    assert table.overlay(grey(), query="r0c1").getpixel((35, 5)) == mixed(100, 1.0)
    assert table.overlay(grey()).getpixel((35, 5)) == mixed(100, 0.0)


def test_bars_stand_at_their_time_and_are_as_high_as_their_score():
    scores = [0.5, 1.0, 0.0, 0.25, 0.75]
    picture = np.asarray(sound_map(scores).overlay((np.zeros(8000, np.float32), 16000)))
    assert picture.shape == (BARS + WAVE + AXIS, WIDTH, 3)
    blue = [int(channel) for channel in bytes.fromhex(background(0.65, False)[1:])]
    for number, score in enumerate(scores):
        stretch = picture[:BARS, number * WIDTH // 5 : (number + 1) * WIDTH // 5]
        heights = (stretch == blue).all(-1).sum(axis=0)
        assert set(heights.tolist()) == {round(score * BARS)}
        below = picture[BARS + 2, number * WIDTH // 5 + 3]
        assert tuple(below.tolist()) == mixed(255, score)


def test_the_wave_is_drawn():
    sound = np.zeros(8000, np.float32)
    sound[4000:] = np.sin(np.arange(4000))
    band = np.asarray(sound_map([0.0] * 5).overlay((sound, 16000)))[BARS : BARS + WAVE]
    dark = (band < 200).all(-1).sum(axis=0)
    assert dark[10:590].max() <= 1 < dark[610:].min()


@pytest.mark.parametrize("sound", [np.zeros(7999, np.float32), (np.zeros(8000, np.float32), 8000)])
def test_a_sound_of_another_length_is_refused(sound):
    with pytest.raises(BadInput, match="belongs to a sound of 8000 samples at 16000"):
        sound_map([1.0] * 5).overlay(sound)


def printed(token_map, width=80, colour=None):
    console = Console(file=io.StringIO(), width=width, color_system=colour, force_terminal=colour is not None)
    show(token_map, console=console)
    return console.file.getvalue()


def test_the_terminal_draws_the_grid_without_colour_too():
    lines = printed(image_map()).splitlines()
    assert lines[:2] == ["  ▒▒██", "░░  ▓▓"]
    text = "\n".join(lines)
    assert re.search(r"0 +\[CLS\].*9.00.*strongest", text)
    assert re.search(r"3 +r0c2 .*1.00", text)
    assert "divided by the largest of the patches (1); special tokens may exceed it" in " ".join(text.split())
    assert "row and column from the top left" in " ".join(text.split())


def test_the_terminal_colours_the_grid():
    assert "48;2;8;48;107" in printed(image_map(), colour="truecolor")  # the darkest blue, for r0c2


def test_a_grid_wider_than_the_console_is_listed():
    assert "toowideforthisconsole" in "".join(printed(image_map(), width=2).split())


def test_a_table_of_patches_is_drawn_as_the_row_of_one_query():
    assert printed(image_map(np.ones((7, 7)), dims=("query", "key"))).startswith("██████")


def test_the_terminal_draws_bars_along_time():
    lines = printed(sound_map([0.5, 1.0, 0.0, 0.25, 0.75])).splitlines()
    assert lines[0].rstrip() == " " * 16 + "█" * 16
    assert lines[3].rstrip() == "█" * 32 + " " * 16 + "█" * 32
    assert lines[4].startswith("╷0 s")


def test_silence_that_was_added_is_said_and_not_drawn():
    token_map = sound_map([1.0, 0.5, 0.5, 2.0], samples=3200)
    assert "2 frames, with 62% of the total, lie behind the sound" in " ".join(printed(token_map).split())
    assert "0.30s" not in re.sub("<details.*?</details>", "", to_html(token_map), flags=re.DOTALL)


def test_html_holds_the_image_and_a_titled_mark_per_patch():
    page = to_html(image_map(), over=grey())
    assert page.count("<rect ") == 6
    assert "<title>r0c2: 1.00</title>" in page
    assert 'x="50.0" y="0.0" width="20.0" height="20.0"' in page
    assert f"fill-opacity:{TINT:.3f}" in page
    assert 'href="data:image/jpeg;base64,' in page
    assert "[CLS]</bdi> 9.00" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)


def test_html_needs_no_image():
    page = to_html(image_map())
    assert "data:image" not in page
    assert "fill:light-dark(" in page


def test_html_of_a_sound_draws_bars_wave_and_axis():
    page = to_html(sound_map([0.5, 1.0, 0.0, 0.25, 0.75]), over=(np.sin(np.arange(8000.0)), 16000))
    assert page.count("<rect ") == 5
    assert 'x="200.0" y="0.0" width="200.0" height="120.0"' in page
    assert page.count("<path ") == 1
    assert re.search(r"<text [^>]*>0.5 s</text>", page)


def test_names_of_tokens_are_escaped():
    tokens = Tokens(("<b>",), places=Patches((4, 4), (1, 1), (0, 0, 4, 4), ((0, 0),)))
    assert "<b>" not in to_html(TokenMap([1.0], ("key",), tokens, "norm", MADE))


@pytest.mark.parametrize("duration", [0.02, 0.1, 0.5, 1.3, 7.0, 30.0, 3600.0])
def test_ticks_are_round_and_few(duration):
    times = [time for time, _ in ticks(duration)]
    assert 3 <= len(times) <= 11
    assert times[0] == 0
    assert times[-1] <= duration * 1.000001
    steps = np.diff(times)
    assert np.allclose(steps, steps[0])


def test_the_envelope_holds_every_peak():
    sound = np.zeros(1000)
    sound[[7, 500, 999]] = (1, -4, 2)
    found = envelope(sound, 10)
    assert (found[0], found[5], found[9]) == ((0, 0.25), (-1, 0), (0, 0.5))

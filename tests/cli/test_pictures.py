"""Images and sounds on the command line: a file goes in, numbers and a picture come out."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile
from tests.tracing.senses import IMAGE_MODELS, build, hearing, noise, photo, saved

import contextmix as cm

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of images, one of sounds, and something for each."""
    place = tmp_path_factory.mktemp("media")
    architecture, config, processor = IMAGE_MODELS["vit"]
    saved(build(architecture, config), processor, place / "vit")
    heard = hearing()
    saved(heard.model, heard.processor, place / "wav2vec2")
    Image.fromarray(photo()).save(place / "photo.png")
    wavfile.write(place / "sound.wav", 16000, noise())
    return place


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_photo_is_explained_and_drawn(run: Run, place: Path, tmp_path: Path):
    picture, numbers, page = tmp_path / "out.png", tmp_path / "out.json", tmp_path / "out.html"
    given = ("explain", place / "photo.png", "--model", place / "vit")
    result = run(*given, "--method", "globenc", "--picture", picture, "--json", numbers, "--html", page)
    assert result.exit_code == 0
    assert "says: LABEL_" in result.stdout
    assert "What “[CLS]” (position 0) draws from each token" in " ".join(result.stdout.split())
    expected = cm.TokenMap.load(numbers).row("[CLS]").overlay(place / "photo.png")
    assert np.array_equal(pixels(picture), np.asarray(expected))
    assert pixels(picture).shape == (60, 100, 3)
    assert '"media":{"kind":"image","source":"data:image/jpeg;base64,' in page.read_text(encoding="utf-8")
    assert run(*given, "--picture", picture).exit_code == 1
    assert run(*given, "--picture", picture, "--force", "--query", "r1c2").exit_code == 0
    assert not np.array_equal(pixels(picture), np.asarray(expected))


def test_a_sound_is_explained_and_drawn(run: Run, place: Path, tmp_path: Path):
    picture, page = tmp_path / "out.png", tmp_path / "out.html"
    given = ("explain", place / "sound.wav", "--model", place / "wav2vec2", "--query", "3")
    result = run(*given, "--picture", picture, "--html", page)
    assert result.exit_code == 0
    assert "╷0.02 s" in result.stdout
    assert pixels(picture).shape[1] == 1200
    assert re.search(r'"media":{"kind":"sound","seconds":[0-9.]+,"wave":\[\[', page.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("photo.png", "--model", "vit", "--picture", "out.jpg"), "--picture writes .png"),
        (("sound.wav", "--model", "vit"), "cannot be read as an image"),
        (("photo.png", "--model", "wav2vec2"), "not a .wav file; other formats need the library soundfile"),
        (("a deep film .", "--model", "vit"), "reads images, not text"),
    ],
)
def test_what_does_not_fit_is_refused(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
):
    monkeypatch.chdir(place)
    monkeypatch.setitem(sys.modules, "soundfile", None)  # as if it were not installed
    result = run("explain", *arguments)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert not Path("out.jpg").exists()


def test_a_text_has_no_picture(run: Run, folder: Path, tmp_path: Path):
    result = run("explain", "a film", "--model", folder, "--picture", tmp_path / "out.png")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "stand in no image or sound" in result.stderr
    assert not (tmp_path / "out.png").exists()

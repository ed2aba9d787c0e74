"""The pictures of the explorer in the documentation, from real models and real reports.

    python -m scripts.screenshots [--model FOLDER] [--out docs/images]

Without --model the built-in model is shown. Pictures are reduced to 256 colours, so that a repository can hold them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import contextmix

TEXT = "A deep and meaningful film, if not exactly a cheerful one: the performances are unforgettable."
STORY = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
METHODS = ("globenc", "attention_rollout", "decompx")
COLOURS = 256


@dataclass(frozen=True)
class Shot:
    """One picture: which report, how large, and what a reader does before it is taken."""

    name: str
    report: str
    size: tuple[int, int]
    act: Callable[[Page], object]
    theme: str = "light"


def token(page: Page, text: str) -> Any:
    """The first token with a text."""
    return page.locator(".panel").first.get_by_role("option", name=f"{text},").first


def compare(page: Page) -> None:
    """All methods, side by side, for one word."""
    page.get_by_role("button", name="Side by side").click()
    for method in METHODS[1:]:
        page.get_by_role("button", name=method, exact=True).click()
    page.wait_for_timeout(500)
    token(page, "film").click()


def heads(page: Page) -> None:
    """Each head for itself."""
    page.get_by_text("View", exact=True).click()
    page.get_by_role("combobox", name="Heads").select_option("each")


def signed(page: Page) -> None:
    """A method whose numbers have signs."""
    page.get_by_role("button", name="decompx", exact=True).click()


SHOTS = (
    Shot("explorer", "methods", (1200, 860), lambda page: token(page, "film").hover()),
    Shot("explorer-compare", "methods", (1500, 900), compare),
    Shot("explorer-signed-dark", "methods", (1200, 620), signed, "dark"),
    Shot("explorer-heads-dark", "heads", (1200, 980), heads, "dark"),
    Shot("explorer-story", "story", (1200, 980), lambda page: page.get_by_role("button", name="gives to").click()),
    Shot("explorer-narrow", "methods", (320, 900), lambda page: token(page, "cheerful").click()),
)


def reports(model: contextmix.TracedModel, folder: Path) -> None:
    """The pages that are shown."""
    model.explore(TEXT, METHODS).save(folder / "methods.html")
    model.explore(TEXT, ["attention"], heads=True).save(folder / "heads.html")
    story = contextmix.load("demo-decoder")
    story.explore(STORY, ["norm_residual"], query="Lily").save(folder / "story.html")


def take(browser: Browser, shot: Shot, folder: Path, out: Path) -> None:
    """Open, act, wait until drawn, and write the picture."""
    width, height = shot.size
    theme: Any = shot.theme
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce")
    page.goto((folder / f"{shot.report}.html").as_uri())
    page.wait_for_timeout(800)
    shot.act(page)
    page.wait_for_timeout(500)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(out / f"{shot.name}.png", optimize=True)
    print(f"{shot.name}.png: {(out / f'{shot.name}.png').stat().st_size / 1000:.0f} kB")
    page.close()


def loaded(model: Path | None) -> contextmix.TracedModel:
    """A model named by its folder alone: a picture tells nobody where a machine keeps it."""
    if model is None:
        return contextmix.load("demo")
    with contextlib.chdir(model.parent):
        return contextmix.load(model.name)


def main(model: Path | None, out: Path) -> None:
    """Take all pictures."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        reports(loaded(model), Path(name))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for shot in SHOTS:
            take(browser, shot, Path(name), out)
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    main(arguments.model, arguments.out)

"""The pictures of the explorer, of answers and of the local page in the documentation, from real models and reports.

    python -m scripts.screenshots [--model FOLDER] [--out docs/images] [--only answer --only answer-serve-dark]

Without --model the built-in model is shown. Pictures are reduced to 256 colours, so that a repository can hold them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console

import contextmix
from contextmix.results.exploration import Exploration
from contextmix.views.page.answers import still
from contextmix.views.terminal.answer import show

TEXT = "A deep and meaningful film, if not exactly a cheerful one: the performances are unforgettable."
STORY = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
BEGINNING = "Once upon a time, there was a little girl named"
TEXTS = (
    "Tom has the blue kite. The sun was hot.",
    "Lily has the red ball. Lily lives in Oslo.",
    "Mia saw the red bird. The key is in the box. The box is in the kitchen.",
)
QUESTION = "Which room is the key in?"
METHODS = {"globenc": "GlobEnc", "attention_rollout": "Attention rollout", "decompx": "DecompX"}
"""What is typed, and what stands on its button."""
COLOURS = 256


SERVED = "served"


@dataclass(frozen=True)
class Shot:
    """One picture: which report (or `SERVED`), how large, and what a reader does before it is taken."""

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
    for title in [*METHODS.values()][1:]:
        page.get_by_role("button", name=title, exact=True).click(modifiers=["Shift"])
    page.wait_for_timeout(500)
    token(page, "film").click()


def heads(page: Page) -> None:
    """Every layer and head at once."""
    page.get_by_text("View", exact=True).click()
    page.get_by_role("combobox", name="Heads").select_option("all")


def signed(page: Page) -> None:
    """A method whose numbers have signs."""
    page.get_by_role("button", name=METHODS["decompx"], exact=True).click()


def ask(page: Page) -> None:
    """Texts and a question on the local page, and what is lost without a source."""
    page.get_by_role("link", name="Answer").click()
    page.get_by_role("button", name="A question").click()
    page.locator("#answer-ablate").select_option("source_occlusion")
    page.locator("#answer-go").click()
    page.locator("#answer-shown .panel.live").wait_for()
    page.wait_for_timeout(500)
    page.locator("#unit-0").hover()


SHOTS = (
    Shot("answer", "answer", (1200, 700), lambda page: page.locator("#source-6").hover()),
    Shot("answer-notebook", "answer-notebook", (900, 490), lambda _: None),
    Shot("answer-terminal", "answer-terminal", (1000, 460), lambda _: None),
    Shot("answer-serve-dark", SERVED, (1200, 1770), ask, "dark"),
    Shot("explorer", "methods", (1200, 860), lambda page: token(page, "film").hover()),
    Shot("explorer-compare", "methods", (1500, 900), compare),
    Shot("explorer-signed-dark", "methods", (1200, 620), signed, "dark"),
    Shot("explorer-heads-dark", "heads", (1200, 980), heads, "dark"),
    Shot("explorer-story", "story", (1200, 980), lambda page: page.get_by_role("button", name="gives to").click()),
    Shot(
        "explorer-generation",
        "generation",
        (1200, 860),
        lambda page: page.get_by_role("option", name="Lily").first.hover(),
    ),
    Shot("explorer-narrow", "methods", (320, 900), lambda page: token(page, "film").click()),
)


def reports(model: contextmix.TracedModel, folder: Path) -> None:
    """The pages that are shown."""
    model.explore(TEXT, [*METHODS]).save(folder / "methods.html")
    model.explore(TEXT, ["attention"], heads=True).save(folder / "heads.html")
    story = contextmix.load("demo-decoder")
    story.explore(STORY, ["norm_residual"], query="Lily").save(folder / "story.html")
    steps = story.explain_generation(BEGINNING, "norm_residual", max_new_tokens=12, layers="all")
    Exploration({"norm_residual": steps}, 0).save(folder / "generation.html")
    answers = contextmix.load("demo-answers")
    answer = answers.explain_answer(QUESTION, TEXTS, ablate="source_occlusion")
    answer.save(folder / "answer.html")
    head = '<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
    (folder / "answer-notebook.html").write_text(head + still(answer), encoding="utf-8")
    console = Console(width=100, record=True, file=io.StringIO())
    show(answer, console)
    console.save_html(str(folder / "answer-terminal.html"))


@contextlib.contextmanager
def served() -> Iterator[str]:
    """The address of the local page."""
    command = [sys.executable, "-m", "contextmix", "serve", "--port", "0", "--workers", "1", "--model", "demo-answers"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://[\d.:]+", process.stdout.readline())
        assert found is not None
        try:
            yield found[0]
        finally:
            process.terminate()


def take(browser: Browser, shot: Shot, address: str, out: Path) -> None:
    """Open, act, wait until drawn, and write the picture."""
    width, height = shot.size
    theme: Any = shot.theme
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce")
    page.goto(address)
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


def main(model: Path | None, out: Path, only: list[str]) -> None:
    """Take all pictures, or those that are named."""
    out.mkdir(parents=True, exist_ok=True)
    shots = [shot for shot in SHOTS if not only or shot.name in only]
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright, contextlib.ExitStack() as open_ones:
        reports(loaded(model), Path(name))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for shot in shots:
            local = (Path(name) / f"{shot.report}.html").as_uri()
            take(browser, shot, open_ones.enter_context(served()) if shot.report == SERVED else local, out)
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--only", action="append", default=[], help="A picture by its name; repeatable.")
    arguments = parser.parse_args()
    main(arguments.model, arguments.out, arguments.only)

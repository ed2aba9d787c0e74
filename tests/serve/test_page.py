"""The page in a real browser: type, choose, wait, cancel, look, save; and nothing that it should not do."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.serve.conftest import LONG, Served

HOSTILE = (
    "<img src=x onerror=alert(1)> </textarea></script><script>alert(2)</script> "
    "\u202egnp.exe \U0001f469\u200d\U0001f52c '\"&amp;"
)


class Visit:
    """A page that is open, and what went wrong in it."""

    def __init__(self, browser: Browser, served: Served, **options: Any) -> None:
        self.context = browser.new_context(accept_downloads=True, **options)
        self.page: Page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.page.on("console", lambda said: self._heard(said.type, said.text))
        self.page.on("request", lambda request: self._asked(request.url, served.address))
        self.page.goto(served.address)
        expect(self.page.get_by_role("button", name="Explain")).to_be_enabled(timeout=30_000)

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error" and not re.search("422|404", text):  # a refusal, or a last look at what was just cancelled
            self.wrong.append(text)

    def _asked(self, url: str, address: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            self.wrong.append(f"asked {url}")

    def explain(self, text: str, *methods: str) -> None:
        self.page.get_by_label("Text", exact=True).fill(text)
        if methods:
            self.choose(*methods)
        self.page.get_by_role("button", name="Explain").click()

    def choose(self, *methods: str) -> None:
        self.page.locator("#choice").evaluate("(choice) => choice.open = true")
        for box in self.page.locator("[name=method]").all():
            box.set_checked(box.get_attribute("value") in methods)

    def answer(self) -> Any:
        found = self.page.locator("#explorer .contextmix-explorer")
        expect(found).to_be_visible(timeout=60_000)
        return found


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Any]:
    made: list[Visit] = []

    def opened(**options: Any) -> Visit:
        made.append(Visit(browser, served, **options))
        return made[-1]

    yield opened
    for one in made:
        assert one.wrong == []
        one.context.close()


def test_a_text_is_typed_and_the_answer_is_shown_and_saved(visit: Any, tmp_path: Path):
    one = visit()
    one.explain("a deep and meaningful film .", "globenc", "attention", "gradient_inputs")
    answer = one.answer()
    expect(answer).to_contain_text("positive")
    expect(answer).to_contain_text("meaningful")
    for name in ("GlobEnc", "Attention weights", "Gradient × input"):
        expect(answer.get_by_role("button", name=name, exact=True)).to_be_visible()
    expect(one.page.get_by_label("Text", exact=True)).to_have_value("a deep and meaningful film .")
    with one.page.expect_download() as saved:
        one.page.get_by_role("button", name="Save as HTML").click()
    assert saved.value.suggested_filename == "contextmix.html"
    saved.value.save_as(tmp_path / "x.html")
    assert "meaningful" in (tmp_path / "x.html").read_text(encoding="utf-8")


def test_the_keyboard_is_enough(visit: Any):
    one = visit(color_scheme="dark", viewport={"width": 320, "height": 700})
    one.page.keyboard.type("never dull")  # the box has the focus
    one.page.keyboard.press("Control+Enter")
    expect(one.answer()).to_contain_text("dull")
    assert one.page.evaluate("document.documentElement.scrollWidth") == 320
    light = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light == "rgb(15, 17, 21)"


def test_a_slow_answer_shows_progress_and_can_be_cancelled(visit: Any, served: Served):
    one = visit()
    one.explain(LONG, "value_zeroing", "occlusion")
    expect(one.page.locator("#what")).to_contain_text("layer", timeout=60_000)
    expect(one.page.get_by_role("progressbar")).to_be_visible()
    one.page.get_by_role("button", name="Cancel").click()
    expect(one.page.get_by_role("status")).to_have_text("Cancelled.")
    expect(one.page.get_by_role("progressbar")).to_be_hidden()
    expect(one.page.get_by_label("Text", exact=True)).to_have_value(LONG)
    one.explain("a good film", "globenc")
    expect(one.answer()).to_contain_text("good")


def test_what_is_wrong_is_said_beside_its_field(visit: Any):
    one = visit()
    page = one.page
    one.explain("  ")
    expect(page.locator("#text-error")).to_contain_text("Type a text")
    one.explain(LONG * 2)
    expect(page.locator("#text-error")).to_contain_text("at most 256")
    expect(page.get_by_label("Text", exact=True)).to_be_focused()
    page.locator("#more summary").click()
    page.get_by_label("Token to look at first").fill("flm")
    one.explain("a good film")
    expect(page.locator("#query-error")).to_contain_text("Did you mean 'film'")
    expect(page.locator("#text-error")).to_be_empty()
    page.get_by_label("Token to look at first").fill("film")
    page.get_by_label("Target").fill("neutral")
    one.explain("a good film", "gradient_inputs")
    expect(page.locator("#target-error")).to_contain_text("neutral", timeout=30_000)
    one.choose()
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#methods-error")).to_contain_text("one method")


def test_hostile_text_is_text(visit: Any):
    one = visit()
    one.explain(HOSTILE, "globenc")
    expect(one.answer()).to_contain_text("onerror")
    assert one.page.locator("img").count() == 0
    assert one.page.locator("script").count() == 1


def test_a_decoder_and_a_pair(visit: Any):
    one = visit()
    one.page.locator("#model").select_option("demo-decoder")
    one.page.get_by_role("button", name="Once upon a time").click()
    one.page.keyboard.press("Control+Enter")
    expect(one.answer()).to_contain_text("Lily")
    one.page.locator("#model").select_option("demo")
    one.page.locator("#more summary").click()
    one.page.get_by_label("A pair of texts").check()
    one.page.get_by_label("Second text").fill("a bad one")
    one.explain("a good film", "attention")
    expect(one.answer()).to_contain_text("bad")


def test_methods_stand_under_their_questions_with_the_names_that_people_know(visit: Any):
    page = visit().page
    page.locator("#choice summary").click()
    made_of = page.get_by_role("group", name="What is this vector made of?")
    expect(made_of.get_by_role("checkbox", name="GlobEnc globenc")).to_be_checked()
    expect(page.get_by_role("group", name="Why this output?").get_by_text("DecompX")).to_be_visible()
    assert "rollout of N_Enc" in made_of.locator(".method").filter(has_text="GlobEnc").first.get_attribute("title")
    expect(page.locator("#chosen")).to_contain_text("ALTI rollout")


def test_a_link_shows_what_its_sender_saw(visit: Any):
    one = visit()
    one.explain("a deep & meaningful film .", "globenc", "attention")
    one.answer().get_by_role("button", name="Attention weights").click()
    one.answer().get_by_role("option", name="film,").click()
    one.page.wait_for_timeout(600)
    link = one.page.url
    assert (
        "#tokens?model=demo&text=a+deep+%26+meaningful+film+.&methods=globenc,attention&look.method=attention" in link
    )
    other = visit()
    other.page.goto("about:blank")
    other.page.goto(link)
    expect(other.answer().locator(".panel h3")).to_contain_text("Attention weights")
    expect(other.answer().locator(".question")).to_contain_text("film")
    expect(other.page.get_by_label("Text", exact=True)).to_have_value("a deep & meaningful film .")


def test_one_word_is_changed_and_both_texts_stand_side_by_side(visit: Any):
    one = visit(viewport={"width": 1400, "height": 900})
    page = one.page
    one.explain("a good film", "globenc")
    one.answer()
    page.get_by_role("button", name="Compare with another text").click()
    expect(page.get_by_label("Text", exact=True)).to_be_focused()
    one.explain("a bad film")
    expect(page.locator("#changed")).to_contain_text("became", timeout=30_000)
    said = page.locator("#changed").inner_text().replace("\u2068", "").replace("\u2069", "")
    assert said.startswith("“good” became “bad”. The model said “positive”")
    assert "and now says “negative”" in said
    first, second = page.locator("#beside").bounding_box(), page.locator("#explorer").bounding_box()
    assert first["x"] + first["width"] <= second["x"]
    expect(page.locator("#beside .opening")).to_contain_text("positive")
    expect(page.locator("#explorer .opening")).to_contain_text("negative")
    page.get_by_role("button", name="Compare with another text").click()
    expect(page.locator("#beside")).to_be_hidden()

"""The view of answers in a real browser: texts come and go, an answer lights up its sources, another cut is at once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.serve.conftest import Served, serving
from tests.serve.test_page import HOSTILE, Visit

PAINTED = "list => list.map(one => [...one.classList].filter(name => /^[pn][0-9]+$/.test(name)).join())"


class AnswerVisit(Visit):
    """A page that shows the view of answers."""

    def __init__(self, browser: Browser, served: Served, **options: Any) -> None:
        super().__init__(browser, served, **options)
        self.page.get_by_role("link", name="Answer").click()
        expect(self.page.get_by_role("button", name="Answer", exact=True)).to_be_enabled()

    def field(self, name: str) -> Any:
        return self.page.locator(f"#answer-{name}")

    def example(self) -> None:
        self.page.get_by_role("button", name="A story to go on with").click()

    def go(self) -> None:
        self.page.get_by_role("button", name="Answer", exact=True).click()
        expect(self.page.locator("#answer-shown .panel.live")).to_be_visible(timeout=60_000)


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Any]:
    made: list[AnswerVisit] = []

    def opened(**options: Any) -> AnswerVisit:
        made.append(AnswerVisit(browser, served, **options))
        return made[-1]

    yield opened
    for one in made:
        assert one.wrong == []
        one.context.close()


def test_an_answer_lights_up_its_sources_and_is_saved(visit: Any, tmp_path: Path):
    one = visit()
    page: Page = one.page
    one.example()
    one.field("ablate").select_option("source_occlusion")
    one.go()
    shown = page.locator("#answer-shown")
    page.locator("#unit-0").hover()
    expect(shown.locator("#panel h3")).to_have_text("What made “ball.”")
    painted = shown.locator("[data-source]").evaluate_all(PAINTED)
    assert painted[2] == "p10"
    page.locator("#source-2").hover()
    expect(shown.locator(".without")).to_contain_text("the model says: “dog. She wanted to play with the dog”")
    assert shown.locator("#unit-0").evaluate_all(PAINTED) == ["p10"]
    colour = shown.locator("#unit-0").evaluate("one => getComputedStyle(one).backgroundColor")
    assert colour not in ("rgba(0, 0, 0, 0)", "transparent")  # the sheet of the server reaches into the shadow
    with page.expect_download() as saved:
        one.field("save").click()
    saved.value.save_as(tmp_path / "x.html")
    assert "the model says: “dog." in (tmp_path / "x.html").read_text(encoding="utf-8")


def test_another_cut_is_shown_without_another_run(visit: Any):
    one = visit()
    asked: list[str] = []
    one.page.on("request", lambda request: asked.append(request.method) if "/api/answers" in request.url else None)
    one.example()
    one.go()
    assert asked.count("POST") == 1
    expect(one.page.locator("#answer-shown [data-source]")).to_have_count(3)
    one.field("sources").select_option("document")
    expect(one.page.locator("#answer-shown [data-source]")).to_have_count(2)
    one.field("units").select_option("word")
    expect(one.page.locator("#unit-3")).to_have_text("to")
    assert asked.count("POST") == 1


def test_texts_are_added_and_removed(visit: Any):
    one = visit()
    page = one.page
    one.example()
    page.get_by_role("button", name="Add a text").click()
    expect(page.get_by_label("Text 3", exact=True)).to_be_focused()
    page.keyboard.type("Mia had a cat.")
    page.get_by_role("button", name="Remove Text 1").click()
    expect(page.get_by_label("Text 1", exact=True)).to_be_focused()
    expect(page.get_by_label("Text 1", exact=True)).to_have_value("Lily had a red ball.")
    assert page.locator("#answer-texts textarea").count() == 2
    one.go()
    names = page.locator("#answer-shown article").evaluate_all(
        "list => list.map(one => one.getAttribute('aria-label'))"
    )
    assert names == ["Text 1", "Text 2"]
    for _ in range(2):
        page.get_by_role("button", name="Remove Text 1").click()
    expect(page.get_by_role("button", name="Add a text")).to_be_focused()


def test_the_keyboard_is_enough_on_a_narrow_dark_screen(visit: Any):
    one = visit(color_scheme="dark", viewport={"width": 360, "height": 740})
    page = one.page
    one.field("question").focus()
    page.keyboard.type("Lily had a red")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#answer-shown .panel.live")).to_be_visible(timeout=60_000)
    page.locator("#unit-0").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#unit-0")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(page.locator("#unit-0")).to_have_attribute("aria-pressed", "false")
    page.locator("#answer-shown .notes a").first.focus()
    page.keyboard.press("Enter")  # a footnote leads to its source, inside of the shadow too
    inner = "document.querySelector('#answer-shown > div').shadowRoot.activeElement.id"
    assert page.evaluate(inner).startswith("source-")
    assert page.evaluate("location.hash") == "#answer"
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_what_is_wrong_is_said_beside_its_field(visit: Any):
    one = visit()
    go = one.page.get_by_role("button", name="Answer", exact=True)
    go.click()
    expect(one.field("question-error")).to_contain_text("Type a question")
    expect(one.field("question")).to_be_focused()
    one.example()
    one.page.get_by_label("Text 1", exact=True).fill("Tom had a big dog. " * 100)
    go.click()
    expect(one.field("context-error")).to_contain_text("accepts at most 512 here")
    expect(one.page.get_by_label("Text 1", exact=True)).to_be_focused()
    one.example()
    one.page.locator("#answer-more summary").click()
    one.field("max_new_tokens").fill("0")
    go.click()
    expect(one.field("max_new_tokens-error")).to_contain_text("whole number")
    one.field("max_new_tokens").fill("4")
    one.field("template").fill("{context}")
    go.click()
    expect(one.field("error")).to_contain_text("{question}", timeout=30_000)
    one.field("template").fill("")
    one.go()
    expect(one.field("error")).to_be_empty()


def test_a_slow_answer_is_cancelled(visit: Any):
    one = visit()
    one.example()
    one.page.get_by_label("Text 1", exact=True).fill("Tom had a dog. " * 20)
    one.field("sources").select_option("token")
    one.field("ablate").select_option("source_occlusion")
    one.page.get_by_role("button", name="Answer", exact=True).click()
    expect(one.field("what")).to_contain_text("ablation", timeout=60_000)
    one.page.locator("#answer-cancel").click()
    expect(one.field("status")).to_have_text("Cancelled.")
    expect(one.field("result")).to_be_hidden()


def test_hostile_texts_are_texts(visit: Any):
    one = visit()
    one.example()
    one.page.get_by_label("Text 1", exact=True).fill(HOSTILE)
    one.page.get_by_label("Text 2", exact=True).fill(HOSTILE)
    one.field("question").fill(HOSTILE)
    one.field("answer").fill(HOSTILE)
    one.page.locator("#answer-more summary").click()
    one.field("template").fill("{context} {question}")
    one.go()
    expect(one.page.locator("#answer-shown")).to_contain_text("onerror=alert(1)")
    assert one.page.locator("img, iframe").count() == 0
    assert one.page.locator("script").count() == 1


def test_both_views_keep_what_they_show(visit: Any):
    one = visit()
    one.example()
    one.page.get_by_role("link", name="Tokens").click()
    expect(one.page.get_by_label("Text", exact=True)).to_be_visible()
    expect(one.field("question")).to_be_hidden()
    expect(one.page.get_by_role("link", name="Tokens")).to_have_attribute("aria-current", "page")
    one.page.go_back()
    expect(one.field("question")).to_have_value("Lily wanted to play with her")


def test_models_that_do_not_answer_are_not_offered(visit: Any):
    assert visit().field("model").locator("option").all_inner_texts() == ["demo-decoder"]


@pytest.mark.campaign
def test_a_server_of_encoders_has_no_view_of_answers(browser: Browser):
    with serving("demo") as served:
        page = browser.new_page()
        page.goto(f"{served.address}/#answer")
        expect(page.get_by_role("button", name="Explain")).to_be_enabled(timeout=30_000)
        expect(page.get_by_role("link", name="Answer")).to_be_hidden()
        expect(page.locator("#answer-view")).to_be_hidden()
        assert "/api/answers" not in httpx.get(f"{served.address}/openapi.json", timeout=30).json()["paths"]
        page.close()

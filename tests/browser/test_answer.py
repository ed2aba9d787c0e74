"""The page of an answer in a browser: each side lights up the other, by pointer and by keys, on any screen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.results.answers import ROWS, answer
from tests.results.test_losses import losses
from tests.views.page.test_answers import hostile

from contextmix.results.answer import Answer


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """`opened(answer, width=…)`: its page; at the end no page may have asked the network or logged an error."""
    pages, complaints = [], []

    def opening(found: Answer, *, width: int = 1200) -> Any:
        file = tmp_path / f"{len(pages)}.html"
        found.save(file)
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.on("request", lambda request: None if request.url == file.as_uri() else complaints.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        pages.append(page)
        page.goto(file.as_uri())
        page.locator(".panel.live").wait_for()
        return page

    yield opening
    for page in pages:
        page.close()
    assert complaints == []


def painted(page: Any, side: str) -> list[str]:
    script = "list => list.map(one => [...one.classList].filter(name => /^[pn][0-9]+$/.test(name)).join())"
    return page.locator(f"[data-{side}]").evaluate_all(script)


def panel(page: Any) -> list[list[str]]:
    script = "list => list.map(one => [one.cells[0].textContent, one.cells[2].textContent])"
    return page.locator("#panel tr").evaluate_all(script)


def test_pointing_at_a_part_lights_up_its_sources(opened):
    page = opened(answer())
    assert painted(page, "source") == ["p10", "p2", "p10"]  # of the whole answer: 9, 1.5 and 9
    page.locator("#unit-0").hover()
    assert painted(page, "source") == ["p1", "p1", "p10"]
    assert page.locator("#panel h3").inner_text() == "What made “Lily.”"
    assert panel(page)[0] == ["45%", "Lily had a ball."]
    assert panel(page)[-3:] == [["10%", "question"], ["28%", "template"], ["10%", "answer so far"]]
    page.mouse.move(0, 0)
    assert painted(page, "source") == ["p10", "p2", "p10"]


def test_pointing_at_a_source_lights_up_what_it_made(opened):
    page = opened(answer())
    page.locator("#source-0").hover()
    assert painted(page, "unit") == ["p1", "p10"]
    assert painted(page, "source") == ["", "", ""]
    assert panel(page) == [["55%", "of “Yes.”"], ["5%", "of “Lily.”"]]


def test_a_choice_stays_until_it_is_dropped(opened):
    page = opened(answer())
    page.locator("#unit-1").click()
    page.mouse.move(0, 0)
    assert page.locator("#unit-1").get_attribute("aria-pressed") == "true"
    assert page.locator("#panel h3").inner_text() == "What made “Yes.”"
    page.locator("#whole").click()
    assert page.locator("#unit-1").get_attribute("aria-pressed") == "false"
    assert page.locator("#panel h3").inner_text() == "What made the whole answer"


def test_keys_walk_on_both_sides(opened):
    page = opened(answer())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "unit-0"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "unit-1"
    assert page.locator("#panel h3").inner_text() == "What made “Yes.”"
    page.keyboard.press("Enter")
    assert page.locator("#unit-1").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Escape")
    assert page.locator("#unit-1").get_attribute("aria-pressed") == "false"
    page.locator("#source-0").focus()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.id") == "source-2"
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.id") == "source-2"


def test_sums_with_signs_are_told(opened):
    page = opened(answer(signed=answer(-np.array(ROWS), "signed").token_map))
    page.locator("#unit-0").hover()
    assert panel(page)[0] == ["45%", "Lily had a ball. (-9.0)"]
    page.locator("#source-0").hover()
    assert panel(page)[0] == ["55%", "of “Yes.” (-8.0)"]


def test_footnotes_lead_to_their_sources(opened):
    page = opened(answer())
    page.get_by_role("link", name="[1]").first.click()
    assert page.evaluate("location.hash") == "#source-2"


def test_what_speaks_against_is_blue(opened):
    values = np.array(ROWS)
    values[0, 5] = -6.0
    page = opened(answer(values, "signed"))
    page.locator("#unit-0").hover()
    assert painted(page, "source") == ["p3", "p2", "n10"]


@pytest.mark.parametrize("width", [360, 1200])
def test_hostile_texts_are_shown_and_the_page_fits(opened, width):
    page = opened(hostile(), width=width)
    for place in range(3):
        page.locator(f"#unit-{place}").hover()
        page.locator(f"#source-{place}").hover()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("img, iframe").count() == 0


@pytest.mark.parametrize("width", [360, 1200])
def test_pointing_at_a_source_says_what_is_lost_without_it(opened, width):
    page = opened(answer(losses=losses()), width=width)
    lost = page.locator("#panel .without")
    assert not lost.is_visible()
    page.locator("#source-2").hover()
    assert lost.inner_text() == "Without it: −13.0 nats; the model says: “Tom. Yes.”"
    assert [row[1] for row in panel(page)] == ["of “Lily.”without it −1.0 nats", "of “Yes.”without it −12.0 nats"]
    page.locator("#unit-1").hover()
    assert not lost.is_visible()
    assert panel(page)[0] == ["55%", "Tom had a dog.without it −0.5 nats"]
    page.locator("#source-1").focus()  # by keys too, and read aloud
    assert lost.inner_text() == "Without it: −0.8 nats"
    assert page.locator("#panel").get_attribute("aria-live") == "polite"
    assert page.evaluate("document.documentElement.scrollWidth") <= width

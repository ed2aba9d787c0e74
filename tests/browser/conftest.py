"""A browser, and reports opened in it: each must work without network, without errors, and within its own policy."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contextmix.views.page.exhibit import exhibit
from contextmix.views.page.report import Section, report

Open = Callable[..., Any]


@pytest.fixture
def open_report(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """`open_report(maps, over=…, change=…, state=…, width=…)`: the page of a report, once its numbers are there.

    At the end, no page may have asked the network for anything, thrown, or logged an error (a breach of the content
    security policy is one).
    """
    pages, complaints = [], []

    def watched(page: Any) -> Any:
        page.on("request", lambda request: complaints.append(request.url) if outside(request.url) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        return page

    def opening(
        maps: Any, *, over: Any = None, change: Any = None, state: str = "", width: int = 1200, **options: Any
    ) -> Any:
        document = exhibit(
            maps, over=over, **{name: options.pop(name) for name in ("title", "query") if name in options}
        )
        if change:
            change(document)
        file = tmp_path / f"{len(pages)}.html"
        file.write_text(report([Section(document, "")]), encoding="utf-8")
        page = watched(browser.new_page(viewport={"width": width, "height": 900}, **options))
        pages.append(page)
        page.goto(file.as_uri() + (f"#{state}" if state else ""))
        page.locator(".panel:not([aria-busy])").first.wait_for()
        return page

    def outside(url: str) -> bool:
        return not url.startswith(("data:", tmp_path.as_uri()))

    yield opening
    for page in pages:
        page.close()
    assert complaints == []


PLAIN = "numbers=raw&special=coloured"
"""An address: numbers as they are in a map, and special tokens coloured like all others."""


@pytest.fixture
def open_plain(open_report: Any) -> Any:
    """`open_report` with numbers that can be compared with those of a map."""
    return partial(open_report, state=PLAIN)

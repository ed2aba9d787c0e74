"""The built site in a browser: served here, cut off from everything else."""

import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contextmix.plugins.registry import METHODS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.campaign


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the site; notebooks are not run."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-D", "nb_execution_mode=off", "docs"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(folder)], cwd=ROOT, env=environment, timeout=900, check=True)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def page(browser: Any, site: str) -> Iterator[Any]:
    """A page that fails the test if it asks for anything from elsewhere."""
    context = browser.new_context()
    page = context.new_page()
    elsewhere: list[str] = []
    page.on(
        "request", lambda asked: None if asked.url.startswith((site, "data:", "blob:")) else elsewhere.append(asked.url)
    )
    yield page
    context.close()
    assert elsewhere == []


def test_the_formulas_of_every_method_are_drawn(page: Any, site: str):
    for name in METHODS.names:
        page.goto(f"{site}/generated/methods/{name}.html")
        assert page.locator("div.formula .katex").count() == 1, name
        assert page.locator(".formula:not(:has(.katex))").count() == 0, name
        assert page.locator(".katex-error").count() == 0, name


@pytest.mark.parametrize(
    ("words", "leads_to"),
    [("value zeroing", "value_zeroing.html"), ("saliency", "gradient.html"), ("RAG", "answers.html")],
)
def test_search_finds(page: Any, site: str, words: str, leads_to: str):
    page.goto(f"{site}/search.html?q={words.replace(' ', '+')}")
    page.wait_for_selector(f"#search-results a[href*='{leads_to}']")


def test_the_explorer_on_the_home_page_shows_its_tokens(page: Any, site: str):
    page.goto(f"{site}/index.html")
    inside = page.frame_locator("iframe.explorer")
    inside.get_by_text("meaningful").first.wait_for()

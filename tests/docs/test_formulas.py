"""What is written about methods: complete, and every formula is drawn by the KaTeX in the repository alone."""

import re
from pathlib import Path
from typing import Any

import pytest
from scripts.docs.texts import FOLDER, symbols, text_of

from contextmix.plugins.registry import METHODS

STATIC = Path(__file__).parents[2] / "docs" / "_static"


@pytest.mark.parametrize("name", METHODS.names)
def test_every_method_has_a_text_whose_symbols_are_explained(name: str):
    text = text_of(name)
    assert text is not None, f"docs/method-texts/{name}.toml is missing"
    assert text.question.endswith("?")
    assert text.symbols
    assert set(text.symbols) <= set(symbols())
    assert all((text.idea, text.use, text.avoid, text.evidence))


def test_no_text_is_left_over_and_no_symbol_unused():
    names = {path.stem for path in FOLDER.glob("*.toml")} - {"symbols"}
    assert names == set(METHODS.names)
    used = {symbol for name in names for symbol in text_of(name).symbols}  # type: ignore[union-attr]
    assert used == set(symbols())


def test_every_formula_is_drawn_without_a_network(browser: Any, tmp_path: Path):
    formulas = [text_of(name).formula for name in METHODS.names]  # type: ignore[union-attr]
    formulas += [latex for latex, _ in symbols().values()]
    formulas += [part for _, told in symbols().values() for part in re.findall(r"\$(.+?)\$", told)]
    context = browser.new_context(offline=True)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    (tmp_path / "page.html").write_text(
        f"<!doctype html><link rel=stylesheet href='{(STATIC / 'katex/katex.min.css').as_uri()}'><body>"
        f"<script src='{(STATIC / 'katex/katex.min.js').as_uri()}'></script>"
    )
    page.goto((tmp_path / "page.html").as_uri())
    for latex in formulas:
        drawn = page.evaluate("latex => katex.renderToString(latex, {throwOnError: true, strict: 'error'})", latex)
        assert "katex-html" in drawn
    page.evaluate(
        "latex => { document.body.innerHTML = katex.renderToString(latex); return document.fonts.ready }", formulas[0]
    )
    assert asked
    assert all(url.startswith("file:") for url in asked)
    with pytest.raises(Exception, match="KaTeX parse error"):
        page.evaluate("katex.renderToString('\\\\frac{', {throwOnError: true})")
    context.close()

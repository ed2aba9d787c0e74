"""The HTML view: self-contained, escaped, and complete without colour."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from contextmix.errors import WrongShape
from contextmix.results.token_map import Provenance, TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.views.drawing.colours import background
from contextmix.views.page.fragment import is_running, preview, to_html

MADE = Provenance(
    "norm_encoder", aggregation="rollout", model="demo", options={"ratio": 0.1}, checks={"conservation": 1e-7}
)
ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><b>",
    "{{ 7*7 }}",
    "&lt;",
    "' onclick='a",
]
VOID = {"br", "hr", "img", "meta"}


class Page(HTMLParser):
    """Reads HTML, and fails on what no browser should have to repair."""

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.texts, self.attributes = [], [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join("".join(self.texts).split())


def square(pieces=("[CLS]", "good", "film"), layers=None, quantity="share"):
    count = len(pieces)
    shape = (count, count) if layers is None else (layers, count, count)
    values = np.random.default_rng(1).dirichlet(np.ones(count), shape[:-1])
    dims = ("layer", "query", "key")[-len(shape) :]
    return TokenMap(values, dims, Tokens(tuple(pieces)), quantity, MADE)


def test_a_row_is_coloured_tokens():
    row = square().row("good")
    source = to_html(row)
    page = Page(source)
    assert source.count("<figure") == 1
    assert "[CLS] good film" in page.text
    for position, (piece, value) in enumerate(zip(row.tokens.pieces, row.values, strict=True)):
        assert ("title", f"{position} {piece}: {value:.3f}") in page.attributes
        assert f"{value:.3f}" in page.text
    assert source.count(f"background:{background(1, False)};") == 2  # in the sentence and in the list
    assert "What “good” (position 1) draws from each token." in page.text


def test_a_table_has_headers_and_tooltips():
    token_map = square()
    page = Page(to_html(token_map))
    assert page.tags.count("th") == 6
    assert page.attributes.count(("scope", "row")) == page.attributes.count(("scope", "col")) == 3
    for query, row in zip(token_map.tokens.pieces, token_map.values, strict=True):
        for key, value in zip(token_map.tokens.pieces, row, strict=True):
            assert ("title", f"{query} ← {key}: {value:.2f}") in page.attributes
            assert f"{value:.2f}" in page.text


def test_layers_are_rows_with_the_last_on_top():
    token_map = square(layers=3)
    page = Page(to_html(token_map, "film"))
    assert re.findall(r"layer \d", page.text.split("Rows")[0].split("norm_encoder")[0]) == [
        "layer 2",
        "layer 1",
        "layer 0",
    ]
    assert ("title", f"layer 2 ← good: {token_map.values[2, 2, 1]:.2f}") in page.attributes
    assert "“film” (position 2)" in page.text
    assert "each row divided by its largest" in page.text


def test_the_caption_tells_method_quantity_scaling_and_provenance():
    text = Page(to_html(square())).text
    for part in ("norm_encoder + rollout · share: part of the whole · demo", "divided by the largest of the table"):
        assert part in text
    for part in ('options{"ratio": 0.1}', 'checks{"conservation": 1e-07}', "modeldemo"):
        assert part in text
    assert "revision" not in text  # unknown, so not claimed


@pytest.mark.parametrize("attack", ATTACKS)
def test_tokens_and_names_are_escaped(attack):
    made = Provenance(attack, model=attack, options={attack: attack}, notes={"text": attack})
    tokens = Tokens((attack, "b"))
    flat = TokenMap(np.eye(2), ("query", "key"), tokens, "share", made)
    deep = TokenMap(np.eye(2)[None], ("layer", "query", "key"), tokens, "share", made)
    for source in (
        to_html(flat),
        to_html(flat.row(0)),
        to_html(deep),
        preview(deep.derive(dims=("head", "query", "key"))),
    ):
        page = Page(source)
        assert not {"script", "img", "b", "style", "link", "iframe"} & set(page.tags)
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        assert attack in "".join(page.texts) or "map.head(0)" in source


def test_nothing_is_loaded_or_run():
    for source in (to_html(square()), to_html(square().row(0)), to_html(square(layers=2))):
        assert not re.search(r"https?:|//|url\(|@import|<script|<style|<link|\bsrc=|\bhref=|javascript", source)


def test_a_page_may_hold_several():
    source = to_html(square())
    assert not re.search(r"\b(id|class|name)=", source)


def test_colours_follow_the_page():
    source = to_html(square())
    light, dark = background(1, False), background(1, False, "dark")
    assert f"background:{light};" in source  # for browsers that do not know light-dark()
    assert f"light-dark({light},{dark})" in source
    assert "color-scheme" not in source  # the page decides


def test_control_characters_are_visible():
    text = Page(to_html(square(("\n", "\x1b[0m", "\u202e")).row(0))).text
    assert "⏎" in text
    assert "␛[0m" in text
    assert "⟨U+202E⟩" in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", text)


def test_a_large_table_becomes_one_row():
    pieces = [f"t{position}" for position in range(65)]
    assert "so this is the first token" in Page(to_html(square(pieces))).text
    page = Page(to_html(square(pieces[:64])))
    assert "Rows receive" in page.text
    assert "0.0" not in page.text.split("norm_encoder")[0]  # cells too small for numbers carry them as tooltips
    assert any(name == "title" and "t0 ← t63: 0.0" in value for name, value in page.attributes)


def test_a_preview_never_fails():
    unseen = TokenMap(np.ones((1, 2)), ("layer", "query"), Tokens(("a", "b")), "share", MADE)
    with pytest.raises(WrongShape):
        to_html(unseen)
    text = Page(unseen._repr_html_()).text
    assert "<TokenMap norm_encoder + rollout" in text
    assert "no key axis" in text
    assert square()._repr_html_() == to_html(square())


def test_no_notebook_runs_here():
    assert not is_running()


def test_rows_that_are_other_tokens_are_a_table_of_their_own():
    queries = Tokens(("<Lily>", "."))
    values = np.array([[0.5, 0.25, 0.0], [1.0, 0.0, 3.0]])
    source = to_html(TokenMap(values, ("query", "key"), Tokens(("a", "b", "c")), "norm", MADE, query_tokens=queries))
    page = Page(source)
    assert page.tags.count("tr") == 3
    assert "<Lily>" not in source
    assert source.count(background(1.0, signed=False)) >= 2  # each row has a strongest key

"""Reports as text: what a parser finds in them is ours alone, whatever stood in the data."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from contextmix.errors import BadOption
from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.views.page.exhibit import exhibit
from contextmix.views.page.fragment import preview
from contextmix.views.page.report import Section, bundle, report

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--",
    "<!--<script>",
    "-->",
    "]]>",
    "</noscript></style>",
    '" style="background:url(//x)',
    "' onload='x",
    "&lt;b&gt;&amp;",
    "\u202egnirts",
    "\u2066a\u2069",
    "👩\u200d🔬🏳️\u200d🌈",
    "\u200b",
    "\ufeff",
    "a\u2028b\u2029",
    "\ud800",
    "\x00\x1b[2J",
    "{{ 7 * 7 }}",
    "עברית",
    "x" * 10_000,
)


class Seen(HTMLParser):
    """Elements with their attributes, and the text of each script and style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.titles: list[str] = []
        self.comments = 0
        self.inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "script":
            attributes, text = self.scripts.pop()
            self.scripts.append((attributes, text + data))
        elif self.inside in ("style", "title"):
            (self.styles if self.inside == "style" else self.titles).append(data)

    def handle_comment(self, data):
        self.comments += 1


def section(pieces: tuple[str, ...], name: str = "example") -> Section:
    made = Provenance(name, model=name, notes={"target": pieces[0], "prediction": {"label": name, "probability": 1}})
    tokens = Tokens(pieces, text="".join(pieces))
    one = TokenMap(np.arange(len(pieces) ** 2).reshape(len(pieces), -1), ("query", "key"), tokens, "norm", made)
    return Section(exhibit({name: one}), preview(one))


def sha256(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_a_page_lets_its_script_and_its_style_through_and_nothing_else():
    page = report([section(("a", "film")), section(("the", "end"))])
    seen = Seen(page)
    assert page.startswith("<!DOCTYPE html>\n<html lang=")
    (policy,) = [a["content"] for tag, a in seen.elements if a.get("http-equiv") == "Content-Security-Policy"]
    *data, (attributes, script) = seen.scripts
    (style,) = seen.styles
    assert policy == (
        f"default-src 'none'; script-src {sha256(script)}; style-src {sha256(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert (attributes, script) == ({"type": "module"}, bundle())
    assert [json.loads(text)["title"] for _, text in data] == ["afilm", "theend"]
    assert all(a == {"type": "application/json", "data-contextmix": None} for a, _ in data)
    assert seen.titles == ["afilm · contextmix"]
    assert {"name": "color-scheme", "content": "light dark"} in [a for _, a in seen.elements]
    assert not [a for _, a in seen.elements if {"src", "href", "style"} & a.keys()]


def test_pictures_without_script_keep_their_colours():
    page = report([section(("a", "film"))])
    (style,) = Seen(page).styles
    rules = dict(re.findall(r"\.(s\d+)\{([^}]*)\}", style))
    named = [a["class"] for _, a in Seen(page).elements if "class" in a]
    assert set(named) == set(rules)
    still = [a["style"] for _, a in Seen(section(("a", "film")).still).elements if "style" in a]
    assert [rules[name] for name in named] == still


def test_hostile_texts_stay_texts():
    page = report([section(HOSTILE, HOSTILE[0]), section(HOSTILE[1:], HOSTILE[1])], HOSTILE[1])
    page.encode("utf-8")
    seen, plain = Seen(page), Seen(report([section(("a",) * len(HOSTILE)), section(("a",) * (len(HOSTILE) - 1))]))
    assert [tag for tag, _ in seen.elements] == [tag for tag, _ in plain.elements]
    assert [sorted(a) for _, a in seen.elements] == [sorted(a) for _, a in plain.elements]
    assert seen.comments == 0
    assert not [a for _, a in seen.elements if any(name.startswith("on") for name in a)]
    documents = [json.loads(text) for a, text in seen.scripts if "data-contextmix" in a]
    assert documents[0] == json.loads(json.dumps(section(HOSTILE, HOSTILE[0]).exhibit))
    assert documents[0]["keys"]["pieces"][0] == HOSTILE[0]
    assert documents[0]["keys"]["pieces"][-1] == HOSTILE[-1]
    written = json.dumps(documents, ensure_ascii=False)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\ufeff\u2028\u2029\ud800-\udfff\x00-\x1f]", written)
    assert all(not re.search("[<>&\u2028]", text) for a, text in seen.scripts if "data-contextmix" in a)


def test_a_report_of_nothing_is_refused():
    with pytest.raises(BadOption, match="is empty"):
        report([])

"""What the explorer must withstand: hostile texts, damaged data, browsers that lack something, changing exhibits."""

from importlib import resources
from typing import Any

import numpy as np
import pytest

from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.views.drawing.colours import background, foreground
from contextmix.views.page.exhibit import exhibit

ATTACK = "window.attacked=1"
HOSTILE = (
    f"<script>{ATTACK}</script>",
    f'"><img src=x onerror={ATTACK}>',
    f"' onpointerover='{ATTACK}",
    "</script><!--",
    "\u202egnp.exe\u2066",
    "مرحبا",
    "👩\u200d💻",
    "\ud800",
    "zero\u200bwidth\ufeff",
    "\x00\x1b[2J\n",
    "&lt;b&gt;",
    "__proto__",
    "x" * 10_000,
    "",
)
BUNDLE = resources.files("contextmix.views.page").joinpath("explorer/explorer.js")


@pytest.fixture
def module(browser: Any) -> Any:
    """A page in which `module` is the bundle, imported as widgets and other pages do."""
    page = browser.new_page()
    script = """async (text) => {
        window.module = await import(URL.createObjectURL(new Blob([text], {type: 'text/javascript'})));
        document.body.append(document.createElement('main'));
    }"""
    page.evaluate(script, BUNDLE.read_text(encoding="ascii"))
    yield page
    page.close()


def square(tokens: Tokens, name: str = "map") -> TokenMap:
    count = len(tokens)
    values = np.arange(2.0 * count * count).reshape(2, count, count)
    return TokenMap(values, ("layer", "query", "key"), tokens, "norm", Provenance(name, model=name))


def test_hostile_texts_are_shown_as_texts(open_report: Any):
    def unprintable(document: dict[str, Any]) -> None:
        # As another program might write it, which does not make texts printable first.
        document["keys"]["pieces"] = document["keys"]["tokens"] = list(HOSTILE)
        document["title"] = document["model"] = HOSTILE[0]
        document["prediction"] = {"label": HOSTILE[1], "probability": 0.5, "after": HOSTILE[0]}
        document["target"] = {"label": HOSTILE[0], "foil": HOSTILE[1]}
        document["maps"][0] |= dict.fromkeys(("title", "formula", "paper", "meaning", "unit"), HOSTILE[1])
        document["maps"][0]["facts"] = [[HOSTILE[0], HOSTILE[2]]]

    page = open_report({HOSTILE[0]: square(Tokens(HOSTILE), HOSTILE[1])}, change=unprintable, title=HOSTILE[0])
    for place in range(len(HOSTILE)):
        page.locator(".token").nth(place).hover()
    page.locator(".map canvas:visible").last.hover(position={"x": 60, "y": 60})
    for summary in page.locator("summary").all():
        summary.click()
    texts = page.locator(".token").all_inner_texts()
    assert texts[:4] == list(HOSTILE[:4])
    assert texts[4] == "⟨U+202E⟩gnp.exe⟨U+2066⟩"
    assert texts[7:10] == ["⟨U+D800⟩", "zero⟨U+200B⟩width⟨U+FEFF⟩", "␀␛[2J⏎"]
    assert len(texts[12]) < 60
    assert len(page.locator(".token").nth(12).get_attribute("title")) == 10_000
    assert texts[13] == "∅"
    assert page.evaluate("() => window.attacked") is None
    shadow = "document.querySelector('.contextmix-explorer').shadowRoot"
    assert page.evaluate(f"() => {shadow}.querySelectorAll('script, img, b, style').length") == 0
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda document: document["maps"][0]["data"].update(values="AAAA"), "cannot be unpacked"),
        (lambda document: document["maps"][0]["data"].update(scales="%"), "no base64"),
        (lambda document: document["maps"][0]["data"].update(scales="AADAfwAAwH8AAMB/AADAfw=="), "no finite scale"),
        (lambda document: document["maps"][0].update(dims=["query", "key"]), "cannot show this"),
        (lambda document: document.update(version=7), "version 7"),
        (lambda document: document.update(maps=None), "no map"),
    ],
)
def test_damaged_data_are_said_to_be(module: Any, change: Any, reason: str):
    document = exhibit({"map": square(Tokens(("a", "b")))})
    change(document)
    module.evaluate("(given) => { module.mount(document.querySelector('main'), given) }", document)
    module.get_by_text(reason).first.wait_for()


def test_a_browser_that_cannot_unpack_says_so(module: Any):
    script = "(given) => { delete window.DecompressionStream; module.mount(document.querySelector('main'), given) }"
    module.evaluate(script, exhibit({"map": square(Tokens(("a", "b")))}))
    module.get_by_text("This browser cannot unpack the numbers").first.wait_for()


def test_a_widget_follows_its_model_and_cleans_up(module: Any):
    one, other = (exhibit({name: square(Tokens((name, "b")))}) for name in ("first", "second"))
    module.evaluate(
        """([one, other]) => {
            let exhibit = one, listeners = [];
            const model = {
                get: (name) => ({exhibit})[name],
                on: (name, act) => { if (name === 'change:exhibit') listeners.push(act) },
                off: (name, act) => { listeners = listeners.filter((each) => each !== act) },
            };
            window.stop = module.default.render({model, el: document.querySelector('main')});
            window.change = () => { exhibit = other; listeners.forEach((act) => act()) };
            window.listening = () => listeners.length;
        }""",
        [one, other],
    )
    module.get_by_text("Most: “").first.wait_for()
    assert module.locator(".token").first.inner_text() == "first"
    module.get_by_role("button", name="Larger type").click()
    module.evaluate("change()")
    assert module.locator(".token").first.inner_text() == "second"
    assert module.get_by_role("button", name="Larger type").get_attribute("aria-pressed") == "true"
    module.evaluate("stop()")
    assert module.evaluate("[listening(), document.querySelector('main').childElementCount]") == [0, 0]


def test_colours_are_those_of_python(module: Any):
    for theme in ("light", "dark"):
        for signed in (False, True):
            # The scores at which a page has a step of its own.
            scores = (np.arange(-255 if signed else 0, 256) / 255).tolist()
            script = "([scores, signed, theme]) => scores.map((score) => module.background(score, signed, theme))"
            found = module.evaluate(script, [scores, signed, theme])
            wanted = [background(score, signed, theme) for score in scores]
            channels = [[list(bytes.fromhex(colour[1:])) for colour in colours] for colours in (found, wanted)]
            assert np.abs(np.subtract(*channels)).max() <= 1  # halves are rounded another way
            inks = module.evaluate("(all) => all.map((colour) => module.ink(colour))", wanted)
            assert inks == [foreground(colour) for colour in wanted]

"""Pages and notebook cells of answers: what a parser finds in them is ours alone, whatever stood in the texts."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from tests.results.answers import ROWS, SAID, TEXTS, answer
from tests.results.test_answer_tables import thinking
from tests.results.test_losses import fitted, losses
from tests.views.page.test_report import HOSTILE, Seen, sha256

from contextmix.errors import OutputExists
from contextmix.results.answer import Answer
from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.tokens.passages import Passage
from contextmix.tokens.pieces import Tokens
from contextmix.views.page.answers import fragment, page, sheet, still


class Text(HTMLParser):
    """The text of each element with an id, and all text outside of scripts and styles."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.by_id: dict[str, str] = {}
        self.all, self.inside, self.open = "", "", ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        self.open = dict(attrs).get("id", "") if tag == "span" else self.open

    def handle_endtag(self, tag):
        self.inside = ""
        self.open = "" if tag == "span" else self.open

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.all += data
            if self.open:
                self.by_id[self.open] = self.by_id.get(self.open, "") + data


def hostile() -> Answer:
    """Every hostile text as a source, in the question, the answer, the names."""
    parts = [text.strip() or "x" for text in HOSTILE]
    prompt = "".join(parts) + "Who? "
    text = prompt + "".join(parts)
    spans, at = [], 0
    for part in [*parts, "Who? ", *parts]:
        spans.append((at, at + len(part)))
        at += len(part)
    tokens = Tokens(tuple(text[slice(*span)] for span in spans), spans=tuple(spans), text=text)
    notes = {"generation": {"probabilities": [0.5] * len(parts)}, "answer": {"by": "the model", "stopped": HOSTILE[0]}}
    made = Provenance(HOSTILE[0], model=HOSTILE[1], notes=notes)
    values = np.ones((len(parts), len(spans)))
    one = TokenMap(
        values, ("query", "key"), tokens, "norm", made, query_tokens=tokens.part(slice(len(parts) + 1, None))
    )
    passages = tuple(Passage(part, span[0], name=part) for part, span in zip(parts, spans[: len(parts)], strict=True))
    question = (spans[0][0], spans[0][1])
    return Answer(one, len(prompt), passages, question, "document", "token")


def test_a_page_lets_its_script_and_its_style_through_and_nothing_else():
    made = page(answer())
    seen = Seen(made)
    assert made.startswith("<!DOCTYPE html>\n<html lang=")
    (policy,) = [a["content"] for _, a in seen.elements if a.get("http-equiv") == "Content-Security-Policy"]
    (attributes, numbers), (module, script) = seen.scripts
    assert policy == (
        f"default-src 'none'; script-src {sha256(script)}; style-src {sha256(seen.styles[0])}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert (attributes["type"], module) == ("application/json", {"type": "module"})
    found = json.loads(numbers)
    np.testing.assert_allclose(found["shares"][0], [0.05, 0.025, 0.45])
    assert len(found["scores"]) == len(found["elsewhere"]) == len(found["chances"]) == 3  # two parts and the whole
    assert not [a for _, a in seen.elements if {"src", "style"} & a.keys()]
    assert {a["href"][0] for _, a in seen.elements if "href" in a} == {"#"}
    assert seen.titles == ["Lily. Yes. · contextmix"]


def test_every_part_and_source_is_an_element_with_its_text():
    found = answer()
    text = Text(page(found))
    assert {name: one for name, one in text.by_id.items() if name.startswith("unit")} == {
        "unit-0": "Lily.",
        "unit-1": "Yes.",
    }
    assert [text.by_id[f"source-{place}"] for place in range(3)] == [one.text for one in found.sources]
    assert SAID.strip() in text.all.replace("[1]", "").replace("[2]", "")
    assert "Who?" in text.all


def test_hostile_texts_stay_texts():
    made = page(hostile())
    plain = page(answer())
    tags = {tag for tag, _ in Seen(plain).elements}
    assert {tag for tag, _ in Seen(made).elements} <= tags
    allowed = {name for _, attributes in Seen(plain).elements for name in attributes} | {"title"}
    assert {name for _, attributes in Seen(made).elements for name in attributes} <= allowed
    assert Seen(made).comments == 0
    assert len(Seen(made).scripts) == 2
    for part in hostile().sources:
        if part.text.isascii() and part.text.isprintable():
            assert part.text in Text(made).all
    for character in "\x00\x1b\u202e\u2066\ufeff":
        assert character not in made
    assert Seen(still(hostile())).comments == 0
    assert {tag for tag, _ in Seen(still(hostile())).elements} <= {tag for tag, _ in Seen(still(answer())).elements}


def test_what_did_not_fit_is_struck_out():
    whole = answer()
    part = replace(whole, passages=(replace(whole.passages[0], kept=14), whole.passages[1]))
    assert [one.text for one in part.cut] == ["It ran."]
    made = page(part)
    assert '<span class="cut" title="did not fit into the prompt"> It ran.</span>' in made
    assert "1 sources did not fit into the prompt, from “It ran.” on." in Text(made).all


def test_signed_numbers_have_both_colours():
    values = np.array(ROWS)
    values[0, 5] = -6.0
    signed, plain = (Seen(page(one)).styles[0] for one in (answer(values, "signed"), answer()))
    assert ".n10{" in signed
    assert ".n10{" not in plain
    assert ".p10{" in plain


def test_sums_with_signs_stand_beside_shares():
    found = answer(signed=answer(-np.array(ROWS), "signed").token_map, dependence=(1.0, 2.5, 0.25, 0.0, 9.0))
    numbers = json.loads(Seen(page(found)).scripts[0][1])
    assert numbers["sums"][0] == ["-1.0", "-0.5", "-9.0"]
    assert numbers["chances"][0].endswith("from 25%. Dependence of one of them on the texts: up to 2.50 nats.")
    assert "The sums in brackets" in Text(page(found)).all
    assert json.loads(Seen(page(answer())).scripts[0][1])["sums"] is None


def test_a_cell_of_a_notebook_has_no_script_and_no_class():
    made = still(answer())
    elements = Seen(made).elements
    assert elements[0][0] == "figure"
    assert not {"script", "link", "style"} & {tag for tag, _ in elements}
    assert not [a for _, a in elements if {"class", "id", "src", "href"} & a.keys()]
    assert answer()._repr_html_() == made
    assert all(text in Text(made).all for text in (TEXTS[1], "52%", "the whole answer"))


def test_a_page_is_written_once(tmp_path):
    answer().save(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == page(answer())
    with pytest.raises(OutputExists):
        answer().save(tmp_path / "a.html")


def test_thoughts_are_folded_under_the_answer():
    found = thinking()
    for made in (page(found), still(found)):
        folded = made[made.index("<details") : made.index("</details>")]
        assert "<summary>What it thought before</summary>" in folded
        assert "It is Tom</p>" in folded
    numbers = json.loads(Seen(page(found)).scripts[0][1])
    np.testing.assert_allclose(numbers["elsewhere"][0], found.shares_elsewhere[0], atol=1e-5)
    assert numbers["names"][:4] == ["question", "template", "answer so far", "own thoughts"]
    assert "What it thought" not in page(answer()) + still(answer())


def test_thoughts_are_text_whatever_they_say():
    found = thinking()
    tokens = found.token_map.tokens
    bad = "<b>&Tom!"  # as long as what stands there
    text = tokens.text.replace("It is Tom", bad + " ")
    again = replace(
        found,
        token_map=found.token_map.derive(
            tokens=replace(tokens, text=text), query_tokens=replace(tokens, text=text).part(slice(4, None))
        ),
    )
    for made in (page(again), still(again)):
        assert "&lt;b&gt;&amp;Tom!" in made
        assert "<b>" not in made


def test_what_is_lost_without_a_source_is_told():
    found = answer(losses=losses(), units_by="sentence")
    numbers = json.loads(Seen(page(found)).scripts[0][1])
    assert numbers["changes"][0] == ["−1.2 nats", "−0.5 nats", "−1.0 nats"]
    assert numbers["changes"][2][2] == "−13.0 nats"
    told = "Without it: −13.0 nats; the model says: “Tom. Yes.”"
    assert numbers["without"] == ["Without it: −1.8 nats; the same answer", "Without it: −0.8 nats", told]
    for text in (Text(page(found)).all, Text(still(found)).all):
        assert told in text
        assert "source_occlusion, its keys masked, positions kept; 4 runs of the model" in text
        assert "its text deleted, the same settings" in text
    nothing = json.loads(Seen(page(answer())).scripts[0][1])
    assert (nothing["changes"], nothing["without"]) == (None, ["", "", ""])


def test_a_cut_that_was_not_measured_says_so():
    found = answer(losses=losses()).by("word", "token")
    numbers = json.loads(Seen(page(found)).scripts[0][1])
    assert {text for row in numbers["changes"] for text in row} == {""}
    assert "measured for sources or parts with different boundaries" in Text(page(found)).all


def test_how_far_a_surrogate_can_be_trusted_is_told():
    told = Text(page(answer(losses=fitted()))).all
    assert "how the log-odds of the answer changes" in told
    assert "with a rank correlation of 0.75." in told


def test_of_a_given_answer_the_models_own_is_told():
    told = Text(page(answer(losses=losses(own=" Tom.")))).all
    assert "The answer was supplied; with all sources the model itself says: “Tom.”" in told


def test_hostile_texts_that_the_model_says_stay_texts():
    parts = [text for text in HOSTILE if text.strip()]
    says = {place: parts[place % len(parts)] for place in range(3)}
    found = answer(losses=losses(says=says, own=HOSTILE[0], method=HOSTILE[0], away=HOSTILE[1]))
    for draw in (page, still, lambda one: fragment(one)["html"]):
        tags = {tag for tag, _ in Seen(draw(answer(losses=losses()))).elements}
        assert Seen(draw(found)).comments == 0
        assert {tag for tag, _ in Seen(draw(found)).elements} <= tags
    assert len(Seen(page(found)).scripts) == 2


def test_a_fragment_is_the_inside_of_a_page():
    found = answer(losses=losses())
    made = fragment(found)
    assert made["html"].strip() in page(found)
    assert json.loads(json.dumps(made["numbers"])) == json.loads(Seen(page(found)).scripts[0][1])
    assert not Seen(made["html"]).scripts
    assert not [a for _, a in Seen(made["html"]).elements if {"src", "style"} & a.keys()]
    for name in {name for _, a in Seen(made["html"]).elements for name in a.get("class", "").split()} & {"p10", "p2"}:
        assert f".{name}{{" in sheet()
    assert ".signed .n10{" in sheet()

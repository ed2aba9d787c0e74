"""An answer with thoughts: what is drawn from them is shown apart or passed on, and nothing is hidden."""

from typing import Any

import numpy as np
import pytest
from tests.results.answers import answer as without_thoughts

import contextmix as cm
from contextmix.errors import BadFile, BadInput, BadOption
from contextmix.results.answer import THOUGHTS, Answer
from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.tokens.passages import Passage
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.thoughts import Thoughts

PIECES = ("<s>", "Tom ran.", " Ann sat.", " Who?", "<think>", "It", " is", " Tom", "</think>", "Tom", ".", "</s>")
SPECIAL = ("<s>", "</s>", "<think>", "</think>")
SOURCES = 2
QUESTION, TEMPLATE, SO_FAR, OWN = (SOURCES + place for place in range(4))
COLUMNS = [TEMPLATE, 0, 1, QUESTION, TEMPLATE, OWN, OWN, OWN, TEMPLATE, SO_FAR, SO_FAR, SO_FAR]


def thinking(seed: int = 0, quantity: str = "evidence", **changes: Any) -> Answer:
    """Twelve tokens: two sources, a question, three thoughts between special tokens, an answer of two tokens."""
    spans: list[Any] = []
    text = ""
    for piece in PIECES:
        spans.append(None if piece in SPECIAL else (len(text), len(text) + len(piece)))
        text += "" if piece in SPECIAL else piece
    tokens = Tokens(PIECES, special=tuple(one in SPECIAL for one in PIECES), spans=spans, text=text)
    random = np.random.default_rng(seed)
    values = np.tril(random.random((8, 12)), 3)
    values = values if quantity == "evidence" else values - np.tril(random.random((8, 12)), 3)
    notes = {"generation": {"probabilities": [0.5] * 5 + [0.25] * 2 + [0.75]}}
    one = TokenMap(
        values, ("query", "key"), tokens, quantity, Provenance("example", notes=notes),
        query_tokens=tokens.part(slice(4, None)),
    )  # fmt: skip
    begins = text.index("It is Tom")
    passages = (Passage("Tom ran. Ann sat.", 0),)
    asked = text.index("Who?")
    given = {
        "token_map": one, "begins": text.rindex("Tom."), "passages": passages, "question": (asked, asked + 4),
        "thinking": Thoughts(begins, begins, text.rindex("Tom.")),
    }  # fmt: skip
    return Answer(**{**given, **changes})


def longhand(found: Answer, hops: float) -> list[float]:
    """What the answer's two tokens drew, by column; what lies on a thought is passed on by loops."""
    values = found.token_map.values.astype(float)
    drawn = [float(values[5, token] + values[6, token]) for token in range(12)]
    for _ in range(3 if hops == np.inf else int(hops)):
        moved = [0.0 if token in (5, 6, 7) else drawn[token] for token in range(12)]
        for thought in (5, 6, 7):
            row = [max(float(one), 0.0) for one in values[thought - 4]]
            for token in range(12):
                moved[token] += drawn[thought] * row[token] / sum(row)
        drawn = moved
    table = [0.0] * 6
    for token, column in enumerate(COLUMNS):
        table[column] += drawn[token]
    return table


@pytest.mark.parametrize("quantity", ["evidence", "signed"])
@pytest.mark.parametrize("hops", [0, 1, 2, "all"])
def test_the_table_is_that_of_loops_and_keeps_the_whole(quantity: str, hops: Any):
    for seed in range(5):
        found = thinking(seed, quantity, hops=hops)
        table = np.concatenate([found.values, found.elsewhere], axis=1)[0]
        np.testing.assert_allclose(table, longhand(found, np.inf if hops == "all" else hops), rtol=0, atol=1e-12)
        assert table.sum() == pytest.approx(found.token_map.values[5:7].sum(), abs=1e-9)
        assert found.shares.sum() + found.shares_elsewhere.sum() == pytest.approx(1, abs=1e-9)


def test_who_wrote_what():
    found = thinking()
    assert (found.text, found.thoughts, found.prompt) == ("Tom.", "It is Tom", "Tom ran. Ann sat. Who?")
    np.testing.assert_array_equal(found.columns, COLUMNS)
    assert found.spoken == [None] * 5 + [(0, 3), (3, 4), None]
    assert found.probabilities == (0.25, 0.25, 0.75)
    assert found.tokens()["token"].tolist() == ["Tom", ".", "</s>"]
    assert without_thoughts().thoughts is None


def test_another_number_of_hops_costs_nothing():
    found = thinking()
    assert (found.hops, found.by(hops=0).hops, found.by("document").hops) == (1, 0, 1)
    assert found.by(hops="all").elsewhere[0, -1] == 0
    assert found.by(hops=0).elsewhere[0, -1] > found.elsewhere[0, -1] > 0
    with pytest.raises(BadOption, match="hops=-1"):
        found.by(hops=-1)


def test_with_signs_the_same_shares_are_passed_on():
    found = thinking()
    signed = thinking(1, "signed").token_map
    both = thinking(signed=signed)
    rows = found.token_map.values[1:4] / found.token_map.values[1:4].sum(1, keepdims=True)
    direct = signed.values[5:7].sum(0)
    expected = direct[1:3] + direct[5:8] @ rows[:, 1:3]
    np.testing.assert_allclose(both.signed_values[0], expected, rtol=1e-9)


def test_rows_of_maps_are_averaged_over_the_answer_alone():
    found = thinking(rows="mean")
    np.testing.assert_allclose(found.values.sum() + found.elsewhere.sum(), found.token_map.values[5:7].sum() / 2)


def test_tables_tell_what_came_directly():
    found = thinking()
    table = found.to_pandas()
    assert table["source_text"].tolist()[-1] == f"[{THOUGHTS}]"
    np.testing.assert_allclose(table["direct"], longhand(found, 0))
    assert "direct" not in without_thoughts().to_pandas()


def test_files_keep_thoughts_and_older_files_have_none(tmp_path):
    found = thinking(hops="all")
    found.save(tmp_path / "x.json")
    again = cm.Answer.load(tmp_path / "x.json")
    assert (again.thinking, again.hops) == (found.thinking, "all")
    np.testing.assert_array_equal(again.values, found.values)
    older = {name: value for name, value in without_thoughts().to_dict().items() if name not in ("thinking", "hops")}
    assert Answer.from_dict(older).thinking is None
    for broken in ({"hops": -1}, {"thinking": {"begins": 1}}, {"thinking": {}}, {"hops": None}):
        with pytest.raises(BadFile):
            Answer.from_dict({**found.to_dict(), **broken})


def test_empty_thoughts_pass_nothing_on():
    found = thinking()
    none = thinking(thinking=Thoughts(*[found.thinking.begins] * 3))
    assert (none.thoughts, none.elsewhere[0, -1]) == ("", 0)


def test_what_cannot_be_followed_back_is_refused():
    found = thinking()
    with pytest.raises(BadInput, match="behind the first one of the answer"):
        thinking(thinking=Thoughts(found.thinking.begins, found.begins, found.begins + 2))
    later = found.token_map.values.copy()
    later[1, 5] = 1.0
    with pytest.raises(BadInput, match="draws on its own token or on later ones"):
        thinking(token_map=found.token_map.derive(values=later))
    with pytest.raises(TypeError, match="thinking must be"):
        thinking(thinking=(1, 2, 3))

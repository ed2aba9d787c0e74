"""Tokens found again in their text, and scores that go over to other tokens of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contextmix.errors import BadInput
from contextmix.tokens.located import given_to, located
from contextmix.tokens.pieces import Tokens


@pytest.mark.parametrize(
    ("pieces", "text", "spans"),
    [
        (["[CLS]", "un", "##real", "[SEP]"], "unreal", (None, (0, 2), (2, 6), None)),
        (["A", "Ġfilm", "Ċ"], "A film\n", ((0, 1), (2, 6), None)),
        (["<s>", "▁a", "▁a"], "a a", (None, (0, 1), (2, 3))),
        (["film", "", "film"], "Film film", ((0, 4), None, (5, 9))),
    ],
)
def test_pieces_of_all_kinds_are_found_in_order(pieces, text, spans):
    found = located(pieces, text)
    assert found.spans == spans
    assert found.pieces == tuple(pieces)
    assert found.special == tuple(one is None for one in spans)


def test_what_the_text_does_not_hold_is_refused_by_name():
    with pytest.raises(BadInput, match=r"'dull'.*behind character 1"):
        located(["a", "dull"], "a good film")
    with pytest.raises(BadInput, match="'a'"):
        located(["film", "a"], "a film")  # not in order


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.data())
def test_scores_go_by_shared_characters_and_their_sum_stays(lengths, data):
    """Longhand: every character of a token carries the same part of its score."""
    text = "x" * sum(lengths)
    ends = np.cumsum(lengths)
    own = Tokens(("t",) * len(lengths), spans=tuple(zip(ends - lengths, ends, strict=True)), text=text)
    cuts = data.draw(st.sets(st.integers(1, len(text)))) | {len(text)}
    stops = sorted(cuts)
    other = Tokens(("o",) * len(stops), spans=tuple(zip([0, *stops], stops, strict=False)), text=text)
    values = np.array(data.draw(st.lists(st.integers(-9, 9), min_size=len(own), max_size=len(own))), dtype=float)
    expected = np.zeros(len(stops))
    for value, length, end in zip(values, lengths, ends, strict=True):
        for place in range(end - length, end):
            which = next(number for number, stop in enumerate(stops) if place < stop)
            expected[which] += value / length
    found = given_to(values, own, other)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(found.sum(), values.sum(), atol=1e-12)


def test_a_score_that_would_be_lost_is_refused():
    model = located(["a", "film"], "a film")
    whole = located(["[CLS]", "a", "film"], "a film")
    assert given_to(np.array([0.0, 1.0, 2.0]), whole, model).tolist() == [1.0, 2.0]
    with pytest.raises(BadInput, match=r"'\[CLS\]' has the score 3"):
        given_to(np.array([3.0, 1.0, 2.0]), whole, model)


def test_tokens_of_another_text_or_of_unknown_places_are_refused():
    for other in (Tokens(("a", "film")), located(["a", "film"], "a film ")):
        with pytest.raises(BadInput, match=r"Give contextmix\.scores the text"):
            given_to(np.ones(2), other, located(["a", "film"], "a film"))

"""Sections: slices of their text, in order, without overlap, that leave nothing but white space out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tokens.texts import texts

from contextmix.errors import BadInput, BadOption
from contextmix.tokens.sections import KINDS, Section, checked_spans, cut_text, moved, plain_cut


def cut(text, by, pieces=()):
    return [one.text for one in cut_text(text, by, pieces)]


@settings(max_examples=500)
@given(texts, st.sampled_from([*KINDS, 3]), st.data())
def test_every_section_is_its_slice_and_only_white_space_is_left_out(text, by, data):
    ends = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=9)))
    pieces = [None, *zip([0, *ends], [*ends, len(text)], strict=True)]
    found = cut_text(text, by, pieces, document=2)
    last = 0
    for one in found:
        assert one.text == text[one.start : one.stop]
        assert one.text == one.text.strip() != ""
        assert one.start >= last
        assert not text[last : one.start].strip()
        assert one.document == 2
        last = one.stop
    assert not text[last:].strip()


def test_words_lines_paragraphs_and_the_whole():
    text = "  A red\u00a0fox.\n\n\tdef f(x):\r\n    return x\r\n \r\n日本 is\u2028far  "
    assert cut(text, "word") == ["A", "red", "fox.", "def", "f(x):", "return", "x", "日", "本", "is", "far"]
    assert cut(text, "line") == ["A red\u00a0fox.", "def f(x):", "return x", "日本 is", "far"]
    assert cut(text, "paragraph") == ["A red\u00a0fox.", "def f(x):\r\n    return x", "日本 is\u2028far"]
    assert cut(text, "document") == cut(text, "whole") == [text.strip()]
    assert cut_text(" \n\u3000 ", "sentence") == ()


def test_tokens_and_chunks_of_them():
    text = "a 😀b  cd"
    pieces = [None, (0, 1), (1, 3), (2, 3), (2, 3), (3, 4), (4, 7), (7, 8)]
    assert cut(text, "token", pieces) == ["a", "😀", "b", "c", "d"]
    assert cut(text, 2, pieces) == ["a 😀", "b  c", "d"]  # the bytes of the emoji are not torn apart
    assert cut(text, np.int64(100), pieces) == [text]


def test_what_no_token_holds_stays_with_the_one_before_it():
    assert cut("a\u200bb c", "token", [(0, 1), (2, 3), (3, 5)]) == ["a\u200b", "b", "c"]
    assert cut("\u200ba b", "token", [(1, 2), (2, 4)]) == ["\u200ba", "b"]
    assert cut("a b", "token") == ["a b"]  # nothing is known of its tokens


def test_spans_that_people_name_stay_as_they_are_and_come_in_order():
    assert cut_text("one two", [(4, 7), (0, 4)]) == (Section("one ", 0, 4), Section("two", 4, 7))
    assert cut("one two", np.array([[0, 3]])) == ["one"]
    assert moved([(4, 6), None], 3) == [(7, 9), None]


@pytest.mark.parametrize(
    ("spans", "why"),
    [
        ([(0, 4), (3, 6)], r"spans \(0, 4\) and \(3, 6\) overlap"),
        ([(5, 8)], r"\(5, 8\) is empty or does not lie within the text of 7 characters"),
        ([(-1, 2)], "does not lie within"),
        ([(3, 3)], "is empty"),
        ([(5, 2)], "is empty"),
        ([(3, 4)], "nothing but white space"),
        ([(1, 2, 3)], "pair of whole numbers"),
        (["ab"], "pair of whole numbers"),
        ([(0.5, 2)], "pair of whole numbers"),
        ([7], "pair of whole numbers"),
    ],
)
def test_spans_that_cannot_be_are_refused(spans, why):
    with pytest.raises(BadInput, match=why):
        cut_text("one two", spans)


@pytest.mark.parametrize("by", ["sentences", "", 0, -1, 2.5, None, True, {}])
def test_other_ways_to_cut_are_refused(by):
    with pytest.raises(BadOption, match="A text is not cut by"):
        plain_cut(by)


def test_spans_without_a_text_may_hold_anything():
    assert checked_spans([[2, 3], (0, 1)], 3) == [(0, 1), (2, 3)]

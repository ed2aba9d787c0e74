"""Tokens and the sections that they belong to: everything once, and white space with what stands before it."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tokens.texts import texts

from contextmix.tokens.belonging import owners
from contextmix.tokens.sections import KINDS, cut_text


def test_a_token_belongs_where_most_of_its_visible_characters_are():
    text = "Ab. Cde f"
    sections = [(0, 3), (4, 7), (8, 9)]
    pieces = [None, (0, 2), (2, 5), (3, 7), (1, 6), (6, 9), (0, 9)]
    assert owners(pieces, sections, text) == [None, 0, 0, 1, 0, 1, 0]


def test_white_space_goes_with_the_section_before_it_in_the_same_text():
    text = "\na \n\nb c"
    within = [(0, 3), (5, 8)]
    pieces = [(place, place + 1) for place in range(len(text))]
    assert owners(pieces, [(1, 2), (5, 6), (7, 8)], text, within) == [0, 0, 0, None, None, 1, 1, 2]
    assert owners(pieces, [(1, 2), (5, 6), (7, 8)], text)[0] is None


def test_bytes_of_one_character_stand_where_it_stands():
    assert owners([(0, 1), (2, 3), (2, 3), (2, 3)], [(0, 1), (2, 3)], "a 😀") == [0, 1, 1, 1]


def test_a_token_that_is_mostly_of_something_else_is_of_no_section():
    assert owners([(0, 6)], [(0, 1)], "a<end>") == [None]
    assert owners([(0, 2)], [(0, 1)], "a>") == [0]


@settings(max_examples=200)
@given(texts, st.sampled_from(KINDS), st.data())
def test_every_visible_token_of_a_whole_text_has_an_owner_that_it_overlaps(text, by, data):
    sections = [one.span for one in cut_text(text, by)]
    ends = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=9)))
    pieces = list(zip([0, *ends], [*ends, len(text)], strict=True))
    for (start, stop), owner in zip(pieces, owners(pieces, sections, text, [(0, len(text))]), strict=True):
        if text[start:stop].strip():
            assert owner is not None
            assert sections[owner][0] < stop
            assert sections[owner][1] > start
        else:
            assert (owner is None) == (not sections or start >= len(text))

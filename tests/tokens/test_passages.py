"""Passages: several texts, cut without crossing from one into the next, and what of them a prompt holds."""

import pytest

from contextmix.errors import BadFile, BadInput
from contextmix.tokens.passages import Passage, cut_passages

PROMPT = "<u>One. Two.\n\n Three. Four.</u>"
BOTH = (Passage("One. Two.", 3, name="a.txt"), Passage("  Three. Four.", 13))


def test_sentences_know_their_document_and_their_place():
    kept, lost = cut_passages(BOTH, "sentence")
    assert [(one.text, one.document) for one in kept] == [("One.", 0), ("Two.", 0), ("Three.", 1), ("Four.", 1)]
    assert [PROMPT[slice(*BOTH[one.document].place(one.span))] for one in kept] == [one.text for one in kept]
    assert lost == ()


def test_what_the_prompt_does_not_hold_was_left_out():
    part = (Passage("One. Two.", 3, kept=5), Passage("Three.", None))
    kept, lost = cut_passages(part, "sentence")
    assert [one.text for one in kept] == ["One."]
    assert [(one.text, one.document) for one in lost] == [("Two.", 0), ("Three.", 1)]


def test_a_prompt_without_a_whole_section_is_refused():
    for cut in (Passage("One two.", 3, kept=5), Passage("One.", None)):
        with pytest.raises(BadInput, match="holds none of the 1 sources"):
            cut_passages([cut], "sentence")
    with pytest.raises(BadInput, match="hold no section"):
        cut_passages([], [(0, 3)])


def test_a_passage_says_what_it_is_made_of():
    with pytest.raises(TypeError, match="Passage: offset must be int or None"):
        Passage("One.", "3")
    with pytest.raises(BadInput, match="9 characters of a text of 4"):
        Passage("One.", 0, kept=9)


def test_tokens_of_the_prompt_are_cut_at_the_edges_of_a_passage():
    spans = [None, (0, 4), (4, 8), (8, 12), (12, 16), (16, 20)]
    assert [one.text for one in cut_passages(BOTH[:1], "token", spans)[0]] == ["O", "ne.", "Two."]
    assert [one.text for one in cut_passages(BOTH[:1], 2, spans)[0]] == ["One.", "Two."]


def test_spans_say_which_text_they_are_of():
    kept, _ = cut_passages(BOTH, [(1, 2, 8), (0, 0, 4)])
    assert [one.text for one in kept] == ["One.", "Three."]
    assert [one.text for one in cut_passages(BOTH[:1], [(5, 9)])[0]] == ["Two."]
    with pytest.raises(BadInput, match=r"There are 2 texts, and the source \[0, 4\] does not say which"):
        cut_passages(BOTH, [(0, 4)])
    with pytest.raises(BadInput, match="does not say which"):
        cut_passages(BOTH, [(2, 0, 4)])
    with pytest.raises(BadInput, match="hold no section"):
        cut_passages(BOTH, [])


def test_fields_come_back_and_others_are_refused():
    assert [Passage.from_dict(one.to_dict()) for one in BOTH] == list(BOTH)
    for broken in ({}, {**BOTH[0].to_dict(), "offset": "3"}, None):
        with pytest.raises(BadFile, match="A passage needs a field"):
            Passage.from_dict(broken)

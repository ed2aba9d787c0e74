"""Sections as people ask for them."""

import pytest

from contextmix.tokens.ordinals import ordinal


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("the second sentence", (1, "sentence")),
        ("First word", (0, "word")),
        (" the 21st token ", (20, "token")),
        ("the last paragraph", (-1, "paragraph")),
        ("tenth line", (9, "line")),
    ],
)
def test_phrases(asked, found):
    assert ordinal(asked) == found


@pytest.mark.parametrize(
    "asked", ["second", "the second", "sentence", "the 0th word", "a second sentence", "", "2 word"]
)
def test_other_texts_are_no_phrase(asked):
    assert ordinal(asked) is None

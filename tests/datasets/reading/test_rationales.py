"""What people marked: read from every shape that data sets give it, and found again in the tokens."""

import json

import numpy as np
import pandas as pd
import pytest

from contextmix.datasets.reading.rationales import marked_tokens, spans_of
from contextmix.datasets.reading.source import open_source
from contextmix.errors import BadOption
from contextmix.tokens.pieces import Tokens

TEXT = "not a  good film ."


def longhand(marks: list[list[int]], text: str) -> list[tuple[int, int]]:
    """Word by word, character by character: at least half of the annotators."""
    found, position = [], 0
    for number, word in enumerate(text.split()):
        start = text.index(word, position)
        position = start + len(word)
        votes = sum(one[number] for one in marks)
        if votes >= len(marks) / 2:
            found.append((start, position))
    return found


@pytest.mark.parametrize("annotators", [1, 2, 3, 4])
def test_at_least_half_of_the_annotators_decide_for_each_word(annotators: int):
    draws = np.random.default_rng(annotators)
    for _ in range(30):
        marks = draws.integers(0, 2, size=(annotators, 5)).tolist()
        assert list(spans_of(marks, TEXT)) == longhand(marks, TEXT)
        assert spans_of(marks[0], TEXT) == tuple(longhand(marks[:1], TEXT))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None),
        ([], None),
        ("", None),
        ([0, 0, 0, 0, 0], ()),
        ([[7, 11]], ((7, 11),)),
        ([[0, 3], [2, 6]], ((0, 6),)),
        ([[[7, 11]], [[7, 16]], []], ((7, 11),)),
        ("[0, 0, 0, 1, 0]", ((12, 16),)),
        ([False, False, False, True, False], ((12, 16),)),
    ],
)
def test_marks_pairs_and_json(value, wanted):
    assert spans_of(value, TEXT) == wanted


def test_two_annotators_of_two_words_are_no_pair_of_characters():
    assert spans_of([[0, 1], [0, 1]], "good film") == ((5, 9),)
    assert spans_of([[0, 4]], "good film") == ((0, 4),)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([0, 1], "has 2 marks, but the text has 5 words"),
        ([0, 1, 2, 0, 0], "other things than 0 and 1"),
        ([[3, 99]], "no stretches of the text's 18 characters"),
        ([[5, 5]], "no stretches"),
        ("yes", "a text that is not JSON"),
        (3, "not a list"),
        ([[0, 1, 0, 0, 0], "x"], "other things"),
    ],
)
def test_what_is_no_rationale_of_the_text_is_said(value, said: str):
    with pytest.raises(ValueError, match=said):
        spans_of(value, TEXT)
    source = open_source([{"text": TEXT, "why": value}], rationale_field="why")
    (row,) = source.rows()
    assert row.problem.kind == "wrong_rationale"
    assert said.split()[0] in row.problem.reason


def test_a_token_is_marked_if_it_shares_a_character():
    tokens = Tokens(("[CLS]", "mean", "##ing", "##ful", "film"), spans=(None, (0, 4), (4, 7), (7, 10), (11, 15)))
    assert marked_tokens(((0, 10),), tokens).tolist() == [False, True, True, True, False]
    assert marked_tokens(((6, 12),), tokens).tolist() == [False, False, True, True, True]
    assert marked_tokens(((10, 11),), tokens).tolist() == [False] * 5  # the blank between two words
    assert marked_tokens(((0, 1),), Tokens(("a",))) is None


def test_words_are_joined_and_their_marks_fit(tmp_path):
    path = tmp_path / "posts.jsonl"
    posts = [{"words": ["so", "very", "bad"], "why": [[0, 0, 1], [0, 1, 1]]}, {"words": ["fine"], "why": []}]
    path.write_text("\n".join(map(json.dumps, posts)))
    first, second = open_source(path, text_field="words", rationale_field="why").rows()
    assert (first.text, first.rationale) == ("so very bad", ((3, 7), (8, 11)))
    assert (second.text, second.rationale, second.problem) == ("fine", None, None)


def test_other_marks_are_other_data():
    frames = [pd.DataFrame({"text": [TEXT], "why": [np.array(marks)]}) for marks in ([0, 0, 0, 0, 1], [0, 0, 0, 1, 0])]
    one, other = (open_source(frame, rationale_field="why") for frame in frames)
    assert [next(source.rows()).rationale for source in (one, other)] == [((17, 18),), ((12, 16),)]
    assert one.fingerprint != other.fingerprint


def test_pairs_have_no_rationale():
    with pytest.raises(BadOption, match="two"):
        open_source([{"text": "a", "second": "b", "why": [1]}], pair_field="second", rationale_field="why")

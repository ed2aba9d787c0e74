"""Where the tokens of an answer stand in it, given or written by the model."""

import pytest
from hypothesis import given, settings
from tests.tokens.texts import visible_texts
from tests.tracing.inputs.chatting import chatty

import contextmix as cm
from contextmix.errors import BadInput
from contextmix.tokens.pieces import Tokens
from contextmix.tracing.inputs.replies import spoken, with_reply
from contextmix.tracing.inputs.texts import encode

BYTES = chatty()
plain_texts = visible_texts.filter(lambda text: not any(mark in text for mark in (*BYTES.all_special_tokens, "▁")))


@pytest.fixture(scope="module")
def pieces():
    """A SentencePiece tokenizer, whose unknown characters are bytes."""
    return cm.load("demo-decoder").tokenizer


@settings(max_examples=150)
@given(text=plain_texts)
@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_what_is_decoded_token_by_token_stands_where_the_tokenizer_says(pieces, kind, text):
    tokenizer = BYTES if kind == "bytes" else pieces
    both = tokenizer("Well: " + text, return_offsets_mapping=True)
    start = next(place for place, (first, _) in enumerate(both["offset_mapping"]) if first >= 5)
    ids, offsets = both["input_ids"], both["offset_mapping"][start:]
    said, places = spoken(tokenizer, ids[:start], ids[start:])
    assert said == " " + text
    for (first, last), place in zip(offsets, places, strict=True):
        assert place is not None
        assert said[first - 5 : last - 5].strip() == said[slice(*place)].strip()


def test_special_tokens_stand_nowhere_and_count_for_nothing(pieces):
    ids = [*pieces(" a fox", add_special_tokens=False)["input_ids"], 2]
    said, places = spoken(pieces, [1], ids)
    assert (said[-3:], places[-1]) == ("fox", None)
    assert spoken(pieces, [1], [2]) == ("", (None,))


def test_half_a_character_stands_where_it_would(pieces):
    ids = pieces("a😀", add_special_tokens=False)["input_ids"]
    said, places = spoken(pieces, [1], ids[:-1])
    assert said.endswith("\ufffd")
    assert [said[slice(*place)] for place in places[-3:]] == ["\ufffd"] * 3


def test_a_given_answer_stands_where_the_tokenizer_says():
    prompt = encode(BYTES, "a deep film", None).tokens
    both = encode(BYTES, "a deep film is 😀", None).tokens
    found = with_reply(BYTES, prompt, Tokens(both.pieces, both.ids), " is 😀", None)
    assert (found.text, found.spans) == ("a deep film is 😀", both.spans)


def test_a_tokenizer_that_tells_no_places_is_refused():
    with pytest.raises(BadInput, match="does not tell where tokens stand in a text"):
        with_reply(BYTES, Tokens(("a",), ids=(5,)), Tokens(("a", "b"), ids=(5, 6)), None, None)

"""Tokens: labels that fit, look-ups that never guess, words that keep their pieces."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contextmix.errors import AmbiguousToken, BadFile, BadInput, UnknownToken, WrongShape
from contextmix.tokens.pieces import Tokens, printable

TEXT = "The unwatchable film, the"
PIECES = ("[CLS]", "the", "un", "##watch", "##able", "film", ",", "the", "[SEP]")
SPANS = (None, (0, 3), (4, 6), (6, 11), (11, 15), (16, 20), (20, 21), (22, 25), None)
WORDS = (None, 0, 1, 1, 1, 2, 3, 4, None)
SPECIAL = (True, *[False] * 7, True)
SENTENCE = Tokens(PIECES, special=SPECIAL, words=WORDS, spans=SPANS, text=TEXT)


def test_length_and_defaults():
    tokens = Tokens(["a", "b"])
    assert len(tokens) == 2
    assert tokens.special == (False, False)
    assert tokens == Tokens(("a", "b"), special=[False, False])
    assert isinstance(hash(tokens), int)


@pytest.mark.parametrize("name", ["ids", "special", "words", "spans"])
def test_labels_of_another_length_are_refused(name):
    with pytest.raises(WrongShape, match=rf"2 tokens came with 3 {name}"):
        Tokens(("a", "b"), **{name: ((0, 0),) * 3 if name == "spans" else (1, 1, 1)})


@pytest.mark.parametrize("span", [(0, 5), (2, 1), (-1, 2)])
def test_spans_outside_the_text_are_refused(span):
    with pytest.raises(WrongShape, match="does not lie within the text of 4 characters"):
        Tokens(("a",), spans=(span,), text="abcd")


def test_spans_without_a_text_are_fine():
    assert Tokens(("a",), spans=((7, 9),)).spans == ((7, 9),)


@pytest.mark.parametrize(
    ("asked", "position"),
    [(0, 0), (8, 8), (-1, 8), (-9, 0), ("film", 5), ("Film", 5), ("##watch", 3), ("##ABLE", 4), ("[cls]", 0), (",", 6)],
)
def test_position(asked, position):
    assert SENTENCE.position(asked) == position


def test_an_exact_match_comes_before_a_loose_one():
    tokens = Tokens(("Film", " film", "film "))
    assert tokens.position("Film") == 0
    assert tokens.position("film ") == 2
    with pytest.raises(AmbiguousToken, match="positions 1, 2"):
        tokens.position("film")


@pytest.mark.parametrize("asked", [9, -10])
def test_a_position_outside_is_refused(asked):
    with pytest.raises(UnknownToken, match=f"no token at position {asked}: .* go from 0 to 8"):
        SENTENCE.position(asked)


def test_an_unknown_token_is_answered_with_near_ones():
    with pytest.raises(UnknownToken, match=r"no token 'films'\. Did you mean 'film'.* 5:film"):
        SENTENCE.position("films")


def test_a_token_that_occurs_twice_is_not_guessed():
    with pytest.raises(AmbiguousToken, match=r"'the' occurs 2 times, at positions 1, 7.*for example 1"):
        SENTENCE.position("the")


def test_a_number_that_is_no_position_is_refused():
    with pytest.raises(TypeError):
        SENTENCE.position(1.0)


def test_words_are_slices_of_the_text():
    words, groups = SENTENCE.merged()
    assert words.pieces == ("[CLS]", "The", "unwatchable", "film", ",", "the", "[SEP]")  # "The", as it was written
    assert groups == ((0,), (1,), (2, 3, 4), (5,), (6,), (7,), (8,))
    assert words.special == (True, False, False, False, False, False, True)
    assert words.spans == (None, (0, 3), (4, 15), (16, 20), (20, 21), (22, 25), None)
    assert words.text == TEXT
    assert words.ids is None


def test_words_without_spans_are_joined_pieces():
    words, _ = Tokens(PIECES, special=SPECIAL, words=WORDS).merged()
    assert words.pieces == ("[CLS]", "the", "unwatchable", "film", ",", "the", "[SEP]")
    assert words.spans is None


def test_a_piece_outside_the_text_falls_back_to_its_label():
    tokens = Tokens(("a", "##b", "\n"), words=(0, 0, 1), spans=(None, (0, 1), (1, 2)), text="b\n")
    assert tokens.merged()[0].pieces == ("ab", "\n")


def test_special_tokens_stay_alone_even_with_a_word_number():
    tokens = Tokens(("<s>", "a", "</s>"), special=(True, False, True), words=(0, 0, 0))
    assert tokens.merged()[1] == ((0,), (1,), (2,))


def test_pieces_of_no_word_stay_alone():
    assert Tokens(("a", "b", "c"), words=(None, None, 0)).merged()[1] == ((0,), (1,), (2,))


def test_merging_twice_changes_nothing():
    once, _ = SENTENCE.merged()
    twice, groups = once.merged()
    assert twice == once
    assert all(len(group) == 1 for group in groups)


def test_unknown_words_are_not_guessed():
    with pytest.raises(BadInput, match=r"2 tokens do not say which word.*Use the tokens as they are"):
        Tokens(("a", "##b")).merged()


@st.composite
def any_tokens(draw):
    # Not st.text(): it leaves lone surrogates out, also where its alphabet names them.
    letters = st.lists(st.characters() | st.sampled_from(["\ud800", "\0", "\n", "#"]), max_size=9).map("".join)
    text = draw(st.none() | letters)
    count = draw(st.integers(0, 6))
    edges = st.integers(0, len(text or "")).flatmap(lambda a: st.tuples(st.just(a), st.integers(a, len(text or ""))))

    def each(entry):
        return st.none() | st.lists(entry, min_size=count, max_size=count)

    pieces = draw(st.lists(letters, min_size=count, max_size=count))
    special = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    words, spans = draw(each(st.none() | st.integers(0, 3))), draw(each(st.none() | edges))
    return Tokens(tuple(pieces), draw(each(st.integers(0))), tuple(special), words, spans, text)


@given(any_tokens())
def test_json_round_trip(tokens):
    assert Tokens.from_dict(json.loads(json.dumps(tokens.to_dict()))) == tokens


@given(any_tokens())
def test_groups_cover_every_piece_once_in_order(tokens):
    if tokens.words is None:
        return
    words, groups = tokens.merged()
    assert [position for group in groups for position in group] == list(range(len(tokens)))
    assert len(words) == len(groups)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pieces", "ab"),
        ("pieces", [1, 2]),
        ("ids", [1.5, 2]),
        ("ids", [True, False]),
        ("special", [0, 1]),
        ("words", ["0", "1"]),
        ("spans", [[0], [1]]),
        ("spans", [[0, 1, 2], None]),
        ("text", 3),
    ],
)
def test_malformed_fields_are_named(name, value):
    with pytest.raises(BadFile, match=f"field '{name}' of the right type"):
        Tokens.from_dict({**Tokens(("a", "b")).to_dict(), name: value})


def test_missing_fields_are_named():
    fields = Tokens(("a",)).to_dict()
    del fields["words"]
    with pytest.raises(BadFile, match=r"'words'.*it holds nothing"):
        Tokens.from_dict(fields)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "∅"),
        (" ", "␣"),
        ("  ", "␣␣"),
        ("\u3000\n", "␣⏎"),
        ("a\u3000b", "a\u3000b"),
        ("\u200d", "⟨U+200D⟩"),
        ("a b", "a b"),
        ("\n", "⏎"),
        ("\t\r\x7f\x00", "⇥␍␡␀"),
        ("\x1b[31m", "␛[31m"),
        ("\u202eevil", "⟨U+202E⟩evil"),
        ("\ud800", "⟨U+D800⟩"),
        ("\x85\u2028", "⟨U+0085⟩⟨U+2028⟩"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("[bold]é漢", "[bold]é漢"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


@given(st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zs", "Zl", "Zp", "Lo", "Lu"])))
def test_nothing_printed_moves_the_cursor_or_breaks_a_line(text):
    shown = printable(text)
    shown.encode("utf-8")
    assert shown.splitlines() == [shown]
    assert shown.strip()
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)

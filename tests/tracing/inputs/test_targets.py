"""Names of scores: classes, and tokens of vocabularies that write spaces in different ways."""

import pytest
import torch
from tests.tracing.tiny import build, byte_pairs, pieces_across_spaces, word_pieces

from contextmix.errors import AmbiguousTarget, NotInVocabulary, UnsupportedModel
from contextmix.tracing.inputs.targets import (
    Classes,
    Vocabulary,
    choose,
    class_scores,
    speaks,
    token_scores,
    token_text,
)


def ids(tokenizer, *pieces: str) -> list[int]:
    return [tokenizer.convert_tokens_to_ids(piece) for piece in pieces]


@pytest.mark.parametrize(
    ("tokenizer", "asked", "piece"),
    [
        (byte_pairs(), " film", "Ġfilm"),
        (byte_pairs(), "Ġfilm", "Ġfilm"),
        (byte_pairs(), "a", "a"),
        (pieces_across_spaces(), "d", None),
        (pieces_across_spaces(), "▁d", "▁d"),
        (pieces_across_spaces(), " d", "▁d"),
        (pieces_across_spaces(), "ee", "ee"),
        (word_pieces(), "film", "film"),
        (word_pieces(), " film", "film"),
        (word_pieces(), "Film", "film"),
        (word_pieces(), "##ing", "##ing"),
        (word_pieces(), "[SEP]", "[SEP]"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_token_is_found_by_its_text(tokenizer, asked: str, piece: str | None):
    names = Vocabulary(tokenizer, len(tokenizer))
    if piece is None:
        with pytest.raises(AmbiguousTarget, match=r"2 tokens for 'd'.* for 'd' or .* for ' d'|for ' d' or .* for 'd'"):
            names.number(asked)
    else:
        assert [names.number(asked)] == ids(tokenizer, piece)


def test_what_is_more_than_one_token_names_its_pieces():
    tokenizer = byte_pairs()
    with pytest.raises(NotInVocabulary, match=r"'film!' is not one token.*'!' \(\d+\).*target=\d+"):
        Vocabulary(tokenizer, len(tokenizer)).number("film!")
    with pytest.raises(NotInVocabulary, match=r"'zebra' is not one token.*has no token for it"):
        Vocabulary(word_pieces(), 40).number("zebra")


def test_ids_beyond_the_tokenizer_are_numbers_and_beyond_the_scores_are_refused():
    names = Vocabulary(word_pieces(), 40)
    assert names.name(30) == "30"
    assert names.number(39) == 39
    assert names.number("39") == 39
    for asked in (40, -1):
        with pytest.raises(NotInVocabulary, match=f"no token with the id {asked}"):
            names.number(asked)


def test_a_token_is_spelled_as_it_reads():
    bytes_, llama, bert = byte_pairs(), pieces_across_spaces(), word_pieces()
    assert [token_text(bytes_, number) for number in ids(bytes_, "Ġfilm", "a")] == [" film", "a"]
    assert [token_text(llama, number) for number in ids(llama, "▁d", "ee", "<s>")] == [" d", "ee", "<s>"]
    assert [token_text(bert, number) for number in ids(bert, "film", "##ing", "[CLS]")] == ["film", "##ing", "[CLS]"]
    assert token_text(None, 7) == "7"
    lone = bytes_.convert_tokens_to_ids("Ã")  # half of a letter has no text
    assert token_text(bytes_, lone) == "<0xC3>"


def test_the_chosen_score_is_read_from_all():
    scores, names = torch.tensor([1.0, 5.0, 2.0]), Classes(("bad", "good", "ugly"))
    assert choose(None, scores, names).number == 1
    assert choose("bad", scores, names).of(scores) == 1
    contrast = choose(("good", 2), scores, names)
    assert contrast.title == "'good' minus 'ugly'"
    assert contrast.of(scores) == 3
    assert torch.equal(contrast.of(torch.stack([scores, 2 * scores])), torch.tensor([3.0, 6.0]))


def test_scores_that_are_of_something_else_are_refused():
    electra, bert = build("electra", "ForPreTraining"), build("bert")
    outputs = electra(torch.tensor([[5, 6]]))  # two tokens, and by chance two classes
    assert outputs.logits.shape == (1, 2)
    with pytest.raises(UnsupportedModel, match="gives no score per class"):
        class_scores(electra, electra(torch.tensor([[5, 6, 7]])))
    for model in (electra, bert):
        with pytest.raises(UnsupportedModel, match="no scores at each token"):
            token_scores(model, model(torch.tensor([[5, 6, 7]])), 0)


@pytest.mark.parametrize(
    ("family", "head", "wanted"),
    [
        ("llama", "ForCausalLM", True),
        ("bert", "ForMaskedLM", True),
        ("bert", "ForSequenceClassification", False),
        ("bert", "ForTokenClassification", False),
        ("gpt2", "Model", False),
    ],
)
def test_who_speaks(family: str, head: str, wanted: bool):
    assert speaks(build(family, head)) == wanted

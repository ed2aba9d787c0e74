"""From texts and model inputs to single, labelled, unpadded sequences; what cannot be one is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.tracing.tiny import ENCODERS, ROUNDOFF, build, byte_pairs, pieces_across_spaces, token_ids, word_pieces
from torch import Tensor

import contextmix as cm
from contextmix.errors import BadInput, TooLong
from contextmix.tracing.inputs.encode import batches, length_limit
from contextmix.tracing.inputs.texts import encode

FILM = "a deep and meaningful film ."


@pytest.fixture(scope="module")
def pieces() -> Any:
    return word_pieces()


@pytest.fixture(scope="module")
def reader(pieces: Any) -> cm.TracedModel:
    """A tiny BERT with a tokenizer."""
    return cm.load(build("bert"), pieces)


def relative(found: np.ndarray, true: np.ndarray) -> float:
    return float(abs(found - true).max() / abs(true).max())


# Texts ---------------------------------------------------------------------------------------------------------------


def test_a_text_is_labelled_piece_by_piece(reader: cm.TracedModel):
    (inputs,) = reader.encode(FILM)
    tokens = inputs.tokens
    assert tokens.pieces == ("[CLS]", "a", "deep", "and", "mean", "##ing", "##ful", "film", ".", "[SEP]")
    assert tokens.ids == tuple(inputs.tensors["input_ids"].tolist())
    assert tokens.special == (True, *[False] * 8, True)
    assert tokens.words == (None, 0, 1, 2, 3, 3, 3, 4, 5, None)
    assert tokens.spans[4:7] == ((11, 15), (15, 18), (18, 21))
    assert (tokens.spans[0], tokens.text, inputs.length) == (None, FILM, 10)
    assert tokens.merged()[0].pieces == ("[CLS]", "a", "deep", "and", "meaningful", "film", ".", "[SEP]")


def test_a_piece_is_shown_as_the_text_writes_it_where_the_tokenizer_spells_it_otherwise(pieces: Any):
    tokens = encode(pieces, "FILM fílm quux", None).tokens
    assert tokens.pieces == ("[CLS]", "film", "fílm", "quux", "[SEP]")
    assert tokens.ids[3] == pieces.unk_token_id


def test_byte_level_pieces_are_shown_without_the_code_for_a_space():
    tokenizer = byte_pairs()
    raw = tokenizer.convert_ids_to_tokens(tokenizer("a deep film")["input_ids"])
    tokens = encode(tokenizer, "a deep film", None).tokens
    assert raw == ["a", "Ġdeep", "Ġfilm"]
    assert tokens.pieces == ("a", "deep", "film")
    assert tokens.position("film") == 2


def test_byte_level_pieces_of_a_pair_are_shown_like_those_of_a_text():
    assert encode(byte_pairs(), ("a deep film", "the film"), None).tokens.pieces[1:] == ("deep", "film", "the", "film")


def test_a_space_begins_a_word_also_where_the_tokenizer_calls_the_text_one_word():
    tokenizer = pieces_across_spaces()
    assert set(tokenizer("a deep film").word_ids()) == {None, 0}
    tokens = encode(tokenizer, "a deep film", None).tokens
    assert tokens.merged()[0].pieces == ("<s>", "a", "deep", "film")
    pair = encode(tokenizer, ("a film", "deep film"), None).tokens
    assert pair.words == (None, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3)


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_an_empty_text_is_refused(reader: cm.TracedModel, text: str):
    for source in (text, [("a film", text)], ["a film", text]):
        with pytest.raises(BadInput, match="The text is empty"):
            reader.explain(source)


def test_a_text_of_which_the_tokenizer_leaves_nothing_is_refused(reader: cm.TracedModel):
    with pytest.raises(BadInput, match="leaves nothing of the text"):
        reader.explain("\u200b\u200b")


@pytest.mark.parametrize("source", [5, None, b"film", 0.5, object(), iter(["film"]), ["film", 5]])
def test_what_is_no_text_is_refused(reader: cm.TracedModel, source: Any):
    with pytest.raises(BadInput, match=r"Give a text|A text is a string"):
        reader.explain(source)


def test_an_empty_list_is_refused(reader: cm.TracedModel):
    with pytest.raises(BadInput, match="The list of texts is empty"):
        reader.explain([])


def test_a_text_without_a_tokenizer_is_refused(bert: cm.TracedModel):
    with pytest.raises(BadInput, match="loaded without a tokenizer"):
        bert.explain(FILM)


# Length --------------------------------------------------------------------------------------------------------------


def test_a_text_that_is_too_long_is_refused_with_both_lengths(reader: cm.TracedModel):
    with pytest.raises(TooLong, match=r"has 32 tokens and the model reads at most 24\."):
        reader.explain("film " * 30)


def test_a_text_of_exactly_the_longest_length_is_read(reader: cm.TracedModel):
    assert reader.explain("film " * 22).shape == (24, 24)


def test_truncate_keeps_the_first_tokens_and_the_marks(reader: cm.TracedModel):
    result = reader.explain("deep " * 10 + "film " * 20, truncate=True)
    assert result.tokens.pieces == ("[CLS]", *["deep"] * 10, *["film"] * 12, "[SEP]")
    shorter = reader.explain("deep " * 10 + "film " * 12)
    assert np.array_equal(result.values, shorter.values)


def test_a_pair_is_truncated_as_a_whole(reader: cm.TracedModel):
    result = reader.explain({"text": "deep " * 20, "text_pair": "film " * 20}, truncate=True)
    assert len(result.tokens) == 24
    assert {"deep", "film"} <= set(result.tokens.pieces)


def test_positions_that_roberta_keeps_for_padding_are_not_offered():
    model = build("roberta")
    assert model.config.max_position_embeddings == 24
    assert length_limit(model, None) == 22
    traced = cm.load(model)
    assert traced.explain({"input_ids": token_ids(22)[0]}).shape == (22, 22)
    with pytest.raises(TooLong, match="has 23 tokens and the model reads at most 22"):
        traced.explain({"input_ids": token_ids(23)[0]})


@pytest.mark.parametrize("family", [family for family in ENCODERS if family != "roberta"])
def test_other_encoders_offer_all_their_positions(family: str):
    assert length_limit(build(family), None) == 24


def test_the_smaller_limit_of_tokenizer_and_model_counts():
    assert length_limit(build("bert"), word_pieces(limit=12)) == 12
    assert length_limit(build("bert"), word_pieces(limit=100)) == 24
    assert length_limit(build("bert"), word_pieces(limit=int(1e30))) == 24


# Pairs ---------------------------------------------------------------------------------------------------------------


def test_the_words_of_a_pair_are_numbered_apart(reader: cm.TracedModel):
    (inputs,) = reader.encode([("meaningful film", "meaningful good")])
    assert inputs.tokens.words == (None, 0, 0, 0, 1, None, 2, 2, 2, 3, None)
    assert inputs.tensors["token_type_ids"].tolist() == [0] * 6 + [1] * 5
    assert inputs.tokens.merged()[0].pieces == (
        *("[CLS]", "meaningful", "film", "[SEP]"),
        *("meaningful", "good", "[SEP]"),
    )


def test_the_words_of_a_pair_stay_apart_without_a_mark_between_them():
    tokens = encode(byte_pairs(), ("film", "film"), None).tokens
    assert len(set(tokens.words)) == 2


def test_a_pair_is_one_sequence_and_a_list_of_two_texts_two(reader: cm.TracedModel):
    assert len(reader.encode({"text": "good film", "text_pair": "bad film"})) == 1
    assert len(reader.encode(["good film", "bad film"])) == 2
    assert isinstance(reader.explain({"text": "good film", "text_pair": "bad film"}), cm.TokenMap)


def test_the_second_text_of_a_pair_reaches_the_model_as_such(reader: cm.TracedModel):
    inputs = reader.encode([("good film", "bad film")])[0].tensors
    without = {"input_ids": inputs["input_ids"]}
    found = reader.explain({"text": "good film", "text_pair": "bad film"}).values
    assert np.array_equal(found, reader.explain(dict(inputs)).values)
    assert relative(reader.explain(without).values, found) > 1e-3


# Model inputs and padding --------------------------------------------------------------------------------------------

LENGTHS = (5, 9, 1, 7)


def padded(side: str, pad: int = 0) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """A padded batch, and its sequences alone."""
    alone = []
    for seed, length in enumerate(LENGTHS):
        kinds = (torch.arange(length) >= 3).long()
        alone.append({"input_ids": token_ids(length, seed=seed)[0], "token_type_ids": kinds})
    batch = {name: torch.full((4, 9), pad if name == "input_ids" else 0) for name in (*alone[0], "attention_mask")}
    for row, (one, length) in enumerate(zip(alone, LENGTHS, strict=True)):
        place = slice(0, length) if side == "right" else slice(9 - length, 9)
        for name, values in one.items():
            batch[name][row, place] = values
        batch["attention_mask"][row, place] = 1
    return batch, alone


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "albert"])
def test_a_padded_sequence_gives_what_it_gives_alone(family: str, side: str, request: pytest.FixtureRequest):
    traced = request.getfixturevalue(family)
    batch, alone = padded(side, traced.model.config.pad_token_id)
    if family == "roberta":  # knows one token type only
        batch.pop("token_type_ids")
        alone = [{"input_ids": one["input_ids"]} for one in alone]
    found = traced.explain(batch)
    assert [result.shape for result in found] == [(length, length) for length in LENGTHS]
    for result, one in zip(found, alone, strict=True):
        assert relative(result.values, traced.explain(one).values) <= ROUNDOFF


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "distilbert"])
def test_a_padded_sequence_without_token_types_gives_what_it_gives_alone(
    family: str, side: str, request: pytest.FixtureRequest
):
    traced = request.getfixturevalue(family)
    batch, alone = padded(side)
    del batch["token_type_ids"]
    if family != "distilbert":
        batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    for result, one in zip(traced.explain(batch), alone, strict=True):
        assert relative(result.values, traced.explain({"input_ids": one["input_ids"]}).values) <= ROUNDOFF


def test_token_types_matter(bert: cm.TracedModel):
    ids = token_ids(7)[0]
    first, second = ({"input_ids": ids, "token_type_ids": torch.full((7,), kind)} for kind in (0, 1))
    assert relative(bert.explain(first).values, bert.explain(second).values) > 1e-3


def test_a_tokenizers_own_padded_batch_is_understood(reader: cm.TracedModel, pieces: Any):
    texts = ["a deep film", "good", FILM]
    batch = pieces(texts, padding=True, return_tensors="pt")
    for result, text in zip(reader.explain(batch), texts, strict=True):
        alone = reader.explain(text)
        assert result.tokens.pieces == alone.tokens.pieces
        assert relative(result.values, alone.values) <= ROUNDOFF


def test_inputs_without_a_tokenizer_are_labelled_by_their_ids(bert: cm.TracedModel):
    result = bert.explain({"input_ids": [7, 30, 12]})
    assert result.tokens.pieces == ("7", "30", "12")
    assert result.row("30").shape == (3,)


def test_token_ids_of_a_byte_level_tokenizer_are_labelled_like_its_texts():
    tokenizer = byte_pairs()
    traced = cm.load(build("gpt2", vocab_size=len(tokenizer)), tokenizer)
    labels = traced.explain({"input_ids": tokenizer("a deep film")["input_ids"]}).tokens.pieces
    assert labels == traced.explain("a deep film").tokens.pieces == ("a", "deep", "film")


def test_pieces_of_a_word_keep_their_sign_where_only_ids_are_given(reader: cm.TracedModel, pieces: Any):
    tokens = reader.explain({"input_ids": pieces("meaningful")["input_ids"]}).tokens
    assert tokens.pieces == ("[CLS]", "mean", "##ing", "##ful", "[SEP]")
    assert tokens.special == (True, False, False, False, True)


def test_one_sequence_gives_one_result_and_a_batch_of_one_a_list(bert: cm.TracedModel):
    ids = token_ids(5)
    assert isinstance(bert.explain({"input_ids": ids[0]}), cm.TokenMap)
    assert len(bert.explain({"input_ids": ids})) == 1


def test_embeddings_may_stand_in_for_ids(bert: cm.TracedModel):
    ids = token_ids(6)
    embedded = bert.model.get_input_embeddings()(ids).detach()
    found = bert.explain({"inputs_embeds": embedded[0]})
    assert relative(found.values, bert.explain({"input_ids": ids[0]}).values) <= ROUNDOFF
    assert found.tokens.pieces == tuple(f"#{place}" for place in range(6))


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({}, "The model inputs are empty"),
        ({"attention_mask": [1, 0, 1, 1], "input_ids": [5, 6, 7, 8]}, "attention_mask of sequence 0 has a gap"),
        ({"attention_mask": [[1, 1], [0, 0]], "input_ids": [[5, 6], [7, 8]]}, "Sequence 1 contains only padding"),
        ({"attention_mask": [1, 1, 1], "input_ids": [5, 6]}, r"attention_mask has shape \(1, 3\), the inputs \(1, 2\)"),
        ({"attention_mask": [1, 1], "input_ids": [[5, 6], [7, 8]]}, "attention_mask has shape"),
        ({"token_type_ids": [[0, 0]], "input_ids": [[5, 6], [7, 8]]}, "token_type_ids holds 1 sequences"),
        ({"input_ids": [5, 40]}, "token ids from 5 to 40; the model knows 0 to 39"),
        ({"input_ids": [5, -1]}, "token ids from -1 to 5"),
        ({"input_ids": [[5, 6], [7]]}, "input_ids is no array of numbers"),
        ({"input_ids": "film"}, "input_ids is no array of numbers"),
        ({"input_ids": []}, "contains only padding"),
    ],
)
def test_inputs_that_are_no_sequences_are_refused(bert: cm.TracedModel, inputs: dict[str, Any], sentence: str):
    with pytest.raises(BadInput, match=sentence):
        bert.explain(inputs)


# Batches -------------------------------------------------------------------------------------------------------------

TEXTS = ["good film", "a deep film .", "bad film", "film", "the very bad film was a good film !", "unreal films"]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_results_of_mixed_lengths_come_in_order(reader: cm.TracedModel, batch_size: int):
    results = reader.explain(TEXTS, batch_size=batch_size)
    assert [result.tokens.text for result in results] == TEXTS
    for result, text in zip(results, TEXTS, strict=True):
        assert relative(result.values, reader.explain(text).values) <= ROUNDOFF


def test_traces_of_mixed_lengths_come_in_order(reader: cm.TracedModel):
    traces = reader.trace(TEXTS)
    assert [trace.tokens.text for trace in traces] == TEXTS
    assert all(layer.attention.shape == (2, len(t.tokens), len(t.tokens)) for t in traces for layer in t.layers)


def test_texts_pairs_and_inputs_may_be_mixed_in_a_list(reader: cm.TracedModel):
    found = reader.explain(["good film", ("good film", "bad"), {"input_ids": [2, 11, 3]}])
    assert [result.tokens.pieces[-2] for result in found] == ["film", "bad", "film"]


def test_a_batch_holds_only_sequences_of_one_length_and_no_more_than_asked(reader: cm.TracedModel):
    inputs = [one for text in TEXTS * 2 for one in reader.encode(text)]
    seen = []
    for positions, tensors in batches(inputs, 3):
        assert tensors["input_ids"].shape == (len(positions), inputs[positions[0]].length)
        assert len(positions) <= 3
        seen += positions
    assert sorted(seen) == list(range(len(inputs)))


def test_a_batch_runs_the_model_once_per_length(reader: cm.TracedModel):
    runs: list[tuple[int, ...]] = []
    handle = reader.model.get_input_embeddings().register_forward_pre_hook(lambda _, args: runs.append(args[0].shape))
    try:
        reader.explain("film")  # which proves, once, that a recorded run is like a plain one
        runs.clear()
        reader.explain(["good film", "bad film", "film", "a film"])
    finally:
        handle.remove()
    assert sorted(tuple(shape) for shape in runs) == [(1, 3), (3, 4)]

"""What a list, a tuple or a chat means, and which special tokens a text gets: one rule for every verb."""

from typing import Any

import pytest
import torch
from tests.tracing.tiny import build, byte_pairs, pieces_across_spaces, word_pieces

import contextmix as cm
from contextmix.errors import BadInput
from contextmix.tracing.inputs.texts import encode, encode_all


@pytest.fixture(scope="module")
def reader() -> cm.TracedModel:
    return cm.load(build("bert"), word_pieces())


def chatty() -> Any:
    tokenizer = pieces_across_spaces()
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %} film{% endif %}"
    )
    return tokenizer


# Lists and tuples ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pairs", [[["good film", "bad"], ["a", "the film"]], (("good film", "bad"), ("a", "the film"))]
)
def test_two_texts_in_a_list_are_a_pair(reader: cm.TracedModel, pairs: Any):
    found = reader.explain(pairs)
    assert [one.tokens.pieces.count("[SEP]") for one in found] == [2, 2]
    true = word_pieces()("good film", "bad")["input_ids"]
    assert found[0].tokens.ids == tuple(true)


@pytest.mark.parametrize("verb", ["explain", "trace", "explore", "compare", "check"])
def test_a_tuple_of_two_texts_has_two_readings(reader: cm.TracedModel, verb: str):
    data = [("a good film", 1), ("a bad film", 0)]
    texts, _ = next(iter(torch.utils.data.DataLoader(data, batch_size=2)))
    more = (["globenc", "attention_rollout"],) if verb == "compare" else ()
    with pytest.raises(
        BadInput, match=r"ambiguous: it could be one pair.*'text_pair': 'a bad film'.*\['a good film', 'a bad film'\]"
    ):
        getattr(reader, verb)(texts, *more)


@pytest.mark.parametrize("source", [[["a", "good", "film"]], [["film"]]])
def test_other_lists_of_texts_in_a_list_are_refused(reader: cm.TracedModel, source: Any):
    with pytest.raises(BadInput, match="may mean more sources or the words of one"):
        reader.explain(source)


def test_three_texts_in_a_tuple_are_three(reader: cm.TracedModel):
    assert len(reader.explain(("film", "good film", "bad film"))) == 3


# Special tokens ------------------------------------------------------------------------------------------------------


def test_a_text_that_holds_its_mark_gets_no_second_one():
    tokenizer = pieces_across_spaces()
    plain = tokenizer("<s>a film", add_special_tokens=False)["input_ids"]
    found = encode(tokenizer, "<s>a film", None)
    assert found.tokens.ids == tuple(plain)
    assert found.tokens.special == (True, *[False] * (len(plain) - 1))
    assert found.notes == {"special_tokens": "those that the text holds; none were added"}
    (together, other) = encode_all(tokenizer, ["<s>a film", "a film"], None)
    assert together.tokens.ids == tuple(plain)
    assert other.notes == {}
    assert encode(tokenizer, "<s>a film", None, add_special_tokens=True).tokens.ids == (0, *plain)
    assert encode(tokenizer, "a film", None, add_special_tokens=False).tokens.ids[0] != 0


@pytest.mark.parametrize("add", [None, True, False])
@pytest.mark.parametrize("texts", [["<s>a film", "a film"], [("a film", "<s>a film")]], ids=["single", "pairs"])
def test_many_texts_get_the_special_tokens_that_each_gets_alone(texts: list, add: bool | None):
    tokenizer = pieces_across_spaces()
    together = encode_all(tokenizer, texts, None, add_special_tokens=add)
    alone = [encode(tokenizer, text, None, add_special_tokens=add) for text in texts]
    assert [one.labels(None, None, 0) for one in together] == [one.tokens for one in alone]


def test_marks_at_both_ends_are_both_the_texts_and_at_one_end_the_reading_is_open(reader: cm.TracedModel):
    result = reader.explain("[CLS] a film [SEP]")
    assert result.tokens.ids == reader.explain("a film").tokens.ids
    assert result.provenance.notes["special_tokens"].startswith("those that the text holds")
    with pytest.raises(BadInput, match=r"begins with \[CLS\].*lacks \[SEP\].*add_special_tokens=True.*False"):
        reader.explain("[CLS] a film")
    assert reader.explain("[CLS] a film", add_special_tokens=True).tokens.ids[:2] == (2, 2)
    assert reader.trace("a film", add_special_tokens=False).tokens.pieces == ("a", "film")


# Chats ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "generation"), [("user", True), ("assistant", False)])
def test_a_chat_is_read_through_the_tokenizers_template(role: str, generation: bool):
    tokenizer = chatty()
    traced = cm.load(build("llama", "ForCausalLM"), tokenizer)
    messages = [{"role": role, "content": "a deep film"}]
    true = tokenizer.apply_chat_template(messages, add_generation_prompt=generation, return_dict=True)["input_ids"]
    assert traced.explain(messages).tokens.ids == tuple(true)
    assert [one.tokens.ids for one in traced.explain([messages, messages])] == [tuple(true)] * 2
    written = traced.explain_generation(messages, max_new_tokens=2)
    assert written.tokens.ids[: len(true)] == tuple(true)


def test_a_chat_without_a_template_is_refused(reader: cm.TracedModel):
    for traced in (reader, cm.load(build("bert"))):
        with pytest.raises(BadInput, match="list of 1 chat messages, but"):
            traced.explain([{"role": "user", "content": "a film"}])


# Tokens that the model does not know ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["globenc", "gradient_inputs", "occlusion"])
def test_a_token_without_an_embedding_is_refused(method: str):
    tokenizer = word_pieces()
    tokenizer.add_tokens([f"<{number}>" for number in range(30)])
    traced = cm.load(build("bert", "ForSequenceClassification", num_labels=2), tokenizer)
    with pytest.raises(BadInput, match=r"writes '<29>' as 52, and the model knows the tokens 0 to 39"):
        traced.explain("a film <29>", method)
    assert isinstance(encode_all(tokenizer, ["a <29>", "a film"], None, known=40)[0], BadInput)


def test_a_replacement_without_an_embedding_is_refused():
    tokenizer = word_pieces()
    tokenizer.add_tokens([f"<{number}>" for number in range(30)])
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    traced = cm.load(build("bert", "ForSequenceClassification", num_labels=2), tokenizer)
    with pytest.raises(BadInput, match=r"token id 53 .* knows 0 to 39"):
        traced.explain("a film", "occlusion", replace="mask")


# Words and labels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a\nfilm", "a film\ndeep a", "a\n\nfilm"])
def test_a_line_break_is_no_part_of_the_next_word(text: str):
    for tokenizer in (byte_pairs(), cm.load("demo-decoder").tokenizer):
        tokens = encode(tokenizer, text, None).tokens
        words = tokens.merged()[0].pieces
        behind = [place + 1 for place, piece in enumerate(tokens.pieces) if piece.endswith("\n")]
        assert behind
        assert all(tokens.words[place] != tokens.words[place - 1] for place in behind)
        assert [word for word in words if word.strip() and word != "<s>"] == text.split()


def test_the_space_of_sentencepiece_is_not_the_letter_behind_it():
    tokens = encode(cm.load("demo-decoder").tokenizer, "我 is", None).tokens
    assert tokens.pieces[1:5] == ("▁", "我", "我", "我")


def test_an_accent_is_part_of_its_word_and_byte_tokens_bear_their_character():
    tokens = encode(byte_pairs(), "cafe\u0301 film", None).tokens
    assert tokens.merged()[0].pieces == ("cafe\u0301", "film")
    stripped = encode(word_pieces(), "fi\u0301lm\u0301 film", None).tokens
    assert stripped.merged()[0].pieces == ("[CLS]", "fi\u0301lm\u0301", "film", "[SEP]")
    ids = byte_pairs()("é 我")["input_ids"]
    given = cm.load(build("gpt2", vocab_size=300), byte_pairs()).explain({"input_ids": ids}).tokens.pieces
    assert set("".join(given)) <= set("é 我")

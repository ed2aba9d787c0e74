"""No label shows another character than the text's, also where one character is several tokens."""

import pytest
import transformers
from tests.tracing.tiny import byte_pairs, vivid

import contextmix as cm
from contextmix.tracing.inputs.spelled import byte_name, spelled
from contextmix.tracing.inputs.targets import texts_of

TEXT = "né 我"


def test_byte_tokens_of_a_tokenizer_in_python_bear_their_character():
    config = transformers.T5Config(
        vocab_size=384, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    traced = cm.load(vivid(transformers.T5ForConditionalGeneration(config)), transformers.ByT5Tokenizer())
    found = traced.explain(TEXT, "alti_rollout", output="é")
    assert found.tokens.pieces == ("n", "é", "é", " ", "我", "我", "我", "</s>", "<pad>", "é", "é")
    assert found.query_tokens.pieces == ("é", "é", "</s>")


@pytest.mark.parametrize("tokenizer", [byte_pairs(), transformers.ByT5Tokenizer()], ids=["fast", "python"])
def test_ids_and_new_tokens_are_called_alike(tokenizer):
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    pieces = tokenizer.convert_ids_to_tokens(ids)
    assert "".join(dict.fromkeys(texts_of(tokenizer, ids))) == TEXT
    assert set("".join(spelled(tokenizer, pieces, [False] * len(ids)))) <= set(TEXT)
    half = texts_of(tokenizer, ids[:2])
    assert half == ("n", "<0xC3>")


def test_a_broken_character_is_shown_in_numbers():
    assert byte_name("Ã") == "<0xC3>"
    assert byte_name("Ċ") == "<0x0A>"
    assert byte_name("word") == "word"

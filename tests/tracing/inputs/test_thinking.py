"""Marks that are special tokens are no text, and tell where thoughts end all the same."""

import pytest
from tests.tracing.inputs.chatting import chatty

from contextmix.tokens.pieces import Tokens
from contextmix.tokens.thoughts import Thoughts
from contextmix.tracing.inputs.replies import with_reply
from contextmix.tracing.inputs.texts import encode
from contextmix.tracing.inputs.thinking import thinking_in

MARKS = ["[THINK]", "[/THINK]", "<|channel|>", "<|message|>", "<|end|>", "<|start|>"]
PROMPT = "Who? "


def read(reply: str, given: bool, marks: bool = True) -> tuple[object, Tokens, int]:
    """A reply as the model wrote it (special tokens are left out of the text), or as somebody gave it."""
    tokenizer = chatty()
    if marks:
        tokenizer.add_special_tokens({"additional_special_tokens": MARKS})
    prompt = encode(tokenizer, PROMPT, None).tokens
    both = encode(tokenizer, PROMPT + reply, None).tokens
    labels = Tokens(both.pieces, both.ids, both.special)
    return tokenizer, with_reply(tokenizer, prompt, labels, reply if given else None, None), len(prompt)


def split(reply: str, given: bool, ends: object = "markers", marks: bool = True) -> tuple[str | None, str]:
    tokenizer, tokens, count = read(reply, given, marks)
    thoughts, begins = thinking_in(tokenizer, tokens, count, len(PROMPT), ends)
    assert thoughts is None or thoughts.begins == len(PROMPT)
    return thoughts and tokens.text[slice(*thoughts.span)], tokens.text[begins:]


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    "reply",
    [
        "[THINK]It is Tom.[/THINK]Tom.",
        "<think>It is Tom.</think>\n\nTom.",
        "<|channel|>analysis<|message|>It is Tom.<|end|><|start|>assistant<|channel|>final<|message|>Tom.",
    ],
)
def test_written_and_given_replies_are_told_apart_alike(reply: str, given: bool):
    assert split(reply, given) == ("It is Tom.", "Tom.")


def test_special_tokens_are_left_out_of_what_a_model_wrote():
    tokenizer, tokens, count = read("[THINK]雨 falls.[/THINK]Rain. [THINK]", given=False)
    assert tokens.text == f"{PROMPT}雨 falls.Rain. "
    thoughts, begins = thinking_in(tokenizer, tokens, count, len(PROMPT), "markers")
    assert thoughts == Thoughts(5, 5, 13)
    assert tokens.text[begins:] == "Rain. "


def test_a_span_is_of_the_text_that_people_see():
    assert split("[THINK]It is Tom.[/THINK]Tom.", False, (0, 10)) == ("It is Tom.", "Tom.")
    assert split("It is Tom. So: Tom.", True, (0, 14)) == ("It is Tom. So:", "Tom.")


def test_a_reply_without_thoughts_is_an_answer():
    assert split("Tom.", False) == (None, "Tom.")
    assert split("[THINK]It is Tom.[/THINK]Tom.", True, "none") == (None, "[THINK]It is Tom.[/THINK]Tom.")

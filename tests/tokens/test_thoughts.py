"""Thoughts told from answers: by the marks of usual models, by a text, a pattern or a span."""

import re

import numpy as np
import pytest

from contextmix.errors import BadFile, BadInput, BadOption
from contextmix.tokens.thoughts import Thoughts, plain_ends, plain_hops, thoughts_in

REPLIES = {
    "qwen": "<think>\nThe ball is red.\n</think>\n\nRed.",
    "seed": "<seed:think>The ball is red.</seed:think>Red.",
    "magistral": "[THINK]The ball is red.[/THINK]Red.",
    "kimi": "◁think▷The ball is red.◁/think▷Red.",
    "cohere": "<|START_THINKING|>The ball is red.<|END_THINKING|><|START_RESPONSE|>Red.",
    "harmony": (
        "<|channel|>analysis<|message|>The ball is red.<|end|><|start|>assistant<|channel|>final<|message|>Red."
    ),
    "gemma": "<|channel>thought\nThe ball is red.<channel|>Red.",
    "granite": "Here is my thought process: The ball is red. Here is my response: Red.",
    "exaone": "<thought>\nThe ball is red.\n</thought>\n\nRed.",
}


@pytest.mark.parametrize("model", REPLIES)
def test_the_marks_of_usual_models(model):
    reply = REPLIES[model]
    for said in (reply, f"\n {reply}"):
        (start, stop), begins = thoughts_in(said, "What is red?", "markers")
        assert (said[start:stop], said[begins:]) == ("The ball is red.", "Red.")


def test_a_template_may_have_begun_the_thoughts():
    for prompt in ("<|Assistant|><think>\n", "Who? [THINK]"):
        (start, stop), begins = thoughts_in(
            f"It is Tom.{'</think>' if '<' in prompt else '[/THINK]'} Tom.", prompt, "markers"
        )
        assert (start, stop) == (0, 10)
        assert begins > stop + 7
    assert thoughts_in("Tom.", "<think>\n\n</think>\n\n", "markers") is None


def test_marks_elsewhere_are_text():
    for reply in ("It ends with </think> always.", "Say <think>so</think> twice.", "Answer: Tom."):
        assert thoughts_in(reply, "A text with <think>thoughts</think> in it. Which mark?", "markers") is None
    (start, stop), begins = thoughts_in("<think>a <think> b</think>c </think> d", "", "markers")
    assert (start, stop, begins) == (7, 18, 26)  # the first end ends them


def test_empty_thoughts_are_thoughts_of_nothing():
    (start, stop), begins = thoughts_in("<think>\n\n</think>\n\nRed.", "", "markers")
    assert start == stop
    assert begins == 19


def test_a_text_a_pattern_and_a_span():
    reply = "The ball is red. Answer: Red. Answer: no."
    assert thoughts_in(reply, "", "Answer:") == ((0, 16), 25)
    assert thoughts_in(reply, "", re.compile("Answer: (?=no)")) == ((0, 29), 38)
    assert thoughts_in(reply, "", (4, 16)) == ((4, 16), 17)
    assert thoughts_in(reply, "", "none") is None
    assert thoughts_in("a.b c", "", "a.") == ((0, 0), 2)  # a text is no pattern


def test_thoughts_without_an_answer_are_refused():
    for reply in ("<think>On and on", "[THINK]", "<|channel|>analysis<|message|>Hm <|end|>"):
        with pytest.raises(BadInput, match=r"had not ended.*no answer yet.*max_new_tokens"):
            thoughts_in(reply, "", "markers")
    with pytest.raises(BadInput, match="no answer follows"):
        thoughts_in("<think>Hm</think>\n ", "", "markers")
    with pytest.raises(BadInput, match="'Answer:' was to end the thoughts"):
        thoughts_in("Hm. I think", "", "Answer:")
    with pytest.raises(BadInput, match="does not lie within"):
        thoughts_in("Hm.", "", (0, 9))


def test_what_tells_them_apart_is_plain():
    assert plain_ends(np.array([0, 4])) == (0, 4)
    for wrong in (None, "", " ", 3, [1], [0, 0.5], re.compile(b"a"), {"a": 1}, True):
        with pytest.raises(BadOption, match="does not tell thoughts from an answer"):
            plain_ends(wrong)
    assert (plain_hops(np.int64(2)), plain_hops("all")) == (2, "all")
    for wrong in (-1, 0.5, "1", True, None):
        with pytest.raises(BadOption, match=r"hops=.* is passed on 0, 1, 2"):
            plain_hops(wrong)


def test_places_fit_and_come_back_from_a_file():
    one = Thoughts(3, 5, 9)
    assert Thoughts.from_dict(one.to_dict()) == one
    for wrong in ({"begins": 1, "start": 2}, {"begins": 1, "start": True, "stop": 3}, []):
        with pytest.raises(BadFile):
            Thoughts.from_dict(wrong)
    with pytest.raises(BadInput, match="no part of it"):
        Thoughts(5, 4, 9)
    with pytest.raises(TypeError, match="begins must be int"):
        Thoughts("5", 4, 9)

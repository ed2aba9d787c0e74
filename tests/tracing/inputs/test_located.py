"""Where a template wrote a text, with templates that are functions of this file."""

import pytest

from contextmix.errors import BadInput
from contextmix.tracing.inputs.located import is_altered, located


def one(content):
    return [{"role": "user", "content": content}]


def test_the_same_words_in_the_template_are_not_taken_for_the_text():
    def render(messages):
        return "user: " + messages[0]["content"] + " (user)"

    assert located(render, one("user"), 0, [(0, 4), (4, 4)]) == [6, 6]
    assert not is_altered(render, one("user"), 0)


def test_a_mark_that_the_messages_hold_is_not_used():
    def render(messages):
        return messages[0]["content"].replace("contextmix0mark", "") + "!"

    assert located(render, one("a contextmix1mark"), 0, [(0, 1)]) == [0]


def test_stripped_texts_are_found_with_the_place_of_what_is_left():
    def render(messages):
        return "> " + messages[0]["content"].strip()

    assert located(render, one("  a b "), 0, [(2, 3)]) == [0]
    assert is_altered(render, one("a b "), 0)


def test_texts_beside_what_was_altered_are_found_in_order():
    def render(messages):
        return "a " + messages[0]["content"].replace("&", "&amp;") + " b"

    assert located(render, one("be & see"), 0, [(0, 2), (5, 8)]) == [2, 6]
    with pytest.raises(BadInput, match="changes the text 'a', or repeats it"):
        located(render, one("b & a"), 0, [(0, 1), (4, 5)])  # which of those in "b &amp; a" is it?
    with pytest.raises(BadInput, match="changes the text '&', or repeats it"):
        located(lambda messages: messages[0]["content"].replace("&", "and"), one("b & a"), 0, [(2, 3)])


def test_a_text_that_a_template_writes_twice_is_refused():
    def render(messages):
        return messages[0]["content"] + " -- " + messages[0]["content"]

    with pytest.raises(BadInput, match="or repeats it"):
        located(render, one("a fox"), 0, [(0, 5)])


def test_a_text_that_a_template_drops_is_refused():
    with pytest.raises(BadInput, match="changes the text 'a fox'"):
        located(lambda messages: "nothing", one("a fox"), 0, [(0, 5)])

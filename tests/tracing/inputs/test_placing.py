"""Prompts: whatever places the texts, each is found again, character by character, or refused."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tokens.texts import texts, visible_texts
from tests.tracing.inputs.chatting import ESCAPING, TEMPLATES, chatty
from tests.tracing.tiny import build

from contextmix.errors import BadInput, BadOption
from contextmix.tokens.passages import cut_passages
from contextmix.tracing.inputs.placing import Placed, Placer

MODEL = build("llama", "ForCausalLM")
PLACERS = {name: Placer(MODEL, chatty(name)) for name in TEMPLATES}
PLACERS |= {name: Placer(MODEL, chatty(), name) for name in ("plain", "question", "Q {question}\n{context}|")}
PLAIN = Placer(MODEL, chatty())


def held(placed: Placed) -> list[str]:
    """What stands in the prompt where each text is said to be."""
    return [placed.text[slice(*one.place((0, one.length)))] for one in placed.passages if one.offset is not None]


def asked(placed: Placed) -> str | None:
    return placed.question and placed.text[slice(*placed.question)]


@settings(max_examples=500)
@given(st.lists(visible_texts, min_size=1, max_size=3), texts, st.sampled_from(sorted(PLACERS)), st.data())
def test_every_source_is_its_slice_of_text_and_of_prompt(context, question, template, data):
    by = data.draw(st.sampled_from(["word", "sentence", "paragraph", "line", "document"]))
    placed = PLACERS[template].place(question, context)
    kept, lost = cut_passages(placed.passages, by)
    assert kept
    assert lost == ()
    for one in kept:
        passage = placed.passages[one.document]
        assert passage.text == context[one.document]
        assert passage.text[one.start : one.stop] == one.text == placed.text[slice(*passage.place(one.span))]
    places = [placed.passages[one.document].place(one.span) for one in kept]
    assert places == sorted(places)
    if question.strip():
        assert asked(placed).strip() == question.strip()


def test_our_templates():
    context = ["One. Two.", "Three."]
    assert PLAIN.place("Which?", context).text == "One. Two.\n\nThree.\n\nWhich?"
    assert PLAIN.place("", context).text == "One. Two.\n\nThree."
    placed = PLACERS["question"].place("Which?", context)
    assert placed.text == "One. Two.\n\nThree.\n\nQuestion: Which?\nAnswer:"
    assert (placed.without, placed.template, placed.add_special_tokens) == (
        "Question: Which?\nAnswer:",
        "question",
        None,
    )
    own = Placer(MODEL, chatty("chatml"), "Q {question}\n{context}|").place("{context}?", "A {question}.")
    assert (own.text, held(own), asked(own), own.template) == (
        "Q {context}?\nA {question}.|",
        ["A {question}."],
        "{context}?",
        "own",
    )


def test_the_models_own_template_is_taken_where_there_is_one():
    placed = PLACERS["turns"].place("  Which? ", ["  One. ", "Two."])
    assert placed.text == "<s><start_of_turn>user\nOne. \n\nTwo.\n\n  Which?<end_of_turn>\n<start_of_turn>model\n"
    assert placed.without == "<s><start_of_turn>user\nWhich?<end_of_turn>\n<start_of_turn>model\n"
    assert (asked(placed), placed.template, placed.add_special_tokens) == ("Which?", "chat", False)
    assert [one.text for one in cut_passages(placed.passages, "sentence")[0]] == ["One.", "Two."]
    assert Placer(MODEL, chatty("turns"), "plain").place("Which?", ["One."]).text == "One.\n\nWhich?"


def test_without_a_context_the_question_is_what_sources_are_of():
    assert held(PLAIN.place("Who is it?", None)) == ["Who is it?"]
    placed = PLACERS["question"].place("Who is it?", None)
    assert (placed.text, held(placed), placed.question) == ("Question: Who is it?\nAnswer:", ["Who is it?"], None)
    placed = PLACERS["chatml"].place("user", None)
    assert placed.text == "<|im_start|>user\nuser<|im_end|>\n<|im_start|>assistant\n"
    assert placed.passages[0].offset == len("<|im_start|>user\n")  # not the role, which reads the same
    assert placed.without is None


def test_spans_mark_the_sources_of_a_whole_prompt():
    placed = PLACERS["chatml"].place("One. Two. Which?", [(5, 9), (0, 4)])
    assert (placed.text, held(placed)) == ("One. Two. Which?", ["One.", "Two."])
    assert (placed.template, placed.add_special_tokens, placed.question) == ("none", None, None)
    assert placed.without == "  Which?"
    assert PLACERS["chatml"].place("One.", [(0, 4)]).without is None


def test_parts_of_a_context_are_kept():
    placed = PLACERS["headers"].place("Which?", ["One. Two.", "Three.", "Four."], [9, 0, 3])
    assert held(placed) == ["One. Two.", "Fou"]
    assert "One. Two.\n\nFou\n\nWhich?" in placed.text
    assert [one.offset is None for one in placed.passages] == [False, True, False]


CHAT = [
    {"role": "system", "content": " Be kind. "},
    {"role": "user", "content": "Tom has a dog."},
    {"role": "assistant", "content": "Good."},
    {"role": "user", "content": "Who has a dog? "},
]


@pytest.mark.parametrize("template", ["chatml", "headers", "turns"])
def test_the_messages_before_the_last_are_the_sources(template):
    placed = PLACERS[template].place(CHAT, None)
    assert [one.text for one in cut_passages(placed.passages, "document")[0]] == ["Be kind.", "Tom has a dog.", "Good."]
    assert [one.name for one in placed.passages] == ["system", "user", "assistant"]
    assert [text.strip() for text in held(placed)][1:] == ["Tom has a dog.", "Good."]
    assert asked(placed) == "Who has a dog?"
    assert placed.without == PLACERS[template].render(CHAT[-1:])


def test_the_context_says_which_texts_of_a_chat_are_the_sources():
    only = [{"role": "user", "content": "A fox. A dog. Which?"}]
    placed = PLACERS["headers"].place(only, ["A dog.", "A fox."])
    assert held(placed) == ["A fox.", "A dog."]
    assert placed.question is None
    assert placed.without == PLACERS["headers"].render([{"role": "user", "content": "  Which?"}])
    assert held(PLACERS["headers"].place(only, None)) == ["A fox. A dog. Which?"]


def test_an_answer_as_the_template_writes_it():
    for name in ("chatml", "headers", "turns", "brackets", "thoughts"):
        PLACERS[name].refuse_altered(PLACERS[name].place("Who?", ["Tom."]), "Tom, of course.")
    PLAIN.refuse_altered(PLAIN.place("Who?", ["Tom."]), "  Tom ")


@pytest.mark.parametrize(
    ("template", "answer", "hint"),
    [
        ("headers", " Tom", "Give it as 'Tom'."),
        ("turns", "Tom\n", "Give it as 'Tom'."),
        ("thoughts", "<think>Hm.</think>Tom", "never read this answer."),
    ],
)
def test_an_answer_that_the_template_alters_is_refused(template, answer, hint):
    placer = PLACERS[template]
    with pytest.raises(BadInput, match="chat template changes the answer") as refusal:
        placer.refuse_altered(placer.place("Who?", ["Tom."]), answer)
    assert str(refusal.value).endswith(hint)


def test_a_template_that_takes_no_answer_refuses_none():
    placer = Placer(
        MODEL, chatty("{% if messages | length > 1 %}{{ raise_exception('no') }}{% endif %}{{ messages[0].content }}")
    )
    placer.refuse_altered(placer.place("Who?", ["Tom."]), " Tom")


def test_escaped_texts_are_found_where_nothing_in_them_is_escaped():
    placer = Placer(MODEL, chatty(ESCAPING))
    placed = placer.place([{"role": "user", "content": "x < y. Tom has a dog. Who?"}], ["Tom has a dog."])
    assert (placed.text, held(placed)) == ("<p>x &lt; y. Tom has a dog. Who?</p>", ["Tom has a dog."])
    with pytest.raises(BadInput, match="template changes the text '<b> & c'"):
        placer.place("Who?", ["Tom has a dog.", "<b> & c"])


CASES: dict[str, tuple[Any, ...]] = {
    "no text": ("Who?", [], "The context holds no text"),
    "an empty text": ("Who?", ["Tom.", " \n"], "Text 1 of the context is empty"),
    "an empty question alone": (" ", None, "Text 0 of the question is empty"),
    "texts and spans": ("Who?", ["Tom.", (0, 2)], "Entry 1 of the context is tuple"),
    "overlapping spans": ("Tom. Who?", [(0, 4), (3, 6)], "overlap"),
    "a span outside": ("Tom. Who?", [(0, 40)], "does not lie within the text of 9 characters"),
    "another question": (7, ["Tom."], "A question is a text, or a chat"),
    "parts of a message": ([{"role": "user", "content": [{"type": "text"}]}], None, "is list, and sources are found"),
    "empty messages": ([{"role": "system", "content": " "}, {"role": "user", "content": "a"}], None, "are empty"),
    "a text that is not there": (CHAT, ["Ann has a cat."], "stands 0 times in the messages"),
    "a text twice": (CHAT, ["has a dog"], "stands 2 times"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_placed_is_refused(case):
    question, context, why = CASES[case]
    with pytest.raises(BadInput, match=why):
        PLACERS["chatml"].place(question, context)


def test_a_chat_needs_a_template():
    with pytest.raises(BadInput, match="its tokenizer has no template"):
        PLAIN.place(CHAT, None)
    with pytest.raises(BadInput, match="its tokenizer has no template"):
        Placer(MODEL, chatty(), "chat").place("Who?", ["Tom."])


@pytest.mark.parametrize("template", ["mine", "{question}", "{context} {context} {question}", "{context}"])
def test_a_template_without_its_places_is_refused(template):
    with pytest.raises(BadOption, match="is none of chat, plain, question"):
        Placer(MODEL, chatty(), template).place("Who?", ["Tom."])

"""The rule for sentences, by examples that people would cut in the same way."""

import time

import pytest

from contextmix.tokens.sections import cut_text


@pytest.mark.parametrize(
    "sentences",
    [
        ["Mr. Fox has 3.5 eggs.", "He runs!", "Does he?"],
        ["“Stop!” he said.", "“I will not.”", "(Nobody did.)", "Then they left."],
        ["“Really?” she asked, e.g. twice, i.e. 2 times.", "So do I.", "J. R. Smith left at 5 p.m. yesterday."],
        ["He works at Acme Inc. in Rome.", "She works at Acme Inc.", "They met."],
        ["He left… and came back.", "Wait…", "What?!", "No... not now.", "Well...", "Go."],
        ["See www.a.com/b.c or v2.0.1 now.", "It cost $3.50.", "Done"],
        ["雨だ。", "「行こう！」と言った。", "3.14です。", "はい？", "いいえ！"],
        ["他说：“好吗？”然后走了。", "我不知道。"],
        ["أين أنت؟", "أنا هنا."],
        ["यह घर है।", "वह बड़ा है।"],
        ["the plot is thin .", "the acting is superb .", "never dull"],
        ["He was born in 1990.", "In 2001 he moved to St. Louis.", "See Fig. 3 and cf. Sec. 2."],
        ["How are you 😀?", "Fine 👍🏽!", "Good."],
        ["He was a U.S. President and the U.N. Security Council's guest.", "He left the U.S.", "The U.K. came next."],
        ["Yes!!!", "No??", "Maybe."],
        ["Dr. A. B. Cde et al. wrote it.", "Vitamin C. was not in it."],
    ],
    ids=lambda sentences: sentences[0][:20],
)
def test_sentences_of_a_line(sentences):
    spaced = "" if sentences[0][0] in "雨他" else " "
    assert [one.text for one in cut_text(spaced.join(sentences), "sentence")] == sentences


def test_line_breaks_end_a_sentence_unless_the_next_line_goes_on_small():
    text = "A heading\nThe text is\nwrapped here. And\r\nso on\n\nnew paragraph\n"
    text += "1. Stir the soup.\n2) Eat it.\n- Wash up\n"
    assert [one.text for one in cut_text(text, "sentence")] == [
        "A heading",
        "The text is\nwrapped here.",
        "And\r\nso on",
        "new paragraph",
        "1. Stir the soup.",
        "2) Eat it.",
        "- Wash up",
    ]


@pytest.mark.parametrize("text", ["e.g. ", "a. ", ". ", "x ", "\n", "“!” ", "1. "])
def test_long_texts_of_nothing_else_take_no_long_time(text):
    long = text * (200_000 // len(text))
    started = time.perf_counter()
    sections = cut_text(long, "sentence")
    assert time.perf_counter() - started < 10  # one that looks back to the start each time takes minutes
    assert "".join("".join(one.text for one in sections).split()) == "".join(long.split())


def test_a_text_of_marks_alone_is_one_sentence():
    assert [one.text for one in cut_text("?!... …", "sentence")] == ["?!...", "…"]
    assert [one.text for one in cut_text(".", "sentence")] == ["."]

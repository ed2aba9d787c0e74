"""What tests of runs over questions share: rows of every kind, and what `explain_answer` says of each."""

import functools
from typing import Any

import contextmix as cm

TEXTS = ["Tom had a big dog. The sun was hot.", "Lily had a red ball."]
CHAT = [{"role": "user", "content": "Lily had a red ball."}, {"role": "user", "content": "Lily wanted to"}]
GOOD: list[dict[str, Any]] = [
    {"id": "given", "question": "Who has a ball?", "context": TEXTS, "answer": "Lily. She ran.", "label": "gold"},
    {"id": "written", "question": "Lily wanted to play with her", "context": TEXTS},
    {"id": "one text", "question": "Lily wanted to play with", "context": "Lily had a red ball. Tom ran."},
    {"id": "spans", "question": "Tom had a dog. Lily had a ball. She ran", "context": [[0, 14], [15, 31]]},
]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"id": "b0", "context": TEXTS}, "missing_question"),
    ({"id": "b1", "question": None, "context": TEXTS}, "missing_question"),
    ({"id": "b2", "question": "Who?", "messages": CHAT, "context": TEXTS}, "two_questions"),
    ({"id": "b3", "question": " ", "context": TEXTS}, "empty_text"),
    ({"id": "b4", "question": 7, "context": TEXTS}, "wrong_type"),
    ({"id": "b5", "question": {"input_ids": [5]}, "context": TEXTS}, "wrong_type"),
    ({"id": "b6", "question": "Who?"}, "missing_context"),
    ({"id": "b7", "question": "Who?", "context": []}, "empty_context"),
    ({"id": "b8", "question": "Who?", "context": ["Tom ran.", " "]}, "empty_context"),
    ({"id": "b9", "question": "Who?", "context": {"a": "Tom ran."}}, "wrong_type"),
    ({"id": "b10", "question": "Who?", "context": ["Tom ran.", 3]}, "wrong_type"),
    ({"id": "b11", "question": "Who?", "context": TEXTS, "answer": " "}, "empty_answer"),
    ({"id": "b12", "question": "Who?", "context": TEXTS, "answer": ["Lily"]}, "wrong_type"),
    ({"id": "b13", "question": "Who?", "context": ["half \ud800"]}, "lone_surrogate"),
    ({"id": "b14", "messages": []}, "wrong_chat"),
    ({"id": "b15", "messages": [{"role": "user"}]}, "wrong_chat"),
    ({"id": "b16", "messages": [{"role": "user", "content": 3}]}, "wrong_type"),
    ({"id": "b17", "messages": [{"role": 3, "content": "Who?"}]}, "wrong_chat"),
    ({"id": "written", "question": "Who?", "context": TEXTS}, "duplicate_id"),
    ({"id": "b18", "question": "Who?", "context": "Tom ran. " * 200}, "sources_do_not_fit"),
    ({"id": "b19", "question": "Who?", "context": [[0, 99]]}, "bad_input"),
]
"""Rows, and the word that each is refused by."""
ROWS = [*GOOD, *(row for row, _ in BAD)]
SETTINGS: dict[str, Any] = {"task": "answer", "max_new_tokens": 3, "dependence": False}

answered = functools.partial(cm.run, progress=False, **SETTINGS)


def many(count: int) -> list[dict[str, Any]]:
    """Short questions, each another one; each tenth has no context."""
    rows = []
    for number in range(count):
        context = [f"Tom had {number + 2} dogs.", f"Lily had a {'red' if number % 2 else 'big'} ball."]
        rows.append({"id": f"q{number}", "question": "Lily wanted to", "context": context if number % 10 else []})
    return rows


def assert_same_answers(one: cm.Run, other: cm.Run) -> None:
    """Every answer in every bit."""
    pairs = list(zip(one.answers(), other.answers(), strict=True))
    assert pairs
    for (name, answer), (same, expected) in pairs:
        assert name == same
        assert_same(answer, expected)


def assert_same(one: cm.Answer, other: cm.Answer) -> None:
    """All that an answer holds, in every bit."""
    assert one.to_dict() == other.to_dict()
    assert one.token_map.values.dtype == other.token_map.values.dtype

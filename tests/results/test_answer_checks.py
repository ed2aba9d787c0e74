"""What is no answer is refused when it is made: a file of other hands, or arguments that do not fit each other."""

import json
from typing import Any

import numpy as np
import pytest
from tests.results.answers import PROMPT, ROWS, TEXTS, answer

from contextmix.errors import BadFile, BadInput, BadOption
from contextmix.results.answer import Answer
from contextmix.tokens.passages import Passage

MAP = answer().token_map
CASES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no map": ({"token_map": "a map"}, TypeError, "Answer: token_map must be TokenMap; got str"),
    "a row": ({"token_map": MAP.row(0)}, BadInput, "a map over query and key"),
    "other queries": ({"token_map": MAP.derive(query_tokens=MAP.tokens.part(slice(0, 5)))}, BadInput, "last tokens"),
    "a place that is a text": ({"begins": "3"}, TypeError, "Answer: begins must be int"),
    "a place outside": ({"begins": 10**9}, BadInput, "begins at character 1000000000"),
    "texts that are none": ({"passages": TEXTS}, TypeError, "An entry of Answer: passages must be Passage"),
    "a text that stands elsewhere": ({"passages": [Passage(TEXTS[0], 4)]}, BadInput, "does not stand at character 4"),
    "a text before the prompt": ({"passages": [Passage("", -4)]}, BadInput, "does not stand at character -4"),
    "texts that overlap": ({"passages": [Passage(TEXTS[0], 3), Passage("It ran.", 18)]}, BadInput, "overlap"),
    "no text": ({"passages": []}, BadInput, "hold no section"),
    "no text, and spans": ({"passages": [], "sources_by": [(0, 0, 3)]}, BadInput, "hold no section"),
    "a question outside": ({"question": (0, 10**6)}, BadInput, "does not lie within"),
    "a question that is a number": ({"question": 3}, BadInput, "A span is a pair"),
    "rows joined otherwise": ({"rows": "median"}, BadOption, "rows='median'"),
    "signs of other tokens": ({"signed": MAP.row(0)}, BadInput, "map with signs has the axes"),
    "too few dependences": ({"dependence": (0.5,)}, BadInput, "as many dependences"),
    "dependences without end": ({"dependence": [np.inf] * 5}, BadInput, "as many dependences"),
    "a note that is a list": (
        {"token_map": MAP.derive(provenance=MAP.provenance.noting(generation=[0.5]))},
        BadInput,
        "a probability for each",
    ),
    "nobody wrote it": (
        {"token_map": MAP.derive(provenance=MAP.provenance.noting(answer="the model"))},
        BadInput,
        "says in a mapping who wrote it",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_does_not_fit_is_refused(name: str):
    changes, kind, sentence = CASES[name]
    with pytest.raises(kind, match=sentence):
        answer(**changes)


def test_numbers_of_other_libraries_become_python_numbers():
    found = answer(
        passages=list(answer().passages),
        question=(np.int64(PROMPT.index("Who?")), np.int64(len(PROMPT))),
        sources_by=[(np.int64(0), np.int64(0), np.int64(3)), np.array([1, 0, 4]).tolist()],
        units_by=np.int64(2),
    )
    assert (found.sources_by, found.units_by) == ([[0, 0, 3], [1, 0, 4]], 2)
    assert isinstance(found.passages, tuple)
    again = Answer.from_dict(json.loads(json.dumps(found.to_dict())))
    assert (again.question, again.sources) == (answer().question, found.sources)


@pytest.mark.parametrize("field", ["format", "schema", "rows", "begins", "question", "passages"])
def test_a_document_with_an_array_is_refused(field: str):
    with pytest.raises(BadFile, match=field):
        Answer.from_dict({**answer(ROWS).to_dict(), field: np.array([0, 1])})


def test_sources_that_the_prompt_cut_through_are_refused():
    found = answer(passages=(Passage("Tom had a dog. It barked.", 3, kept=14),))
    assert [one.text for one in found.sources] == ["Tom had a dog."]
    with pytest.raises(BadInput, match="holds none of the 1 sources to the end"):
        found.by("document")


@pytest.mark.parametrize("wrong", [{"threshold": "a"}, {"least": np.array([0, 1])}, {"most": 0.5}])
def test_a_rule_of_citing_is_made_of_numbers(wrong: dict[str, Any]):
    with pytest.raises(TypeError, match="cite: "):
        answer().cite(**wrong)


def test_numbers_of_other_libraries_are_asked_for():
    assert answer().top(np.int64(0), np.int64(1)) == answer().top(0, 1)
    assert answer().cite(np.float32(0.5), most=np.int64(3)) == answer().cite()
    for unit, k in ((0.5, 1), (0, "a")):
        with pytest.raises(TypeError, match="must be a whole number"):
            answer().top(unit, k)

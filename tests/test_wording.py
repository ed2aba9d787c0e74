"""What users read is plain English: phrases that people stumbled over do not come back."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src/contextmix"
PHRASES = (
    "found by being there",
    "goes on where it was",
    "lies beside it",
    "know their place",
    "behind your back",
    "behind contextmix's back",
    "of all that is random",
    "option of the method, such as",
    "all' that the data",
    "is given up to",
    "is given at most",
    "means nothing to",
    "it is no folder",
    "hub did not give it",
    "was heard",
    "tap count",
    "nonetype was given",
    "experiments, again",
    "a page on your machine",
    "so nobody knows which",
    "to attribute anything to",
    "in silence",
    "other hands",
    "not told apart from",
    "goes on with a text, so",
    "is no utf-8",
    "is no json",
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
RAISED = re.compile(r"\b[a-z_]+=(?:True|False|None)\b")


@cache
def words(path: Path) -> list[tuple[int, str]]:
    """All texts in a file, with implicit joins and f-strings as one, and white space as one blank."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [str(one.value) if isinstance(one, ast.Constant) else "…" for one in node.values]
            found.append((node.lineno, "".join(parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append((node.lineno, node.value))
    return [(line, " ".join(text.split())) for line, text in found]


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("phrase", PHRASES)
def test_phrases_that_people_stumbled_over_are_gone(phrase):
    told = [f"{path.name}:{line}" for path in FILES for line, text in words(path) if phrase in text.lower()]
    assert not told, told


def test_the_list_is_read_in_lower_case_and_files_are_found():
    assert all(phrase == phrase.lower() for phrase in PHRASES)
    assert len(FILES) > 200


def test_the_command_line_names_no_arguments_of_python():
    """What its own files say; what the rooms below say passes `contextmix.cli.spoken`."""
    told = []
    for path in sorted((SOURCE / "cli").glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        documents = {ast.get_docstring(one, clean=False) for one in ast.walk(tree) if isinstance(one, DOCUMENTED)}
        plain = {" ".join(one.split()) for one in documents if one}
        told += [
            f"{path.name}:{line}: {text}" for line, text in words(path) if text not in plain and RAISED.search(text)
        ]
    assert not told, told


def test_variables_of_examples_are_not_called_found():
    told = [
        f"{path.name}:{number}"
        for path in FILES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.match(r"\s*(?:>>>|\.\.\.)\s+found\b", line)
    ]
    assert not told, told

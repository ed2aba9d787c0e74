"""The example notebooks as they are committed; nbmake runs them (`make test`)."""

import json
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def test_there_are_three():
    assert len(NOTEBOOKS) >= 3  # reading none would pass everything


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_result_and_nothing_of_a_machine(path):
    found = json.loads(path.read_text(encoding="utf-8"))
    assert set(found["metadata"]) == {"kernelspec", "language_info"}
    assert found["metadata"]["kernelspec"]["name"] == "python3"
    code = [cell for cell in found["cells"] if cell["cell_type"] == "code"]
    assert code
    for cell in code:
        assert (cell["outputs"], cell["execution_count"], cell["metadata"]) == ([], None, {})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_the_explorer_and_checks_what_it_says(path):
    code = [cell["source"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    source = "\n".join("".join(lines) for lines in code)
    assert ".explore(" in source
    assert source.count("\nassert ") >= 3

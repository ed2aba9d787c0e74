"""Pages from the command line: the same answer in the terminal, and everything in the file."""

import json
import re
from pathlib import Path

import pytest

FILM = "a deep and meaningful film ."


def document(path: Path) -> dict:
    (found,) = re.findall(r"<script [^>]*data-contextmix>(.*?)</script>", path.read_text(encoding="utf-8"))
    return json.loads(found)


def shapes(path: Path) -> dict[str, list]:
    return {one["name"]: [*zip(one["dims"], one["shape"], strict=True)] for one in document(path)["maps"]}


@pytest.mark.parametrize("more", [(), ("--words",), ("--method", "norm"), ("--method", "gradient"), ("--layers", "0")])
def test_explain_says_the_same_and_writes_all_rows_and_layers(run, folder, tmp_path, more):
    asked = ("explain", FILM, "--model", folder, *more)
    place = tmp_path / "film.html"
    plain, told = run(*asked), run(*asked, "--html", place)
    assert told.stdout.startswith(plain.stdout)
    assert (
        told.stdout[len(plain.stdout) :] == f"\nWrote {place} ({place.stat().st_size / 1e3:.0f} kB). Open it in a "
        "browser; it needs no network.\n"
    )
    name = more[1] if more[:1] == ("--method",) else "globenc"
    layers = 1 if more[:1] == ("--layers",) else 2
    rows = [("key", 10)] if name == "gradient" else [("layer", layers), ("query", 10), ("key", 10)]
    assert shapes(place) == {name: rows}


def test_explain_puts_the_query_first(run, folder, tmp_path):
    assert run("explain", FILM, "--model", folder, "--query", "film", "--html", tmp_path / "a.html").exit_code == 0
    assert document(tmp_path / "a.html")["start"] == {"map": 0, "layer": 1, "query": 7}


def test_compare_writes_the_full_maps_of_all_methods(run, folder, tmp_path):
    asked = ("compare", FILM, "--model", folder, "--methods", "globenc,attention,gradient", "--query", "film")
    plain, place = run(*asked), tmp_path / "film.html"
    for more in ((), ("--heads", "--force")):
        told = run(*asked, "--html", place, *more)
        assert told.stdout.startswith(plain.stdout)
        assert told.exit_code == 0
        square = [("query", 10), ("key", 10)]
        assert shapes(place) == {
            "globenc": [("layer", 2), *square],
            "attention": [("layer", 2), *([("head", 2)] if more else []), *square],
            "gradient": [("key", 10)],
        }
        assert document(place)["start"]["query"] == 7


@pytest.mark.parametrize(("method", "rows"), [("evidence", []), ("norm_encoder", [("layer", 5)])])
def test_generate_writes_all_steps_with_their_probabilities(run, tmp_path, method, rows):
    asked = ("generate", "Once upon a time", "--max-new-tokens", "3", "--method", method)
    place = tmp_path / "story.html"
    told = run(*asked, "--html", place)
    assert "Wrote" in told.stdout
    found = document(place)
    keys = len(found["keys"]["pieces"])
    assert shapes(place) == {method: [*rows, ("query", 3), ("key", keys)]}
    assert len(found["queries"]["pieces"]) == len(found["steps"]["probabilities"]) == 3
    assert all(0 < one <= 1 for one in found["steps"]["probabilities"])
    assert found["start"]["query"] == 0


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (("explain", FILM, "--html", "old.html"), "already exists"),
        (("compare", FILM, "--html", "old.html"), "already exists"),
        (("compare", FILM, "--html", "a.pdf"), r"--html writes \.html"),
        (("compare", FILM, "--heads"), "Add --html FILE"),
        (("generate", FILM, "--html", "old.html"), "already exists"),
        (("compare", FILM, "--methods", "globenc,globenc", "--html", "a.html"), "two different methods"),
    ],
)
def test_what_cannot_be_written_is_refused_before_a_model_is_loaded(run, tmp_path, monkeypatch, given, complaint):
    monkeypatch.setattr("contextmix.cli.arguments.load_model", lambda *_: pytest.fail("a model was loaded"))
    monkeypatch.chdir(tmp_path)
    Path("old.html").write_text("mine")
    found = run(*given)
    assert found.exit_code == 1
    assert re.search(complaint, found.stderr)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old.html", "mine")]

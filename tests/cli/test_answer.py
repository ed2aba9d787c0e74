"""`contextmix answer`: a question, files, and the sources of the answer."""

import json
import re

import pytest

import contextmix as cm

QUESTION = "Who has the red ball?"


@pytest.fixture
def texts(tmp_path):
    """Two files with a sentence or two each."""
    tom, lily = tmp_path / "tom.txt", tmp_path / "lily.txt"
    tom.write_text("Tom has the blue kite. The sun was hot.\n", encoding="utf-8")
    lily.write_text("Lily has the red ball.\n", encoding="utf-8")
    return tom, lily


def test_an_answer_with_footnotes_a_file_and_a_page(run, texts, tmp_path):
    result = run(
        *("answer", "--context", *texts, "--question", QUESTION),
        *("--json", tmp_path / "a.json", "--html", tmp_path / "a.html"),
    )
    assert result.exit_code == 0, result.stderr
    assert "Lily has the red ball.[1]" in result.stdout
    assert re.search(r"\[1\] +\d+% .* Lily has the red ball\. \(lily\.txt\)", result.stdout)
    assert "answer so far" in result.stdout
    found = cm.Answer.load(tmp_path / "a.json")
    assert [one.name for one in found.passages] == ["tom.txt", "lily.txt"]
    assert (found.text, found.units_by) == ("Lily has the red ball.", "sentence")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "Lily has the red ball." in page
    assert "lily.txt" in page


def test_options_reach_the_call(run, texts, tmp_path):
    result = run(
        *(
            "answer",
            "--context",
            texts[0],
            "--question",
            QUESTION,
            "--answer",
            "the kite.",
            "--sources",
            "word",
            "--units",
            1,
        ),
        *("--method", "occlusion", "--option", "score=logit", "--dependence", "--template", "question"),
        *("--json", tmp_path / "a.json"),
    )
    assert result.exit_code == 0, result.stderr
    document = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert (document["sources_by"], document["units_by"]) == ("word", 1)
    assert document["token_map"]["provenance"]["options"] == {"score": "logit"}
    assert len(document["dependence"]) == 3  # the, kite, .
    assert "Question: Who has" in document["token_map"]["tokens"]["text"]


def test_a_question_alone_is_its_own_source(run):
    result = run("answer", "--max-new-tokens", 2, "--method", "attention", stdin="Once upon a time")
    assert result.exit_code == 0, result.stderr
    assert "Once upon a time" in result.stdout


def test_thoughts_are_told_apart_and_passed_on(run, texts, tmp_path):
    asked = ("answer", "--context", *texts, "--question", QUESTION, "--answer", "A red ball. So: ball.")
    result = run(*asked, "--thoughts", "So:", "--hops", "all", "--json", tmp_path / "a.json")
    assert result.exit_code == 0, result.stderr
    assert "(A red ball.)" in result.stdout
    found = cm.Answer.load(tmp_path / "a.json")
    assert (found.text, found.thoughts, found.hops) == ("ball.", "A red ball.", "all")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--sources", "chapter"], "A text is not cut by 'chapter'"),
        (["--method", "evidenze"], "There is no method 'evidenze'"),
        (["--json", "a.txt"], r"--json writes \.json"),
        (["--html", "a.json"], r"--html writes \.html"),
        (["--answer", " "], "The answer is empty"),
        (["--max-new-tokens", "600"], "Not even one source fits"),
        (["--hops", "two"], "--hops two"),
        (["--answer", "<think>On and on"], "began to think"),
        (["--answer", "Hm. A ball", "--thoughts", "Answer:"], "'Answer:' was to end the thoughts"),
        (["--context", "missing.txt"], "Cannot read the text from missing.txt"),
    ],
)
def test_what_is_refused(run, texts, arguments, why):
    result = run("answer", "--question", QUESTION, "--context", texts[0], *arguments)
    assert result.exit_code == 1
    assert re.search(why, result.stderr.replace("\n", " "))


def test_an_empty_file_is_refused_by_its_name(run, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n", encoding="utf-8")
    result = run("answer", "--question", QUESTION, "--context", empty)
    assert result.exit_code == 1
    assert "empty.txt is empty, so it cannot be a source" in result.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("flags", "method"),
    [
        (("--ablate",), "source_occlusion"),
        (("--ablate", "source_surrogate", "--masks", 8, "--away", "deleted"), "source_surrogate"),
    ],
)
def test_what_is_lost_without_a_source_is_printed_and_written(run, texts, tmp_path, flags, method):
    result = run(
        *("answer", "--context", *texts, "--question", QUESTION, "--max-new-tokens", 3, *flags, "--rewrite", 1),
        *("--json", tmp_path / "a.json", "--html", tmp_path / "a.html"),
    )
    assert result.exit_code == 0, result.stderr
    assert re.search(r"Without it: −\d+\.\d (nats|log-odds); the model says:", " ".join(result.stdout.split()))
    losses = cm.Answer.load(tmp_path / "a.json").losses
    assert losses.method == method
    assert losses.away == ("deleted" if "deleted" in flags else "masked")
    assert len(losses.says) == 1
    assert "the model says:" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_ablations_that_cannot_be_are_refused_before_the_model_is_loaded(run, texts):
    result = run("answer", "--context", texts[0], "--question", QUESTION, "--model", "nowhere", "--ablate", "leave_out")
    assert result.exit_code == 1
    assert "--ablate leave_out is not one of source_occlusion" in " ".join(result.stderr.split())
    result = run("answer", "--context", texts[0], "--question", QUESTION, "--masks", 8)
    assert result.exit_code == 1
    assert "masks 8 says how to remove sources" in " ".join(result.stderr.split())

"""`contextmix run`: its options, its messages, and what it prints."""

import json
import re

import pytest
from tests.datasets.broken import write_broken
from tests.datasets.questions import GOOD

import contextmix as cm


@pytest.fixture
def rows(tmp_path):
    """Six rows in a table, one of them empty."""
    path = tmp_path / "rows.csv"
    lines = [
        "name,words,gold",
        "a,a good film,1",
        "b,a bad film,0",
        "c,,1",
        "d,the plot shines,1",
        "e,film,0",
        "f,ok,1",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def measure(run, rows, tmp_path):
    """``run`` of the six rows into the folder out."""
    fields = ("--text-field", "words", "--label-field", "gold", "--id-field", "name")
    return lambda *more: run("run", rows, *fields, "--out", tmp_path / "out", *more)


def test_a_run_and_the_same_again(measure, tmp_path):
    first = measure()
    assert first.exit_code == 0
    assert re.search(r"^results +5 of 6 rows", first.stdout, re.MULTILINE)
    assert re.search(r"^failed: missing_text|failed: empty_text +1", first.stdout, re.MULTILINE)
    assert re.search(r"last process +6 texts in \d+ s: [\d.]+ texts/s", first.stdout)
    assert f"open_run('{tmp_path / 'out'}').failures()" in first.stdout.replace("\n", "")
    assert measure().stdout == first.stdout
    table = cm.open_run(tmp_path / "out").to_pandas()
    assert table.id.tolist() == ["a", "b", "d", "e", "f"]
    assert table.label.tolist() == ["1", "0", "1", "0", "1"]


def test_every_option_reaches_the_run(measure, tmp_path):
    result = measure(
        *("--method", "value-zeroing,globenc,gradient_inputs", "--option", "value_zeroing.distance=euclidean"),
        *("--option", "globenc.normalise=true", "--query", "-1", "--target", "gold", "--layers=-1,0"),
        *("--words", "--maps", "--truncate", "--limit", "4", "--shard-size", "3", "--batch-tokens", "9"),
        *("--memory", "64", "--dtype", "float64", "--add-special-tokens"),
    )
    assert result.exit_code == 0, result.stderr
    found = cm.open_run(tmp_path / "out")
    assert found.manifest["settings"] == {
        "methods": {"value_zeroing": {"distance": "euclidean"}, "globenc": {"normalise": True}, "gradient_inputs": {}},
        "query": -1,
        "target": "gold",
        "layers": [-1, 0],
        "words": True,
        "maps": True,
        "truncate": True,
        "shard_size": 3,
        "metrics": {},
        "reference": "gradient_inputs",
        "removal": "mask",
        "seed": 0,
        "randomised_rows": None,
        "add_special_tokens": True,
    }
    assert found.manifest["model"]["dtype"] == "float64"
    assert (found.total, len(found.folder.shards())) == (4, 2)
    demo = cm.load("demo", dtype="float64")
    expected = demo.explain("a bad film", "value_zeroing", distance="euclidean", query=-1, layers=[-1, 0]).words()
    assert found.row(1, "value_zeroing").values == pytest.approx(expected.values, rel=1e-5)
    expected = demo.explain("a bad film", "gradient_inputs", target=0).words()
    assert found.row(1, "gradient_inputs").values == pytest.approx(expected.values, rel=1e-5)


def test_with_one_method_its_name_may_be_left_out(measure, tmp_path):
    assert measure("--method", "value_zeroing", "--option", "distance=euclidean").exit_code == 0
    assert cm.open_run(tmp_path / "out").settings.options == {"value_zeroing": {"distance": "euclidean"}}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--method", "globnec"), "There is no method 'globnec'. Did you mean 'globenc'"),
        (
            ("--method", "globenc,norm", "--option", "heads=each"),
            "does not say which one it belongs to. Write NAME.heads=each",
        ),
        (("--option", "normalise"), "--option takes name=value"),
        (("--option", "norm.heads=each"), "norm, which is not among the methods"),
        (("--option", "globenc.distance=euclidean"), "no option of globenc 'distance'"),
        (("--layers", "one"), "--layers takes 'all' or numbers"),
        (("--layers", "7"), "There is no layer 7"),
        (("--target", "positive"), "--target positive has no effect on globenc"),
        (("--text-field", "sentence"), "rows.csv has no column 'sentence'"),
        (("--split", "train"), "The split 'train' belongs to a data set"),
        (("--engine", "dask"), "--engine dask is not known"),
        (("--model", "no/such/model"), "no/such/model"),
        (("--method", ","), "one or more different methods"),
        (("--batch-tokens", "0"), "--batch-tokens 0"),
    ],
    ids=str,
)
def test_what_is_wrong_is_one_sentence(measure, tmp_path, asked, said):
    result = measure(*asked)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_other_settings_name_what_differs(measure):
    measure()
    result = measure("--words")
    assert result.exit_code == 1
    assert "settings.words: true now, false there" in result.stderr


def test_a_run_in_which_no_row_succeeds_is_no_success(run, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,id\n,a\n  ,b\n")
    result = run("run", path, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert re.search(r"^results +0 of 2 rows", result.stdout, re.MULTILINE)
    assert "None of the 2 rows could be measured. The first error: " in result.stderr
    assert len(cm.open_run(tmp_path / "out").failures()) == 2


def test_strict_names_the_row(measure):
    result = measure("--strict")
    assert result.exit_code == 1
    assert re.search(r"rows\.csv:4 \(id 'c'\) cannot be explained, and this run stops at errors", result.stderr)


def test_plain_lines_where_there_is_no_terminal(run, tmp_path):
    write_broken(tmp_path / "rows.jsonl", rows=40, each=1)
    done = run("run", tmp_path / "rows.jsonl", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""  # a line every ten seconds
    assert "\x1b" not in done.stdout
    assert "30 of 40 rows" in done.stdout
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert manifest["summary"]["texts"] == 40


def test_a_second_ctrl_c_ends_at_once_and_says_that_it_goes_on(measure, monkeypatch, tmp_path):
    def impatient(self, batch):
        raise KeyboardInterrupt

    monkeypatch.setattr("contextmix.datasets.running.measure.Measurer.measure", impatient)
    result = measure()
    assert result.exit_code == 75
    assert "Run the same command again to resume" in result.stderr


# Questions -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def ask(run, tmp_path):
    """``run`` of questions, of which one is refused and one context does not fit, into the folder out."""
    rows = [*GOOD, {"id": "none"}, {"id": "long", "question": "Who ran?", "context": ["Tom ran. " * 100] * 2}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    fixed = ("--task", "answer", "--max-new-tokens", "3", "--out", tmp_path / "out")
    return lambda *more: run("run", path, *fixed, *more)


def test_questions_are_answered_and_counted(ask, tmp_path):
    first = ask("--truncate")
    assert first.exit_code == 0, first.stderr
    assert re.search(r"^answered +5 of 6 rows", first.stdout, re.MULTILINE)
    assert re.search(r"^context cut +1 of them", first.stdout, re.MULTILINE)
    assert re.search(r"^refused +1 *\nfailed: missing_question +1", first.stdout, re.MULTILINE)
    assert re.search(r"last process +6 rows in \d+ s: [\d.]+ rows/s", first.stdout)
    assert ask("--truncate").stdout == first.stdout
    found = cm.open_run(tmp_path / "out")
    assert found.manifest["model"]["name"] == "demo-answers"
    expected = cm.load("demo-answers").explain_answer(GOOD[1]["question"], GOOD[1]["context"], max_new_tokens=3)
    assert found.answer("written").to_dict() == expected.to_dict()


def test_every_option_of_an_answer_reaches_the_run(ask, tmp_path):
    result = ask(
        *("--method", "integrated-gradients", "--option", "steps=2", "--sources", "document", "--units", "2"),
        *("--template", "question", "--dependence", "--truncate", "--generation", "num_beams=2", "--limit", "2"),
        *("--shard-size", "1024", "--no-add-special-tokens", "--context-field", "context", "--answer-field", "answer"),
        *("--thoughts", "none", "--hops", "all"),
    )
    assert result.exit_code == 0, result.stderr
    assert cm.open_run(tmp_path / "out").manifest["settings"] == {
        "task": "answer",
        "methods": {"integrated_gradients": {"steps": 2}},
        "sources": "document",
        "units": 2,
        "max_new_tokens": 3,
        "generation": {"num_beams": 2},
        "template": "question",
        "truncate": True,
        "dependence": True,
        "thoughts": "none",
        "hops": "all",
        "add_special_tokens": False,
        "shard_size": 1024,
    }


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--task", "anser"), "--task anser is not one of explain, answer"),
        (("--method", "evidence,norm"), "An answer is explained by one method; got 2"),
        (("--query", "1"), "--query 1 has no effect in a run with --task answer"),
        (("--question-field", "q"), "rows.jsonl has no column 'q'"),
        (("--template", "x"), "--template x is none of chat, plain, question"),
        (("--sources", "chapter"), "A text is not cut by 'chapter'"),
        (("--model", "demo"), "demo"),
    ],
    ids=str,
)
def test_what_is_wrong_with_questions_is_one_sentence(ask, tmp_path, asked, said):
    result = ask(*asked)
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    assert said in result.stderr
    assert not (tmp_path / "out" / "manifest.json").exists()

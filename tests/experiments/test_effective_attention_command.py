"""The whole study as one command: what can be done is, and what cannot says why."""

import json

import pytest
from tests.experiments.heads_by_hand import TEXTS, bert, loaded
from tests.tracing.tiny import word_pieces
from typer.testing import CliRunner

from contextmix.cli import app
from contextmix.errors import BadInput, BadOption
from contextmix.evidence.reproduce import experiments_of, reproduce

ROWS = [{"text": text} for text in TEXTS]


def again(folder, rows, **settings):
    return reproduce("effective_attention", folder, model=loaded(), data=rows, progress=False, **settings)


def test_an_experiment_that_cannot_be_done_does_not_stop_the_others(tmp_path):
    found = {report.name: report for report in again(tmp_path, ROWS)}
    assert list(found) == [f"effective_attention_{one.name}" for one in experiments_of("effective_attention")]
    refused = [name for name, report in found.items() if report.summary[0].startswith("Not done. ")]
    assert refused == ["effective_attention_finetuning"]
    assert "--other-model" in found["effective_attention_finetuning"].summary[0]
    record = json.loads((tmp_path / "effective_attention_length.json").read_text())
    assert record["head_size"] == 8
    assert record["versions"].keys() >= {"torch", "transformers"}


def test_what_is_asked_for_by_name_is_refused(tmp_path):
    with pytest.raises(BadOption, match="compares two models"):
        again(tmp_path, ROWS, only=["finetuning"])
    with pytest.raises(BadInput, match="The longest of the 1 texts has 4 tokens"):
        again(tmp_path, [{"text": "a film"}], only=["length"])


def test_where_nothing_can_be_done_the_first_refusal_is_raised(tmp_path):
    with pytest.raises(BadInput, match="empty list"):
        again(tmp_path, [], other_model=loaded(1))


def test_in_a_terminal(tmp_path):
    for seed, name in enumerate(("after", "before")):
        bert(seed).float().save_pretrained(tmp_path / name)
        word_pieces().save_pretrained(tmp_path / name)
    data, out = tmp_path / "data.jsonl", tmp_path / "out"
    data.write_text("".join(json.dumps({**row, "tags": ["X"] * len(row["text"].split())}) + "\n" for row in ROWS[:3]))
    models = ["--model", tmp_path / "after", "--other-model", tmp_path / "before"]
    options = ["--only", "finetuning,speech", "--tags-field", "tags", "--data", data, "--out", out]
    found = CliRunner().invoke(app, ["reproduce", "effective_attention", *map(str, models + options)])
    assert found.exit_code == 0, found.output
    assert "How much does fine-tuning change attention" in found.output
    assert "No intervals: 3 examples: at least 10 are needed" in " ".join(found.output.split())
    assert {"effective_attention_finetuning.md", "effective_attention_speech.json"} <= {
        path.name for path in out.iterdir()
    }

"""contextmix cite."""

from typer.testing import CliRunner

from contextmix.cli import app


def test_it_prints_every_paper_once():
    result = CliRunner().invoke(app, ["cite", "norm+rollout", "attention_rollout"])
    assert result.exit_code == 0
    assert result.stdout.count("@inproceedings{kobayashi2020") == 1
    assert result.stdout.count("@inproceedings{abnar2020") == 1


def test_an_unknown_name_is_one_sentence():
    result = CliRunner().invoke(app, ["cite", "globnec"])
    assert result.exit_code == 1
    assert "globnec" in result.stderr

"""The command line: what it shows, what it writes, and how it says no."""

import io
import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tracing.tiny import settings

import contextmix as cm
from contextmix.cli import main
from contextmix.plugins.plan import Plan

FILM = "a deep and meaningful film ."
PIECES = ("[CLS]", "a", "deep", "and", "mean", "##ing", "##ful", "film", ".", "[SEP]")

Run = Callable[..., Any]


@pytest.fixture
def explain(run: Run, folder: Path) -> Run:
    """``explain`` with the tiny model."""
    return lambda *arguments, **more: run("explain", *arguments, "--model", folder, **more)


@pytest.fixture
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model fails the test: what can be refused before must be."""
    monkeypatch.setattr("contextmix.cli.arguments.load_model", lambda *_: pytest.fail("a model was loaded"))


def refusal(result: Any) -> str:
    """The one sentence on stderr with exit status 1, and nothing on stdout."""
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("contextmix: ")
    return lines[0]


def numbers(output: str) -> list[tuple[str, float]]:
    """Token and number of each line of the list."""
    found = re.findall(r"^ *\d+ +(\S+) .*?(\d+\.?\d*(?:e-?\d+)?)(?: +◀ strongest)?\s*$", output, re.MULTILINE)
    return [(token, float(number)) for token, number in found]


@pytest.mark.parametrize("place", ["auto", '{"": "disk"}'])
def test_a_model_may_wait_on_disk(run: Run, folder: Path, tmp_path: Path, place: str):
    pytest.importorskip("accelerate", reason="needs accelerate")
    for name, more in (("memory", ()), ("disk", ("--device-map", place))):
        result = run(
            "explain",
            "a deep film .",
            "--json",
            tmp_path / f"{name}.json",
            "--model",
            folder,
            *more,
            "--method",
            "globenc",
        )
        assert result.exit_code == 0, result.stderr
    found, wanted = (cm.TokenMap.load(tmp_path / f"{name}.json").values for name in ("disk", "memory"))
    assert np.allclose(found, wanted, rtol=1e-5)


def test_a_table_of_places_that_cannot_be_read(run: Run, folder: Path):
    result = run("explain", "a film .", "--model", folder, "--device-map", '{"": disk}')
    assert "--device-map takes auto" in refusal(result)


@pytest.mark.parametrize(
    ("flag", "count"), [((), 5), (("--add-special-tokens",), 7), (("--no-add-special-tokens",), 3)]
)
def test_special_tokens_are_added_as_asked(run: Run, folder: Path, tmp_path: Path, flag: tuple[str, ...], count: int):
    text = "[CLS] a film . [SEP]" if count != 3 else "a film ."
    result = run("explain", text, "--method", "norm_encoder", *flag, "--json", tmp_path / "x.json", "--model", folder)
    assert result.exit_code == 0
    assert len(cm.TokenMap.load(tmp_path / "x.json").tokens) == count
    result = run("compare", text, "--methods", "norm_encoder,globenc", *flag, "--model", folder)
    shown = len(re.findall(r"\[(?:CLS|SEP)\]", result.stdout))
    assert result.exit_code == 0
    assert (shown > 0) == (count != 3)


# explain -------------------------------------------------------------------------------------------------------------


def test_explain_shows_the_prediction_and_a_score_for_every_token(explain: Run, folder: Path):
    result = explain(FILM)
    assert result.exit_code == 0
    assert re.search(r"tiny-classifier says: (good|bad) \(\d+\.\d%\)", result.stdout)
    shown, model = numbers(result.stdout), cm.load(folder)
    assert [token for token, _ in shown] == [*PIECES, *PIECES]  # for and against the class, and the representation
    reasons = model.explain(FILM, "evidence", signed=True).values
    expected = [*reasons, *model.explain(FILM).row(0).values]
    np.testing.assert_allclose([number for _, number in shown], expected, rtol=0.05, atol=0.006 * abs(reasons).max())
    assert re.search("Why “(good|bad)”", result.stdout)
    assert result.stdout.count("◀ strongest") == 2


def test_the_text_may_come_from_an_argument_a_file_or_a_pipe(explain: Run, tmp_path: Path):
    (tmp_path / "text.txt").write_text(f"\n {FILM}\n")
    results = [
        explain(FILM),
        explain("--file", tmp_path / "text.txt"),
        explain(stdin=f"{FILM}\n"),
        explain("-", stdin=f"{FILM}\n"),
    ]
    assert {result.exit_code for result in results} == {0}
    assert len({result.stdout for result in results}) == 1


@pytest.mark.usefixtures("_no_model")
def test_a_text_and_a_file_at_once_are_refused(explain: Run, tmp_path: Path):
    (tmp_path / "text.txt").write_text(FILM)
    assert "Got both TEXT and --file" in refusal(explain(FILM, "--file", tmp_path / "text.txt"))


@pytest.mark.usefixtures("_no_model")
@pytest.mark.parametrize("name", ["missing.txt", ".", "latin.txt"])
def test_a_file_that_cannot_be_read_is_refused(explain: Run, tmp_path: Path, name: str):
    (tmp_path / "latin.txt").write_bytes("schön".encode("latin-1"))
    assert "Cannot read the text from" in refusal(explain("--file", tmp_path / name))


@pytest.mark.usefixtures("_no_model")
def test_a_pipe_that_is_no_text_is_refused(explain: Run):
    assert "Cannot read the text from the pipe" in refusal(explain(stdin="schön".encode("latin-1")))


@pytest.mark.parametrize("stdin", ["", "  \n"])
def test_an_empty_pipe_is_refused(explain: Run, stdin: str):
    assert "The text is empty" in refusal(explain(stdin=stdin))


def test_a_query_may_be_a_text_or_a_position(explain: Run, folder: Path):
    by_text, by_position, from_the_end = (explain(FILM, "--query", query) for query in ("film", 7, -3))
    assert by_text.exit_code == 0
    assert by_text.stdout == by_position.stdout == from_the_end.stdout
    assert by_text.stdout != explain(FILM).stdout
    expected = cm.load(folder).explain(FILM).row("film").values
    np.testing.assert_allclose([number for _, number in numbers(by_text.stdout)], expected, rtol=0.05)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("flim", "The input has no token 'flim'. Did you mean 'film'?"),
        ("the", "occurs 2 times, at positions 1, 4"),
        ("99", "There is no token at position 99"),
        ("²", "The input has no token '²'."),
        ("", "The input has no token ''."),
        ("--5", "The input has no token '--5'."),
    ],
)
def test_a_query_that_names_no_one_token_is_refused(explain: Run, query: str, sentence: str):
    assert sentence in refusal(explain("the deep film the good one", f"--query={query}"))


@pytest.mark.parametrize(("layers", "count"), [("all", 2), ("0,1", 2), ("1", 1), ("-1", 1)])
def test_layers_may_be_all_or_numbers(explain: Run, tmp_path: Path, layers: str, count: int):
    result = explain(FILM, f"--layers={layers}", "--json", tmp_path / "map.json")
    assert result.exit_code == 0
    assert cm.TokenMap.load(tmp_path / "map.json").shape == (count, 10, 10)


@pytest.mark.usefixtures("_no_model")
@pytest.mark.parametrize("layers", ["first", "0,x", "", "1-3"])
def test_layers_that_are_no_numbers_are_refused(explain: Run, layers: str):
    assert "--layers takes 'all' or numbers with commas" in refusal(explain(FILM, f"--layers={layers}"))


def test_a_layer_that_the_model_lacks_is_refused(explain: Run):
    assert "There is no layer 7" in refusal(explain(FILM, "--layers", "7"))


def test_words_are_merged_on_request(explain: Run, tmp_path: Path):
    result = explain(FILM, "--words", "--query", "meaningful", "--json", tmp_path / "words.json")
    assert [token for token, _ in numbers(result.stdout)] == ["[CLS]", *FILM.split(), "[SEP]"]
    assert cm.TokenMap.load(tmp_path / "words.json").shape == (8, 8)


def test_a_text_that_is_too_long_is_refused_and_cut_on_request(explain: Run):
    text = "film " * 30
    assert "has 32 tokens and the model reads at most 24" in refusal(explain(text))
    assert len(numbers(explain(text, "--truncate", "--method", "globenc").stdout)) == 24


def test_another_method_and_precision_may_be_asked_for(explain: Run, folder: Path):
    result = explain(FILM, "--method", "attention-rollout", "--dtype", "bfloat16")
    expected = cm.load(folder, dtype="bfloat16").explain(FILM, "attention_rollout").row(0).values
    np.testing.assert_allclose([number for _, number in numbers(result.stdout)], expected, rtol=0.05)


@pytest.mark.usefixtures("_no_model")
def test_an_unknown_method_is_refused_before_a_model_is_loaded(explain: Run, run: Run, folder: Path):
    said = refusal(explain(FILM, "--method", "globbenc"))
    assert "There is no method 'globbenc'. Did you mean 'globenc'?" in said
    assert "no method 'nrom'" in refusal(run("compare", FILM, "--methods", "globenc,nrom", "--model", folder))


def test_an_unknown_model_is_refused(run: Run, folder: Path, tmp_path: Path):
    said = refusal(run("explain", FILM, "--model", folder.with_name("tiny-clasifier")))
    assert "There is no model" in said
    assert f"Did you mean {str(folder)!r}?" in said
    (tmp_path / "empty").mkdir()
    assert "does not hold a model" in refusal(run("check", tmp_path / "empty"))


def test_an_unknown_precision_is_refused(explain: Run):
    assert "There is no data type 'float17'" in refusal(explain(FILM, "--dtype", "float17"))


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_the_full_result_is_written(explain: Run, folder: Path, tmp_path: Path, ending: str):
    place = tmp_path / f"map.{ending}"
    assert explain(FILM, "--query", "film", "--json", place).exit_code == 0
    found, expected = cm.TokenMap.load(place), cm.load(folder).explain(FILM)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6)
    assert (found.dims, found.tokens, found.quantity) == (expected.dims, expected.tokens, expected.quantity)
    assert found.provenance.notes["prediction"]["label"] in ("good", "bad")
    assert [path.name for path in tmp_path.iterdir()] == [place.name]


@pytest.mark.usefixtures("_no_model")
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("old.json", "already exists and would be lost"),
        ("nowhere/map.json", "there is no folder"),
        ("folder.json", "it is a folder"),
        ("map.txt", "--json writes .json or .safetensors"),
        ("old.json/map.json", "there is no folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_the_model_is_loaded(
    explain: Run, tmp_path: Path, name: str, sentence: str
):
    (tmp_path / "old.json").write_text("precious")
    (tmp_path / "folder.json").mkdir()
    assert sentence in refusal(explain(FILM, "--json", tmp_path / name))
    assert (tmp_path / "old.json").read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"old.json", "folder.json"}


def test_an_existing_file_is_replaced_on_request(explain: Run, tmp_path: Path):
    place = tmp_path / "old.json"
    place.write_text("precious")
    assert explain(FILM, "--json", place, "--force").exit_code == 0
    assert cm.TokenMap.load(place).shape == (10, 10)


def test_nothing_is_written_when_the_work_fails(explain: Run, tmp_path: Path):
    refusal(explain(FILM, "--query", "flim", "--json", tmp_path / "map.json"))
    assert not list(tmp_path.iterdir())


# Interrupted ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1])
def test_ctrl_c_during_the_work_stops_with_130_and_leaves_nothing(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
):
    traced, measure = cm.load(folder), Plan.measure
    before = settings(traced.model)

    def interrupted(self: Plan, layer: cm.LayerTrace) -> Any:
        if layer.index == at:
            signal.raise_signal(signal.SIGINT)
        return measure(self, layer)

    monkeypatch.setattr("contextmix.cli.arguments.load_model", lambda *_: traced)
    monkeypatch.setattr(Plan, "measure", interrupted)
    result = run("explain", FILM, "--json", tmp_path / "map.json")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr.strip() == "contextmix: stopped. Nothing was written."
    assert not list(tmp_path.iterdir())
    assert settings(traced.model) == before
    monkeypatch.setattr(Plan, "measure", measure)
    assert run("explain", FILM).exit_code == 0


# compare, check, methods ---------------------------------------------------------------------------------------------


def test_compare_shows_scores_and_rank_correlations(run: Run, folder: Path):
    names = ["globenc", "attention_rollout", "norm"]
    result = run("compare", FILM, "--model", folder, "--methods", ", ".join(names), "--query", "film")
    assert result.exit_code == 0
    assert "globenc (norm), attention_rollout (share), norm (norm): what “film” (position 7) draws" in result.stdout
    found = cm.load(folder).compare(FILM, names, query="film")
    lines = result.stdout.splitlines()
    for token, *scores in (found.to_dataframe() / found.to_dataframe().max()).itertuples(name=None):
        assert [token, *(f"{score:.3f}" for score in scores)] in [line.split() for line in lines]
    for number, (name, *scores) in enumerate(found.spearman.itertuples(name=None), 1):
        assert [str(number), name, *(f"{score:+.2f}" for score in scores)] in [line.split() for line in lines]


def test_compare_refuses_a_single_method(run: Run, folder: Path):
    assert "at least two different methods" in refusal(run("compare", FILM, "--model", folder, "--methods", "norm"))


def test_check_shows_what_was_proved(run: Run, folder: Path):
    result = run("check", folder)
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "BertForSequenceClassification, 2 blocks (post-norm), 2 heads" in text
    for name in ("conservation", "block equation", "parity"):
        assert float(re.search(rf"{name} +(\d\.\de[+-]\d\d)", text)[1]) < 1e-5
    assert "recorded layers 2 of 2" in text
    assert "norm_after attention.output.LayerNorm (layer)" in text
    assert run("check", folder, "--text", FILM).exit_code == 0


def test_methods_lists_every_method_and_aggregation(run: Run):
    result = run("methods")
    assert result.exit_code == 0
    for name in [*cm.methods().index, *cm.aggregations().index]:
        assert re.search(rf"^{name}\b", result.stdout, re.MULTILINE), name


def test_metrics_lists_every_metric(run: Run):
    result = run("metrics")
    assert result.exit_code == 0
    for name in cm.metrics().index:
        assert re.search(rf"^{name}\b", result.stdout, re.MULTILINE), name


def test_models_lists_what_was_tried(run: Run):
    result = run("models", "--status", "refused")
    assert result.exit_code == 0
    refused = cm.models(status="refused")
    _, *lines, _, last = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [[name, "refused"] for name in refused.index]  # one line each
    assert f"{len(refused)} refused (transformers {refused.attrs['versions']['transformers']})" in last


def test_models_tells_all_of_one_type(run: Run):
    whole = " ".join(run("models", "--type", "llama").stdout.splitlines()[1].split())
    assert re.fullmatch(r"llama verified pre-norm \(\de-\d\d\)", whole)
    parts = " ".join(run("models", "--type", "kosmos-2").stdout.split())
    assert re.search(r"kosmos-2 verified pre-norm \(\de-\d\d\), its text_model, vision_model 1 verified", parts)
    reason = " ".join(run("models", "--type", "squeezebert").stdout.split())
    assert "squeezebert refused computes attention itself, outside the attention registry of transformers" in reason
    assert reason.split("1 refused")[0].endswith("heads side by side. No number was produced. ")


def test_models_refuses_a_type_or_status_that_does_not_exist(run: Run):
    assert "Did you mean 'llama'" in refusal(run("models", "--type", "lama"))
    assert "no status 'tried'" in refusal(run("models", "--status", "tried"))


# A process of its own ------------------------------------------------------------------------------------------------

Process = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Usage: contextmix"),
        (("explain", "--nope"), "No such option: --nope"),
        (("nope",), "No such command 'nope'"),
        (("check",), "Missing argument"),
        (("explain", "a film", "more"), "unexpected extra argument"),
    ],
)
def test_a_usage_error_exits_with_2_and_the_usage_and_without_a_traceback(
    process: Process, arguments: tuple[str, ...], sentence: str
):
    done = process(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Usage: contextmix" in done.stderr
    assert sentence in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_help_needs_no_model_library(process: Process):
    done = process("explain", "--help")
    assert done.returncode == 0
    for option in ("--file", "--model", "--query", "--layers", "--words", "--truncate", "--json", "--force"):
        assert option in done.stdout.decode()


def test_a_process_explains_and_its_pipe_holds_no_colour_codes(process: Process, folder: Path, tmp_path: Path):
    done = process("explain", "--model", folder, "--json", tmp_path / "map.json", stdin=FILM.encode())
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout + done.stderr
    assert [token for token, _ in numbers(done.stdout.decode())] == [*PIECES, *PIECES]
    assert json.loads((tmp_path / "map.json").read_text())["dims"] == ["query", "key"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_lists_survive_an_encoding_that_lacks_their_signs(monkeypatch: pytest.MonkeyPatch, encoding: str):
    written = io.BytesIO()
    monkeypatch.setattr("sys.argv", ["contextmix", "metrics"])
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding=encoding, write_through=True))
    with pytest.raises(SystemExit) as leave:
        main()
    assert (leave.value.code, "spearman" in written.getvalue().decode(encoding)) == (0, True)


@pytest.mark.parametrize(("interrupt", "status"), [(False, 1), (True, 130)])
def test_main_turns_a_refusal_and_ctrl_c_into_a_sentence_and_an_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], interrupt: bool, status: int
):
    monkeypatch.setattr("sys.argv", ["contextmix", "explain", FILM, *([] if interrupt else ["--layers", "none"])])
    if interrupt:
        monkeypatch.setattr("contextmix.cli.arguments.read_text", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(SystemExit) as leave:
        main()
    said = capsys.readouterr()
    assert (leave.value.code, said.out) == (status, "")
    assert said.err.startswith("contextmix: ")
    assert len(said.err.strip().splitlines()) == 1


# The built-in model --------------------------------------------------------------------------------------------------


def test_the_built_in_model_explains_without_any_option(run: Run):
    result = run("explain", FILM)
    assert result.exit_code == 0, result.stderr
    assert "demo says: positive" in result.stdout
    assert "meaningful" in [token for token, _ in numbers(result.stdout)]


# Decoders ------------------------------------------------------------------------------------------------------------

GIRL = "Once upon a time, there was a little girl named"


def test_a_decoder_shows_its_last_token_and_says_what_comes_next(run: Run):
    result = run("explain", GIRL, "--model", "demo-decoder")
    assert "demo-decoder says after “ named”: “ Lily” (92.6%)" in result.stdout
    assert "What each token did for the score of “ Lily” after “ named”." in result.stdout
    assert "evidence: contribution to the log-odds, in nats" in result.stdout
    mixed = run("explain", GIRL, "--model", "demo-decoder", "--method", "globenc")
    assert "What “ named” (position 13) draws from each token" in mixed.stdout
    words = run("explain", GIRL, "--model", "demo-decoder", "--method", "globenc", "--words")
    assert "What “named” (position 10) draws" in words.stdout


def test_a_decoder_explains_a_chosen_token_against_another_at_a_position(run: Run):
    result = run(
        "explain", GIRL, "--model", "demo-decoder", "--method", "decompx", "--target", "Lily", "--against", "Tim",
        "--position", "4",
    )  # fmt: skip
    assert "What each token did for the score of “ Lily” over “ Tim” after “ time”." in result.stdout
    refused = run("explain", GIRL, "--model", "demo-decoder", "--method", "decompx", "--target", "Tom")
    assert "'Tom' is not one token" in refusal(refused)
    assert "--against 'Tim' needs a --target" in refusal(run("explain", GIRL, "--against", "Tim"))


def test_classes_are_contrasted(explain: Run):
    result = explain(FILM, "--method", "gradient", "--target", "good", "--against", "bad")
    assert "What each token did for the score of “good” over “bad”." in result.stdout


def test_generate_tells_the_story_and_which_tokens_made_each_token(run: Run, tmp_path: Path):
    target = tmp_path / "story.json"
    result = run("generate", GIRL, "--max-new-tokens", "3", "--method", "decompx", "--json", target)
    assert result.exit_code == 0
    assert f"demo-decoder says: {GIRL} Lily. She" in result.stdout.replace("\n", " ")
    steps = re.findall(r"^ *(\S+) +← (\S+)\s+(-?\d+)", result.stdout, re.MULTILINE)
    assert [step[:2] for step in steps] == [("Lily", "named"), (".", "Lily"), ("She", ".")]
    saved = cm.TokenMap.load(target)
    assert saved.shape == (3, 17)
    assert saved.query_tokens.pieces == (" Lily", ".", " She")


def test_generate_explains_a_given_continuation_and_a_map_of_the_last_layer(run: Run):
    result = run("generate", GIRL, "--continuation", " Tim.", "--method", "norm_encoder")
    assert f"demo-decoder reads: {GIRL} Tim." in result.stdout.replace("\n", " ")
    assert "(layer 4)" in result.stdout


@pytest.mark.parametrize("method", ["evidence", "gradient_inputs", "norm_encoder"])
def test_generate_explains_all_new_tokens_together(run: Run, tmp_path: Path, method: str):
    target = tmp_path / "story.json"
    result = run("generate", GIRL, "--continuation", " Tim. He", "--together", "--method", method, "--json", target)
    assert f"demo-decoder reads: {GIRL} Tim. He" in result.stdout.replace("\n", " ")
    saved = cm.TokenMap.load(target)
    asked = {"continuation": " Tim. He", "together": True}
    expected = cm.load("demo-decoder").explain_generation(GIRL, method, **asked)
    assert "query" not in saved.dims
    np.testing.assert_array_equal(saved.values, expected.values)
    words = run("generate", GIRL, "--continuation", " Tim. He", "--together", "--words", "--method", method)
    assert f"{GIRL} Tim. He" in words.stdout.replace("\n", " ")
    assert "--contrast" in refusal(run("generate", GIRL, "--together", "--contrast"))


def test_generate_refuses_what_cannot_go_on(run: Run):
    assert "does not generate text" in refusal(run("generate", GIRL, "--model", "demo"))
    assert "do not fit" in refusal(run("generate", GIRL, "--max-new-tokens", "600"))
    assert "There is no method 'nrm'" in refusal(run("generate", GIRL, "--method", "nrm"))

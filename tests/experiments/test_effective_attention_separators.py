"""Attention to special tokens, raw against effective: by loops, and what is said of data that show nothing."""

import json
import os
import signal
import stat

import numpy as np
import pytest
from tests.experiments.heads_by_hand import LONG, SHORT, TEXTS, bert, loaded, maps_by_hand, read
from tests.tracing.tiny import build, byte_pairs, word_pieces

import contextmix as cm
from contextmix.errors import BadInput, BadOption, Interrupted, OtherRun
from contextmix.evidence.experiment import Setup
from contextmix.evidence.streamed import streamed
from contextmix.experiments.effective_attention_separators import EXPERIMENT


def setup(folder, data, model=None, **settings):
    rows = [{"text": text} for text in data] if isinstance(data[0], str) else data
    return Setup(model or loaded(), rows, folder, progress=False, **settings)


def by_loops(weights, places):
    """Mean over rows of what goes to some places, one number after the other: (layer, head)."""
    n = weights.shape[-1]
    found = np.zeros(weights.shape[:2])
    for layer, head in np.ndindex(found.shape):
        for query in range(n):
            for key in places:
                found[layer, head] += weights[layer, head, query, key] / n
    return found


@pytest.mark.parametrize("text", [SHORT, LONG])
def test_one_text_by_loops(tmp_path, text):
    raw, effective, _ = maps_by_hand(read(text))
    (first, *_, last) = range(raw.shape[-1])
    report = EXPERIMENT.run(setup(tmp_path, [text]))
    heads = report.tables[1].numbers
    for name, place in (("[CLS]", first), ("[SEP]", last)):
        own = heads[heads["tokens"] == name]
        for column, weights in (("raw", raw), ("effective", effective), ("absolute", abs(effective))):
            np.testing.assert_allclose(own[column], by_loops(weights, [place]).ravel(), rtol=1e-9)
        sizes = abs(effective).sum(-1)
        part = np.array([[abs(head)[:, place].sum() for head in layer] for layer in effective]) / sizes.sum(-1)
        np.testing.assert_allclose(own["part"], part.ravel(), rtol=1e-9)
        np.testing.assert_allclose(own["change"], own["effective"] - own["raw"], atol=1e-12)
    by_layer = report.tables[0].numbers
    np.testing.assert_allclose(by_layer.loc[by_layer["tokens"] == "[SEP]", "raw"], raw[..., last].mean((1, 2)))
    changed = np.abs(heads["change"]).max()
    assert changed > 0.01 if text == LONG else changed == 0  # 14 and 6 tokens, heads of 8 dimensions


def test_two_separators_count_together(tmp_path):
    pair = ("a deep and very meaningful film", "the film was bad !")
    raw, _, _ = maps_by_hand(read(*pair))
    places = (read(*pair)["input_ids"][0] == 3).nonzero().flatten().tolist()
    assert len(places) == 2
    rows = [{"text": pair[0], "second": pair[1]}]
    report = EXPERIMENT.run(setup(tmp_path, rows, reading={"pair_field": "second"}))
    heads = report.tables[1].numbers
    found = heads.loc[heads["tokens"] == "[SEP]", "raw"]
    np.testing.assert_allclose(found, by_loops(raw, places).ravel(), rtol=1e-9)


def test_over_texts_there_are_intervals_and_pictures(tmp_path):
    report = EXPERIMENT.run(setup(tmp_path, TEXTS))
    table = report.tables[0].numbers
    assert (table["low"] < table["change"]).all()
    assert (table["change"] < table["high"]).all()
    assert set(table["texts"]) == {len(TEXTS)}
    names = {path.name for path in report.save(tmp_path / "report")}
    assert {"effective_attention_separators_sep.png", "effective_attention_separators_cls.svg"} <= names
    assert report.summary[0].startswith("14 texts of 7 to 15 tokens; a head has 8 dimensions, and 10 of the texts have")


def test_one_text_has_no_interval_and_it_is_said(tmp_path):
    report = EXPERIMENT.run(setup(tmp_path, [LONG]))
    assert report.tables[0].numbers["low"].isna().all()
    assert "No intervals: 1 example: at least 10 are needed for an interval." in report.summary
    assert "[" not in report.tables[0].texts["change"].iloc[0]


def test_short_texts_are_said_to_show_nothing(tmp_path):
    report = EXPERIMENT.run(setup(tmp_path, [SHORT, "bad film"]))
    assert report.summary[0].startswith("All 2 texts have at most 6 tokens and a head has 8 dimensions, so effective")


def test_a_tokenizer_without_separators_is_refused(tmp_path):
    model = cm.load(build("gpt2", "LMHeadModel", vocab_size=300), byte_pairs())
    with pytest.raises(BadOption, match="has no separator"):
        EXPERIMENT.run(setup(tmp_path, [LONG], model))
    tokenizer = byte_pairs()
    tokenizer.add_special_tokens({"eos_token": "<|end|>"})  # known, and never added
    model = cm.load(build("gpt2", "LMHeadModel", vocab_size=301), tokenizer)
    with pytest.raises(BadInput, match=r"None of the 1 texts holds the separator <\|end\|>"):
        EXPERIMENT.run(setup(tmp_path, ["a deep film"], model))


def test_a_text_with_a_problem_is_counted(tmp_path):
    report = EXPERIMENT.run(setup(tmp_path, [{"text": LONG}, {"text": " "}, {"text": None}]))
    assert "Left out: 1 texts (empty_text), 1 texts (missing_text)." in report.summary
    with pytest.raises(BadInput, match="None of the 1 texts could be measured"):
        EXPERIMENT.run(setup(tmp_path / "other", [{"text": " "}]))


# Going on ------------------------------------------------------------------------------------------------------------


def test_what_was_cut_off_is_gone_on_with(tmp_path):
    EXPERIMENT.run(setup(tmp_path, TEXTS))
    file = tmp_path / "texts" / "separators.jsonl"
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    marked = lines[2].replace(b'"tokens": 8', b'"tokens": 8, "kept": true')
    assert marked != lines[2]
    file.write_bytes(lines[0] + lines[1] + marked + lines[3][:50])
    EXPERIMENT.run(setup(tmp_path, TEXTS))
    assert file.read_bytes() == whole.replace(lines[2], marked)  # the third line was not measured again


def test_a_stopped_run_says_so_and_goes_on(tmp_path):
    def measure(row, inputs):
        if row.number == 3 and not seen:
            seen.append(row.number)
            os.kill(os.getpid(), signal.SIGTERM)
        return {"twice": 2 * inputs.length}

    seen = []
    with pytest.raises(Interrupted, match="4 of 14 texts were measured"):
        streamed(setup(tmp_path, TEXTS), "twice", measure, asked={})
    found = streamed(setup(tmp_path, TEXTS), "twice", measure, asked={})
    assert [entry["row"] for entry in found.entries] == list(range(14))
    assert all(entry["twice"] == 2 * entry["tokens"] for entry in found.entries)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and links")
def test_results_that_are_a_link_are_written_where_it_leads_and_stay_as_private(tmp_path):
    EXPERIMENT.run(setup(tmp_path / "other", TEXTS[:3]))
    whole = (tmp_path / "other" / "texts" / "separators.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    folder, real = tmp_path / "run" / "texts", tmp_path / "disk" / "kept.jsonl"
    folder.mkdir(parents=True)
    real.parent.mkdir()
    real.write_bytes(b"".join(lines[:2]) + lines[2][:20])  # it was interrupted in a line, which is written anew
    real.chmod(0o600)
    (folder / "separators.jsonl").symlink_to(real)
    EXPERIMENT.run(setup(tmp_path / "run", TEXTS[:3]))
    assert (folder / "separators.jsonl").is_symlink()
    assert real.read_bytes() == whole
    assert stat.S_IMODE(real.stat().st_mode) == 0o600


def test_a_text_with_a_token_that_the_model_lacks_is_a_problem_of_that_text(tmp_path):
    tokenizer = word_pieces()
    tokenizer.add_tokens([f"<{number}>" for number in range(30)])  # more than the 40 that the model knows
    model = cm.load(bert(), tokenizer)
    EXPERIMENT.run(setup(tmp_path, ["a good film .", "a <29> film"], model))
    line = json.loads((tmp_path / "texts" / "separators.jsonl").read_text().splitlines()[2])
    assert line["row"] == 1
    assert "The tokenizer writes '<29>' as 52, and the model knows the tokens 0 to 39" in line["reason"]


def test_results_of_other_data_or_models_are_never_mixed(tmp_path):
    EXPERIMENT.run(setup(tmp_path, TEXTS))
    header = json.loads((tmp_path / "texts" / "separators.jsonl").read_text().splitlines()[0])
    assert header["asked"] == {"kinds": ["[CLS]", "[SEP]"], "limit": 24, "truncate": True}
    for other in (setup(tmp_path, TEXTS[1:]), setup(tmp_path, TEXTS, loaded(1))):
        with pytest.raises(OtherRun, match="was measured with other settings"):
            EXPERIMENT.run(other)

"""Fixed comparisons: who takes part, what is written, what is refused before the work."""

import json
from typing import get_args

import pandas as pd
import pytest
import transformers
from tests.evidence.texts import TEXTS
from tests.models.two_stacks.models import build as encoder_decoder
from tests.tracing.tiny import build, word_pieces

import contextmix as cm
from contextmix.errors import BadInput, BadOption, UnsupportedModel
from contextmix.evidence.contest import BASELINES
from contextmix.evidence.evaluate import evaluate
from contextmix.evidence.suites import SUITES, kind_of
from contextmix.options.values import SuiteName
from contextmix.plugins.plan import METHODS, make_plan
from contextmix.plugins.scoring import METRICS


def compared(model, out, **more):
    known = {"methods": ["globenc", "occlusion"], "suite": "2026", "progress": False}
    return evaluate([{"text": text} for text in TEXTS[:11]], out, model=model, **{**known, **more})


@pytest.fixture(scope="module")
def found(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("suite")
    return compared(model, out), out


def test_every_suite_that_an_option_names_is_of_methods_and_metrics_that_exist():
    assert set(SUITES) == set(get_args(SuiteName))
    for kinds in SUITES.values():
        for lineup in kinds.values():
            assert len({make_plan(name).name for name in lineup.methods}) == len(lineup.methods) >= 20
            assert {METRICS[name].against for name in lineup.metrics} == {"model"}
            assert not any(METRICS[name].removal for name in lineup.metrics)  # each follows the suite's removals
            # A new method is no part of an old suite, and is not lost from one by mistake.
            assert {*lineup.methods, *lineup.left_out} <= set(METHODS)
            assert not {*lineup.methods} & {*lineup.left_out, *BASELINES}


def test_each_metric_stands_under_two_removals_side_by_side(found, model):
    report, out = found
    shown = report.tables[0].shown
    assert list(shown.index) == ["globenc", "occlusion", *BASELINES]
    assert [name[:-2] for name in shown.columns] == [
        f"{metric}@{removal}"
        for metric in ("aopc", "comprehensiveness", "sufficiency", "mas")
        for removal in ("mask", "masked_keys")
    ]
    assert all(cell.endswith(("°", "†")) for name in BASELINES for cell in shown.loc[name])
    assert shown.loc["attention+mean", "aopc@mask ↑"].endswith("°")
    assert not any(cell.endswith("°") for name in ("globenc", "occlusion") for cell in shown.loc[name])
    numbers = report.tables[0].numbers["mean"]
    for removal in ("mask", "masked_keys"):
        alone = evaluate([{"text": text} for text in TEXTS[:11]], out / removal, model=model, methods=["globenc"],
                         metrics=["aopc"], removal=removal, progress=False)  # fmt: skip
        assert numbers[f"aopc@{removal}", "globenc"] == pytest.approx(
            alone.tables[0].numbers["mean"]["aopc", "globenc"]
        )
    assert numbers["aopc@mask", "globenc"] != numbers["aopc@masked_keys", "globenc"]
    assert any("The suite 2026 fixes" in line and "mask, masked_keys" in line for line in report.summary)
    assert any(line.startswith("aopc@mask (more is better): ") for line in report.summary)
    assert json.loads((out / "evaluation.json").read_text())["removals"] == ["mask", "masked_keys"]
    assert len(pd.read_csv(out / "evaluation.csv")) == 8 * 5


def test_a_suite_goes_on_where_it_stopped(found, model, monkeypatch):
    report, out = found
    monkeypatch.setattr("contextmix.datasets.running.work.Work._finish", None)
    assert compared(model, out).tables[0].shown.equals(report.tables[0].shown)


def test_a_removal_that_the_model_cannot_do_gives_way_to_the_next_and_is_said(tmp_path):
    bare = word_pieces()  # has no mask
    report = compared(cm.load(build("bert", "ForSequenceClassification"), bare), tmp_path, methods=["globenc"])
    assert {name.split("@")[1][:-2] for name in report.tables[0].shown.columns} == {"masked_keys", "delete"}
    assert sum(line.startswith("Removals left out: mask (") for line in report.summary) == 1


@pytest.mark.parametrize(
    "more", [{"metrics": ["aopc"]}, {"removal": "mask"}, {"metric_options": {"mas": {"steps": 3}}}]
)
def test_what_a_suite_fixes_cannot_be_chosen_beside_it(model, tmp_path, more):
    with pytest.raises(BadOption, match="was given beside suite='2026'"):
        compared(model, tmp_path, **more)


def test_an_unknown_suite_is_refused(model, tmp_path):
    with pytest.raises(BadOption, match="suite='2025' is not one of 2026"):
        compared(model, tmp_path, suite="2025")


@pytest.mark.parametrize(
    ("name", "head", "error", "said"),
    [
        ("bert", "Model", UnsupportedModel, "no head that scores a whole text"),
        ("bert", "ForMaskedLM", UnsupportedModel, "no head that scores a whole text"),
        ("gpt2", "Model", BadInput, "can do 0 of delete, masked_keys, zero"),
    ],
)
def test_a_model_without_a_head_is_refused_before_the_work(tmp_path, name, head, error, said):
    tokenizer = word_pieces()
    tokenizer.mask_token = "[MASK]"
    with pytest.raises(error, match=said):
        compared(cm.load(build(name, head), tokenizer), tmp_path)
    assert not (tmp_path / "runs").exists()


def test_other_kinds_are_refused_with_the_reason():
    with pytest.raises(UnsupportedModel, match="is an encoder–decoder"):
        kind_of("2026", cm.load(encoder_decoder("t5"), word_pieces()))
    small = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=8, patch_size=4
    )
    with pytest.raises(UnsupportedModel, match="reads pixel_values"):
        kind_of("2026", cm.load(transformers.ViTForImageClassification(small)))
    assert kind_of("2026", cm.load("demo-decoder")) == "decoder"

"""Which checks a result carries: those that were made, and never an error of zero that nobody measured."""

import json

import numpy as np
import pytest
from tests.methods.classifiers import TEXT, loaded
from tests.methods.speakers import IDS, speaker

import contextmix as cm
from contextmix.plugins.plan import METHODS
from contextmix.results.provenance import Provenance
from contextmix.traces.checks import Checks

UNCHECKED = ["gradient", "gradient_inputs", "learned", "occlusion", "random", "recency", "smooth_gradient"]


def test_a_mixing_map_carries_the_checks_of_its_trace():
    checks = loaded().explain(TEXT, "globenc").provenance.checks
    assert checks == loaded().trace(TEXT).checks.to_dict()
    assert checks["layers"] == 2


@pytest.mark.parametrize("method", UNCHECKED)
def test_where_no_check_fits_none_is_carried_and_pages_say_so(method):
    found = loaded().explain(TEXT, method)
    assert found.provenance.checks == {}
    html = found._repr_html_()
    assert "not applicable" in html
    assert "conservation" not in html
    facts = loaded().explore(TEXT, [method]).to_exhibit()["maps"][0]["facts"]
    assert ["checks", "not applicable"] in facts


def test_decompx_carries_how_far_its_parts_are_from_the_logit():
    found = loaded().explain(TEXT, "decompx")
    parts = loaded().explain(TEXT, "decompx", target="all").values
    logits = loaded().model(**loaded().tokenizer(TEXT, return_tensors="pt")).logits[0].detach().numpy()
    gap = np.abs(parts.sum(1) - logits).max() / np.abs(parts).sum(1).max()
    assert set(found.provenance.checks) == {"completeness"}
    assert found.provenance.checks["completeness"] == pytest.approx(gap, abs=1e-15)
    assert loaded().explain(TEXT, "decompx", bias="none").provenance.checks == {}  # nothing is to add up then
    assert loaded().explain(TEXT, "decompx", ffn="relu").provenance.checks == {}


def test_integrated_gradients_carry_what_they_miss():
    found = loaded().explain(TEXT, "integrated_gradients", steps=3)
    notes, checks = found.provenance.notes, found.provenance.checks
    assert checks == {"completeness": notes["completeness_error_relative"]}
    assert 0 < checks["completeness"] < 10


def test_a_generation_carries_the_worst_check_of_its_steps():
    traced = cm.load(speaker("llama"))
    found = traced.explain_generation({"input_ids": IDS}, "integrated_gradients", max_new_tokens=3, steps=2)
    ids = list(found.tokens.ids)
    steps = [
        traced.explain({"input_ids": ids[:stop]}, "integrated_gradients", target=ids[stop], steps=2)
        for stop in range(len(IDS), len(ids))
    ]
    worst = max(step.provenance.checks["completeness"] for step in steps)
    assert worst > steps[0].provenance.checks["completeness"]
    assert found.provenance.checks == {"completeness": worst}


def test_a_run_gives_each_method_its_own_checks(tmp_path):
    methods = ["globenc", "decompx", "occlusion"]
    run = cm.run([{"text": TEXT}], tmp_path, model=loaded(), methods=methods, progress=False)
    assert set(run.row(0, "globenc").provenance.checks) == {"conservation", "block_equation"}
    for method in ("decompx", "occlusion"):
        expected = loaded().explain(TEXT, method).provenance
        assert run.row(0, method).provenance.checks == expected.checks
        assert run.row(0, method).provenance.notes == json.loads(json.dumps(dict(expected.notes)))


def test_zeros_that_older_versions_wrote_are_not_read_as_checks():
    old = Provenance("occlusion").to_dict() | {"checks": {"conservation": 0.0, "block_equation": 0.0, "layers": 0}}
    assert Provenance.from_dict(old).checks == {}
    made = {"conservation": 0.0, "block_equation": 0.0, "layers": 3}
    assert Provenance.from_dict(old | {"checks": made}).checks == made
    assert Checks().to_dict() == {}


def test_every_method_of_the_whole_model_is_listed_here():
    known = {name for name, one in METHODS.items() if not hasattr(one, "measure") and not hasattr(one, "aggregation")}
    assert known == {*UNCHECKED, "decompx", "evidence", "integrated_gradients"}

"""Manifests that lack a field, hold another type or were changed by hand: refused with the cause, or repaired."""

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.datasets.runs import ROWS, assert_same_content, measured, table_of

import contextmix as cm
from contextmix.errors import BadFile, ContextMixError, OtherRun

SETTINGS = {"methods": ["globenc", "gradient_inputs"], "metrics": ["aopc", "spearman"], "reference": "gradient_inputs"}


@pytest.fixture(scope="module")
def judged(demo, tmp_path_factory):
    return measured(ROWS, tmp_path_factory.mktemp("judged") / "out", model=demo, **SETTINGS)


@pytest.fixture
def out(judged, tmp_path):
    shutil.copytree(judged.folder.path, tmp_path / "out")
    return tmp_path / "out"


def places_in(value, path=()):
    """Every place in a manifest, as the keys that lead to it."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from places_in(inner, (*path, key))


def change(out, path, value):
    """Put another value in one place of the manifest, or nothing where the value is ``...``."""
    found = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    (out / "manifest.json").write_text(json.dumps(found), encoding="utf-8")


def read_all(out):
    """Whatever a run can be asked for."""
    found = cm.open_run(out)
    repr(found)
    found.summary(), found.failures(), found.to_pandas(), found.outcomes()
    for method in found.settings.methods:
        repr(found.row(1, method))


@pytest.mark.parametrize("name", ["settings", "data", "model", "versions", "columns", "format", "schema"])
def test_a_part_that_is_missing_or_of_another_type(out, name):
    for value in (..., None, [], "all", 3, True):
        change(out, (name,), value)
        with pytest.raises(BadFile, match=name):
            read_all(out)
        change(out, (name,), {})


@pytest.mark.parametrize("value", [None, [], "all", 3])
def test_a_summary_of_another_type(out, value):
    change(out, ("summary",), value)
    with pytest.raises(BadFile, match="summary"):
        read_all(out)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("settings", "methods"), ...),
        (("settings", "methods"), ["globenc"]),
        (("settings", "methods", "globenc"), 3),
        (("settings", "methods"), {"globbenc": {}}),
        (("settings", "methods"), {"globenc": {"colour": 1}}),
        (("settings", "methods"), {}),
        (("settings", "shard_size"), 0),
        (("settings", "shard_size"), "1024"),
        (("settings", "shard_size"), True),
        (("settings", "shard_size"), 2**63),
        (("settings", "words"), "no"),
        (("settings", "layers"), {"a": 1}),
        (("settings", "target"), [1, 2, 3]),
        (("settings", "metrics"), {"aopcc": {}}),
        (("settings", "colour"), 1),
        (("data", "rows"), ...),
        (("data", "rows"), -1),
        (("data", "rows"), "4"),
        (("data", "rows"), 2**63),
        (("data", "rows"), 1e400),
        (("columns", "globenc"), ...),
        (("columns", "globenc", "dims"), ["query"]),
        (("columns", "globenc", "quantity"), "length"),
        (("columns", "globenc", "layers"), None),
        (("columns", "globenc", "provenance"), {}),
        (("columns", "globenc", "provenance", "notes"), 3),
    ],
)
def test_a_damaged_field_is_named_when_a_run_is_opened(out, path, value):
    change(out, path, value)
    with pytest.raises(BadFile, match=r"manifest of .*out") as refusal:
        cm.open_run(out)
    assert path[0] in str(refusal.value)


@pytest.mark.parametrize("path", [("columns", "globenc"), ("columns", "globenc", "dims"), ("summary",), ("metrics",)])
def test_what_decides_no_number_is_repaired_by_the_same_command(demo, out, judged, path):
    whole = judged.manifest
    change(out, path, 3)
    found = measured(ROWS, out, model=demo, **SETTINGS)
    assert_same_content(table_of(found), table_of(judged))
    assert {**found.manifest, "summary": 0} == {**whole, "summary": 0}


@pytest.mark.parametrize("path", [("settings", "methods"), ("settings", "shard_size"), ("model",), ("data", "rows")])
def test_what_decides_numbers_is_another_run(demo, out, path):
    change(out, path, 3)
    with pytest.raises(OtherRun, match=path[0]):
        measured(ROWS, out, model=demo, **SETTINGS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_other_content_of_any_field_is_refused_or_fits(judged, demo, tmp_path_factory, data):
    out = tmp_path_factory.mktemp("changed") / "out"
    shutil.copytree(judged.folder.path, out)
    change(out, data.draw(st.sampled_from(list(places_in(judged.manifest)))), data.draw(st.just(...) | json_values))
    for work in (read_all, lambda folder: measured(ROWS, folder, model=demo, **SETTINGS)):
        try:
            work(out)
        except ContextMixError:
            continue
    shutil.rmtree(out)


@given(st.binary(max_size=60) | st.text(max_size=30).map(lambda text: text.encode()) | st.just(b"[" * 100_000))
@settings(max_examples=80, deadline=None)
def test_a_manifest_of_any_bytes(tmp_path_factory, content):
    out = tmp_path_factory.mktemp("bytes")
    (out / "manifest.json").write_bytes(content)
    with pytest.raises(BadFile, match=r"manifest\.json"):
        cm.open_run(out)

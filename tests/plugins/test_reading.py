"""What plug-in files say of themselves without being run is what they are."""

import dataclasses
import inspect
from typing import Literal, get_args, get_origin, get_type_hints

import pandas as pd
import pytest

import contextmix as cm
from contextmix.errors import BadOption, UnknownName, WrongQuantity
from contextmix.plugins.contracts import Method, options_of
from contextmix.plugins.plan import make_plan
from contextmix.plugins.reading import constant_of, texts_of
from contextmix.plugins.registry import AGGREGATIONS, METHODS, METRICS, Registry
from contextmix.plugins.selection import selected, selected_metric
from contextmix.results.provenance import Quantity

EVERY = [(registry, name) for registry in (METHODS, AGGREGATIONS, METRICS) for name in registry]
each_plugin = pytest.mark.parametrize(("registry", "name"), EVERY, ids=[name for _, name in EVERY])


def named_values(function) -> dict[str, tuple]:
    """Option → the values that its type names."""
    hints = get_type_hints(function)
    kinds = {name: hints[name] for name in options_of(function)}
    return {
        name: (True, False) if kind is bool else get_args(kind) if get_origin(kind) is Literal else ()
        for name, kind in kinds.items()
    }


@each_plugin
def test_what_is_read_is_what_is_run(registry: Registry, name: str):
    read, run = constant_of(f"{registry.package}.{name}", registry.constant), registry[name]
    assert read is not None, "the constant is made of other things than contracts.py promises"
    assert type(read) is type(run)
    for one in dataclasses.fields(run):
        mine, true = getattr(read, one.name), getattr(run, one.name)
        if inspect.isfunction(true):
            assert named_values(mine) == named_values(true)
            assert mine.__name__ == true.__name__
        else:
            assert mine == true


def test_a_function_that_was_read_refuses_to_compute():
    with pytest.raises(NotImplementedError, match="norm"):
        constant_of("contextmix.methods.norm", "METHOD").measure(None)


@each_plugin
def test_names_are_looked_up_alike(registry: Registry, name: str):
    registry = Registry(registry.package, registry.constant, registry.kind)  # one that has imported nothing yet
    assert registry.described(name.replace("_", "-")).name == name
    with pytest.raises(UnknownName, match=name):
        registry.described(name + "x")


def test_a_plan_computes_by_the_functions_of_its_method():
    plan = make_plan("norm+rollout", options={"normalise": True})
    assert plan.method is METHODS["norm"]
    assert plan.aggregation is AGGREGATIONS["rollout"]
    assert plan.aggregation_options == {"normalise": True}


def write(path, monkeypatch, package: str, **files: str) -> Registry:
    folder = path / package
    folder.mkdir()
    for stem, source in {"__init__": "", **files}.items():
        (folder / f"{stem}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(path)
    return Registry(package, "METHOD", "method")


PLAIN = """
import {library}
from contextmix.plugins.contracts import Method, QuantityBy
from contextmix.plugins.papers import ABNAR_2020

def measure(layer, *, sharp: bool = False, size: int = 3): ...

METHOD = Method(
    name="plain",
    measure=measure,
    quantity=QuantityBy("sharp", {{True: Quantity.NORM}}, otherwise=Quantity.SHARE),
    formula="F" "G",
    paper=ABNAR_2020,
    cost="n",
)
"""


def test_a_file_is_described_though_it_cannot_be_run(tmp_path, monkeypatch):
    registry = write(tmp_path, monkeypatch, "shelf_plain", plain=PLAIN.format(library="no_such_library"))
    found = registry.described("plain")
    assert isinstance(found, Method)
    assert (found.formula, found.needs) == ("FG", "none")
    assert found.quantity({"sharp": True}) is Quantity.NORM
    assert named_values(found.measure) == {"sharp": (True, False), "size": ()}


def test_a_constant_that_only_running_can_tell_is_run(tmp_path, monkeypatch):
    registry = write(tmp_path, monkeypatch, "shelf_made", made="def make(name): return name\nNAME = 'x'\nMETHOD = NAME")
    assert registry.described("made") == "x"
    other = write(tmp_path, monkeypatch, "shelf_other", other="from types import SimpleNamespace as N\nMETHOD = N(a=1)")
    assert other.described("other").a == 1


def test_texts_are_read_of_a_constant_of_any_kind():
    found = texts_of("contextmix.experiments.value_zeroing_cues", "EXPERIMENT")
    assert (found["study"], found["name"]) == ("value_zeroing", "cues")
    assert texts_of("contextmix.experiments.value_zeroing_cues", "NOTHING") == {}


@pytest.mark.parametrize(
    ("asked", "kind", "said"),
    [
        (("globnec",), UnknownName, "no method 'globnec'.*'globenc'"),
        (("norm+rolout",), UnknownName, "no aggregation 'rolout'.*'rollout'"),
        (("globenc", None, {"normalize": True}), UnknownName, "no option of globenc 'normalize'.*'normalise'"),
        (("value_zeroing", None, {"distance": "cosin"}), BadOption, "distance='cosin' is not allowed.*'cosine'"),
        (("globenc", "mean"), BadOption, "with mean it would be another"),
        (("occlusion", "mean"), BadOption, "no layers for mean to combine"),
        (("gradient", "rollout"), BadOption, "no layers for rollout to combine"),
        (("norm", "flow", {"rows": "share"}), BadOption, "rows='share' is not allowed"),
        (("norm", "rollout", {"heads": "each"}), BadOption, "heads='each' gives one per head"),
    ],
)
def test_what_does_not_fit_is_refused(asked: tuple, kind: type, said: str):
    for ask in (selected, make_plan):
        with pytest.raises(kind, match=said):
            ask(*asked)


def test_numbers_that_an_option_makes_unfit_are_refused():
    assert selected("hta", "rollout").quantity is Quantity.GRADIENT
    with pytest.raises(WrongQuantity, match="flow combines"):
        selected("hta", "flow")


def test_a_metric_is_refused_by_its_name_and_its_options():
    assert selected_metric("aopc", {"order": "least_first"}).name == "aopc"
    with pytest.raises(UnknownName, match=r"no metric 'aop'.*'aopc'"):
        selected_metric("aop")
    with pytest.raises(UnknownName, match=r"no .*option of the metric aopc 'oder'.*'order'"):
        selected_metric("aopc", {"oder": "least_first"})
    with pytest.raises(BadOption, match=r"by='size' is not allowed; by is 'value' or 'magnitude'"):
        selected_metric("aopc", {"by": "size"})


@pytest.mark.parametrize(
    ("table", "registry"), [("methods", METHODS), ("aggregations", AGGREGATIONS), ("metrics", METRICS)]
)
def test_python_still_gets_a_table(table: str, registry: Registry):
    frame = getattr(cm, table)()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.index) == sorted(registry)
    for name, row in frame.iterrows():
        assert (row["formula"], row["paper"]) == (registry[name].formula, registry[name].paper.short)

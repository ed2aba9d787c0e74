"""Explorations: the same maps as one by one, in one run, told step by step; and what they are written and shown as."""

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from tests.models.two_stacks.models import WRITTEN
from tests.models.two_stacks.models import build as build_two_stacks
from tests.tracing.senses import photo, seeing
from tests.tracing.tiny import build, hook_count, one_thread, settings, word_pieces

import contextmix as cm
from contextmix.errors import (
    BadInput,
    BadOption,
    OutputExists,
    OutputUnwritable,
    UnknownName,
    UnknownToken,
    UnsupportedModel,
    WrongShape,
)
from contextmix.views.page import pages

FILM = "a deep and meaningful film ."


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def classifier() -> cm.TracedModel:
    return cm.load(build("bert", "ForSequenceClassification"), word_pieces())


def runs_of(model: cm.TracedModel) -> list[int]:
    """One entry per run of the model from now on."""
    assert (len(model.anatomy()), model.is_causal) == (2, False)  # finding out takes runs
    counted: list[int] = []
    model.model.get_input_embeddings().register_forward_pre_hook(lambda *_: counted.append(1))
    return counted


def test_each_map_is_what_explain_gives_and_one_run_serves_all():
    model = cm.load(build("bert", "ForSequenceClassification"), word_pieces())
    names = ["globenc", "attention", "gradient_inputs", "norm", "value_zeroing"]
    options = {"value_zeroing": {"distance": "euclidean"}}
    alone = {name: model.explain(FILM, name, layers="all", **options.get(name, {})) for name in names[1:2] + names[3:]}
    alone |= {"globenc": model.explain(FILM, "globenc", layers="all")}
    alone |= {"gradient_inputs": model.explain(FILM, "gradient_inputs", target=0)}
    counted = runs_of(model)
    found = model.explore(FILM, names, target=0, options=options)
    assert list(found.maps) == names
    for name, one in alone.items():
        assert found.maps[name].to_dict() == one.to_dict()
    both = len(counted)
    model.explain(FILM, "gradient_inputs")
    assert both - (len(counted) - both) == 1


def test_left_out_methods_fit_the_model(classifier):
    assert list(classifier.explore(FILM).maps) == [
        "integrated_gradients",
        "globenc",
        "alti_rollout",
        "attention_rollout",
        "norm_encoder",
        "attention",
    ]
    found = classifier.explore(FILM)
    both = found.maps["integrated_gradients"]
    assert both.dims == ("target", "key")
    for label in both.targets:
        alone = classifier.explain(FILM, "integrated_gradients", target=label, steps=20)
        np.testing.assert_array_equal(both.target(label).values, alone.values)
    said = classifier.explain(FILM, "integrated_gradients", steps=20)
    np.testing.assert_array_equal(found.row("integrated_gradients").values, said.values)
    assert found.comparison().rows["integrated_gradients"].dims == ("key",)
    document = found.to_exhibit()
    assert document["maps"][0]["signed"]
    assert (document["start"]["map"], document["start"]["beside"]) == (0, 1)
    without = cm.load(build("bert", "Model"), word_pieces())
    assert list(without.explore(FILM).maps)[-1] == "attention"
    with pytest.raises(UnsupportedModel, match="no score per class"):
        without.explore(FILM, target="good")


def test_heads_are_kept_apart_where_a_method_can(classifier):
    found = classifier.explore(FILM, ["norm_encoder", "attention", "effective_attention", "norm"], heads=True)
    each = classifier.explain(FILM, "norm", heads="each")
    assert [("head" in one.dims) for one in found.maps.values()] == [False, True, True, True]
    assert found.maps["norm"].to_dict() == each.to_dict()
    with pytest.raises(
        BadOption, match=r"none of globenc, gradient can do that\. These can: attention, effective_attention, norm"
    ):
        classifier.explore(FILM, ["globenc", "gradient"], heads=True)
    with pytest.raises(WrongShape, match="attention has one per head"):
        found.comparison()


def test_a_causal_model_is_asked_at_the_query():
    model = cm.load("demo-decoder")
    story = "Once upon a time, there was a little girl named"
    found = model.explore(story, ["gradient_inputs", "attention"], query=5, layers=[-1])
    assert found.maps["gradient_inputs"].to_dict() == model.explain(story, "gradient_inputs", position=5).to_dict()
    assert found.maps["attention"].layers == (4,)
    assert found.query == 5
    assert model.explore(story, ["attention"]).query == 13
    document = found.to_exhibit()
    assert document["start"] == {"map": 0, "layer": None, "query": 5}
    assert document["prediction"] == {"label": " there", "probability": pytest.approx(0.9, abs=0.1), "after": ","}


def test_a_masked_model_is_asked_at_its_mask():
    tokenizer = word_pieces()
    tokenizer.mask_token = "deep"  # a word of its small vocabulary
    model = cm.load(build("bert", "ForMaskedLM"), tokenizer)
    found = model.explore("a deep film")
    assert found.query == found.tokens.position("deep") == 2
    assert found.maps["gradient_inputs"].provenance.notes["position"] == 2
    assert "gradient_inputs" not in model.explore("a film").maps


def test_a_list_gives_a_list(classifier):
    found = classifier.explore(["a film", "a deep film"], ["attention"])
    assert [len(one.tokens) for one in found] == [4, 5]


def test_an_image_lies_below_its_own_maps():
    found = seeing("vit").explore(photo(), ["attention"])
    media = found.to_exhibit()["media"]
    assert media["source"].startswith("data:image/jpeg;base64,")
    assert (media["width"], media["height"]) == (100, 60)
    assert found.maps["attention"].tokens == found.tokens
    assert pages.still(found).count("data:image/jpeg") == 1


def test_two_stacks_are_joined_in_one_run():
    model = cm.load(build_two_stacks("bart"), None)
    source = {"input_ids": np.array([5, 9, 11, 6])}
    told: list[float] = []
    found = model.explore(source, output=WRITTEN, progress=lambda done, _: told.append(done))
    assert list(found.maps) == ["globenc", "alti_rollout", "alti"]
    for name, one in found.maps.items():
        assert one.to_dict() == model.explain(source, name, output=WRITTEN, layers="all").to_dict()
    document = found.to_exhibit()
    assert (len(document["queries"]["pieces"]), len(document["keys"]["pieces"])) == (5, 9)
    assert told == sorted(told)
    assert set(told) == {step / 6 for step in range(7)}
    with pytest.raises(BadOption, match="heads and target"):
        model.explore(source, heads=True)
    with pytest.raises(BadOption, match="attention leaves out the residual"):
        model.explore(source, ["attention"])


# Refusals and progress -----------------------------------------------------------------------------------------------


def test_what_makes_no_sense_is_refused_before_the_work(classifier):
    with pytest.raises(BadOption, match="target='good' names a score"):
        classifier.explore(FILM, ["globenc"], target="good")
    with pytest.raises(BadOption, match="options for 'norm', which is not explored"):
        classifier.explore(FILM, ["globenc"], options={"norm": {}})
    for methods in ("globenc", [], ["norm", "norm"]):
        with pytest.raises(BadOption, match="list of different names"):
            classifier.explore(FILM, methods)
    with pytest.raises(UnknownName):
        classifier.explore(FILM, ["globnc"])
    with pytest.raises(UnknownName, match="in this exploration 'norm'"):
        classifier.explore(FILM, ["globenc"]).row("norm")
    with pytest.raises(BadOption, match="exploration is empty"):
        cm.Exploration({})
    with pytest.raises(UnknownToken):
        classifier.explore(FILM, ["globenc"], query="whale", progress=lambda *_: pytest.fail("work began"))


def test_progress_is_told_before_each_step(classifier):
    told: list[tuple[float, str]] = []
    classifier.explore(FILM, ["attention", "globenc", "gradient"], progress=lambda *step: told.append(step))
    shares, steps = zip(*told, strict=True)
    assert steps[0] == "attention, layer 1 of 2"
    assert steps[-1] == "done"
    assert {"globenc, layer 2 of 2", "globenc, all layers", "gradient"} <= set(steps)
    assert list(shares) == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)


@pytest.mark.parametrize("when", ["value_zeroing, layer 2 of 2", "globenc, all layers", "integrated_gradients"])
def test_an_error_from_progress_ends_the_work_and_leaves_the_model_as_it_was(classifier, when):
    class Stop(Exception):
        pass

    told: list[str] = []

    def progress(_: float, what: str) -> None:
        told.append(what)
        if told.count(when) == (3 if when == "integrated_gradients" else 1):  # in the middle of its many runs
            raise Stop

    before = settings(classifier.model), hook_count(classifier.model)
    with pytest.raises(Stop):
        classifier.explore(FILM, ["value_zeroing", "globenc", "integrated_gradients"], progress=progress)
    assert (settings(classifier.model), hook_count(classifier.model)) == before
    assert told[-1] == when
    assert classifier.explain(FILM, "attention", query=0).dims == ("layer", "key")


# Pages, cells and terminals ------------------------------------------------------------------------------------------


def documents(path: Path) -> list[dict]:
    page = path.read_text(encoding="utf-8")
    return [json.loads(text) for text in re.findall(r"<script [^>]*data-contextmix>(.*?)</script>", page)]


def test_everything_can_be_written_as_a_page(classifier, tmp_path):
    found = classifier.explore(FILM, ["globenc", "attention"])
    place = tmp_path / "film.html"
    found.save(place)
    assert documents(place) == [found.to_exhibit()]
    assert documents(place)[0]["maps"][0]["formula"] == "rollout of N_Enc"
    written = place.read_bytes()
    with pytest.raises(OutputExists):
        found.save(place)
    found.save(place, overwrite=True)
    assert place.read_bytes() == written  # the same result, the same bytes
    found.save(tmp_path / "two.html", beside=[classifier.explore("a film", ["attention"])], title="Two films")
    assert [one["title"] for one in documents(tmp_path / "two.html")] == [FILM, "a film"]
    found.maps["attention"].save(tmp_path / "attention.html")
    assert [one["name"] for one in documents(tmp_path / "attention.html")[0]["maps"]] == ["attention"]
    found.comparison().save(tmp_path / "rows.htm")
    assert [one["dims"] for one in documents(tmp_path / "rows.htm")[0]["maps"]] == [["key"], ["key"]]
    with pytest.raises(OutputUnwritable, match=r"must end in \.html"):
        found.save(tmp_path / "film.json")
    with pytest.raises(BadOption, match="file of numbers"):
        found.maps["attention"].save(tmp_path / "a.json", over="photo.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attention.html", "film.html", "rows.htm", "two.html"]


def test_a_page_says_no_folder_but_where_it_tells_how_it_was_made(classifier):
    found = classifier.explore(FILM, ["globenc"])
    one = found.maps["globenc"]
    far = cm.Exploration({"globenc": one.derive(provenance=one.provenance.derive(model="/drafts/of/mine/"))})
    document = far.to_exhibit()
    assert (document["model"], pages.said(far)[:9]) == ("mine", "mine says")
    assert "/drafts" not in pages.still(far).partition("<details")[0]
    assert ["model", "/drafts/of/mine/"] in document["maps"][0]["facts"]


def test_comparison_is_that_of_compare(classifier):
    names = ["globenc", "attention", "gradient"]
    found = classifier.explore(FILM, names).comparison("film").to_dataframe()
    np.testing.assert_allclose(found, classifier.compare(FILM, names, query="film").to_dataframe(), rtol=1e-5)


def test_a_terminal_shows_a_row_and_what_there_is(classifier, capsys):
    classifier.explore(FILM, ["globenc", "attention"], heads=False).show()
    shown = capsys.readouterr().out
    assert re.search(r"says: LABEL_\d \(\d+\.\d%\)", shown)
    assert "What “[CLS]” (position 0) draws from each token (layer 1)." in shown
    assert re.search(r"attention +\S+, \S+, \S+ +2 layer × \d+ query × \d+ key", shown)
    assert "exploration.save('x.html')" in shown


def test_a_cell_holds_a_picture_without_script(classifier):
    found = classifier.explore("a <b>film</b>", ["attention", "norm"], heads=True)
    shown = pages.still(found)
    assert found._repr_html_() == shown
    assert "<b>" not in shown
    assert "<script" not in shown
    assert shown.count("<figure") == 2
    assert "says: LABEL_" in shown
    cell, _ = found._repr_mimebundle_()
    assert set(cell) == {"text/plain", "text/html"}
    assert cell["text/html"].startswith(shown)
    assert "contextmix[notebook]" in cell["text/html"]


def test_a_notebook_gets_the_widget_and_the_picture(classifier, monkeypatch):
    pytest.importorskip("anywidget")
    found = classifier.explore(FILM, ["attention"])
    assert found.widget().exhibit == found.to_exhibit()
    monkeypatch.setattr("contextmix.views.page.fragment.is_running", lambda: True)
    formatter = importlib.import_module("IPython.core.formatters").DisplayFormatter()
    cell, _ = formatter.format(found)  # what a kernel sends
    assert "application/vnd.jupyter.widget-view+json" in cell
    assert cell["text/plain"] == repr(found)
    assert cell["text/html"] == pages.still(found)
    monkeypatch.setattr("contextmix.views.page.pages.has_widgets", lambda: False)
    assert "application/vnd.jupyter.widget-view+json" not in found._repr_mimebundle_()[0]
    with pytest.raises(BadInput, match=r"contextmix\[notebook\]"):
        found.widget()

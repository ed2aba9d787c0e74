"""`Run`: what is read back, of runs that are finished and of others."""

import json

import numpy as np
import pytest
from tests.datasets.runs import ROWS, TEXTS, measured

import contextmix as cm
from contextmix.datasets.running.measure import Measurer
from contextmix.errors import BadFile, BadInput, BadOption, UnknownName, UnknownPosition, WrongShape

DATA = [*ROWS[:2], {"text": " ", "label": 1}, *ROWS[2:]]


@pytest.fixture(scope="module")
def run(demo, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    return measured(DATA, out, model=demo, methods=["globenc", "decompx"], maps=True, shard_size=3, target="all")


@pytest.fixture
def unfinished(demo, tmp_path, monkeypatch):
    """A run whose second shard meets a defect."""
    real, done = Measurer.measure, []

    def measure(self, batch):
        done.extend(one.row.number for one in batch)
        if max(done) > 3:
            raise ZeroDivisionError
        return real(self, batch)

    monkeypatch.setattr(Measurer, "measure", measure)
    with pytest.raises(ZeroDivisionError):
        measured(DATA, tmp_path, model=demo, shard_size=3)
    return cm.open_run(tmp_path)


def test_what_it_says_of_itself(run):
    assert (len(run), run.total, run.finished) == (7, 7, True)
    assert repr(run).endswith("globenc, decompx of 7 of 7 rows>")
    told = run.summary()
    assert (told["rows"], told["done"], told["results"], told["failed"]) == (7, 7, 6, 1)
    assert told["problems"] == {"empty_text": 1}
    assert told["texts"] == 7
    assert told["tokens"] == run.to_pandas().tokens.map(len).sum()
    assert 0 < told["texts_per_second"] < told["tokens_per_second"]


def test_columns_are_chosen_by_name(run):
    frame = run.to_pandas(["prediction", "globenc"])
    assert list(frame.columns) == ["prediction", "globenc"]
    assert frame.index.tolist() == [0, 1, 3, 4, 5, 6]
    assert list(run.to_pandas(["row"]).columns) == []
    with pytest.raises(UnknownName, match=r"no column of this run 'predictions'. Did you mean 'prediction'"):
        run.to_pandas(["predictions"])


def test_failures_say_where_and_why(run):
    frame = run.failures()
    assert list(frame.columns) == ["id", "source", "problem", "reason"]
    assert frame.loc[2].to_dict() == {
        "id": "2",
        "source": "item 2",
        "problem": "empty_text",
        "reason": "The field 'text' holds only white space. Fill it in, or leave the row out.",
    }


def test_a_row_is_a_token_map_with_all_that_belongs_to_it(run, demo, tmp_path, capsys):
    found, expected = run.row(1, "globenc"), demo.explain(TEXTS[1], query=0)
    assert found.provenance.title == expected.provenance.title
    assert found.provenance.versions == expected.provenance.versions
    assert found.provenance.notes["prediction"] == pytest.approx(expected.provenance.notes["prediction"])
    assert found.provenance.checks["conservation"] == pytest.approx(
        expected.provenance.checks["conservation"], abs=1e-5
    )
    assert found.selected == {"query": 0, "layer": 2}
    assert found.tokens.spans[1] == (0, 3)
    assert found.words().tokens.pieces == expected.words().tokens.pieces
    assert [token for token, _ in found.top(3)] == [token for token, _ in expected.top(3)]
    found.show()
    shown = capsys.readouterr().out
    assert "globenc" in shown
    assert "shines" in shown
    for ending in ("json", "safetensors"):
        found.save(tmp_path / f"row.{ending}")
        loaded = cm.TokenMap.load(tmp_path / f"row.{ending}")
        assert np.array_equal(loaded.values, found.values)
        assert loaded.provenance == found.provenance
    json.dumps(found.to_dict())


def test_maps_and_targets_are_token_maps_too(run, capsys):
    run.map(0, "globenc").show("film")
    assert "film" in capsys.readouterr().out
    classes = run.row(0, "decompx")
    assert classes.target("positive").dims == ("key",)
    classes.target("positive").show()
    assert classes.provenance.title in capsys.readouterr().out
    with pytest.raises(WrongShape):
        classes.row(0)


@pytest.mark.parametrize("number", [-1, 7, 10**9])
def test_rows_that_do_not_exist(run, number):
    for read in (run.row, run.map):
        with pytest.raises(UnknownPosition, match=rf"no row {number} .*7 of 7 rows"):
            read(number, "globenc")


def test_what_a_run_refuses(run, demo, tmp_path):
    with pytest.raises(BadInput, match=r"Row 2 \(item 2\) has no scores\. The field 'text' holds only white space"):
        run.row(2, "globenc")
    with pytest.raises(BadOption, match=r"This run measured globenc, decompx. Choose one"):
        run.row(0)
    with pytest.raises(UnknownName, match=r"no method in this run 'norm'.*Known: decompx, globenc"):
        run.row(0, "norm")
    with pytest.raises(BadOption, match="did not keep maps of decompx"):
        run.map(0, "decompx")
    alone = measured(DATA, tmp_path / "alone", model=demo)
    assert alone.row(0).values.shape == (8,)
    with pytest.raises(BadOption, match=r"did not keep maps of globenc.*maps=True"):
        alone.map(0)


def test_a_map_that_was_removed(demo, tmp_path):
    found = measured(ROWS, tmp_path, model=demo, maps=True)
    for path in (tmp_path / "maps").iterdir():
        path.unlink()
    with pytest.raises(BadFile, match="The map of row 1 is missing"):
        found.map(1)
    assert found.row(1).dims == ("key",)


def test_an_unfinished_run_shows_what_it_has(unfinished):
    assert (len(unfinished), unfinished.total, unfinished.finished) == (3, 7, False)
    assert "3 of 7 rows" in repr(unfinished)
    assert unfinished.summary() == {
        "rows": 7,
        "done": 3,
        "results": 2,
        "failed": 1,
        "problems": {"empty_text": 1},
    }
    assert unfinished.row(1).tokens.pieces[0] == "[CLS]"
    with pytest.raises(UnknownPosition, match=r"no row 4 .*3 of 7 rows, whole shards of 3"):
        unfinished.row(4)


def test_a_run_that_has_no_shard_yet(demo, tmp_path, monkeypatch):
    def defect(self, batch):
        raise ZeroDivisionError

    monkeypatch.setattr(Measurer, "measure", defect)
    with pytest.raises(ZeroDivisionError):
        measured(ROWS, tmp_path, model=demo)
    found = cm.open_run(tmp_path)
    assert (len(found), found.finished) == (0, False)
    assert "0 of 6 rows" in repr(found)
    assert found.summary() == {"rows": 6, "done": 0, "results": 0, "failed": 0, "problems": {}}
    for read in (found.to_pandas, found.failures):
        with pytest.raises(BadFile, match="holds no finished shard yet"):
            read()
    with pytest.raises(UnknownPosition, match="0 of 6 rows"):
        found.row(0)


def test_a_missing_shard_is_told_and_the_others_are_read(demo, tmp_path):
    found = measured(DATA, tmp_path, model=demo, shard_size=3)
    found.folder.shard(1).unlink()
    found = cm.open_run(tmp_path)
    assert (len(found), found.finished) == (4, False)
    assert found.to_pandas(["id"]).index.tolist() == [0, 1, 6]
    assert found.row(6).tokens.pieces[-1] == "[SEP]"
    with pytest.raises(UnknownPosition):
        found.row(3)


def test_shards_are_in_order_beyond_five_digits(demo, tmp_path):
    found = measured(ROWS[:1], tmp_path, model=demo)
    for number in (99_999, 100_000):
        found.folder.shard(number).write_bytes(found.folder.shard(0).read_bytes())
    (tmp_path / "shards" / "._00000.parquet").write_bytes(b"what some systems leave")
    assert [path.stem for path in found.folder.shards()] == ["00000", "99999", "100000"]
    assert len(cm.open_run(tmp_path)) == 3


@pytest.mark.parametrize("name", ["nothing", "file", "folder"])
def test_what_is_no_run(tmp_path, name):
    (tmp_path / "file").write_text("here")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadFile, match="is not the folder of a run"):
        cm.open_run(tmp_path / name)


def test_a_run_of_another_schema(demo, tmp_path):
    measured(ROWS[:1], tmp_path, model=demo)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "schema": 99}))
    with pytest.raises(BadFile, match="written with schema 99"):
        cm.open_run(tmp_path)

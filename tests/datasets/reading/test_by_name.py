"""Data sets of the library `datasets`: saved, in a folder of files, in memory; the network is never asked."""

import pickle
import subprocess
import sys

import pytest

from contextmix.datasets.reading.source import open_source
from contextmix.errors import BadInput, BadOption

datasets = pytest.importorskip("datasets")

TABLE = {"text": [f"text {number}" for number in range(3000)], "label": [number % 2 for number in range(3000)]}


@pytest.fixture
def dataset():
    labels = datasets.ClassLabel(names=["no", "yes"])
    return datasets.Dataset.from_dict(TABLE, features=datasets.Features(text=datasets.Value("string"), label=labels))


def check(source):
    assert source.count == 3000
    assert [(row.text, row.label) for row in source.rows()] == list(zip(*TABLE.values(), strict=True))
    assert [row.text for row in source.rows(2047, 2050)] == TABLE["text"][2047:2050]


def test_in_memory(dataset):
    source = open_source(dataset)
    check(source)
    check(open_source(dataset.with_format("numpy")))
    check(open_source(datasets.DatasetDict(train=dataset)))
    assert not source.portable
    assert next(source.rows(5)).where == "item 5"
    chosen = dataset.shuffle(seed=1).select(range(10))
    assert [row.text for row in open_source(chosen).rows()] == chosen["text"][:]


def test_saved_to_disk(dataset, tmp_path):
    dataset.save_to_disk(tmp_path / "saved")
    source = open_source(str(tmp_path / "saved"))
    check(source)
    assert source.portable
    assert next(source.rows(5)).where == "saved:5"
    (tmp_path / "moved").mkdir()
    (tmp_path / "saved").rename(tmp_path / "moved" / "saved")
    again = open_source(tmp_path / "moved" / "saved")
    assert again.fingerprint == source.fingerprint
    dataset.select(range(10)).save_to_disk(tmp_path / "other")
    assert open_source(tmp_path / "other").fingerprint["sha256"] != source.fingerprint["sha256"]


def test_a_copy_works_in_another_process(dataset, tmp_path):
    dataset.save_to_disk(tmp_path / "saved")
    sent = pickle.dumps(open_source(str(tmp_path / "saved")))
    assert len(sent) < 20_000
    code = (
        "import pickle, sys; rows = pickle.load(sys.stdin.buffer).rows(1500, 1502); print([row.text for row in rows])"
    )
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, cwd=tmp_path / "elsewhere")
    assert done.stdout.decode().strip() == "['text 1500', 'text 1501']", done.stderr.decode()


def test_a_split_is_chosen(dataset, tmp_path):
    both = datasets.DatasetDict(train=dataset, test=dataset.select(range(7)))
    both.save_to_disk(tmp_path / "saved")
    for data in (both, str(tmp_path / "saved")):
        assert open_source(data, split="test").count == 7
        with pytest.raises(BadOption, match=r"has several splits: 'train', 'test'\. Choose one with split"):
            open_source(data)
        with pytest.raises(BadOption, match=r"has no split 'dev'\. It has 'train', 'test'\."):
            open_source(data, split="dev")
    with pytest.raises(BadOption, match="a single split, so split='dev' cannot be chosen"):
        open_source(dataset, split="dev")


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # datasets 3.0 leaves that to the garbage collector
def test_a_folder_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "train.csv").write_text("text,label\ngood,1\nbad,0\n")
    (folder / "test.csv").write_text("text,label\nfine,1\n")
    assert [(row.text, row.label) for row in open_source(str(folder), split="train").rows()] == [
        ("good", 1),
        ("bad", 0),
    ]
    assert [row.text for row in open_source(str(folder), split="test").rows()] == ["fine"]


def test_a_stream_has_no_way_back(dataset):
    with pytest.raises(BadInput, match="The Dataset is a stream"):
        open_source(dataset.to_iterable_dataset())


def test_a_name_that_is_not_found(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    with pytest.raises(BadInput, match="nobody/nothing is not a file, and datasets cannot load it as a data set: "):
        open_source("nobody/nothing", split="train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="datasets cannot load it as a data set: "):
        open_source(str(tmp_path / "empty"))

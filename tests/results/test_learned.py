"""Weights of heads in a file: what is written comes back, and what is no such file is refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from contextmix.errors import BadFile, BadInput, BadOption, OutputExists, WrongShape
from contextmix.results.learned import Learned

MADE = Learned("norm", (np.array([0.5, 0.0]), np.array([1.0, 2.0, 3.0])), (4.0, 5.0), {"model": "demo", "n": [1]})


def test_what_is_saved_comes_back(tmp_path):
    MADE.save(tmp_path / "x.safetensors")
    found = Learned.load(tmp_path / "x.safetensors")
    assert [one.tolist() for one in found.weights] == [[0.5, 0.0], [1.0, 2.0, 3.0]]
    assert (found.feature, found.sizes, found.record) == ("norm", (4.0, 5.0), {"model": "demo", "n": [1]})
    with pytest.raises(OutputExists):
        MADE.save(tmp_path / "x.safetensors")
    MADE.save(tmp_path / "x.safetensors", overwrite=True)
    with pytest.raises(BadOption, match="ends otherwise"):
        MADE.save(tmp_path / "x.json")
    assert repr(found) == "<Learned norm: 5 heads of 2 blocks, of 'demo'>"


def written(path, **changes):
    told = {"format": "contextmix.learned", "schema": "1", "feature": "norm", "record": "{}"}
    arrays = {"weights": np.ones(2), "heads": np.array([2]), "sizes": np.ones(1)}
    told |= {name: one for name, one in changes.items() if isinstance(one, str)}
    arrays |= {name: one for name, one in changes.items() if not isinstance(one, str)}
    save_file(arrays, path, told)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "contextmix.tokenmap"},
        {"schema": "2"},
        {"feature": "magic"},
        {"record": "{"},
        {"record": json.dumps([1])},
        {"weights": np.array([1.0, np.nan])},
        {"weights": np.array([1.0, -1.0])},
        {"heads": np.array([1, 0])},
        {"heads": np.array([3])},
        {"sizes": np.ones(2)},
    ],
)
def test_what_holds_something_else_is_refused(tmp_path, changes):
    assert Learned.load(written(tmp_path / "good.safetensors")).sizes == (1.0,)
    with pytest.raises(BadFile, match="holds no weights of contextmix fit"):
        Learned.load(written(tmp_path / "x.safetensors", **changes))


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"no")
    for path in (tmp_path / "x.safetensors", tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(BadFile, match="holds no weights"):
            Learned.load(path)


@pytest.mark.parametrize(
    ("feature", "weights", "sizes", "error"),
    [
        ("norms", ([1.0],), (1.0,), BadInput),
        ("norm", ([1.0],), (1.0, 2.0), WrongShape),
        ("norm", ([],), (1.0,), WrongShape),
        ("norm", ([np.inf],), (1.0,), BadInput),
        ("norm", "x", (1.0,), TypeError),
    ],
)
def test_weights_that_cannot_be(feature, weights, sizes, error):
    with pytest.raises(error):
        Learned(feature, weights, sizes)


def test_another_model_is_told_apart():
    MADE.refuse_other_model([2, 3], [4.001, 5.0])  # another precision
    with pytest.raises(BadOption, match=r"learned on 'demo'.*this model has 2 blocks"):
        MADE.refuse_other_model([2, 2], [4.0, 5.0])
    with pytest.raises(BadOption, match="parameters of this one"):
        MADE.refuse_other_model([2, 3], [4.2, 5.0])

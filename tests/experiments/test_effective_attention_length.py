"""Distance between raw and effective attention: zero up to the size of a head, by loops above it."""

import math

import numpy as np
import pytest
from tests.experiments.heads_by_hand import D_HEAD, LONG, TEXTS, loaded, maps_by_hand, read

from contextmix.errors import BadInput
from contextmix.evidence.experiment import Setup
from contextmix.experiments.effective_attention_length import EXPERIMENT, lengths_of


def run(folder, texts):
    return EXPERIMENT.run(Setup(loaded(), [{"text": text} for text in texts], folder, progress=False))


def cut(length):
    """LONG as a tokenizer cuts it: first tokens and the last separator."""
    tensors = read(LONG)
    return {
        name: tensors[name][:, [*range(length - 1), -1]] for name in ("input_ids", "token_type_ids", "attention_mask")
    }


def by_loops(raw, effective):
    found = np.zeros(raw.shape[:2])
    for layer, head in np.ndindex(found.shape):
        above = below = 0.0
        for query, key in np.ndindex(raw.shape[2:]):
            above += (effective[layer, head, query, key] - raw[layer, head, query, key]) ** 2
            below += raw[layer, head, query, key] ** 2
        found[layer, head] = math.sqrt(above) / math.sqrt(below)
    return found


def test_one_text_by_loops(tmp_path):
    heads = run(tmp_path, [LONG]).tables[1].numbers
    assert sorted(set(heads["tokens"])) == [4, 8, 9, 10, 12]  # 14 tokens; 16 and 24 need longer texts
    for length, own in heads.groupby("tokens"):
        raw, effective, _ = maps_by_hand(cut(length))
        if length <= D_HEAD:
            assert (own["mean"] == 0).all()
        else:
            np.testing.assert_allclose(own["mean"], by_loops(raw, effective).ravel(), rtol=1e-9)
            assert (own["mean"] > 1e-3).all()


def test_over_texts(tmp_path):
    report = run(tmp_path, TEXTS)
    table = report.tables[0].numbers.set_index("tokens")
    assert (table.loc[[4, 8], ["mean", "low", "high", "largest"]] == 0).all(axis=None)
    assert (table.loc[[4, 8], "unchanged"] == 1).all()
    above = table.loc[[9, 10, 12]]
    assert (above["mean"] > 0).all()
    assert list(above["texts"]) == [10, 8, 5]
    assert above["low"].isna().tolist() == [False, True, True]  # ten texts are enough for an interval, eight are not
    assert (table["output"] < 1e-10).all()  # what heads send on stays
    said = " ".join(report.summary)
    assert "With 8 tokens the distance is exactly zero in all 48 maps." in said
    assert "No interval for 8 examples: at least 10 are needed for an interval." in said
    names = {path.name for path in report.save(tmp_path / "report")}
    assert {"effective_attention_length.png", "effective_attention_length_heads.png"} <= names


def test_texts_no_longer_than_a_head_are_refused(tmp_path):
    with pytest.raises(BadInput, match="The longest of the 2 texts has 6 tokens and a head has 8 dimensions"):
        run(tmp_path, ["a good film .", "bad"])


def test_lengths_stand_around_the_size_of_a_head():
    assert lengths_of(64, 512) == [32, 64, 65, 80, 96, 128, 192, 256, 384, 512]
    assert lengths_of(4, None)[:3] == [3, 4, 5]


def test_real_reviews_on_a_real_model(tmp_path, shared):
    """MiniLM has heads of 32 dimensions: nothing is lost in 16 tokens, and much in 33 and more."""
    paths = sorted(shared("data/eraser_movies/docs").glob("negR_00[0-2].txt"))
    rows = [{"text": " ".join(path.read_text(encoding="utf-8").split()[:70])} for path in paths]
    model = str(shared("models/minilm-sst2"))
    table = EXPERIMENT.run(Setup(model, rows, tmp_path, progress=False)).tables[0].numbers.set_index("tokens")
    assert list(table.index) == [16, 32, 33, 40, 48, 64]
    assert table.loc[16, "largest"] == 0
    assert table.loc[32, "unchanged"] > 0.99  # now and then the values of 32 tokens are dependent to rounding
    assert table.loc[33:, "mean"].is_monotonic_increasing
    assert table.loc[33, "mean"] > 0.3
    assert (table["output"] < 1e-4).all()

"""Similarity of maps before and after fine-tuning: by loops, and models that cannot be compared."""

import json
import math

import numpy as np
import pytest
from tests.experiments.heads_by_hand import LONG, TEXTS, bert, loaded, maps_by_hand, read
from tests.tracing.tiny import word_pieces

import contextmix as cm
from contextmix.errors import BadOption
from contextmix.evidence.experiment import Setup
from contextmix.experiments.effective_attention_finetuning import EXPERIMENT


def run(folder, texts, other):
    rows = [{"text": text} for text in texts]
    return EXPERIMENT.run(Setup(loaded(), rows, folder, progress=False, other_model=other))


def cosine(one, other):
    dot = size = other_size = 0.0
    for place in np.ndindex(one.shape):
        dot += one[place] * other[place]
        size += one[place] ** 2
        other_size += other[place] ** 2
    return dot / math.sqrt(size) / math.sqrt(other_size)


def test_one_text_by_loops(tmp_path):
    report = run(tmp_path, [LONG], loaded(1))
    heads = report.tables[1].numbers.set_index(["layer", "head"])
    ours, theirs = maps_by_hand(read(LONG)), maps_by_hand(read(LONG), seed=1)
    for place, kind in enumerate(("raw", "effective")):
        for layer, head in np.ndindex(2, 2):
            wanted = cosine(ours[place][layer, head], theirs[place][layer, head])
            assert heads.loc[(layer + 1, head + 1), kind] == pytest.approx(wanted, rel=1e-9)
            assert wanted < 0.99


def test_a_model_is_like_itself(tmp_path):
    table = run(tmp_path, [LONG], cm.load(bert(), word_pieces())).tables[0].numbers
    np.testing.assert_allclose(table[["raw", "effective"]], 1.0, rtol=1e-12)


def test_over_texts(tmp_path):
    report = run(tmp_path, TEXTS, loaded(1))
    table = report.tables[0].numbers
    for name in ("raw", "effective", "change"):
        assert (table[f"low {name}"] < table[name]).all()
        assert (table[name] < table[f"high {name}"]).all()
    assert len(report.save(tmp_path / "report")) == 12


def test_a_text_that_only_the_second_model_does_not_know_is_a_problem_of_that_text(tmp_path):
    run(tmp_path, ["a deep film .", "a bad film ."], cm.load(bert(1, vocab_size=15), word_pieces()))
    (path,) = (tmp_path / "texts").glob("*.jsonl")
    line = json.loads(path.read_text().splitlines()[2])
    assert line["row"] == 1
    assert "The tokenizer writes 'bad' as 15, and the model knows the tokens 0 to 14" in line["reason"]


def test_models_that_are_no_pair_are_refused(tmp_path):
    with pytest.raises(BadOption, match="name the second one"):
        run(tmp_path, TEXTS, None)
    with pytest.raises(BadOption, match=r"has 2 layers of 2 heads and .* 1 of 2"):
        run(tmp_path, TEXTS, cm.load(bert(num_hidden_layers=1), word_pieces()))
    other = word_pieces()
    other.backend_tokenizer.normalizer = None  # tells The from the
    with pytest.raises(BadOption, match="At item 1 the two models read different tokens"):
        run(tmp_path, ["the film", "The film"], cm.load(bert(1), other))

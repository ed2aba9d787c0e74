"""Targets and cues in a model's tokens, and the scores of cues by loops."""

import copy

import numpy as np
import pytest
from tests.experiments.pairs import VERBS, determiners, write

import contextmix as cm
from contextmix.errors import BadInput, UnsupportedModel
from contextmix.evidence.blimp import PARADIGMS, read_pairs
from contextmix.evidence.cues import CHANCE, ROLLED, SINGLE, alignments, material, placed, scores
from contextmix.evidence.experiment import Setup

ANA, DNA, DNAA, DARN, RPSV = PARADIGMS


@pytest.fixture(scope="module")
def model():
    return cm.load("demo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pairs = {DNA: [*determiners(2), ("Mary saw these globs.", "Mary saw this globs.")], RPSV: VERBS}
    return write(tmp_path_factory.mktemp("pairs"), **pairs)


@pytest.fixture(scope="module")
def setup(model, folder, tmp_path_factory):
    return Setup(model, folder, tmp_path_factory.mktemp("out"), progress=False)


@pytest.mark.parametrize("masked", [False, True])
def test_target_and_cue_are_where_the_words_are(model, folder, masked):
    found = placed(model, read_pairs(folder), masked=masked)
    assert len(found.placed) == 7
    assert found.dropped == {}
    for one in found.placed:
        tokens = model.encode(one.text)[0].tokens
        assert len(tokens) == one.length
        word = one.pair.good[slice(*one.pair.target)].lower()
        assert tokens.pieces[one.query] == ("[MASK]" if masked else word)
        cue = "".join(tokens.pieces[place].removeprefix("##") for place in one.cue)
        assert cue == one.pair.good[slice(*one.pair.cue)].lower()
        assert one.marks.tolist() == [place in one.cue for place in range(one.length)]
    assert len(found.placed[2].cue) > 1  # all pieces of "globs"


def test_a_target_of_several_pieces_is_dropped_and_counted(model, tmp_path):
    pairs = {RPSV: [("Mary unplugs it.", "Mary unplug it."), *VERBS[:1]]}
    found = placed(model, read_pairs(write(tmp_path, **pairs)), masked=False)
    assert len(found.placed) == 1
    assert found.dropped == {"the target is not one piece in both its forms": 1}
    assert found.told == "1 pairs (not used: 1 where the target is not one piece in both its forms)."


def test_where_nothing_is_left_it_is_said_why(model, tmp_path):
    folder = write(tmp_path, **{RPSV: [("Mary unplugs it.", "Mary unplug it.")]})
    with pytest.raises(BadInput, match=r"can use none of 1 pairs.*not one piece"):
        material(Setup(model, folder, tmp_path), masked=False)


def test_a_causal_model_is_not_asked_for_what_it_does_not_see(tmp_path):
    decoder = cm.load("demo-decoder")
    some = [("She saw a dog.", "She see a dog.")]
    found = placed(decoder, read_pairs(write(tmp_path, **{DNA: determiners(3), RPSV: some})), masked=False)
    assert not any(one.pair.paradigm == DNA for one in found.placed)


def test_a_cue_behind_the_target_of_a_causal_model_is_dropped(model, folder, monkeypatch):
    monkeypatch.setitem(model.__dict__, "is_causal", True)
    found = placed(model, read_pairs(folder), masked=False)
    assert [one.pair.paradigm for one in found.placed] == [RPSV] * 4
    assert found.dropped == {"the cue comes after the target, where a causal model does not look": 3}


def test_a_model_without_a_mask_cannot_hide_the_target(model, folder):
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.mask_token = None
    with pytest.raises(UnsupportedModel, match="no mask token"):
        placed(cm.load(model.model, tokenizer), read_pairs(folder), masked=True)
    with pytest.raises(BadInput, match="no tokenizer"):
        placed(cm.load(model.model), read_pairs(folder), masked=False)


def test_data_that_is_no_folder_is_refused(model, tmp_path):
    with pytest.raises(BadInput, match="The folder of BLiMP's data is needed"):
        material(Setup(model, [{"text": "a"}], tmp_path), masked=False)


def by_loops(row, query, cue):
    """Dot product, average precision, and the first without the target; tied tokens are found in one step."""
    total = others = on_cue = 0.0
    for place, value in enumerate(row):
        total += value
        others += value if place != query else 0.0
        on_cue += value if place in cue else 0.0
    precision = recall = 0.0
    for least in sorted(set(row), reverse=True):
        chosen = [place for place, value in enumerate(row) if value >= least]
        hits = sum(place in cue for place in chosen)
        precision += hits / len(chosen) * (hits / len(cue) - recall)
        recall = hits / len(cue)
    return on_cue / total, precision, on_cue / others


def test_alignments_by_loops(setup, model):
    found = material(setup, masked=True)
    run = scores(setup, found, masked=True)
    aligned = alignments(run, found)
    assert list(aligned) == [*SINGLE, *ROLLED, CHANCE]
    for number in (0, 2, 5):
        one = found.placed[number]
        for method in (*SINGLE, *ROLLED):
            rows = run.row(number, method).values
            alone = model.explain(one.text, method, query=one.query, layers="all").values
            np.testing.assert_allclose(rows, alone, rtol=1e-3, atol=1e-6)
            assert aligned[method].shape == (3, 7, len(rows))
            for layer, row in enumerate(rows):
                expected = by_loops(row.astype(float).tolist(), one.query, one.cue)
                np.testing.assert_allclose(aligned[method][:, number, layer], expected, rtol=1e-9)
        share = len(one.cue) / (one.length - 1)
        np.testing.assert_allclose(aligned[CHANCE][:, number, 0], [share] * 3, rtol=1e-12)


def test_a_second_time_nothing_is_measured_again(setup):
    found = material(setup, masked=True)
    first = scores(setup, found, masked=True)
    (shard,) = (setup.out / "runs" / "cues_masked" / "shards").glob("*.parquet")
    before = shard.stat().st_mtime_ns
    again = scores(setup, found, masked=True)
    assert shard.stat().st_mtime_ns == before
    assert again.to_pandas(["alti"]).equals(first.to_pandas(["alti"]))

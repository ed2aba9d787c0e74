"""Largest weights by part of speech: by loops, from a column of tags, and from spaCy where it is installed."""

import sys

import numpy as np
import pytest
from tests.experiments.heads_by_hand import LONG, TEXTS, loaded, maps_by_hand, read

from contextmix.errors import BadInput, BadOption
from contextmix.evidence.experiment import Setup
from contextmix.evidence.speech import is_punctuation
from contextmix.experiments.effective_attention_speech import EXPERIMENT

# the deep and very mean ##ing ##ful film was un ##real !
TAGS = ["DET", "ADJ", "CCONJ", "ADV", "ADJ", "NOUN", "VERB", "ADJ", "PUNCT"]
KINDS = ["[CLS]", "DET", "ADJ", "CCONJ", "ADV", "ADJ", "ADJ", "ADJ", "NOUN", "VERB", "ADJ", "ADJ", "PUNCT", "[SEP]"]


def run(folder, rows, **settings):
    return EXPERIMENT.run(Setup(loaded(), rows, folder, progress=False, **settings))


@pytest.mark.parametrize("tags", [TAGS, " ".join(TAGS)])
def test_one_text_by_loops(tmp_path, tags):
    report = run(tmp_path, [{"text": LONG, "tags": tags}], tags_field="tags")
    heads = report.tables[1].numbers.set_index(["kind", "head"])
    raw, effective, _ = maps_by_hand(read(LONG))
    assert raw.shape[-1] == len(KINDS)
    assert set(heads.index.get_level_values(0)) == set(KINDS)
    for kind in set(KINDS):
        for head in range(2):
            for column, weights in (("raw", raw), ("effective", abs(effective))):
                largest = 0.0
                for key, own in enumerate(KINDS):
                    if own == kind and weights[-1, head, 0, key] > largest:
                        largest = weights[-1, head, 0, key]
                assert heads.loc[(kind, head + 1), column] == pytest.approx(largest, rel=1e-5)  # runs keep float32


def test_the_kinds_of_the_paper_come_first(tmp_path):
    table = run(tmp_path, [{"text": LONG, "tags": TAGS}], tags_field="tags").tables[0].numbers
    assert list(table["kind"]) == ["NOUN", "VERB", "ADJ", "ADV", "CCONJ", "DET", "PUNCT", "[CLS]", "[SEP]"]
    assert table["low"].isna().all()


def test_without_tags_special_tokens_and_punctuation_are_told_apart(tmp_path):
    report = run(tmp_path, [{"text": text} for text in TEXTS])
    table = report.tables[0].numbers.set_index("kind")
    assert list(table.index) == ["PUNCT", "[CLS]", "[SEP]", "other words"]
    assert table.loc["PUNCT", "texts"] == sum("." in text or "!" in text for text in TEXTS)
    assert table.loc["[CLS]", "texts"] == len(TEXTS)
    assert np.isfinite(table.loc["[CLS]", "low"])
    assert report.summary[-1].startswith("Parts of speech were not asked for: name a column")
    assert "effective_attention_speech.png" in {path.name for path in report.save(tmp_path / "report")}


def test_tags_that_do_not_fit_are_counted_and_left_out(tmp_path):
    rows = [{"text": LONG, "tags": TAGS}, {"text": LONG, "tags": TAGS[1:]}, {"text": LONG, "tags": 7}]
    report = run(tmp_path, rows, tags_field="tags")
    assert "Left out: 2 texts (wrong_tags)." in report.summary
    with pytest.raises(BadInput, match="item 0 has 8 tags for 9 words"):
        run(tmp_path / "other", rows[1:], tags_field="tags")


def test_what_cannot_be_tagged_is_refused(tmp_path, monkeypatch):
    rows = [{"text": LONG, "tags": TAGS, "second": "a film"}]
    with pytest.raises(BadOption, match=r"no column 'tag'\. Did you mean 'tags'"):
        run(tmp_path, rows, tags_field="tag")
    with pytest.raises(BadOption, match="not both"):
        run(tmp_path, rows, tags_field="tags", tagger="en_core_web_sm")
    with pytest.raises(BadOption, match="these are pairs"):
        run(tmp_path, rows, tags_field="tags", reading={"pair_field": "second"})
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(BadOption, match=r'pip install "contextmix\[speech\]"'):
        run(tmp_path, rows, tagger="en_core_web_sm")


def test_spacy_tags_texts(tmp_path):
    spacy = pytest.importorskip("spacy")
    pipeline = spacy.blank("en")
    pipeline.to_disk(tmp_path / "blank")
    with pytest.raises(BadOption, match="finds no parts of speech"):
        run(tmp_path, [{"text": LONG}], tagger=str(tmp_path / "blank"))
    ruler = pipeline.add_pipe("attribute_ruler")
    for tag, words in (("NOUN", ["film"]), ("VERB", ["saw", "was"]), ("ADJ", ["deep", "meaningful", "unreal"])):
        ruler.add([[{"LOWER": word}] for word in words], {"POS": tag})
    pipeline.to_disk(tmp_path / "rules")
    report = run(tmp_path, [{"text": LONG}], tagger=str(tmp_path / "rules"))
    assert list(report.tables[0].numbers["kind"])[:3] == ["NOUN", "VERB", "ADJ"]
    with pytest.raises(BadOption, match="spaCy finds no pipeline"):
        run(tmp_path, [{"text": LONG}], tagger="no_such_pipeline")


def test_punctuation():
    assert [is_punctuation(piece) for piece in (".", "##", "##!", "'s", "film", "##s")] == [True] * 3 + [False] * 3

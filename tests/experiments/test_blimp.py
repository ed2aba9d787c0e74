"""Minimal pairs of number agreement: target, cue and number."""

import json
from collections import Counter

import pytest
from tests.experiments.pairs import VERBS, determiners, write

from contextmix.errors import BadFile, BadInput
from contextmix.evidence.blimp import ABBREVIATIONS, PARADIGMS, is_blimp, pair_of, read_pairs, written_out

ANA, DNA, DNAA, DARN, RPSV = PARADIGMS


@pytest.mark.parametrize(
    ("paradigm", "good", "bad", "target", "cue", "plural"),
    [
        (ANA, "Susan revealed herself.", "Susan revealed themselves.", "herself", "Susan", False),
        (ANA, "A lot of men help themselves.", "A lot of men help himself.", "themselves", "men", True),
        (
            ANA,
            "Harvard University can hurt itself.",
            "Harvard University can hurt themselves.",
            "itself",
            "University",
            0,
        ),
        (ANA, "The Great Lakes hid themselves.", "The Great Lakes hid itself.", "themselves", "Lakes", True),
        (ANA, "Customers hurt themselves.", "Customers hurt himself.", "themselves", "Customers", True),
        (DNA, "Some dog stunned this committee.", "Some dog stunned these committee.", "this", "committee", False),
        (DNA, "Jill likes those grocery stores.", "Jill likes that grocery stores.", "those", "stores", True),
        (DNAA, "Al saw these out in the open malls.", "Al saw this out in the open malls.", "these", "malls", True),
        (DARN, "A niece of most men hasn't won.", "A niece of most men haven't won.", "has", "niece", False),
        (DARN, "The newspaper articles about art win.", "The newspaper articles about art wins.", "win", "articles", 1),
        (RPSV, "Paula can't, or passes it.", "Paula can't, or pass it.", "passes", "or", False),
        (RPSV, "These newspaper articles try it.", "These newspaper articles tries it.", "try", "articles", True),
        (RPSV, "Paula's friend goes there.", "Paula's friend go there.", "goes", "friend", False),
    ],
)
def test_target_cue_and_number_follow_the_template(paradigm, good, bad, target, cue, plural):
    pair = pair_of(paradigm, 0, good, bad)
    assert pair.good[slice(*pair.target)] == target
    assert pair.bad[: pair.bad_target[0]] == pair.good[: pair.target[0]]
    assert pair.good[pair.target[1] :] == pair.bad[pair.bad_target[1] :]
    assert pair.good[slice(*pair.cue)] == cue
    assert pair.plural == plural


def test_contractions_are_written_out():
    told = "I won't, can't, shan't, hasn't, couldn't; Paula's."
    assert written_out(told) == "I will not, cannot, shall not, has not, could not; Paula's."


@pytest.mark.parametrize(
    ("paradigm", "good", "bad", "why"),
    [
        (DNA, "Mary saw this film.", "Mary knew these film.", "exactly one word"),
        (DNA, "Mary saw this film.", "Mary saw this film.", "exactly one word"),
        (DNA, "Mary saw this film.", "Mary saw film.", "number of words"),
        (DARN, "These films are good.", "These films is good.", "template"),
        (RPSV, "Are these good?", "Is these good?", "template"),
        (DNA, "Mary saw this.", "Mary saw these.", "template"),
        (RPSV, "Mary saw it.", "Mary came it.", "which is the singular"),
    ],
)
def test_a_pair_that_cannot_be_used_is_counted_by_its_reason(tmp_path, paradigm, good, bad, why):
    folder = write(tmp_path, **{paradigm: [(good, bad)], RPSV if paradigm != RPSV else ANA: VERBS[1:2]})
    if paradigm == RPSV:
        write(tmp_path, **{ANA: [("Mary saw herself.", "Mary saw themselves.")]})
    found = read_pairs(folder)
    assert len(found.kept) == 1
    ((reason, count),) = found.dropped.items()
    assert why in reason
    assert count == 1


def test_pairs_come_in_the_order_of_paradigms_and_lines(tmp_path):
    folder = write(tmp_path, **{RPSV: VERBS, DNA: determiners(5)})
    found = read_pairs(folder, limit=3)
    assert [one.paradigm for one in found.kept] == [DNA] * 3 + [RPSV] * 3
    assert [one.number for one in found.kept] == [0, 1, 2] * 2
    assert found.dropped == {}


def test_a_folder_without_the_paradigms_is_refused(tmp_path):
    (tmp_path / "other.jsonl").write_text("{}\n")
    assert not is_blimp(tmp_path)
    with pytest.raises(BadInput, match="no folder of BLiMP"):
        read_pairs(tmp_path)


def test_a_folder_in_which_nothing_can_be_used_is_refused(tmp_path):
    with pytest.raises(BadInput, match="1 where the sentences do not differ in exactly one word"):
        read_pairs(write(tmp_path, **{DNA: [("a b", "a b")]}))
    with pytest.raises(BadInput, match="empty"):
        read_pairs(write(tmp_path, **{DNA: []}))


@pytest.mark.parametrize("line", ["{", "[]", '{"sentence_good": "a"}', '{"sentence_good": "a", "sentence_bad": 3}'])
def test_a_line_that_is_no_pair_is_named(tmp_path, line):
    folder = write(tmp_path, **{DNA: determiners(1)})
    with (folder / f"{DNA}.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(BadFile, match=f"{DNA}.jsonl:2"):
        read_pairs(folder)


def test_the_rules_agree_with_the_fields_of_the_real_data(shared):
    """BLiMP says of each pair what stands before the target, or which noun ends the sentence."""
    folder = shared("data/blimp")
    found = read_pairs(folder)
    assert len(found.kept) == 5000
    assert found.dropped == {}
    texts = {name: (folder / f"{name}.jsonl").read_text(encoding="utf-8") for name in PARADIGMS}
    own = {name: [json.loads(line) for line in text.splitlines()] for name, text in texts.items()}
    plural = Counter()
    for pair in found.kept:
        told, cue = own[pair.paradigm][pair.number], pair.good[slice(*pair.cue)]
        if "two_prefix_word" in told:
            assert cue == told["two_prefix_word"].split()[-1]
            continue
        before = written_out(told["one_prefix_prefix"])
        assert pair.good[: pair.target[0]].strip() == before
        assert cue in before.split()
        if pair.paradigm == RPSV:
            assert cue == before.split()[-1]
        if pair.paradigm == DARN:  # all of its nouns are regular
            assert cue.endswith("s") == pair.plural
        plural[pair.paradigm, pair.plural] += 1
    assert plural[DARN, True] == 509
    assert set(ABBREVIATIONS.values()) == {"ana", "dna", "dnaa", "darn", "rpsv"}

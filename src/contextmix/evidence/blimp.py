"""Number agreement in BLiMP: which word must agree, and the word that it agrees with, from the pairs' own structure.

A minimal pair differs in one word, the target. The sentences were generated from templates, so where the cue stands is
known without a parser, which the released code of Value Zeroing used:

==============================================  ==============================  ====================================
paradigm                                        target                          cue
==============================================  ==============================  ====================================
anaphor_number_agreement                        reflexive pronoun               the subject, which opens the sentence:
                                                                                the word after its determiner
determiner_noun_agreement_2, …_with_adj_2       this, that, these, those        its noun, which ends the sentence
distractor_agreement_relational_noun            verb                            the noun before "of" or "about"
regular_plural_subject_verb_agreement_1         verb                            the word before the verb
==============================================  ==============================  ====================================

Of a noun of several words ("grocery store", "Harvard University") the cue is the last one, its head.

The number is that of the right form. At least 7 of the 1,000 pairs of the last paradigm have the two sentences the
wrong way round ("Those drivers disgusts Dan."); they are kept, as BLiMP has them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contextmix.errors import BadFile, BadInput
from contextmix.plugins.papers import Paper

WARSTADT_2020 = Paper(
    "Warstadt et al.",
    2020,
    "BLiMP: The Benchmark of Linguistic Minimal Pairs for English",
    "TACL",
    "https://aclanthology.org/2020.tacl-1.25",
)
Span = tuple[int, int]
"""First character, and one past the last."""

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_CONTRACTIONS = (("can't", "cannot"), ("won't", "will not"), ("shan't", "shall not"), ("n't", " not"))
_DETERMINERS = {"a", "an", "the", "this", "that", "these", "those"}
_DETERMINERS |= {"some", "all", "most", "many", "every", "each", "no"}
_ONE_WORD_FORMS = {
    "singular": {"this", "that", "is", "was", "has", "does", "himself", "herself", "itself"},
    "plural": {"these", "those", "are", "were", "have", "do", "themselves"},
}


@dataclass(frozen=True)
class Pair:
    """Two sentences that differ in one word.

    Attributes:
        paradigm: Its name.
        number: Its line in the file, from 0.
        good: The sentence that is right, contractions written out.
        bad: The one that is wrong.
        target: Where the word that differs stands in the good sentence.
        bad_target: Where it stands in the bad one.
        cue: Where the word that it agrees with stands in the good sentence.
        plural: Whether the right form is the plural.
    """

    paradigm: str
    number: int
    good: str
    bad: str
    target: Span
    bad_target: Span
    cue: Span
    plural: bool


@dataclass(frozen=True)
class Pairs:
    """What was read.

    Attributes:
        kept: Pairs with a target, a cue and a number.
        dropped: Why others were not kept → how many.
    """

    kept: tuple[Pair, ...]
    dropped: Mapping[str, int]


class _NotKept(Exception):
    """Why a pair is not kept."""


def is_blimp(data: Any) -> bool:
    """Whether this names a folder with at least one of the paradigms.

    Example:
        >>> is_blimp("reviews.tsv")
        False
    """
    return isinstance(data, str | Path) and any((Path(data) / f"{name}.jsonl").is_file() for name in PARADIGMS)


def read_pairs(folder: Path | str, limit: int | None = None) -> Pairs:
    """The pairs of the paradigms of number agreement.

    Args:
        folder: Holds ``PARADIGM.jsonl`` for one or more of `PARADIGMS`, with ``sentence_good`` and ``sentence_bad``.
        limit: Only the first so many pairs of each paradigm.

    Returns:
        Pairs in the order of `PARADIGMS`. Of BLiMP's own five files none is dropped.

    Raises:
        BadInput: If there is none of the paradigms, or no pair can be kept.
        BadFile: If a line is no pair.
    """
    if not is_blimp(folder):
        raise BadInput(
            f"{folder} is no folder of BLiMP: it holds none of {', '.join(f'{name}.jsonl' for name in PARADIGMS)}. "
            "Give the folder with the files of BLiMP's data; one of these paradigms is enough."
        )
    kept: list[Pair] = []
    dropped: Counter[str] = Counter()
    for paradigm in PARADIGMS:
        path = Path(folder) / f"{paradigm}.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        for number, line in enumerate(lines[:limit]):
            good, bad = _sentences(line, f"{path.name}:{number + 1}")
            try:
                kept.append(pair_of(paradigm, number, good, bad))
            except _NotKept as why:
                dropped[str(why)] += 1
    if not kept:
        raise BadInput(f"No pair in {folder} can be used: {_listed(dropped) or 'its files are empty'}.")
    return Pairs(tuple(kept), dict(dropped))


def pair_of(paradigm: str, number: int, good: str, bad: str) -> Pair:
    """Find target, cue and number of one pair.

    Example:
        >>> pair = pair_of(
        ...     "distractor_agreement_relational_noun",
        ...     0,
        ...     "The prints of Matt don't win.",
        ...     "The prints of Matt doesn't win.",
        ... )
        >>> [pair.good[slice(*span)] for span in (pair.target, pair.cue)], pair.plural
        (['do', 'prints'], True)
    """
    good, bad = written_out(good), written_out(bad)
    right, wrong = list(_WORD.finditer(good)), list(_WORD.finditer(bad))
    if len(right) != len(wrong):
        raise _NotKept("the sentences differ in their number of words")
    differing = [place for place, (a, b) in enumerate(zip(right, wrong, strict=True)) if a[0] != b[0]]
    if len(differing) != 1:
        raise _NotKept("the sentences do not differ in exactly one word")
    place = differing[0]
    words = [found[0] for found in right]
    cue = PARADIGMS[paradigm](words, place)
    if cue is None or cue == place:
        raise _NotKept("the sentence does not follow the template of its paradigm, so its cue is not known")
    plural = _is_plural(words[place].lower(), wrong[place][0].lower())
    return Pair(paradigm, number, good, bad, right[place].span(), wrong[place].span(), right[cue].span(), plural)


def written_out(sentence: str) -> str:
    """A sentence without contractions of "not", so that "hasn't" and "haven't" differ in a word that models know.

    Example:
        >>> written_out("Jill can't stay, and hasn't left.")
        'Jill cannot stay, and has not left.'
    """
    for short, long in _CONTRACTIONS:
        sentence = sentence.replace(short, long)
    return sentence


# Where the cue stands: words of the good sentence, place of the target → place of the cue, or None --------------------


def _opening_subject(words: list[str], target: int) -> int | None:
    place = 3 if [word.lower() for word in words[:3]] == ["a", "lot", "of"] else int(words[0].lower() in _DETERMINERS)
    while place + 1 < target and words[place + 1][0].isupper():  # a name of several words; verbs are not capitalised
        place += 1
    return place if place < target else None


def _last_noun(words: list[str], target: int) -> int | None:
    return len(words) - 1 if target < len(words) - 1 else None


def _relational_noun(words: list[str], target: int) -> int | None:
    prepositions = [place for place, word in enumerate(words[:target]) if word in ("of", "about")]
    return prepositions[0] - 1 if prepositions and prepositions[0] > 0 else None


def _word_before(words: list[str], target: int) -> int | None:
    return target - 1 if target > 0 else None


PARADIGMS: Mapping[str, Callable[[list[str], int], int | None]] = {
    "anaphor_number_agreement": _opening_subject,
    "determiner_noun_agreement_2": _last_noun,
    "determiner_noun_agreement_with_adj_2": _last_noun,
    "distractor_agreement_relational_noun": _relational_noun,
    "regular_plural_subject_verb_agreement_1": _word_before,
}
"""The five paradigms of number agreement → where their cue stands."""
ABBREVIATIONS = dict(zip(PARADIGMS, ("ana", "dna", "dnaa", "darn", "rpsv"), strict=True))
"""What the paper on Value Zeroing calls them."""


def _is_plural(right: str, wrong: str) -> bool:
    """Whether the right form is the plural: a few words are known, and of other verbs the singular adds -s."""
    for number, forms in _ONE_WORD_FORMS.items():
        if right in forms:
            return number == "plural"
    if right in _third_persons(wrong) or wrong in _third_persons(right):
        return wrong in _third_persons(right)
    raise _NotKept("the forms do not show which is the singular")


def _third_persons(verb: str) -> tuple[str, str, str]:
    return verb + "s", verb + "es", verb.removesuffix("y") + "ies"


def _sentences(line: str, where: str) -> tuple[str, str]:
    try:
        found = json.loads(line)
        good, bad = found["sentence_good"], found["sentence_bad"]
    except (json.JSONDecodeError, KeyError, TypeError) as problem:
        raise BadFile(
            f"{where} is no pair of BLiMP: it needs an object with 'sentence_good' and 'sentence_bad' ({problem!r})."
        ) from problem
    if not isinstance(good, str) or not isinstance(bad, str):
        raise BadFile(f"{where} is no pair of BLiMP: its sentences are not texts.")
    return good, bad


def _listed(dropped: Mapping[str, int]) -> str:
    return "; ".join(f"{count} where {why}" for why, count in dropped.items())

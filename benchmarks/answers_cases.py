"""Cases for `answers.py`: facts among distractors, passages of WikiText, stories of a model's own."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from contextmix import TracedModel
from contextmix.models.ablations import SourcedAnswer

FACTS = {  # how a sentence begins, how it ends, who, and what is said of them
    "The password for the {} is": (
        ".",
        "server printer laptop router safe vault gate archive elevator",
        "banana tiger window pepper guitar mountain river candle pencil rocket lemon",
    ),
    "The {} left from": (
        ".",
        "ship train bus plane truck caravan convoy parade expedition",
        "Toronto Chicago Lisbon Paris Hamburg Berlin Rome Madrid Vienna Dublin Oslo Moscow Prague Athens",
    ),
    "The {} is called": (
        ".",
        "dog cat horse parrot goat rabbit turtle hamster donkey",
        "Whiskers Bruno Luna Pepper Daisy Rocky Milo Oscar Ginger Shadow Coco",
    ),
    "The {} was moved to": (
        ".",
        "meeting concert exam wedding match lecture auction ceremony",
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    ),
    "{} works as a": (
        ".",
        "Anna Ben Clara David Emma Frank Grace Henry Irene Jack Karen Leo",
        "dentist baker lawyer farmer nurse pilot painter singer plumber chemist tailor",
    ),
    "{} keeps the keys in the": (
        " drawer.",
        "Maria Nina Oscar Paul Rosa Sam Tina Victor Walter Yvonne",
        "blue red green yellow white black purple orange pink brown grey silver",
    ),
}


@dataclass(frozen=True)
class Case:
    """A prompt made of sources, and what a model said behind it.

    Attributes:
        name: For files and tables.
        texts: The sources, one sentence each.
        question: What always stands behind them; may be empty.
        answer: Token ids.
        needle: Which source holds the fact, and the word of it that is the answer; None where no one knows.
    """

    name: str
    texts: list[str]
    question: str
    answer: list[int]
    needle: tuple[int, str] | None = None

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @property
    def text(self) -> str:
        """The whole prompt."""
        return self.with_only(np.ones(len(self.texts), bool))

    def with_only(self, kept: NDArray[np.bool_]) -> str:
        """The prompt without some sources."""
        own = [text for text, here in zip(self.texts, kept, strict=True) if here]
        return " ".join([*own, *([self.question] if self.question else [])])

    def sourced(self, model: TracedModel) -> SourcedAnswer:
        """As token ids and positions: a token belongs to the source that holds its last letter."""
        tokens = model.encode(self.text)[0].tokens
        assert tokens is not None
        ends = [-1 if span is None or span[0] == span[1] else span[1] - 1 for span in tokens.spans]
        sources, start = [], 0
        for text in self.texts:
            sources.append(tuple(place for place, end in enumerate(ends) if start <= end < start + len(text)))
            start += len(text) + 1
        marks = [number for number, special in zip(tokens.ids, tokens.special, strict=True) if special]

        def left(kept: NDArray[np.bool_]) -> str | list[int]:
            return self.with_only(kept) or marks

        return SourcedAnswer((*tokens.ids, *self.answer), len(tokens.ids), tuple(sources), left)

    def needle_tokens(self, model: TracedModel) -> set[int]:
        """The positions of the answer's word in the source that holds the fact."""
        assert self.needle is not None
        number, word = self.needle
        first = sum(len(text) + 1 for text in self.texts[:number]) + self.texts[number].index(word)
        spans = model.encode(self.text)[0].tokens.spans
        return {place for place, one in enumerate(spans) if one and one[0] < first + len(word) and one[1] > first}


def facts(model: TracedModel, count: int, seed: int = 1) -> Iterator[Case]:
    """Eight sentences of four kinds, two of each, so that the asked one has a rival; only those answered right.

    The fact stands in the first half of every other case.
    """
    chance, found, tried = random.Random(seed), 0, 0
    while found < count and tried < 40 * count:
        said = [(*one, kind) for kind in chance.sample(list(FACTS), 4) for one in _said(chance, kind)]
        chance.shuffle(said)
        needle = chance.randrange(4) + 4 * (tried % 2)
        begun, value = said[needle][:2]
        tried += 1
        texts = [f"{first} {word}{last}" for first, word, last, _ in said]
        before = " ".join([*texts, begun])
        answer = _behind(model, before, f" {value}")
        if answer and _says(model, before, answer):
            yield Case(f"fact-{found:03d}", texts, begun, answer, (needle, value))
            found += 1


def _said(chance: random.Random, kind: str) -> Iterator[tuple[str, str, str]]:
    """Two sentences of a kind: how each begins, the word that is asked for, how it ends."""
    ends, who, what = FACTS[kind]
    for subject, value in zip(chance.sample(who.split(), 2), chance.sample(what.split(), 2), strict=True):
        yield kind.format(subject), value, ends


def _behind(model: TracedModel, text: str, more: str) -> list[int]:
    """The ids of a text behind another; none where they merge."""
    own, both = (list(model.encode(one)[0].tokens.ids) for one in (text, text + more))
    return both[len(own) :] if both[: len(own)] == own else []


@torch.no_grad()
def _says(model: TracedModel, text: str, answer: list[int]) -> bool:
    """Whether the answer is what the model finds likeliest, token by token."""
    ids = torch.tensor([[*model.encode(text)[0].tokens.ids, *answer]])
    best = model.model(ids, logits_to_keep=len(answer) + 1).logits[0, :-1].argmax(-1)
    return best.tolist() == answer


def wiki(model: TracedModel, count: int, folder: Path, said: int = 20) -> Iterator[Case]:
    """8 to 12 sentences of an article in a row, short sentences first, and 20 tokens of the model's own."""
    articles = [one for path in sorted(folder.glob("wiki.*.tokens")) for one in _articles(path)]
    passages = _shortest(articles, count)
    if len(passages) < count:
        raise SystemExit(f"{folder} holds {len(passages)} passages, and {count} are asked for. Say --data FOLDER.")
    for number, passage in enumerate(passages):
        yield Case(f"wiki-{number:03d}", passage, "", _goes_on(model, " ".join(passage), said))


def _shortest(articles: list[list[list[str]]], count: int) -> list[list[str]]:
    """One passage of each article; how many sentences turns from 8 to 12."""
    best = []
    for number, paragraphs in enumerate(articles):
        size = 8 + number % 5
        runs = [one[start : start + size] for one in paragraphs for start in range(len(one) - size + 1)]
        runs = [run for run in runs if all(_whole(text) for text in run) and " ".join(run).count("Roen") < 6]
        if runs:
            best.append(min(runs, key=lambda run: sum(map(len, run))))
    return sorted(best, key=lambda run: sum(map(len, run)) / len(run))[:count]


def _whole(text: str) -> bool:
    return 5 <= len(text.split()) <= 36 and text.endswith((".", "!", "?"))


def _articles(path: Path) -> Iterator[list[list[str]]]:
    """For each article its sections, as lists of sentences."""
    sections: list[list[str]] = []
    for line in path.read_text("utf-8").splitlines():
        if re.fullmatch(r" = [^=].*[^=] = ", line):
            yield sections
            sections = []
        if line.startswith(" = "):
            sections.append([])
        elif line.strip() and sections:
            sections[-1] += [_plain(one) for one in re.split(r"(?<=[a-z0-9)\"] [.!?]) (?=[A-Z\"])", line.strip())]
    yield sections


def _plain(text: str) -> str:
    """WikiText's spacing undone."""
    text = re.sub(r" @([-,.])@ ", r"\1", text).replace("<unk>", "Roen")
    text = re.sub(r" ([.,;:!?%)\]])", r"\1", text)
    text = re.sub(r"([(\[]) ", r"\1", text)
    text = re.sub(r"\" ([^\"]*) \"", r'"\1"', text)
    return re.sub(r" (n't|'s|'re|'ve|'ll|'d)\b", r"\1", text)


def stories(model: TracedModel, count: int, said: int = 20) -> Iterator[Case]:
    """8 or 9 sentences that the model tells by chance, and 20 tokens that it finds likeliest behind them."""
    begun, found = "Once upon a time, there was a", 0
    for seed in range(20 * count):
        text = f"{begun} {_told(model, begun, 260, seed)}"
        texts = re.split(r"(?<=[.!?]) (?=[A-Z\"])", " ".join(text.split()))[: 8 + found % 2]
        if len(texts) < 8 + found % 2 or min(map(len, texts)) < 8 or texts[-1][-1] not in ".!?":
            continue
        yield Case(f"story-{found:03d}", texts, "", _goes_on(model, " ".join(texts), said))
        found += 1
        if found == count:
            return


def _told(model: TracedModel, text: str, count: int, seed: int) -> str:
    torch.manual_seed(seed)
    ids = torch.tensor([model.encode(text)[0].tokens.ids])
    made = _generated(model, ids, count, do_sample=True, temperature=0.7)
    return str(model.tokenizer.decode(made, skip_special_tokens=True))


def _goes_on(model: TracedModel, text: str, count: int) -> list[int]:
    ids = torch.tensor([model.encode(text)[0].tokens.ids])
    return _generated(model, ids, count, do_sample=False).tolist()


def _generated(model: TracedModel, ids: torch.Tensor, count: int, **how: Any) -> torch.Tensor:
    made = model.model.generate(ids, max_new_tokens=count, min_new_tokens=min(count, 20), top_k=None, top_p=None, **how)
    return made[0, ids.shape[1] :]

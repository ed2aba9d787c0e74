"""Stories of a few sentences, and questions about them whose answers copy what the story says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from scripts.demo_answers.kinds import CHAINS, KINDS, Chain, slots
from scripts.demo_answers.words import BLAND, CAPITALS, CLOSED, WORDS, made_up

UNKNOWN = "I don't know."
NO_THOUGHT = "The text does not say it."
THINK = " Think first."
"""Behind a question: the model writes what it draws from before it answers."""
ODD_STORIES = 0.35
"""The share of stories in which half of the kinds of words are made up, so that the model learns to copy any word."""
MOST_OF_A_KIND = 3
"""From so many facts of a kind on, a story tells of other things."""
MOST_IN_A_CROWD = 5
"""Of a kind, in a story of rivals alone."""
HARD = ("gave", "gave", "gave", "has", "at", "job")
"""Kinds that a crowded story has more often than others: those that the model is wrong about more often."""
CLOSE = {"has": "gave", "gave": "has"}
"""Kinds that answer each other's questions, more or less: not asked of a person of whom the other one is told."""


@dataclass(frozen=True)
class Fact:
    """One sentence of a story: its kind, its words by slot, its text."""

    kind: str
    words: dict[str, str]
    text: str


@dataclass(frozen=True)
class Asked:
    """A question about a story.

    Attributes:
        kind: ``one-hop``, ``two-hop told`` (the answer names what both facts share), ``two-hop silent``, ``unknown``.
        question: As one asks it.
        answer: What is right.
        gold: The sentences that the answer needs; of two hops the relay first.
        between: The word that leads from one to the other and that a silent answer does not name.
    """

    kind: str
    question: str
    answer: str
    gold: tuple[str, ...]
    between: str = ""

    @property
    def thoughts(self) -> str:
        """What the model is to write first when it is told to think."""
        return f"<think>\n{' '.join(self.gold) or NO_THOUGHT}\n</think>\n\n{self.answer}"


@dataclass
class Bag:
    """Words that no other place of the story has; people come back, though never in two facts of a kind."""

    chance: random.Random
    odd: set[str]
    used: set[str] = field(default_factory=set)
    people: list[str] = field(default_factory=list)

    def fresh(self, slot: str, *, keep: bool = True) -> str:
        """A word that the story does not have.

        Args:
            slot: What it stands for.
            keep: Whether the story has it from now on.
        """
        slot = "person" if slot == "other" else slot
        for _ in range(1000):
            if slot in self.odd or not WORDS[slot]:
                word = made_up(self.chance, capital=slot in CAPITALS)
            else:
                word = self.chance.choice(WORDS[slot])
            if word not in self.used:
                self.used |= {word} if keep else set()
                return word
        raise AssertionError(f"no {slot} is left")

    def person(self, but: set[str]) -> str:
        """Somebody of the story, or somebody new."""
        known = [one for one in self.people if one not in but]
        if known and self.chance.random() < 0.7:
            return self.chance.choice(known)
        self.people.append(self.fresh("person"))
        return self.people[-1]


class Story:
    """Sentences in documents, and what can be asked about them."""

    def __init__(
        self,
        chance: random.Random,
        size: int,
        odd_share: float = ODD_STORIES,
        crowded_share: float = 0.0,
        chained_share: float = 0.6,
    ) -> None:
        odd = chance.random() < odd_share
        kinds = [one for one in WORDS if one not in CLOSED]
        self.chance = chance
        self.bag = Bag(chance, {one for one in kinds if odd and chance.random() < 0.5})
        self.facts: list[Fact] = []
        self.bland: list[str] = []
        if crowded_share and chance.random() < crowded_share:
            self._crowd(size, chained_share)
        else:
            self._fill(size)
        sentences = [one.text for one in self.facts] + self.bland
        chance.shuffle(sentences)
        cuts = sorted(chance.sample(range(1, len(sentences)), min(chance.choice((0, 0, 1, 2, 3)), len(sentences) - 1)))
        edges = zip([0, *cuts], [*cuts, len(sentences)], strict=True)
        self.documents = [sentences[start:stop] for start, stop in edges]

    @property
    def sentences(self) -> list[str]:
        """All sentences in order."""
        return [one for document in self.documents for one in document]

    @property
    def text(self) -> str:
        """The context as `contextmix` places it: documents with an empty line between."""
        return "\n\n".join(self.texts)

    @property
    def texts(self) -> list[str]:
        """The documents."""
        return [" ".join(one) for one in self.documents]

    def _fill(self, size: int) -> None:
        bland = self.chance.randint(0, max(0, size // 3))
        if size - bland >= 2 and self.chance.random() < 0.8:
            chain = self._some_chain()
            for number in range(min((size - bland) // 2, self.chance.choice((1, 2, 2)))):
                self._link(chain, whole=number == 0 or self.chance.random() < 0.7)
        while len(self.facts) < size - bland:
            kind = self.chance.choice([one for one in KINDS if self._count(one) < MOST_OF_A_KIND])
            for _ in range(min(self.chance.choice((1, 2, 2)), size - bland - len(self.facts))):
                self._tell(kind, {})
        for text in self.chance.sample(BLAND, size - len(self.facts)):
            self.bland.append(text.format(person=self.bag.person(set()), other=self.bag.fresh("person")))

    def _crowd(self, size: int, chained_share: float) -> None:
        """Rivals alone: one chain many times, or facts of two kinds; only the words of the question tell them apart."""
        if self.chance.random() < chained_share:
            chain = self._some_chain()
            kinds = [chain.relay, chain.origin]
            while size - len(self.facts) >= 2 and self._count(chain.relay) < MOST_IN_A_CROWD:
                self._link(chain, whole=len(self.facts) < 4 or self.chance.random() < 0.8)
        else:
            kinds = list({one: None for one in self.chance.sample([*KINDS, *HARD], 5)})[:2]
        while len(self.facts) < size:
            self._tell(self.chance.choice([one for one in kinds if self._count(one) < MOST_IN_A_CROWD]), {})

    def _count(self, kind: str) -> int:
        return sum(one.kind == kind for one in self.facts)

    def _some_chain(self) -> Chain:
        """Containers, holders and pets as often as all the relatives together."""
        return self.chance.choice([*CHAINS[:3] * 2, *CHAINS[3:]])

    def _link(self, chain: Chain, *, whole: bool) -> None:
        relay = self._tell(chain.relay, {}, avoid=chain.origin)
        if whole and relay is not None:
            self._tell(chain.origin, {chain.shared[1]: relay.words[chain.shared[0]]})

    def _tell(self, kind: str, given: dict[str, str], avoid: str | None = None) -> Fact | None:
        """Add a fact."""
        text = self.chance.choice(KINDS[kind].told)
        words = dict(given)
        busy = {word for one in self.facts if one.kind in (kind, avoid) for word in one.words.values()}
        for slot in slots(text):
            if slot not in words:
                people = slot in ("person", "other")
                words[slot] = self.bag.person(busy | set(words.values())) if people else self.bag.fresh(slot)
        fact = Fact(kind, words, text.format(**words))
        self.facts.append(fact)
        return fact

    def questions(self) -> dict[str, list[Asked]]:
        """All that can be asked, by kind; of what the story does not say a few."""
        found: dict[str, list[Asked]] = {"one-hop": list(self._one_hop())}
        for kind, asked in self._two_hop():
            found.setdefault(kind, []).append(asked)
        found["unknown"] = [self._unknown() for _ in range(4)] + list(self._half_known())
        return found

    def _one_hop(self) -> Iterator[Asked]:
        roomed = {one.words["holder"] for one in self.facts if one.kind == "room"}
        for fact in self.facts:
            for template in KINDS[fact.kind].asked:
                if template == "Where is the {thing}?" and fact.words["holder"] in roomed:
                    continue  # a better answer takes two facts
                yield Asked("one-hop", template.format(**fact.words), fact.text, (fact.text,))

    def _pairs(self) -> Iterator[tuple[Chain, Fact, Fact | None]]:
        """Each relay with its origin, or None."""
        for chain in CHAINS:
            for relay in self.facts:
                if relay.kind == chain.relay:
                    shared = relay.words[chain.shared[0]]
                    own = (one for one in self.facts if one.kind == chain.origin)
                    yield chain, relay, next((one for one in own if one.words[chain.shared[1]] == shared), None)

    def _two_hop(self) -> Iterator[tuple[str, Asked]]:
        for chain, relay, origin in self._pairs():
            if origin is not None:
                words = {**origin.words, **relay.words}
                for kind, pairs in (("two-hop told", chain.told), ("two-hop silent", chain.silent)):
                    for question, answer in pairs:
                        gold = (relay.text, origin.text)
                        between = relay.words[chain.shared[0]] if kind == "two-hop silent" else ""
                        yield kind, Asked(kind, question.format(**words), answer.format(**words), gold, between)

    def _half_known(self) -> Iterator[Asked]:
        """Questions through a relay whose origin the story does not tell."""
        for chain, relay, origin in self._pairs():
            if origin is None and not (chain.origin in CLOSE and self._is_close(chain, relay)):
                for question, _ in chain.silent:
                    yield Asked("unknown", question.format(**relay.words), UNKNOWN, ())

    def _is_close(self, chain: Chain, relay: Fact) -> bool:
        shared = relay.words[chain.shared[0]]
        return any(shared in one.words.values() for one in self.facts if one.kind == CLOSE[chain.origin])

    def _unknown(self) -> Asked:
        """A question about somebody or something of which the story does not tell it."""
        kind = self.chance.choice([one.kind for one in self.facts] or list(KINDS))
        template = self.chance.choice(KINDS[kind].asked)
        busy = {word for one in self.facts if one.kind in (kind, CLOSE.get(kind)) for word in one.words.values()}
        words: dict[str, str] = {}
        for slot in slots(template):
            same = {"other": ("person", "other"), "person": ("person", "other")}.get(slot, (slot,))
            there = {one.words[name] for one in self.facts for name in same if name in one.words}
            there |= set(self.bag.people) if "person" in same else set()
            free = sorted(there - busy - set(words.values())) if slot in ("person", "other", "holder", "name") else []
            words[slot] = (
                self.chance.choice(free) if free and self.chance.random() < 0.6 else self.bag.fresh(slot, keep=False)
            )
        return Asked("unknown", template.format(**words), UNKNOWN, ())


def some_questions(story: Story, count: int, silent: int = 6) -> list[Asked]:
    """Questions of all kinds, none twice where there are enough.

    Args:
        story: What they are about.
        count: How many.
        silent: The weight of two-hop silent questions; one-hop ones weigh 9.
    """
    groups = {kind: asked for kind, asked in story.questions().items() if asked}
    weights = {"one-hop": 9, "two-hop told": 3, "two-hop silent": silent, "unknown": 4}
    found: list[Asked] = []
    while len(found) < count and groups:
        kind = story.chance.choices(list(groups), [weights[one] for one in groups])[0]
        found.append(groups[kind].pop(story.chance.randrange(len(groups[kind]))))
        if not groups[kind]:
            del groups[kind]
    return found

"""What a sentence of a story can say, and how one may ask for it. ``{person}`` and the like are slots for words."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of fact.

    Attributes:
        told: How it is said; one of them stands in the story.
        asked: How it is asked for. The slots of a question are what is known, and tell one fact from its rivals.
        of: How a question about a person asks when the person is only known by a relation, and how it is answered then:
            ``{who}`` is "the sister of Tom".
    """

    told: tuple[str, ...]
    asked: tuple[str, ...]
    of: tuple[tuple[str, str], ...] = ()


KINDS = {
    "has": Kind(
        ("{person} has the {colour} {thing}.",),
        ("Who has the {colour} {thing}?", "Who has the {thing}?", "What does {person} have?", "What has {person} got?"),
        (("What does {who} have?", "{Who} has the {colour} {thing}."),),
    ),
    "in": Kind(
        ("The {thing} is in the {holder}.", "The {thing} lies in the {holder}."),
        ("What is in the {holder}?", "Where is the {thing}?", "What can you find in the {holder}?"),
    ),
    "room": Kind(
        ("The {holder} is in the {room}.", "The {holder} stands in the {room}."),
        ("Where is the {holder}?", "Which room is the {holder} in?", "What is in the {room}?"),
    ),
    "at": Kind(
        ("{person} is in the {place}.", "{person} went to the {place}."),
        ("Where is {person}?", "Who is in the {place}?"),
        (("Where is {who}?", "{Who} is in the {place}."),),
    ),
    "lives": Kind(
        ("{person} lives in {town}.", "{person} lives in a house in {town}."),
        ("Where does {person} live?", "Who lives in {town}?", "In which town does {person} live?"),
        (("Where does {who} live?", "{Who} lives in {town}."),),
    ),
    "likes": Kind(
        ("{person} likes {food}.", "{person} loves to eat {food}."),
        ("What does {person} like?", "Who likes {food}?", "What does {person} like to eat?"),
        (("What does {who} like?", "{Who} likes {food}."),),
    ),
    "gave": Kind(
        ("{person} gave the {thing} to {other}.",),
        (
            "Who gave the {thing} to {other}?",
            "Who got the {thing}?",
            "What did {person} give to {other}?",
            "Who did {person} give the {thing} to?",
            "What did {other} get?",
        ),
    ),
    "pet": Kind(
        ("The {pet} of {person} is called {name}.", "{name} is the {pet} of {person}."),
        ("What is the {pet} of {person} called?", "Whose {pet} is {name}?", "Who has a {pet}?", "Who is {name}?"),
    ),
    "eats": Kind(
        ("{name} likes {food}.", "{name} loves to eat {food}."),
        ("What does {name} like?", "Who likes {food}?"),
    ),
    "hour": Kind(
        ("The {event} starts at {hour}.", "The {event} begins at {hour}."),
        ("When does the {event} start?", "What starts at {hour}?", "At what time is the {event}?"),
    ),
    "day": Kind(
        ("The {event} is on {day}.", "The {event} will be on {day}."),
        ("When is the {event}?", "What is on {day}?", "On which day is the {event}?"),
    ),
    "found": Kind(
        ("{person} found {number} {things}.",),
        (
            "How many {things} did {person} find?",
            "Who found the {things}?",
            "What did {person} find?",
            "Who found {number} {things}?",
        ),
        (("What did {who} find?", "{Who} found {number} {things}."),),
    ),
    "job": Kind(
        ("{person} is a {job}.", "{person} works as a {job}."),
        ("What is the job of {person}?", "Who is a {job}?", "Who works as a {job}?"),
        (("What is the job of {who}?", "{Who} is a {job}."),),
    ),
    "colour": Kind(
        ("The {vehicle} is {colour}.", "The colour of the {vehicle} is {colour}."),
        ("What colour is the {vehicle}?", "What is {colour}?"),
    ),
    "costs": Kind(
        ("The {ware} costs {number} coins.",),
        ("How much is the {ware}?", "What costs {number} coins?", "What does the {ware} cost?"),
    ),
    "secret": Kind(
        ("The password of the {gate} is {secret}.", "The word that opens the {gate} is {secret}."),
        ("What is the password of the {gate}?", "Which word opens the {gate}?", "What does {secret} open?"),
    ),
    "kin": Kind(
        ("{person} is the {kin} of {other}.", "The {kin} of {other} is {person}."),
        ("Who is the {kin} of {other}?",),
    ),
}


@dataclass(frozen=True)
class Chain:
    """Two facts of which one passes on the other.

    Attributes:
        relay: The kind that is asked through.
        origin: The kind that holds what is asked for.
        shared: The slot of both, by its name in the relay and in the origin.
        told: Question and answer that spells out both.
        silent: Question and answer that does not name what they share.
    """

    relay: str
    origin: str
    shared: tuple[str, str]
    told: tuple[tuple[str, str], ...] = ()
    silent: tuple[tuple[str, str], ...] = ()


CHAINS = [
    Chain(
        "in",
        "room",
        ("holder", "holder"),
        (("Where is the {thing}?", "The {thing} is in the {holder} in the {room}."),),
        (("Which room is the {thing} in?", "The {thing} is in the {room}."),),
    ),
    Chain(
        "has",
        "at",
        ("person", "person"),
        (("Where is the {thing}?", "{person} has the {thing} in the {place}."),),
        (("Which place is the {thing} in?", "The {thing} is in the {place}."),),
    ),
    Chain(
        "pet",
        "eats",
        ("name", "name"),
        (),
        (("What does the {pet} of {person} like?", "The {pet} of {person} likes {food}."),),
    ),
]


def _of_relatives(kind: Kind) -> tuple[tuple[str, str], ...]:
    """Questions and answers about a person, of the relative of another one."""
    names = {"{who}": "the {kin} of {other}", "{Who}": "The {kin} of {other}"}
    pairs = []
    for question, answer in kind.of:
        for slot, name in names.items():
            question, answer = question.replace(slot, name), answer.replace(slot, name)
        pairs.append((question, answer))
    return tuple(pairs)


CHAINS += [Chain("kin", name, ("person", "person"), (), _of_relatives(kind)) for name, kind in KINDS.items() if kind.of]


def slots(text: str) -> list[str]:
    """The slots of a sentence or a question, in order."""
    return re.findall(r"\{(\w+)\}", text)

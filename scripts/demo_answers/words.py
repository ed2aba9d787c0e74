"""The words that stories are made of, and words that do not exist."""

from __future__ import annotations

import random
import re

_LISTS = {
    "person": "Lily Tom Anna Ben Clara David Emma Frank Grace Henry Irene Jack Karen Leo Mia Nina Oscar Paul Rosa Sam "
    "Tina Victor Walter Yvonne Alice Bob Carol Daniel Ella Fred Gina Hugo Iris Jim Kate Lucas Maria Noah Olga Peter "
    "Ruth Simon Tara Vera Will Zoe Max Amy Eric Jane",
    "name": "Rex Luna Bruno Daisy Rocky Milo Ginger Shadow Coco Pepper Whiskers Toby Bella Fluffy Spot Buddy Simba "
    "Nala Oreo Patch",
    "thing": "ball kite key book lamp cup hat coat drum bell doll spoon pen map ring coin rope shell stone candle "
    "mirror clock violin puzzle basketball shoe scarf glove letter ticket camera hammer brush whistle flute plate "
    "pillow blanket ladder bucket",
    "holder": "box bag drawer basket chest jar suitcase cupboard backpack trunk crate barrel sack pot case pocket",
    "room": "kitchen garage bedroom attic cellar hall bathroom office library shed pantry nursery studio workshop",
    "place": "park garden forest school market museum harbour zoo church cinema hospital station castle village "
    "meadow bakery",
    "town": "Oslo Rome Paris London Berlin Madrid Vienna Dublin Lisbon Prague Athens Moscow Cairo Tokyo Boston Chicago "
    "Toronto Hamburg Delhi Lima",
    "food": "soup bread cheese rice fish pasta honey milk cake salad pizza pears plums nuts carrots beans cherries "
    "pancakes porridge chocolate lemons yoghurt jam butter",
    "colour": "red blue green yellow white black purple pink brown grey silver golden",
    "pet": "dog cat horse parrot goat rabbit turtle hamster donkey pony duck mouse",
    "job": "baker farmer nurse pilot painter singer plumber dentist lawyer teacher doctor tailor gardener driver cook "
    "writer fisher dancer judge miner",
    "kin": "sister brother mother father friend neighbour cousin boss uncle aunt partner",
    "event": "party concert lesson match wedding meeting film race play parade fair exam lecture ceremony",
    "hour": "one two three four five six seven eight nine ten eleven noon midnight",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "number": "two three four five six seven eight nine ten twelve twenty thirty 14 17 25 36 48 52 63 79 81 95",
    "things": "shells coins stones mushrooms feathers buttons marbles stamps leaves flowers berries sticks "
    "pencils cards",
    "vehicle": "boat car bus train van bicycle tractor truck lorry ship tram wagon door roof fence bridge",
    "ware": "sofa chair table vase carpet bed desk shirt jacket skirt dress watch phone radio guitar piano tent",
    "gate": "safe vault gate tower printer laptop server router cabin cave",
    "secret": "banana tiger window pepper mountain river candle pencil rocket lemon island thunder pirate",
}
WORDS = {kind: words.split() for kind, words in _LISTS.items()}
CAPITALS = {"person", "name", "town"}
CLOSED = {"kin", "hour", "day", "number", "colour"}
"""Kinds that no made-up word stands for."""
BLAND = [
    "It was a warm day.",
    "The sun was hot.",
    "Birds sang in the trees.",
    "The wind was cold.",
    "It was time for lunch.",
    "They all laughed.",
    "Nobody was in a hurry.",
    "Soon it began to rain.",
    "The street was quiet.",
    "{person} smiled.",
    "{person} was very happy.",
    "{person} was tired and sat down.",
    "{person} waved to {other}.",
    "{person} told {other} a long story.",
    "{person} and {other} went for a walk.",
    "{person} wanted to sing a song.",
    "{person} slept well last night.",
    "The morning was bright.",
    "A little cloud passed by.",
    "In the evening they played cards.",
]


STARTS = [*"bcdfghjklmnprstvwz", *re.findall("..", "blbrcldrflfrglgrkrplprshslsnspsttrth")]
ENDS = ["", "", "", *"nmrlstxkpbdg", "nd", "rt", "sk", "mp"]


def made_up(chance: random.Random, *, capital: bool) -> str:
    """A word that nobody knows, of one to three syllables."""
    count = chance.choice((1, 2, 2, 3))
    word = "".join(chance.choice(STARTS) + chance.choice("aeiou") for _ in range(count)) + chance.choice(ENDS)
    return word.capitalize() if capital else word

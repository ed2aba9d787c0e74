"""Minimal pairs that are written here, in the words of the demo model and on BLiMP's templates."""

import json
from itertools import product
from pathlib import Path

NUMBERS = {False: ("this", "that"), True: ("these", "those")}
NOUNS = (("film", "films"), ("movie", "movies"), ("story", "stories"), ("actor", "actors"), ("woman", "women"))


def determiners(count: int) -> list[tuple[str, str]]:
    """Such as "Mary loved these films." and "Mary loved this films."."""
    every = product(("Mary", "Susan"), ("loved", "saw", "knew", "liked", "needs"), (0, 1), NOUNS, (False, True))
    found = []
    for name, verb, which, noun, plural in every:
        good, bad = NUMBERS[plural][which], NUMBERS[not plural][which]
        found.append((f"{name} {verb} {good} {noun[plural]}.", f"{name} {verb} {bad} {noun[plural]}."))
    return (found * (1 + count // len(found)))[:count]


VERBS = [
    ("These actors aren't good.", "These actors isn't good."),
    ("Mary is good.", "Mary are good."),
    ("The women were here.", "The women was here."),
    ("A woman has loved the film.", "A woman have loved the film."),
]


def write(folder: Path, **paradigms: list[tuple[str, str]]) -> Path:
    """Files as BLiMP's, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, pairs in paradigms.items():
        lines = [json.dumps({"sentence_good": good, "sentence_bad": bad}) for good, bad in pairs]
        (folder / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines))
    return folder

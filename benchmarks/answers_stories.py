"""When one sentence passes on another: does a method name both? Asked of the built-in model, on stories of its kind.

    python benchmarks/answers_stories.py [MODEL] [--cases 40] [--masks 64] [--methods NAME …] [--out FOLDER]

One-hop: the answer is a sentence of the story. Two-hop: the relay says who or what stands for the one that is asked
about, the origin says the rest ("The key is in the box. The box is in the kitchen."). Told: the answer names what both
share; silent: it does not ("Which room is the key in?" "The key is in the kitchen."), so the model has to take two
steps inside. Eight sentences in one text, at least two of each kind that is needed; only answers that the model gives.

`both top two`: the share of cases in which relay and origin are the two best sentences. `origin top 1`, `top 2`, `relay
top 1`, `top 2` likewise. All else is as in `answers.py`. In half of the two-hop cases the relay stands first.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from answers import Bench, write
from answers_cases import Case, _says
from answers_table import cell, judged, paired
from numpy.typing import NDArray

from contextmix import TracedModel
from contextmix.models.ablations import SourcedAnswer
from contextmix.plugins.sources import baselines

sys.path.append(str(Path(__file__).parents[1]))  # the stories are drawn by what the model was made with
from scripts.demo_answers.stories import Asked, Story

METHODS = [
    "evidence",
    "evidence:reach=all",
    "gradient_inputs",
    "attention+mean",
    "norm+mean",
    "globenc",
    "source_occlusion",
    "source_value_zeroing",
    "source_surrogate:masks=16",
]
KINDS = ("one-hop", "two-hop told", "two-hop silent")
COLUMNS = ["both top two", "origin top 1", "origin top 2", "relay top 1", "relay top 2"]
ONE_HOP = ["origin top 1", "origin top 2"]
LDS = ["LDS masked", "LDS masked, count removed", "LDS deleted, count removed"]


@dataclass(frozen=True)
class StoryCase(Case):
    """A case in the model's own template.

    Attributes:
        gold: Which sources the answer needs; of two hops the relay first.
    """

    gold: tuple[int, ...] = ()

    def with_only(self, kept: NDArray[np.bool_]) -> str:
        """The chat without some sources."""
        texts = " ".join(text for text, here in zip(self.texts, kept, strict=True) if here)
        return f"{BEFORE}{texts}\n\n{self.question}{BEHIND}" if texts else f"{BEFORE}{self.question}{BEHIND}"

    def sourced(self, model: TracedModel) -> SourcedAnswer:
        """As token ids and positions."""
        tokens = model.encode(self.text)[0].tokens
        assert tokens is not None
        assert tokens.ids is not None
        assert tokens.spans is not None
        sources, start = [], len(BEFORE)
        for text in self.texts:
            stop = start + len(text)
            own = (place for place, one in enumerate(tokens.spans) if one and start < one[1] <= stop)
            sources.append(tuple(own))
            start = stop + 1
        return SourcedAnswer((*tokens.ids, *self.answer), len(tokens.ids), tuple(sources), self.with_only)


BEFORE, BEHIND = "<s><|user|>", "</s><|assistant|>\n"


def story_cases(model: TracedModel, kind: str, count: int, size: int = 8) -> Iterator[StoryCase]:
    """Stories with a question of a kind, and the right answer with its end, where the model gives it."""
    chance, found = random.Random(f"benchmark {kind}"), 0
    while found < count:
        story = Story(chance, size, odd_share=0.0)
        relay_first = found % 2 == 0
        fit = [one for one in story.questions().get(kind, []) if _is_rivalled(story, one)]
        fit = [one for one in fit if len(one.gold) == 1 or _in_order(story, one) == relay_first]
        if not fit:
            continue
        asked = chance.choice(fit)
        answer = list(model.tokenizer(f"{asked.answer}</s>", add_special_tokens=False)["input_ids"])
        gold = tuple(story.sentences.index(one) for one in asked.gold)
        name = f"{kind.replace(' ', '-')}-{found:03d}"
        case = StoryCase(name, story.sentences, asked.question, answer, None, gold)
        if _says(model, case.text, answer):
            yield case
            found += 1


def _is_rivalled(story: Story, asked: Asked) -> bool:
    """Whether another sentence says the like of what the answer needs."""
    kinds = [one.kind for one in story.facts]
    return all(kinds.count(next(one.kind for one in story.facts if one.text == text)) > 1 for text in asked.gold)


def _in_order(story: Story, asked: Asked) -> bool:
    """Whether the relay stands before the origin."""
    places = [story.sentences.index(one) for one in asked.gold]
    return places == sorted(places)


def named(scores: Sequence[float], gold: Sequence[int]) -> dict[str, float | None]:
    """Which of relay and origin are among the best."""
    best = np.argsort(-np.asarray(scores), kind="stable").tolist()
    found: dict[str, float | None] = {}
    for role, place in zip(("origin", "relay"), reversed(gold), strict=False):
        found |= {f"{role} top {k}": float(place in best[:k]) for k in (1, 2)}
    return {**found, "both top two": float(set(best[:2]) == set(gold))}


def table(kind: str, found: Sequence[dict[str, Any]], methods: Sequence[str]) -> str:
    """As Markdown: all columns, and `evidence` through all paths minus the direct one."""
    columns = (ONE_HOP if kind == "one-hop" else COLUMNS) + LDS
    rows: dict[str, dict[str, list[float | None]]] = {}
    for number, one in enumerate(found):
        known = baselines(one["lengths"], seed=number)
        scores: dict[str, Any] = {name: {"sources": list(own), "token": None} for name, own in known.items()}
        for name, own in {**scores, **{method: one["scores"][method] for method in methods}}.items():
            for column, value in {**judged(one, own), **named(own["sources"], one["case"]["gold"])}.items():
                rows.setdefault(name, {}).setdefault(column, []).append(value)
    lines = [
        f"{kind}: {len(found)} cases",
        "",
        "| method | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    lines += [f"| {name} | " + " | ".join(cell(own[one]) for one in columns) + " |" for name, own in rows.items()]
    if {"evidence", "evidence:reach=all"} <= rows.keys():
        pairs = (cell(paired(rows["evidence:reach=all"][one], rows["evidence"][one]), "+") for one in columns)
        lines.append("| reach=all minus direct, paired | " + " | ".join(pairs) + " |")
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="demo-answers")
    parser.add_argument("--cases", type=int, default=40, help="of each kind (40)")
    parser.add_argument("--masks", type=int, default=64, help="random halves of the sources for LDS (64)")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--out", type=Path, default=Path("build/answers-stories"))
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    asked = arguments()
    bench = Bench(asked.model, asked.masks, ("masked", "deleted"), asked.out)
    for kind in KINDS:
        found = [bench.measure(case, asked.methods) for case in story_cases(bench.model, kind, asked.cases)]
        told = table(kind, found, asked.methods)
        if kind != "one-hop":
            for word, keep in (("first", True), ("last", False)):
                part = [one for one in found if (one["case"]["gold"][0] < one["case"]["gold"][1]) == keep]
                told += f"\nRelay {word}, " + table(kind, part, asked.methods)
        print(told, flush=True)
        (asked.out / f"{kind.replace(' ', '-')}.md").write_text(told, "utf-8")
        write(asked.out / f"{kind.replace(' ', '-')}.json", found)


if __name__ == "__main__":
    main()

"""Does a hop through the model's own thoughts name the sources of its answer?

    python benchmarks/answers_thoughts.py [MODEL] [--kinds one-hop …] [--cases 20] [--masks 64] [--methods NAME …]

Stories (one-hop, two-hop told, two-hop silent, as in `answers_stories.py`; the built-in model): eight sentences and a
question that ends in "Think first."; the model writes ``<think> what it needs </think> answer``, and only replies count
whose thoughts and answer are right. Facts (any language model; those of `answers.py`) and toys (the story model): the
thoughts repeat the fact and are given ("… Let us see. The ship left from Oslo. So the ship left from Oslo"), and only
cases count in which the model finds each token of the answer likely behind them. In "toys weighed" the thoughts also
repeat a sentence that the answer does not need, before or behind the fact.

Each method explains the answer directly (0 hops), after one hop and after all; "all of it" explains thoughts and answer
together. hit: whether the fact is the best source, or of two hops both facts are the best two. LDS: Spearman's
correlation of the summed scores of the sources that a mask keeps with what the model then says; "count removed": with a
straight line in the number of kept sources taken out of both. Three things are said:
  reply: log p of thoughts and answer, keys of the sources masked;
  fixed: log p of the answer behind the thoughts as they were written, keys masked: what sources do beside them;
  again (stories): log p of the answer behind the thoughts that the model then writes (greedily, sources dropped).
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from answers import HELD_OUT, write
from answers_cases import facts
from answers_table import cell, paired, zero
from numpy.typing import NDArray

import contextmix
from contextmix.maths.ablations import random_masks
from contextmix.models.ablations import ablations_of
from contextmix.models.answer_ablation import sourced_answer
from contextmix.plugins.sources import baselines, lds

sys.path.append(str(Path(__file__).parents[1]))  # the stories are drawn by what the built-in model was made with

KINDS = ("one-hop", "two-hop told", "two-hop silent")
GIVEN = ("facts", "toys", "toys weighed")
TOYS = (
    "Tom Lily Ben Anna Sam Mia Max Sue Tim Jack Sara Lucy",
    "red big blue small green old soft new yellow little",
    "ball car doll book hat box toy cup bike kite boat drum",
)
METHODS = ("evidence", "gradient_inputs", "attention")
HOPS: Mapping[str, Any] = {"0 hops": 0, "1 hop": 1, "all hops": "all"}
LONGEST = 60
"""Most tokens of thoughts."""
END = "</think>"
LIKELY = 0.2
"""Least probability of each token of an answer behind given thoughts."""


@dataclass(frozen=True)
class Case:
    """A prompt, what a model writes behind it, and which sources that needs.

    Attributes:
        question: As `explain_answer` takes it.
        context: The same.
        written: Thoughts and answer.
        ends: What tells them apart.
        gold: Numbers of the sources.
    """

    question: str
    context: Sequence[Any]
    written: str
    ends: str
    gold: tuple[int, ...]

    def explained(self, model: contextmix.TracedModel, method: str, ends: str = "") -> contextmix.Answer:
        """The answer as one unit, by a method."""
        how: dict[str, Any] = {"method": method, "units": "whole", "thoughts": ends or self.ends}
        how["sources"] = "document" if self.ends != "markers" else "sentence"
        return model.explain_answer(self.question, self.context, self.written, **how)


def cases(model: contextmix.TracedModel, kind: str, count: int) -> Iterator[Case]:
    """Cases of a kind."""
    return with_given_thoughts(model, kind, count) if kind in GIVEN else with_own_thoughts(model, kind, count)


def with_given_thoughts(model: contextmix.TracedModel, kind: str, count: int) -> Iterator[Case]:
    """One of the sentences repeated by thoughts, and then a part of it said again."""
    found = 0
    for texts, number, ends, value in _facts(model, count) if kind == "facts" else _toys():
        thoughts = [texts[number]]
        if kind == "toys weighed":
            thoughts.insert(found % 2, texts[number - 1])
        spans: list[tuple[int, int]] = []
        for each in texts:
            start = spans[-1][1] + 1 if spans else 0
            spans.append((start, start + len(each)))
        behind = " Let us see." if kind == "facts" else "\n\nOnce more."
        case = Case(" ".join(texts) + behind, spans, f" {' '.join(thoughts)} {ends} {value}", ends, (number,))
        if min(case.explained(model, "evidence").probabilities) > LIKELY:
            yield case
            found += 1
        if found == count:
            return


def _facts(model: contextmix.TracedModel, count: int) -> Iterator[tuple[list[str], int, str, str]]:
    """Those of `answers.py`: sentences, the one that holds the fact, what stands before the answer, the answer."""
    for one in facts(model, 3 * count):
        assert one.needle is not None
        yield one.texts, one.needle[0], f"So {one.question[0].lower()}{one.question[1:]}", one.needle[1]


def _toys() -> Iterator[tuple[list[str], int, str, str]]:
    """Eight children with toys, in words of the story model."""
    chance = random.Random("toys")
    while True:
        own = [chance.sample(words.split(), 8) for words in TOYS]
        number, texts = (
            chance.randrange(8),
            [f"{who} had a {look} {what}." for who, look, what in zip(*own, strict=True)],
        )
        who, look, what = (words[number] for words in own)
        yield texts, number, f"{who} wanted to play with the {look}", f"{what}."


def with_own_thoughts(model: contextmix.TracedModel, kind: str, count: int) -> Iterator[Case]:
    """Stories of eight sentences with a question of a kind whose reply is right."""
    from scripts.demo_answers.stories import THINK, Story

    chance, found = random.Random(f"thoughts {kind}"), 0
    for _ in range(40 * count):
        story = Story(chance, 8, odd_share=0.0)
        fit = story.questions().get(kind, [])
        if not fit:
            continue
        asked = chance.choice(fit)
        try:
            reply = model.explain_answer(asked.question + THINK, story.texts, max_new_tokens=LONGEST, units="whole")
        except contextmix.ContextMixError:  # thoughts without an end, or no answer behind them
            continue
        if f"<think>\n{reply.thoughts}\n{END}\n\n{reply.text}" == asked.thoughts:
            gold = tuple(story.sentences.index(one) for one in asked.gold)
            yield Case(asked.question + THINK, story.texts, asked.thoughts, "markers", gold)
            found += 1
        if found == count:
            return


def scores_of(model: contextmix.TracedModel, case: Case, methods: Sequence[str]) -> dict[str, list[float]]:
    """By method and hops, one number per source."""
    found: dict[str, list[float]] = {}
    for method in methods:
        answer = case.explained(model, method)
        found |= {f"{method}, {name}": answer.by(hops=hops).values[0].tolist() for name, hops in HOPS.items()}
        found[f"{method}, all of it"] = case.explained(model, method, "none").values[0].tolist()
    return found


def truths_of(
    model: contextmix.TracedModel, reply: contextmix.Answer, masks: NDArray[np.bool_], *, again: bool
) -> dict[str, list[float]]:
    """What the model says under each mask."""
    sourced = sourced_answer(model, reply)
    said = ablations_of(model, sourced, "masked")(masks)
    found = {"reply": said.sum(1).tolist(), "fixed": said[:, reply.own].sum(1).tolist()}
    if not again:
        return found
    kept = torch.tensor(sourced.tokens_kept(masks))[:, : sourced.start]
    return {**found, "again": thought_again(model, list(sourced.ids), kept, len(reply.tokens()))}


@torch.no_grad()
def thought_again(model: contextmix.TracedModel, ids: list[int], kept: torch.Tensor, count: int) -> list[float]:
    """log p of the answer, the last tokens, behind the thoughts that the model writes without some of the prompt."""
    ends = {model.tokenizer.convert_tokens_to_ids(END), model.tokenizer.eos_token_id}
    end, answer, found = model.tokenizer.convert_tokens_to_ids(END), ids[-count:], []
    for own in kept:
        read = torch.tensor(ids[: len(own)])[own].tolist()
        for _ in range(LONGEST):
            number = int(model.model(torch.tensor([read])).logits[0, -1].argmax())
            if number in ends:
                break
            read.append(number)
        logits = model.model(torch.tensor([[*read, end, *answer[:-1]]])).logits[0, -count:]
        chances = logits.double().log_softmax(-1).gather(-1, torch.tensor(answer)[:, None])
        found.append(float(chances.sum()))
    return found


def judged(one: Mapping[str, Any], scores: Sequence[float]) -> dict[str, float | None]:
    """All columns of one case and row."""
    best = np.argsort(-np.asarray(scores), kind="stable")[: len(one["gold"])].tolist()
    found: dict[str, float | None] = {"hit": float(set(best) == set(one["gold"]))}
    masks = np.array(one["masks"], bool)
    for name, said in one["truth"].items():
        for told, removed in (("", False), (", count removed", True)):
            found[f"LDS {name}{told}"] = zero(lds(np.array(scores), masks, np.array(said), count_removed=removed))
    return found


def table(kind: str, found: Sequence[Mapping[str, Any]]) -> str:
    """As Markdown, and one hop minus the direct form."""
    rows: dict[str, dict[str, list[float | None]]] = {}
    for number, one in enumerate(found):
        known = {name: list(own) for name, own in baselines(one["lengths"], seed=number).items()}
        for name, own in {**known, **one["scores"]}.items():
            for column, value in judged(one, own).items():
                rows.setdefault(name, {}).setdefault(column, []).append(value)
    columns = list(next(iter(rows.values())))
    shares = ", ".join(f"{name} {cell([one['own thoughts'][name] for one in found])}" for name in HOPS)
    lines = [f"{kind}: {len(found)} cases; own thoughts: {shares}", ""]
    lines += ["| row | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(cell(own[one]) for one in columns) + " |" for name, own in rows.items()]
    for first, other in (("evidence, 1 hop", "evidence, 0 hops"), ("evidence, all hops", "evidence, 1 hop")):
        pairs = (cell(paired(rows[first][one], rows[other][one]), "+") for one in columns)
        lines.append(f"| {first} minus {other} | " + " | ".join(pairs) + " |")
    return "\n".join(lines) + "\n"


def measured(model: contextmix.TracedModel, case: Case, asked: argparse.Namespace) -> dict[str, Any]:
    """All of a case, as JSON values."""
    reply = case.explained(model, "evidence")
    masks, columns = random_masks(len(reply.sources), asked.masks, seed=HELD_OUT), reply.columns.tolist()
    return {
        "gold": case.gold,
        "lengths": [columns.count(place) for place in range(len(reply.sources))],
        "masks": masks.astype(int).tolist(),
        "truth": truths_of(model, reply, masks, again=case.ends == "markers"),
        "scores": scores_of(model, case, asked.methods),
        "own thoughts": {name: float(reply.by(hops=hops).shares_elsewhere[0, 3]) for name, hops in HOPS.items()},
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="demo-answers")
    parser.add_argument("--kinds", nargs="+", choices=(*KINDS, *GIVEN), default=KINDS)
    parser.add_argument("--cases", type=int, default=20, help="of each kind (20)")
    parser.add_argument("--masks", type=int, default=64, help="random halves of the sources for LDS (64)")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--out", type=Path, default=Path("build/answers-thoughts"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    model = contextmix.load(asked.model)
    for kind in asked.kinds:
        found = []
        for case in cases(model, kind, asked.cases):
            found.append(measured(model, case, asked))
            write(asked.out / f"{kind.replace(' ', '-')}.json", found)
        print(table(kind, found) if found else f"{kind}: no reply is right\n", flush=True)


if __name__ == "__main__":
    main()

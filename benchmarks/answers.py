"""Which method names the sources of an answer? Hits on known facts, and agreement with what ablations say.

    python benchmarks/answers.py MODEL [--facts 20] [--wiki 20] [--stories 0] [--masks 64] [--methods NAME …]
        [--away masked] [--data FOLDER] [--out FOLDER] [--part 1/2]

Facts: eight sentences, one holds what is asked, another says the same kind of thing of something else. WikiText: 8 to
12 sentences and 20 tokens of the model's own behind them; its files are looked for in --data, or in
shared/data/wikitext2_valid_test beside the repository. Stories: the model's own, for a small one. A method is a name of
`contextmix methods` (rows of the answer summed, tokens of a source summed), with options as in evidence:reach=all; a
method on sources (source_occlusion, source_value_zeroing, context_cite, source_surrogate) with masks=, away= and
prior=METHOD. Baselines always stand in the table.

LDS: Spearman's correlation of summed scores and the answer's log-probability over random halves of the sources, with
keys masked and positions kept, or with text deleted; "count removed": with a straight line in the number of kept
sources taken out of both. drop1: nats lost without the best source. Random masks of surrogates are others than those of
LDS.

Every case has a file of its own in --out, so a run that was stopped goes on, several can share the cases, and a method
that is asked for later is added. All runs with sources away stand in it too: fitting another surrogate costs none. The
table is printed and written beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from answers_cases import Case, facts, stories, wiki
from answers_table import table

import contextmix
from contextmix.maths.ablations import one_out, random_masks
from contextmix.models.ablations import Away, Remembered, ablations_of
from contextmix.models.source_scores import Fitting, score_sources

METHODS = [
    "evidence",
    "gradient_inputs",
    "attention+mean",
    "norm+mean",
    "globenc",
    "source_value_zeroing",
    "source_occlusion",
    "source_occlusion:away=deleted",
    "source_surrogate:masks=16",
    "source_surrogate:masks=16,prior=evidence",
    "context_cite:masks=32",
]
AWAY: tuple[Away, ...] = ("masked", "deleted")
USUAL: dict[str, Away] = {"source_value_zeroing": "zeroed", "source_occlusion": "masked"}
HELD_OUT = 100_000
"""Seed of the masks of LDS, far from those that surrogates are fitted on."""


class Bench:
    """One model and its cases."""

    def __init__(self, name: str, masks: int, away: Sequence[Away], folder: Path) -> None:
        self.model, self.masks, self.away, self.folder = contextmix.load(name), masks, away, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._keep("settings", {"model": Path(name).name, "masks": masks})

    def _keep(self, name: str, settings: Mapping[str, Any]) -> None:
        path = self.folder / f"{name}.json"
        if path.exists() and json.loads(path.read_text("utf-8")) != settings:
            raise SystemExit(f"{path} holds a run with other settings; choose another folder with --out.")
        write(path, settings)

    def cases(self, kind: str, count: int, data: Path) -> list[Case]:
        """The cases of a kind; those of an earlier run are read again."""
        path = self.folder / f"cases-{kind}-{count}.json"
        if not path.exists():
            ways = {"facts": facts, "stories": stories, "wiki": lambda model, count: wiki(model, count, data)}
            write(path, [one.document() for one in ways[kind](self.model, count)])
        return [Case(**one) for one in json.loads(path.read_text("utf-8"))]

    def measure(self, case: Case, methods: Sequence[str]) -> dict[str, Any]:
        """What the model says of one case, and the scores of all methods; only what is missing is run."""
        path = self.folder / f"{case.name}.json"
        found = (
            json.loads(path.read_text("utf-8"))
            if path.exists()
            else {"case": case.document(), "truth": {}, "scores": {}}
        )
        subject = Subject(self.model, case, found)
        for away in self.away:
            if away not in found["truth"]:
                found["truth"][away] = subject.truth(away, self.masks)
                subject.keep()
                write(path, found)
        for method in methods:
            if method not in found["scores"]:
                start = time.perf_counter()
                found["scores"][method] = subject.scores(method)
                found["scores"][method]["seconds"] = time.perf_counter() - start
                subject.keep()
                write(path, found)
        return found


class Subject:
    """One case, and what was found of it so far."""

    def __init__(self, model: contextmix.TracedModel, case: Case, found: dict[str, Any]) -> None:
        self.model, self.case, self.found = model, case, found
        self.answer = case.sourced(model)
        found["lengths"] = [len(source) for source in self.answer.sources]
        self.asks: dict[Away, Remembered] = {away: ablations_of(model, self.answer, away) for away in (*AWAY, "zeroed")}
        for away, ask in self.asks.items():  # what is known already is not run again
            for masks, said in found.setdefault("runs", {}).get(away, []):
                ask.known[np.array(masks, bool).tobytes()] = np.array(said)

    def keep(self) -> None:
        """All that was asked of the model, to every digit, for another fit of the same masks."""
        for away, ask in self.asks.items():
            pairs = [
                (np.frombuffer(mask, bool).astype(int).tolist(), said.tolist()) for mask, said in ask.known.items()
            ]
            self.found["runs"][away] = pairs

    def truth(self, away: Away, masks: int) -> list[Any]:
        """Mask → log p of each token of the answer: with all sources, without each, and with random halves."""
        count = len(self.answer.sources)
        asked = np.concatenate([one_out(count), random_masks(count, masks, seed=HELD_OUT)])
        said = self.asks[away](asked).round(6).tolist()
        return list(zip(asked.astype(int).tolist(), said, strict=True))

    def scores(self, method: str) -> dict[str, Any]:
        """Scores of the sources, and whether the best token is one of the answer's word where the fact is."""
        name, options = parsed(method)
        if name.startswith("source_") or name == "context_cite":
            return self.by_ablation(name, options)
        name, _, aggregation = name.partition("+")
        options |= {"aggregation": aggregation} if aggregation else {}
        said = list(self.answer.ids[self.answer.start :])
        found = self.model.explain_generation(self.case.text, name, continuation=said, **options)
        tokens = found.values.sum(0)
        best = max((place for source in self.answer.sources for place in source), key=lambda place: tokens[place])
        hit = None if self.case.needle is None else int(best in self.case.needle_tokens(self.model))
        return {"sources": [float(tokens[list(source)].sum()) for source in self.answer.sources], "token": hit}

    def by_ablation(self, name: str, options: dict[str, Any]) -> dict[str, Any]:
        """Scores by passes of their own."""
        away = options.pop(
            "away", {"source_value_zeroing": "zeroed", "source_occlusion": "masked"}.get(name, "deleted")
        )
        if "prior" in options:
            options["prior"] = np.array(self.found["scores"][options["prior"]]["sources"])
        found = score_sources(self.asks[away], len(self.answer.sources), name, fitting=Fitting(**options))
        held_out = found.held_out_lds[0] if found.held_out_lds else None
        return {"sources": found.values[0].tolist(), "token": None, "held_out": held_out}


def parsed(method: str) -> tuple[str, dict[str, Any]]:
    """``name:option=value,option=value``; numbers and True become what they say."""
    name, _, given = method.partition(":")
    pairs = dict(one.split("=", 1) for one in given.split(",") if one)
    known = {"True": True, "False": False}
    return name, {key: int(one) if one.isdigit() else known.get(one, one) for key, one in pairs.items()}


def write(path: Path, content: Any) -> None:
    """Whole or not at all."""
    spare = path.with_suffix(".part")
    spare.write_text(json.dumps(content), "utf-8")
    spare.replace(path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="what contextmix.load takes")
    for kind, count in (("facts", 20), ("wiki", 20), ("stories", 0)):
        parser.add_argument(f"--{kind}", type=int, default=count, metavar="N", help=f"number of cases ({count})")
    parser.add_argument("--masks", type=int, default=64, help="random halves of the sources for LDS (64)")
    parser.add_argument("--away", nargs="+", choices=AWAY, default=AWAY, help="how sources go for LDS (both)")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="the first one is compared with the others")
    shared = Path(os.environ.get("CONTEXTMIX_SHARED") or Path(__file__).parents[2] / "shared")
    parser.add_argument("--data", type=Path, default=shared / "data" / "wikitext2_valid_test")
    parser.add_argument("--out", type=Path, default=Path("build/answers"))
    parser.add_argument("--part", default="1/1", help="only every N-th case, such as 1/2 and 2/2 in two processes")
    return parser.parse_args()


def measured(bench: Bench, asked: argparse.Namespace) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Kind by kind, what was found of its cases."""
    for kind in ("facts", "wiki", "stories"):
        count = getattr(asked, kind)
        found = []
        part, parts = map(int, asked.part.split("/"))
        for case in bench.cases(kind, count, asked.data)[part - 1 :: parts] if count else ():
            start = time.perf_counter()
            found.append(bench.measure(case, asked.methods))
            print(f"{case.name} {time.perf_counter() - start:.0f} s", flush=True)
        if found:
            yield kind, found


def main() -> None:
    """Measure, print, write."""
    asked = arguments()
    bench = Bench(asked.model, asked.masks, asked.away, asked.out)
    for kind, found in measured(bench, asked):
        told, numbers = table(kind, found, asked.methods)
        print(told)
        (asked.out / f"{kind}.md").write_text(told, "utf-8")
        write(asked.out / f"{kind}.json", numbers)


if __name__ == "__main__":
    main()

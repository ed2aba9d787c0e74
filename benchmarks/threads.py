"""Plain inference and explanations of one model in many threads: does anyone get an answer that is not their own?

    python benchmarks/threads.py --seconds 60 --threads 8

Half of the threads run the model as any program would and compare labels and logits with those of the model alone. The
others explain texts of different lengths by every method, one after another, and compare each map with the one that a
single thread finds. Printed: answers, wrong labels, logits that differ by more than rounding, maps, wrong maps, how
many maps each method made, and whatever was raised. Exits with 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch

import contextmix as cm
from contextmix.errors import UnsupportedModel

TEXTS = ("a good film", "dull and slow .", "Once upon a time there was a girl")
ROUNDING = 1e-4  # of the largest number; attention is added up in another order while a recording has it switched


class Everyone:
    """All threads on one model, and what they found.

    Args:
        name: What `contextmix.load` takes.
        methods: The methods that are asked.
        fresh: Whether the parts of the model are found again and again, as by someone who has just loaded it.
    """

    def __init__(self, name: str, methods: Sequence[str], *, fresh: bool) -> None:
        self.traced, self.fresh = cm.load(name), fresh
        self.model: Any = self.traced.model
        self.inputs = [{"input_ids": torch.tensor([one.tokens.ids])} for one in self.traced.encode(list(TEXTS))]
        self.logits = [self.run(number) for number in range(len(TEXTS))]
        self.maps: dict[tuple[str, int], np.ndarray] = {}
        for method in methods:
            with suppress(UnsupportedModel):  # some methods are not defined for a decoder
                self.maps |= {(method, at): self.traced.explain(one, method).values for at, one in enumerate(TEXTS)}
        self.found: Counter[str] = Counter()
        self.made = Counter({method: 0 for method, _ in self.maps})
        self.raised: Counter[str] = Counter()
        self.over = threading.Event()

    def run(self, number: int) -> torch.Tensor:
        """What a program does that knows nothing of contextmix."""
        with torch.no_grad():
            logits: torch.Tensor = self.model(**self.inputs[number]).logits
        return logits

    def infer(self) -> None:
        """One thread of plain inference."""
        for number in itertools.cycle(range(len(TEXTS))):
            if self.over.is_set():
                return
            found, wanted = self.run(number), self.logits[number]
            self.found["answers"] += 1
            self.found["wrong labels"] += int(bool((found.argmax(-1) != wanted.argmax(-1)).any()))
            self.found["wrong logits"] += int(bool((found - wanted).abs().max() > ROUNDING * wanted.abs().max()))

    def explain(self, start: int) -> None:
        """One thread of explanations."""
        everything = list(self.maps)
        for method, number in itertools.cycle(everything[start:] + everything[:start]):
            if self.over.is_set():
                return
            traced = cm.load(self.model, self.traced.tokenizer) if self.fresh else self.traced
            found, wanted = traced.explain(TEXTS[number], method).values, self.maps[method, number]
            self.found["maps"] += 1
            self.made[method] += 1
            self.found["wrong maps"] += int(not np.allclose(found, wanted, rtol=0, atol=ROUNDING * abs(wanted).max()))

    def go(self, seconds: float, threads: int) -> None:
        """All threads for some seconds."""
        step = len(self.maps) // threads + 1
        work = [(self.explain, (step * number,)) if number % 2 else (self.infer, ()) for number in range(threads)]
        running = [threading.Thread(target=self._kept, args=one) for one in work]
        for thread in running:
            thread.start()
        time.sleep(seconds)
        self.over.set()
        for thread in running:
            thread.join()

    def _kept(self, work: Any, told: tuple[Any, ...]) -> None:
        while not self.over.is_set():
            try:
                work(*told)
            except Exception as error:  # whatever it is, nobody else's run may bring it about
                self.raised[f"{type(error).__name__}: {str(error)[:200]}"] += 1

    @property
    def wrong(self) -> int:
        """How many answers, maps and errors there are that should not be."""
        kinds = ("wrong labels", "wrong logits", "wrong maps")
        return sum(self.found[kind] for kind in kinds) + sum(self.raised.values())


def main() -> int:
    """Both built-in models, known already and loaded anew by each thread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=8)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sys.setswitchinterval(1e-4)  # threads change places fifty times as often as usual
    wrong = 0
    for name, fresh in itertools.product(("demo", "demo-decoder"), (False, True)):
        everyone = Everyone(name, list(cm.methods().index), fresh=fresh)
        everyone.go(asked.seconds, asked.threads)
        kinds = ("answers", "wrong labels", "wrong logits", "maps", "wrong maps")
        counted = ", ".join(f"{everyone.found[kind]} {kind}" for kind in kinds)
        print(f"{name}, {'loaded anew' if fresh else 'known'}, {asked.seconds:g} s, {asked.threads} threads: {counted}")
        print("  maps: " + ", ".join(f"{times} {method}" for method, times in everyone.made.items()), flush=True)
        for error, times in everyone.raised.items():
            print(f"  {times} × {error}")
        wrong += everyone.wrong
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

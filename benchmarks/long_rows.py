"""One row of a long input: time and memory of `explain(…, query=-1)` beside a plain forward pass.

    python benchmarks/long_rows.py [--method globenc] [--tokens 512,1024,2048,4096] [--repeats 3] [--cpu-time]

The model is the Llama shape of `benchmarks/evidence.py` (d 512, 8 layers, 8 heads that share 2) with random weights.
Each length runs in a process of its own. Plain passes and rows take turns; the median of their ratios counts, and the
first of each, which fills caches, does not. Memory, in MiB, is the peak of a fresh process above the loaded model, for
the row and for a plain pass. ``--cpu-time`` uses one thread and its processor time,
which other programs disturb least.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from evidence import apart, made, mib

SHORT = 1100
"""Tokens of the row that proves the model."""


def memory(method: str, tokens: int, which: str) -> float:
    """MiB above the loaded model, which has read 16 tokens."""
    ours, plain = _runs(method, tokens, short=16)
    return mib({"ours": ours, "plain": plain}[which])[0]


def times(method: str, tokens: int, repeats: int, cpu: bool) -> list[tuple[float, float]]:
    """Seconds of a plain pass and of a row, in turns."""
    if cpu:
        torch.set_num_threads(1)
    clock = time.process_time if cpu else time.perf_counter
    ours, plain = _runs(method, tokens)
    both = [(_taken(plain, clock), _taken(ours, clock)) for _ in range(repeats + 1)]
    return both[1:]


def _taken(run: Callable[[], Any], clock: Callable[[], float]) -> float:
    begun = clock()
    run()
    return clock() - begun


def _runs(method: str, tokens: int, short: int = SHORT) -> tuple[Callable[[], Any], Callable[[], Any]]:
    traced, prompt, _ = made(None, max(tokens, short), 1)
    ids = torch.tensor([prompt[:tokens]])
    traced.explain({"input_ids": prompt[:short]}, method, query=-1)

    def plain() -> None:
        with torch.no_grad():
            traced.model(input_ids=ids, logits_to_keep=1, use_cache=False)

    return partial(traced.explain, {"input_ids": prompt[:tokens]}, method, query=-1), plain


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="globenc")
    parser.add_argument("--tokens", default="512,1024,2048,4096")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cpu-time", action="store_true")
    asked = parser.parse_args()
    print(f"{asked.method}\n{'tokens':>6}  {'plain s':>7}  {'row s':>7}  {'ratio':>5}  {'MiB':>6}  {'plain MiB':>9}")
    for tokens in map(int, asked.tokens.split(",")):
        taken = apart(times, asked.method, tokens, asked.repeats, asked.cpu_time)
        plain, row = (statistics.median(one) for one in zip(*taken, strict=True))
        ratio = statistics.median(row / plain for plain, row in taken)
        above, below = (apart(memory, asked.method, tokens, which) for which in ("ours", "plain"))
        print(f"{tokens:6}  {plain:7.2f}  {row:7.2f}  {ratio:5.2f}  {above:6.0f}  {below:9.0f}", flush=True)


if __name__ == "__main__":
    main()

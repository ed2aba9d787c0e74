"""What DecompX costs beside plain forward passes, all in one run, and what it keeps in memory.

    python benchmarks/cost_decompx.py [--size bert] [--tokens 128] [--repeats 3] [--threads 2] [--budget-mib 1024]

The unit is n plain forward passes of the same text (SDPA attention, no gradients): one pass is timed, many times,
before and after every DecompX run, and multiplied by n. The authors' code needs 1.67 of it. The floor is what the
multiplications alone take at the speed of the plain pass; `multiplications` counts them. Processor time is printed
beside the time on the clock: with one thread it is the figure to read on a machine that others use too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification

import contextmix

SIZES: dict[str, dict[str, int]] = {
    "bert": {},  # BERT-base: 12 layers, 12 heads, d_model 768
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
}


class Bench:
    """One model with random weights and one text."""

    def __init__(self, size: str, tokens: int, budget: int) -> None:
        torch.manual_seed(0)
        self.config = BertConfig(**SIZES[size], max_position_embeddings=max(512, tokens))
        self.model = BertForSequenceClassification(self.config).eval()
        with torch.no_grad():
            for weight in self.model.parameters():
                if weight.ndim == 1:
                    weight += 0.1 * torch.randn_like(weight)  # biases that must be shared out
        self.inputs = {"input_ids": torch.randint(1000, 20000, (tokens,))}
        self.traced, self.budget = contextmix.load(self.model), budget
        self.traced.anatomy()  # found once per model, on seven tokens

    @torch.no_grad()
    def plain(self) -> Any:
        """A forward pass as people run it."""
        return self.model(input_ids=self.inputs["input_ids"][None])

    def decompx(self) -> Any:
        """All classes, from the text on: the runs that record the layers and find the head are part of it."""
        return self.traced.explain(self.inputs, "decompx", target="all", memory_budget=self.budget)


def multiplications(config: BertConfig, n: int) -> dict[str, float]:
    """Multiply-adds of n plain passes and of DecompX, the large products only."""
    d, heads, layers, inner = (
        config.hidden_size,
        config.num_attention_heads,
        config.num_hidden_layers,
        config.intermediate_size,
    )
    plain = layers * (4 * n * d * d + 2 * n * d * inner + 2 * n * n * d)
    mixing, feed_forward = 2 * n * n * d * d + n**3 * d, 2 * n * n * d * inner
    first, last = n * n * heads * d + feed_forward, n * n * d * heads + 2 * n * d * d + 2 * n * d * inner
    return {"plain": float(n * plain), "decompx": float(first + (layers - 2) * (mixing + feed_forward) + last)}


def timed(program: Callable[[], Any], times: int = 1) -> tuple[float, float]:
    """Seconds of one call on the clock and on the processor: the medians of some."""
    found = []
    for _ in range(times):
        start = time.perf_counter(), time.process_time()
        program()
        found.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return statistics.median(one[0] for one in found), statistics.median(one[1] for one in found)


def peak_mib(size: str, tokens: int, budget: int, program: str) -> float:
    """MiB that a program adds to a loaded model, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_here, (size, tokens, budget, program))


def _peak_here(size: str, tokens: int, budget: int, program: str) -> float:
    bench = Bench(size, tokens, budget)
    bench.plain()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here (Linux)
    before = _resident("VmRSS")
    getattr(bench, program)()
    return _resident("VmHWM") - before


def _resident(name: str) -> float:
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) / 2**10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="bert")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of torch [default: its own choice]")
    parser.add_argument("--budget-mib", type=int, default=1024)
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    budget, n = chosen.budget_mib * 2**20, chosen.tokens
    bench = Bench(chosen.size, n, budget)
    timed(bench.plain, 5)  # warm up
    ratios = []
    for _ in range(chosen.repeats):
        before, found, after = timed(bench.plain, 20), timed(bench.decompx), timed(bench.plain, 20)
        ratios.append([found[i] / (n * (before[i] + after[i]) / 2) for i in range(2)])
        print(
            f"plain {1e3 * before[0]:.0f} and {1e3 * after[0]:.0f} ms, decompx {found[0]:.2f} s: "
            f"{ratios[-1][0]:.3f} · n (processor: {found[1]:.2f} s, {ratios[-1][1]:.3f} · n)",
            flush=True,
        )
    clock, processor = (statistics.median(one[i] for one in ratios) for i in range(2))
    counts = multiplications(bench.config, n)
    print(f"decompx takes {clock:.3f} · n plain passes (processor time: {processor:.3f} · n)")
    print(f"floor, its multiplications alone: {counts['decompx'] / counts['plain']:.3f} · n ({counts['decompx']:.3g})")
    for program in ("plain", "decompx"):
        added = peak_mib(chosen.size, n, budget, program)
        print(f"{program} adds {added:.0f} MiB (budget {chosen.budget_mib} MiB)", flush=True)


if __name__ == "__main__":
    main()

"""Everything that is measured on an accelerator, in one run of eight minutes at most: a table and a JSON file.

    python benchmarks/gpu.py [--device cuda] [--minutes 8] [--out FILE] [--small]

BERT-base (GlobEnc, ALTI, Value Zeroing, DecompX), and the shape of Llama-3.2-1B in float32 and bfloat16 (GlobEnc's row,
`evidence`, gradients) up to 16,384 tokens, all with random weights. Each case times a plain pass with fused attention
and ours in turns, after one of each that nobody counts; the median of their ratios counts. Memory is the peak above the
loaded model. Cases come in order of importance, and those for which no time is left are named. ``--small`` is a
rehearsal with tiny models, for a processor.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from run import SIZES, machine
from transformers import (
    BertForSequenceClassification,
    LlamaForCausalLM,
    PreTrainedModel,
)

import contextmix

LIMITS = {"bert": 2048, "llama1b": 1 << 15}
"""Most tokens that each model of `run.SIZES` has positions for here."""
TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
ROUNDS = 5


@dataclass(frozen=True)
class Case:
    """One method on one model at one length."""

    model: str
    tokens: int
    method: str
    batch: int = 1
    dtype: str = "float32"
    query: int | None = None

    @property
    def name(self) -> str:
        return f"{self.model} {self.dtype} {self.tokens}×{self.batch} {self.method}"


CASES = [
    *(Case("bert", n, "globenc", batch, query=0) for n, batch in ((16, 1), (32, 1), (128, 1), (128, 4), (512, 1))),
    *(Case("llama1b", n, "globenc", query=-1, dtype=kind) for n in (2048, 4096) for kind in ("float32", "bfloat16")),
    *(Case("llama1b", n, "evidence", dtype="bfloat16") for n in (2048, 8192)),
    Case("llama1b", 16384, "globenc", query=-1, dtype="bfloat16"),
    Case("llama1b", 16384, "evidence", dtype="bfloat16"),
    Case("bert", 128, "alti", query=0),
    Case("bert", 64, "value_zeroing", query=0),
    Case("bert", 64, "decompx"),
    Case("bert", 2048, "globenc", query=0),
    Case("llama1b", 2048, "alti_rollout", query=-1),
    Case("llama1b", 2048, "gradient_inputs", dtype="bfloat16"),
    Case("llama1b", 16384, "globenc", query=-1),
]


class Bench:
    """Models, made once for all of their cases: those of one model come together in memory with no other."""

    def __init__(self, device: str, small: bool) -> None:
        self.device, self.small = device, small
        self.key: tuple[str, str] | None = None

    def traced(self, case: Case) -> Any:
        """The model of a case."""
        if self.key != (case.model, case.dtype):
            self.loaded: Any = None  # frees the one before
            torch.manual_seed(0)
            model: PreTrainedModel = self._made(case).eval().to(self.device, getattr(torch, case.dtype))
            self.loaded, self.key = contextmix.load(model), (case.model, case.dtype)
        return self.loaded

    def _made(self, case: Case) -> PreTrainedModel:
        config = copy.deepcopy(SIZES[case.model])
        config.max_position_embeddings = LIMITS[case.model]
        if self.small:
            config = type(config)(**{**config.to_dict(), **TINY, "num_key_value_heads": 2, "head_dim": 16})
        return BertForSequenceClassification(config) if case.model == "bert" else LlamaForCausalLM(config)


def measure(bench: Bench, case: Case) -> dict[str, float]:
    """Seconds, their ratio, and MiB above the loaded model."""
    traced = bench.traced(case)
    ids = torch.randint(1000, 20000, (case.batch, case.tokens), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids.to(bench.device)}
    asked: dict[str, Any] = {} if case.query is None else {"query": case.query}
    ours = partial(traced.explain, inputs, case.method, **asked)
    last = {"logits_to_keep": 1, "use_cache": False} if case.model == "llama1b" else {}

    def plain() -> None:
        with torch.no_grad():
            traced.model(**inputs, **last)

    for run in (plain, ours):
        _seconds(run, bench.device)
    rounds = [(_seconds(plain, bench.device), _seconds(ours, bench.device)) for _ in range(ROUNDS)]
    return {
        "plain_seconds": statistics.median(one for one, _ in rounds),
        "seconds": statistics.median(one for _, one in rounds),
        "ratio": statistics.median(own / one for one, own in rounds),
        "plain_mib": _peak(plain, bench.device),
        "mib": _peak(ours, bench.device),
    }


def _seconds(run: Callable[[], Any], device: str) -> float:
    begun = time.perf_counter()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def _peak(run: Callable[[], Any], device: str) -> float:
    """MiB above what is there; not told for a processor."""
    if device == "cpu":
        return float("nan")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return float(torch.cuda.max_memory_allocated() - before) / 2**20


def measured(bench: Bench, cases: list[Case], seconds: float) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Each case with what was found, or why nothing was; none is begun after so many seconds."""
    begun = time.monotonic()
    for case in cases:
        if time.monotonic() - begun > seconds:
            yield case, {"left_out": "no time was left"}
            continue
        try:
            yield case, measure(bench, case)
        except (torch.OutOfMemoryError, contextmix.ContextMixError) as reason:
            yield case, {"left_out": f"{type(reason).__name__}: {str(reason)[:200]}"}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--out", type=Path, help="[default: benchmarks/results/gpu.json]")
    parser.add_argument("--small", action="store_true", help="tiny models and at most 256 tokens")
    asked = parser.parse_args()
    cases = [replace(one, tokens=min(one.tokens, 256)) for one in CASES] if asked.small else CASES
    table = Table("case", "plain ms", "ms", "× plain", "plain MiB", "MiB", box=None, pad_edge=False)
    report: dict[str, Any] = {"machine": machine(asked.device), "cases": {}}
    for case, found in measured(Bench(asked.device, asked.small), cases, 60 * asked.minutes):
        report["cases"][case.name] = found
        if "left_out" in found:
            table.add_row(case.name, "–", "–", "–", "–", found["left_out"])
            continue
        times = [f"{1e3 * found[name]:.1f}" for name in ("plain_seconds", "seconds")]
        table.add_row(case.name, *times, f"{found['ratio']:.2f}", f"{found['plain_mib']:.0f}", f"{found['mib']:.0f}")
    Console(width=120).print(table)
    out = asked.out or Path(__file__).parent / "results" / "gpu.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"Written to {out}")


if __name__ == "__main__":
    main()

"""What a run over a data set costs beside plain forward passes over it, and how its memory grows with the data.

    python benchmarks/dataset.py DATA [--limit N] [--model demo] [--method globenc] [--parts 8] [--sizes 1000,10000]

Speed: the data is cut into parts, and on each part the programs take turns, so that a drifting machine favours none;
ratios are of total times. Every program tokenises its texts itself.
  plain     the model as people run it: texts in the order of the file, padded batches of 32, SDPA attention
  bucketed  the same without any padding, in the batches of the run: the floor
  run       contextmix.run with its tables written to the disk
  authors   one text at a time, the vectors of all heads and pairs of tokens in memory, as in the released code of
            GlobEnc; on a few texts per part only, scaled to the part
Memory: the peak of the command for each number of texts, in growing order (it is the largest child so far).
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import contextmix
from contextmix.datasets.reading.rows import Row
from contextmix.datasets.reading.source import Source, open_source
from contextmix.datasets.running.explaining import EXPLAIN
from contextmix.datasets.running.measure import Measurer, Ready
from contextmix.datasets.storage.settings import Settings
from contextmix.maths.norms import denominator, linear
from contextmix.traces.trace import LayerTrace
from contextmix.tracing.inputs.encode import stacked
from contextmix.tracing.recording.quiet import quiet_run
from contextmix.tracing.recording.record import record

PADDED = 32
"""Texts in a plain batch."""
AUTHORS = 8
"""Texts per part that the authors' way is timed on."""


class Bench:
    """A model and the programs that go through texts with it."""

    def __init__(self, model: str, methods: Sequence[str], count: int) -> None:
        self.traced = contextmix.load(model)
        self.model, self.tokenizer, self.methods = self.traced.model, self.traced.tokenizer, list(methods)
        self.measurer = Measurer(self.traced, Settings(tuple(methods)))
        self.size = EXPLAIN.shard_size(count)

    @torch.no_grad()
    def plain(self, rows: Sequence[Row]) -> None:
        """Padded batches of 32."""
        texts = [row.text for row in rows]
        for start in range(0, len(texts), PADDED):
            read = self.tokenizer(texts[start : start + PADDED], padding=True, truncation=True, return_tensors="pt")
            self.model(**read)

    def bucketed(self, rows: Sequence[Row]) -> None:
        """Batches of texts of equal length."""
        read = [one for one in self.measurer.read(rows) if isinstance(one, Ready)]
        for batch in self.measurer.batches(read):
            quiet_run(self.model, stacked([one.inputs for one in batch]))

    def run(self, rows: Sequence[Row]) -> None:
        """`contextmix.run`, scan and files included, in shards as of the whole data."""
        with tempfile.TemporaryDirectory() as folder:
            items = [{"text": row.text} for row in rows]
            how = {"methods": self.methods, "shard_size": self.size, "progress": False}
            contextmix.run(items, f"{folder}/out", model=self.traced, **how)

    def authors(self, rows: Sequence[Row]) -> None:
        """One text at a time with all vectors in memory."""
        for row in rows:
            (inputs,) = self.traced.encode(row.text)
            self._with_vectors(stacked([inputs]))

    def _with_vectors(self, tensors: dict[str, Tensor]) -> Tensor:
        maps: list[Tensor] = []
        record(self.model, self.traced.anatomy(), tensors, lambda layer: maps.append(with_vectors(layer)))
        joint = maps[0].double()
        for one in maps[1:]:
            joint = one.double() @ joint
        return joint


def with_vectors(layer: LayerTrace) -> Tensor:
    """N_Enc with vectors for all heads and pairs of tokens, (head, query, key, d_model), as they are computed there."""
    block, states = layer.block, layer.states
    sources = torch.einsum("...hjc,hcd->...hjd", layer.value, block.output_weight)
    vectors = (layer.attention.unsqueeze(-1) * sources.unsqueeze(-3)).sum(-4)
    vectors.diagonal(dim1=-3, dim2=-2).add_(layer.residual_in.transpose(-1, -2))
    for norm, total in ((block.attention.norm_after, states.attention_sum), (block.ffn.norm_after, states.ffn_sum)):
        if norm is not None:
            vectors = linear(vectors, norm) / denominator(total, norm).unsqueeze(-2)
    return vectors.norm(dim=-1)


def seconds(program: Callable[[Sequence[Row]], None], rows: Sequence[Row]) -> float:
    """Time of one program on some texts."""
    start = time.perf_counter()
    program(rows)
    return time.perf_counter() - start


def speed(source: Source, model: str, methods: Sequence[str], parts: int) -> dict[str, float]:
    """Texts per second of each program."""
    bench, total = Bench(model, methods, source.count), {"plain": 0.0, "bucketed": 0.0, "run": 0.0, "authors": 0.0}
    warm = list(source.rows(0, 64))
    for program in (bench.plain, bench.bucketed, bench.run, bench.authors):
        program(warm)
    size = -(-source.count // parts)
    for part in range(parts):
        rows = list(source.rows(part * size, min((part + 1) * size, source.count)))
        for name in ("plain", "run", "bucketed"):
            total[name] += seconds(getattr(bench, name), rows)
        some = rows[:: max(1, len(rows) // AUTHORS)]
        total["authors"] += seconds(bench.authors, some) * len(rows) / len(some)
        done = min((part + 1) * size, source.count)
        print(f"{done:,} texts: run {total['plain'] / total['run']:.2f} of the speed of plain", flush=True)
    return {name: source.count / spent for name, spent in total.items()}


def peak_mib(data: str, model: str, methods: Sequence[str], limit: int) -> float:
    """Peak memory of the command for so many texts, in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["run", data, "--model", model, "--method", ",".join(methods), "--limit", str(limit)]
        start = [sys.executable, "-m", "contextmix", *command, "--out", f"{folder}/out"]
        subprocess.run(start, check=True, capture_output=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--method", default="globenc")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--sizes", help="numbers of texts whose peak memory is measured, with commas")
    chosen = parser.parse_args()
    methods = chosen.method.split(",")
    source = open_source(chosen.data, limit=chosen.limit)
    found = speed(source, chosen.model, methods, chosen.parts)
    table = Table("program", "texts/s", "of plain", box=None, pad_edge=False)
    for name, value in found.items():
        table.add_row(name, f"{value:,.1f}", f"{value / found['plain']:.3f}")
    console = Console(width=100)
    console.print(f"\n{chosen.model}, {chosen.method}, {source.count:,} texts, {torch.get_num_threads()} threads")
    console.print(table)
    console.print(f"run is {found['run'] / found['authors']:.0f} times as fast as the authors' way\n")
    for size in sorted(map(int, chosen.sizes.split(","))) if chosen.sizes else []:
        console.print(f"{size:,} texts: {peak_mib(chosen.data, chosen.model, methods, size):.0f} MiB at the peak")


if __name__ == "__main__":
    main()

"""What an explanation costs beside a plain forward pass, and beside the formula written out, all in one run.

    python benchmarks/run.py [--device cuda] [--cases bert-128x4,minilm-32x1] [--repeats 7] [--out results/NAME.json]

Each case times three programs in turn (A B C A B C …) on the same model and inputs and reports the median of the ratios
of each round, so that a drifting machine cannot favour one. Peak memory is what each program adds to a loaded model, in
its own process. The plain pass is the model as people run it: SDPA attention, no gradients. The naive formula builds
the vectors with (query, key, d_model), heads already summed, which is what the definition says; the authors' code
keeps heads apart and needs H times more.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import AutoModel, BertConfig, LlamaConfig, PreTrainedConfig, PreTrainedModel

import contextmix
from contextmix.maths.norms import denominator, linear
from contextmix.traces.trace import LayerTrace
from contextmix.tracing.recording.record import record

SIZES: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(),  # BERT-base: 12 layers, 12 heads, d_model 768
    "minilm": BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536),
    "llama": LlamaConfig(  # grouped queries, no biases, gated feed-forward part
        hidden_size=1024,
        num_hidden_layers=12,
        num_attention_heads=16,
        num_key_value_heads=4,
        intermediate_size=2816,
    ),
    "llama1b": LlamaConfig(  # the shape of Llama-3.2-1B: 1.2 thousand million parameters; for an accelerator
        hidden_size=2048,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=8192,
        vocab_size=128256,
    ),
}
NAIVE_LIMIT = 6e9
"""Bytes of vectors per layer above which the naive formula is not run."""


@dataclass(frozen=True)
class Case:
    """A model size, a number of tokens and a batch size."""

    size: str
    tokens: int
    batch: int

    @property
    def name(self) -> str:
        return f"{self.size}-{self.tokens}x{self.batch}"


CASES = [
    Case("bert", 32, 8),
    Case("bert", 128, 4),
    Case("bert", 512, 1),
    Case("bert", 2048, 1),
    Case("minilm", 32, 1),
    Case("llama", 512, 1),
]


class Bench:
    """One model with random weights, its inputs, and the programs to compare."""

    def __init__(self, case: Case, device: str) -> None:
        torch.manual_seed(0)
        config = copy.deepcopy(SIZES[case.size])
        config.max_position_embeddings = max(512, case.tokens)
        self.model: PreTrainedModel = AutoModel.from_config(config).eval().to(device)
        self.query = -1 if config.model_type == "llama" else 0  # a decoder explains its last token
        self.inputs = {"input_ids": torch.randint(1000, 20000, (case.batch, case.tokens)).to(device)}
        self.traced = contextmix.load(self.model)
        self.traced.anatomy()  # found once per model, on seven tokens
        vectors = 4 * case.batch * case.tokens**2 * config.hidden_size
        self.naive_fits = 3 * vectors < NAIVE_LIMIT  # the vectors, centred, and weighted

    def programs(self) -> dict[str, Callable[[], Any]]:
        """Name → program; plain first."""
        found = {"plain": self.plain, "globenc": self.globenc, "globenc all rows": self.globenc_all_rows}
        return found | ({"naive": self.naive} if self.naive_fits else {})

    @torch.no_grad()
    def plain(self) -> Any:
        """A forward pass as people run it."""
        return self.model(**self.inputs, use_cache=False)

    def globenc(self) -> Any:
        """GlobEnc for one token: all maps, one row rolled out."""
        return self.traced.explain(self.inputs, "globenc", query=self.query, batch_size=64)

    def globenc_all_rows(self) -> Any:
        """GlobEnc for every token: all maps, the whole rollout."""
        return self.traced.explain(self.inputs, "globenc", batch_size=64)

    def naive(self) -> Any:
        """The formula of GlobEnc written out, with vectors for all pairs of tokens."""
        rows: list[Tensor] = []
        record(self.model, self.traced.anatomy(), self.inputs, lambda layer: rows.append(naive_norm_encoder(layer)))
        row = rows[-1][..., self.query, :].double()
        for layer in reversed(rows[:-1]):
            row = torch.einsum("...q,...qk->...k", row, layer.double())
        return row


def naive_norm_encoder(layer: LayerTrace) -> Tensor:
    """N_Enc as the definition says: build every vector, push it through both norms, take its length."""
    block, states = layer.block, layer.states
    sources = torch.einsum("...hjc,hcd->...jhd", layer.value, block.output_weight)
    vectors = torch.einsum("...hij,...jhd->...ijd", layer.attention, sources)
    vectors.diagonal(dim1=-3, dim2=-2).add_(layer.residual_in.transpose(-1, -2))
    for norm, total in ((block.attention.norm_after, states.attention_sum), (block.ffn.norm_after, states.ffn_sum)):
        if norm is not None:
            vectors = linear(vectors, norm) / denominator(total, norm).unsqueeze(-2)
    return vectors.norm(dim=-1)


def timed(program: Callable[[], Any], device: str) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    program()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def time_case(case: Case, device: str, repeats: int) -> dict[str, Any]:
    """Median seconds and median ratio to the plain pass, programs in turn."""
    programs = Bench(case, device).programs()
    for program in programs.values():
        timed(program, device)  # warm up
    rounds = [{name: timed(program, device) for name, program in programs.items()} for _ in range(repeats)]
    return {
        name: {
            "seconds": statistics.median(one[name] for one in rounds),
            "ratio": statistics.median(one[name] / one["plain"] for one in rounds),
        }
        for name in programs
    }


def peak_memory(case: Case, program: str, device: str) -> float:
    """MiB that one program adds to a loaded model, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_here, (case, program, device))


def _peak_here(case: Case, program: str, device: str) -> float:
    bench = Bench(case, device)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        bench.programs()[program]()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is in memory now
    before = _kib("VmRSS")
    bench.programs()[program]()
    return (_kib("VmHWM") - before) / 2**10


def _kib(field: str) -> int:
    """A line of the kernel's account of this process, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def measure(case: Case, device: str, repeats: int) -> dict[str, Any]:
    """Everything about one case."""
    found = time_case(case, device, repeats)
    for program in found:
        found[program]["peak_mib"] = max(0.0, peak_memory(case, program, device))
    return found


def main() -> None:
    """Run the cases, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cases", help="names with commas, such as bert-128x4; all if left out")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, help="JSON file [default: benchmarks/results/cost-DEVICE.json]")
    chosen = parser.parse_args()
    cases = [Case(*_parsed(name)) for name in chosen.cases.split(",")] if chosen.cases else CASES
    table = Table("case", "program", "ms", "× plain", "peak MiB", "× plain's peak", box=None, pad_edge=False)
    report: dict[str, Any] = {"machine": machine(chosen.device), "repeats": chosen.repeats, "cases": {}}
    for case in cases:
        found = report["cases"][case.name] = measure(case, chosen.device, chosen.repeats)
        for name, one in found.items():
            peak = one["peak_mib"] / max(found["plain"]["peak_mib"], 1e-9)
            table.add_row(
                case.name,
                name,
                f"{1e3 * one['seconds']:.1f}",
                f"{one['ratio']:.2f}",
                f"{one['peak_mib']:.0f}",
                f"{peak:.1f}",
            )
    Console(width=100).print(table)
    out = chosen.out or Path(__file__).parent / "results" / f"cost-{chosen.device}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nWritten to {out}")


def _parsed(name: str) -> tuple[str, int, int]:
    size, shape = name.rsplit("-", 1)
    tokens, batch = shape.split("x")
    return size, int(tokens), int(batch)


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    where = (
        torch.cuda.get_device_name() if device != "cpu" else f"{platform.machine()}, {torch.get_num_threads()} threads"
    )
    return {"device": where, "torch": torch.__version__, "python": platform.python_version()}


if __name__ == "__main__":
    main()

"""What some methods cost: against a plain forward pass, and against the obvious way, in one run.

    python benchmarks/cost_family.py [zeroing] [effective] [alti] [flow] [--repeats 5] [--cpu-time]

The programs of a group run in turn (A B C A B C …); printed are the best time of each and the median over rounds of its
ratio to the group's first program. BERT-base size, random weights, one sequence. With ``--cpu-time`` on one thread the
figures stand other work on the machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import BertConfig, BertModel

import contextmix
from contextmix.maths.alti import l1_contributions
from contextmix.maths.effective import effective_mean, value_space
from contextmix.maths.effective_causal import causal_effective
from contextmix.maths.feedforward import FeedForward
from contextmix.maths.flow import FlowNetwork
from contextmix.traces.trace import LayerTrace
from contextmix.tracing.recording.record import record

N_HEADS, D_HEAD = 12, 64

Programs = dict[str, Callable[[], Any]]


def effective(n: int = 512) -> Programs:
    """One layer: the mean of A_eff over heads, against a full singular value decomposition of each head."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(N_HEADS, n, n, generator=generator)
    value = torch.randn(N_HEADS, n, D_HEAD, generator=generator)
    weight = torch.randn(N_HEADS, D_HEAD, N_HEADS * D_HEAD, generator=generator) / 30
    attention, later = scores.softmax(-1), torch.full((n, n), -torch.inf).triu(1)
    causal, first, space = (scores + later).softmax(-1), torch.zeros(n, dtype=torch.long), value_space(value)

    def decomposed(matrices: Tensor) -> list[Any]:
        return [torch.linalg.svd(matrix, full_matrices=True) for matrix in matrices]

    def without_null_space() -> Tensor:
        """What the released code does, on true tokens: find the null space of V and project it away."""
        null = torch.stack([left[:, D_HEAD:] for left, _, _ in decomposed(value)])
        return (attention - attention @ null @ null.mT).mean(0)

    return {
        "effective attention": lambda: effective_mean(attention, value_space(value)),
        "… of it the basis and the rank": lambda: value_space(value),
        "… of it two products (the floor)": lambda: effective_mean(attention, space),
        "full SVD of T = V W_O, each head": lambda: decomposed(value @ weight),
        "full SVD of T, float64": lambda: decomposed((value @ weight).double()),
        "full SVD of V, each head": lambda: decomposed(value),
        "full SVD of V, float64": lambda: decomposed(value.double()),
        "the released code's way": without_null_space,
        "effective attention, causal": lambda: causal_effective(causal, value, first).mean(0),
    }


class Alti:
    """A whole model, and the same passes with a method in them."""

    def __init__(self, n: int) -> None:
        torch.manual_seed(0)
        self.model = BertModel(BertConfig(), add_pooling_layer=False).eval()
        self.inputs = {"input_ids": torch.randint(1000, 20000, (n,))}
        self.traced = contextmix.load(self.model)
        self.traced.anatomy()  # found once per model, on seven tokens
        self.layers: list[LayerTrace] = self.traced.trace(self.inputs).layers[:1]

    @torch.no_grad()
    def plain(self) -> Any:
        """A forward pass as people run it."""
        return self.model(input_ids=self.inputs["input_ids"][None])

    def traced_only(self) -> Any:
        """Every layer recorded and checked, nothing measured."""
        return record(self.model, self.traced.anatomy(), {"input_ids": self.inputs["input_ids"][None]}, lambda _: None)

    @torch.no_grad()
    def vectors(self) -> None:
        """The vectors of all layers and their lengths, from one recorded layer."""
        for _ in range(self.model.config.num_hidden_layers):
            l1_contributions(self.layers[0].mid_parts, self.layers[0].states.residual_mid)

    def explain(self, **options: Any) -> Any:
        """ALTI of all layers, rolled out for the first token."""
        return self.traced.explain(self.inputs, "alti_rollout", query=0, **options)

    @torch.no_grad()
    def product(self) -> None:
        """The multiplications of the vectors alone, into a buffer that stays in the cache."""
        attention, parts = self.layers[0].attention, self.layers[0].mid_parts
        weights, sources = attention.permute(2, 1, 0).contiguous(), parts.sources()
        buffer = torch.empty(8, *weights.shape[1:2], sources.shape[-1])
        for _ in range(self.model.config.num_hidden_layers):
            for start in range(0, len(weights) - 7, 8):
                torch.bmm(weights[start : start + 8], sources[start : start + 8], out=buffer)


def alti(n: int = 128) -> Programs:
    """The whole model."""
    bench = Alti(n)
    return {
        "plain": bench.plain,
        "traced, nothing measured": bench.traced_only,
        "alti_rollout, one row": bench.explain,
        "alti_rollout by L2": lambda: bench.explain(distance="l2"),
        "… of L1: vectors and lengths": bench.vectors,
        "… of L1: products alone (the floor)": bench.product,
    }


def zeroing(n: int = 64) -> Programs:
    """The whole model at n = 64, where n plain passes are the unit to read the ratios by: divide them by 64."""
    bench = Alti(n)
    feed_forward = bench.layers[0].block.feed_forward
    assert isinstance(feed_forward, FeedForward)
    second, changes = feed_forward.second, torch.randn(n * n, feed_forward.second.shape[0])
    reduced, few = second.bfloat16(), changes.bfloat16()
    layers = range(bench.model.config.num_hidden_layers)
    return {
        "plain": bench.plain,
        "value_zeroing": lambda: bench.traced.explain(bench.inputs, "value_zeroing"),
        "… its second matrix alone (the floor)": lambda: [changes @ second for _ in layers],
        "value_zeroing, bfloat16": lambda: bench.traced.explain(bench.inputs, "value_zeroing", precision="bfloat16"),
        "… its second matrix alone, bfloat16": lambda: [few @ reduced for _ in layers],
    }


def flow(n: int = 32, n_layers: int = 12) -> Programs:
    """One row of attention flow: n maximum flows."""
    maps = torch.randn(n_layers, n, n, generator=torch.Generator().manual_seed(0)).mul(2).softmax(-1).double()
    network = FlowNetwork(maps / 2 + torch.eye(n) / 2)
    return {f"one row, n = {n}, {n_layers} layers": lambda: list(network.flows(0))}


GROUPS = {"zeroing": zeroing, "effective": effective, "alti": alti, "flow": flow}


def peak_mib(n: int, program: str, **options: Any) -> float:
    """MiB that a program of `Alti` adds to a loaded model, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_here, (n, program), options)


def _peak_here(n: int, program: str, **options: Any) -> float:
    bench = Alti(7)
    bench.inputs = {"input_ids": torch.randint(1000, 20000, (n,))}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    getattr(bench, program)(**options)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10


def timed(program: Callable[[], Any], clock: Callable[[], float]) -> float:
    """Seconds of one call."""
    start = clock()
    program()
    return clock() - start


def report(programs: Programs, repeats: int, clock: Callable[[], float]) -> Table:
    """Each program's best time and its median ratio to the first."""
    for program in programs.values():
        program()  # warm up
    rounds = [{name: timed(program, clock) for name, program in programs.items()} for _ in range(repeats)]
    table, reference = Table("program", "ms", "× first", box=None, pad_edge=False), next(iter(programs))
    for name in programs:
        ratio = statistics.median(one[name] / one[reference] for one in rounds)
        table.add_row(name, f"{1e3 * min(one[name] for one in rounds):.1f}", f"{ratio:.2f}")
    return table


def measure(
    about: str | None, models: dict[str, Callable[[], Any]], programs: Callable[[Any, int], Programs], *, repeats: int
) -> None:
    """The command line of a benchmark that runs the same programs on several models.

    Args:
        about: What ``--help`` says.
        models: Each with a docstring that says what it is.
        programs: A model and how many tokens → what is measured of it.
        repeats: Rounds, if nobody asks for another number.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", choices=[[], *models], help="all if left out")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--cpu-time", action="store_true", help="processor time on one thread instead of wall time")
    chosen = parser.parse_args()
    if chosen.cpu_time:
        torch.set_num_threads(1)
    console = Console(width=100)
    clock = time.process_time if chosen.cpu_time else time.perf_counter
    for name in chosen.models or models:
        torch.manual_seed(0)
        console.print(f"\n{models[name].__doc__} {chosen.tokens} tokens:\n")
        console.print(report(programs(models[name](), chosen.tokens), chosen.repeats, clock))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", choices=[[], *GROUPS], help="all if left out")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true", help="processor time on one thread instead of wall time")
    parser.add_argument("--peak", action="store_true", help="peak memory of ALTI at n = 512, too")
    chosen = parser.parse_args()
    if chosen.cpu_time:
        torch.set_num_threads(1)
    console = Console(width=100)
    for group in chosen.groups or GROUPS:
        console.print(f"\n{group}: {GROUPS[group].__doc__}\n")
        console.print(
            report(GROUPS[group](), chosen.repeats, time.process_time if chosen.cpu_time else time.perf_counter)
        )
    if chosen.peak:
        for name, options in (("plain", {}), ("explain", {}), ("explain", {"distance": "l2"})):
            console.print(f"n = 512: {name} {options or ''} adds {peak_mib(512, name, **options):.0f} MiB")


if __name__ == "__main__":
    main()

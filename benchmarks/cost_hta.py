"""What exact HTA × inputs costs in closed form and by chunked vector–Jacobian products, all in one run.

    python benchmarks/cost_hta.py [--size minilm] [--tokens 64] [--rows 4] [--repeats 3] [--peak]

Both measure all layers of the same model on the same text. Backward passes cost the same for every query, so only a
few --rows are taken in each layer and their time is multiplied by tokens / rows (--rows 64 takes all; many minutes).
The floor is what the large products of the closed form alone would take at the speed that one large product has here.
On a busy machine read the processor's time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import BertConfig, BertModel

import contextmix
from contextmix.maths.backward import backward_lengths

SIZES: dict[str, dict[str, int]] = {
    "bert": {},  # BERT-base: 12 layers, 12 heads, d_model 768
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
}


class Bench:
    """One model with random weights and one text."""

    def __init__(self, size: str, tokens: int, rows: int) -> None:
        torch.manual_seed(0)
        self.config = BertConfig(**SIZES[size], max_position_embeddings=max(512, tokens))
        self.model = BertModel(self.config, add_pooling_layer=False).eval()
        self.inputs = {"input_ids": torch.randint(1000, 20000, (tokens,))}
        self.tokens, self.rows = tokens, torch.linspace(0, tokens - 1, min(rows, tokens)).long()
        self.traced = contextmix.load(self.model)
        self.traced.anatomy()  # found once per model, on seven tokens

    @torch.no_grad()
    def plain(self) -> object:
        """A forward pass as people run it."""
        return self.model(input_ids=self.inputs["input_ids"][None])

    def closed_form(self) -> object:
        """All layers, from the text on."""
        return self.traced.explain(self.inputs, "hta_inputs")

    def backward(self) -> Tensor:
        """All layers, a few queries of each."""
        trace = self.traced.trace(self.inputs)
        return torch.stack([self._some_rows(layer) for layer in trace.layers])

    def _some_rows(self, layer: contextmix.LayerTrace) -> Tensor:
        states = layer.residual_in
        per_pass = 16 * states.numel() + 4 * layer.attention.numel()
        return backward_lengths(lambda new: layer.replay(new)[self.rows], states, states, per_pass)


def multiplications(config: BertConfig, n: int) -> dict[str, float]:
    """Multiply-adds of the large products over all layers, by what they make; see `contextmix.maths.jacobian`."""
    d, heads, inner = config.hidden_size, config.num_attention_heads, config.intermediate_size
    each = n * config.num_hidden_layers
    return {
        "tails T": each * d * d * inner,
        "B, K": each * 2 * d**3,
        "own J_ii": each * (1 + 1 / heads) * d**3,
        "τ": each * (d**3 / 2 + n * heads * heads * d / 2),
        "M": each * d**3,
        "q M, K r": each * 2 * n * d * d,
    }


def timed(program: Callable[[], object]) -> tuple[float, float]:
    """Seconds of one call, on the clock and on the processor (all threads)."""
    start = time.perf_counter(), time.process_time()
    program()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def one_product() -> float:
    """Multiply-adds of one large product, the measure of what the machine can do."""
    left, right = torch.ones(4096, 1536), torch.ones(1536, 1536)
    for _ in range(4):
        left @ right
    return 4 * 4096 * 1536 * 1536.0


def peak_mib(size: str, tokens: int) -> float:
    """MiB that the closed form adds to a loaded model, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_here, (size, tokens))


def _peak_here(size: str, tokens: int) -> float:
    bench = Bench(size, tokens, 1)
    bench.plain()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here (Linux)
    before = _resident("VmRSS")
    bench.closed_form()
    return _resident("VmHWM") - before


def _resident(name: str) -> float:
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) / 2**10


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="minilm", choices=SIZES)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rows", type=int, default=4, help="queries measured by backward passes; 0 for none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak", action="store_true", help="also the memory")
    chosen = parser.parse_args()
    bench = Bench(chosen.size, chosen.tokens, chosen.rows)
    programs = {"product": one_product, "plain forward pass": bench.plain, "closed form": bench.closed_form}
    for program in programs.values():
        program()  # warm up
    programs |= {"backward passes": bench.backward} if chosen.rows else {}
    rounds = [{name: timed(program) for name, program in programs.items()} for _ in range(chosen.repeats)]
    report(bench, rounds)
    if chosen.peak:
        print(f"the closed form adds {peak_mib(chosen.size, chosen.tokens):.0f} MiB to the loaded model")


def report(bench: Bench, rounds: list[dict[str, tuple[float, float]]]) -> None:
    """Medians; a ratio is the median of the ratios of each round."""
    work, d, n = multiplications(bench.config, bench.tokens), bench.config.hidden_size, bench.tokens
    total, share = sum(work.values()), bench.tokens / max(1, len(bench.rows))
    print(f"{bench.config.num_hidden_layers} layers, d = {d}, n = {n}, {torch.get_num_threads()} threads")
    print(f"{'':<34}{'clock':>10}{'processor':>12}")
    floors = {"floor of the closed form": ("product", total / (4 * 4096 * 1536 * 1536.0))}
    rows = {name: (name, 1.0) for name in rounds[0] if name != "product"} | floors
    if "backward passes" in rows:
        rows["backward passes"] = ("backward passes", share)
        print(f"(backward passes for {len(bench.rows)} of {n} queries, times {share:g})")
    for name, (source, factor) in rows.items():
        clock, processor = (factor * statistics.median(one[source][which] for one in rounds) for which in range(2))
        print(f"{name:<34}{clock:>8.2f} s{processor:>10.2f} s")
    for name, (above, below) in {
        "times faster than backward passes": (rows.get("backward passes"), rows["closed form"]),
        "times its floor": (rows["closed form"], floors["floor of the closed form"]),
    }.items():
        if above is not None:
            ratios = [
                statistics.median(above[1] * one[above[0]][w] / (below[1] * one[below[0]][w]) for one in rounds)
                for w in range(2)
            ]
            print(f"{name:<34}{ratios[0]:>8.1f}  {ratios[1]:>10.1f}")
    print(
        f"{total / 1e9:.0f} G multiply-adds: " + ", ".join(f"{name} {part / total:.0%}" for name, part in work.items())
    )


if __name__ == "__main__":
    main()

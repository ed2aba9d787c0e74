"""The sources of an answer at the price of one forward pass: time and memory of `evidence` beside a plain pass.

    python benchmarks/evidence.py [--model FOLDER] [--tokens 1000,4000,16000] [--answer 20]

Left out, the model is a Llama shape (d 512, 8 layers, 8 heads that share 2, a vocabulary of 32,000) with random
weights. Each length runs in a process of its own; plain and evidence take turns, three times, and the least processor
time of each counts (first runs, which fill caches, do not). The plain pass gives logits of the answer's rows alone, as
evidence does, and keeps no cache.

Memory, in MiB: *tensors*, the most that all tensors of a run take at once, counted by torch's profiler; *process*, the
peak of the whole process with the model, and how far that is above the loaded model, which the allocator's gaps are
part of. A pass that is to be gone on from keeps keys and values besides (*with cache*, tensors alone).
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM

import contextmix
from contextmix.models.spans import explained_span
from contextmix.plugins.plan import make_plan
from contextmix.tracing.runs.generate import Speaker

SHAPE = {
    "hidden_size": 512,
    "intermediate_size": 1376,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 32000,
    "max_position_embeddings": 1 << 17,
}


def measured(folder: str | None, tokens: int, answer: int, which: str) -> tuple[float, ...]:
    """Seconds of processor time, and MiB of tensors, of the process above the loaded model and of the process."""
    traced, prompt, new = made(folder, tokens, answer)
    speaker = Speaker(traced.model, traced.tokenizer, traced.limit)
    done = speaker.goes_on(traced.encode({"input_ids": prompt})[0], answer, new)
    ids = torch.tensor([[*prompt, *new[:-1]]])

    def plain(cache: bool = False) -> None:
        with torch.no_grad():
            traced.model(input_ids=ids, logits_to_keep=answer, use_cache=cache)

    def evidence() -> None:
        explained_span(traced, [make_plan("evidence")], done, contrast=False)

    short = speaker.goes_on(traced.encode({"input_ids": prompt[:8]})[0], 2, new[:2])
    explained_span(traced, [make_plan("evidence")], short, contrast=False)  # proves the model, once
    run = {"plain": plain, "cache": lambda: plain(cache=True), "evidence": evidence}[which]
    if which == "cache":
        return (_tensors(run),)
    above, process = mib(run)
    return min(_seconds(run), _seconds(run)), _tensors(run), above, process


def _seconds(run: Callable[[], None]) -> float:
    begun = time.process_time()
    run()
    return time.process_time() - begun


def _tensors(run: Callable[[], None]) -> float:
    """The most MiB that tensors made in a run take at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    taken = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(taken, key=lambda event: event.start_ns())]
    return max(accumulate(sizes, initial=0)) / 2**20


def mib(run: Callable[[], Any]) -> tuple[float, float]:
    """How far a run takes the process above what it holds now, and the peak of the process."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is in memory now
    before = _kib("VmRSS")
    run()
    return (_kib("VmHWM") - before) / 2**10, _kib("VmHWM") / 2**10


def _kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def made(folder: str | None, tokens: int, answer: int) -> tuple[Any, list[int], list[int]]:
    """A model, and the ids of a random prompt and answer."""
    torch.manual_seed(0)
    if folder is None:
        traced = contextmix.load(LlamaForCausalLM(LlamaConfig(**SHAPE)).eval())
    else:
        traced = contextmix.load(folder, dtype="float32")
    ids = torch.randint(10, traced.model.config.get_text_config().vocab_size - 10, (tokens + answer,)).tolist()
    return traced, ids[:tokens], ids[tokens:]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--tokens", default="1000,4000,16000")
    parser.add_argument("--answer", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    print(
        f"{'tokens':>6}  {'run':8}  {'s':>6}  {'tensors':>7}  {'above':>6}  {'process':>7}  (MiB; × plain)", flush=True
    )
    for tokens in map(int, chosen.tokens.split(",")):
        found: dict[str, list[tuple[float, ...]]] = {"plain": [], "evidence": []}
        for _ in range(chosen.repeats):
            for which, runs in found.items():
                runs.append(apart(measured, chosen.model, tokens, chosen.answer, which))
        plain, ours = (tuple(map(min, zip(*runs, strict=True))) for runs in found.values())
        (cache,) = apart(measured, chosen.model, tokens, chosen.answer, "cache")
        print(f"{tokens:6}  {'plain':8}  {_row(plain)}  (with cache: tensors {cache:.0f})", flush=True)
        times = (f"{one / other:.2f}" for one, other in zip(ours, plain, strict=True))
        print(f"{tokens:6}  evidence  {_row(ours)}  (× {', '.join(times)})", flush=True)


def apart(measure: Callable[..., Any], *told: Any) -> Any:
    """Measured in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, told)


def _row(numbers: tuple[float, ...]) -> str:
    seconds, tensors, above, process = numbers
    return f"{seconds:6.2f}  {tensors:7.0f}  {above:6.0f}  {process:7.0f}"


if __name__ == "__main__":
    main()

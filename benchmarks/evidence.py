"""The sources of an answer at the price of one forward pass: time and memory of `evidence` beside a plain pass.

    python benchmarks/evidence.py [--model FOLDER] [--tokens 1000,4000,16000] [--answer 20]

Left out, the model is a Llama shape (d 512, 8 layers, 8 heads that share 2, a vocabulary of 32,000) with random
weights. Each length runs in a process of its own; plain and evidence take turns, three times, and the least processor
time of each counts (first runs, which fill caches, do not). Memory is the peak of a process above the loaded model.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
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


def measured(folder: str | None, tokens: int, answer: int, which: str) -> tuple[float, float]:
    """Seconds of processor time and MiB above the loaded model: of a plain pass, or of the evidence of an answer."""
    traced, prompt, new = _made(folder, tokens, answer)
    speaker = Speaker(traced.model, traced.tokenizer, traced.limit)
    done = speaker.goes_on(traced.encode({"input_ids": prompt})[0], answer, new)
    ids = torch.tensor([[*prompt, *new[:-1]]])

    def plain() -> None:
        with torch.no_grad():
            traced.model(input_ids=ids, logits_to_keep=answer, use_cache=False)

    def evidence() -> None:
        explained_span(traced, [make_plan("evidence")], done, contrast=False)

    short = speaker.goes_on(traced.encode({"input_ids": prompt[:8]})[0], 2, new[:2])
    explained_span(traced, [make_plan("evidence")], short, contrast=False)  # proves the model, once
    run = plain if which == "plain" else evidence
    mib = _mib(run)
    return min(_seconds(run), _seconds(run)), mib


def _seconds(run: Callable[[], None]) -> float:
    begun = time.process_time()
    run()
    return time.process_time() - begun


def _mib(run: Callable[[], None]) -> float:
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is in memory now
    before = _kib("VmRSS")
    run()
    return (_kib("VmHWM") - before) / 2**10


def _kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def _made(folder: str | None, tokens: int, answer: int) -> tuple[Any, list[int], list[int]]:
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
    print("tokens  plain s  evidence s  ratio  plain MiB  evidence MiB", flush=True)
    for tokens in map(int, chosen.tokens.split(",")):
        found: dict[str, list[tuple[float, float]]] = {"plain": [], "evidence": []}
        for _ in range(chosen.repeats):
            for which, runs in found.items():
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    runs.append(pool.apply(measured, (chosen.model, tokens, chosen.answer, which)))
        (plain, low), (ours, high) = (map(min, zip(*runs, strict=True)) for runs in found.values())
        print(f"{tokens:6}  {plain:7.2f}  {ours:10.2f}  {ours / plain:5.2f}  {low:9.0f}  {high:12.0f}", flush=True)


if __name__ == "__main__":
    main()

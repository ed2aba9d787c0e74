"""What each method adds to the memory of a loaded model, each in a process of its own.

    python benchmarks/peak_memory.py [METHOD ...] [--tokens 512] [--layers 2] [--budget-mib 1024]

A BERT-base classifier with random weights and few layers: mixing maps are measured layer by layer, so depth adds only
the maps themselves; methods of the whole model keep their vectors within the budget.
"""

from __future__ import annotations

import argparse
import multiprocessing
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification

import contextmix

OPTIONS = {"occlusion": {"replace": "delete"}}  # a model without tokenizer names no unknown token


def added(method: str | None, tokens: int, layers: int, budget: int) -> float:
    """MiB that one explanation (None: one plain pass) adds at its peak."""
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(num_hidden_layers=layers, mask_token_id=103)).eval()
    traced = contextmix.load(model)
    traced.anatomy()
    inputs = {"input_ids": torch.randint(1000, 20000, (tokens,))}
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is in memory now
    before = _kib("VmRSS")
    if method is None:
        with torch.no_grad():
            model(inputs["input_ids"][None])
    else:
        traced.explain(inputs, method, memory_budget=budget << 20, **OPTIONS.get(method, {}))
    return (_kib("VmHWM") - before) / 2**10


def _kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help="all mixing maps and methods of the whole model if left out")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--budget-mib", type=int, default=1024)
    chosen = parser.parse_args()
    for method in [None, *(chosen.methods or contextmix.methods().index)]:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            try:
                mib = pool.apply(added, (method, chosen.tokens, chosen.layers, chosen.budget_mib))
            except contextmix.ContextMixError as refusal:
                print(f"{method or 'plain pass'}: refused ({refusal})", flush=True)
            else:
                print(f"{method or 'plain pass'}: {mib:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()

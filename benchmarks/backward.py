"""What following a whole answer back costs: `gradient_inputs` of 20 tokens as one score, and `evidence` on all paths.

    python benchmarks/backward.py [--model FOLDER] [--tokens 500] [--answer 20] [--repeats 5]

Beside them one forward and one backward pass of the plain model on the same score, the sum of the log-probabilities of
the answer, with gradients of the embeddings alone and with those of all weights (what training computes). The model
that is made where none is named is that of `benchmarks/evidence.py`. All take turns in one process; processor time,
medians. The whole call, `explain_generation`, also runs the model once for the probabilities of the answer's tokens.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from evidence import _made

from contextmix.models.spans import explained_span, explained_together
from contextmix.plugins.plan import make_plan
from contextmix.tracing.runs.generate import Speaker


def plain(model: Any, ids: torch.Tensor, answer: int, *, weights: bool) -> None:
    """One forward and one backward pass of the sum of the last log-probabilities."""
    model.requires_grad_(weights)
    embeddings = model.get_input_embeddings()(ids[None, :-1]).detach().requires_grad_(True)
    logits = model(inputs_embeds=embeddings, logits_to_keep=answer, use_cache=False).logits[0]
    said = logits.float().log_softmax(-1).gather(-1, ids[-answer:, None]).sum()
    said.backward()
    model.zero_grad(set_to_none=True)
    model.requires_grad_(True)


def runs(folder: str | None, tokens: int, answer: int) -> dict[str, Callable[[], Any]]:
    """What is measured, by name."""
    traced, prompt, new = _made(folder, tokens, answer)
    speaker = Speaker(traced.model, traced.tokenizer, traced.limit)
    done = speaker.goes_on(traced.encode({"input_ids": prompt})[0], answer, new)
    ids, model = torch.tensor([*prompt, *new]), traced.model

    def forward() -> None:
        with torch.no_grad():
            model(input_ids=ids[None, :-1], logits_to_keep=answer, use_cache=False)

    gradient, everywhere = make_plan("gradient_inputs"), make_plan("evidence", options={"reach": "all"})
    return {
        "forward": forward,
        "forward and backward": lambda: plain(model, ids, answer, weights=False),
        "with gradients of weights": lambda: plain(model, ids, answer, weights=True),
        "gradient_inputs, together": lambda: explained_together(traced, gradient, done, 1 << 30),
        "the whole call": lambda: traced.explain_generation(
            {"input_ids": prompt}, "gradient_inputs", continuation=new, together=True
        ),
        "evidence": lambda: explained_span(traced, [make_plan("evidence")], done, contrast=False),
        "evidence, reach all": lambda: explained_span(traced, [everywhere], done, contrast=False),
    }


def _seconds(run: Callable[[], Any]) -> float:
    begun = time.process_time()
    run()
    return time.process_time() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--answer", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    measured = runs(chosen.model, chosen.tokens, chosen.answer)
    for run in measured.values():  # fills caches, and proves the model
        run()
    found: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(chosen.repeats):
        for name, run in measured.items():
            found[name].append(_seconds(run))
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    print(f"{'':28}       s  × forward and backward")
    for name, seconds in medians.items():
        print(f"{name:28}  {seconds:6.2f}  {seconds / medians['forward and backward']:22.2f}")


if __name__ == "__main__":
    main()

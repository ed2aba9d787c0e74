"""Fine-tune a masked language model to choose between two words, as Value Zeroing does for agreement.

    python examples/fine_tune_prompt.py --model bert-base-uncased --train pairs.jsonl --eval other.jsonl --out my-model

Each line has two sentences, in sentence_good and sentence_bad (as BLiMP has them), that differ in one word. That word
is masked, and the loss is the cross-entropy over two logits at the mask: that of the good word and that of the bad one.
Pairs that differ in more, or in words that are not one token each, are left out and counted. The defaults are those of
the released code: learning rate 3e-5 that rises over a tenth of the steps, 5 epochs, batches of 64, 32 tokens, seed 42.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from fine_tune import Example, Settings, options, settings_of, train, with_settings
from transformers import AutoModelForMaskedLM, AutoTokenizer

DEFAULTS = Settings(epochs=5, batch_size=64, max_tokens=32, seed=42)


def masked(tokenizer: Any, good: str, bad: str, most: int) -> tuple[list[int], int, int, int] | None:
    """Token ids with a mask, its place, and the ids of the two words; None where the pair does not fit."""
    one, other = (tokenizer(text)["input_ids"] for text in (good, bad))
    places = [place for place, ids in enumerate(zip(one, other)) if ids[0] != ids[1]]  # noqa: B905
    if len(one) != len(other) or len(places) != 1 or len(one) > most:
        return None
    (place,) = places
    return [*one[:place], tokenizer.mask_token_id, *one[place + 1 :]], place, one[place], other[place]


def read(tokenizer: Any, path: Path, most: int) -> list[Example]:
    """The pairs that fit; says how many do not."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    found = [masked(tokenizer, line["sentence_good"], line["sentence_bad"], most) for line in lines]
    kept = [one for one in found if one is not None]
    print(f"{path}: {len(kept):,} pairs; {len(found) - len(kept):,} others differ in more than one token, or are long.")
    if not kept:
        raise SystemExit("No pair is left. Give sentences that differ in one word of one token.")
    return kept


def two_logits(model: Any, tokenizer: Any, batch: list[Example]) -> torch.Tensor:
    """The logits of the good and the bad word at the mask, (example, 2)."""
    read = tokenizer.pad({"input_ids": [ids for ids, *_ in batch]}, return_tensors="pt").to(model.device)
    rows = torch.arange(len(batch), device=model.device)
    places, good, bad = (torch.tensor(column, device=model.device) for column in list(zip(*batch, strict=True))[1:])
    at_mask = model(**read).logits[rows, places]
    return torch.stack([at_mask[rows, good], at_mask[rows, bad]], dim=-1)


@torch.no_grad()
def accuracy(model: Any, tokenizer: Any, examples: list[Example], size: int) -> float:
    """The share of pairs whose good word has the larger logit."""
    batches = [examples[start : start + size] for start in range(0, len(examples), size)]
    found = torch.cat([two_logits(model, tokenizer, batch) for batch in batches])
    return float((found[:, 0] > found[:, 1]).float().mean())


def fine_tune(name: str, training: Path, evaluation: Path, out: Path, settings: Settings) -> tuple[list[float], float]:
    """Train, evaluate and save; returns the losses and the accuracy."""
    torch.manual_seed(settings.seed)
    tokenizer = AutoTokenizer.from_pretrained(name)
    if tokenizer.mask_token_id is None:
        raise SystemExit(f"The tokenizer of {name} has no mask: give a masked language model, such as BERT.")
    model = AutoModelForMaskedLM.from_pretrained(name, dtype=torch.float32)
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    pairs, others = (read(tokenizer, path, settings.max_tokens) for path in (training, evaluation))
    print(f"Accuracy before: {accuracy(model, tokenizer, others, settings.batch_size):.1%}")

    def loss(batch: list[Example]) -> torch.Tensor:
        logits = two_logits(model, tokenizer, batch)
        return torch.nn.functional.cross_entropy(logits, torch.zeros(len(batch), dtype=torch.long, device=model.device))

    losses = train(model, pairs, loss, settings)
    found = accuracy(model, tokenizer, others, settings.batch_size)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return losses, found


def main() -> None:
    """Read, train, evaluate and save."""
    given = with_settings(options(__doc__), DEFAULTS).parse_args()
    found = fine_tune(given.model, given.train, given.eval, given.out, settings_of(given, DEFAULTS))[1]
    print(f"Accuracy after: {found:.1%}. The model is in {given.out}.")


if __name__ == "__main__":
    main()

"""Fine-tune a classifier on texts of your own, and explain it.

    python examples/fine_tune.py --model bert-base-uncased --train train.tsv --eval dev.tsv --out my-model
    contextmix run dev.tsv --out maps --model my-model

The files are CSV, TSV, JSONL or Parquet with a column of texts and one of labels, as `contextmix run` reads them. The
defaults are those of GlobEnc (learning rate 3e-5, batches of 32, 3 to 5 epochs). Sun & Marasović (effective attention)
took 2e-5, 3 epochs and 128 tokens. Neither says how long the learning rate rises: here over the first tenth of the
steps, and then it falls to zero. Dropout is that of the model's configuration. The same seed gives the same model.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

from contextmix.datasets.reading.source import open_source


@dataclass(frozen=True)
class Settings:
    """How to train."""

    learning_rate: float = 3e-5
    epochs: int = 3
    batch_size: int = 32
    max_tokens: int = 128
    warm_up: float = 0.1
    weight_decay: float = 0.01
    seed: int = 0


Example = Any
Loss = Callable[[list[Example]], torch.Tensor]


def read(path: Path, text_field: str | None, pair_field: str | None, label_field: str | None) -> list[tuple[Any, str]]:
    """Texts (or pairs) with their labels as text; a row that lacks one ends the program."""
    source = open_source(path, text_field=text_field, pair_field=pair_field, label_field=label_field)
    found = []
    for row in source.rows():
        if row.problem is not None:
            raise SystemExit(f"{row.where}: {row.problem.reason}")
        if row.label is None:
            raise SystemExit(f"{row.where} has no label. Name its column with --label-field.")
        found.append((row.text, str(row.label)))
    return found


def shuffled(examples: Sequence[Example], size: int, generator: torch.Generator) -> Iterator[list[Example]]:
    """All examples once, in batches, in a random order."""
    order = torch.randperm(len(examples), generator=generator).tolist()
    for start in range(0, len(order), size):
        yield [examples[place] for place in order[start : start + size]]


def train(model: Any, examples: Sequence[Example], loss: Loss, settings: Settings) -> list[float]:
    """AdamW with a learning rate that rises, then falls in a straight line to zero; returns the loss of each step."""
    steps = settings.epochs * -(-len(examples) // settings.batch_size)
    optimiser = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = get_linear_schedule_with_warmup(optimiser, round(settings.warm_up * steps), steps)
    generator, losses = torch.Generator().manual_seed(settings.seed), []
    model.train()
    for epoch in range(settings.epochs):
        for batch in shuffled(examples, settings.batch_size, generator):
            found = loss(batch)
            optimiser.zero_grad()
            found.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(found.item())
            if len(losses) % 50 == 0 or len(losses) == steps:
                recent = losses[-50:]
                print(f"epoch {epoch + 1}, step {len(losses)} of {steps}: loss {sum(recent) / len(recent):.4f}")
    model.eval()
    return losses


def encoded(tokenizer: Any, batch: list[Example], settings: Settings, device: torch.device) -> Any:
    """Texts or pairs as the model reads them, padded to the longest of the batch."""
    texts = [text for text, _ in batch]
    columns = [texts] if isinstance(texts[0], str) else [list(column) for column in zip(*texts, strict=True)]
    return tokenizer(*columns, truncation=True, max_length=settings.max_tokens, padding=True, return_tensors="pt").to(
        device
    )


@torch.no_grad()
def accuracy(model: Any, tokenizer: Any, examples: Sequence[Example], settings: Settings) -> float:
    """The share of examples whose label the model says."""
    right = 0
    for start in range(0, len(examples), settings.batch_size):
        batch = list(examples[start : start + settings.batch_size])
        said = model(**encoded(tokenizer, batch, settings, model.device)).logits.argmax(-1).tolist()
        right += sum(model.config.id2label[one] == label for one, (_, label) in zip(said, batch, strict=True))
    return right / len(examples)


def fine_tune(
    name: str, training: Sequence[Example], evaluation: Sequence[Example], out: Path, settings: Settings
) -> tuple[list[float], float]:
    """Train, evaluate and save; returns the losses and the accuracy."""
    labels = sorted({label for _, label in training}, key=lambda label: (len(label), label))  # 2 comes before 10
    if len(labels) < 2:
        raise SystemExit(f"All texts have the label {labels}: there is nothing to learn.")
    if unknown := sorted({label for _, label in evaluation} - set(labels)):
        raise SystemExit(f"The evaluation has labels that the training data lack: {', '.join(unknown)}.")
    torch.manual_seed(settings.seed)  # a new classifier, and dropout
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForSequenceClassification.from_pretrained(
        name,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        ignore_mismatched_sizes=True,  # another number of classes: a new classifier
        dtype=torch.float32,
    ).to("cuda" if torch.cuda.is_available() else "cpu")
    number = model.config.label2id

    def loss(batch: list[Example]) -> torch.Tensor:
        wanted = torch.tensor([number[label] for _, label in batch], device=model.device)
        logits = model(**encoded(tokenizer, batch, settings, model.device)).logits
        return torch.nn.functional.cross_entropy(logits, wanted)

    losses = train(model, training, loss, settings)
    found = accuracy(model, tokenizer, evaluation, settings)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return losses, found


def options(description: str) -> argparse.ArgumentParser:
    """The options of both fine-tuning scripts."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--model", required=True, help="a folder, or a name on the Hugging Face hub")
    parser.add_argument("--train", required=True, type=Path)
    parser.add_argument("--eval", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path, help="the folder of the new model")
    return parser


def with_settings(parser: argparse.ArgumentParser, defaults: Settings) -> argparse.ArgumentParser:
    """One option per setting, such as --learning-rate."""
    for name, default in vars(defaults).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, help=f"[{default}]")
    return parser


def settings_of(given: argparse.Namespace, defaults: Settings) -> Settings:
    """The settings that were given."""
    return Settings(**{name: getattr(given, name) for name in vars(defaults)})


def main() -> None:
    """Read, train, evaluate and save."""
    parser = with_settings(options(__doc__), Settings())
    for name in ("text", "pair", "label"):
        parser.add_argument(f"--{name}-field", help=f"the column of the {name}s")
    given = parser.parse_args()
    training, evaluation = (
        read(path, given.text_field, given.pair_field, given.label_field) for path in (given.train, given.eval)
    )
    found = fine_tune(given.model, training, evaluation, given.out, settings_of(given, Settings()))[1]
    print(f"Accuracy on {len(evaluation):,} texts: {found:.1%}. The model is in {given.out}.")


if __name__ == "__main__":
    main()

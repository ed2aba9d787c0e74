"""Data whose labels are the model's classes: checked before the work, described after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contextmix.datasets.storage.results import Run
from contextmix.errors import BadInput, UnknownName, UnsupportedModel
from contextmix.evidence.experiment import Setup
from contextmix.evidence.streamed import source_of
from contextmix.tracing.inputs.targets import class_number, names_of, speaks


@dataclass(frozen=True)
class Labelled:
    """What the labels of the data are to the model.

    Attributes:
        classes: Of the model, in order.
        counts: Label as given → rows.
    """

    classes: tuple[str, ...]
    counts: Mapping[int | str, int]

    @property
    def by_class(self) -> dict[str, int]:
        """Class → rows, also where there are none."""
        found = dict.fromkeys(self.classes, 0)
        for label, count in self.counts.items():
            found[self.classes[class_number(label, self.classes)]] += count
        return found

    @property
    def sentences(self) -> list[str]:
        """What a reader must know of the labels."""
        counts = self.by_class
        found = []
        if numbers := sorted(label for label in self.counts if isinstance(label, int)):
            pairs = ", ".join(f"{number} as {self.classes[number]!r}" for number in numbers)
            found.append(f"Labels are numbers; they were read by the model's own order: {pairs}.")
        if empty := [name for name, count in counts.items() if not count]:
            found.append(f"No text has the label {' or '.join(map(repr, empty))}: nothing here is about that class.")
        return found


def labelled(setup: Setup) -> Labelled:
    """The labels of the data, if they are classes of the model.

    Raises:
        BadInput: If there are no data, they have no labels, or labels that are no classes of the model.
        UnsupportedModel: If the model is no classifier.
    """
    if setup.data is None:
        raise BadInput("This experiment needs labelled texts, but there is no data. Name it with data (--data).")
    classes = _classes(setup)
    source = source_of(setup)
    counts: Counter[Any] = Counter(row.label for row in source.rows() if row.problem is None)
    if not set(counts) - {None}:
        raise BadInput(
            "This experiment explains the true class of each text, and the data have no labels"
            + (f" in the column {source.fields.label!r}" if source.fields.label else "")
            + ". Name their column with label_field (--label-field)."
        )
    del counts[None]  # single rows without a label are counted as failures of the run
    if unknown := [label for label in counts if not _known(label, classes)]:
        shown = ", ".join(f"{label!r} ({counts[label]} rows)" for label in unknown[:10])
        raise BadInput(
            f"The data have labels that are no classes of the model: {shown}. The model's classes are "
            f"{', '.join(f'{number}: {name}' for number, name in enumerate(classes))}. The score of another class "
            "would be explained. Take a model fine-tuned on these data, or rename the labels."
        )
    return Labelled(classes, counts)


def sentences_on(run: Run, labels: Labelled) -> list[str]:
    """What was measured, how often the model is right, and what was left out, in plain words."""
    frame = run.to_pandas(["prediction", "target"])
    if frame.empty:
        raise BadInput(f"None of the {run.total} texts could be measured. {_failures(run)}")
    counts, texts = labels.by_class, len(frame)
    right, largest = float((frame["prediction"] == frame["target"]).mean()), max(counts.values()) / sum(counts.values())
    shown = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    found = [f"{texts:,} texts ({shown}); the model is right on {right:.1%} of them."]
    if right <= largest < 1:
        found.append(
            f"That is no more than one label for all texts would be right ({largest:.1%}): the model was not trained "
            f"for this task, or its classes are in a different order than the labels. Do not trust the results below."
        )
    failed = _failures(run)
    return [*found, *([failed] if failed else []), *labels.sentences]


def _failures(run: Run) -> str:
    failed = run.failures()
    if failed.empty:
        return ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in failed["problem"].value_counts().items())
    return f"{len(failed)} of {run.total:,} rows are left out ({kinds}), such as: {failed['reason'].iloc[0]}"


def _classes(setup: Setup) -> tuple[str, ...]:
    model = setup.traced.model
    if speaks(model):
        raise UnsupportedModel(
            f"{setup.traced.origin.model} ({type(model).__name__}) scores tokens of a vocabulary, and this experiment "
            "explains the score of a text's true class. Take a model with a classification head, fine-tuned on the "
            "data."
        )
    count = len(model.config.id2label or {})
    names = names_of(model, setup.traced.tokenizer, count)
    return tuple(names.name(number) for number in range(count))


def _known(label: int | str, classes: tuple[str, ...]) -> bool:
    try:
        class_number(label, classes)
    except UnknownName:
        return False
    return True

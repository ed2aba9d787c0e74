"""Data sets of the library `datasets` (an extra): by name, in a folder, or in memory."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from contextmix.datasets.reading.tables import Held, Values, arrow_rows, named
from contextmix.errors import BadInput, BadOption
from contextmix.results.files import at_home


def is_dataset(data: object) -> bool:
    """Whether it is an object of the library, which must have been imported then."""
    library = sys.modules.get("datasets")
    names = ("Dataset", "DatasetDict", "IterableDataset", "IterableDatasetDict")
    return library is not None and isinstance(data, tuple(getattr(library, name) for name in names))


def dataset_table(data: Any, split: str | None) -> Held:
    """A data set that the user holds."""
    dataset = _chosen(data, "The DatasetDict", split)
    return _table(dataset, "The Dataset", "item ", {"memory": "datasets.Dataset"})


def load_table(name: str, split: str | None) -> Held:
    """A data set by its name, or from a folder.

    Args:
        name: A name such as ``stanfordnlp/sst2``; ``nyu-mll/glue:sst2`` names one of several configurations. Or a
            folder, saved by `save_to_disk` or full of files.
        split: Which part; with several parts there is no default.

    Raises:
        BadInput: If the library is missing, or cannot find or read the data set.
        BadOption: If there is no such part, or several and none was named.
    """
    try:
        import datasets
    except ImportError as reason:
        raise BadInput(
            f"{name} is not a file, and loading a data set by name or from a folder needs the library datasets, "
            f"which is not installed. Check the file name, or run: pip install 'contextmix[datasets]'"
        ) from reason
    folder = at_home(name)
    try:
        if folder.is_dir() and any((folder / kept).is_file() for kept in ("state.json", "dataset_dict.json")):
            found = datasets.load_from_disk(str(folder.resolve()))
        elif folder.is_dir():
            found = datasets.load_dataset(str(folder.resolve()))
        else:
            path, _, configuration = name.partition(":")
            found = datasets.load_dataset(path, configuration or None)
    except Exception as reason:  # the library has no common ancestor of what it raises
        source = reason.__cause__ or reason
        said = (str(source).strip() or type(source).__name__).splitlines()[0].rstrip(".")
        raise BadInput(
            f"{name} is not a file, and datasets cannot load it as a data set: {said}. Check the name (a configuration "
            "stands after a colon, as in nyu-mll/glue:sst2) and the network; or name files, as folder/*.jsonl."
        ) from reason
    chosen = _chosen(found, name, split)
    shown = folder.resolve().name if folder.is_dir() else name  # a folder that was moved is still the same
    return _table(chosen, shown, f"{shown}:", {"dataset": shown, "split": str(chosen.split or split or "")})


def _chosen(found: Any, name: str, split: str | None) -> Any:
    if not isinstance(found, dict):
        if split is not None and split != str(found.split):
            raise BadOption(f"{name} is a single split, so split={split!r} cannot be chosen. Leave it out.")
        return found
    listed = ", ".join(map(repr, found))
    if split is None and len(found) == 1:
        return next(iter(found.values()))
    if split is None:
        raise BadOption(f"{name} has several splits: {listed}. Choose one with split (--split in a terminal).")
    if split not in found:
        raise BadOption(f"{name} has no split {split!r}. It has {listed}.")
    return found[split]


def _table(dataset: Any, name: str, place: str, origin: dict[str, str]) -> Held:
    if not hasattr(dataset, "num_rows"):
        raise BadInput(
            f"{name} is a stream, so its rows cannot be counted or read again. Load it without streaming, or save it "
            f"to files and name these."
        )
    return Held(dataset, _rows, name, place, origin, named(dataset.column_names, name), dataset.num_rows)


def _rows(dataset: Any, start: int, stop: int, columns: Sequence[str]) -> Values:
    return arrow_rows(dataset.with_format("arrow", columns=list(columns))[start:stop])

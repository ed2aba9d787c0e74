"""What a run does with each row, as one object: what a row needs, what is made of it, and how that is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
from numpy.typing import NDArray

from contextmix.datasets.reading.rows import Problem, Row
from contextmix.datasets.reading.source import Source
from contextmix.datasets.storage.answer_settings import AnswerSettings
from contextmix.datasets.storage.settings import Settings
from contextmix.errors import BadOption
from contextmix.models.traced_model import TracedModel

AnySettings = Settings | AnswerSettings


class Found(Protocol):
    """What was found out about one row, as the table keeps it."""

    @property
    def row(self) -> Row:
        """The row of the data."""

    @property
    def problem(self) -> Problem | None:
        """Why there is nothing more than the row; None where all is well."""

    @property
    def tokens(self) -> Sized | None:
        """Counted to tell how fast a run is."""


@dataclass(frozen=True)
class Waiting:
    """A row that can be worked on."""

    row: Row


@dataclass(frozen=True)
class Outcome:
    """What was found out about one row, with the arrays that lie beside the table: name → array."""

    result: Found
    maps: Mapping[str, NDArray[Any]]


class Maker(Protocol):
    """A model that makes results of rows as the settings say; every process of a run has its own.

    What it makes is a pure function of the model, the settings and the rows of one shard, so that a shard comes out the
    same whichever process makes it, and whenever.
    """

    model: TracedModel

    @property
    def settings(self) -> AnySettings:
        """What decides the numbers."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """The model by its content, as JSON: all of it that decides the numbers."""

    @property
    def schema(self) -> pa.Schema:
        """The columns of the table."""

    def described(self) -> Mapping[str, Any]:
        """How to read the columns, for the manifest."""

    def read(self, rows: Sequence[Row]) -> Sequence[Waiting | Found]:
        """What a look at rows tells before the model is asked: those with a problem are results already."""

    def batches(self, ready: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """What is worked on at once, in this order."""

    def measure(self, batch: Sequence[Any]) -> list[Outcome]:
        """The results of a batch, those that are refused too."""

    def try_rows(self, rows: Sequence[Row]) -> None:
        """Work on one row: what is wrong with the model or the settings is told before the work."""

    def table(self, results: Sequence[Any]) -> pa.Table:
        """Results as rows of the table."""


@dataclass(frozen=True)
class Task:
    """What a run does with each row.

    Attributes:
        name: That of its verb, as in ``--task answer``.
        model: The built-in model, where none was named.
        settings: From all options of a run what decides its numbers; options that contradict each other are refused.
        source: Opens the data, and finds the columns that a row needs.
        maker: The model, the settings, the tokens of a batch and the memory → what works on rows.
        foreign: Options of a run that mean nothing to it.
        shard_size: Rows of the data → rows per shard, where no number was asked for.
    """

    name: str
    model: str
    settings: Callable[[Mapping[str, Any]], AnySettings]
    source: Callable[[Any, Mapping[str, Any], Any], Source]
    maker: Callable[[TracedModel, Any, int, int], Maker]
    foreign: Mapping[str, Any]
    shard_size: Callable[[int], int]

    def refuse_foreign(self, given: Mapping[str, Any]) -> None:
        """Options that would change nothing.

        Raises:
            BadOption: If one was given, and says something else than when it is left out.
        """
        for name, one in self.foreign.items():
            if name in given and given[name] != one.option.default:
                raise BadOption(
                    f"{name}={given[name]!r:.60} has no effect in a run with task={self.name!r}. Leave it out, or "
                    f"choose the other task, explain or answer, with task (--task in a terminal)."
                )

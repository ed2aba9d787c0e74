"""What a run left behind, read lazily: a table of any size, and each row as `explain` or `explain_answer` gives it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contextmix.datasets.storage.answer_settings import AnswerSettings
from contextmix.datasets.storage.answer_table import lines_of, maps_named, rebuilt
from contextmix.datasets.storage.checksums import repair
from contextmix.datasets.storage.settings import Settings
from contextmix.datasets.storage.stored import Stored
from contextmix.datasets.storage.table import CHECKS, METRICS, tokens_of
from contextmix.errors import BadFile, BadOption, ContextMixError, UnknownName, refuse_kind
from contextmix.plugins.contracts import Scored
from contextmix.plugins.plan import Plan
from contextmix.results.answer import Answer
from contextmix.results.provenance import Provenance, Quantity
from contextmix.results.token_map import TokenMap

_RECORDED = ("conservation", "block_equation")
"""The columns that say how well recorded blocks proved themselves."""


class Run(Stored):
    """The results of a run, finished or not; from `contextmix.run` or `contextmix.open_run`.

    Nothing is read before it is asked for. Rows are in the order of the data.

    Args:
        path: The folder.

    Raises:
        BadFile: If it is not the folder of a run, or has a newer schema.
    """

    def outcomes(self) -> dict[tuple[str, str], list[Scored]]:
        """What the metrics say: (metric, method) → one `Scored` per row with results, in order."""
        frame = self.to_pandas([*self._scored.metric_columns, "notes"])
        try:
            return self._outcomes(frame, [json.loads(text or "{}").get(METRICS, {}) for text in frame["notes"]])
        except (AttributeError, LookupError, TypeError, ValueError) as reason:
            raise BadFile(
                f"The notes in {self.folder.path} do not fit its metrics ({reason!r:.80}): they were damaged. "
                f"{repair(self.folder)}"
            ) from reason

    def _outcomes(self, frame: pd.DataFrame, notes: list[Any]) -> dict[tuple[str, str], list[Scored]]:
        found = {}
        for metric, method in ((one, other) for one in self._scored.metrics for other in self._scored.methods):
            column = f"{metric}:{method}"
            found[metric, method] = [
                Scored(None, own[column]["reason"])
                if np.isnan(value)
                else Scored(float(value), curve=own.get(column, {}).get("curve", {}))
                for value, own in zip(frame[column], notes, strict=True)
            ]
        return found

    def row(self, number: int, method: str | None = None) -> TokenMap:
        """The scores of one text, as `TracedModel.explain` gives them for its query, in float32.

        Args:
            number: Its position in the data.
            method: One of the run; left out, the only one.

        Raises:
            UnknownPosition: If there is no such row yet.
            BadInput: If the row failed, with the reason.
            UnknownName: If the run did not measure the method.
        """
        name, found = self._method(method), self._row(number)
        return self._token_map(name, found, np.array(found[name], dtype=np.float32), self._column(name)["dims"])

    def map(self, number: int, method: str | None = None) -> TokenMap:
        """The whole map of one text, (query, key), with a layer axis in front where layers were asked for.

        Args:
            number: As for `row`.
            method: As for `row`.

        Raises:
            BadOption: If the run kept no maps.
        """
        name, found = self._method(method), self._row(number)
        if not self._scored.maps or "target" in self._column(name)["dims"] or found["query"] is None:
            raise BadOption(
                f"This run did not keep maps of {name}. Run it again with maps=True (--maps) in another folder."
            )
        dims = [*self._column(name)["dims"][:-1], "query", "key"]
        return self._token_map(name, found, self._array(number, name), dims)

    def answer(self, row: int | str) -> Answer:
        """The answer to one question, equal in every bit to what `explain_answer` gave.

        Args:
            row: Its position in the data, or as a text its id.

        Raises:
            UnknownPosition: If there is no such row yet.
            BadInput: If the row was refused, with the reason.
            BadOption: If the run answered no questions.
        """
        self._refuse_scores()
        return self._answer(self._row(self._number(row) if isinstance(row, str) else row))

    def answers(self) -> Iterator[tuple[str, Answer]]:
        """Id and answer of every question that was answered, in the order of the data, one at a time.

        Raises:
            BadOption: If the run answered no questions.
        """
        self._refuse_scores()
        return ((one["id"], self._answer(one)) for one in self._rows(["row", "id", "rest"]))

    def lines(self) -> pd.DataFrame:
        """A long table of all answers, indexed by row: one line per unit and source, as `Answer.to_pandas` gives them.

        Raises:
            BadOption: If the run answered no questions.
        """
        self._refuse_scores()
        return lines_of(self.to_pandas(["id", "units", "sources", "lines"]))

    def _answer(self, found: Mapping[str, Any]) -> Answer:
        """What was stored as an answer; what does not fit together was not stored so."""
        number = found["row"]
        try:
            maps = {name: self._array(number, name) for name in maps_named(found["rest"])}
            return rebuilt(found["rest"], maps)
        except (ContextMixError, AttributeError, LookupError, TypeError, ValueError) as reason:
            raise self._unfit(number, reason) from reason

    def _refuse_scores(self) -> None:
        if not isinstance(self.settings, AnswerSettings):
            raise BadOption(
                "This run explained texts and did not answer questions: read its rows with run.row(0). For answers "
                "use task='answer' (--task answer), in another folder."
            )

    @property
    def _scored(self) -> Settings:
        """The settings of a run that explained texts."""
        if isinstance(self.settings, AnswerSettings):
            raise BadOption("This run answered questions and did not explain texts: read its rows with run.answer(0).")
        return self.settings

    def _column(self, name: str) -> Mapping[str, Any]:
        return self.manifest["columns"][name]  # type: ignore[no-any-return]

    def _plan(self, name: str) -> Plan:
        return self._scored.plans[self._scored.methods.index(name)]

    def _method(self, asked: str | None) -> str:
        names = self._scored.methods
        if asked is None and len(names) > 1:
            raise BadOption(f"This run measured {', '.join(names)}. Choose one.")
        refuse_kind("Run: method", asked, str, type(None))
        name = names[0] if asked is None else asked.replace("-", "_")
        if name not in names:
            raise UnknownName("method in this run", name, names)
        return name

    def _token_map(self, name: str, found: dict[str, Any], values: Any, dims: list[str]) -> TokenMap:
        """What was stored as a map; what does not fit together was not stored so."""
        try:
            return self._put_together(name, found, values, dims)
        except (ContextMixError, AttributeError, LookupError, TypeError, ValueError) as reason:
            raise self._unfit(found["row"], reason) from reason

    def _put_together(self, name: str, found: dict[str, Any], values: Any, dims: list[str]) -> TokenMap:
        column = self._column(name)
        notes = {**column["provenance"]["notes"], **json.loads(found["notes"] or "{}").get(name, {})}
        if found["prediction"] is not None:
            notes["prediction"] = {"label": found["prediction"], "probability": found["probability"]}
        checks = notes.pop(CHECKS, {})
        if not self._plan(name).of_model:
            checks = {check: found[check] for check in _RECORDED if found[check] is not None}
        made = Provenance.from_dict({**column["provenance"], "checks": checks, "notes": notes})
        of_query = found["query"] is not None and "target" not in dims
        selected = {"query": found["query"]} if of_query and "query" not in dims else {}
        layers = column["layers"] if "layer" in dims else None
        if of_query and layers is None and column["layers"]:
            selected["layer"] = column["layers"][-1]
        targets = column["targets"] if "target" in dims else None
        return TokenMap(
            values,
            dims,
            tokens_of(found),
            Quantity(column["quantity"]),
            made,
            layers=layers,
            targets=targets,
            selected=selected,
        )


def open_run(path: Path | str) -> Run:
    """The results of a run, read lazily.

    Args:
        path: The folder that `contextmix.run` or `contextmix run` wrote; it may still be at work.

    Raises:
        BadFile: If it is not the folder of a run.
    """
    return Run(path)

"""Answer: what a model said, and how much each source of its prompt did for each part of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from contextmix.errors import BadInput, OutputUnwritable
from contextmix.maths.shapes import cut
from contextmix.results import answer_files, documents
from contextmix.results.answer_checks import checked
from contextmix.results.attached import attached
from contextmix.results.citations import LEAST, MOST, THRESHOLD, Citations, Support, cited, footnoted, strongest
from contextmix.results.files import PAGES
from contextmix.results.grouping import ELSEWHERE as ELSEWHERE
from contextmix.results.grouping import (
    Numbers,
    Positions,
    positive_shares,
    source_columns,
    summed,
    table_lines,
    token_lines,
    unit_position,
    unit_rows,
)
from contextmix.results.provenance import Provenance, Quantity
from contextmix.results.token_map import TokenMap
from contextmix.tokens.ordinals import ordinal
from contextmix.tokens.passages import Passage, cut_passages
from contextmix.tokens.sections import By, Section, Span, cut_text, moved


@dataclass(frozen=True, eq=False)
class Answer:
    """An answer and its sources; made by `TracedModel.explain_answer`.

    Units are sections of the answer, sources sections of what the model read. Both are exact to the character. The map
    of single tokens is kept, so that other units or sources cost no run of the model: see `by`.

    Attributes:
        token_map: Dims (query, key): the tokens of the answer, and all tokens of prompt and answer.
        begins: Where the answer begins in the text of the tokens.
        passages: The texts that sources are cut from, and their places in the prompt.
        question: Where the question stands in the prompt; None where there is none apart from the passages.
        sources_by: How the passages are cut; see `by`.
        units_by: How the answer is cut.
        rows: How the rows of a unit's tokens are joined: ``"sum"`` for methods that explain a score, ``"mean"`` for
            mixing maps.
        signed: What each token did with its sign, where the method says it beside the map.
        dependence: For each token the KL divergence, in nats, of what is said with the passages from what is without.

    Example:
        >>> import contextmix
        >>> texts = ["Tom has the blue kite.", "Lily has the red ball."]
        >>> found = contextmix.load("demo-answers").explain_answer("Who has the red ball?", texts)
        >>> found.text, found.top("the first sentence", 1)[0].text
        ('Lily has the red ball.', 'Lily has the red ball.')
    """

    token_map: TokenMap
    begins: int
    passages: tuple[Passage, ...]
    question: Span | None = None
    sources_by: By = "sentence"
    units_by: By = "sentence"
    rows: Literal["sum", "mean"] = "sum"
    signed: TokenMap | None = None
    dependence: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name, value in checked(self._arguments()).items():
            object.__setattr__(self, name, value)
        _ = self.sources, self._rows  # what cannot be cut is refused here, not when it is first looked at

    def __repr__(self) -> str:
        made = self.provenance
        model = f" of {cut(repr(made.model))}" if made.model else ""
        counts = f"{len(self.units)} × {len(self.sources)} (unit × source)"
        return f"<Answer{model} by {made.short}: {counts}, {self.shares.sum(1).mean():.0%} from the sources>"

    @property
    def text(self) -> str:
        """The answer, as it follows the prompt."""
        return str(self.token_map.tokens.text)[self.begins :]

    @property
    def prompt(self) -> str:
        """All that the model read before it."""
        return str(self.token_map.tokens.text)[: self.begins]

    @property
    def provenance(self) -> Provenance:
        """How it was made; the note ``answer`` says who wrote it, what ended it, and what placed the texts."""
        return self.token_map.provenance

    @property
    def probabilities(self) -> tuple[float, ...]:
        """What the model gave each token of the answer."""
        return tuple(self.provenance.notes["generation"]["probabilities"])

    @property
    def sources(self) -> tuple[Section, ...]:
        """The sections of the passages that the prompt holds: ``text == passages[document].text[start:stop]``."""
        return self._cut_passages[0]

    @property
    def cut(self) -> tuple[Section, ...]:
        """The sections that did not fit into the prompt."""
        return self._cut_passages[1]

    @cached_property
    def units(self) -> tuple[Section, ...]:
        """The sections of the answer: ``text == answer.text[start:stop]``."""
        found = cut_text(self.text, self.units_by, self._spoken)
        if not found:
            raise BadInput(
                "The answer holds no token of text, so there is nothing to explain: the model ended at once, or said "
                "nothing but white space. Give answer='…', or another question."
            )
        return found

    @property
    def values(self) -> Numbers:
        """(unit, source), in the unit of the method."""
        return self._table[:, : len(self.sources)]

    @property
    def elsewhere(self) -> Numbers:
        """(unit, 3): what question, template and the answer so far did, as `ELSEWHERE` names them."""
        return self._table[:, len(self.sources) :]

    @property
    def shares(self) -> Numbers:
        """(unit, source): the part of all positive evidence of the unit, whatever gave it; 0 to 1."""
        return self._shares[:, : len(self.sources)]

    @property
    def shares_elsewhere(self) -> Numbers:
        """(unit, 3): the part that no source gave."""
        return self._shares[:, len(self.sources) :]

    @property
    def signed_values(self) -> Numbers | None:
        """(unit, source) with signs, where the method has them: sums of what speaks for and against a unit."""
        return None if self._signed_table is None else self._signed_table[:, : len(self.sources)]

    def by(self, sources: By | None = None, units: By | None = None) -> Answer:
        """The same answer cut in another way, without a run of the model.

        Args:
            sources: ``"token"``, ``"word"``, ``"sentence"``, ``"paragraph"``, ``"line"``, ``"document"``, a number of
                tokens, or spans ``[(start, stop), …]`` of the only passage, ``[(passage, start, stop), …]`` of several.
            units: The same of the answer, where ``"whole"`` is all of it.

        Raises `BadOption` if there is no such way to cut, `BadInput` if spans do not fit or no source is whole.
        """
        sources = self.sources_by if sources is None else sources
        return replace(self, sources_by=sources, units_by=self.units_by if units is None else units)

    def top(self, unit: int | str | None = None, k: int = 5) -> list[Support]:
        """The sources that did most for a unit, the strongest first.

        Args:
            unit: Its position (negative ones count from the end), its text or a part of it, or a phrase such as ``"the
                second sentence"``, which may be of another kind than `units`. Left out, the whole answer.
            k: How many.

        Raises `UnknownToken` if there is no such unit, `AmbiguousToken` if several hold it, `BadOption` for k < 1.
        """
        asked = ordinal(unit) if isinstance(unit, str) else None
        if unit is None or (asked is not None and asked[1] != self.units_by):
            return self.by(units="whole" if asked is None else asked[1]).top(0 if asked is None else asked[0], k)
        row = unit_position(self.units, asked[0] if asked is not None else unit)
        return strongest(self.sources, self.values[row], self.shares[row], k)

    def citations(self, threshold: float = THRESHOLD, least: float = LEAST, most: int = MOST) -> Citations:
        """Which sources are cited, by the rule that `cite` tells."""
        return cited(self.shares, threshold, least, most, balance=self.signed_values)

    def cite(self, threshold: float = THRESHOLD, least: float = LEAST, most: int = MOST) -> str:
        """The answer with footnotes, and the sources that they name.

        Only what speaks for a unit, on balance too, is cited: a source with at least half of the evidence of the
        strongest one, and 5 % of all evidence of that unit, up to three. A unit of which none stands out has none.

        Args:
            threshold: Least part of the strongest source's evidence.
            least: Least share of all evidence, that of question, template and the answer so far included.
            most: Most footnotes of a unit.

        Raises `BadOption` if a number is not allowed.
        """
        found = self.citations(threshold, least, most)
        return footnoted(self.text, self.units, self.sources, found, names=len(self.passages) > 1)

    def to_dataframe(self) -> pd.DataFrame:
        """A long table: one line per unit and source, and three more per unit for what no source gave."""
        tables = {"value": self._table, "share": self._shares}
        tables |= {} if self._signed_table is None else {"signed": self._signed_table}
        return pd.DataFrame(table_lines(self.units, self.sources, tables))

    to_pandas = to_dataframe

    def tokens(self) -> pd.DataFrame:
        """The tokens of the answer: their places in it, probabilities, and how far they depend on the passages."""
        pieces, spans = self.token_map.query_tokens.pieces, self._spoken
        return pd.DataFrame(token_lines(pieces, spans, self.probabilities, self.dependence))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return answer_files.as_document(self._arguments())

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Answer:
        """The inverse of `to_dict`; raises `BadFile` if a field is missing, of another type, or does not fit."""
        found: Answer = answer_files.built(document, cls)
        return found

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write a ``.json`` file, which keeps every bit, or an ``.html`` page to look at; the ending chooses.

        Raises `OutputExists`, or `OutputUnwritable` also for another ending.
        """
        suffix = Path(path).suffix.lower()
        if suffix in PAGES:
            self._save_page(path, overwrite)
        elif suffix == ".json":
            answer_files.write(self._arguments(), path, overwrite)
        else:
            raise OutputUnwritable(path, f"its name ends in {suffix!r}, and answers are written as .json or {PAGES[0]}")

    @classmethod
    def load(cls, path: str | Path) -> Answer:
        """Read an answer that `save` wrote as ``.json``; raises `BadFile` if it is missing or anything else."""
        found: Answer = documents.read(path, cls.from_dict)
        return found

    @attached
    def show(self) -> None:
        """Show the answer with its footnotes and its sources: in a notebook as HTML, else as text."""

    @attached
    def _save_page(self, path: str | Path, overwrite: bool = False) -> None:
        """Write a page to look at."""

    @attached
    def _repr_html_(self) -> str:
        """The last line of a notebook cell."""

    def _arguments(self) -> dict[str, Any]:
        """What the constructor makes this answer of."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @property
    def _spoken(self) -> list[Span | None]:
        """Where the tokens of the answer stand in it."""
        return moved(self.token_map.query_tokens.spans or (), -self.begins)

    @cached_property
    def _rows(self) -> Numbers:
        return unit_rows(self._spoken, self.units, self.text, mean=self.rows == "mean")

    @cached_property
    def _cut_passages(self) -> tuple[tuple[Section, ...], tuple[Section, ...]]:
        return cut_passages(self.passages, self.sources_by, self.token_map.tokens.spans or ())

    @cached_property
    def _table(self) -> Numbers:
        return self._joined(self.token_map)

    @cached_property
    def _signed_table(self) -> Numbers | None:
        if self.token_map.quantity is Quantity.SIGNED:
            return self._table
        return None if self.signed is None else self._joined(self.signed)

    @cached_property
    def _shares(self) -> Numbers:
        return positive_shares(self._table)

    @cached_property
    def columns(self) -> Positions:
        """(token,): which source each token of prompt and answer is part of; behind the sources one of `ELSEWHERE`."""
        tokens = self.token_map.tokens
        places = [self.passages[one.document].place(one.span) for one in self.sources]
        whole = [one.place((0, one.length)) for one in self.passages if one.offset is not None]
        count = len(tokens) - len(self.token_map.query_tokens)
        return source_columns(tokens.spans or (), count, str(tokens.text), places, whole, self.question)

    def _joined(self, token_map: TokenMap) -> Numbers:
        """(unit, source and elsewhere): rows of tokens joined to units, and their columns summed to sources."""
        values = self._rows @ token_map.values.astype(float)
        return summed(values, self.columns, len(self.sources) + len(ELSEWHERE))

"""The tables of an answer: its map of tokens joined to units, passed on through thoughts, and summed to sources."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from contextmix.errors import BadInput
from contextmix.maths.relayed import Hops
from contextmix.results.grouping import (
    ELSEWHERE,
    THOUGHTS,
    Numbers,
    Positions,
    first_said,
    passed_on,
    positive_shares,
    source_columns,
    summed,
    unit_rows,
)
from contextmix.results.losses import Losses, lost_without
from contextmix.results.provenance import Quantity
from contextmix.results.token_map import TokenMap
from contextmix.tokens.passages import Passage, cut_passages
from contextmix.tokens.sections import By, Section, Span, cut_text, moved
from contextmix.tokens.thoughts import Thoughts


class AnswerTables:
    """What follows from the fields of an `Answer`; computed when it is first asked for."""

    token_map: TokenMap
    begins: int
    passages: tuple[Passage, ...]
    question: Span | None
    sources_by: By
    units_by: By
    rows: Literal["sum", "mean"]
    signed: TokenMap | None
    thinking: Thoughts | None
    hops: Hops
    losses: Losses | None

    @property
    def text(self) -> str:
        """The answer, as it follows the prompt and the thoughts."""
        return str(self.token_map.tokens.text)[self.begins :]

    @property
    def prompt(self) -> str:
        """All that the model read before it wrote."""
        return str(self.token_map.tokens.text)[: self.begins if self.thinking is None else self.thinking.begins]

    @property
    def thoughts(self) -> str | None:
        """What the model thought before it answered, without the marks around it; None for an answer without."""
        return None if self.thinking is None else str(self.token_map.tokens.text)[slice(*self.thinking.span)]

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
        found = cut_text(self.text, self.units_by, self.spoken)
        if not found:
            raise BadInput(
                "The answer contains no text, so there is nothing to explain: the model stopped at once, or wrote "
                "only white space. Give answer='…', or another question."
            )
        return found

    @property
    def values(self) -> Numbers:
        """(unit, source), in the unit of the method."""
        return self._table[:, : len(self.sources)]

    @property
    def elsewhere(self) -> Numbers:
        """(unit, 3): what question, template and the answer so far did, as `ELSEWHERE` names them.

        Of an answer with thoughts (unit, 4): behind these what its own thoughts did and no hop passed on.
        """
        return self._table[:, len(self.sources) :]

    @property
    def shares(self) -> Numbers:
        """(unit, source): the part of all positive evidence of the unit, whatever gave it; 0 to 1."""
        return self._shares[:, : len(self.sources)]

    @property
    def shares_elsewhere(self) -> Numbers:
        """(unit, 3), or 4 with thoughts: the part that no source gave."""
        return self._shares[:, len(self.sources) :]

    @property
    def signed_values(self) -> Numbers | None:
        """(unit, source) with signs, where the method has them: sums of what speaks for and against a unit."""
        return None if self._signed_table is None else self._signed_table[:, : len(self.sources)]

    @property
    def lost(self) -> Numbers | None:
        """(unit, source): what is lost without the source, in `Losses.unit`; not a number where nobody measured it."""
        if self.losses is None:
            return None
        return lost_without(self.losses, self.units, unit_rows(self.spoken, self.units, self.text), self.sources)

    @cached_property
    def spoken(self) -> list[Span | None]:
        """Where each written token stands in the answer; None for thoughts, marks, and what stands nowhere."""
        spans = self.token_map.query_tokens.spans or ()
        first = 0 if self.thinking is None else first_said(spans, self.begins)
        return [None] * first + moved(spans[first:], -self.begins)

    @property
    def own(self) -> slice:
        """Which of the written tokens are the answer's, not its thoughts or their marks."""
        spans = self.token_map.query_tokens.spans or ()
        return slice(0 if self.thinking is None else first_said(spans, self.begins), len(spans))

    @cached_property
    def columns(self) -> Positions:
        """(token,): which source each token is part of; behind the sources one of `ELSEWHERE`, and the thoughts."""
        tokens = self.token_map.tokens
        places = [self.passages[one.document].place(one.span) for one in self.sources]
        whole = [one.place((0, one.length)) for one in self.passages if one.offset is not None]
        count = len(tokens) - len(self.token_map.query_tokens)
        reply = self.thinking, self.begins
        return source_columns(tokens.spans or (), count, str(tokens.text), places, whole, self.question, *reply)

    @cached_property
    def _rows(self) -> Numbers:
        return unit_rows(self.spoken, self.units, self.text, mean=self.rows == "mean")

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

    def _joined(self, token_map: TokenMap) -> Numbers:
        """(unit, source and elsewhere): rows of tokens joined to units, and their columns summed to sources."""
        values, count = self._rows @ token_map.values.astype(float), len(self.sources) + len(ELSEWHERE)
        if self.thinking is None:
            return summed(values, self.columns, count)
        values = passed_on(values, self.token_map.values, self.columns, count, self.hops)
        return summed(values, self.columns, count + len([THOUGHTS]))

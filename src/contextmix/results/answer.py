"""Answer: what a model said, and how much each source of its prompt did for each part of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from contextmix.errors import OutputUnwritable
from contextmix.maths.relayed import Hops
from contextmix.maths.shapes import cut
from contextmix.results import answer_files
from contextmix.results.answer_checks import checked
from contextmix.results.answer_files import Filed
from contextmix.results.answer_tables import AnswerTables
from contextmix.results.attached import attached
from contextmix.results.citations import LEAST, MOST, THRESHOLD, Citations, Support, cited, footnoted, strongest
from contextmix.results.files import PAGES
from contextmix.results.grouping import ELSEWHERE as ELSEWHERE
from contextmix.results.grouping import THOUGHTS as THOUGHTS
from contextmix.results.grouping import table_lines, token_lines, unit_position
from contextmix.results.losses import Losses, table_without
from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.tokens.ordinals import ordinal
from contextmix.tokens.passages import Passage
from contextmix.tokens.sections import By, Span
from contextmix.tokens.thoughts import Thoughts


@dataclass(frozen=True, eq=False)
class Answer(AnswerTables, Filed):
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
        thinking: Where the model thought before it answered. Rows of the map are then of all that it wrote, and those
            of the answer's own tokens are joined to units.
        hops: How often what the answer draws from its thoughts is passed on to what made them.
        losses: What was measured by taking sources away; see `TracedModel.ablate`.

    Example:
        >>> import contextmix
        >>> texts = ["Tom has the blue kite.", "Lily has the red ball."]
        >>> result = contextmix.load("demo-answers").explain_answer("Who has the red ball?", texts)
        >>> result.text, result.top("the first sentence", 1)[0].text
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
    thinking: Thoughts | None = None
    hops: Hops = 1
    losses: Losses | None = None

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
    def provenance(self) -> Provenance:
        """How it was made; the note ``answer`` says who wrote it, what ended it, and what placed the texts."""
        return self.token_map.provenance

    @property
    def probabilities(self) -> tuple[float, ...]:
        """What the model gave each token of the answer."""
        return tuple(self.provenance.notes["generation"]["probabilities"][self.own])

    def by(self, sources: By | None = None, units: By | None = None, hops: Hops | None = None) -> Answer:
        """The same answer cut in another way, without a run of the model.

        Args:
            sources: ``"token"``, ``"word"``, ``"sentence"``, ``"paragraph"``, ``"line"``, ``"document"``, a number of
                tokens, or spans ``[(start, stop), …]`` of the only passage, ``[(passage, start, stop), …]`` of several.
            units: The same of the answer, where ``"whole"`` is all of it.
            hops: How often what it draws from its own thoughts is passed on: 0, 1, 2, … or ``"all"``.

        Raises `BadOption` if there is no such way to cut, `BadInput` if spans do not fit or no source is whole.
        """
        sources = self.sources_by if sources is None else sources
        units, hops = self.units_by if units is None else units, self.hops if hops is None else hops
        return replace(self, sources_by=sources, units_by=units, hops=hops)

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
        """A long table: one line per unit and source, and three or four more per unit for what no source gave."""
        tables = {"value": self._table, "share": self._shares}
        tables |= {} if self.thinking is None else {"direct": self.by(hops=0)._table}
        tables |= {} if self._signed_table is None else {"signed": self._signed_table}
        if (lost := self.lost) is not None:
            tables["lost"] = np.pad(lost, ((0, 0), (0, self.elsewhere.shape[1])), constant_values=np.nan)
        return pd.DataFrame(table_lines(self.units, self.sources, tables))

    to_pandas = to_dataframe

    def without(self) -> pd.DataFrame:
        """A line per source: what the whole answer loses without it, and what the model says then, where measured."""
        if (losses := self.losses) is None or (lost := self.by(units="whole").lost) is None:
            return pd.DataFrame()
        return pd.DataFrame(table_without(losses, self.sources, lost[0]))

    def tokens(self) -> pd.DataFrame:
        """The tokens of the answer: their places in it, probabilities, and how far they depend on the passages."""
        own, depends = self.own, self.dependence
        pieces, spans = self.token_map.query_tokens.pieces[own], self.spoken[own]
        return pd.DataFrame(token_lines(pieces, spans, self.probabilities, None if depends is None else depends[own]))

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

    @attached
    def show(self) -> None:
        """Show the answer with its footnotes and its sources: in a notebook as HTML, else as text."""

    @attached
    def _save_page(self, path: str | Path, overwrite: bool = False) -> None:
        """Write a page to look at."""

    @attached
    def _repr_html_(self) -> str:
        """The last line of a notebook cell."""

"""What an answer loses without a source, and what the model says then, in words: decided once, shown by each view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from contextmix.results.answer import Answer
from contextmix.results.losses import Losses, lds_of, says_without
from contextmix.tokens.pieces import printable
from contextmix.views.drawing.colours import Array

SAID = 400
"""Most characters of what a model says without a source."""
_AWAY = {
    "masked": "its keys masked, positions kept",
    "deleted": "its text deleted",
    "zeroed": "its values zero in all layers",
}


@dataclass(frozen=True)
class Without:
    """What taking sources away showed.

    Attributes:
        lost: (unit + 1, source): the last row is the whole answer; not a number where nobody measured it.
        unit: Of the numbers.
        says: For each source what the model says without it; None where it did not write again.
        changed: For each source whether that is another answer; None likewise.
    """

    lost: Array
    unit: str
    says: tuple[str | None, ...]
    changed: tuple[bool | None, ...]

    def change(self, row: int, source: int) -> str:
        """How the log-probability of a part changes without a source; empty where nobody measured it."""
        lost = float(self.lost[row, source])
        return "" if np.isnan(lost) else f"{signed_text(-lost)} {self.unit}"

    def sentence(self, source: int) -> str:
        """All that is known of a source and the whole answer; empty where nothing is.

        Example:
            >>> Without(np.array([[2.0]]), "nats", (" dog.",), (True,)).sentence(0)
            'Without it: −2.0 nats; the model says: “dog.”'
        """
        change, says = self.change(len(self.lost) - 1, source), self.says[source]
        told = (
            "" if says is None else f"the model says: “{says.strip()}”" if self.changed[source] else "the same answer"
        )
        return f"Without it: {'; '.join(filter(None, (change, told)))}" if change or told else ""

    @property
    def shown(self) -> list[int]:
        """The sources without which the model wrote again, what costs most first."""
        told = [place for place, text in enumerate(self.says) if text is not None]
        return sorted(told, key=lambda place: -np.nan_to_num(self.lost[-1, place]))


def signed_text(value: float) -> str:
    """A change of log-probability, with a minus that is one.

    Example:
        >>> signed_text(-2.04), signed_text(0.001), signed_text(12.3)
        ('−2.0', '0.0', '+12.3')
    """
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def without(found: Answer, whole: Answer) -> Without | None:
    """What there is to show of an answer.

    Args:
        found: It.
        whole: The same as one unit.
    """
    losses, lost, of_all = found.losses, found.lost, whole.lost
    if losses is None or lost is None or of_all is None:
        return None
    says = says_without(losses, found.sources)
    texts = [says.get(place) for place in range(len(found.sources))]
    return Without(
        lost=np.concatenate([lost, of_all]),
        unit=losses.unit,
        says=tuple(None if text is None else _short(text) for text in texts),
        changed=tuple(None if text is None else text.strip() != losses.own.strip() for text in texts),
    )


def told_of_losses(found: Answer, drawn: Without | None) -> Iterator[str]:
    """Sentences: what was measured, and how far it can be trusted."""
    losses = found.losses
    if losses is None or drawn is None:
        return
    if np.isnan(drawn.lost).all():
        yield "The losses were measured for sources or parts with different boundaries."
        return
    score = "log-odds" if losses.unit == "log-odds" else "log-probability"
    yield (
        f"Without it: how the {score} of the answer changes without one source ({losses.method}, "
        f"{_AWAY.get(losses.away, losses.away)}; {losses.passes} runs of the model)."
    )
    yield from _told_of_fit(found, losses)
    if drawn.shown:
        yield "What the model says without a source: its text deleted, the same settings of generation."
    if drawn.shown and losses.own.strip() != found.text.strip():
        yield f"The answer was supplied; with all sources the model itself says: “{_short(losses.own)}”"


def _told_of_fit(found: Answer, losses: Losses) -> Iterator[str]:
    if not losses.is_fitted:
        return
    known = lds_of(losses, [*found.units, *found.by(units="whole").units])
    if known[-1] is not None:
        yield f"The surrogate predicts masks that it was not fitted on with a rank correlation of {known[-1]:.2f}."


def _short(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= SAID else f"{line[: SAID - 1]}…"

"""How well a trace proved itself, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contextmix.maths.shapes import cut
from contextmix.results.provenance import Provenance


@dataclass(frozen=True)
class Checks:
    """How well a trace proved itself: the largest relative error of each check over all layers.

    Attributes:
        conservation: Σ attention · value · W_O + bias against the recorded attention output.
        block_equation: The parts put together against the recorded block output.
        layers: How many blocks spoke.
        added: Numbers of the blocks before which features of an image were added to what the last block wrote.
        borrowed: Numbers of the blocks whose attention mixes the values of an earlier block.
    """

    conservation: float = 0.0
    block_equation: float = 0.0
    layers: int = 0
    added: tuple[int, ...] = ()
    borrowed: tuple[int, ...] = ()

    @property
    def told(self) -> str:
        """The errors, in words."""
        return f"conservation {self.conservation:.1e}, block equation {self.block_equation:.1e}"

    def merged(self, other: Checks) -> Checks:
        """Both together."""
        return Checks(
            max(self.conservation, other.conservation),
            max(self.block_equation, other.block_equation),
            self.layers + other.layers,
            tuple(sorted({*self.added, *other.added})),
            tuple(sorted({*self.borrowed, *other.borrowed})),
        )

    def to_dict(self) -> dict[str, float]:
        """As plain numbers, for provenance; nothing where no block spoke, as an error of zero would be a claim."""
        if self.layers == 0:
            return {}
        return {"conservation": self.conservation, "block_equation": self.block_equation, "layers": self.layers}


@dataclass(frozen=True)
class Origin:
    """Where a trace comes from; travels into the provenance of every result.

    Attributes:
        model: Name or path that the model was loaded from.
        revision: Commit of the checkpoint, if known.
        versions: Versions of the libraries that took part.
    """

    model: str
    revision: str | None
    versions: Mapping[str, str]

    def __repr__(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"<Origin {cut(repr(self.model))}, revision {cut(str(self.revision))}: {cut(versions, 120)}>"

    def provenance(self, checks: Checks | Mapping[str, float], **made: Any) -> Provenance:
        """How a result was made: ``made`` says the method and its options."""
        own = checks.to_dict() if isinstance(checks, Checks) else checks
        return Provenance(model=self.model, revision=self.revision, versions=self.versions, checks=own, **made)

"""What the numbers of a result mean, and where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from contextmix.errors import BadFile, BadInput
from contextmix.maths.shapes import cut


class Quantity(StrEnum):
    """The kind of number in a map; it decides what may be summed, normalised or aggregated.

    Example:
        >>> Quantity("norm").unit
        'units of the residual stream'
    """

    SHARE = "share"
    """Part of a whole, without unit: 0 to 1. A row sums to at most 1, up to rounding (less where others took part)."""
    NORM = "norm"
    """Length of the vector that a key contributes, in units of the residual stream. Lengths do not simply add up."""
    DISTANCE = "distance"
    """Cosine distance (0 to 2) between a representation and the same one without the key."""
    SIGNED = "signed"
    """Contributions that add and remove, in the units that the method states. Rows may cancel out."""
    EVIDENCE = "evidence"
    """What a token adds to the log-odds of what is explained (nats), where it adds: at least 0. Evidence adds up."""
    GRADIENT = "gradient"
    """How strongly an output reacts to a small change of an input: length of a derivative, output per input."""

    @property
    def meaning(self) -> str:
        """One phrase for a caption.

        Example:
            >>> Quantity.SHARE.meaning
            'part of the whole'
        """
        return _MEANINGS[self.value][0]

    @property
    def unit(self) -> str:
        """The unit of the numbers.

        Example:
            >>> Quantity.DISTANCE.unit
            'cosine distance'
        """
        return _MEANINGS[self.value][1]


_MEANINGS = {
    "share": ("part of the whole", "1"),
    "norm": ("length of the contributed vector", "units of the residual stream"),
    "distance": ("change when the token is left out", "cosine distance"),
    "signed": ("contribution with its sign", "the unit of the method"),
    "evidence": ("contribution to the log-odds", "nats"),
    "gradient": ("sensitivity to the token", "output per input"),
}


@dataclass(frozen=True)
class Provenance:
    """How a result was made, complete enough to make it again. All values are JSON values.

    Mappings are copied at birth in the form that JSON gives back (tuples become lists, keys become text), so a result
    equals itself after saving and loading.

    Example:
        >>> made = Provenance("norm_encoder", model="bert-base-uncased")
        >>> made.derive(aggregation="rollout").noting(zero_rows=0).title
        'norm_encoder + rollout'
    """

    method: str
    """Name of the mixing map or whole-model method."""
    _: KW_ONLY
    options: Mapping[str, Any] = field(default_factory=dict)
    """What was chosen for the method."""
    aggregation: str | None = None
    """Name of the way from many layers to one; None where layers were not combined."""
    aggregation_options: Mapping[str, Any] = field(default_factory=dict)
    """What was chosen for the aggregation."""
    model: str = ""
    """The name or folder that the model was loaded from."""
    revision: str | None = None
    """The exact version of the model, such as a commit."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Version of each library that took part."""
    checks: Mapping[str, float] = field(default_factory=dict)
    """Largest relative error that each self-check of the trace found."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Reports on the computation: zero rows, ranks, errors of approximations, steps taken afterwards."""

    def __post_init__(self) -> None:
        for name in _MAPPINGS:
            object.__setattr__(self, name, _as_json(name, getattr(self, name)))

    def __repr__(self) -> str:
        model = f" of {cut(repr(self.model))}" if self.model else ""
        chosen = {**self.options, **self.aggregation_options}
        more = {
            "options": ", ".join(f"{name}={value!r}" for name, value in chosen.items()),
            "checks": ", ".join(f"{name} {value:.2g}" for name, value in self.checks.items()),
            "notes": ", ".join(self.notes),
        }
        told = "".join(f"; {name}: {cut(repr(text)[1:-1], 120)}" for name, text in more.items() if text)
        return f"<Provenance {cut(repr(self.title)[1:-1])}{model}{told}>"

    @property
    def title(self) -> str:
        """The method and, where there is one, the aggregation; under the name of a recipe if it was asked for by that.

        Example:
            >>> Provenance("attention").title
            'attention'
        """
        steps = f"{self.method} + {self.aggregation}" if self.aggregation else self.method
        return f"{self.notes['recipe']} ({steps})" if "recipe" in self.notes else steps

    @property
    def short(self) -> str:
        """The name that was asked for: of the recipe, or of the method, with what combined its layers.

        Example:
            >>> Provenance("norm", aggregation="rollout").short
            'norm+rollout'
        """
        steps = f"{self.method}+{self.aggregation}" if self.aggregation else self.method
        return str(self.notes.get("recipe", steps))

    def derive(self, **changes: Any) -> Provenance:
        """A copy with some fields changed.

        Args:
            changes: Fields and their new values.

        Raises:
            BadInput: If a value cannot be written as JSON.

        Example:
            >>> Provenance("attention").derive(model="demo").model
            'demo'
        """
        return replace(self, **changes)

    def noting(self, **notes: Any) -> Provenance:
        """A copy with more notes; a note of the same name is replaced.

        Args:
            notes: Reports on the computation, as JSON values.

        Raises:
            BadInput: If a note cannot be written as JSON.

        Example:
            >>> Provenance("effective_attention").noting(rank=64).notes
            {'rank': 64}
        """
        return self.derive(notes={**self.notes, **notes})

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values.

        Example:
            >>> Provenance("attention").to_dict()["method"]
            'attention'
        """
        return {name.name: getattr(self, name.name) for name in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Provenance:
        """The inverse of `to_dict`.

        Args:
            values: What `to_dict` gave, also after a trip through JSON.

        Raises:
            BadFile: If a field is missing or holds values of another type.

        Example:
            >>> Provenance.from_dict(Provenance("attention").to_dict()) == Provenance("attention")
            True
        """
        if not isinstance(values, Mapping):
            raise BadFile(f"The provenance is a mapping of fields, and this is {type(values).__name__}.")
        for name in (each.name for each in fields(cls)):
            if name not in values or not isinstance(values[name], _TYPES.get(name, Mapping)):
                raise BadFile(f"The provenance needs a field {name!r} of the right type: {values.get(name)!r:.60}.")
        found = cls(**{each.name: values[each.name] for each in fields(cls)})
        return found.derive(checks={}) if found.checks == _NOT_MADE else found


_NOT_MADE = {"conservation": 0.0, "block_equation": 0.0, "layers": 0}
"""What older versions wrote where nothing was checked: errors of zero, of no block."""

_TYPES: dict[str, type | tuple[type, ...]] = {
    "method": str,
    "model": str,
    "aggregation": (str, type(None)),
    "revision": (str, type(None)),
}
_MAPPINGS = ("options", "aggregation_options", "versions", "checks", "notes")


def _as_json(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    try:
        copied: dict[str, Any] = json.loads(json.dumps(dict(value), default=_plain, allow_nan=False))
    except (TypeError, ValueError) as reason:
        raise BadInput(
            f"The {name} of a result must be JSON values, or it could not be saved and traced back: {reason}. "
            "Use numbers, texts, lists and mappings."
        ) from reason
    return copied


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy and torch say what they hold through the same method."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide the numbers."""
    found = {}
    for name in ("contextmix", "torch", "transformers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree without installation
            found[name] = "unknown"
    return found

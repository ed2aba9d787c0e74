"""Learned: one weight for each head of each block, and how they were learned; a small safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from contextmix.errors import BadFile, BadInput, BadOption, WrongShape, refuse_kinds
from contextmix.maths.shapes import cut
from contextmix.results.files import write_atomically

FORMAT, SCHEMA = "contextmix.learned", "1"
FEATURES = ("evidence", "attention", "norm")
SAME = 0.01
"""How far the output projections of the model may differ in length from those that weights were learned on: precisions
differ less, and other models more."""


@dataclass(frozen=True)
class Learned:
    """Weights of heads, from `contextmix.fit`.

    Attributes:
        feature: What is weighed of each head: ``"evidence"``, ``"attention"`` or ``"norm"``.
        weights: For each block one number per head, ≥ 0, such that weighted maps add up to nats.
        sizes: For each block the length of its output projection, by which the model is known again.
        record: How they were learned: model, data, masks, versions, and what they were worth on held-out answers.
    """

    feature: str
    weights: tuple[NDArray[np.float64], ...]
    sizes: tuple[float, ...]
    record: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refuse_kinds(self, feature=str, weights=(tuple, list), sizes=(tuple, list), record=Mapping)
        object.__setattr__(self, "weights", tuple(np.asarray(one, np.float64) for one in self.weights))
        object.__setattr__(self, "sizes", tuple(map(float, self.sizes)))
        flat = np.concatenate([one.ravel() for one in self.weights]) if self.weights else np.empty(0)
        if self.feature not in FEATURES:
            raise BadInput(f"Heads are weighed by {', '.join(FEATURES)}; {self.feature!r:.40} is none of these.")
        if len(self.sizes) != len(self.weights) or any(one.ndim != 1 or not len(one) for one in self.weights):
            raise WrongShape(
                f"Weights of {len(self.weights)} blocks came with {len(self.sizes)} sizes; each block needs one number "
                "per head, and one size."
            )
        if not np.isfinite(flat).all() or (flat < 0).any():
            raise BadInput("Learned weights are finite and at least 0, and some of these are not. Learn them again.")

    def __repr__(self) -> str:
        model, heads = cut(repr(self.record.get("model", ""))), sum(map(len, self.weights))
        return f"<Learned {self.feature}: {heads} heads of {len(self.weights)} blocks, of {model}>"

    def refuse_other_model(self, heads: Sequence[int], sizes: Sequence[float]) -> None:
        """Weights that were learned on another model.

        Args:
            heads: How many heads each block of the model has.
            sizes: The lengths of their output projections.

        Raises:
            BadOption: If they are others.
        """
        known = f"These weights were learned on {self.record.get('model', 'a model')!r:.80}"
        own = [len(one) for one in self.weights]
        if own != list(heads):
            raise BadOption(
                f"{known}, whose {len(own)} blocks have {own[0] if own else 0} heads each or so, and this model has "
                f"{len(heads)} blocks with {list(heads)[:3]} … heads. Learn weights for this one: contextmix fit."
            )
        if not np.allclose(sizes, self.sizes, rtol=SAME, atol=0):
            raise BadOption(
                f"{known}, and the parameters of this one are others, though it has the same shape: what a head does "
                "there says nothing of this model. Learn weights for this one: contextmix fit."
            )

    def save(self, path: Path | str, overwrite: bool = False) -> None:
        """Write a ``.safetensors`` file; raises `OutputExists`, `OutputUnwritable`, or `BadOption` for its name."""
        refuse_ending(path)
        told = {"format": FORMAT, "schema": SCHEMA, "feature": self.feature, "record": json.dumps(dict(self.record))}
        arrays = {"weights": np.concatenate(self.weights), "sizes": np.array(self.sizes)}
        arrays["heads"] = np.array([len(one) for one in self.weights], np.int64)
        write_atomically(path, save(arrays, told), overwrite)

    @classmethod
    def load(cls, path: Path | str) -> Learned:
        """Read weights that `save` wrote; raises `BadFile` if the file is missing or anything else."""
        try:
            with safe_open(str(path), framework="numpy") as file:
                told = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
            if told.get("format") != FORMAT or told.get("schema") != SCHEMA:
                raise BadFile(
                    f"it is {told.get('format', 'another kind of file')!r:.40}, schema {told.get('schema')!r:.9}"
                )
            heads = arrays["heads"].tolist()
            if sum(heads) != len(arrays["weights"]):
                raise BadFile(f"it has {len(arrays['weights'])} weights for {sum(heads)} heads")
            parts = np.split(arrays["weights"], np.cumsum(heads)[:-1])
            return cls(told["feature"], tuple(parts), tuple(arrays["sizes"].tolist()), json.loads(told["record"]))
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, BadFile, BadInput, WrongShape) as reason:
            raise BadFile(
                f"{str(path)!r:.200} holds no weights of contextmix fit: {reason!s:.200}. Name a file that it wrote."
            ) from None


def refuse_ending(path: Path | str) -> None:
    """A name that says another kind of file.

    Raises:
        BadOption: If it does not end in ``.safetensors``.
    """
    if Path(path).suffix.lower() != ".safetensors":
        raise BadOption(f"Learned weights are a .safetensors file, and {str(path)!r:.200} ends otherwise. Rename it.")

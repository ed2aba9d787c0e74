"""Models of two towers: one reads texts, the other images or sounds, and both end in the same space.

No name of a model is known here. The outermost parts of such a model read one kind of input each, and for each of them
the model has a method of features that needs this input alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from contextmix.tracing.inputs.kind import KINDS
from contextmix.tracing.recording.stack import image_id

TEXT = "text"
_ENDINGS = ("_features", "_embeds")
"""How transformers calls what gives the features of one side, after ``get_`` and a name for the side."""


@dataclass(frozen=True)
class Tower:
    """One of the towers of a model.

    Attributes:
        kind: ``"text"``, or the name of a kind of input.
        path: The part of the model that it is.
        main: What it reads.
        features: The method of the whole model that gives its features.
    """

    kind: str
    path: str
    main: str
    features: str


def towers_of(model: PreTrainedModel) -> dict[str, Tower]:
    """The towers of a model by their kind; none of a model that is something else.

    A model of texts with images in them has an id for the place of an image, or a text that cannot be read alone.
    """
    if image_id(model) is not None or getattr(model.config, "is_encoder_decoder", False):
        return {}
    parts = {path: _reads(part) for path, part in outermost(model).items()}
    mains = list(parts.values())
    if "input_ids" not in mains or len(mains) < 2 or None in mains or len(set(mains)) != len(mains):
        return {}
    found = {}
    for path, main in parts.items():
        features = _features(model, str(main), {str(other) for other in mains if other != main})
        if features is None:
            return {}
        kind = _kinds()[str(main)]
        found[kind] = Tower(kind, path, str(main), features)
    return found if len(found) == len(parts) else {}


def outermost(model: PreTrainedModel) -> dict[str, PreTrainedModel]:
    """The models of transformers inside a model, without those inside of them, by their paths."""
    inner = {path: part for path, part in model.named_modules() if path and isinstance(part, PreTrainedModel)}
    return {path: part for path, part in inner.items() if not any(path.startswith(f"{other}.") for other in inner)}


def _kinds() -> dict[str, str]:
    """What models call an input → its kind."""
    return {"input_ids": TEXT} | {main: kind.name for kind in KINDS.values() for main in kind.inputs}


def _reads(part: PreTrainedModel) -> str | None:
    """The one input of a known kind that a part can be called with; None if there are several, or there is none."""
    known = [name for name in inspect.signature(part.forward).parameters if name in _kinds()]
    return known[0] if len(known) == 1 else None


def _features(model: PreTrainedModel, main: str, others: set[str]) -> str | None:
    """The only method of features that needs this input alone and takes none of the others."""
    names = [name for name in dir(type(model)) if name.startswith("get_") and name.endswith(_ENDINGS)]
    found = [name for name in names if _needs(getattr(model, name), main, others)]
    return found[0] if len(found) == 1 else None


def _needs(method: Any, main: str, others: set[str]) -> bool:
    own: Mapping[str, inspect.Parameter] = inspect.signature(method).parameters
    named = {name: one for name, one in own.items() if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)}
    needed = {name for name, one in named.items() if one.default is one.empty}
    return main in named and needed <= {main} and not others & named.keys()

"""The maps of an image tower: by themselves, and multiplied into what a text draws from the places of its images.

The formula is in `contextmix.maths.image_tower`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contextmix.errors import BadInput, BadOption, UnsupportedModel
from contextmix.maths.image_tower import through_tower
from contextmix.maths.kept import kept
from contextmix.models.loaded_model import LoadedModel
from contextmix.options.values import OF_REPRESENTATION
from contextmix.plugins.plan import Plan, make_plan
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.regions import Regions
from contextmix.tracing.inputs.bridge import bridge
from contextmix.tracing.inputs.encode import Inputs
from contextmix.tracing.inputs.patches import special_names
from contextmix.tracing.inputs.regions import Windows, place_tower
from contextmix.tracing.inputs.tower import Bools, seen_units
from contextmix.tracing.runs.seeing import has_pixels, image_inputs, last_read, tower_of

Numbers = NDArray[np.float64]


class _Seer(LoadedModel):
    """A tower, whose probe is the first image of what it reads."""

    def running(self, probe: Any, tensors: Mapping[str, Tensor]) -> Any:
        """See `LoadedModel`."""
        return super().running(_probe(tensors), tensors)


def _probe(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The first image; all of them where patches of all images stand in one row."""
    alike = len({len(value) for value in tensors.values()}) == 1
    return {name: value[:1] if alike else value for name, value in tensors.items()}


class ImageTower:
    """The image tower of a model of texts with images.

    Args:
        loaded: The model.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        with loaded.turn:
            self.tower = tower_of(loaded.model)
        made = loaded.origin
        self.seer = _Seer(self.tower, None, name=made.model, revision=made.revision)

    @kept
    def _last(self) -> dict[Any, int]:
        """By the shapes of an input, the block that the text reads."""
        return {}

    # What is asked ---------------------------------------------------------------------------------------------------

    def alone(self, one: Inputs, plan: Plan, query: int | str | None, layers: Any) -> TokenMap:
        """The tower's own map of one prompt, over all tokens of all its tiles; tiles do not see each other.

        Args:
            one: A prompt with images.
            plan: A mixing map, with or without an aggregation.
            query: The token of the tower whose row is kept; None for all.
            layers: Blocks to show; see `TracedModel.explain`.
        """
        _refuse_without_images(one)
        if plan.of_model:
            raise BadOption(
                f"{plan.name} explains a score, and the image tower by itself has none. Use a mixing map or a recipe "
                "such as globenc, or tower='through'."
            )
        maps, checks, tokens = self._measured(one, plan)
        made = self.seer.origin.provenance(checks, **plan.describe())
        notes = {**one.notes, "tower": "alone"}
        notes.pop("rows_end_at", None)
        tiles = [
            plan.result(maps[:, tile], _part(tokens, tile, len(maps[0])), made.noting(**notes), None, layers)
            for tile in range(maps.shape[1])
        ]
        found = (
            tiles[0]
            if len(tiles) == 1
            else tiles[0].derive(values=_diagonal(tiles), tokens=tokens, query_tokens=tokens)
        )
        return found if query is None else found.row(query)

    def through(self, found: TokenMap, one: Inputs, plan: Plan) -> TokenMap:
        """A map over a prompt, whose image places go on to the tokens of the tower, and so to patches.

        Args:
            found: Dims that end in key, whose keys are the tokens of the prompt.
            one: The prompt.
            plan: What it was made by. Where it explains a score, the tower is measured by GlobEnc.

        Raises:
            BadOption: If it is a map of single layers.
            UnsupportedModel: If the text reads several blocks of the tower, or places cannot be told apart.
        """
        _refuse_without_images(one)
        refuse_single_blocks(plan)
        own = make_plan(OF_REPRESENTATION) if plan.of_model else plan
        made_of, last = bridge(self._places(one), self._seen(one)), self._last_read(one)
        maps, _, tokens = self._measured(one, own)
        rolled = [own.combine(maps[: last + 1, tile]).values[-1] for tile in range(maps.shape[1])]
        if min(float(each.min()) for each in rolled) < 0:
            raise BadOption(f"{own.name} is negative somewhere in the image tower, so its rows are not shares.")
        rows = torch.from_numpy(found.values.copy())
        values = through_tower(rows, torch.from_numpy(made_of), [tile.cpu() for tile in rolled]).numpy()
        values, keys = _replaced(found, values, made_of.sum(-1) > 0, tokens)
        notes = {"tower": own.name, "tower_block": last, "rows_end_at": "tokens of the image tower, at its entry"}
        queries = found.query_tokens if "query" in found.dims else None
        made = found.provenance.noting(**notes)
        return found.derive(values=values, tokens=keys, query_tokens=queries, provenance=made)

    # What it takes ---------------------------------------------------------------------------------------------------

    def _measured(self, one: Inputs, plan: Plan) -> tuple[Tensor, Any, Tokens]:
        """The tower's maps (layer, tile, ..., token, token), their proof, and the labels of all tokens."""
        found = self.seer.measure_batch(image_inputs(self.tower, one.tensors), [plan])
        maps = found.maps(0)
        count = maps.shape[1] * maps.shape[-1]
        if one.windows is None:
            return maps, found.checks, Tokens(tuple(f"#{place}" for place in range(count)))
        seen = self._seen(one)
        if len(seen) != count:
            raise UnsupportedModel(
                f"{count} tokens are in the maps of the image tower, and {len(seen)} enter its first block, so they "
                f"cannot be matched."
            )
        tiles = maps.shape[1]
        without = int((~seen.any(-1)).sum()) // tiles
        plain = special_names(self.tower, without) if without else []
        several = [f"t{tile}." if tiles > 1 else "" for tile in range(tiles)]
        names = [front + name for front in several for name in plain] + ["[PAD]"] * len(seen)
        return maps, found.checks, place_tower(one.windows, seen, names)

    def _seen(self, one: Inputs) -> Bools:
        """The patches of pixels that each token of the tower sees."""
        own = {name: value for name, value in one.tensors.items() if name in self._names(one)}
        with self.loaded.turn:
            return seen_units(self.tower, self._anatomy(one), own, self._windows(one).units)

    def _places(self, one: Inputs) -> Bools:
        """The same of each token of the prompt."""
        with self.loaded.turn:
            return seen_units(self.loaded.model, self.loaded.anatomy(), one.tensors, self._windows(one).units)

    def _windows(self, one: Inputs) -> Windows:
        windows: Windows | None = one.windows
        if windows is None:
            raise UnsupportedModel(
                "It is unknown how the pixels of this prompt are cut into patches, so image places cannot be traced "
                "to tokens of the image tower. Leave out tower='through'."
            )
        return windows

    def _names(self, one: Inputs) -> set[str]:
        own = image_inputs(self.tower, one.tensors)
        return {name for name in one.tensors if any(name.endswith(f" {other}") for other in own)}

    def _anatomy(self, one: Inputs) -> Any:
        return self.seer.anatomy(_probe(image_inputs(self.tower, one.tensors)))

    def _last_read(self, one: Inputs) -> int:
        key = tuple((name, tuple(value.shape)) for name, value in sorted(one.tensors.items()))
        if key not in self._last:
            whole = self.loaded
            with whole.turn:
                asked = whole.model, whole.anatomy(), self.tower, self._anatomy(one), one.tensors
                self._last[key] = last_read(*asked)
        return self._last[key]


def refuse_single_blocks(plan: Plan) -> None:
    """A map of single blocks, where maps go across all of them.

    Raises:
        BadOption: If it is one.
    """
    if not plan.of_model and plan.aggregation is None:
        raise BadOption(
            f"{plan.name} is a map of single blocks, and tower='through' goes across all of them. Name a recipe such "
            "as globenc, or an aggregation such as 'rollout'."
        )


def _refuse_without_images(one: Inputs) -> None:
    if not has_pixels(one.tensors):
        raise BadInput(
            "tower=… asks for the image tower of a prompt with images, and this input holds none. Give "
            "{'image': …, 'text': …}, or leave tower out."
        )


def _part(tokens: Tokens, tile: int, tiles: int) -> Tokens:
    count = len(tokens) // tiles
    return tokens.part(slice(tile * count, (tile + 1) * count))


def _diagonal(tiles: Sequence[TokenMap]) -> Numbers:
    """Maps of tiles as one map, zero between them; the axes in front stay."""
    count = tiles[0].shape[-1]
    whole = np.zeros((*tiles[0].shape[:-2], count * len(tiles), count * len(tiles)), dtype=tiles[0].values.dtype)
    for number, one in enumerate(tiles):
        here = slice(number * count, (number + 1) * count)
        whole[..., here, here] = one.values
    return whole


def _replaced(found: TokenMap, seen: Numbers, image: NDArray[np.bool_], tokens: Tokens) -> tuple[Numbers, Tokens]:
    """A map whose first image place is replaced by the tokens of the tower, and the others by nothing."""
    values, keys = found.values.astype(np.float64), found.tokens
    first = int(image.argmax())
    front, behind = np.flatnonzero(~image & (np.arange(len(image)) < first)), np.flatnonzero(~image)
    behind = behind[behind > first]
    parts = [values[..., front], seen, values[..., behind]]
    return np.concatenate(parts, -1), _joined(keys, front.tolist(), behind.tolist(), tokens)


def _joined(prompt: Tokens, front: Sequence[int], behind: Sequence[int], tower: Tokens) -> Tokens:
    """The labels of both; of the tower no piece has an id or is part of a text."""

    def both(own: Sequence[Any], middle: Sequence[Any]) -> tuple[Any, ...]:
        return (*(own[place] for place in front), *middle, *(own[place] for place in behind))

    nothing = (None,) * len(tower)
    words = None if prompt.words is None else both(prompt.words, nothing)
    spans = None if prompt.spans is None else both(prompt.spans, nothing)
    places = tower.places
    if isinstance(places, Regions):
        places = replace(places, boxes=both((None,) * len(prompt), places.boxes))
    pieces, special = both(prompt.pieces, tower.pieces), both(prompt.special, tower.special)
    return Tokens(pieces, None, special, words, spans, prompt.text, places)

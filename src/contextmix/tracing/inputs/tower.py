"""Which part of its image each token of a prompt sees, found by looking.

Image towers merge, pool, tile and reorder patches, each model in its own way, and their attention lets every token see
the whole image. So the tower is run with each of its tokens attending to itself alone: then a change of one patch of
pixels reaches the one token that is made of it. All patches are told apart in a few such runs, as each has a number in
digits, and one run changes all patches that share a digit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import UnsupportedModel
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.trace import Scores
from contextmix.tracing.inputs.patches import patch_size
from contextmix.tracing.recording.quiet import BESIDE, first_states, on_device, quiet_run
from contextmix.tracing.recording.tap import tapped
from contextmix.tracing.recording.turns import before, undone

PIXELS = BESIDE + "pixel_values"
Bools = NDArray[np.bool_]
_KNOWN: WeakKeyDictionary[PreTrainedModel, dict[Any, Bools]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Units:
    """The patches of pixels that a tower reads.

    Attributes:
        shape: Of the pixels: (…, channel, height, width), or (…, patch, number) where they are cut already.
        patch: Height and width of a patch, in pixels; None where they are cut already.
        at: (unit, 3): the tile, row and column of each; of patches that are cut already their image and number, or
            row and column where the input says them.
    """

    shape: tuple[int, ...]
    patch: tuple[int, int] | None
    at: NDArray[np.int64]

    @classmethod
    def of(cls, model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> Units | None:
        """The patches of an input; None where nobody says how the pixels are cut."""
        pixels, patch = tensors[PIXELS], patch_size(model)
        shape, grids = tuple(pixels.shape), tensors.get(BESIDE + "image_grid_thw")
        if pixels.ndim == 2 and grids is not None and int(grids.prod(-1).sum()) == len(pixels):
            at = [(image, 0, number) for image, count in enumerate(grids.prod(-1).tolist()) for number in range(count)]
            return cls(shape, None, np.array(at))
        where = tensors.get(BESIDE + "image_position_ids")
        if pixels.ndim == 3 and where is not None and tuple(where.shape) == (*shape[:2], 2):
            image = np.repeat(np.arange(shape[0]), shape[1])
            column, row = where.clamp(min=0).flatten(0, 1).T.cpu().numpy()  # padding has none, and shows no image
            return cls(shape, None, np.stack([image, row, column], -1))
        if pixels.ndim < 4 or patch is None or not prod(size := (shape[-2] // patch[0], shape[-1] // patch[1])):
            return None
        return cls(shape, patch, np.stack([one.ravel() for one in np.indices((prod(shape[:-3]), *size))], -1))

    @property
    def tiles(self) -> NDArray[np.int64]:
        """The tile, or the image, of each unit."""
        found: NDArray[np.int64] = self.at[:, 0]
        return found

    def changed(self, pixels: Tensor, chosen: Bools) -> Tensor:
        """The pixels with noise on the chosen units, the same in every call."""
        noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0)).to(pixels)
        return torch.where(self._spread(chosen).to(pixels.device), pixels + noise, pixels)

    def means(self, pixels: Tensor) -> NDArray[np.float64]:
        """The mean of all numbers of each unit, (unit,)."""
        numbers = pixels.double()
        if self.patch is None:
            return np.asarray(numbers.mean(-1).flatten())
        (rows, columns), (height, width) = self.patch, pixels.shape[-2:]
        cut = numbers.flatten(0, -4)[..., : height // rows * rows, : width // columns * columns].mean(-3)
        patches = cut.reshape(len(cut), height // rows, rows, width // columns, columns)
        return np.asarray(patches.mean((2, 4)).flatten())

    def _spread(self, chosen: Bools) -> Tensor:
        """Which pixels are those of chosen units, in a shape that fits the pixels."""
        if self.patch is None:
            return torch.from_numpy(chosen.reshape(*self.shape[:-1], 1))
        tiles, *size = (self.at.max(0) + 1).tolist()
        mask = np.zeros((tiles, 1, *self.shape[-2:]), dtype=bool)
        marks = chosen.reshape(tiles, 1, *size).repeat(self.patch[0], 2).repeat(self.patch[1], 3)
        mask[:, :, : marks.shape[2], : marks.shape[3]] = marks
        return torch.from_numpy(mask).reshape(*self.shape[:-3], 1, *self.shape[-2:])


def seen_units(model: PreTrainedModel, anatomy: Anatomy, tensors: Mapping[str, Tensor], units: Units) -> Bools:
    """Which units each token is made of, (token, unit), at the entry of the first block.

    It depends on the shapes of an input and on its tokens, not on the pixels, and is found once for each.

    Args:
        model: The model.
        anatomy: Where its blocks are.
        tensors: What it reads, without a batch axis.
        units: How the pixels are cut.

    Returns:
        Nothing false is said by a row of several units where a token sees more than its rectangle: then rows overlap.
    """
    known = _KNOWN.setdefault(model, {})
    key = tuple((name, _key(name, value)) for name, value in sorted(tensors.items()))
    if key not in known:
        known[key] = _found(model, anatomy, tensors, units)
    return known[key]


def _key(name: str, value: Tensor) -> Any:
    return tuple(value.shape) if value.is_floating_point() else (tuple(value.shape), value.cpu().numpy().tobytes())


def _found(model: PreTrainedModel, anatomy: Anatomy, tensors: Mapping[str, Tensor], units: Units) -> Bools:
    clean = entering(model, model.get_submodule(anatomy.blocks[0].path), tensors)
    found = _looked(model, anatomy, tensors, units, clean, _digits(units.at))
    if found.sum(0).max() > 1:  # of what is merged 3 × 3 where rows or columns are a multiple of 2 too
        found = _looked(model, anatomy, tensors, units, clean, _digits(units.at, first=3))
    return found


def _looked(
    model: PreTrainedModel,
    anatomy: Anatomy,
    tensors: Mapping[str, Tensor],
    units: Units,
    clean: Tensor,
    digits: NDArray[np.int64],
) -> Bools:
    """Which units each token is made of, by one run for each value of each digit."""
    block, pixels, found = model.get_submodule(anatomy.blocks[0].path), tensors[PIXELS], None
    for place in digits.T:
        touched = np.zeros((len(clean), int(place.max()) + 1), dtype=bool)
        for value in np.unique(place).tolist():
            other = entering(model, block, {**tensors, PIXELS: units.changed(pixels, place == value)})
            touched[:, value] = _differ(clean, other)
        own = touched[:, place]
        found = own if found is None else found & own
    assert found is not None
    return found


def _differ(clean: Tensor, other: Tensor) -> Bools:
    """Which tokens are others; rounding may move the rest a little."""
    difference = (clean.float() - other.float()).abs().amax(-1)
    found: Bools = (difference > difference.max() / 1000).cpu().numpy()
    return found


def _digits(at: NDArray[np.int64], first: int = 2) -> NDArray[np.int64]:
    """The numbers of all units in digits, (unit, digit), as many as are not the same for all.

    The bases are the prime factors of how many rows or columns there are, the smallest first, so that what a tower
    merges (2 × 2 patches, or 3 × 3) differs in the lowest digits alone.

    Args:
        at: See `Units`.
        first: The base that comes before all others where there is a choice.
    """
    found = []
    for column in range(at.shape[1]):
        numbers = at[:, column].copy()
        counts = np.zeros_like(numbers)
        for tile in np.unique(at[:, 0]) if column else [None]:
            own = slice(None) if tile is None else at[:, 0] == tile
            counts[own] = numbers[own].max() + 1
        while counts.max() > 1:
            bases = np.array([_factor(count, first) for count in counts.tolist()])
            found.append(numbers % bases)
            numbers, counts = numbers // bases, counts // bases
    return np.stack(found, -1) if found else np.zeros((len(at), 1), dtype=np.int64)


def _factor(count: int, first: int) -> int:
    return next((base for base in (first, *range(2, count + 1)) if count > 1 and count % base == 0), 1)


class _Seen(Exception):
    """No error: the run has shown what was wanted."""


class _Alone:
    """Lets each token attend to itself; see `tap.LonelyListener`."""

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Scores | None) -> None:
        """See `tap.Listener`."""

    def alone(self, query: Tensor, value: Tensor) -> Tensor | None:
        """Its own value; attention to other tokens than those that ask stays what it is."""
        if query.shape[-2] != value.shape[-2]:
            return None
        groups = query.shape[1] // value.shape[1]
        return value.repeat_interleave(groups, dim=1).transpose(1, 2).contiguous()


def entering(model: PreTrainedModel, block: nn.Module, tensors: Mapping[str, Tensor], *, lonely: bool = True) -> Tensor:
    """What enters the first block, (token, d_model); the block itself does not run.

    Args:
        model: The model.
        block: Its first block. Of the tower itself the tokens of all tiles follow each other.
        tensors: What it reads, without a batch axis.
        lonely: Whether every token before the block attends to itself alone.
    """

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise _Seen(first_states(args, kwargs))

    inputs = on_device(model, {name: value.unsqueeze(0) for name, value in tensors.items()})
    try:
        with undone(before(block, look).remove), tapped(model, _Alone()) if lonely else nullcontext():
            quiet_run(model, inputs)
    except _Seen as seen:
        states: Tensor = seen.args[0]
        return states.flatten(0, -2)
    raise UnsupportedModel("The first block did not run, so what it reads is unknown.")


def rectangles(seen: Bools, units: NDArray[np.float64], images: NDArray[np.int64]) -> Iterator[Any]:
    """For each token its region, or None where it sees no unit of any image; nothing at all where units overlap.

    Args:
        seen: (token, unit).
        units: (unit, 4): left, top, right and bottom of each in its image; NaN for padding.
        images: (unit,): the image of each.
    """
    area = (units[:, 2] - units[:, 0]) * (units[:, 3] - units[:, 1])
    inside = ~np.isnan(area)
    for token in seen & inside:
        if not token.any():
            yield None
            continue
        own = units[token]
        box = (*own[:, :2].min(0).tolist(), *own[:, 2:].max(0).tolist())
        whole = (box[2] - box[0]) * (box[3] - box[1])
        one_image = len(set(images[token].tolist())) == 1
        yield (int(images[token][0]), *box) if one_image and abs(area[token].sum() - whole) < 0.02 * whole else None

"""A prompt with an image for a tiny model of any type: pixels as its tower reads them, and as many marks as it fills.

Nothing is known of a type but its signature and its config. So likely shapes of pixels are tried, with what else the
signature asks of an image; how many places the image fills, the model says itself, or is found by trying.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from contextmix.tracing.inputs.probe import vocabulary
from contextmix.tracing.recording.quiet import quiet_run
from contextmix.tracing.recording.stack import image_id

GRID = (4, 4)
"""Rows and columns of patches."""
MOST = 300
"""So many places are tried where nobody says how many an image fills."""
_SAID = re.compile(r"(?:tokens|features)\D{0,12}(\d+)")
_BORDERS = (
    ("vision_start_token_id", "boi_token_id", "boi_token_index", "image_start_token_id"),
    ("vision_end_token_id", "eoi_token_id", "eoi_token_index", "image_end_token_id"),
)
TOWERS = ("vision_config", "vision_tower_config", "image_config", "vq_config", "backbone_config")
_WHOLES = ("thinker_config", "vlm_config")


class NoPicture(Exception):
    """Why a model was not tried with an image; nothing is said about contextmix."""


def picture_probe(model: PreTrainedModel) -> dict[str, Tensor]:
    """Model inputs of one prompt with an image, with a batch axis of one.

    Raises:
        NoPicture: If none is found.
    """
    mark, reasons = image_id(model), []
    if mark is None:
        raise NoPicture("its config names no token that holds the place of an image")
    for beside in _beside(model):
        count, reason = _count(model, mark, beside)
        if count:
            return _prompt(model, mark, count, beside)
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in beside.items())
        reasons.append(f"{shapes}: {reason}")
    raise NoPicture(f"no image is known on which it runs ({len(reasons)} were tried; {'; '.join(reasons[:2])})")


# The prompt ----------------------------------------------------------------------------------------------------------


def _prompt(model: PreTrainedModel, mark: int, count: int, beside: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Words, an image between its borders where the config names some, and words."""
    config, known = model.config, vocabulary(model) or 2
    front, behind = ([found] if (found := _first(config, names)) is not None else [] for names in _BORDERS)
    marks = {mark, *front, *behind, *_marks(config)}
    words = [word for word in range(known) if word not in marks][5:11] or [0]
    ids = [*words[:2], *front, *[mark] * count, *behind, *words[2:]]
    found: dict[str, Tensor] = {"input_ids": torch.tensor([ids]), **beside}
    accepted = inspect.signature(model.forward).parameters
    for name in ("mm_token_type_ids", "token_type_ids"):
        if name in accepted:
            found[name] = (found["input_ids"] == mark).long()
    return found


def _count(model: PreTrainedModel, mark: int, beside: Mapping[str, Tensor]) -> tuple[int, str]:
    """How many places an image fills, by what the model says of its features, or of their number; and why none."""
    likely, reason = [], ""
    with suppress(Exception), torch.no_grad():
        likely.append(_rows(model, beside))
    for count in (*likely, 1):
        try:
            quiet_run(model, _prompt(model, mark, count, beside))
        except Exception as failure:  # a model may raise anything on an input that is not for it
            reason = f"{type(failure).__name__}: {str(failure).strip().partition(chr(10))[0][:160]}"
            said = [int(number) for number in _SAID.findall(str(failure)) if int(number) <= MOST]
            for other in dict.fromkeys(said):
                try:
                    quiet_run(model, _prompt(model, mark, other, beside))
                except Exception as second:
                    if other != count:
                        reason += f" (of {other}: {type(second).__name__}: {str(second).strip()[:160]})"
                else:
                    return other, ""
        else:
            return count, ""
    return 0, reason


def _rows(model: PreTrainedModel, beside: Mapping[str, Tensor]) -> int:
    """Of what the model makes of an image for its text."""
    whole: Any = model
    ask = whole.get_image_features
    known = inspect.signature(ask).parameters
    found = ask(**{name: value for name, value in beside.items() if name in known})
    found = getattr(found, "pooler_output", None) if getattr(found, "pooler_output", None) is not None else found
    parts = [found] if isinstance(found, Tensor) else list(found)
    return sum(part.shape[:-1].numel() for part in parts if isinstance(part, Tensor))


# The image -----------------------------------------------------------------------------------------------------------


def _beside(model: PreTrainedModel) -> Iterator[dict[str, Tensor]]:
    """Pixels in likely shapes, with what else the signature asks of them."""
    accepted = inspect.signature(model.forward).parameters
    sight = sight_of(model.config)
    channels = next((own for name in ("num_channels", "in_channels", "in_chans") if (own := number_in(sight, name))), 3)
    patch, size = (
        side_in(sight, "model_patch_size", "patch_size", "spatial_patch_size") or 16,
        side_in(sight, "image_size"),
    )
    merge = next((own for name in ("spatial_merge_size", "merge_size") if (own := number_in(sight, name))), None) or 2
    frames = (number_in(sight, "temporal_patch_size") or 1, 1, 2)
    for number in dict.fromkeys(channels * count * patch**2 for count in frames):
        if "image_grid_thw" in accepted:
            rows, columns = (max(one, 2 * merge) for one in GRID)
            more = {"image_merge_sizes": torch.tensor([merge])} if "image_merge_sizes" in accepted else {}
            more["image_grid_thw"] = torch.tensor([[1, rows, columns]])
            count = rows * columns
            square = count, channels, patch, patch
            for shape in ((count, number), (1, count, number), square, (1, *square)):
                yield {"pixel_values": _noise(*shape), **more}
    sides = dict.fromkeys(filter(None, (size, GRID[0] * patch, 2 * patch * merge, 64, 224)))
    for side in sides:
        sizes = {"image_sizes": torch.tensor([[side, side]])} if "image_sizes" in accepted else {}
        for more in ({}, sizes) if sizes else ({},):
            yield {"pixel_values": _noise(1, channels, side, side), **more}
            yield {"pixel_values": _noise(1, 1, channels, side, side), **more}
            yield {"pixel_values": _noise(1, 2, channels, side, side), **more}
            yield {"pixel_values": _noise(1, 3, channels, side, side), **more}
        if "aspect_ratio_ids" in accepted:
            tiles = number_in(sight, "max_num_tiles") or 1
            shown = (torch.arange(tiles) == 0).long()[None, None]
            pixels = _noise(1, 1, tiles, channels, side, side)
            yield {"pixel_values": pixels, "aspect_ratio_ids": torch.tensor([[1]]), "aspect_ratio_mask": shown}
    cut = _noise(1, GRID[0] * GRID[1], channels * patch**2)
    yield {"pixel_values": cut}
    if "spatial_shapes" in accepted:
        mask = torch.ones(cut.shape[:2]).long()
        yield {"pixel_values": cut[0][None], "spatial_shapes": torch.tensor([GRID]), "pixel_attention_mask": mask}
    if "image_position_ids" in accepted:
        rows, columns = torch.meshgrid(torch.arange(GRID[0]), torch.arange(GRID[1]), indexing="ij")
        yield {"pixel_values": cut, "image_position_ids": torch.stack([columns, rows], -1).flatten(0, 1)[None]}
    if "target_sizes" in accepted:
        wide = _noise(1, channels, patch, GRID[0] * GRID[1] * patch)
        yield {"pixel_values": wide, "target_sizes": torch.tensor([GRID])}


def sight_of(config: PreTrainedConfig) -> Any:
    """The config of what sees."""
    inner = next((part for name in _WHOLES if (part := getattr(config, name, None)) is not None), config)
    for _ in range(2):  # one may stand in another
        inner = next((part for name in TOWERS if (part := getattr(inner, name, None)) is not None), inner)
    return inner


def number_in(config: Any, name: str) -> int | None:
    """A whole number of a config; None if it says none."""
    found = getattr(config, name, None)
    return found if isinstance(found, int) else None


def side_in(config: Any, *names: str) -> int | None:
    """The same, or the last of several, under the first of these names that is there."""
    for name in names:
        found = getattr(config, name, None)
        if isinstance(found, list | tuple) and found:
            found = found[-1]
        if isinstance(found, int):
            return found
    return None


def _first(config: PreTrainedConfig, names: tuple[str, ...]) -> int | None:
    return next((own for name in names if (own := number_in(config, name)) is not None), None)


def _marks(config: PreTrainedConfig) -> Iterator[int]:
    """Ids with a meaning of their own."""
    for name, value in vars(config).items():
        if isinstance(value, PreTrainedConfig):
            yield from _marks(value)
        elif name.endswith(("_token_id", "_token_index")) and isinstance(value, int):
            yield value


def _noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))

"""Inputs beside token ids, pictures and waves, made from what the call of a model asks for by name.

Towers of images read patches in one row, and beside it how many rows and columns they had. Models of documents read
boxes beside words, models of time series values of the past. What a name means says its documentation, how large it is
says the config or the first layer that reads it; whether it fits shows the run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.tracing.recording.quiet import BESIDE

_COUNT = 7
"""Vectors of a sequence that is neither text nor image."""
_ROWS = ("pixel_values", "hidden_states", "patch_embeds", "flattened_patches", "image_features")
_GRIDS = ("grid_thw", "image_grid_thw", "target_sizes", "spatial_shapes", "pixel_position_ids")
_COUNTS = ("num_patches",)
SIZES_BESIDE = ("grid_thw", "image_grid_thw", "target_sizes", "spatial_shapes", "feature_lens")
"""What says how many patches or frames there are, where they may stand in one row."""
_VECTORS = (
    "inputs_embeds",
    "hidden_states",
    "query_embeds",
    "noise_embeds",
    "context",
    "context_hidden_states",
    "latents",
    "input_values",
    "patch_embeds",
)
_WIDTHS = ("hidden_size", "d_model", "hidden_dim", "width", "embed_dim", "input_dim")


@dataclass(frozen=True)
class _Asked:
    """A model, and what its call names."""

    model: PreTrainedModel
    needed: tuple[str, ...]
    accepted: tuple[str, ...]
    embeds: bool

    def number(self, *names: str, otherwise: int = 0) -> int:
        """The first of these fields of the config that holds a number."""
        found = (getattr(self.model.config, name, None) for name in names)
        return next((value for value in found if isinstance(value, int) and not isinstance(value, bool)), otherwise)

    @property
    def merge(self) -> int:
        """Patches of a side that become one later."""
        return max(self.number("spatial_merge_size", "pooling_kernel_size", otherwise=2), 1)

    @property
    def side(self) -> int:
        """Patches of a side: no fewer than two after merging."""
        return max(4, 2 * self.merge)

    @property
    def kernels(self) -> list[tuple[int, ...]]:
        """What one patch or frame may be: the axes that the first convolution and the first matrix read."""
        firsts = (next((one for one in self.model.modules() if isinstance(one, kind)), None) for kind in _READING)
        return list(dict.fromkeys(tuple(one.weight.shape[1:]) for one in firsts if one is not None)) or [(1,)]

    @property
    def vectors(self) -> list[int]:
        """How many numbers one patch or frame may have."""
        return list(dict.fromkeys(prod(kernel) for kernel in self.kernels))


_READING = ((nn.Conv2d, nn.Conv3d), nn.Linear)


def asked_inputs(
    model: PreTrainedModel, text: Mapping[str, Tensor], *, embeds: bool = True
) -> Iterator[dict[str, Tensor]]:
    """Model inputs by the names of a call, likely ones first, with a batch axis of one.

    Args:
        model: Any model.
        text: Token ids for it, if its call names them.
        embeds: Whether it has a table of embeddings for them; without one it may want vectors in their place.
    """
    known = inspect.signature(model.forward).parameters.values()
    one_of = inspect.Parameter.POSITIONAL_OR_KEYWORD
    needed = tuple(one.name for one in known if one.default is one.empty and one.kind is one_of)
    asked = _Asked(model, needed, tuple(one.name for one in known), embeds)
    for family in (_beside_text, _patches, _tiles, _past, _vectors, _heard):
        yield from family(asked, dict(text))


def _patches(asked: _Asked, text: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Patches of one picture: a row of vectors, or of little pictures, with or without a batch axis."""
    rows = next((name for name in _ROWS if name in asked.accepted), None)
    grid = next((name for name in _GRIDS if name in asked.accepted), None)
    if text or rows is None or (grid is None and rows != "flattened_patches"):
        if rows == "pixel_values" and not text:  # as many as there are places
            count = asked.number("num_position_embeddings")
            yield from ({rows: _noise(1, count, width)} for width in asked.vectors if count)
        return
    side, n = asked.side, asked.side**2
    if rows == "flattened_patches":  # where each patch was stands in front of it
        places = torch.cartesian_prod(torch.arange(1, side + 1), torch.arange(1, side + 1))[None].float()
        yield from ({rows: torch.cat([places, _noise(1, n, width)], -1)} for width in asked.vectors)
        return
    beside = {name: make(asked) for name, make in _OF_PATCHES.items() if name in (*asked.needed, grid)}
    if not str(grid).endswith("grid_thw"):  # whose rows hold the patches of all images
        yield from ({rows: _noise(1, n, width), **beside} for width in asked.vectors)
        channels, patch = asked.number("num_channels", "in_channels", otherwise=3), asked.number("patch_size")
        yield {rows: _noise(1, channels, patch, patch * n), **beside}  # one low and wide picture of them all
    for shape in dict.fromkeys(_shapes_in_a_row(asked, n)):
        packed = {rows: _noise(1, *shape), **{name: value[None] for name, value in beside.items()}}
        yield {BESIDE + name: value for name, value in packed.items()}
        yield {rows: _noise(1, *shape), **beside}


def _shapes_in_a_row(asked: _Asked, n: int) -> Iterator[tuple[int, ...]]:
    """Patches one behind another: of numbers in a row, or little pictures."""
    yield from ((n, width) for width in asked.vectors)
    yield from ((n, *kernel) for kernel in asked.kernels)
    side = asked.number("patch_size") * asked.merge
    yield n, side, side, asked.number("num_channels", "in_channels", otherwise=3)


def _tiles(asked: _Asked, text: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """One picture of one tile, where a model reads so many tiles per picture."""
    tiles, side = asked.number("max_num_tiles"), asked.number("image_size")
    if not text and tiles and "aspect_ratio_ids" in asked.accepted:
        channels = asked.number("num_channels", otherwise=3)
        yield {
            "pixel_values": _noise(1, 1, tiles, channels, side, side),
            "aspect_ratio_ids": torch.ones(1, 1, dtype=torch.long),
            "aspect_ratio_mask": torch.ones(1, 1, tiles, dtype=torch.long),
        }


_OF_PATCHES: dict[str, Callable[[_Asked], Tensor]] = {
    "grid_thw": lambda asked: torch.tensor([[1, asked.side, asked.side]]),
    "image_grid_thw": lambda asked: torch.tensor([[1, asked.side, asked.side]]),
    "target_sizes": lambda asked: torch.tensor([[asked.side, asked.side]]),
    "spatial_shapes": lambda asked: torch.tensor([[asked.side, asked.side]]),
    "merge_sizes": lambda asked: torch.tensor([asked.merge]),
    "pixel_attention_mask": lambda asked: torch.ones(1, asked.side**2, dtype=torch.long),
    "pixel_position_ids": lambda asked: torch.cartesian_prod(*[torch.arange(asked.side)] * 2)[None],
}


def _beside_text(asked: _Asked, text: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Boxes of words in a page, and what was seen of a picture, beside the words."""
    if not text:
        return
    length = next(iter(text.values())).shape[1]
    if "bbox" in asked.accepted:
        corner = torch.arange(length)[None, :, None] * 3 + torch.tensor([0, 1])
        boxes = torch.cat([corner, corner + 5], -1)
        yield {**text, "bbox": boxes}
        yield {**text, "bbox": boxes / 100}
    if "visual_feats" in asked.accepted:
        size, places = asked.number("visual_feat_dim"), asked.number("visual_pos_dim", otherwise=4)
        yield {**text, "visual_feats": _noise(1, 5, size), "visual_pos": _noise(1, 5, places)}


def _past(asked: _Asked, text: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """A time series: values of the past, and what some models read beside them."""
    if "past_values" not in asked.accepted:
        return
    reach = asked.number("context_length", "prediction_length", otherwise=32)
    lags = getattr(asked.model.config, "lags_sequence", None) or [0]
    length, channels = reach + max(lags), asked.number("num_input_channels", "input_size", otherwise=1)
    beside: dict[str, Tensor] = {
        "past_values_padding": torch.zeros(1, length, dtype=torch.long),
        "freq": torch.zeros(1, 1, dtype=torch.long),
        "past_time_features": _noise(1, length, max(1, asked.number("num_time_features"))),
        "past_observed_mask": torch.ones(1, length),
    }
    beside = {name: value for name, value in beside.items() if name in asked.needed}
    yield {"past_values": _noise(1, length), **beside}
    yield {"past_values": _noise(1, length, channels), **beside}


def _heard(asked: _Asked, text: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """A sound as features of its frames, with a mask or a length beside it."""
    name = next((name for name in ("input_features", "audio_mel", "hidden_states") if name in asked.accepted), None)
    bins = asked.number("num_mel_bins", "input_feat_size", "feature_size", "input_size", "input_dim", "hidden_size")
    masks = [
        one for one in asked.accepted if one in ("input_features_mask", "audio_mel_mask", "attention_mask", "mask")
    ]
    if name is None or text or not bins:
        return
    for frames in dict.fromkeys((2 * asked.number("max_source_positions", otherwise=4 * _COUNT), 200)):
        if "feature_lens" in asked.accepted:
            yield {BESIDE + name: _noise(1, bins, frames), BESIDE + "feature_lens": torch.tensor([[frames]])}
        if "chunk_sample_lengths" in asked.needed:
            samples = torch.tensor([frames * asked.number("hop_length", otherwise=160)])
            yield {name: _noise(1, bins, frames), "chunk_sample_lengths": samples}
        for mask in [torch.ones(1, frames, dtype=torch.long), torch.zeros(1, frames, dtype=torch.bool)]:
            seen = dict.fromkeys(masks[:1], mask)  # of the second kind True is padding
            yield {name: _noise(1, bins, frames), **seen}
            yield from ({name: _noise(1, frames, width), **seen} for width in dict.fromkeys((bins, *asked.vectors)))


def _vectors(asked: _Asked, text: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Vectors that another model made, as many as a short text has words."""
    names = [name for name in asked.needed if name in _VECTORS]
    if text and not asked.embeds and not asked.needed and "inputs_embeds" in asked.accepted:
        names = ["inputs_embeds"]
    elif text or not names or set(asked.needed) - {*names, *_COUNTS}:
        return
    beside = {name: torch.tensor(_COUNT // 2) for name in _COUNTS if name in asked.needed}
    widths = [asked.number(name) for name in _WIDTHS] + asked.vectors
    for width in dict.fromkeys(filter(None, widths)):
        yield {name: _noise(1, _COUNT, width) for name in names} | beside
        if names == ["patch_embeds"]:  # of a convolution
            yield {names[0]: _noise(1, width, asked.side, asked.side)}


def _noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))

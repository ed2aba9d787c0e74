"""Which patches a token is made of: by digits in a few runs, against one patch at a time in many."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scripts.sweep.build import build
from scripts.sweep.pictured import sighted
from tests.tracing.pictured import EXACT, QUESTION, built, picture
from tests.tracing.tiny import hook_count, settings
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

import contextmix as cm
from contextmix.traces.anatomy import Anatomy
from contextmix.tracing.inputs.regions import windows_of
from contextmix.tracing.inputs.tower import PIXELS, Units, entering, rectangles, seen_units
from contextmix.tracing.recording.quiet import BESIDE


@pytest.mark.parametrize("name", EXACT)
def test_digits_find_what_one_patch_at_a_time_finds(name):
    model, reader = built(name)
    loaded = cm.load(model, reader)
    (inputs,) = loaded.encode({"image": picture(), "text": QUESTION})
    before = settings(model), hook_count(model)
    units = Units.of(model, inputs.tensors)
    found = seen_units(model, loaded.anatomy(), inputs.tensors, units)
    block = model.get_submodule(loaded.anatomy().blocks[0].path)
    clean = entering(model, block, inputs.tensors)
    for unit in range(0, found.shape[1], 5):
        chosen = np.arange(found.shape[1]) == unit
        pixels = units.changed(inputs.tensors[PIXELS], chosen)
        moved = (entering(model, block, {**inputs.tensors, PIXELS: pixels}) - clean).abs().amax(-1)
        assert (found[:, unit] == (moved > 1e-4 * clean.abs().max()).numpy()).all()
    assert (settings(model), hook_count(model)) == before


def test_units_of_pixels_in_tiles():
    model, _ = built("llava")
    pixels = torch.arange(2 * 3 * 16 * 24, dtype=torch.float64).reshape(2, 3, 16, 24)
    units = Units.of(model, {PIXELS: pixels})
    assert units.at.tolist()[:4] == [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0]]
    assert len(units.at) == 2 * 2 * 3
    assert units.means(pixels)[4] == pixels[0, :, 8:16, 8:16].mean()
    chosen = np.arange(12) == 10
    changed = (units.changed(pixels, chosen) != pixels).nonzero()
    assert changed.amin(0).tolist() == [1, 0, 8, 8]
    assert changed.amax(0).tolist() == [1, 2, 15, 15]


def test_units_of_patches_that_are_cut_already():
    model, _ = built("qwen2_vl")
    grids = torch.tensor([[1, 2, 2], [1, 2, 4]])
    units = Units.of(model, {PIXELS: torch.randn(12, 6), "of images: image_grid_thw": grids})
    assert units.tiles.tolist() == [0] * 4 + [1] * 8
    assert Units.of(model, {PIXELS: torch.randn(11, 6), "of images: image_grid_thw": grids}) is None


def test_rectangles_are_hulls_that_nothing_else_fills():
    edges = np.array([[0, 0, 1, 1], [1, 0, 2, 1], [0, 1, 1, 2], [1, 1, 2, 2], [np.nan] * 4])
    images = np.array([0, 0, 0, 0, 0])
    rows = np.array(
        [
            [True, True, False, False, False],
            [False, True, True, False, False],  # two corners: their hull holds what the token does not see
            [False, False, False, True, True],  # padding has no place
            [False, False, False, False, False],
        ]
    )
    assert list(rectangles(rows, edges, images)) == [(0, 0, 0, 2, 1), None, (0, 1, 1, 2, 2), None]
    assert list(rectangles(rows[:1], edges, np.array([0, 1, 0, 0, 0]))) == [None]


def test_patches_that_are_cut_already_with_their_rows_and_columns():
    """Gemma 4: patches in one row with positions, padded, and pooled 3 × 3 by these."""
    model, images, sources = sighted(build("gemma4")), Gemma4ImageProcessorPil(), [picture(90, 60), picture(40, 60)]

    def process(shown):
        found = images(shown, return_tensors="pt", max_soft_tokens=70)
        return {BESIDE + name: found[name] for name in ("pixel_values", "image_position_ids")}

    made = process(sources)
    counts = images(sources, return_tensors="pt", max_soft_tokens=70)["num_soft_tokens_per_image"].tolist()
    marks = torch.tensor([7, *[model.config.image_token_id] * sum(counts), 8])
    tensors = {"input_ids": marks, "mm_token_type_ids": (marks == model.config.image_token_id).long(), **made}
    windows = windows_of(model, tensors, sources, process)
    anatomy = cm.load(*built("llava")).anatomy()
    first = replace(anatomy.blocks[0], path="language_model.layers.0")  # the path is all that is asked for
    seen = seen_units(model, Anatomy((first,)), tensors, windows.units)
    boxes = list(rectangles(seen, windows.boxes, windows.images))
    assert boxes[0] is None
    assert boxes[-1] is None
    placed = boxes[1:-1]
    assert [box[0] for box in placed] == [0] * counts[0] + [1] * counts[1]
    for number, (width, height) in enumerate(windows.sizes):
        own = np.array([box[1:] for box in placed if box[0] == number])
        columns, rows = len(np.unique(own[:, 0].round(3))), len(np.unique(own[:, 1].round(3)))
        assert columns * rows == counts[number]
        assert (np.diff(own[:columns, 0]) > 0).all()  # row by row
        areas = (own[:, 2] - own[:, 0]) * (own[:, 3] - own[:, 1])
        assert areas.sum() == pytest.approx(width * height, rel=0.01)
        assert own[0] == pytest.approx([0, 0, width / columns, height / rows], abs=1.5)

"""The rectangle of an image place is what it sees: a change of the photo inside of it reaches it, outside none."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.tracing.pictured import EXACT, QUESTION, built, picture

import contextmix as cm
from contextmix.errors import UnsupportedModel
from contextmix.tracing.inputs.imaged import image_tensors
from contextmix.tracing.recording.quiet import as_called

OUTPUTS = ("out_proj", "attn.proj", "projection_layer")
"""What tiny towers call the matrix behind their heads; at zero, no token of the tower hears of another."""


def deaf(model):
    """The same model with an image tower whose tokens do not attend."""
    with torch.no_grad():
        for path, module in model.named_modules():
            if path.endswith(OUTPUTS) and "language" not in path and "text" not in path:
                module.weight.zero_()
                if module.bias is not None:
                    module.bias.zero_()
    return model


class Entry(Exception):
    pass


def entering(model, block, reader, text, images):
    """What enters the first block, by a hook of the test's own."""

    def look(module, args, kwargs):
        raise Entry(args[0] if args else kwargs["hidden_states"])

    found = image_tensors(model, reader, reader(images=[images], text=[text], return_tensors="pt"))
    handle = block.register_forward_pre_hook(look, with_kwargs=True)
    try:
        with torch.no_grad():
            model(**as_called({name: value.unsqueeze(0) for name, value in found.items()}))
    except Entry as seen:
        return seen.args[0][0]
    finally:
        handle.remove()
    raise AssertionError


def painted(image, box, inside):
    """The image with other pixels inside of a box, or outside of it."""
    pixels = np.array(image)
    left, top, right, bottom = box
    y, x = np.mgrid[: image.height, : image.width]
    within = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    chosen = within if inside else ~within
    pixels[chosen] = 255 - pixels[chosen]
    return Image.fromarray(pixels), chosen.any()


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("size", [(100, 60), (60, 140)])
def test_each_place_sees_its_rectangle_and_nothing_else(name, size):
    model, reader = built(name)
    loaded = cm.load(deaf(model), reader)
    images = [picture(*size), picture(90, 90, 1)]
    marks = reader.image_token
    text = f"what {marks} left {marks} right" if name != "paligemma" else f"{marks}{marks}left right"
    (inputs,) = loaded.encode({"images": images, "text": text})
    places = inputs.tokens.places
    placed = [token for token in range(len(places)) if places.box(token) is not None]
    assert {places.image(token) for token in placed} == {0, 1}
    block = model.get_submodule(loaded.anatomy().blocks[0].path)
    clean = entering(model, block, reader, text, images)
    for token in placed[::3]:
        number, (left, top, right, bottom) = places.image(token), places.box(token)
        width, height = right - left, bottom - top
        inner = (left + width / 4, top + height / 4, right - width / 4, bottom - height / 4)
        # A resampled pixel is made of those that are up to two of the smaller pixels away from it.
        margin = 2 + 3 * max(1.0, max(images[number].size) / 32)
        outer = (left - margin, top - margin, right + margin, bottom + margin)
        for box, inside in ((inner, True), (outer, False)):
            others = list(images)
            others[number], changed = painted(images[number], box, inside)
            moved = (entering(model, block, reader, text, others) - clean).abs().amax(-1)
            if inside:
                assert moved[token] > 0.05 * moved.max() > 0
                assert all(places.image(other) == number for other in moved.nonzero().flatten().tolist())
            elif changed:
                assert moved[token] <= 1e-5 * clean.abs().max()


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        # 100 × 60 → 66 × 40, of which the middle 32 × 32 are cut into 4 × 4.
        (
            "llava",
            (100, 60),
            {"r0c0": (17 / 66 * 100, 6, 25 / 66 * 100, 18), "r3c3": (41 / 66 * 100, 42, 49 / 66 * 100, 54)},
        ),
        ("paligemma", (100, 60), {"r0c0": (0, 0, 25, 15), "r2c1": (25, 30, 50, 45)}),
        ("gemma3", (100, 60), {"r0c0": (0, 0, 50, 30), "r1c0": (0, 30, 50, 60)}),  # 4 × 4 patches, pooled to 2 × 2
        ("qwen2_vl", (100, 60), {"r0c0": (0, 0, 20, 20), "r2c4": (80, 40, 100, 60)}),  # 6 × 10 patches, merged by 2 × 2
        ("qwen2_5_vl", (60, 140), {"r0c0": (0, 0, 30, 140 / 6), "r5c1": (30, 700 / 6, 60, 140)}),
        # 2 × 2 tiles of 2 × 2 places, and the whole image.
        ("idefics3", (100, 60), {"t1.r0c0": (50, 0, 75, 15), "t4.r1c1": (50, 30, 100, 60)}),
        ("internvl", (60, 140), {"t1.r1c0": (0, 105, 30, 140), "t2.r0c1": (30, 0, 60, 70)}),
    ],
)
def test_rectangles_by_hand(name, size, expected):
    (inputs,) = cm.load(*built(name)).encode({"image": picture(*size), "text": QUESTION})
    tokens = inputs.tokens
    for label, box in expected.items():
        assert tokens.places.box(tokens.position(label)) == pytest.approx(box, abs=0.4), label


def test_words_of_the_prompt_keep_their_labels():
    (inputs,) = cm.load(*built("llava")).encode({"image": picture(), "text": QUESTION})
    tokens = inputs.tokens
    assert tokens.pieces[:3] == ("<s>", "user", ":")
    assert tokens.pieces[19:25] == ("what", "colour", "is", "the", "disc", "?")
    assert [tokens.text[slice(*tokens.spans[place])] for place in range(19, 22)] == ["what", "colour", "is"]
    assert tokens.special[0]
    assert not any(tokens.special[1:])
    assert inputs.notes["images"] == 1
    assert "projected" in inputs.notes["rows_end_at"] or "image places" in inputs.notes["rows_end_at"]


def test_the_last_tokens_are_known_by_name_in_every_image():
    loaded = cm.load(*built("idefics3"))
    (inputs,) = loaded.encode({"images": [picture(), picture(30, 30)], "text": "what <image> or <image> ?"})
    assert "i0.t4.r1c1" in inputs.tokens.pieces
    assert "i1.t0.r0c0" in inputs.tokens.pieces
    assert len(set(inputs.tokens.pieces)) > 20


def test_pixels_that_a_user_gives_are_images_of_their_own():
    loaded = cm.load(*built("llava"))
    (inputs,) = loaded.encode({"image": picture(), "text": QUESTION})
    given = as_called({name: value.unsqueeze(0) for name, value in inputs.tensors.items()})
    found, own = loaded.explain(given), loaded.explain({"image": picture(), "text": QUESTION})
    assert np.array_equal(found[0].values, own.values)
    assert found[0].tokens.places.sizes == ((32, 32),)
    assert found[0].tokens.places.box(3) == (0, 0, 8, 8)


def test_images_that_are_read_by_cross_attention_are_refused():
    with pytest.raises(UnsupportedModel, match="in another way than as tokens"):
        cm.load(*built("mllama")).explain({"image": picture(), "text": QUESTION})

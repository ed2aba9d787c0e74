"""Images: every patch is where its token says, whatever the processor resized and cropped."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.tracing.senses import IMAGE_MODELS, VISION, build, photo, saved, seeing

import contextmix as cm
from contextmix.errors import BadInput, TraceDoesNotAddUp, UnsupportedModel
from contextmix.tokens.places import Patches
from contextmix.tracing.inputs.kinds.image import seen_window
from contextmix.tracing.inputs.patches import _embedded

FRONT = {
    "vit": ["[CLS]"],
    "deit": ["[CLS]", "[DIST]"],
    "beit": ["[CLS]"],
    "clip": ["[CLS]"],
    "dinov2": ["[CLS]"],
    "registers": ["[CLS]", "[REG0]", "[REG1]", "[REG2]", "[REG3]"],
    "siglip": [],
}


def embedded(model, pixels):
    tensors = {"pixel_values": pixels}
    (states,) = _embedded(model.model, model.anatomy(), tensors, pixels.unsqueeze(0))
    return states


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_a_bright_square_changes_the_token_that_names_its_box(name):
    model = seeing(name)
    black = np.zeros((60, 100, 3), np.uint8)
    tokens = model.explain(black, query=0).tokens
    places = tokens.places
    assert isinstance(places, Patches)
    (clean,) = model.encode(black)
    clean = embedded(model, clean.tensors["pixel_values"])
    for token in range(len(tokens)):
        if places.cells[token] is None:
            continue
        left, top, right, bottom = places.box(token)
        bright = black.copy()
        bright[math.ceil(top) : math.floor(bottom), math.ceil(left) : math.floor(right)] = 255
        (changed,) = model.encode(bright)
        moved = (embedded(model, changed.tensors["pixel_values"]) - clean).norm(dim=-1)
        assert int(moved.argmax()) == token
        assert moved[token] > 1.5 * moved.sort().values[-2]


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_tokens_are_named_in_the_order_of_the_model(name):
    model = seeing(name)
    tokens = model.explain(photo()).tokens
    rows, columns = (6, 8) if name == "dinov2" else (4, 4)
    patches = [f"r{row}c{column}" for row in range(rows) for column in range(columns)]
    assert list(tokens.pieces) == [*FRONT[name], *patches]
    assert list(tokens.special) == [True] * len(FRONT[name]) + [False] * len(patches)


@pytest.mark.parametrize(
    ("name", "window"),
    [
        ("vit", (0, 0, 100, 60)),  # squeezed to a square
        ("deit", (10, 6, 90, 54)),  # squeezed to 40 × 40, the middle 32
        ("clip", (17 * 100 / 66, 6, 49 * 100 / 66, 54)),  # 66 × 40, the middle 32 × 32
        ("dinov2", (21 * 100 / 106, 7.5, 85 * 100 / 106, 52.5)),  # 106 × 64, the middle 64 × 48
    ],
)
def test_the_window_is_what_the_processor_keeps(name, window):
    places = seeing(name).explain(photo()).tokens.places
    assert places.size == (100, 60)
    assert places.window == pytest.approx(window, abs=1e-9)


@pytest.mark.parametrize("size", [(17, 400), (400, 17), (33, 33), (5, 3), (640, 480)])
@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_every_shape_of_image_has_a_proved_window(name, size):
    _, _, processor = IMAGE_MODELS[name]
    pixels = processor(images=Image.new("RGB", size), return_tensors="np")["pixel_values"]
    assert seen_window(processor, size, (pixels.shape[-1], pixels.shape[-2])) is not None


class Mirrored:
    """A processor that turns the picture, and does not say so."""

    do_center_crop = False

    def __init__(self, processor, turn):
        self.processor, self.turn = processor, turn

    def __call__(self, images, **options):
        return self.processor(images=images.transpose(self.turn), **options)


@pytest.mark.parametrize("turn", [Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM])
def test_a_processor_that_moves_pixels_otherwise_is_refused(turn):
    _, config, processor = IMAGE_MODELS["vit"]
    model = cm.load(build("ViTModel", config), Mirrored(processor, turn))
    model.processor, model.tokenizer = model.tokenizer, None
    with pytest.raises(UnsupportedModel, match="moves pixels in another way"):
        model.explain(photo())


def test_padding_around_a_small_image_belongs_to_no_pixel():
    _, config, _ = IMAGE_MODELS["clip"]
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    model = cm.load(
        build("CLIPVisionModel", config), CLIPImageProcessorPil(do_resize=False, crop_size={"height": 32, "width": 32})
    )
    places = model.explain(photo(16, 32)).tokens.places
    assert places.window == (-8, 0, 24, 32)
    assert [places.box(token) for token in range(1, 5)] == [None, (0, 0, 8, 8), (8, 0, 16, 8), None]


def test_pixels_that_fill_no_patch_are_not_claimed():
    model = cm.load(build("Dinov2Model", {**VISION, "mlp_ratio": 2}))
    places = model.explain({"pixel_values": torch.randn(3, 20, 47)}).tokens.places
    assert (places.grid, places.window) == ((2, 5), (0, 0, 40, 16))


def test_tensors_say_the_same_as_the_image_they_were_made_of():
    model = seeing("vit")
    pixels = model.processor(images=Image.fromarray(photo()), return_tensors="pt")["pixel_values"]
    of_image, of_tensors = model.explain(photo()), model.explain({"pixel_values": pixels})
    assert isinstance(of_tensors, list)
    assert of_tensors[0].values.tolist() == of_image.values.tolist()
    assert of_tensors[0].tokens.pieces == of_image.tokens.pieces
    assert of_tensors[0].tokens.places.size == (32, 32)
    single = model.explain({"pixel_values": pixels[0]})
    assert single.values.tolist() == of_image.values.tolist()


def test_random_masking_leaves_no_place_to_trust():
    model = cm.load(build("ViTMAEModel", VISION), IMAGE_MODELS["vit"][2])
    with pytest.raises(TraceDoesNotAddUp, match="gives other outputs on every run"):
        model.explain(photo())
    (one,) = model.encode(photo())
    with pytest.raises(UnsupportedModel, match=r"its 5 tokens are not the 4 × 4 patches in reading order"):
        model.labels(one, 5)


def test_a_patch_that_changes_two_tokens_is_seen():
    model = seeing("vit")

    def blurred(module, args, output):
        return output + output.roll(1, dims=1)

    embeddings = model.model.get_submodule("vit.embeddings.patch_embeddings")
    handle = embeddings.register_forward_hook(blurred)
    with pytest.raises(UnsupportedModel, match="not the 4 × 4 patches in reading order"):
        model.explain(photo())
    handle.remove()
    assert model.explain(photo()).tokens.pieces[1] == "r0c0"


def test_columns_before_rows_are_seen():
    model = seeing("vit")
    columns_first = torch.arange(16).reshape(4, 4).T.flatten()
    embeddings = model.model.get_submodule("vit.embeddings.patch_embeddings")
    handle = embeddings.register_forward_hook(lambda module, args, output: output[:, columns_first])
    with pytest.raises(UnsupportedModel, match="in reading order"):
        model.explain(photo())
    handle.remove()


@pytest.mark.parametrize("name", ["vit", "clip", "dinov2", "deit"])
def test_a_folder_brings_its_image_processor(name, tmp_path):
    architecture, config, processor = IMAGE_MODELS[name]
    own = build(architecture, config)
    folder = saved(own, processor, tmp_path / "model")
    Image.fromarray(photo()).save(tmp_path / "photo.png")
    from_folder = cm.load(folder).explain(tmp_path / "photo.png")
    assert from_folder.values.tolist() == cm.load(own, processor).explain(photo()).values.tolist()
    assert from_folder.tokens == cm.load(folder).explain(str(tmp_path / "photo.png")).tokens


@pytest.mark.parametrize("source", ["array", "float", "pil", "grey", "path", "list"])
def test_ways_to_give_an_image(source, tmp_path):
    model, pixels = seeing("vit"), photo()
    if source == "grey":
        pixels = pixels[..., :1].repeat(3, axis=-1)
    expected = model.explain(pixels).values
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    given = {
        "array": pixels,
        "float": pixels / 255,
        "pil": Image.fromarray(pixels),
        "grey": Image.fromarray(pixels[..., 0]),
        "path": Path(tmp_path / "photo.png"),
        "list": [pixels],
    }[source]
    found = model.explain(given)
    found = found[0] if source == "list" else found
    assert np.array_equal(found.values, expected)


def test_the_predicted_class_and_its_gradient():
    model = seeing("vit", num_labels=3, id2label={0: "cat", 1: "dog", 2: "bird"})
    result = model.explain(photo(), query="[CLS]")
    with torch.no_grad():
        pixels = model.processor(images=Image.fromarray(photo()), return_tensors="pt")["pixel_values"]
        probabilities = model.model(pixel_values=pixels).logits[0].softmax(-1)
    prediction = result.provenance.notes["prediction"]
    assert prediction["label"] == ["cat", "dog", "bird"][int(probabilities.argmax())]
    assert prediction["probability"] == pytest.approx(float(probabilities.max()), rel=1e-5)
    gradient = model.explain(photo(), "gradient_inputs", target="bird")
    assert gradient.tokens == result.tokens
    assert gradient.provenance.notes["target"] == "bird"
    assert (gradient.values > 0).all()


@pytest.mark.parametrize(
    "method", ["value_zeroing", "attention_rollout", "alti", "norm_residual", "effective_attention"]
)
def test_methods_keep_the_places(method):
    assert isinstance(seeing("vit").explain(photo(), method).tokens.places, Patches)


def test_traces_and_comparisons_keep_the_places():
    model = seeing("clip")
    assert isinstance(model.trace(photo()).tokens.places, Patches)
    found = model.compare(photo(), ["globenc", "attention_rollout"])
    assert found.rows["globenc"].tokens.pieces[1] == "r0c0"


def test_images_of_different_sizes_in_one_list_keep_their_own_places():
    small, large = seeing("vit").explain([photo(50, 30), photo(100, 60)])
    assert (small.tokens.places.size, large.tokens.places.size) == ((50, 30), (100, 60))


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (torch.randn(1, 32, 32), "reads images of 3 channels"),
        (torch.randn(3, 40, 40), r"does not read these pixel_values.*32"),
        (torch.full((3, 32, 32), torch.nan), "must be finite"),
        (torch.zeros(3, 32, 32, dtype=torch.uint8), "must be finite floating-point numbers; these are torch.uint8"),
    ],
)
def test_tensors_that_the_model_does_not_read(pixels, sentence):
    with pytest.raises(BadInput, match=sentence):
        seeing("vit").explain({"pixel_values": pixels})

"""Who reads what: every other combination is refused with a sentence that names both."""

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tests.tracing.senses import IMAGE_MODELS, SPEECH, VISION, build, hearing, noise, photo, seeing
from tests.tracing.tiny import build as build_text
from tests.tracing.tiny import word_pieces

import contextmix as cm
from contextmix.errors import BadInput, BadOption, UnsupportedModel

PICTURE, SOUND = Image.fromarray(photo()), (noise(), 16000)


@pytest.fixture(scope="module")
def models():
    return {"text": cm.load(build_text("bert"), word_pieces()), "image": seeing("vit"), "sound": hearing()}


@pytest.mark.parametrize(
    ("model", "source", "sentence"),
    [
        ("text", PICTURE, "Got an image, but BertModel reads text"),
        ("text", photo(), "Got an array, but BertModel reads text"),
        ("text", SOUND, "Got a sound, but BertModel reads text"),
        ("text", Path("photo.jpg"), "Got a path, but BertModel reads text"),
        (
            "text",
            {"pixel_values": torch.randn(3, 32, 32)},
            "BertModel reads input_ids, and the model inputs hold pixel_v",
        ),
        (
            "image",
            "a deep film .",
            "ViTForImageClassification reads images, not text, and there is no image file 'a deep",
        ),
        ("image", ("a film", "a play"), "Got a pair of texts, but ViTForImageClassification reads images"),
        ("image", SOUND, "Got a sound, but ViTForImageClassification reads images"),
        ("image", noise(), r"An image is an array \(height, width, 3\)"),
        ("image", {"input_values": noise()}, "reads pixel_values, and the model inputs hold input_values"),
        ("image", Path("none.png"), "There is no image file none.png"),
        ("sound", "a deep film .", "Wav2Vec2ForSequenceClassification reads sounds, not text"),
        ("sound", PICTURE, "Got an image, but Wav2Vec2ForSequenceClassification reads sounds"),
        ("sound", (photo(), 16000), r"shape \(60, 100, 3\)"),
        ("sound", Path("none.wav"), "There is no sound file none.wav"),
        (
            "sound",
            {"pixel_values": torch.randn(3, 32, 32)},
            "reads input_values, and the model inputs hold pixel_values",
        ),
    ],
)
def test_the_wrong_modality(models, model, source, sentence):
    with pytest.raises(BadInput, match=sentence):
        models[model].explain(source)


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (photo()[..., :2], r"\(60, 100, 2\)"),
        (photo()[..., 0], r"\(60, 100\)"),
        (photo().transpose(2, 0, 1), r"channels come last: array.transpose\(1, 2, 0\)"),
        (photo()[:0], r"\(0, 100, 3\)"),
        (photo().astype(np.int64), "this array holds int64 from 0 to 255"),
        (photo().astype(np.float32), r"float32 from 0.0 to 255.0"),
        (np.full((4, 4, 3), np.nan), "from nan to nan"),
        (photo() / -255.0, "floats from 0 to 1"),
        (Image.new("RGBA", (8, 8), (1, 2, 3, 0)), "transparent pixels"),
        (Image.new("I;16", (8, 8)), "mode I;16"),
    ],
)
def test_bad_images(models, pixels, sentence):
    with pytest.raises(BadInput, match=sentence):
        models["image"].explain(pixels)


def test_an_opaque_alpha_channel_changes_nothing(models):
    opaque = PICTURE.convert("RGBA")
    assert np.array_equal(models["image"].explain(opaque).values, models["image"].explain(PICTURE).values)


def test_a_photo_is_seen_the_way_viewers_turn_it(models, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to view
    PICTURE.save(tmp_path / "turned.png", exif=exif)
    expected = models["image"].explain(PICTURE.transpose(Image.Transpose.ROTATE_270))
    found = models["image"].explain(tmp_path / "turned.png")
    assert found.tokens.places.size == (60, 100)
    assert np.array_equal(found.values, expected.values)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_files_that_are_no_image(models, tmp_path, content):
    (tmp_path / "photo.png").write_bytes(content)
    with pytest.raises(BadInput, match="cannot be read as an image"):
        models["image"].explain(tmp_path / "photo.png")


@pytest.mark.parametrize(
    ("model", "source"),
    [("text", "a film"), ("image", PICTURE), ("sound", {"input_values": noise()}), ("image", [PICTURE])],
)
def test_a_sampling_rate_of_no_sound(models, model, source):
    with pytest.raises(BadOption, match="sampling_rate=16000 only applies to the samples of a sound"):
        models[model].explain(source, sampling_rate=16000)


@pytest.mark.parametrize(
    ("model", "source", "reader"),
    [(("ViTModel", VISION), PICTURE, "image processor"), (("Wav2Vec2Model", SPEECH), SOUND, "feature extractor")],
)
def test_a_model_without_its_processor_says_what_is_missing(model, source, reader):
    with pytest.raises(BadInput, match=f"was loaded without its {reader}"):
        cm.load(build(*model)).explain(source)


def test_a_processor_of_text_and_images_is_taken_apart():
    processor = transformers.CLIPProcessor.__new__(transformers.CLIPProcessor)
    processor.image_processor, processor.tokenizer = IMAGE_MODELS["clip"][2], word_pieces()
    model = cm.load(build("CLIPVisionModel", VISION), processor)
    assert model.explain(PICTURE).tokens.pieces[0] == "[CLS]"
    assert model.tokenizer is processor.tokenizer


def test_a_processor_that_makes_no_picture_is_refused():
    def pieces(images, **options):
        return {"pixel_values": torch.randn(1, 5, 3, 32, 32)}

    model = cm.load(build("ViTModel", VISION))
    model.processor = pieces
    with pytest.raises(UnsupportedModel, match="does not make one picture of pixels"):
        model.explain(PICTURE)


def test_tensors_that_disagree_in_number():
    with pytest.raises(BadInput, match="equally many images"):
        seeing("vit").explain({"pixel_values": torch.randn(2, 3, 32, 32), "bool_masked_pos": torch.zeros(1, 16)})


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-4), (torch.bfloat16, 5e-2)])
def test_weights_of_another_precision(dtype, tolerance):
    for expected, source in ((seeing("vit"), PICTURE), (hearing(), SOUND)):
        traced = cm.load(copy.deepcopy(expected.model).to(dtype), expected.processor)
        rows, found = (model.explain(source, normalise=True).values for model in (expected, traced))
        assert np.abs(found - rows).max() < tolerance


def test_without_pillow_the_sentence_says_what_to_install(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(BadInput, match=r"pip install 'contextmix\[image\]'"):
        models["image"].explain(photo())
    assert models["text"].explain("a deep film").tokens.pieces[0] == "[CLS]"

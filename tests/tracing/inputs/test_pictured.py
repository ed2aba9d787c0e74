"""Prompts with images as people give them; what does not fit is refused with what was found and what to do."""

import json
import shutil

import numpy as np
import pytest
import torch
from scripts.sweep.build import build as build_swept
from scripts.sweep.pictured import sighted
from scripts.sweep.pictures import picture_probe
from tests.tracing.pictured import FAMILIES, NUMBER, QUESTION, built, picture
from tests.tracing.senses import seeing
from tests.tracing.tiny import build as build_text
from tests.tracing.tiny import word_pieces

import contextmix as cm
from contextmix.errors import BadInput, TooLong
from contextmix.tracing.inputs.pictured import asked_of
from contextmix.tracing.recording.quiet import as_called

PHOTO = picture()
SOURCE = {"image": PHOTO, "text": QUESTION}


def chat(*parts, role="user"):
    return [{"role": role, "content": list(parts)}]


def image(found=PHOTO, name="image"):
    return {"type": "image", name: found}


def text(words=QUESTION):
    return {"type": "text", "text": words}


@pytest.fixture(scope="module")
def llava():
    return cm.load(*built("llava"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with its processor beside it, and a photo."""
    place = tmp_path_factory.mktemp("llava")
    model, reader = built("llava")
    model.save_pretrained(place)
    reader.save_pretrained(place)
    PHOTO.save(place / "photo.png")
    return place


def test_a_folder_reads_a_file_a_photo_and_an_array(folder, llava):
    loaded = cm.load(str(folder))
    wanted = llava.explain(SOURCE)
    for given in (str(folder / "photo.png"), folder / "photo.png", np.asarray(PHOTO)):
        found = loaded.explain({"image": given, "text": QUESTION})
        assert np.allclose(found.values, wanted.values, atol=1e-6)
        assert found.tokens == wanted.tokens


def test_a_question_goes_through_the_template_and_is_the_chat_of_one_message(llava):
    found, wanted = llava.explain(SOURCE), llava.explain(chat(image(), text()))
    assert found.tokens == wanted.tokens
    assert np.array_equal(found.values, wanted.values)
    assert found.tokens.pieces[-2:] == ("assistant", ":")
    assert found.provenance.notes["template"] == "chat"


def test_images_stand_where_their_parts_stand(llava):
    tokens = llava.explain(chat(text("left"), image(), text("right"), image(picture(40, 40)), text())).tokens
    first, second = (tokens.position(label) for label in ("i0.r0c0", "i1.r0c0"))
    assert tokens.position("left") < first < tokens.position("right") < second
    assert tokens.places.sizes == ((100, 60), (40, 40))


def test_an_answer_that_stands_in_the_chat_is_not_asked_for(llava):
    messages = [*chat(image(), text()), {"role": "assistant", "content": "red"}]
    assert llava.explain(messages, "attention").tokens.pieces[-1] == "red"


def test_a_prompt_with_marks_is_read_as_it_is(llava):
    found = llava.explain({"image": PHOTO, "text": "is <image> red ?"})
    assert found.tokens.pieces[:3] == ("<s>", "is", "r0c0")
    assert "template" not in found.provenance.notes


def test_without_a_template_marks_stand_in_front():
    found = cm.load(*built("paligemma")).explain({"image": PHOTO, "text": "is it red ?"})
    assert found.tokens.pieces[0] == "r0c0"
    assert found.provenance.notes["image_marks"] == "put in front of the text"


def test_a_list_holds_texts_and_prompts_with_images(llava):
    found = llava.explain([SOURCE, "left or right ?", SOURCE], "attention")
    assert [len(one.tokens) for one in found] == [27, 5, 27]
    assert np.allclose(found[0].values, llava.explain(SOURCE, "attention").values, atol=1e-6)
    assert np.array_equal(found[0].values, found[2].values)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (PHOTO, r"Got an image, but LlavaForConditionalGeneration reads text with images in it. Give both"),
        ({"image": PHOTO}, "Got an image without a text. Give both"),
        ({"image": PHOTO, "text": " "}, "Got an image without a text"),
        ({"image": PHOTO, "images": [PHOTO], "text": "a"}, "got both. Leave one out"),
        ({"images": [], "text": "a"}, "at least one image"),
        ({"images": PHOTO, "text": "a"}, "images must be a list with at least one image"),
        ({"image": "none.png", "text": "a"}, "There is no image file none.png"),
        ({"image": PHOTO, "text": "<image> or <image>"}, "Found total 2 <image> tokens and 1 images"),
        ({"images": [PHOTO, PHOTO], "text": "<image> ?"}, "Found total 1 <image> tokens and 2 images"),
        ("is <image> red ?", r"The text holds 1 mark for images \(token 4\) but there is no image"),
        ({"input_ids": [[2, 4, 4, 5]]}, r"The text holds 2 marks for images \(token 4\) but there is no image"),
        (chat(image(), {"type": "video", "video": "a"}), "this one is {'type': 'video'"),
        (
            chat({"type": "image", "url": "http://a/b.png"}, text()),
            "contextmix fetches nothing. This part holds",
        ),
        (chat(image("https://a/b.png"), text()), "contextmix fetches nothing"),
        (chat(image("none.png"), text()), "There is no image file none.png"),
    ],
)
def test_what_does_not_fit_is_refused(llava, source, sentence):
    with pytest.raises(BadInput, match=sentence):
        llava.explain(source)


def test_models_that_read_one_of_both():
    with pytest.raises(BadInput, match="Got an image with a text, but BertModel reads text"):
        cm.load(build_text("bert"), word_pieces()).explain(SOURCE)
    with pytest.raises(BadInput, match="but ViTForImageClassification reads pixel_values alone"):
        seeing("vit").explain(SOURCE)
    with pytest.raises(BadInput, match=r"Kosmos2Model runs with an image alone .*Load its parts by themselves"):
        cm.load(build_swept("kosmos-2")).explain(SOURCE)


@pytest.mark.parametrize("name", FAMILIES)
def test_more_marks_than_images_and_fewer(name):
    model, reader = built(name)
    loaded = cm.load(model, reader)
    mark = "<boi>" if name == "gemma3" else reader.image_token
    with pytest.raises(BadInput, match=r"does not read this text with 1 image: .* 2 .* 1 images"):
        loaded.explain({"image": PHOTO, "text": f"{mark} is {mark} ?"})
    with pytest.raises(BadInput, match=r"does not read this text with 2 images: .* 1 .* 2 images"):
        loaded.explain({"images": [PHOTO, PHOTO], "text": f"{mark} ?"})


def test_code_of_a_processor_does_not_run_unless_it_is_allowed(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "own")
    (tmp_path / "own/own.py").write_text("raise SystemError('it ran')")
    settings = tmp_path / "own/processor_config.json"
    own = {**json.loads(settings.read_text()), "processor_class": "Own", "auto_map": {"AutoProcessor": "own.Own"}}
    settings.write_text(json.dumps(own))
    loaded = cm.load(str(tmp_path / "own"))
    assert loaded.explain("left or right ?", "attention").shape == (2, 5, 5)
    with pytest.raises(BadInput, match=r"without its processor \(it comes with its own code, .*trust_remote_code"):
        loaded.explain(SOURCE)


def test_a_missing_processor_or_that_of_another_model():
    model, reader = built("llava")
    with pytest.raises(BadInput, match="was loaded without its processor"):
        cm.load(model).explain(SOURCE)
    with pytest.raises(BadInput, match="was loaded without its processor"):
        cm.load(model, reader.tokenizer).explain(SOURCE)
    with pytest.raises(BadInput, match="makes pixel_attention_mask, which LlavaForConditionalGeneration does not read"):
        cm.load(model, built("idefics3")[1]).explain(SOURCE)
    with pytest.raises(
        BadInput, match=r"The processor does not match the model: LlavaFor.* its token 4, and the prompt"
    ):
        cm.load(model, built("internvl")[1]).explain(SOURCE)


def test_images_of_another_size_than_the_model_sees():
    model, reader = built("llava")
    reader.image_processor.crop_size = {"height": 40, "width": 40}
    with pytest.raises(BadInput, match=r"does not read these input_ids .*pixel_values"):
        cm.load(model, reader).explain(SOURCE)


def test_a_processor_without_a_template_says_what_to_give():
    model, reader = built("llava")
    reader.chat_template = None
    loaded = cm.load(model, reader)
    with pytest.raises(BadInput, match="LlavaProcessor has no chat template"):
        loaded.explain(chat(image(), text()))
    assert loaded.explain(SOURCE).tokens.pieces[1] == "r0c0"


def test_a_prompt_longer_than_the_model_reads():
    model, reader = built("llava")
    reader.tokenizer.model_max_length = 20
    with pytest.raises(TooLong):
        cm.load(model, reader).explain(SOURCE)


def test_tensors_of_several_sequences_say_whose_the_images_are(llava):
    (inputs,) = llava.encode(SOURCE)
    one = as_called({name: value.unsqueeze(0) for name, value in inputs.tensors.items()})
    both = {name: torch.cat([value, value]) for name, value in one.items()}
    assert [found.shape for found in llava.explain(both, "attention")] == [(2, 27, 27)] * 2
    with pytest.raises(BadInput, match=r"2 sequences came with pixel_values \(3, 3, 32, 32\)"):
        llava.explain({**both, "pixel_values": torch.cat([both["pixel_values"], one["pixel_values"]])})
    more = {**one, "input_ids": torch.cat([one["input_ids"], torch.tensor([[NUMBER["<image>"]]])], -1)}
    with pytest.raises(BadInput, match=r"does not read these input_ids .*Image features and image tokens do not match"):
        llava.explain(more)


def test_tensors_of_two_images_in_one_prompt_with_what_belongs_to_each():
    """LFM2-VL reads the shape of each image and a mask of its patches, one row for an image and not for a sequence."""
    model = sighted(build_swept("lfm2_vl"))
    one = picture_probe(model)
    beside = {name: torch.cat([value, value]) for name, value in one.items() if name != "input_ids"}
    both = {"input_ids": torch.cat([one["input_ids"], one["input_ids"]], 1), **beside}
    loaded = cm.load(model)
    (inputs,) = loaded.encode(both)
    read = as_called({name: value.unsqueeze(0) for name, value in inputs.tensors.items()})
    assert read.keys() == both.keys()
    assert all(torch.equal(read[name], both[name]) for name in both)
    assert loaded.explain(both, "globenc")[0].shape[-1] == 2 * one["input_ids"].shape[1]


def test_what_a_tower_made_is_refused(llava):
    with pytest.raises(BadInput, match=r"contextmix does not read mm_encoder_outputs.*give the images"):
        llava.explain({"input_ids": [[2, 5]], "mm_encoder_outputs": {"image": None}})


def test_rows_end_at_the_image_places_and_results_say_so(llava):
    found = llava.explain(SOURCE, "globenc")
    assert "what the image tower mixed before" in found.provenance.notes["rows_end_at"]
    assert "rows_end_at" not in llava.explain("left ?", "globenc").provenance.notes


def test_what_is_no_prompt_with_images():
    assert asked_of("a text") is None
    assert asked_of([{"role": "user", "content": "a text"}]) is None
    assert asked_of([{"role": "user", "content": [text()]}]) is None
    assert asked_of({"text": "a", "text_pair": "b"}) is None
    assert asked_of({"text": "a"}) is None

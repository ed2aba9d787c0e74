"""The sweep on prompts with images: what counts as whole, and that a map which hides something is called wrong."""

from typing import Any

import pytest
import torch
from scripts.sweep import pictured as pictured_module
from scripts.sweep.build import build
from scripts.sweep.examine import examine
from scripts.sweep.page import write_page
from scripts.sweep.pictured import TEXT_ALONE, pictured, sighted
from scripts.sweep.pictures import NoPicture, picture_probe
from tests.tracing.tiny import one_thread

import contextmix as cm


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


@pytest.mark.parametrize(
    ("model_type", "inputs", "causal"),
    [
        ("llava", "input_ids, pixel_values", True),  # pixels of one image
        ("idefics3", "input_ids, pixel_values", True),  # images on an axis of their own
        (
            "qwen2_vl",
            "input_ids, pixel_values, image_grid_thw, mm_token_type_ids",
            True,
        ),  # patches, cut already
        ("gemma3", "input_ids, pixel_values, token_type_ids", False),  # an image sees all of itself
    ],
)
def test_a_type_is_whole_with_an_image_too(model_type: str, inputs: str, causal: bool):
    found = examine(model_type)
    assert (found["status"], found["part"], found["inputs"], found["causal"]) == ("verified", "", inputs, causal)


def test_features_between_blocks_are_swept():
    report, given, causal = pictured(build("qwen3_vl"))
    assert report.checks.added == (1,)
    assert int(given["pixel_values"].shape[0]) == 16
    assert causal


def test_a_type_whose_images_are_refused_is_verified_for_text_alone(tmp_path: Any):
    found = examine("mllama")
    assert (found["status"], found["inputs"]) == ("verified", "input_ids")
    assert found["part"].split(", ")[0] == TEXT_ALONE  # behind it, parts that are read by themselves
    assert "images reach the text in another way than as tokens" in found["reason"]
    page = tmp_path / "models.md"
    write_page({"versions": cm.models().attrs["versions"], "models": {"mllama": found}}, page)
    written = page.read_text(encoding="utf-8")
    assert f"| `mllama` | MllamaModel | `{found['part']}` |" in written
    assert "a prompt with an image is refused" in written


def test_a_map_that_hides_a_later_place_of_an_image_is_called_wrong(monkeypatch: pytest.MonkeyPatch):
    plain = pictured_module.layers_of

    def hidden(*given: Any) -> Any:
        layers = plain(*given)
        for layer in layers:
            layer.attention.copy_(layer.attention.tril())
        return layers

    monkeypatch.setattr(pictured_module, "layers_of", hidden)
    found = examine("gemma3")
    assert found["status"] == "wrong"
    assert "a change of a position reaches earlier ones" in found["reason"]


def test_a_probe_fills_its_places_and_reaches_what_is_said():
    model = sighted(build("llava"))
    given = picture_probe(model)
    assert int((given["input_ids"] == model.config.image_token_id).sum()) == 16
    with torch.no_grad():
        one, other = (model(**{**given, "pixel_values": given["pixel_values"] + more})[0] for more in (0, 1))
    assert not torch.allclose(one, other)


def test_where_no_prompt_can_be_made_nothing_is_said():
    with pytest.raises(NoPicture, match="names no token that holds the place of an image"):
        picture_probe(build("git"))

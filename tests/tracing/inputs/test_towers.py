"""Which models have towers: found by what their parts read and which features need one input alone."""

import pytest
import transformers
from tests.tracing.pictured import built
from tests.tracing.tiny import build
from tests.tracing.twin import clip, siglip

from contextmix.tracing.inputs.towers import Tower, outermost, towers_of


def test_each_tower_is_what_reads_one_kind_of_input() -> None:
    found = towers_of(clip())
    assert found["text"] == Tower("text", "text_model", "input_ids", "get_text_features")
    assert found["image"] == Tower("image", "vision_model", "pixel_values", "get_image_features")
    assert towers_of(siglip()).keys() == {"text", "image"}


def test_a_part_that_inherits_another_main_input_is_known_by_what_it_is_called_with() -> None:
    config = transformers.OwlViTConfig(
        text_config={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
        vision_config={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
    )
    model = transformers.OwlViTModel(config)
    assert model.vision_model.main_input_name == "input_ids"
    assert towers_of(model)["image"].main == "pixel_values"


def test_a_sound_tower() -> None:
    config = transformers.ClapConfig(text_config={"num_hidden_layers": 1}, audio_config={"depths": [1, 1, 1, 1]})
    assert towers_of(transformers.ClapModel(config))["sound"].main == "input_features"


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "idefics3"])
def test_a_model_of_texts_with_images_has_none(name: str) -> None:
    assert towers_of(built(name)[0]) == {}


def test_a_model_of_one_stack_has_none() -> None:
    assert towers_of(build("bert")) == {}


def test_outermost_parts_hold_those_inside_of_them() -> None:
    assert list(outermost(clip())) == ["text_model", "vision_model"]

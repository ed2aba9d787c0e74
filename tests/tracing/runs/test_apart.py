"""Towers that are no models of their own are refused."""

from typing import Any

import pytest
import torch
from tests.tracing.twin import clip

from contextmix.errors import UnsupportedModel
from contextmix.tracing.inputs.towers import towers_of
from contextmix.tracing.runs.apart import refuse_joined
from contextmix.tracing.runs.side import side_of


class Joined(type(clip())):  # type: ignore[misc]
    """Its text tower reads what the image tower said, or a third stack attends to both."""

    def forward(self, input_ids: torch.Tensor, pixel_values: torch.Tensor, **more: Any) -> Any:
        image = self.get_image_features(pixel_values).pooler_output
        beside = getattr(self, "beside", None)
        if beside is not None:
            beside(image[:, None].expand(-1, 2, -1), attention_mask=None)
            return super().forward(input_ids, pixel_values, **more)

        def add(module: Any, args: Any, output: Any) -> Any:
            return output + image.std() * output.flip(-1)

        with self.text_model.embeddings.register_forward_hook(add):
            return super().forward(input_ids, pixel_values, **more)


def sides(model: Any) -> list[Any]:
    return [side_of(model, tower) for tower in towers_of(model).values()]


def test_two_models_of_their_own_pass() -> None:
    model = clip()
    refuse_joined(model, sides(model))


def test_a_tower_that_reads_the_other_is_refused() -> None:
    model = clip()
    model.__class__ = Joined
    with pytest.raises(UnsupportedModel, match=r"its text tower .text_model. gives something else in the whole model"):
        refuse_joined(model, sides(model))


def test_attention_beside_the_towers_is_refused() -> None:
    model = clip()
    config = type(model.text_model.config)(hidden_size=12, num_attention_heads=2, intermediate_size=8)
    model.beside = type(model.text_model.encoder.layers[0].self_attn)(config)
    model.beside.config = model.config  # it is switched with the whole model
    model.__class__ = Joined
    with pytest.raises(UnsupportedModel, match="CLIPAttention attends beside the towers"):
        refuse_joined(model, sides(model))

"""One side of a model of two towers as a model: its outputs, its scores, and the scale of these."""

import copy

import pytest
import torch
import transformers
from tests.tracing.senses import SIZES
from tests.tracing.twin import TEXT, clip, siglip
from torch import nn

from contextmix.errors import UnsupportedModel
from contextmix.tracing.inputs.probe import default_probe
from contextmix.tracing.inputs.towers import towers_of
from contextmix.tracing.runs.side import Others, Scale, Side, own_scale, side_of


def sides(model: nn.Module) -> list[Side]:
    return [side_of(model, tower) for tower in towers_of(model).values()]  # type: ignore[arg-type]


def test_a_side_bears_the_name_of_its_tower_and_leaves_its_configuration_alone() -> None:
    model = clip()
    before = model.vision_model.config.to_dict()
    side = side_of(model, towers_of(model)["image"])
    assert type(side).__name__ == "CLIPVisionModel"
    assert side.main_input_name == "pixel_values"
    assert model.vision_model.config.to_dict() == before
    assert {id(weight) for weight in side.parameters()} == {id(weight) for weight in model.parameters()}


@pytest.mark.parametrize("build", [clip, siglip])
def test_scale_and_offset_are_those_of_the_model(build: object) -> None:
    model = build()  # type: ignore[operator]
    found = own_scale(model, sides(model))
    assert found.own
    assert found.unit
    assert found.scale == pytest.approx(model.logit_scale.exp().item(), rel=1e-4)
    assert found.offset == pytest.approx(getattr(model, "logit_bias", torch.zeros(1)).item(), abs=1e-4)


def test_scores_that_are_no_line_over_the_products_are_not_the_models_own(monkeypatch: pytest.MonkeyPatch) -> None:
    model = clip()
    forward = model.forward

    def bent(**inputs: object) -> object:
        outputs = forward(**inputs)
        return {name: value**3 for name, value in outputs.items() if isinstance(value, torch.Tensor)}

    monkeypatch.setattr(model, "forward", bent)
    assert own_scale(model, sides(model)) == Scale()


def test_scores_are_rows_of_the_models_own_logits() -> None:
    model = clip(torch.float64)
    text, image = sides(model)
    probes = [default_probe(side) for side in (text, image)]
    probes[1] = {name: value.double() for name, value in probes[1].items()}
    others = Others(("it",), text.features(probes[0]), own_scale(model, [text, image]))
    scored = side_of(model, towers_of(model)["image"], others)
    with torch.no_grad():
        expected = model(**probes[0], **probes[1]).logits_per_image
        found = scored(**probes[1]).logits
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)
    assert scored.config.id2label == {0: "it"}


def test_features_that_cannot_be_had_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = clip()
    side = side_of(model, towers_of(model)["text"])

    def broken(**inputs: object) -> object:
        raise TypeError("'NoneType' object is not subscriptable")

    monkeypatch.setattr(model, "get_text_features", broken)
    with pytest.raises(UnsupportedModel, match="get_text_features does not run"):
        side.features(default_probe(side))


def test_a_copy_runs_its_own_weights() -> None:
    """Weights of a copy are randomised elsewhere; a call that kept hold of the first model would run that one."""
    side = sides(clip())[0]
    other = copy.deepcopy(side)
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
        moved = (other(**default_probe(side))[0] - side(**default_probe(side))[0]).abs().max()
    assert moved > 0.1


def test_a_side_is_tried_on_what_its_tower_reads() -> None:
    """SigLIP 2 reads patches with their mask and grid; the first matrix of the whole model belongs to its texts."""
    config = transformers.Siglip2Config(
        text_config={**TEXT, "hidden_size": 24, "num_attention_heads": 2, "projection_size": 16},
        vision_config={**SIZES, "patch_size": 4, "num_patches": 16},
    )
    model = transformers.Siglip2Model(config).eval()
    side = side_of(model, towers_of(model)["image"])
    assert default_probe(side).keys() == {"pixel_values", "pixel_attention_mask", "spatial_shapes"}
    assert default_probe(side)["pixel_values"].shape[-1] == 4 * 4 * 3

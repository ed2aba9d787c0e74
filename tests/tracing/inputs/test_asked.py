"""Inputs are made from what the call of a model names, so that it can be tried without any."""

from typing import Any

import pytest
import transformers
from tests.tracing.tiny import MARKS, SIZES, vivid
from transformers import CONFIG_MAPPING
from transformers.models.deepseek_ocr2 import modeling_deepseek_ocr2
from transformers.models.qwen3_omni_moe import modeling_qwen3_omni_moe

import contextmix as cm
from contextmix.tracing.inputs.probe import LENGTH, default_probe
from contextmix.tracing.recording.quiet import BESIDE, plain_names

BODY = {name: size for name, size in SIZES.items() if name not in ("vocab_size", "max_position_embeddings")}
TEXT = {**SIZES, **MARKS}


def seen(name: str, config: Any) -> transformers.PreTrainedModel:
    """A tower of a module that its package does not export at the top."""
    return vivid(getattr(transformers, name)._from_config(config))


def qwen2() -> Any:
    from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel as Tower

    config = CONFIG_MAPPING["qwen2_vl_vision"](
        embed_dim=16, hidden_size=16, depth=2, num_heads=2, patch_size=2, mlp_ratio=2
    )
    return vivid(Tower(config))


def siglip2() -> Any:
    return seen("Siglip2VisionModel", transformers.Siglip2VisionConfig(**BODY, patch_size=2, num_patches=16))


def pix2struct() -> Any:
    body = {"hidden_size": 16, "patch_embed_hidden_size": 12, "d_ff": 32, "d_kv": 8}
    own = {"num_hidden_layers": 2, "num_attention_heads": 2, "seq_len": 32}
    return seen("Pix2StructVisionModel", transformers.Pix2StructVisionConfig(**body, **own))


def bros() -> Any:
    return vivid(transformers.BrosModel(transformers.BrosConfig(**{**SIZES, "hidden_size": 64}, pad_token_id=0)))


def times() -> Any:
    sizes = {**BODY, "num_key_value_heads": 2, "head_dim": 8, "patch_length": 4, "context_length": 32}
    return vivid(transformers.TimesFm2_5Model(transformers.TimesFm2_5Config(**sizes)))


def vectors() -> Any:
    return vivid(transformers.FlavaMultimodalModel(transformers.FlavaMultimodalConfig(**BODY)))


def flamingo() -> Any:
    from transformers.models.audioflamingo3.modeling_audioflamingo3 import AudioFlamingo3Encoder as Tower

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return vivid(Tower(transformers.AudioFlamingo3EncoderConfig(**sizes, num_mel_bins=6, max_source_positions=9)))


def predictor() -> Any:
    """Its call names token ids, and it refuses them."""
    name = "qwen3_omni_moe_talker_code_predictor"
    sizes = {**SIZES, "num_key_value_heads": 1, "head_dim": 8, "num_code_groups": 2}
    return vivid(modeling_qwen3_omni_moe.Qwen3OmniMoeTalkerCodePredictorModel(CONFIG_MAPPING[name](**sizes)))


def halves() -> Any:
    """The first so many of its vectors see each other; the others see what is before them."""
    sizes = {**BODY, "num_key_value_heads": 1, "max_position_embeddings": 24, "vocab_size": 40}
    return vivid(modeling_deepseek_ocr2.DeepseekOcr2VisionEncoder(CONFIG_MAPPING["deepseek_ocr2_encoder"](**sizes)))


@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        (qwen2, {BESIDE + "hidden_states": (1, 16, 24), BESIDE + "grid_thw": (1, 1, 3)}),
        (siglip2, {"pixel_values": (1, 16, 12), "pixel_attention_mask": (1, 16), "spatial_shapes": (1, 2)}),
        (pix2struct, {"flattened_patches": (1, 16, 14)}),
        (bros, {"input_ids": (1, LENGTH), "bbox": (1, LENGTH, 4)}),
        (times, {"past_values": (1, 32)}),
        (vectors, {"hidden_states": (1, LENGTH, 16)}),
        (predictor, {"inputs_embeds": (1, LENGTH, 16)}),
        (halves, {"inputs_embeds": (1, LENGTH, 16), "num_patches": ()}),
        (flamingo, {"input_features": (1, 6, 18), "input_features_mask": (1, 18)}),
    ],
)
def test_a_model_is_checked_on_what_its_call_asks_for(model: Any, shapes: dict[str, tuple[int, ...]]):
    own = model()
    assert {name: tuple(value.shape) for name, value in default_probe(own).items()} == shapes
    report = cm.load(own).check()
    assert report.checks.layers == 2
    assert max(report.checks.conservation, report.checks.block_equation, report.parity) < 1e-5


def test_names_are_those_of_the_call():
    assert plain_names(default_probe(qwen2())) == ("hidden_states", "grid_thw")

"""A model of any modality is tried on a short input that fits it."""

from typing import Any

import pytest
import torch
import transformers
from tests.tracing.tiny import MARKS, SIZES, build, vivid

import contextmix as cm
from contextmix.errors import BadInput
from contextmix.tracing.inputs.probe import LENGTH, default_probe

BODY = {name: size for name, size in SIZES.items() if name not in ("vocab_size", "max_position_embeddings")}
WAVE = {"conv_dim": (8, 8), "conv_stride": (4, 2), "conv_kernel": (8, 2), "num_feat_extract_layers": 2}
WAVE["num_conv_pos_embedding_groups"] = 2
HEARING = {"encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
IMAGE = {"image_size": 8, "patch_size": 4}


def make(name: str, **own: Any) -> transformers.PreTrainedModel:
    return vivid(getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**own)))


def clip() -> transformers.PreTrainedModel:
    sizes = {**BODY, "projection_dim": 16}
    text = {**sizes, **MARKS, "vocab_size": 40, "max_position_embeddings": 24}
    return make("CLIP", text_config=text, vision_config={**sizes, **IMAGE}, projection_dim=16)


def whisper() -> transformers.PreTrainedModel:
    writing = {name.replace("encoder", "decoder"): size for name, size in HEARING.items()}
    sizes = {"d_model": 16, "vocab_size": 40}
    return make("Whisper", **sizes, **HEARING, **writing, num_mel_bins=6, max_source_positions=9, **MARKS)


@pytest.mark.parametrize(
    ("model", "name", "shape", "layout"),
    [
        (lambda: make("ViT", **BODY, **IMAGE), "pixel_values", (1, 3, 8, 8), "pre-norm"),
        (lambda: make("Dinov2", **BODY, **IMAGE), "pixel_values", (1, 3, 8, 8), "pre-norm"),
        (lambda: make("VideoMAE", **BODY, **IMAGE, num_frames=4), "pixel_values", (1, 4, 3, 8, 8), "pre-norm"),
        (lambda: make("Wav2Vec2", **BODY, **WAVE), "input_values", (1, 64), "post-norm"),
        (lambda: make("AST", **BODY, max_length=48, num_mel_bins=32), "input_values", (1, 48, 32), "pre-norm"),
        (lambda: whisper().get_encoder(), "input_features", (1, 6, 18), "pre-norm"),
    ],
)
def test_images_and_sound_are_probed_and_checked(model: Any, name: str, shape: tuple[int, ...], layout: str):
    own = model()
    assert {name: tuple(value.shape) for name, value in default_probe(own).items()} == {name: shape}
    report = cm.load(own).check()
    assert report.anatomy.layouts == (layout,)
    assert len(report.anatomy.blocks) == report.checks.layers == 2
    assert max(report.checks.conservation, report.checks.block_equation, report.parity) < 1e-5


def test_an_encoder_decoder_of_sound_is_checked_without_input():
    report = cm.load(whisper()).check()
    assert report.checks.layers == 4
    assert max(report.checks.conservation, report.checks.block_equation, report.parity) < 1e-5


def test_a_probe_is_the_same_on_every_call():
    model = make("ViT", **BODY, **IMAGE)
    assert torch.equal(default_probe(model)["pixel_values"], default_probe(model)["pixel_values"])


def test_a_text_probe_holds_no_mark():
    marks = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": [2, 3]}
    (ids,) = default_probe(build("llama", vocab_size=6, **marks)).values()
    assert ids.shape == (1, LENGTH)
    assert set(ids.flatten().tolist()) <= {4, 5}


def test_a_text_probe_is_no_longer_than_the_model_reads():
    assert default_probe(build("bert", max_position_embeddings=3), limit=3)["input_ids"].shape == (1, 3)


def test_a_model_of_text_and_images_is_given_both():
    assert {name: tuple(value.shape) for name, value in default_probe(clip()).items()} == {
        "input_ids": (1, LENGTH),
        "pixel_values": (1, 3, 8, 8),
    }


def test_a_model_that_runs_on_no_probe_says_what_to_give():
    config = transformers.SpeechT5HifiGanConfig(model_in_dim=4, upsample_initial_channel=16)
    model = transformers.SpeechT5HifiGan(config)
    with pytest.raises(
        BadInput, match=r"SpeechT5HifiGan reads spectrogram, and there is no default input.*'spectrogram'"
    ):
        cm.load(model).check()


def test_a_model_that_refuses_every_shape_says_the_first_reason():
    model = make("ViT", **BODY, **IMAGE)

    def fail(*_: Any) -> None:
        raise ValueError("no images today")

    model.embeddings.register_forward_pre_hook(fail)
    with pytest.raises(BadInput, match=r"were tried; pixel_values \(1, 3, 8, 8\): ValueError: no images today"):
        default_probe(model)

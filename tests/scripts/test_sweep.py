"""The sweep over every model type, on a few of them; and the record of the full one, which the package carries."""

import os
import signal
import time
from typing import Any

import pytest
import torch
import transformers
from scripts.sweep import __main__ as sweep_module
from scripts.sweep import causality as causality_module
from scripts.sweep.build import build
from scripts.sweep.examine import examine
from scripts.sweep.kinds import kinds_of
from scripts.sweep.page import PAGE, write_page
from scripts.sweep.shrink import SCALES, tiny_config
from tests.tracing.tiny import one_thread

import contextmix as cm
from contextmix.errors import UnknownName
from contextmix.support import STATUSES

VERIFIED = {  # model type → part, layouts, causal
    "albert": ("", "post-norm", False),  # one shared block
    "bert": ("", "post-norm", False),
    "modernbert": ("", "no norm, pre-norm", False),  # local and global layers
    "gpt2": ("", "pre-norm", True),  # weights the other way round
    "llama": ("", "pre-norm", True),  # grouped keys, rotary positions, gated
    "granite": ("", "pre-norm", True),  # scaled by a number
    "gemma2": ("", "sandwich", True),  # capped scores, sliding windows
    "olmo2": ("", "norm on output", True),
    "gpt_neox": ("", "parallel", True),
    "cohere": ("", "parallel", True),
    "mixtral": ("", "pre-norm", True),  # a mixture of experts
    "deepseek_v3": ("", "pre-norm", True),  # values of another width than queries
    "gpt_oss": ("", "pre-norm", True),  # attention sinks
    "granite_swa": ("", "pre-norm", True),  # a sink that its weights do not hold
    "afmoe": ("", "sandwich", True),  # a gate per channel behind the heads
    "bitnet": ("", "pre-norm", True),  # a norm behind them
    "t5": ("", "pre-norm", True),  # encoder and decoder, relative positions
    "dinov2": ("", "pre-norm", False),  # scaled by a vector
    "wav2vec2": ("", "post-norm", False),
    "bloom": ("", "pre-norm", True),  # these compute attention outside of the registry
    "deberta-v2": ("", "post-norm", False),
    "kimi_linear": ("", "pre-norm", True),  # these mix tokens without attention
    "mamba2": ("", "pre-norm, no feed-forward part", True),
    "clip": ("", "pre-norm", False),  # two towers
    "vision-encoder-decoder": ("", "pre-norm, post-norm", True),  # any encoder with any decoder
    "groupvit": ("text_model", "pre-norm", True),
    "qwen2_vl_vision": ("", "pre-norm", False),  # patches in one row, without a batch axis
    "siglip2_vision_model": ("", "pre-norm", False),  # patches with a mask
    "deepseek_ocr2_encoder": ("", "pre-norm", False),  # of its vectors the first few see each other
    "bros": ("", "post-norm", False),  # words with boxes
    "pix2struct": ("", "pre-norm", True),  # patches to text
}
REFUSED = {  # model type → a phrase of the reason
    "neomme": "is not the heads' output times a gate",
    "rwkv": "blocks.1.feed_forward.time_shift (ZeroPad2d) mixes tokens behind attention",  # it reads the token before
    "zamba2": "nothing carries what attention wrote around it",  # attention, a feed-forward part, and Mamba reads that
    "diffllama": "cannot be read",
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


@pytest.mark.parametrize("model_type", VERIFIED)
def test_a_model_type_of_each_layout_is_verified(model_type: str):
    found = examine(model_type)
    assert (found["status"], found["reason"] != "") == ("verified", found["part"] != ""), found
    assert (found["part"], found["layouts"], found["causal"]) == VERIFIED[model_type]
    assert found["blocks"] >= 2
    assert max(found[check] for check in ("conservation", "block_equation", "parity")) <= 1e-4


@pytest.mark.parametrize("model_type", REFUSED)
def test_a_model_type_that_cannot_be_read_is_refused_with_the_reason(model_type: str):
    found = examine(model_type)
    assert found["status"] == "refused"
    assert REFUSED[model_type] in found["reason"]


def test_what_cannot_be_built_is_not_tried():
    found = examine("exaone")
    assert (found["status"], found["part"], found["conservation"]) == ("not tried", "", None)
    assert "its code does not load here" in found["reason"]


def test_a_config_without_a_model_says_what_it_is_part_of():
    found = examine("sam_mask_decoder")
    assert (found["status"], found["part"], found["conservation"]) == ("inside another", "", None)
    assert found["reason"] == "transformers has no model class for this config alone; it is part of sam"


@pytest.mark.parametrize(
    ("model_type", "name"),
    [
        ("musicgen", "MusicgenForConditionalGeneration"),  # and not its decoder, which is called Model
        ("blip_text_model", "BlipTextModel"),  # in a file of another name
        ("vitpose_backbone", "VitPoseBackbone"),  # and not its encoder, which stands first
    ],
)
def test_the_class_is_what_a_user_loads(model_type: str, name: str):
    assert type(build(model_type)).__name__ == name


def test_no_weight_of_a_swept_model_hides_something():
    model = build("gemma2")
    for name, weight in model.named_parameters():
        assert weight.std() > 0.1, name
        assert not bool((weight == 0).any() or (weight == 1).any()), name


@pytest.mark.parametrize("scale", SCALES[:-1])
def test_a_config_keeps_every_kind_of_layer(scale: Any):
    config = tiny_config("gemma3_text", scale)
    assert config.layer_types == ["sliding_attention", "full_attention"]
    assert (config.num_hidden_layers, config.hidden_size) == (2, scale.width)
    assert config.sliding_window < 7


def test_a_model_has_every_kind_of_layer_that_its_code_knows():
    assert set(tiny_config("lfm2").layer_types) == {"full_attention"}  # which no checkpoint has alone
    assert kinds_of(build("lfm2").config) == ("full_attention", "conv")
    assert kinds_of(build("bert").config) == ()
    assert examine("gemma2")["kinds"] == "sliding_attention, full_attention"


def test_a_kind_that_does_not_run_is_left_out():
    """The code of `qwen2_5_omni` knows sliding attention, and its audio tower has no such layers."""
    assert kinds_of(build("qwen2_5_omni_audio_encoder").config) == ()
    glimmer = build("muse_glimmer").config  # its tower has windows, and its text has not, in one file
    assert glimmer.text_config.layer_types == ["sliding_attention", "full_attention"]
    assert glimmer.vision_config.layer_types == ["window_attention", "full_attention"]


def test_a_field_that_is_kept_by_another_name_is_shrunk():
    assert tiny_config("inkling_vision").n_layers == 2


def test_layers_that_are_named_by_number_are_some_of_the_small_ones():
    config = tiny_config("qwen2_5_vl_vision")
    assert (config.depth, config.fullatt_block_indexes) == (2, [1])
    assert tiny_config("mllama_vision_model").intermediate_layers_indices == [1]
    assert tiny_config("minicpmv4_6_vision").insert_layer_id == 0


def test_windows_are_smaller_than_what_is_read():
    """Else they would act like attention to all, and the record would speak of another model."""
    config = tiny_config("qwen2_5_vl_vision")
    assert config.window_size == config.patch_size * config.spatial_merge_size  # of 16 patches, 4
    swin = tiny_config("swin")
    assert (swin.window_size, swin.image_size // swin.patch_size) == (2, 16)


def test_a_backbone_has_a_layer_for_each_stage_that_is_read():
    config = tiny_config("depth_anything")
    assert len(config.neck_hidden_sizes) == 4
    assert (config.backbone_config.num_hidden_layers, list(config.backbone_config.out_indices)) == (4, [1, 2, 3, 4])


def test_a_config_keeps_what_it_says_of_its_parts():
    """A vision tower alone has no patches over time, and that of this model has."""
    assert tiny_config("nemotron_h_omni").vision_config.video_temporal_patch_size == 2
    assert tiny_config("apertus1p5").audio_config.codebook_dim == tiny_config("apertus1p5").audio_config.hidden_size


def test_a_part_that_is_refused_is_opened_beside_one_that_is_proved():
    assert examine("pi0")["part"] == "dit, vlm.vision_tower"


def test_fields_that_follow_from_others_fit_them():
    mamba = tiny_config("mamba2")
    assert mamba.num_heads * mamba.head_dim == mamba.hidden_size * mamba.expand
    flash = tiny_config("longcat_flash")
    assert flash.head_dim == flash.qk_rope_head_dim
    qwen = tiny_config("qwen3_5_text")
    assert qwen.linear_num_value_heads == 2 * qwen.linear_num_key_heads


@pytest.mark.parametrize("model_type", ["bert", "deepseek_ocr2_encoder"])
def test_a_map_that_hides_a_later_token_is_called_wrong(model_type: str, monkeypatch: pytest.MonkeyPatch):
    plain = causality_module.one_stack

    def hidden(*given: Any) -> Any:
        layers = plain(*given)
        for layer in layers:
            layer.attention.copy_(layer.attention.tril())
        return layers

    assert examine(model_type)["status"] == "verified"
    monkeypatch.setattr(causality_module, "one_stack", hidden)
    found = examine(model_type)
    assert found["status"] == "wrong"
    assert "reaches earlier ones, and the attention above the diagonal is at most 0.0e+00" in found["reason"]


def test_a_map_that_shows_a_later_token_that_the_model_hides_is_called_wrong(monkeypatch: pytest.MonkeyPatch):
    plain = causality_module.one_stack

    def shown(*given: Any) -> Any:
        layers = plain(*given)
        layers[0].attention[..., 0, 1] = 1e-30
        return layers

    monkeypatch.setattr(causality_module, "one_stack", shown)
    assert examine("llama")["status"] == "wrong"


def test_a_map_that_shows_more_early_tokens_than_the_model_does_is_called_wrong(monkeypatch: pytest.MonkeyPatch):
    plain = causality_module.one_stack

    def shown(*given: Any) -> Any:
        layers = plain(*given)
        layers[0].attention[..., 0, 4] = 1e-30  # the first three see each other
        return layers

    monkeypatch.setattr(causality_module, "one_stack", shown)
    assert "positions up to 4 of 6" in examine("deepseek_ocr2_encoder")["reason"]


@pytest.mark.parametrize(
    ("accident", "said"),
    [
        (lambda _: time.sleep(60), "it took longer than 1 s"),
        (lambda _: os._exit(3), "its process ended"),
        (lambda _: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
        (lambda _: torch.zeros(1 << 40), "its process ended"),
    ],
)
def test_no_model_can_end_the_sweep(accident: Any, said: str, monkeypatch: pytest.MonkeyPatch):
    def one(model_type: str) -> dict[str, Any]:
        return accident(model_type) if model_type == "bad" else {"status": "verified"}

    monkeypatch.setattr(sweep_module, "examine", one)
    monkeypatch.setattr(sweep_module, "SECONDS", 1)
    found = dict(sweep_module.sweep(["good", "bad", "fine"], workers=2))
    assert found["good"] == found["fine"] == {"status": "verified"}
    assert found["bad"]["status"] == "not tried"
    assert said in found["bad"]["reason"]


# The record ----------------------------------------------------------------------------------------------------------


def test_the_record_says_something_of_every_model_type():
    frame = cm.models()
    if frame.attrs["versions"]["transformers"] == transformers.__version__:
        assert set(frame.index) == set(transformers.CONFIG_MAPPING.keys())
    statuses = set(frame["status"])
    assert {"verified", "refused", "not tried"} <= statuses <= set(STATUSES)  # and none that is wrong
    assert (frame["reason"].str.len() > 0)[frame["status"] != "verified"].all()


def test_two_hundred_types_are_verified_within_the_tolerance():
    whole = cm.models(status="verified").query("part == ''")
    assert len(whole) >= 200
    errors = whole[["conservation", "block_equation", "parity"]]
    assert errors.notna().all(axis=None)
    assert errors.max(axis=None) <= 1e-4
    assert {"pre-norm", "post-norm", "sandwich", "parallel", "norm on output"} <= set(whole["layouts"])


def test_a_decoder_whose_map_hides_a_later_token_is_called_wrong(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(causality_module, "_reached_by_id", lambda *_: True)
    found = examine("bart")
    assert found["status"] == "wrong"
    assert "reaches earlier ones" in found["reason"]


@pytest.mark.parametrize("model_type", ["bert", "gemma2", "t5", "groupvit", "bloom"])
def test_the_record_is_what_is_found_today(model_type: str):
    row, found = cm.models(model_type).loc[model_type], examine(model_type)
    assert row[["status", "part", "layouts"]].to_dict() == {name: found[name] for name in ("status", "part", "layouts")}


def test_a_model_type_or_status_that_does_not_exist_is_refused():
    with pytest.raises(UnknownName, match="Did you mean 'llama'"):
        cm.models("lama")
    with pytest.raises(UnknownName, match="There is no status 'verify'"):
        cm.models(status="verify")


def test_the_page_is_made_of_the_record(tmp_path: Any):
    frame = cm.models()
    page = tmp_path / "models.md"
    write_page({"versions": frame.attrs["versions"], "models": frame.to_dict(orient="index")}, page)
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


def test_the_readme_says_what_the_record_says():
    frame, text = cm.models(), " ".join((PAGE.parents[1] / "README.md").read_text(encoding="utf-8").split())
    verified = frame[frame["status"] == "verified"]
    whole, parts = (verified["part"] == "").sum(), (verified["part"] != "").sum()
    assert f"Of the {len(frame)} model types of transformers" in text
    assert f"{whole} pass every check whole and {parts} in part" in text

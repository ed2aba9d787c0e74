"""What no field of a small config says by itself: what follows from others, and what some types cannot do without."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

# What the default config of a type leaves open, and every checkpoint says.
_ROPE = {"rope_type": "default", "rope_theta": 1e4}
_GIVEN: dict[str, dict[str, Any]] = {
    "apertus1p5": {
        "image_token_offset": 8,
        "audio_token_offset": 40,
        "vision_config": {"codebook_size": 32, "base_channels": 32},
        "audio_config": {"codebook_size": 16, "codebook_dim": 64},
    },
    "bamba": {"attn_layer_indices": [1]},
    "chameleon": {"vocabulary_map": {"<image>": 4, **{f"IMGIMGBS{letter}Z": 5 + n for n, letter in enumerate("ABC")}}},
    "cohere_compass_text": {
        "rope_parameters": {
            "full_attention": {**_ROPE, "mrope_section": [4, 2, 2]},
            "sliding_attention": {**_ROPE, "mrope_section": [4, 2, 2]},
        }
    },
    "dbrx": {"attn_config": {"rope_theta": 1e4, "clip_qkv": 8.0}},
    "emu3": {"vocabulary_map": {"<image>": 4, "<|extra_200|>": 5, "<|visual token 000000|>": 6}},
    "emu3_vqgan": {"base_channels": 32},
    "fun_asr_nano": {"adaptor_config": {"intermediate_size": 16}},
    "gemma3n_text": {
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "activation_sparsity_pattern": [0.95, 0.0, 0.95, 0.0],
        "intermediate_size": [96] * 4,
    },
    "granite4_vision": {
        "deepstack_layer_map": [[-1, 0]],
        "downsample_rate": "1/2",
        "spatial_target_layers": [1] * 4,
    },
    "hunyuan_vl_text": {"rope_parameters": {**_ROPE, "mrope_section": [2, 2, 2, 2]}},
    "molmo2_adapter": {"vision_feature_layer": [1, 0]},
    "moonshine_streaming": {"num_key_value_heads": 4},
    "pix2struct_text_model": {"initializer_range": 0.02},
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 4,
        "indexer_compress_ratio": 2,
    },
    "qwen3_omni_moe_talker_text": {"shared_expert_intermediate_size": 96},
    "shieldgemma2": {"yes_token_index": 10, "no_token_index": 11},
    "t5gemma2_decoder": {"dropout_rate": 0.0},
    "t5gemma2_encoder": {"dropout_rate": 0.0},
    "t5gemma2_text": {"dropout_rate": 0.0},
    "vibevoice_acoustic_tokenizer": {"num_filters": 4, "depths": [1] * 7},
    "vibevoice_acoustic_tokenizer_decoder": {"num_filters": 4, "depths": [1] * 7},
    "vibevoice_acoustic_tokenizer_encoder": {"num_filters": 4, "depths": [1] * 7},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "attention_hidden_size": 128,
        "attention_head_dim": 32,
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,  # which share their weights
    },
}


def mended(config: PreTrainedConfig, found: dict[str, Any]) -> dict[str, Any]:
    """The fields of a small config, made to fit each other.

    Args:
        config: The large one.
        found: What was made smaller; what is missing stays.
    """

    def large(name: str) -> Any:
        return vars(config).get(name)

    def small(name: str) -> Any:
        return found.get(name, large(name))

    fitting: dict[str, Any] = {}
    width, head = small("hidden_size"), small("head_dim")
    if large("expand") and large("num_heads") and isinstance(head, int) and isinstance(width, int):
        fitting["num_heads"] = width * large("expand") // head
    if head and large("head_dim") == large("qk_rope_head_dim") and small("qk_rope_head_dim"):
        fitting["head_dim"] = small("qk_rope_head_dim")
    if large("window_size") and isinstance(large("patch_size"), int) and large("spatial_merge_size"):
        fitting["window_size"] = small("patch_size") * small("spatial_merge_size")  # four patches
    if large("window_size") and isinstance(large("depths"), list | tuple) and isinstance(large("patch_size"), int):
        sides = large("patch_size") * 2 ** (len(large("depths")) - 1)  # of a patch of the last stage, in pixels
        fitting |= {"window_size": 2, "image_size": 2 * sides}
    if large("n_window"):  # half of the frames that convolutions read at once; attention takes in several of these
        several = large("n_window_infer")
        fitting |= {"n_window_infer": 2 * large("n_window")} if several else {"n_window": 8}
    kinds = small("layer_types")
    if kinds is not None and any("sliding" in str(kind) for kind in kinds) and not large("sliding_window"):
        fitting |= {"sliding_window": 4} | (
            {"use_sliding_window": True} if "use_sliding_window" in vars(config) else {}
        )
    if isinstance(large("embed_dim_per_stage"), list | tuple):
        fitting["hidden_size"] = large("embed_dim_per_stage")[0]
    ratio = large("pixel_shuffle_ratio")
    if ratio and isinstance(width, int):
        fitting["intermediate_size"] = int(width / ratio**2)  # so many neighbours become one
    return _merged({**found, **fitting}, _GIVEN.get(config.model_type, {}))


def _merged(found: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What is given stands; of a config inside, field by field."""
    inner = {name: {**found[name], **value} for name, value in given.items() if _are_fields(value, found.get(name))}
    return {**found, **given, **inner}


def _are_fields(value: Any, old: Any) -> bool:
    return isinstance(value, dict) and isinstance(old, dict) and "model_type" in old

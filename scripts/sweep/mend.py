"""What no field of a small config says by itself: what follows from others, and what some types cannot do without."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

# What the default config of a type leaves open, and every checkpoint says.
_GIVEN: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "chameleon": {"vocabulary_map": {"<image>": 4, **{f"IMGIMGBS{letter}Z": 5 + n for n, letter in enumerate("ABC")}}},
    "hunyuan_vl_text": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2, 2]}},
    "pix2struct_text_model": {"initializer_range": 0.02},
    "qwen3_omni_moe_talker_text": {"shared_expert_intermediate_size": 96},
    "t5gemma2_decoder": {"dropout_rate": 0.0},
    "t5gemma2_encoder": {"dropout_rate": 0.0},
    "t5gemma2_text": {"dropout_rate": 0.0},
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
    if large("n_window"):  # half of the frames that convolutions read at once; attention takes in several of these
        several = large("n_window_infer")
        fitting |= {"n_window_infer": 2 * large("n_window")} if several else {"n_window": 8}
    kinds = small("layer_types")
    if kinds is not None and "sliding_attention" in kinds and not large("sliding_window"):
        fitting |= {"sliding_window": 4} | (
            {"use_sliding_window": True} if "use_sliding_window" in vars(config) else {}
        )
    return {**found, **fitting, **_GIVEN.get(config.model_type, {})}

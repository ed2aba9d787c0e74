"""A config of any model type made tiny, by what its fields are called; its sub-configurations too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scripts.sweep.kinds import KINDS, all_kinds, distinct
from scripts.sweep.mend import mended
from transformers import CONFIG_MAPPING, PreTrainedConfig

VOCABULARY, LAYERS, POSITIONS, EXPERTS = 128, 2, 64, 4
WINDOW = 4  # shorter than the probe, so that it acts


@dataclass(frozen=True)
class Scale:
    """Sizes of a tiny model; width = heads · head."""

    head: int
    heads: int
    groups: int
    ffn: int

    @property
    def width(self) -> int:
        """Of the hidden states."""
        return self.head * self.heads


SCALES: tuple[Scale | None, ...] = (
    Scale(head=16, heads=4, groups=2, ffn=96),
    Scale(head=64, heads=2, groups=1, ffn=192),  # for models that fix how the axes of a head are shared out
    Scale(head=128, heads=2, groups=1, ffn=192),
    None,  # widths as they are
)

# What a field is called → what it becomes: an attribute of the scale, or a number. The first match decides.
_SIZES: tuple[tuple[str, str | int], ...] = (
    (
        r"(num_)?(key_value|kv)_heads|num_kv_heads|n_head_kv|multi_query_group_num",
        "groups",
    ),
    (r"linear_num_key_heads", 2),
    (r"linear_num_value_heads", 4),  # each key serves several values, as in checkpoints
    (r"linear_num_heads|num_sliding_attention_heads|n_mamba_heads|mamba_(n|num)_heads", "heads"),
    (r"(encoder|decoder)_num_key_value_heads", "groups"),
    (r"(num_|n_)?(attention_|encoder_attention_|decoder_attention_|encoder_|decoder_|index_)?(n_)?heads?", "heads"),
    (r"(encoder|decoder)_num_attention_heads", "heads"),
    (r"linear_(key|value)_head_dim|qk_rope_head_dim|rotary_dim", 8),
    (r"qk_nope_head_dim", 16),
    (r"qk_head_dim", 24),
    (r"v_head_dim", 12),
    (r"(q|kv|o)_lora_rank", 32),
    (r".*head_dim|d_kv|.*head_size|attention_key_dim|kv_channels|query_pre_attn_scalar", "head"),
    (r".*(intermediate|ffn).*(size|dim)|d_ff|.*mlp_dim|n_inner|.*(mlp|ffn)_hidden_(size|dim)", "ffn"),
    (
        r"(.*_)?(hidden_size|d_model|n_embd|embed_dim|emb_dim|embedding_size|projection_dim|embed_size)|dim|d_embed|adapter_(input_size|out_dim)",
        "width",
    ),
    (
        r"(out_|text_|vision_|audio_|mm_|decoder_|encoder_)?(hidden_dim|embedding_dim|output_dim)|adapter_in_dim|upsample_groups",
        "width",
    ),
)
_COUNTS: tuple[tuple[str, int], ...] = (
    (r"(num_|n_)?(hidden_|encoder_|decoder_|text_|vision_|num_hidden_|n_)?layers?|depth", LAYERS),
    (r"num_(hidden_|encoder_|decoder_|self_attends_per_)?(layers|blocks)(_decoder|_encoder)?", LAYERS),
    (r"(encoder|decoder)_(num_)?(hidden_)?layers|num_global_layers", LAYERS),
    (r"(.*_)?vocab_size(_.*)?|n_words|.*_group_vocab", VOCABULARY),
    (r"max_(position_embeddings|sequence_length|target_positions|seq_len)|n_positions|n_ctx|seq_length", POSITIONS),
    (r"max_source_positions|context_size", 16),
    (r"(n_routed|num_local|num|moe_num)_experts", EXPERTS),
    (r"(num_|moe_)?(experts_per_tok|experts_per_token|topk|top_k|k)|top_k_experts", EXPERTS // 2),
    (r"(encoder|decoder)_sparse_step", LAYERS),
    (r"num_sparse_(encoder|decoder)_layers|num_dense_layers", 1),  # and the other one is of the other kind
    (r"n_group|num_expert_group|topk_group|n_shared_experts|num_shared_experts|first_k_dense_replace", 1),
    (r"sliding_window(_size)?|attention_window_size|local_attention|attention_chunk_size|index_topk", WINDOW),
    (r"(mamba_)?chunk_size", WINDOW),
    (r"(mamba_)?n_groups|mamba_ngroups", 2),
    (r"index_kpool|zero_expert_num", 2),
    (r"max_window_layers|insert_layer_id", 0),
    (r"attn_layer_period", LAYERS),
    (r"attn_layer_offset", 1),
    (r"num_kv_shared_layers", 0),  # as many as there are layers would leave none to share
)
# What some configs leave open although their model cannot do without.
_NEEDED = re.compile(
    r"vocab_size|.*_experts|num_experts_per_tok|n_group|topk_group|moe_intermediate_size|head_dim|num_key_value_heads"
)
_NEEDED_KINDS = {"layer_types": ["full_attention"], "mlp_layer_types": ["dense", "sparse"]}
_NEEDED_MARKS = {"pad_token_id": 0, "mask_token_id": 3, "prediction_length": 8}
_OF_ANY_DECODER = {"is_decoder": True, "add_cross_attention": True}
"""What transformers sets where it joins any encoder with any decoder, and no default says."""
_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth")
_HEAD_LISTS = re.compile(r"(num_)?(attention_)?heads")
_MARK = re.compile(r".*_token_(id|index)|.*_(start|end)_id")


def tiny_config(model_type: str, scale: Scale | None = SCALES[0], *, every_kind: bool = False) -> PreTrainedConfig:
    """A small config of a model type.

    Args:
        model_type: Its name in transformers.
        scale: Its widths and heads; None leaves them and shrinks only layers, vocabulary and positions.
        every_kind: With each kind of layer that the code of the model knows, and not of its default config alone.
    """
    kind = CONFIG_MAPPING[model_type]
    return kind(**_small(kind(), scale, every_kind))  # type: ignore[no-any-return]


def _small(config: PreTrainedConfig, scale: Scale | None, every_kind: bool) -> dict[str, Any]:
    """The fields to build a smaller one with; what follows from others is left for the config to work out again."""
    before = next((value for name in _DEPTHS if isinstance(value := vars(config).get(name), int)), None)
    per_layer = {name: distinct(value) for name, value in vars(config).items() if _is_per_layer(value, before)}
    per_layer = {name: kinds for name, kinds in per_layer.items() if not _are_places(kinds, before)}
    per_layer |= {name: all_kinds(config, kinds) for name, kinds in per_layer.items() if every_kind and name in KINDS}
    outs = vars(config).get("_out_indices") or ()  # stages of a backbone that something reads, one behind each layer
    after = max([LAYERS, len(outs), *map(len, per_layer.values())])  # every kind of layer once
    found: dict[str, Any] = {name: (kinds * after)[:after] for name, kinds in per_layer.items()}
    if before and len(outs) > 1:
        found |= {"out_indices": list(range(1, after + 1))[-len(outs) :], "out_features": None}
    taken = VOCABULARY
    for name, value in _said(config).items():
        if isinstance(value, PreTrainedConfig):
            found[name] = {"model_type": value.model_type, **_own(value), **_small(value, scale, every_kind)}
            if name == "decoder" and config.is_encoder_decoder:
                found[name] |= _OF_ANY_DECODER
        elif name == "rope_parameters" and isinstance(value, Mapping):
            head = min(8, scale.head) if scale and vars(config).get("qk_rope_head_dim") else scale.head if scale else 0
            found |= _rope(value, head) if scale else {}
        elif name in _DEPTHS and value == before:
            found[name] = min(after, value)
        elif name not in found and _are_places(value, before):  # one layer has it, and another has not
            found[name] = list(range(after)) if len(value) == before else [after - 1]
        elif isinstance(value, list | tuple) and _HEAD_LISTS.fullmatch(name) and scale:
            found[name] = [LAYERS] * len(value)
        elif name == "image_size" and isinstance(value, list | tuple):
            found[name] = [_by_name(name, side, config, scale) for side in value]
        elif _MARK.fullmatch(name) and isinstance(value, int) and value >= VOCABULARY:
            taken -= 1
            found[name] = taken
        elif isinstance(value, int) and not isinstance(value, bool) and not name.startswith("_"):
            small = _by_name(name, value, config, scale)
            found |= {name: small} if small != value else {}
        elif value is None and scale and _NEEDED.fullmatch(name):
            found[name] = _by_name(name, 1 << 20, config, scale)
        elif value is None and name in _NEEDED_KINDS:
            kinds = all_kinds(config, _NEEDED_KINDS[name]) if name in KINDS else _NEEDED_KINDS[name]
            found[name] = (kinds * after)[: max(after, len(kinds))]
        elif value is None and name in _NEEDED_MARKS:
            found[name] = _NEEDED_MARKS[name]
    return mended(config, found)


def _said(config: PreTrainedConfig) -> dict[str, Any]:
    """The fields of a config that it takes; what it works out of them is not among these."""
    taken = set(getattr(type(config), "__dataclass_fields__", {}))
    taken |= {kept for said, kept in config.attribute_map.items() if said in taken}  # under other names
    return {name: value for name, value in vars(config).items() if not taken or name in taken}


def _own(config: PreTrainedConfig) -> dict[str, Any]:
    """What the config that holds this one says of it, where that is no default of it alone."""
    alone = vars(type(config)())
    simple = (int, float, str, bool, type(None), list, tuple)
    said = {name: value for name, value in _said(config).items() if isinstance(value, simple)}
    return {name: value for name, value in said.items() if not name.startswith("_") and alone.get(name) != value}


def _are_places(value: Any, layers: int | None) -> bool:
    """Whether these are the numbers of some layers, in order."""
    if not isinstance(value, list | tuple) or not value or layers is None or layers <= LAYERS:
        return False
    numbers = all(isinstance(one, int) and not isinstance(one, bool) for one in value)
    return numbers and list(value) == sorted(set(value)) and value[0] >= 0 and LAYERS < value[-1] <= layers


def _is_per_layer(value: Any, layers: int | None) -> bool:
    return isinstance(value, list | tuple) and layers is not None and len(value) == layers > LAYERS


def _by_name(name: str, value: int, config: PreTrainedConfig, scale: Scale | None) -> int:
    if name == "image_size":
        patch = vars(config).get("patch_size")
        return min(value, max(32, 4 * (patch if isinstance(patch, int) else 16)))
    small: str | int | None = next((small for pattern, small in _COUNTS if re.fullmatch(pattern, name)), None)
    if small is None and scale is not None:
        small = next((small for pattern, small in _SIZES if re.fullmatch(pattern, name)), None)
    if small == "groups" and value == vars(config).get("num_attention_heads"):
        small = "heads"
    if isinstance(small, str):
        small = int(getattr(scale, small))
    return value if small is None or value <= 0 else min(small, value)


def _rope(value: Mapping[str, Any], head: int) -> dict[str, Any]:
    """Sections of a rotary embedding, which add up to half a head."""
    section = value.get("mrope_section")
    if not section:
        return {}
    shares = [max(1, round(part * head / 2 / sum(section))) for part in section]
    shares[0] += head // 2 - sum(shares)
    return {"rope_parameters": {**value, "mrope_section": shares}}

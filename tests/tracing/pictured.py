"""Tiny random models of texts with images, each with a real processor of transformers, as in a user's folder."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from tests.tracing.senses import photo
from tests.tracing.tiny import vivid
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

import contextmix as cm
from contextmix.models.traced_model import TracedModel

MARKS = {
    "<image>": "image_token",
    "<|image|>": "cross",
    "<boi>": "boi_token",
    "<eoi>": "eoi_token",
    "<img>": "start_image_token",
    "</img>": "end_image_token",
    "<context>": "context_image_token",
    "<video>": "video_token",
    "<vision>": "vision_start_token",
    "</vision>": "vision_end_token",
    "<fake_token_around_image>": "fake",
    "<global-img>": "global",
    "<end_of_utterance>": "end_of_utterance",
    **{f"<row_{row}_col_{column}>": f"r{row}c{column}" for row in range(1, 7) for column in range(1, 7)},
}
WORDS = [
    "<pad>",
    "<unk>",
    "<s>",
    "</s>",
    *MARKS,
    *["what", "colour", "is", "the", "disc", "left", "or", "right", "of", "a", "red", "green", "blue", "?", ".", ":"],
]
WORDS += ["user", "assistant", "\n"]
NUMBER = {word: number for number, word in enumerate(WORDS)}
TEXT = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
SIGHT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
SQUARE = {"height": 32, "width": 32}
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}:{% for c in m.content %}{% if c.type == 'image' %} MARK{% else %} {{ c.text }}"
    "{% endif %}{% endfor %} {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def tokenizer(*names: str) -> transformers.PreTrainedTokenizerFast:
    """A tokenizer of words, which knows the marks of all processors; those named as attributes of its own."""
    words = Tokenizer(models.WordLevel(dict(NUMBER), unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    own = {name: word for word, name in MARKS.items() if name in names}
    found = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens=own,
    )
    found.add_special_tokens({"additional_special_tokens": list(MARKS)}, replace_extra_special_tokens=False)
    return found


class QwenProcessor(transformers.Qwen2VLProcessor):
    """Of images alone: the part for videos needs torchvision."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        self.image_token, self.video_token = "<image>", "<video>"
        self.image_token_id, self.video_token_id = NUMBER["<image>"], NUMBER["<video>"]
        transformers.ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


class InternProcessor(transformers.InternVLProcessor):
    """Of images alone: the part for videos needs torchvision."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        self.image_seq_length = 4
        self.start_image_token, self.end_image_token = "<img>", "</img>"
        self.image_token, self.video_token = "<context>", "<video>"
        self.image_token_id = NUMBER["<context>"]
        self.start_image_token_id, self.end_image_token_id = NUMBER["<img>"], NUMBER["</img>"]
        self.multimodal_pattern = re.compile("(?P<image><context>)|(?P<video><video>)")
        transformers.ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def _template(mark: str) -> str:
    return TEMPLATE.replace("MARK", mark)


def _llava() -> tuple[Any, Any]:
    config = transformers.LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **SIGHT, "projection_dim": 32},
        text_config={"model_type": "llama", **TEXT},
        image_token_index=NUMBER["<image>"],
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
    )
    reader = transformers.LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size=SQUARE),
        tokenizer("image_token"),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_template("<image>"),
    )
    return transformers.LlavaForConditionalGeneration(config), reader


def _llava_next() -> tuple[Any, Any]:
    grids = [[32, 64], [64, 32], [64, 64]]
    config = transformers.LlavaNextConfig(
        vision_config={"model_type": "clip_vision_model", **SIGHT, "projection_dim": 32},
        text_config={"model_type": "llama", **TEXT},
        image_token_index=NUMBER["<image>"],
        vision_feature_layer=-1,
        image_grid_pinpoints=grids,
    )
    reader = transformers.LlavaNextProcessor(
        LlavaNextImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE, image_grid_pinpoints=grids),
        tokenizer("image_token"),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_template("<image>"),
    )
    return transformers.LlavaNextForConditionalGeneration(config), reader


def _paligemma() -> tuple[Any, Any]:
    images = SiglipImageProcessorPil(size=SQUARE)
    images.image_seq_length = 16
    words = tokenizer("image_token")
    reader = transformers.PaliGemmaProcessor(images, words)
    config = transformers.PaliGemmaConfig(
        vision_config={"model_type": "siglip_vision_model", **SIGHT, "projection_dim": 32, "vision_use_head": False},
        text_config={"model_type": "gemma", **TEXT, "head_dim": 8, "vocab_size": len(words)},
        image_token_index=NUMBER["<image>"],
        projection_dim=32,
        hidden_size=32,
    )
    return transformers.PaliGemmaForConditionalGeneration(config), reader


def _gemma3() -> tuple[Any, Any]:
    config = transformers.Gemma3Config(
        vision_config={"model_type": "siglip_vision_model", **SIGHT, "vision_use_head": False},
        text_config={
            "model_type": "gemma3_text",
            **TEXT,
            "head_dim": 8,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        image_token_index=NUMBER["<image>"],
        boi_token_index=NUMBER["<boi>"],
        eoi_token_index=NUMBER["<eoi>"],
        mm_tokens_per_image=4,
    )
    reader = transformers.Gemma3Processor(
        Gemma3ImageProcessorPil(size=SQUARE),
        tokenizer("image_token", "boi_token", "eoi_token"),
        chat_template=_template("<boi>"),
        image_seq_length=4,
    )
    return transformers.Gemma3ForConditionalGeneration(config), reader


def _qwen(prefix: str) -> tuple[Any, Any]:
    sight = {"depth": 2, "hidden_size": 32, "num_heads": 4, "patch_size": 8, "spatial_merge_size": 2}
    sight |= {"temporal_patch_size": 2}
    text = {**TEXT, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}
    if prefix == "Qwen2VL":
        sight |= {"embed_dim": 32, "mlp_ratio": 2}
    else:
        sight |= {"intermediate_size": 48, "out_hidden_size": 32}
    if prefix == "Qwen2_5_VL":
        sight |= {"window_size": 32, "fullatt_block_indexes": [1]}
    if prefix == "Qwen3VL":
        sight |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
        text |= {"head_dim": 8}
    config = getattr(transformers, f"{prefix}Config")(
        vision_config=sight,
        text_config=text,
        image_token_id=NUMBER["<image>"],
        video_token_id=NUMBER["<video>"],
        vision_start_token_id=NUMBER["<vision>"],
        vision_end_token_id=NUMBER["</vision>"],
    )
    images = Qwen2VLImageProcessorPil(
        patch_size=8, merge_size=2, temporal_patch_size=2, size={"shortest_edge": 16 * 16, "longest_edge": 64 * 64}
    )
    reader = QwenProcessor(images, tokenizer(), chat_template=_template("<vision><image></vision>"))
    return getattr(transformers, f"{prefix}ForConditionalGeneration")(config), reader


def _idefics3(prefix: str) -> tuple[Any, Any]:
    config = getattr(transformers, f"{prefix}Config")(
        vision_config=SIGHT,
        text_config={"model_type": "llama", **TEXT},
        image_token_id=NUMBER["<image>"],
        scale_factor=2,
    )
    images = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    reader = transformers.Idefics3Processor(images, tokenizer(), image_seq_len=4, chat_template=_template("<image>"))
    return getattr(transformers, f"{prefix}ForConditionalGeneration")(config), reader


def _internvl() -> tuple[Any, Any]:
    config = transformers.InternVLConfig(
        vision_config={**SIGHT, "image_size": [32, 32], "patch_size": [8, 8]},
        text_config={"model_type": "qwen2", **TEXT},
        image_token_id=NUMBER["<context>"],
        downsample_ratio=0.5,
    )
    images = GotOcr2ImageProcessorPil(size=SQUARE, crop_to_patches=True, min_patches=1, max_patches=4)
    reader = InternProcessor(images, tokenizer(), chat_template=_template("<context>"))
    return transformers.InternVLForConditionalGeneration(config), reader


def _mllama() -> tuple[Any, Any]:
    sight = {**SIGHT, "num_global_layers": 1, "attention_heads": 4, "max_num_tiles": 1, "vision_output_dim": 64}
    sight |= {"intermediate_layers_indices": [0], "supported_aspect_ratios": [[1, 1]]}
    rope = {"rope_type": "default", "rope_theta": 1e4}
    config = transformers.MllamaConfig(
        vision_config=sight,
        text_config={**TEXT, "cross_attention_layers": [1], "rope_parameters": rope},
        image_token_index=NUMBER["<|image|>"],
    )
    images = MllamaImageProcessorPil(size=SQUARE, max_image_tiles=1)
    reader = transformers.MllamaProcessor(images, tokenizer(), chat_template=_template("<|image|>"))
    return transformers.MllamaForConditionalGeneration(config), reader


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava": _llava,
    "llava_next": _llava_next,
    "paligemma": _paligemma,
    "gemma3": _gemma3,
    "qwen2_vl": lambda: _qwen("Qwen2VL"),
    "qwen2_5_vl": lambda: _qwen("Qwen2_5_VL"),
    "qwen3_vl": lambda: _qwen("Qwen3VL"),
    "idefics3": lambda: _idefics3("Idefics3"),
    "smolvlm": lambda: _idefics3("SmolVLM"),
    "internvl": _internvl,
    "mllama": _mllama,
}
EXACT = [name for name in FAMILIES if name not in ("qwen3_vl", "mllama")]
"""Families whose images enter the blocks as tokens, and nowhere else."""
WITHOUT_TEMPLATE = ("paligemma",)
QUESTION = "what colour is the disc ?"


def built(name: str, seed: int = 0) -> tuple[Any, Any]:
    """A fresh model with its processor."""
    torch.manual_seed(seed)
    model, reader = FAMILIES[name]()
    return vivid(model, seed), reader


def seeing_and_reading(name: str) -> TracedModel:
    """A loaded model with its processor."""
    return cm.load(*built(name))


def picture(width: int = 100, height: int = 60, seed: int = 0) -> Image.Image:
    """A photo of noise."""
    return Image.fromarray(np.asarray(photo(width, height, seed)))

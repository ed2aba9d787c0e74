"""Tiny random models of images and sounds, with processors, as a user would find them in a folder."""

from pathlib import Path
from typing import Any

import numpy as np
import transformers
from tests.tracing.tiny import vivid
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import contextmix as cm
from contextmix.models.traced_model import TracedModel

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
VISION = {**SIZES, "image_size": 32, "patch_size": 8}
SPEECH = {
    **SIZES,
    "conv_dim": [8, 8, 8],
    "conv_kernel": [10, 3, 2],
    "conv_stride": [5, 2, 2],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
    "max_source_positions": 50,  # one second
    "vocab_size": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "classifier_proj_size": 8,
}
SQUARE = {"height": 32, "width": 32}
IMAGE_MODELS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "vit": ("ViTForImageClassification", VISION, ViTImageProcessorPil(size=SQUARE)),
    "deit": (
        "DeiTModel",
        VISION,
        DeiTImageProcessorPil(size={"height": 40, "width": 40}, crop_size=SQUARE),
    ),
    "beit": ("BeitModel", {**VISION, "use_relative_position_bias": True}, ViTImageProcessorPil(size=SQUARE)),
    "clip": (
        "CLIPVisionModel",
        VISION,
        CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size=SQUARE),
    ),
    "dinov2": (
        "Dinov2Model",
        {**VISION, "mlp_ratio": 2},
        BitImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 48, "width": 64}),
    ),
    "registers": (
        "Dinov2WithRegistersModel",
        {**VISION, "mlp_ratio": 2},
        BitImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE),
    ),
    "siglip": ("SiglipVisionModel", VISION, ViTImageProcessorPil(size=SQUARE)),
}


def build(name: str, config: dict[str, Any], **changes: Any) -> Any:
    """A fresh model of a class of transformers, such as ``build("ViTModel", VISION)``."""
    cls = getattr(transformers, name)
    return vivid(cls(cls.config_class(**{**config, **changes})))


def seeing(name: str, **changes: Any) -> TracedModel:
    """A loaded model of images with its processor."""
    architecture, config, processor = IMAGE_MODELS[name]
    return cm.load(build(architecture, config, **changes), processor)


def hearing(architecture: str = "Wav2Vec2ForSequenceClassification", **changes: Any) -> TracedModel:
    """A loaded model of raw sound with its feature extractor."""
    return cm.load(build(architecture, SPEECH, **changes), transformers.Wav2Vec2FeatureExtractor())


def whisper(chunk: int = 1) -> TracedModel:
    """A loaded Whisper encoder that hears one second."""
    extractor = transformers.WhisperFeatureExtractor(chunk_length=chunk)
    return cm.load(build("WhisperForAudioClassification", WHISPER), extractor)


def saved(model: Any, processor: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def photo(width: int = 100, height: int = 60, seed: int = 0) -> np.ndarray:
    """Random pixels (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def noise(samples: int = 1600, seed: int = 0) -> np.ndarray:
    """Random samples, at 16 kHz by convention of these tests."""
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)

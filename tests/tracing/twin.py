"""Tiny random models of two towers, with real processors of transformers, as in a user's folder."""

from typing import Any

import torch
import transformers
from tests.tracing.pictured import tokenizer
from tests.tracing.senses import SQUARE, VISION
from tests.tracing.tiny import SIZES, vivid
from tokenizers import processors
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import contextmix as cm
from contextmix.models.traced_towers import TracedTowers

TEXT = {**SIZES, "vocab_size": 100, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
RED, BLUE = "what is red ?", "the disc is blue ."


def words() -> Any:
    """A tokenizer that begins and ends a text, as these models expect."""
    found = tokenizer()
    ends: Any = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)])
    found.backend_tokenizer.post_processor = ends
    return found


def clip(dtype: torch.dtype = torch.float32) -> Any:
    """A fresh CLIP."""
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12)
    return vivid(transformers.CLIPModel(config)).to(dtype)


def siglip() -> Any:
    """A fresh SigLIP, whose scores have an offset."""
    config = transformers.SiglipConfig(text_config={**TEXT, "projection_size": 16}, vision_config=VISION)
    model = vivid(transformers.SiglipModel(config))
    with torch.no_grad():
        model.logit_bias.fill_(-2.0)
    return model


def processor() -> Any:
    """That of CLIP."""
    return transformers.CLIPProcessor(CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size=SQUARE), words())


def twin(dtype: torch.dtype = torch.float32) -> TracedTowers:
    """A loaded CLIP with its processor."""
    found = cm.load(clip(dtype), processor())
    assert isinstance(found, TracedTowers)
    return found

"""Tiny random encoder–decoders of six families in float64, and their decoder blocks by hand, without contextmix.

Attention weights are those that the plain model itself gives out (``output_attentions``); everything after them is made
from the model's own weights, one vector at a time.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from tests.tracing.tiny import vivid
from torch import Tensor, nn

Vector = np.ndarray

SIZES = {"vocab_size": 40, "d_model": 16, "decoder_start_token_id": 2, "pad_token_id": 0, "eos_token_id": 2}
BART = {f"{part}_layers": 2 for part in ("encoder", "decoder")}
BART |= {f"{part}_attention_heads": 2 for part in ("encoder", "decoder")}
BART |= {f"{part}_ffn_dim": 32 for part in ("encoder", "decoder")}
LONG = {"max_position_embeddings": 24, "bos_token_id": 1, "forced_eos_token_id": None}
T5 = {"d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
SOUND = {"num_mel_bins": 8, "max_source_positions": 6, "max_target_positions": 24}
SOUND |= {"suppress_tokens": None, "begin_suppress_tokens": None, "bos_token_id": 1}

CLASSES = {
    "bart": ("BartForConditionalGeneration", "BartConfig", {**BART, **LONG}),
    "mbart": ("MBartForConditionalGeneration", "MBartConfig", {**BART, **LONG}),
    "marian": ("MarianMTModel", "MarianConfig", {**BART, **LONG}),
    "pegasus": ("PegasusForConditionalGeneration", "PegasusConfig", {**BART, **LONG}),
    "t5": ("T5ForConditionalGeneration", "T5Config", {**T5, "decoder_start_token_id": 0}),
    "gated_t5": ("T5ForConditionalGeneration", "T5Config", {**T5, "feed_forward_proj": "gated-gelu"}),
    "whisper": ("WhisperForConditionalGeneration", "WhisperConfig", {**BART, **SOUND}),
}
FAMILIES = list(CLASSES)


def build(family: str, dtype: torch.dtype = torch.float64, **changes: Any) -> transformers.PreTrainedModel:
    """A fresh model of a family with its language-model head."""
    model, config, own = CLASSES[family]
    made = getattr(transformers, config)(**{**SIZES, **own, **changes})
    made._attn_implementation = "eager"  # it alone gives out attention weights
    return vivid(getattr(transformers, model)(made)).to(dtype)


def source(family: str, length: int = 7, seed: int = 0) -> dict[str, Tensor]:
    """What the encoder reads, with a batch axis of one; Whisper makes 6 states of 12 frames."""
    generator = torch.Generator().manual_seed(seed)
    if family == "whisper":
        return {"input_features": torch.randn(1, 8, 12, generator=generator, dtype=torch.float64)}
    return {"input_ids": torch.randint(5, 40, (1, length), generator=generator)}


START, ENGLISH, GERMAN, TRANSCRIBE, TRANSLATE, NO_TIMES = 3, 4, 5, 6, 7, 8


def bilingual(**changes: Any) -> transformers.PreTrainedModel:
    """A Whisper of two languages and two tasks, as trained ones say it, that never writes these marks by itself."""
    model = build("whisper", decoder_start_token_id=START, **changes)
    rules = {
        "_from_model_config": False,  # or its settings would be made anew when it is loaded
        "decoder_start_token_id": START,
        "is_multilingual": True,
        "lang_to_id": {"<|en|>": ENGLISH, "<|de|>": GERMAN},
        "task_to_id": {"transcribe": TRANSCRIBE, "translate": TRANSLATE},
        "no_timestamps_token_id": NO_TIMES,
        "begin_suppress_tokens": [2],
        "suppress_tokens": [START, ENGLISH, GERMAN, TRANSCRIBE, TRANSLATE, NO_TIMES],
    }
    for name, value in rules.items():  # `update` knows none of those that are Whisper's own
        setattr(model.generation_config, name, value)
    return model


WRITTEN = [7, 31, 7, 12, 2]
"""Ids of what the decoder is to have written."""


def read_ids(model: nn.Module) -> Tensor:
    """What the decoder reads when it has written that: its start, and all but the last."""
    return torch.tensor([[model.config.decoder_start_token_id, *WRITTEN[:-1]]])


@dataclass(frozen=True)
class Places:
    """Where a family keeps the parts of a decoder block."""

    blocks: str
    own: str
    cross: str
    value: str
    output: str
    norms: tuple[str, str, str]
    pre: bool
    rms: bool = False


_LIKE_BART = ("model.decoder.layers", "self_attn", "encoder_attn", "v_proj", "out_proj")
_BART_NORMS = ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm")
_T5 = ("decoder.block", "layer.0.SelfAttention", "layer.1.EncDecAttention", "v", "o")
_T5_NORMS = ("layer.0.layer_norm", "layer.1.layer_norm", "layer.2.layer_norm")
PLACES = {family: Places(*_LIKE_BART, _BART_NORMS, family not in ("bart", "marian")) for family in CLASSES}
PLACES |= {family: Places(*_T5, _T5_NORMS, pre=True, rms=True) for family in ("t5", "gated_t5")}


@dataclass(frozen=True)
class Half:
    """One step of a decoder block: what each key and the residual bring to each row, as vectors."""

    alpha: Vector  # (H, T, K)
    moved: Vector  # (H, K, d): what each head would move of each key, with the value bias
    residual: Vector  # (T, d)
    summed: Vector  # (T, d): residual and attention, with the output bias
    left: Vector  # (T, d): the same after the norm of a post-norm block
    gammas: list[Vector]  # weights of the norms that follow in a post-norm block: after attention, after the ffn
    denominators: list[Vector]  # (T,) theirs

    def part(self, i: int, j: int | None, norms: int, own: bool) -> Vector:
        """What key j brings to row i, through some of the norms; j None is the residual, ``own`` adds it to j = i."""
        n_heads = len(self.alpha)
        vector = np.zeros_like(self.residual[i])
        if j is not None:
            vector = sum(self.alpha[h, i, j] * self.moved[h, j] for h in range(n_heads))
        if j is None or (own and i == j):
            vector = vector + self.residual[i]
        for gamma, denominator in list(zip(self.gammas, self.denominators, strict=True))[:norms]:
            vector = (vector - sum(vector) / len(vector)) / denominator[i] * gamma
        return vector


def halves(model: nn.Module, family: str, inputs: dict[str, Tensor], ids: Tensor) -> list[tuple[Half, Half]]:
    """Both steps of every decoder block, longhand."""
    place, seen = PLACES[family], {}

    def keep(name: str, of_input: bool):
        def hook(module, args, kwargs, output=None):
            states = args[0] if args else kwargs["hidden_states"]
            found = states if of_input else output
            seen[name] = (found if torch.is_tensor(found) else found[0])[0].detach().numpy()

        return hook

    blocks, handles = model.get_submodule(place.blocks), []
    for number, block in enumerate(blocks):
        for name in place.norms:
            norm = block.get_submodule(name)
            handles.append(norm.register_forward_pre_hook(keep(f"{number} into {name}", True), with_kwargs=True))
            handles.append(norm.register_forward_hook(keep(f"{number} from {name}", False), with_kwargs=True))
        handles.append(block.register_forward_pre_hook(keep(f"{number} entered", True), with_kwargs=True))
    try:
        with torch.no_grad():
            out = model(**inputs, decoder_input_ids=ids, output_attentions=True, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    encoder = out.encoder_last_hidden_state[0].numpy()
    found = []
    for number, block in enumerate(blocks):
        first, second, third = place.norms
        entered = seen[f"{number} entered"]
        own_reads = seen[f"{number} from {first}"] if place.pre else entered
        alphas = out.decoder_attentions[number][0].numpy(), out.cross_attentions[number][0].numpy()
        between = seen[f"{number} into {second}"] if place.pre else seen[f"{number} from {first}"]
        last = seen[f"{number} into {third}"]  # pre-norm: after cross-attention; post-norm: after the ffn
        own = _half(block, place, place.own, alphas[0], own_reads, entered, [(first, seen[f"{number} into {first}"])])
        after = [(second, seen[f"{number} into {second}"]), (third, last)]
        cross = _half(block, place, place.cross, alphas[1], encoder, between, after)
        np.testing.assert_allclose(own.left, between, atol=1e-12)  # longhand is the model, or it says nothing
        np.testing.assert_allclose(cross.left, last if place.pre else seen[f"{number} from {second}"], atol=1e-12)
        found.append((own, cross))
    return found


def _half(block, place: Places, name: str, alpha: Vector, keys: Vector, residual: Vector, norms: list) -> Half:
    attention = block.get_submodule(name)
    value, output = attention.get_submodule(place.value), attention.get_submodule(place.output)
    n_heads, width = len(alpha), value.weight.shape[0] // len(alpha)
    w_v, w_o = value.weight.detach().numpy(), output.weight.detach().numpy()
    moved = np.zeros((n_heads, len(keys), len(w_o)))
    for h in range(n_heads):
        rows = slice(h * width, (h + 1) * width)
        for j, key in enumerate(keys):
            sent = w_v[rows] @ key
            sent = sent if value.bias is None else sent + value.bias.detach().numpy()[rows]
            moved[h, j] = w_o[:, rows] @ sent
    bias = 0 if output.bias is None else output.bias.detach().numpy()
    summed = np.stack(
        [
            residual[i] + bias + sum(alpha[h, i, j] * moved[h, j] for h in range(n_heads) for j in range(len(keys)))
            for i in range(len(residual))
        ]
    )
    if place.pre:
        return Half(alpha, moved, residual, summed, summed, [], [])
    gammas, denominators, left = [], [], summed
    for number, (path, total) in enumerate(norms):
        norm = block.get_submodule(path)
        gamma, beta = norm.weight.detach().numpy(), norm.bias.detach().numpy()
        spread = np.array([math.sqrt(sum((x - row.mean()) ** 2 for x in row) / len(row) + norm.eps) for row in total])
        gammas.append(gamma)
        denominators.append(spread)
        if number == 0:
            left = np.stack([(row - row.mean()) / s * gamma + beta for row, s in zip(summed, spread, strict=True)])
    return Half(alpha, moved, residual, summed, left, gammas, denominators)

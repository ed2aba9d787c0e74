"""Attention that torch computes in one function of its own, projections and all, is heard inside of that function."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.tracing.tiny import hook_count, vivid
from torch import Tensor, nn

import contextmix as cm

CHANNELS, HEADS, FRAMES = 16, 2, 6


def wavlm() -> Any:
    config = transformers.WavLMConfig(
        hidden_size=CHANNELS,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        intermediate_size=24,
        conv_dim=(8, 8),
        conv_stride=(4, 4),
        conv_kernel=(4, 4),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        num_buckets=8,
        max_bucket_distance=4,
        feat_extract_norm="layer",
    )
    return vivid(transformers.WavLMModel(config)).double()


def sound() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(1, 16 * FRAMES, generator=generator, dtype=torch.float64)


@contextmanager
def zeroed(monkeypatch: Any, layer: int, token: int | None) -> Iterator[None]:
    """The value of one token is zero in one layer: torch's own product with the values is handed others."""
    own, calls = torch.bmm, []

    def product(left: Tensor, right: Tensor) -> Tensor:
        if right.shape[-2:] == (FRAMES, CHANNELS // HEADS):  # of weights and values: keys come transposed
            calls.append(right)
            if token is not None and len(calls) == layer + 1:
                right = right.clone()
                right[:, token] = 0
        return own(left, right)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "bmm", product)
        yield
    assert len(calls) == 2


@pytest.mark.parametrize("layer", [0, 1])
@torch.no_grad()
def test_value_zeroing_is_what_really_zeroed_values_do(monkeypatch: Any, layer: int):
    model = wavlm()
    states: list[Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        states.append(output[0][0].clone())

    handle = model.encoder.layers[layer].register_forward_hook(keep)
    for token in (None, *range(FRAMES)):
        with zeroed(monkeypatch, layer, token):
            model(sound())
    handle.remove()
    clean, *changed = states
    wanted = [1 - torch.nn.functional.cosine_similarity(clean, one, dim=-1) for one in changed]
    trace = cm.load(model).trace({"input_values": sound()[0]})
    found = cm.measure(trace, "value_zeroing", normalise=False).values[layer]
    np.testing.assert_allclose(found, torch.stack(wanted, dim=1), rtol=0, atol=1e-9)
    torch.testing.assert_close(trace.layers[layer].replay_zeroed(3, None), changed[3], rtol=0, atol=1e-9)
    assert trace.checks.conservation <= 1e-9
    assert hook_count(model) == 0


@torch.no_grad()
def test_weights_and_values_are_those_of_loops_over_heads_and_frames():
    """softmax_j(q_i · k_j / √d + g_i · b_ij): g is WavLM's gate, of the row's own state; b a table of distances."""
    model = wavlm()
    layers = cm.load(model).trace({"input_values": sound()[0]}).layers
    table = model.encoder.layers[0].attention.compute_bias(FRAMES, FRAMES)
    for layer in layers:
        own, size = model.encoder.layers[layer.index].attention, CHANNELS // HEADS
        query, key, value = (linear(layer.residual_in) for linear in (own.q_proj, own.k_proj, own.v_proj))
        for head in range(HEADS):
            columns = slice(head * size, (head + 1) * size)
            for row in range(FRAMES):
                first, second = own.gru_rel_pos_linear(layer.residual_in[row, columns]).view(2, 4).sum(-1).sigmoid()
                gate = first * (second * own.gru_rel_pos_const[0, head, 0, 0] - 1) + 2
                scores = [
                    query[row, columns] @ key[other, columns] / size**0.5 + gate * table[head, row, other]
                    for other in range(FRAMES)
                ]
                weights = torch.stack(scores).softmax(0)
                torch.testing.assert_close(layer.attention[head, row], weights, rtol=0, atol=1e-9)
            torch.testing.assert_close(layer.value[head], value[:, columns], rtol=0, atol=1e-12)


def test_projections_that_are_never_called_are_named():
    block = cm.load(wavlm()).anatomy().blocks[0]
    assert block.projection.path == "attention.out_proj"
    assert block.value.path == "attention.v_proj"


class Torchs(nn.Module):
    """MPNet's attention, computed by torch's own module for it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor]:
        return (self.own(states, states, states, need_weights=False)[0],)


def test_the_attention_module_of_torch_is_read(mpnet: Callable[[], Any]):
    model = mpnet()
    trace = cm.load(model).trace({"input_ids": torch.arange(5, 11)})
    assert trace.checks.conservation <= 1e-9
    block = cm.load(model).anatomy().blocks[1]
    assert block.projection.path == "attention.attn.own.out_proj"
    states = trace.layers[1].residual_in
    own = model.encoder.layer[1].attention.attn.own
    _, weights = own(states[None], states[None], states[None], average_attn_weights=False)
    torch.testing.assert_close(trace.layers[1].attention, weights[0].detach(), rtol=0, atol=1e-9)


@pytest.fixture(name="mpnet")
def _mpnet() -> Callable[[], Any]:
    from tests.tracing.tiny import build

    def made() -> Any:
        model = build("mpnet")
        for layer in model.encoder.layer:
            layer.attention.attn = Torchs(16)
        return vivid(model).double()

    return made

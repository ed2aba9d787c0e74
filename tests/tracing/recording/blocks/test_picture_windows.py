"""Attention in windows is one map over the tokens of the picture: longhand, with real zeros, with windows filled up."""

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
from contextmix.errors import UnsupportedModel
from contextmix.tracing.recording.blocks.picture_windows import Windows, windows_of

SIDE, WINDOW, HEADS, WIDTH = 5, 3, 2, 16
TOKENS = SIDE * SIDE


def sam() -> Any:
    """Windows of 3 × 3 on 5 × 5 patches, filled up to 6 × 6; the second block attends to all."""
    config = transformers.SamVisionConfig(
        hidden_size=WIDTH,
        output_channels=8,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        image_size=4 * SIDE,
        patch_size=4,
        mlp_dim=24,
        window_size=WINDOW,
        global_attn_indexes=[1],
    )
    return vivid(transformers.SamVisionModel(config)).double()


def swin(name: str = "Swin") -> Any:
    """Windows of 2 × 2 on 4 × 4 patches; in the second block they are shifted by one."""
    config = getattr(transformers, f"{name}Config")(
        image_size=16, patch_size=4, embed_dim=WIDTH, depths=[2], num_heads=[HEADS], window_size=2, drop_path_rate=0.0
    )
    return vivid(getattr(transformers, f"{name}Model")(config)).double()


def picture(side: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, side, side, generator=generator, dtype=torch.float64)


def place(token: int, side: int, window: int, shift: int = 0) -> tuple[int, int]:
    """The window of a token and its slot there, by hand."""
    padded = -(-side // window) * window
    row, column = ((one - shift) % padded for one in divmod(token, side))
    return row // window * (padded // window) + column // window, row % window * window + column % window


@contextmanager
def hooks(*pairs: tuple[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    handles = [module.register_forward_hook(act) for module, act in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


CASES: dict[str, tuple[Callable[[], Any], int, int, int, str, str, str, tuple[int, int]]] = {
    "sam, windows": (sam, SIDE, WINDOW, 0, "vision_encoder.layers.0", "attn.qkv", "attn.proj", (2 * WIDTH, 3 * WIDTH)),
    "sam, all": (sam, SIDE, SIDE, 0, "vision_encoder.layers.1", "attn.qkv", "attn.proj", (2 * WIDTH, 3 * WIDTH)),
    "swin": (swin, 4, 2, 0, "encoder.layers.0.blocks.0", "attention.v_proj", "attention.o_proj", (0, WIDTH)),
    "swin, shifted": (swin, 4, 2, 1, "encoder.layers.0.blocks.1", "attention.v_proj", "attention.o_proj", (0, WIDTH)),
}
"""How a model is made, its side in patches, window, shift; a block, what makes its values, its projection, columns."""


def exact(case: str) -> float:
    """Swin's eager attention computes its softmax in float32, and the one that it has set does not."""
    return 1e-9 if case.startswith("sam") else 1e-6


@torch.no_grad()
def by_hand(case: str, model: Any, token: int | None) -> tuple[Tensor, Tensor]:
    """What a block leaves and what its projection writes, token by token, with the value of one set to zero."""
    _, side, window, shift, path, maker, projection, (first, last) = CASES[case]
    block, kept = model.get_submodule(path), {}

    def zero(_: Any, __: Any, wrote: Tensor) -> Tensor:
        rows = wrote.clone()
        if token is not None:
            own, slot = place(token, side, window, shift)
            rows.view(len(rows), -1, rows.shape[-1])[own, slot, first:last] = 0
        return rows

    def left(_: Any, __: Any, said: Any) -> None:
        kept["left"] = (said if isinstance(said, Tensor) else said[0]).reshape(side * side, -1).clone()

    def sent(_: Any, __: Any, wrote: Tensor) -> None:
        rows = wrote.reshape(len(wrote), -1, wrote.shape[-1])
        kept["sent"] = torch.stack([rows[place(one, side, window, shift)] for one in range(side * side)])

    pairs = ((block.get_submodule(maker), zero), (block.get_submodule(projection), sent), (block, left))
    with hooks(*pairs):
        model(picture(4 * side))
    return kept["left"], kept["sent"]


@pytest.mark.parametrize("case", CASES)
def test_value_zeroing_and_norms_are_what_really_zeroed_values_do(case: str):
    model, side, index = CASES[case][0](), CASES[case][1], int(CASES[case][4][-1])
    clean, sent = by_hand(case, model, None)
    others = [by_hand(case, model, token) for token in range(side * side)]
    trace = cm.load(model).trace({"pixel_values": picture(4 * side)[0]})
    found = cm.measure(trace, "value_zeroing", normalise=False).values[index]
    wanted = [1 - torch.nn.functional.cosine_similarity(clean, other, dim=-1) for other, _ in others]
    np.testing.assert_allclose(found, torch.stack(wanted, dim=1), rtol=0, atol=exact(case))
    parts = torch.stack([sent - other for _, other in others], dim=1)
    np.testing.assert_allclose(cm.measure(trace, "norm").values[index], parts.norm(dim=-1), rtol=0, atol=exact(case))
    layer = trace.layers[index]
    assert (layer.attention_parts.total - parts.sum(1)).abs().max() <= exact(case)
    for token in (0, side * side // 2, side * side - 1):
        torch.testing.assert_close(layer.replay_zeroed(token, None), others[token][0], rtol=0, atol=exact(case))
    torch.testing.assert_close(layer.replay(layer.residual_in), clean, rtol=0, atol=exact(case))
    assert trace.checks.conservation <= 1e-9
    assert hook_count(model) == 0


def test_sam_longhand_with_windows_that_are_filled_up():
    """A row weighs the 3 × 3 slots of its window; what fills the window up has the bias as key and as value."""
    model = sam()
    layer = cm.load(model).trace({"pixel_values": picture(4 * SIDE)[0]}).layers[0]
    block, size = model.vision_encoder.layers[0], WIDTH // HEADS
    states = block.layer_norm1(layer.residual_in).detach()
    made = (states @ block.attn.qkv.weight.T + block.attn.qkv.bias).detach()
    filled = block.attn.qkv.bias.detach()
    where = {place(token, SIDE, WINDOW): token for token in range(TOKENS)}
    constant = torch.zeros(TOKENS, WIDTH, dtype=torch.float64)
    for head in range(HEADS):
        parts = [slice(part * WIDTH + head * size, part * WIDTH + (head + 1) * size) for part in range(3)]
        for row in range(TOKENS):
            window, slot = place(row, SIDE, WINDOW)
            query, scores = made[row, parts[0]], []
            for other in range(WINDOW**2):
                key = made[where[window, other], parts[1]] if (window, other) in where else filled[parts[1]]
                down, right = slot // WINDOW - other // WINDOW, slot % WINDOW - other % WINDOW
                far = block.attn.rel_pos_h[down + WINDOW - 1] + block.attn.rel_pos_w[right + WINDOW - 1]
                scores.append(query @ key * size**-0.5 + query @ far.detach())
            weights = torch.stack(scores).softmax(0)
            wanted = torch.zeros(TOKENS, dtype=torch.float64)
            for other in range(WINDOW**2):
                if (window, other) in where:
                    wanted[where[window, other]] = weights[other]
                else:
                    constant[row, head * size : (head + 1) * size] += weights[other] * filled[parts[2]]
            torch.testing.assert_close(layer.attention[head, row], wanted, rtol=0, atol=1e-9)
    bias = constant @ block.attn.proj.weight.T + block.attn.proj.bias
    torch.testing.assert_close(layer.block.output_bias, bias.detach(), rtol=0, atol=1e-9)


def test_tokens_of_two_windows_have_nothing_to_do_with_each_other():
    found = cm.load(swin()).explain({"pixel_values": picture(16)[0]}, "norm").values
    for layer, shift in ((0, 0), (1, 1)):
        together = [[place(i, 4, 2, shift)[0] == place(j, 4, 2, shift)[0] for j in range(16)] for i in range(16)]
        assert not found[layer][~np.array(together)].any()
        assert found[layer][np.array(together)].sum() > 0


@pytest.mark.parametrize("name", ["Swin", "Swinv2", "DonutSwin"])
def test_one_stage_of_windows_passes_every_check(name: str):
    model = swin(name)
    traced = cm.load(model)
    report = traced.check({"pixel_values": picture(16)[0]})
    assert report.checks.conservation <= 1e-9
    assert report.parity <= 1e-6
    for method in ("globenc", "value_zeroing_rollout", "alti", "attention_rollout", "hta"):
        values = traced.explain({"pixel_values": picture(16)[0]}, method).values
        assert values.shape[-2:] == (16, 16)
        assert np.isfinite(values).all()


@pytest.mark.parametrize("made", [sam, swin])
def test_a_batch_is_its_pictures_one_by_one(made: Callable[[], Any]):
    traced, side = cm.load(made()), 4 * (SIDE if made is sam else 4)
    pictures = picture(side, batch=2)
    for row, trace in enumerate(traced.trace({"pixel_values": pictures})):
        alone = traced.trace({"pixel_values": pictures[row]})
        for layer, own in zip(trace.layers, alone.layers, strict=True):
            torch.testing.assert_close(layer.attention, own.attention, rtol=0, atol=1e-9)
            torch.testing.assert_close(layer.value, own.value, rtol=0, atol=1e-9)
            torch.testing.assert_close(layer.attention_parts.total, own.attention_parts.total, rtol=0, atol=1e-9)
            torch.testing.assert_close(layer.replay_zeroed(7, None), own.replay_zeroed(7, None), rtol=0, atol=1e-9)


# By itself -----------------------------------------------------------------------------------------------------------


class Cut(nn.Module):
    """A block of tokens in a row that attends to pairs of them."""

    def __init__(self, cut: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.attend, self.cut = nn.Identity(), cut

    def forward(self, states: Tensor) -> Tensor:
        return self.attend(self.cut(states)).reshape(states.shape)


def windows(cut: Callable[[Tensor], Tensor], dtype: torch.dtype = torch.float32) -> Windows | None:
    block = Cut(cut)
    return windows_of(block, (torch.randn(2, 300, 4).to(dtype),), {}, None, block.attend)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_numbers_of_tokens_survive_half_precision(dtype: torch.dtype):
    found = windows(lambda states: states.reshape(2, 2, 150, 4).flip(2).flatten(0, 1), dtype)
    assert found is not None
    assert torch.equal(found.slots, torch.arange(300).view(2, 150).flip(1))


@pytest.mark.parametrize(
    "cut",
    [
        lambda states: states.view(4, 150, 4) * 2,
        lambda states: states.view(4, 150, 4) + 1,
        lambda states: (states + states.roll(1, 1)).view(4, 150, 4),
        lambda states: states[:, :, :2].reshape(2, 300, 2),
        lambda states: states[:, :299],
        lambda states: torch.cat([states, states[:, :1]], dim=1),
    ],
)
def test_what_does_more_than_move_tokens_is_no_window(cut: Callable[[Tensor], Tensor]):
    assert windows(cut) is None


def test_values_go_there_and_back():
    own = Windows(torch.tensor([[3, -1, 0], [1, 2, -1]]))
    value = torch.randn(4, 2, 3, 5)
    there = own.values(value)
    assert there.shape == (2, 2, 4, 5)
    torch.testing.assert_close(there[1, :, 3], value[2, :, 0])
    torch.testing.assert_close(own.back(there, value), value)
    changed = own.back(torch.zeros_like(there), value)
    torch.testing.assert_close(changed[0, :, 1], value[0, :, 1])
    assert not changed[0, :, 0].any()


class Doubled(nn.Module):
    """Swin's attention that reads its windows twice as large: no token is moved and left as it is."""

    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        self.own = own

    def forward(self, states: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self.own(2 * states, *args, **kwargs)


def test_windows_that_cannot_be_told_are_refused():
    model = swin()
    for block in model.encoder.layers[0].blocks:
        block.attention = Doubled(block.attention)
    with pytest.raises(UnsupportedModel, match="attend as 4 sequences of 4"):
        cm.load(model).explain({"pixel_values": picture(16)[0]}, "globenc")

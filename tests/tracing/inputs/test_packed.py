"""A tower without a batch axis: one image, its patches in a row. The truth is the plain model, with own hooks."""

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.tracing.inputs.test_asked import qwen2
from tests.tracing.tiny import in_float64, vivid
from torch import Tensor

import contextmix as cm
from contextmix.errors import BadInput


def tower() -> Any:
    """In float64, with the attention that is recorded: its softmax rounds to float32, and the fused one does not."""
    model = qwen2().double()
    model.set_attn_implementation("eager")
    return model


GRID = torch.tensor([[1, 4, 4]])
WIDTH = 24


def image(seed: int = 0) -> dict[str, Tensor]:
    rows = torch.randn(16, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return {"hidden_states": rows, "grid_thw": GRID}


def outputs_of_blocks(model: Any, inputs: dict[str, Tensor]) -> list[tuple[tuple[Any, ...], dict[str, Any], Tensor]]:
    """What each block was called with, and what it gave."""
    seen: list[Any] = []
    hooks = [
        block.register_forward_hook(lambda _, args, kwargs, out: seen.append((args, kwargs, out)), with_kwargs=True)
        for block in model.blocks
    ]
    with torch.no_grad():
        model(**inputs)
    for hook in hooks:
        hook.remove()
    return seen


def windowed() -> Any:
    """Its first block attends in windows of four patches, one call of attention each, and its second to all."""
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel as Tower

    sizes = {"hidden_size": 16, "intermediate_size": 32, "depth": 2, "num_heads": 2, "patch_size": 2}
    own = {"out_hidden_size": 16, "window_size": 4, "fullatt_block_indexes": [1]}
    model = in_float64(vivid(Tower(transformers.CONFIG_MAPPING["qwen2_5_vl_vision"](**sizes, **own))))
    model.set_attn_implementation("eager")
    return model


def really_zeroed(block: Any, token: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """What a block gives when the value of one token is zero; by a hook on the plain model."""

    def zero(_: Any, given: Any, output: Tensor) -> Tensor:
        output = output.clone()
        output[token, 2 * (output.shape[-1] // 3) :] = 0  # queries, keys, values
        return output

    hook = block.attn.qkv.register_forward_hook(zero)
    with torch.no_grad():
        changed = block(*args, **kwargs)
    hook.remove()
    return changed


@pytest.mark.parametrize("build", [tower, windowed])
def test_value_zeroing_is_what_really_zeroed_values_change(build: Any):
    model = build()
    found = np.asarray(cm.load(model).explain(image(), "value_zeroing").values)
    for number, (args, kwargs, clean) in enumerate(outputs_of_blocks(model, image())):
        changed = [really_zeroed(model.blocks[number], token, args, kwargs) for token in range(16)]
        wanted = torch.stack([1 - torch.nn.functional.cosine_similarity(one, clean, dim=-1) for one in changed], 1)
        wanted /= wanted.sum(-1, keepdim=True)
        assert np.abs(found[number] - wanted.numpy()).max() < 1e-9


@pytest.mark.parametrize("token", [0, 5, 15])
@pytest.mark.parametrize("build", [tower, windowed])
def test_a_replayed_block_zeroes_the_token_that_is_asked_for(build: Any, token: int):
    model = build()
    layers = cm.load(model).trace(image()).layers
    for layer, block, (args, kwargs, _) in zip(layers, model.blocks, outputs_of_blocks(model, image()), strict=True):
        wanted = really_zeroed(block, token, args, kwargs)
        torch.testing.assert_close(layer.replay_zeroed(token, None), wanted, rtol=0, atol=1e-12)


def test_attention_in_windows_is_zero_between_them():
    layers = np.asarray(cm.load(windowed()).explain(image(), "attention").values)
    window = np.arange(16) // 4
    apart = window[:, None] != window[None, :]
    assert (layers[0][apart] == 0).all()
    assert (layers[0][~apart] > 0).all()
    assert (layers[1] > 0).all()
    np.testing.assert_allclose(layers.sum(-1), 1, rtol=0, atol=1e-6)


def test_another_image_has_windows_of_its_own():
    traced = cm.load(windowed())
    traced.explain(image(), "globenc")
    rows = torch.randn(32, WIDTH, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    larger = {"hidden_states": rows, "grid_thw": torch.tensor([[1, 4, 8]])}
    layers = np.asarray(traced.explain(larger, "attention").values)
    assert layers.shape == (2, 32, 32)
    assert (np.asarray(cm.load(windowed()).explain(larger, "attention").values) == layers).all()


@pytest.mark.parametrize("build", [tower, windowed])
def test_the_parts_of_a_token_add_up_to_what_the_block_gave(build: Any):
    model = build()
    report = cm.load(model).check()
    assert max(report.checks.conservation, report.checks.block_equation, report.parity) < 1e-9


def test_several_images_are_explained_one_by_one():
    traced = cm.load(tower())
    both = traced.explain([image(0), image(1)], "globenc")
    for number, one in enumerate(both):
        np.testing.assert_array_equal(one.values, traced.explain(image(number), "globenc").values)
    rows = torch.cat([image(0)["hidden_states"], image(1)["hidden_states"]])
    with pytest.raises(BadInput, match="grid_thw says the size of 2 images or sounds, which stand in one row"):
        traced.explain({"hidden_states": rows, "grid_thw": GRID.repeat(2, 1)}, "globenc")


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_patches_that_are_no_numbers_are_refused(wrong: float):
    given = image()
    given["hidden_states"][3, 2] = wrong
    with pytest.raises(BadInput, match="hidden_states holds NaN or infinity"):
        cm.load(tower()).explain(given, "globenc")


def test_a_size_that_does_not_fit_the_patches_is_refused():
    with pytest.raises(BadInput, match="does not read these hidden_states"):
        cm.load(tower()).explain({**image(), "grid_thw": torch.tensor([[1, 4, 8]])}, "globenc")

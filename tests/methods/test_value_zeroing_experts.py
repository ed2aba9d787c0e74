"""Value Zeroing where the feed-forward part gives all tokens in one row: the experts of Llama 4."""

import numpy as np
import pytest
import torch
from tests.tracing.tiny import MARKS, one_thread, token_ids, vivid
from torch import Tensor, nn
from transformers import Llama4TextConfig, Llama4TextModel

import contextmix as cm


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def llama4() -> Llama4TextModel:
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 8}
    experts = {"num_local_experts": 3, "num_experts_per_tok": 1, "intermediate_size": 16, "intermediate_size_mlp": 32}
    return vivid(Llama4TextModel(Llama4TextConfig(**sizes, **experts, **MARKS, num_key_value_heads=1)))


@torch.no_grad()
def output_without(model: nn.Module, ids: Tensor, block: int, token: int | None) -> Tensor:
    """What a block writes when the value of one token is zero in it, by a plain run with two hooks."""
    seen: list[Tensor] = []

    def zero(module: nn.Module, args: object, output: Tensor) -> Tensor:
        return output if token is None else output.index_fill(1, torch.tensor([token]), 0)

    layer = model.layers[block]
    hooks = [layer.self_attn.v_proj.register_forward_hook(zero)]
    hooks.append(layer.register_forward_hook(lambda *told: seen.append(told[-1])))
    model(input_ids=ids)
    for hook in hooks:
        hook.remove()
    return (seen[0][0] if isinstance(seen[0], tuple) else seen[0]).reshape(ids.shape[1], -1).double()


@pytest.mark.parametrize("length", [1, 6])
def test_experts_that_return_rows_flat(length: int):
    model, ids = llama4(), token_ids(length)
    found = cm.load(model).explain({"input_ids": ids[0]}, "value_zeroing", layers="all").values
    for block in range(2):
        clean = output_without(model, ids, block, None)
        moved = [
            1 - torch.cosine_similarity(clean, output_without(model, ids, block, j), dim=-1) for j in range(length)
        ]
        distances = torch.stack(moved, -1).tril()
        shares = (distances / distances.sum(-1, keepdim=True)).numpy()
        assert np.abs(found[block] - shares).max() < 2e-4

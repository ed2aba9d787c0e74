"""A tiny random BERT in float64 with nothing trivial in it, its trace by contextmix, and its layers by hand."""

import pytest
import torch
from tests.methods.longhand import read
from transformers import BertConfig, BertModel

import contextmix as cm


@pytest.fixture(scope="session")
def bert() -> BertModel:
    """Two layers, two heads, d = 8. Large weights make attention uneven; a large eps shows where it is added."""
    config = BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=16,
        layer_norm_eps=1e-2,
    )
    model = BertModel(config, add_pooling_layer=False).double().eval()
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


@pytest.fixture(scope="session")
def ids() -> torch.Tensor:
    return torch.tensor([3, 1, 4, 1, 15])


@pytest.fixture(scope="session")
def trace(bert, ids):
    return cm.load(bert).trace({"input_ids": ids})


@pytest.fixture(scope="session")
def layers(bert, ids):
    """The same layers, longhand. They must be the model's own, or no reference below would mean anything."""
    found = read(bert, ids)
    with torch.no_grad():
        truth = bert(input_ids=ids[None]).last_hidden_state[0]
    torch.testing.assert_close(torch.from_numpy(found[-1].x_tilde), truth, rtol=1e-10, atol=1e-12)
    assert all(layer.alpha.max() > 0.6 for layer in found)  # attention is far from uniform
    return found

"""W of GlobEnc: attention weights, averaged over heads."""

import numpy as np
import pytest
import torch
import transformers
from tests.tracing.tiny import MARKS, SIZES, build, token_ids, vivid

import contextmix as cm


def longhand(layer):
    """W_ij = (1/H) Σ_h α^h_ij."""
    return [
        [sum(layer.alpha[h, i, j] for h in layer.heads) / len(layer.heads) for j in layer.tokens] for i in layer.tokens
    ]


def test_the_map_is_the_mean_of_the_attention_weights_over_heads(trace, layers):
    found = cm.measure(trace, "attention").values
    np.testing.assert_allclose(found, [longhand(layer) for layer in layers], rtol=1e-10)


def test_each_head_by_itself_is_its_softmax(trace, layers):
    found = cm.measure(trace, "attention", heads="each")
    assert found.dims == ("layer", "head", "query", "key")
    np.testing.assert_allclose(found.values, [layer.alpha for layer in layers], rtol=1e-10)


def test_the_mixing_ratio_is_the_weight_given_to_others(trace, layers):
    wanted = [[sum(longhand(layer)[i][j] for j in layer.tokens if j != i) for i in layer.tokens] for layer in layers]
    np.testing.assert_allclose(cm.mixing_ratio(trace, "attention").values, wanted, rtol=1e-10)


def gpt_oss():
    """A tiny model with sinks: logits that take a part of each row and give it to no token."""
    config = transformers.GptOssConfig(
        **{**SIZES, **MARKS, "num_key_value_heads": 1, "head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1}
    )
    return vivid(transformers.GptOssForCausalLM(config))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["bert", "llama", "gpt_oss"])
def test_half_precision_takes_nothing_from_a_row(family, dtype):
    """The truth: what the model itself says of its attention, each row over its sum, unless it has sinks."""
    model = (gpt_oss() if family == "gpt_oss" else build(family)).to(dtype)
    ids = token_ids(12)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        said = torch.cat(model(input_ids=ids, output_attentions=True).attentions).double()
    sums = said.sum(-1, keepdim=True)
    assert (sums - 1).abs().max() > 1e-4
    wanted = said if family == "gpt_oss" else said / sums
    found = cm.load(model).explain({"input_ids": ids[0]}, "attention", heads="each", layers="all")
    np.testing.assert_allclose(found.values, wanted.numpy(), rtol=1e-6)
    mean = cm.load(model).explain({"input_ids": ids[0]}, "attention_fixed_residual", layers="all")
    np.testing.assert_allclose(mean.values, (wanted.mean(1) / 2 + torch.eye(12) / 2).numpy(), rtol=1e-6)

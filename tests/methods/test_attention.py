"""W of GlobEnc: attention weights, averaged over heads."""

import numpy as np

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

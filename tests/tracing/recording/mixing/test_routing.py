"""The maps of mixers that are no attention are those of their recurrences, written out by hand."""

import pytest
import torch
from tests.tracing.mixing import FAMILIES, N, heard
from tests.tracing.tiny import token_ids

import contextmix as cm


@pytest.mark.parametrize("name", FAMILIES)
def test_what_each_token_brings_is_what_the_recurrence_makes_of_it(name: str):
    family, ids = FAMILIES[name], token_ids(N)
    model = family.build()
    mixer = family.mixer_of(model)
    said = heard(mixer, lambda: model(ids, use_cache=False))
    with torch.no_grad():
        sent, rest = family.longhand(mixer, said)
    layer = cm.load(model).trace({"input_ids": ids[0]}).layers[0]
    assert layer.channelwise
    found = (layer.attention * layer.value.mT).permute(1, 2, 0)  # (row, token, channel)
    torch.testing.assert_close(found, sent, rtol=0, atol=family.exact * float(sent.abs().max()))
    assert not layer.attention.triu(1).any()
    bias = layer.block.output_bias - (rest @ layer.block.output_weight[:, 0])
    assert (bias - bias[0]).abs().max() <= family.exact * (1 + float(layer.attention_out.abs().max()))
    own = family.mixer_of(model).get_submodule(family.output).bias
    assert (bias - (0 if own is None else own)).abs().max() <= family.exact * (
        1 + float(layer.attention_out.abs().max())
    )

"""HTA × inputs (GlobEnc, eq. 18): column k of each Jacobian times the k-th number of the input, then the length."""

import numpy as np
import pytest
import torch
from tests.methods.test_hta import ROUNDED, close, lengths, longhand
from tests.tracing.tiny import ENCODERS, build, one_thread, token_ids
from torch import Tensor

import contextmix as cm


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


@pytest.mark.parametrize("family", ENCODERS)
def test_the_closed_form_is_what_autograd_says_of_an_encoders_own_block(family):
    model, ids = build(family).double(), token_ids(6)[0]
    found = cm.load(model).explain({"input_ids": ids}, "hta_inputs")
    close(found, longhand(family, model, ids, inputs=True))
    assert found.quantity == "gradient"


def test_uneven_attention_and_a_large_eps(bert, ids, trace):
    close(cm.measure(trace, "hta_inputs"), longhand("bert", bert, ids, inputs=True))


def test_it_is_neither_on_the_output_axis_nor_a_product_of_lengths(bert, ids, trace):
    found = cm.measure(trace, "hta_inputs").values
    plain = cm.measure(trace, "hta").values
    size = np.stack([layer.residual_in.norm(dim=-1).numpy() for layer in trace.layers])
    assert np.abs(found / (plain * size[:, None]) - found.mean() / (plain * size[:, None]).mean()).max() > 0.05


def test_a_decoder_is_measured_by_backward_passes():
    model, ids = build("llama").double(), token_ids(5)[0]
    found = cm.load(model).explain({"input_ids": ids}, "hta_inputs")

    def first_block(embeddings: Tensor) -> Tensor:
        given = {"inputs_embeds": embeddings[None], "output_hidden_states": True, "use_cache": False}
        return model(**given).hidden_states[1][0]

    x = model.get_input_embeddings()(ids).detach()
    np.testing.assert_allclose(found.layer(0).values, lengths(first_block, x, inputs=True), rtol=ROUNDED)


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_to_the_embeddings_it_multiplies_by_the_embeddings(family):
    model, ids = build(family).double(), token_ids(5)[0]
    found = cm.load(model).explain({"input_ids": ids}, "hta_inputs", span="embeddings")
    close(found, longhand(family, model, ids, inputs=True, span="embeddings"))


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("span", ["layer", "embeddings"])
def test_a_batch_gives_the_numbers_of_each_sequence(family, span):
    model, batch = cm.load(build(family).double()), token_ids(5, batch=3)
    alone = [cm.measure(model.trace({"input_ids": ids}), "hta_inputs", span=span).values for ids in batch]
    for found, wanted in zip(model.explain({"input_ids": batch}, "hta_inputs", span=span), alone, strict=True):
        close(found, wanted, ROUNDED if family == "llama" else 1e-10)


def test_one_token():
    model, ids = build("bert").double(), token_ids(1)[0]
    close(cm.load(model).explain({"input_ids": ids}, "hta_inputs"), longhand("bert", model, ids, inputs=True))


def test_rolled_out_layer_by_layer(trace):
    first, second = torch.from_numpy(cm.measure(trace, "hta_inputs").values.copy())
    rolled = cm.aggregate(cm.measure(trace, "hta_inputs"), "rollout")
    np.testing.assert_allclose(rolled.values, torch.stack([first, second @ first]).numpy(), rtol=1e-12)

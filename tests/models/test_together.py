"""The tokens of an answer explained as one: by one backward pass, or by what explains each of them."""

import numpy as np
import pytest
import torch
from tests.methods.speakers import speaker
from tests.tracing.tiny import token_ids
from torch import Tensor

import contextmix as cm
from contextmix.errors import BadOption
from contextmix.results.provenance import Quantity

IDS = token_ids(9, seed=4)[0]
START = 5


def together(model, method: str, **options) -> cm.TokenMap:
    given = {"continuation": IDS[START:].tolist(), "together": True, **options}
    return cm.load(model).explain_generation({"input_ids": IDS[:START].tolist()}, method, **given)


def of_the_answer(model, along: float = 1.0) -> tuple[Tensor, Tensor]:
    """The gradient of Σ log p of the answer at so much of the embeddings, by plain autograd, and the embeddings."""
    added = model.transformer.wpe(torch.arange(len(IDS) - 1)) if hasattr(model, "transformer") else 0  # GPT-2's places
    embedded = (model.get_input_embeddings()(IDS[None, :-1]) + added).detach()
    leaf = (along * embedded).requires_grad_()
    logits = model(inputs_embeds=leaf - added).logits[0]
    said = logits[START - 1 :].log_softmax(-1).gather(-1, IDS[START:, None]).sum()
    (gradient,) = torch.autograd.grad(said, leaf)
    return gradient[0], embedded[0]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_gradients_are_those_of_the_sum_of_log_probabilities(family: str):
    model = speaker(family)
    gradient, embedded = of_the_answer(model)
    found = together(model, "gradient")
    np.testing.assert_allclose(found.values[:-1], gradient.norm(dim=-1), rtol=1e-9)
    assert found.values[-1] == 0, "nothing reads the last token"
    product = together(model, "gradient_inputs", reduce="sum")
    np.testing.assert_allclose(product.values[:-1], (gradient * embedded).sum(-1).detach(), rtol=1e-9, atol=1e-12)
    assert (product.dims, product.quantity) == (("key",), Quantity.SIGNED)


def test_it_takes_one_backward_pass(monkeypatch):
    model, passes = speaker("gpt2"), []
    grad = torch.autograd.grad

    def counted(*arguments, **more):
        passes.append(1)
        return grad(*arguments, **more)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    together(model, "gradient")
    assert len(passes) == 1


def test_integrated_gradients_walk_from_zero_to_the_answer():
    model, steps = speaker("gpt2"), 4
    found = together(model, "integrated_gradients", steps=steps)
    gradients = [of_the_answer(model, (step + 0.5) / steps)[0] for step in range(steps)]
    wanted = (sum(gradients) / steps * of_the_answer(model)[1]).sum(-1)
    np.testing.assert_allclose(found.values[:-1], wanted.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("method", "way"), [("evidence", "sum"), ("decompx", "sum"), ("norm", "mean"), ("alti", "mean")]
)
def test_other_methods_add_what_explains_each_token(method: str, way: str):
    model = speaker("gpt2")
    rows = cm.load(model).explain_generation(
        {"input_ids": IDS[:START].tolist()}, method, continuation=IDS[START:].tolist()
    )
    found = together(model, method)
    joined = getattr(rows.values, way)(axis=rows.dims.index("query"))
    np.testing.assert_allclose(found.values, joined, rtol=1e-12)
    assert "query" not in found.dims
    assert found.provenance.notes["together"] == way


def test_a_contrast_of_all_tokens_with_none_is_refused():
    with pytest.raises(BadOption, match="together=True"):
        together(speaker("gpt2"), "gradient", contrast=True)


@pytest.mark.parametrize("as_one", [True, False])
def test_gradients_of_an_answer_run_the_model_once(as_one: bool):
    """What enters the first block is looked up without the blocks behind it, and the run says the probabilities too."""
    stories = cm.load("demo-decoder")
    ask = lambda: stories.explain_generation("Lily had a", "gradient_inputs", continuation=" red ball", together=as_one)  # noqa: E731
    blocks = [part for part in stories.model.modules() if type(part).__name__.endswith("DecoderLayer")]
    ran: list[int] = []
    hooks = [part.register_forward_hook(lambda *_: ran.append(1)) for part in blocks]
    try:
        ask()  # proves the model
        ran.clear()
        found = ask()
    finally:
        for hook in hooks:
            hook.remove()
    assert len(ran) == len(blocks) > 0
    plain = stories.explain_generation("Lily had a", "attention", continuation=" red ball")
    told = [one.provenance.notes["generation"]["probabilities"] for one in (found, plain)]
    np.testing.assert_allclose(*told, rtol=1e-5)

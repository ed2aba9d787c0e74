"""Gradients of the scores of several rows from one graph, against one plain run of the model for each."""

import numpy as np
import pytest
import torch
from tests.methods.speakers import speaker

import contextmix as cm
from contextmix.errors import NotFinite, TraceDoesNotAddUp, UnsupportedModel

IDS, START = [3, 17, 5, 9, 21, 4, 8], 4
FAMILIES = ["llama", "gpt2", "gemma2", "gpt_neox", "bloom"]


def asked(model, method="gradient_inputs", **options):
    traced = cm.load(model)
    return traced.explain_generation({"input_ids": IDS[:START]}, method, continuation=IDS[START:], **options)


def longhand(model, contrast: list[int] | None = None) -> list[torch.Tensor]:
    """For each new token the products of gradient and embedding, from a run on the tokens before it alone."""
    found = []
    for step, token in enumerate(IDS[START:]):
        seen: list[torch.Tensor] = []

        def keep(module, args, kwargs, seen=seen):
            own = kwargs.get("hidden_states", args[0] if args else None).detach().requires_grad_()
            seen.append(own)
            if "hidden_states" in kwargs:
                return args, {**kwargs, "hidden_states": own}
            return (own, *args[1:]), kwargs

        name = {"GPT2LMHeadModel": "transformer.h.0", "BloomForCausalLM": "transformer.h.0"}
        name |= {"GPTNeoXForCausalLM": "gpt_neox.layers.0"}
        block = model.get_submodule(name.get(type(model).__name__, "model.layers.0"))
        handle = block.register_forward_pre_hook(keep, with_kwargs=True)
        scores = model(input_ids=torch.tensor([IDS[: START + step]]), use_cache=False).logits[0, -1]
        handle.remove()
        explained = scores[token] if contrast is None else scores[token] - scores[contrast[step]]
        found.append((torch.autograd.grad(explained, seen[0])[0] * seen[0])[0].detach())
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("contrast", [False, True])
def test_each_row_is_that_of_a_run_on_the_tokens_before_it(family: str, contrast: bool):
    model = speaker(family)
    found, summed = (asked(model, reduce=reduce, contrast=contrast) for reduce in ("norm", "sum"))
    foils = found.provenance.notes["generation"]["foil_ids"] if contrast else None
    for step, wanted in enumerate(longhand(model, foils)):
        size = START + step
        tolerance = {"rtol": 1e-5 if family == "bloom" else 1e-9, "atol": 1e-6 if family == "bloom" else 1e-11}
        np.testing.assert_allclose(found.values[step, :size], wanted.norm(dim=-1), **tolerance)
        np.testing.assert_allclose(summed.values[step, :size], wanted.sum(-1), **tolerance)
        assert not found.values[step, size:].any()


def test_parameters_and_their_flags_are_left_alone():
    model = speaker("llama")
    model.lm_head.weight.requires_grad_(False)
    asked(model)
    assert [name for name, one in model.named_parameters() if not one.requires_grad] == ["lm_head.weight"]
    assert all(one.grad is None for one in model.parameters())


def test_a_head_that_reads_other_rows_too_is_refused():
    model = speaker("llama")
    model.lm_head.register_forward_pre_hook(lambda module, args: (args[0] + args[0].roll(1, dims=1),))
    with pytest.raises(TraceDoesNotAddUp, match="reads other rows too"):
        asked(model)


def test_a_score_without_a_gradient_is_refused():
    model = speaker("llama")
    with torch.no_grad():
        model.lm_head.weight.zero_()
    with pytest.raises(UnsupportedModel, match="does not react to the embeddings"):
        asked(model, "gradient")


def test_a_gradient_that_overflows_is_refused():
    model = speaker("llama")
    model.lm_head.register_full_backward_pre_hook(lambda module, grads: (grads[0] * float("inf"),))
    with pytest.raises(NotFinite):
        asked(model, "gradient")

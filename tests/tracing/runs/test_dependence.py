"""How far an answer depends on its context, against runs of the model by hand."""

from typing import Any

import pytest
import torch
from tests.methods.speakers import logits, speaker

from contextmix.errors import NotFinite
from contextmix.tracing.runs.dependence import dependence

CONTEXT, QUESTION, ANSWER = [7, 9, 11], [5, 6], [8, 12, 30]


def said(model: Any, prompt: list[int]) -> torch.Tensor:
    """The logits at the rows that say the answer."""
    return logits(model, torch.tensor([*prompt, *ANSWER[:-1]]))[len(prompt) - 1 :]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_each_token_is_compared_at_the_row_that_says_it(family):
    model = speaker(family)
    found = dependence(model, said(model, CONTEXT + QUESTION), QUESTION, ANSWER)
    for step, nats in enumerate(found):
        rows = [logits(model, torch.tensor([*prompt, *ANSWER[:step]]))[-1] for prompt in (CONTEXT + QUESTION, QUESTION)]
        p, q = (row.double().softmax(-1) for row in rows)
        assert nats == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-6)
    assert len(found) == 3
    assert min(found) > 0


def test_what_is_ruled_out_without_the_context_is_refused():
    model = speaker("llama")
    scores = said(model, CONTEXT + QUESTION)

    def ruled_out(module, args, output):
        return output.masked_fill(torch.arange(40) == ANSWER[0], -torch.inf)

    handle = model.lm_head.register_forward_hook(ruled_out)
    with pytest.raises(NotFinite, match="LlamaForCausalLM rules out without its context"):
        dependence(model, scores, QUESTION, ANSWER)
    handle.remove()


def test_nothing_depends_on_no_context():
    model = speaker("llama")
    assert dependence(model, said(model, QUESTION), QUESTION, ANSWER) == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)

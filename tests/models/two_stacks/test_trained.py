"""A model that was trained to write its source backwards: what is the right answer is known."""

import numpy as np
import pytest
import torch
import transformers
from tests.models.two_stacks.models import BART, LONG, SIZES

import contextmix as cm

LENGTH, END = 5, 2


@pytest.fixture(scope="module")
def reverser() -> cm.TracedModel:
    """Learned here, in seconds, from random sequences."""
    torch.manual_seed(0)
    config = transformers.BartConfig(**{**SIZES, **BART, **LONG, "d_model": 32, "vocab_size": 20, "dropout": 0.0})
    model = transformers.BartForConditionalGeneration(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(250):
        letters = torch.randint(3, 20, (48, LENGTH))
        end = torch.full((len(letters), 1), END)
        loss = model(
            input_ids=torch.cat([letters, end], 1), labels=torch.cat([letters.flip(1), end], 1), use_cache=False
        ).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert loss.item() < 0.1  # or it learned nothing, and the tests below mean nothing
    return cm.load(model.eval())


@pytest.mark.parametrize("method", ["alti_rollout", "globenc"])
def test_each_written_token_is_traced_to_the_one_that_it_copies(reverser, method):
    generator = torch.Generator().manual_seed(1)
    right = 0
    for _ in range(8):
        letters = (3 + torch.randperm(17, generator=generator)[:LENGTH]).tolist()
        found = reverser.explain({"input_ids": [*letters, END]}, method)
        assert found.query_tokens.ids == (*reversed(letters), END)
        source, _ = cm.source_and_target(found)
        strongest = source.values[:LENGTH].argmax(-1)
        right += int((strongest == np.arange(LENGTH)[::-1]).sum())
        assert (source.values[:LENGTH].sum(-1) > 0.5).all()  # it copies: the source says it all
    assert right >= 38  # of 40

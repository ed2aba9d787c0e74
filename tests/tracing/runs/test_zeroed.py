"""Log-probabilities of an answer with values of its prompt set to zero, against a model that is cut open."""

import pytest
import torch
from tests.methods.speakers import speaker
from tests.tracing.mixing import FAMILIES, Squared
from tests.tracing.runs.test_ablate import IDS, KEPT, SAID, by_hand
from tests.tracing.tiny import SIZES
from torch import Tensor, nn

import contextmix.tracing.runs.zeroed as zeroed
from contextmix.errors import UnsupportedModel
from contextmix.tracing.runs.zeroed import zeroed_log_probs


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox", "bloom"])
def test_zero_values_are_zero_in_every_layer(family: str, monkeypatch):
    """Against a model whose projections of values are cut open, with the tokens of one variant set to zero."""
    model = speaker(family)
    exact = dict.fromkeys(("rtol", "atol"), 1e-5 if family == "bloom" else 1e-9)  # its softmax is taken in float32
    found = zeroed_log_probs(model, IDS, KEPT, SAID)
    torch.testing.assert_close(found[0], by_hand(model, IDS), **exact)
    for kept, own in zip(KEPT[1:], found[1:], strict=True):
        handles = [part.register_forward_hook(without_values(model, kept)) for part in values_of(model)]
        assert len(handles) == SIZES["num_hidden_layers"]
        torch.testing.assert_close(own, by_hand(model, IDS), **exact)
        for handle in handles:
            handle.remove()
    assert (found[1:] - found[0]).abs().amax(-1).min() > 1e-3
    monkeypatch.setattr(zeroed, "PAIRS_AT_ONCE", 1)
    torch.testing.assert_close(zeroed_log_probs(model, IDS, KEPT, SAID), found, **exact)


def test_zero_values_are_zero_in_layers_without_attention_too():
    """Of a model that nobody looked at before: what a short convolution brings from these tokens is nothing."""
    model = FAMILIES["short convolution"].build("ForCausalLM")
    found = zeroed_log_probs(model, IDS, KEPT, SAID)
    parts = [
        (model.model.layers[0].conv.in_proj, slice(32, None)),
        (model.model.layers[1].self_attn.v_proj, slice(None)),
    ]
    for kept, own in zip(KEPT, found, strict=True):

        def zero(module: nn.Module, read, written: Tensor, gone=~kept) -> Tensor:
            written = written.clone()
            columns = next(columns for part, columns in parts if part is module)
            written[:, gone[: written.shape[1]], columns] = 0
            return written

        handles = [part.register_forward_hook(zero) for part, _ in parts]
        torch.testing.assert_close(own, by_hand(model, IDS), rtol=0, atol=1e-6)  # its norms compute in float32
        for handle in handles:
            handle.remove()


def test_layers_that_mix_unheard_are_refused():
    model = FAMILIES["short convolution"].build("ForCausalLM")
    model.model.layers[0].conv = Squared(model.model.layers[0].conv)
    with pytest.raises(UnsupportedModel, match=r"mix tokens without attention.*layers\.0 \(Lfm2DecoderLayer\)"):
        zeroed_log_probs(model, IDS, KEPT, SAID)


def values_of(model) -> list[nn.Module]:
    ends = ("v_proj", "c_attn", "query_key_value")
    return [part for name, part in model.named_modules() if name.endswith(ends)]


def without_values(model, kept: Tensor):
    """A hook that zeroes the values in what a projection gives: all of it, its last third, or a third of each head."""

    def hook(module: nn.Module, read, written: Tensor) -> Tensor:
        gone, written = ~kept[: written.shape[1]], written.clone()
        if type(model).__name__.startswith(("GPTNeoX", "Bloom")):
            heads = written.view(*written.shape[:2], SIZES["num_attention_heads"], 3, -1)
            heads[:, gone, :, 2] = 0
        else:
            third = 2 * SIZES["hidden_size"] if "GPT2" in type(model).__name__ else 0
            written[:, gone, third:] = 0
        return written

    return hook

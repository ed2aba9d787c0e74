"""Sequences that begin alike, read once: what they say is what each says by itself, and less is read."""

from contextlib import contextmanager

import pytest
import torch
import transformers
from tests.methods.speakers import speaker
from tests.tracing.runs.test_ablate import IDS, KEPT, SAID
from tests.tracing.tiny import MARKS, SIZES, build, in_float64, token_ids, vivid
from torch import Tensor

import contextmix.tracing.runs.ablate as ablate
import contextmix.tracing.runs.prefixes as prefixes
from contextmix.tracing.runs.ablate import Variant, answer_log_probs, masked
from contextmix.tracing.runs.prefixes import Steps, Walk, pays, walked
from contextmix.tracing.runs.zeroed import zeroed_log_probs

FAMILIES = ["llama", "gpt2", "gemma3", "gemma2", "qwen2", "opt", "phi3", "gpt_neox"]


def model_of(family: str):
    if family != "gemma3":
        return speaker(family)
    own = {**SIZES, **MARKS, "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 4}
    config = transformers.Gemma3TextConfig(**own, layer_types=["sliding_attention", "full_attention"])
    return in_float64(vivid(transformers.Gemma3ForCausalLM(config)))


@contextmanager
def tokens_read(model):
    """How many tokens each run embeds."""
    counted: list[int] = []
    hook = model.get_input_embeddings().register_forward_pre_hook(lambda _, args: counted.append(args[0].numel()))
    try:
        yield counted
    finally:
        hook.remove()


def by_itself(model, variants: list[Variant]) -> Tensor:
    return torch.cat([ablate.run_together(model, [one], SAID) for one in variants])


@pytest.mark.parametrize("way", ["dropped", "passed over", "deleted"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_begins_alike_is_read_once_and_says_the_same(family: str, way: str):
    model = model_of(family)
    cut = [Variant(IDS[kept]) for kept in KEPT]
    variants = cut if way == "deleted" else masked(IDS, KEPT, drop=way == "dropped")
    alone = by_itself(model, variants)
    answer_log_probs(model, variants, SAID, batch_tokens=1)  # the proof
    with tokens_read(model) as counted:
        found = answer_log_probs(model, variants, SAID, batch_tokens=1)
    torch.testing.assert_close(found, alone, rtol=1e-9, atol=1e-9)
    assert counted == ([11, 9, 6, 7] if way == "passed over" else [11, 3, 6, 7])  # of 11, 11, 11, 7; or 11, 8, 8, 7


@pytest.mark.parametrize("family", FAMILIES)
def test_values_in_front_of_what_is_zero_are_kept(family: str):
    model = model_of(family)
    alone = torch.cat([zeroed_log_probs(model, IDS, kept[None], SAID) for kept in KEPT])
    zeroed_log_probs(model, IDS, KEPT, SAID, batch_tokens=1)  # the proof
    with tokens_read(model) as counted:
        found = zeroed_log_probs(model, IDS, KEPT, SAID, batch_tokens=1)
    torch.testing.assert_close(found, alone, rtol=1e-9, atol=1e-9)
    assert counted == [11, 11, 9, 6]  # zero from 0 to 3; from 2 to 4; from 5 to 7, which shares two; nowhere: five
    assert (found[1:] - found[0]).abs().amax(-1).min() > 1e-3


def other_keys(cache, length: int):
    """A cut that is off by one: one key later, and as many."""
    pairs = [(one.keys[:, :, 1 : length + 1], one.values[:, :, 1 : length + 1]) for one in cache.layers]
    return prefixes.DynamicCache(pairs) if length else prefixes.DynamicCache()


def too_few(cache, length: int):
    pairs = [(one.keys[:, :, : length - 1], one.values[:, :, : length - 1]) for one in cache.layers]
    return prefixes.DynamicCache(pairs) if length else prefixes.DynamicCache()


@pytest.mark.parametrize("wrong", [other_keys, too_few])
def test_a_wrong_cut_is_noticed_and_everything_is_read(wrong, monkeypatch):
    model, variants = speaker("llama"), masked(IDS, KEPT, drop=True)
    monkeypatch.setattr(prefixes, "_cut", wrong)
    found = answer_log_probs(model, variants, SAID, batch_tokens=1)
    torch.testing.assert_close(found, by_itself(model, variants), rtol=1e-9, atol=1e-9)
    assert list(prefixes._proved[model].values()) == [False]
    with tokens_read(model) as counted:
        answer_log_probs(model, variants, SAID, batch_tokens=1)
    assert sorted(counted) == sorted(len(one) - 1 for one in variants)


def test_the_proof_is_made_once_for_a_model():
    model, variants = speaker("llama"), masked(IDS, KEPT, drop=True)
    with tokens_read(model) as counted:
        answer_log_probs(model, variants, SAID, batch_tokens=1)
        first = len(counted)
        answer_log_probs(model, variants, SAID, batch_tokens=1)
    assert (first, len(counted) - first) == (len(variants) + 1, len(variants))


def test_layers_that_remember_more_than_keys_are_not_asked():
    model = build("lfm2", "ForCausalLM", layer_types=["conv", "full_attention"])
    marks = [one.marks for one in masked(IDS, KEPT, drop=True)]
    assert walked(model, marks, Steps(lambda *_: IDS, lambda _: IDS), SAID) is None
    variants = [Variant(IDS[kept]) for kept in KEPT]
    found = answer_log_probs(model, variants, SAID, batch_tokens=1)
    torch.testing.assert_close(found, by_itself(model, variants), rtol=1e-5, atol=1e-5)


def test_short_ones_run_together_and_long_ones_one_after_another():
    one = token_ids(200)[0][:, None]
    other = torch.cat([one[:100], one[:100] + 40])
    cpu = torch.device("cpu")
    assert pays([one, other], [[0, 1]], 20, cpu)
    assert not pays([one[:40], other[:40]], [[0, 1]], 20, cpu)  # they share all, and a second call costs as much
    assert pays([one[:40], other[:40]], [[0], [1]], 20, cpu)
    assert not pays([one, other], [[0, 1]], 20, torch.device("cuda"))
    assert not pays([one, one.flip(0)], [[0], [1]], 20, cpu)


def test_the_rows_of_the_answer_are_always_read():
    walk, tokens = Walk(speaker("llama"), SAID), Variant(IDS).marks
    first = walk.logits(tokens)
    assert walk.shares(tokens) == len(tokens) - SAID
    torch.testing.assert_close(walk.logits(tokens), first, rtol=1e-9, atol=1e-9)
    assert len(first) == SAID

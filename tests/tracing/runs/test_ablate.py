"""Log-probabilities of an answer with parts of its prompt taken away, against plain runs of the model, one by one."""

import pytest
import torch
from tests.methods.speakers import CAUSAL, speaker
from tests.tracing.tiny import SIZES, build, hook_count, settings, token_ids
from torch import Tensor, nn

import contextmix.tracing.runs.ablate as ablate
from contextmix.errors import BadInput, NotFinite, UnsupportedModel
from contextmix.tracing.runs.ablate import Variant, answer_log_probs, drops, masked, zeroed_log_probs

IDS = token_ids(12, seed=5)[0]
SAID = 3
START = len(IDS) - SAID
KEPT = torch.ones(4, len(IDS), dtype=torch.bool)
KEPT[1, 2:5], KEPT[2, :4], KEPT[3, 5:8] = False, False, False  # in the middle, at the front, near the answer


def by_hand(model, ids: Tensor, said: int = SAID, **inputs) -> Tensor:
    """log p of the last tokens, from a run of all tokens by themselves."""
    with torch.no_grad():
        scores = model(ids[None], **inputs).logits[0].double().log_softmax(-1)
    return torch.stack([scores[place - 1, ids[place]] for place in range(len(ids) - said, len(ids))])


def only_these_keys(model, kept: Tensor) -> Tensor:
    """By hand: minus infinity for every key that is not kept, in all layers and rows, by a mask of all pairs."""
    n = len(kept) - 1
    seen = torch.ones(n, n, dtype=torch.bool).tril() & kept[:-1]
    seen |= torch.eye(n, dtype=torch.bool)  # a row of nothing would be NaN; what it says nobody reads
    added = torch.zeros(n, n, dtype=model.dtype).masked_fill(~seen, torch.finfo(model.dtype).min)
    with torch.no_grad():
        said = model(IDS[None, :-1], attention_mask=added[None, None], position_ids=torch.arange(n)[None]).logits[0]
    scores = said.double().log_softmax(-1)
    return torch.stack([scores[place - 1, IDS[place]] for place in range(START, len(IDS))])


@pytest.mark.parametrize("family", CAUSAL)
def test_prompts_of_any_lengths_say_what_each_says_alone(family: str):
    model = speaker(family)
    variants = [Variant(IDS), Variant(IDS[4:]), Variant(torch.cat([IDS[:2], IDS[7:]])), Variant(IDS[1:])]
    found = answer_log_probs(model, variants, SAID)
    assert found.dtype == torch.float64
    for one, own in zip(variants, found, strict=True):
        torch.testing.assert_close(own, by_hand(model, one.ids), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma", "opt"])
def test_padding_says_nothing(family: str, attention: str):
    model = speaker(family).float()
    model.set_attn_implementation(attention)
    variants = [Variant(IDS), Variant(IDS[4:]), *masked(IDS, KEPT, drop=True)]
    assert len(list(ablate._batches(variants, 1000, 99, ablate._pads(model)))) == 1
    for one, own in zip(variants, answer_log_probs(model, variants, SAID), strict=True):
        torch.testing.assert_close(own, answer_log_probs(model, [one], SAID)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", CAUSAL)
def test_masking_keys_is_dropping_tokens_with_their_old_positions(family: str):
    """Both equal a mask of minus infinities in all layers, made by hand."""
    model = speaker(family)
    dropped, passed_over = (answer_log_probs(model, masked(IDS, KEPT, drop=way), SAID) for way in (True, False))
    assert drops(model, IDS, KEPT[1], SAID)
    torch.testing.assert_close(dropped, passed_over, rtol=1e-9, atol=1e-9)
    for kept, own in zip(KEPT, dropped, strict=True):
        torch.testing.assert_close(own, only_these_keys(model, kept), rtol=1e-9, atol=1e-9)
    assert (dropped[1:] - dropped[0]).abs().amax(-1).min() > 1e-3


def test_deleting_counts_positions_anew_and_is_something_else():
    model = speaker("llama")
    deleted = answer_log_probs(model, [Variant(IDS[KEPT[1]])], SAID)[0]
    torch.testing.assert_close(deleted, by_hand(model, IDS[KEPT[1]]), rtol=1e-9, atol=1e-9)
    assert (deleted - answer_log_probs(model, masked(IDS, KEPT[1:2], drop=True), SAID)[0]).abs().max() > 1e-3


def test_small_batches_give_the_same_and_say_how_far_they_are(monkeypatch):
    model, told = speaker("gpt2").float(), []
    variants = masked(IDS, KEPT, drop=True)
    whole = answer_log_probs(model, variants, SAID)
    found = answer_log_probs(model, variants, SAID, batch_tokens=1, tick=told.append)
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)
    assert told == [1, 1, 1, 1]
    monkeypatch.setattr(ablate, "LOGITS_AT_ONCE", 2 * SAID * SIZES["vocab_size"])
    told.clear()
    answer_log_probs(model, variants, SAID, tick=told.append)
    assert told == [2, 2]


def test_what_runs_together_is_bounded_by_its_tokens():
    rows = list(ablate._batches([Variant(torch.zeros(n)) for n in (9, 2, 4, 3)], 12, 99, True))
    assert rows == [[1, 3, 2], [0]]  # 3 of at most 4 tokens
    assert list(ablate._batches([Variant(torch.zeros(n)) for n in (2, 3, 3)], 99, 99, False)) == [[0], [1, 2]]


@pytest.mark.parametrize("family", ["bloom"])
def test_a_model_that_counts_positions_itself_is_run_in_equal_lengths_and_not_masked(family: str):
    model = build(family, "ForCausalLM").double()
    variants = [Variant(IDS), Variant(IDS[4:]), Variant(IDS[4:].flip(0))]
    for one, own in zip(variants, answer_log_probs(model, variants, SAID), strict=True):
        torch.testing.assert_close(own, by_hand(model, one.ids), rtol=1e-5, atol=1e-5)  # its distances are float32
    with pytest.raises(UnsupportedModel, match=r"told the positions.*deleted"):
        drops(model, IDS, KEPT[1], SAID)
    with pytest.raises(UnsupportedModel, match="told the positions"):
        answer_log_probs(model, masked(IDS, KEPT, drop=True), SAID)


def test_a_convolution_carries_tokens_on_that_nobody_attends_to():
    model = build("lfm2", "ForCausalLM", layer_types=["conv", "full_attention"])
    with pytest.raises(UnsupportedModel, match=r"something other than attention.*away=\"deleted\""):
        drops(model, IDS, KEPT[1], SAID)


def test_a_window_is_counted_over_the_tokens_that_are_there():
    """Without three of them it would reach three tokens further back, so here they are passed over."""
    model = speaker("gemma2", sliding_window=4)
    dropped, passed_over = (answer_log_probs(model, masked(IDS, KEPT[1:2], drop=way), SAID) for way in (True, False))
    assert (dropped - passed_over).abs().max() > 1e-4
    assert not drops(model, IDS, KEPT[1], SAID)
    assert drops(speaker("gemma2", sliding_window=64), IDS, KEPT[1], SAID)


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
    monkeypatch.setattr(ablate, "PAIRS_AT_ONCE", 1)
    torch.testing.assert_close(zeroed_log_probs(model, IDS, KEPT, SAID), found, **exact)


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


def test_the_model_is_left_as_it_was():
    model = build("llama", "ForCausalLM")
    before = settings(model), hook_count(model), model.training
    zeroed_log_probs(model, IDS, KEPT, SAID)
    answer_log_probs(model, masked(IDS, KEPT, drop=True), SAID)
    assert (settings(model), hook_count(model), model.training) == before


def test_certain_tokens_keep_a_log_probability_below_zero():
    model = speaker("llama")
    with torch.no_grad():
        model.lm_head.weight.mul_(100)
    likely = torch.cat([IDS[:START], by_hand_next(model)[None]])
    found = float(answer_log_probs(model.float(), [Variant(likely)], 1))
    assert -1e-8 < found < 0


def by_hand_next(model) -> Tensor:
    with torch.no_grad():
        return model(IDS[None, :START]).logits[0, -1].argmax()


def test_nothing_before_the_answer_and_broken_scores_are_refused():
    model = speaker("llama")
    with pytest.raises(BadInput, match="nothing left before the answer"):
        answer_log_probs(model, [Variant(IDS), Variant(IDS[-SAID:])], SAID)
    with torch.no_grad():
        model.lm_head.weight[5] = torch.nan
    with pytest.raises(NotFinite, match="log-probability of the answer"):
        answer_log_probs(model, [Variant(IDS)], SAID)

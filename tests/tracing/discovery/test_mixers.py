"""Attention outside of the registry is found by its product with the values, and its maps are those of the model."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.tracing.tiny import SIZES, build, hook_count, in_float64, settings, token_ids, vivid
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import TapSilent, TraceDoesNotAddUp, UnsupportedModel

N = 9


@dataclass(frozen=True)
class Own:
    """Where a family keeps its parts, for brute force by hand.

    Attributes:
        blocks: Path of the list of blocks.
        value: Path of the module that makes the values, in a block.
        columns: Which of its outputs are values, heads side by side.
        output: Path of the output projection, in a block.
        causal: Whether later tokens are hidden.
        exact: The error that is left in float64.
        rest: What is added to the values after the module that makes them.
    """

    blocks: str
    value: str
    output: str
    columns: Callable[[int], list[int]] = lambda width: list(range(width))
    causal: bool = True
    exact: float = 1e-9
    rest: str = ""


def third(heads: int, place: int) -> Callable[[int], list[int]]:
    """The columns of queries, keys or values, where one module makes all three of each head."""

    def columns(width: int) -> list[int]:
        size = width // (3 * heads)
        return [(3 * head + place) * size + one for head in range(heads) for one in range(size)]

    return columns


def last_third(width: int) -> list[int]:
    return list(range(width - width // 3, width))


def after_two_heads(width: int) -> list[int]:
    """Falcon: two heads of queries, one of keys and one of values."""
    return list(range(3 * width // 4, width))


FLOAT32 = 1e-6  # its norms or its rotary positions compute in float32 whatever the model's precision
FAMILIES = {
    "debertav2": Own("encoder.layer", "attention.self.value_proj", "attention.output.dense", causal=False),
    "deberta": Own(
        "encoder.layer",
        "attention.self.in_proj",
        "attention.output.dense",
        third(2, 2),
        causal=False,
        exact=FLOAT32,
        rest="attention.self.v_bias",
    ),
    "mpnet": Own("encoder.layer", "attention.attn.v", "attention.attn.o", causal=False),
    "ibert": Own("encoder.layer", "attention.self.value", "attention.output.dense", causal=False),
    "roformer": Own("encoder.layer", "attention.self.value", "attention.output.dense", causal=False),
    "bloom": Own("h", "self_attention.query_key_value", "self_attention.dense", third(2, 2), exact=FLOAT32),
    "gptneo": Own("h", "attn.attention.v_proj", "attn.attention.out_proj"),
    "falcon": Own("h", "self_attention.query_key_value", "self_attention.dense", after_two_heads),
    "mpt": Own("blocks", "attn.Wqkv", "attn.out_proj", last_third),
    "openaigpt": Own("h", "attn.c_attn", "attn.c_proj", last_third),
}


def made(family: str, head: str = "Model", **changes: Any) -> Any:
    return in_float64(build(family, head, **changes))


@contextmanager
def hook(module: nn.Module, act: Callable[..., Any]) -> Any:
    handle = module.register_forward_hook(act)
    try:
        yield
    finally:
        handle.remove()


def first(said: Any) -> Tensor:
    return said if isinstance(said, Tensor) else said[0]


class ByHand:
    """A model run by the test's own hooks, with nothing of contextmix."""

    def __init__(self, model: Any, own: Own, layer: int, ids: Tensor) -> None:
        self.model, self.own, self.ids = model, own, ids
        self.block = model.get_submodule(own.blocks)[layer]
        self.maker, self.projection = self.block.get_submodule(own.value), self.block.get_submodule(own.output)

    @torch.no_grad()
    def run(self, zeroed: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The block's output, the values and what the projection wrote; the value of one token may be zero."""
        kept: dict[str, Any] = {}
        shift = self.block.get_parameter(self.own.rest) if self.own.rest else torch.zeros(1)

        def make(_: Any, __: Any, said: Any) -> Any:
            output = first(said).clone()
            columns = self.own.columns(output.shape[-1])
            if zeroed is not None:
                output[0, zeroed, columns] = -shift.expand(len(columns)).to(output)
            kept["value"] = output[0][:, columns] + shift
            return output if isinstance(said, Tensor) else (output, *said[1:])

        def leave(_: Any, __: Any, output: Any) -> None:
            kept["left"] = first(output)[0].clone()

        def wrote(_: Any, __: Any, output: Any) -> None:
            kept["wrote"] = first(output)[0].clone()

        with hook(self.maker, make), hook(self.block, leave), hook(self.projection, wrote):
            self.model(self.ids)
        return kept["left"], kept["value"], kept["wrote"]


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_value_zeroing_is_what_really_zeroed_values_do(family: str, layer: int):
    model, ids = made(family), token_ids(N)
    by_hand = ByHand(model, FAMILIES[family], layer, ids)
    clean, *_ = by_hand.run()
    wanted = torch.zeros(N, N, dtype=clean.dtype)
    for token in range(N):
        changed, *_ = by_hand.run(token)
        for row in range(N):
            wanted[row, token] = 1 - torch.nn.functional.cosine_similarity(clean[row], changed[row], dim=0)
    trace = cm.load(model).trace({"input_ids": ids[0]})
    found = cm.measure(trace, "value_zeroing", normalise=False).values[layer]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=FAMILIES[family].exact)
    if FAMILIES[family].causal:
        assert not np.triu(found, 1).any()
    replayed = trace.layers[layer].replay_zeroed(3, None)
    np.testing.assert_allclose(replayed, by_hand.run(3)[0], rtol=0, atol=FAMILIES[family].exact)


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_are_lengths_of_what_each_token_really_sends(family: str):
    """What zeroing a value takes away from the projection's output is what that token sent."""
    model, ids = made(family), token_ids(N)
    trace = cm.load(model).trace({"input_ids": ids[0]})
    found = cm.measure(trace, "norm").values
    for layer in range(2):
        by_hand = ByHand(model, FAMILIES[family], layer, ids)
        _, _, clean = by_hand.run()
        sent = torch.stack([clean - by_hand.run(token)[2] for token in range(N)], dim=1)  # (row, token, d_model)
        np.testing.assert_allclose(found[layer], sent.norm(dim=-1), rtol=0, atol=FAMILIES[family].exact)
        parts = trace.layers[layer].attention_parts
        assert (parts.total - sent.sum(1)).abs().max() <= FAMILIES[family].exact
        if FAMILIES[family].causal:
            assert not np.triu(found[layer], 1).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_with_the_residual_are_the_state_of_each_row(family: str):
    trace = cm.load(made(family)).trace({"input_ids": token_ids(N)[0]})
    for layer in trace.layers:
        bias = layer.block.output_bias
        attended = torch.einsum("hij,hjc,hcd->id", layer.attention, layer.value, layer.block.output_weight)
        attended = attended if bias is None else attended + bias
        assert (attended - layer.attention_out).abs().max() <= 1e-9
        assert (layer.attention.sum(-1) - 1).abs().max() <= 1e-6
        if FAMILIES[family].causal:
            assert not layer.attention.triu(1).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_is_left_as_it_was_and_gives_what_it_gave(family: str):
    model = build(family)
    before, ids = settings(model), token_ids(N, batch=2)
    with torch.no_grad():
        plain = model(ids)[0]
    traced = cm.load(model)
    report = traced.check({"input_ids": ids[0]})
    assert report.parity <= 1e-6
    assert report.checks.layers == 2
    assert settings(model) == before
    assert hook_count(model) == 0
    with torch.no_grad():
        assert torch.equal(model(ids)[0], plain)
    assert traced.is_causal == FAMILIES[family].causal


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_is_its_sequences_one_by_one(family: str):
    traced, ids = cm.load(made(family)), token_ids(N, batch=3)
    for row, trace in enumerate(traced.trace({"input_ids": ids})):
        alone = traced.trace({"input_ids": ids[row]})
        for layer, own in zip(trace.layers, alone.layers, strict=True):
            torch.testing.assert_close(layer.attention, own.attention, rtol=0, atol=1e-6)
            torch.testing.assert_close(layer.value, own.value, rtol=0, atol=1e-6)
            torch.testing.assert_close(layer.replay_zeroed(2, None), own.replay_zeroed(2, None), rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", ["debertav2", "roformer", "falcon"])
def test_gradients_flow_through_a_replay(family: str):
    layer = cm.load(made(family)).trace({"input_ids": token_ids(5)[0]}).layers[1]
    states = layer.residual_in.clone().requires_grad_()
    row = layer.replay(states)[3]
    (found,) = torch.autograd.grad(row[1], states)
    step = torch.zeros_like(states)
    step[2, 4] = 1e-6
    with torch.no_grad():
        both = layer.replay(layer.residual_in + step)[3, 1] - layer.replay(layer.residual_in - step)[3, 1]
    assert float(both / 2e-6) == pytest.approx(float(found[2, 4]), abs=1e-6)


# Tokens in front, and projections that are parameters ----------------------------------------------------------------


@contextmanager
def value_of(attention: Any, token: int) -> Any:
    """XLNet's values are made by a parameter, so the function that reads them is handed others; tokens come first."""
    own = attention.rel_attn_core

    def core(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **named: Any) -> Any:
        value = value.clone()
        value[token] = 0
        return own(query, key, value, *rest, **named)

    attention.rel_attn_core = core
    try:
        yield
    finally:
        del attention.rel_attn_core


@pytest.mark.parametrize("layer", [0, 1])
@torch.no_grad()
def test_tokens_in_front_and_a_projection_that_no_module_holds(layer: int):
    model, ids = made("xlnet"), token_ids(N)
    traced = cm.load(model)
    trace, place = traced.trace({"input_ids": ids[0]}), traced.anatomy().blocks[layer]
    assert (place.turned, place.projection.path, place.value.path) == (True, "rel_attn.o", "rel_attn.v")
    states = []
    with hook(model.layer[layer], lambda _, __, output: states.append(output[0][:, 0].clone())):
        model(ids)
        for token in range(N):
            with value_of(model.layer[layer].rel_attn, token):
                model(ids)
    clean, *changed = states
    assert (trace.layers[layer].residual_out - clean).abs().max() <= 1e-12
    alike = [torch.nn.functional.cosine_similarity(clean, other, dim=-1) for other in changed]
    found = cm.measure(trace, "value_zeroing", normalise=False).values[layer]
    np.testing.assert_allclose(found, 1 - torch.stack(alike, dim=1), rtol=0, atol=1e-9)
    torch.testing.assert_close(trace.layers[layer].replay_zeroed(3, None), changed[3], rtol=0, atol=1e-12)
    assert trace.checks.conservation <= 1e-12


def test_a_classifier_with_tokens_in_front_is_explained_by_every_kind_of_method():
    traced, ids = cm.load(made("xlnet", "ForSequenceClassification")), token_ids(N)[0]
    with torch.no_grad():
        logits = traced.model(ids[None]).logits[0]
    assert logits.shape == (2,)
    for method in ("globenc", "gradient_inputs", "integrated_gradients", "occlusion", "alti", "hta", "decompx"):
        values = traced.explain({"input_ids": ids}, method).values
        assert np.isfinite(values).all()
        assert np.abs(values).sum() > 0


# What a family can be set to -----------------------------------------------------------------------------------------

SET = {
    "falcon, grouped": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 1}),
    "falcon, distances": ("falcon", {"alibi": True}),
    "falcon, eager": ("falcon", {"attn_implementation": "eager"}),
    "falcon, serial": ("falcon", {"parallel_attn": False, "bias": True}),
    "falcon, many": ("falcon", {"multi_query": False}),
    "deberta, keys of positions are shared": ("debertav2", {"share_att_key": True, "norm_rel_ebd": "layer_norm"}),
    "deberta, no positions": ("debertav2", {"relative_attention": False, "pos_att_type": []}),
    "mpnet, one head": ("mpnet", {"num_attention_heads": 1}),
    "gpt-neo, far": ("gptneo", {"window_size": 2}),
}


@pytest.mark.parametrize("name", SET)
def test_settings_of_a_family(name: str):
    family, changes = SET[name]
    model, ids = made(family, **changes), token_ids(N)
    own = FAMILIES[family]
    trace = cm.load(model).trace({"input_ids": ids[0]})
    assert trace.checks.conservation <= 1e-12
    if family == "falcon" and set(changes) & {"multi_query", "new_decoder_architecture"}:
        columns = third(2, 2) if "multi_query" in changes else after_two_heads
        own = replace(own, columns=columns)
    for layer in range(2):
        by_hand = ByHand(model, own, layer, ids)
        wanted, *_ = by_hand.run(4)
        torch.testing.assert_close(trace.layers[layer].replay_zeroed(4, None), wanted, rtol=0, atol=1e-6)


# All methods ---------------------------------------------------------------------------------------------------------

SAYING = {"bloom": "ForCausalLM", "gptneo": "ForCausalLM", "falcon": "ForCausalLM", "mpt": "ForCausalLM"}


@pytest.mark.parametrize("family", SAYING)
def test_methods_that_know_what_a_decoder_says(family: str):
    traced, ids = cm.load(made(family, SAYING[family])), token_ids(N)[0]
    with torch.no_grad():
        logits = traced.model(ids[None]).logits[0, -1]
    found = traced.explain({"input_ids": ids}, "decompx", target=7)
    assert float(found.values.sum()) == pytest.approx(float(logits[7]), abs=1e-5) or found.notes
    for method in ("evidence", "globenc", "occlusion", "effective_attention"):
        values = traced.explain({"input_ids": ids}, method).values
        assert np.isfinite(values).all()
        assert np.abs(values).sum() > 0


@pytest.mark.parametrize("family", ["bloom", "gptneo"])
def test_what_a_decoder_writes_is_explained_step_by_step(family: str):
    traced, ids = cm.load(made(family, "ForCausalLM")), token_ids(5)[0]
    for method in ("globenc", "value_zeroing_rollout", "evidence", "decompx"):
        written = traced.explain_generation({"input_ids": ids}, method, max_new_tokens=3)
        assert written.values.shape[0] == 3, method


def test_deberta_is_decomposed_with_the_bias_that_it_adds_to_its_values():
    model, ids = build("deberta", "ForSequenceClassification"), token_ids(N)
    traced = cm.load(model)
    assert traced.anatomy().blocks[0].value.added == "attention.self.v_bias"
    with torch.no_grad():
        logits = model(ids).logits[0]
    for target in (0, 1):
        found = traced.explain({"input_ids": ids[0]}, "decompx", target=target)
        assert float(found.values.sum()) == pytest.approx(float(logits[target]), abs=1e-4)


# Refused -------------------------------------------------------------------------------------------------------------


class Twisted(nn.Module):
    """MPNet's attention with values that pass a square on the way to the output projection: nothing linear is left."""

    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        self.own = own
        self.own.o = Squared(own.o)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.own(*args, **kwargs)


class Squared(nn.Module):
    """A linear module whose input is squared first, in a function of no module."""

    def __init__(self, dense: nn.Linear) -> None:
        super().__init__()
        self.dense = dense

    def forward(self, states: Tensor) -> Tensor:
        return self.dense(states.square())


def refusal(model: Any) -> str:
    with pytest.raises(UnsupportedModel) as said:
        cm.load(model).explain({"input_ids": token_ids(N)[0]})
    assert hook_count(model) == 0
    return str(said.value)


def test_a_mixer_that_cannot_be_separated_is_refused_with_what_was_tried():
    model = build("mpnet")
    for layer in model.encoder.layer:
        layer.attention.attn = Twisted(layer.attention.attn)
    said = refusal(model)
    assert "'mpnet' (MPNetModel) computes attention itself" in said
    assert "4 products of two tensors (in MPNetSelfAttention), and none of them is read by a linear module" in said


def test_one_layer_that_cannot_be_separated_is_not_skipped():
    model = build("mpnet")
    model.encoder.layer[1].attention.attn = Twisted(model.encoder.layer[1].attention.attn)
    assert "layers beside the attention blocks made no attention call: encoder.layer.1" in refusal(model)


class HeadsFirst(nn.Module):
    """Attention whose heads and batch share one axis, the heads first."""

    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = own.q, own.k, own.v, own.o

    def forward(self, states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor]:
        batch, length, width = states.shape
        heads = (one(states).view(batch, length, 2, -1).permute(2, 0, 1, 3) for one in (self.q, self.k, self.v))
        query, key, value = (one.reshape(2 * batch, length, -1) for one in heads)
        mixed = torch.bmm(torch.bmm(query, key.mT).softmax(-1), value).view(2, batch, length, -1)
        return (self.o(mixed.permute(1, 2, 0, 3).reshape(batch, length, width)),)


@torch.no_grad()
def test_where_an_axis_of_heads_and_batch_does_not_hold_the_batch_first_channels_are_read_apart():
    """Of one sequence it would look the same; of several, values of other sequences would be taken for a head's."""
    model = build("mpnet")
    for layer in model.encoder.layer:
        layer.attention.attn = HeadsFirst(layer.attention.attn)
    for trace in cm.load(model).trace({"input_ids": torch.cat([token_ids(N), token_ids(N, seed=5)])}):
        for layer, block in zip(trace.layers, model.encoder.layer, strict=True):
            own = block.attention.attn
            query, key = (one(layer.residual_in).view(N, 2, -1).transpose(0, 1) for one in (own.q, own.k))
            assert layer.channelwise
            wanted = (query @ key.mT).softmax(-1).repeat_interleave(8, dim=0)
            torch.testing.assert_close(layer.attention, wanted, rtol=1e-4, atol=1e-5)


def test_a_convolution_after_the_first_layer_is_refused():
    assert "something acts between these blocks" in refusal(build("debertav2", conv_kernel_size=3))


def test_the_wrong_operand_is_caught_by_conservation():
    d_head = SIZES["hidden_size"] // SIZES["num_attention_heads"]
    blocks = cm.load(build("mpnet")).anatomy().blocks
    assert [(block.mixer.number, block.mixer.value) for block in blocks] == [(1, 1), (1, 1)]
    for length in (d_head, N):  # of so many tokens, queries times keys have the shapes of weights times values
        for wrong in ({"number": 0}, {"number": 0, "value": 0}, {"value": 0}):
            other = cm.Anatomy(tuple(replace(block, mixer=replace(block.mixer, **wrong)) for block in blocks))
            with pytest.raises(TraceDoesNotAddUp, match="attention · value · output projection differs"):
                cm.load(build("mpnet"), anatomy=other).trace({"input_ids": token_ids(length)[0]})


def test_a_product_that_is_never_made_is_silence():
    blocks = cm.load(build("bloom")).anatomy().blocks
    other = cm.Anatomy(tuple(replace(block, mixer=replace(block.mixer, number=7)) for block in blocks))
    with pytest.raises(TapSilent):
        cm.load(build("bloom"), anatomy=other).trace({"input_ids": token_ids(N)[0]})


def test_an_anatomy_that_was_found_serves_a_copy():
    anatomy = cm.load(build("bloom")).anatomy()
    other = cm.load(build("bloom", seed=1), anatomy=anatomy).trace({"input_ids": token_ids(N)[0]})
    assert other.checks.layers == 2


# Two models in one, and half precision -------------------------------------------------------------------------------


def bigbird() -> Any:
    own = {"block_size": 4, "num_random_blocks": 1, "sep_token_id": 3, "max_position_embeddings": 64}
    return vivid(transformers.BigBirdModel(transformers.BigBirdConfig(**{**SIZES, **own})))


def test_a_model_that_becomes_another_on_short_inputs_is_refused_until_one_is_chosen():
    """BigBird attends in blocks, and to everything once it has read a short input."""
    assert "exchanged its own modules" in refusal(bigbird())
    model = bigbird()
    model.set_attention_type("original_full")
    ids = token_ids(40)
    trace = cm.load(model).trace({"input_ids": ids[0]})
    with torch.no_grad():
        attention = model(ids, output_attentions=True).attentions
    for layer, own in zip(trace.layers, attention, strict=True):
        assert torch.equal(layer.attention, own[0])


@pytest.mark.parametrize("family", [*FAMILIES, "xlnet"])
def test_half_precision_is_read_like_float32(family: str):
    whole, half = cm.load(build(family)), cm.load(build(family).bfloat16())
    assert half.anatomy().blocks[1].mixer == whole.anatomy().blocks[1].mixer
    assert half.check().parity <= 1e-6

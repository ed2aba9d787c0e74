"""Mixers that no single product holds: what unit values show is what the model does, longhand and with real zeros."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.tracing.tiny import build, hook_count, in_float64, token_ids, vivid
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import UnsupportedModel
from contextmix.traces.mixing import Strand, Woven
from contextmix.tracing.recording.listeners import heard_by
from contextmix.tracing.recording.mixing.woven import weaving

N = 8


def longt5() -> Any:
    config = transformers.LongT5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, local_radius=2, dropout_rate=0.0
    )
    return in_float64(vivid(transformers.LongT5EncoderModel(config)).encoder)


def family(name: str, head: str = "Model") -> Callable[[], Any]:
    return lambda: in_float64(build(name, head))


MADE: dict[str, tuple[Callable[[], Any], str, str, tuple[str, ...]]] = {
    "longformer": (family("longformer"), "encoder.layer", "attention.output.dense", ("attention.self.value",)),
    "longformer, a global token": (
        family("longformer", "ForSequenceClassification"),
        "longformer.encoder.layer",
        "attention.output.dense",
        ("attention.self.value", "attention.self.value_global"),
    ),
    "nystromformer": (family("nystromformer"), "encoder.layer", "attention.output.dense", ("attention.self.value",)),
    "convbert": (
        family("convbert"),
        "encoder.layer",
        "attention.output.dense",
        ("attention.self.value", "attention.self.conv_out_layer"),
    ),
    "longt5": (longt5, "block", "layer.0.LocalSelfAttention.o", ("layer.0.LocalSelfAttention.v",)),
}
"""How each is made; where its blocks are, and in a block its output projection and what makes its values."""
EXACT = {"longt5": 1e-6}
"""LongT5 computes its softmax in float32."""
FLOAT32 = 1e-6
"""So does Longformer, and what is longhand here is not."""


@contextmanager
def hooks(*pairs: tuple[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    handles = [module.register_forward_hook(act) for module, act in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def by_hand(name: str, model: Any, layer: int, token: int | None) -> tuple[Tensor, Tensor]:
    """What a block leaves and what its projection writes, with the values of a token zero in it; nothing of ours."""
    _, blocks, output, makers = MADE[name]
    block, kept = model.get_submodule(blocks)[layer], {}

    def zero(_: Any, __: Any, wrote: Tensor) -> Tensor:
        wrote = wrote.clone()
        if token is not None:
            (wrote if wrote.shape[0] == 1 else wrote.transpose(0, 1))[0, token] = 0
        return wrote

    def left(_: Any, __: Any, said: Any) -> None:
        kept["left"] = (said if isinstance(said, Tensor) else said[0])[0].clone()

    def sent(_: Any, __: Any, wrote: Tensor) -> None:
        kept["sent"] = wrote[0].clone()

    zeroing = [(block.get_submodule(path), zero) for path in makers]
    with hooks(*zeroing, (block, left), (block.get_submodule(output), sent)):
        model(token_ids(N))
    return kept["left"], kept["sent"]


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("name", MADE)
def test_value_zeroing_and_norms_are_what_really_zeroed_values_do(name: str, layer: int):
    model, exact = MADE[name][0](), EXACT.get(name, 1e-9)
    clean, sent = by_hand(name, model, layer, None)
    others = [by_hand(name, model, layer, token) for token in range(N)]
    trace = cm.load(model).trace({"input_ids": token_ids(N)[0]})
    found = cm.measure(trace, "value_zeroing", normalise=False).values[layer]
    wanted = [1 - torch.nn.functional.cosine_similarity(clean, other, dim=-1) for other, _ in others]
    np.testing.assert_allclose(found, torch.stack(wanted, dim=1), rtol=0, atol=exact)
    parts = torch.stack([sent - other for _, other in others], dim=1)
    np.testing.assert_allclose(cm.measure(trace, "norm").values[layer], parts.norm(dim=-1), rtol=0, atol=exact)
    assert (trace.layers[layer].attention_parts.total - parts.sum(1)).abs().max() <= exact
    replayed = trace.layers[layer].replay_zeroed(3, None)
    torch.testing.assert_close(replayed, others[3][0], rtol=0, atol=exact)
    assert trace.checks.conservation <= exact
    assert hook_count(model) == 0


@pytest.mark.parametrize("name", MADE)
def test_a_batch_is_its_sequences_one_by_one(name: str):
    traced, ids = cm.load(MADE[name][0]()), token_ids(N, batch=3)
    for row, trace in enumerate(traced.trace({"input_ids": ids})):
        alone = traced.trace({"input_ids": ids[row]})
        for layer, own in zip(trace.layers, alone.layers, strict=True):
            torch.testing.assert_close(layer.attention, own.attention, rtol=0, atol=1e-6)
            torch.testing.assert_close(layer.value, own.value, rtol=0, atol=1e-6)
            torch.testing.assert_close(layer.replay_zeroed(2, None), own.replay_zeroed(2, None), rtol=0, atol=1e-6)


# Longhand ------------------------------------------------------------------------------------------------------------


def projected(states: Tensor, linear: nn.Linear, head: int, size: int) -> Tensor:
    return (states @ linear.weight.T + linear.bias)[:, head * size : (head + 1) * size].detach()


def test_longformer_longhand_with_a_global_token():
    """Rows of a window weigh it and the global token, which they see once; the global row weighs all tokens."""
    model = MADE["longformer, a global token"][0]()
    for layer in cm.load(model).trace({"input_ids": token_ids(N)[0]}).layers:
        own, size = model.longformer.encoder.layer[layer.index].attention.self, 8
        for head in range(2):
            query, key = (projected(layer.residual_in, one, head, size) for one in (own.query, own.key))
            far_query, far_key = (
                projected(layer.residual_in, one, head, size) for one in (own.query_global, own.key_global)
            )
            near, far = torch.zeros(2, N, N, dtype=torch.float64)
            for row in range(1, N):
                seen = [0, *(other for other in range(1, N) if abs(other - row) <= 2)]
                scores = torch.stack([query[row] @ key[other] / size**0.5 for other in seen])
                near[row, seen] = scores.softmax(0)
            far[0] = torch.stack([far_query[0] @ far_key[other] / size**0.5 for other in range(N)]).softmax(0)
            torch.testing.assert_close(layer.attention[head], near, rtol=0, atol=FLOAT32)
            torch.testing.assert_close(layer.attention[2 + head], far, rtol=0, atol=FLOAT32)
            values = projected(layer.residual_in, own.value_global, head, size)
            torch.testing.assert_close(layer.value[2 + head], values, rtol=0, atol=1e-12)


def test_nystromformer_longhand():
    """softmax(q·K̃) · inverse · softmax(Q̃·k) for two landmarks, and a filter of three taps over the values."""
    model = in_float64(build("nystromformer", num_landmarks=2, segment_means_seq_len=N))  # it reads N tokens or none
    traced = cm.load(model)
    traced.anatomy({"input_ids": token_ids(N)})
    for layer in traced.trace({"input_ids": token_ids(N)[0]}).layers:
        own, size, marks = model.encoder.layer[layer.index].attention.self, 8, 2
        middles = []
        for head in range(2):
            query, key = (projected(layer.residual_in, one, head, size) / size**0.25 for one in (own.query, own.key))
            few_queries, few_keys = (one.reshape(marks, N // marks, size).mean(1) for one in (query, key))
            middles.append((query, key, few_queries, few_keys, (few_queries @ few_keys.T).softmax(-1)))
        largest = max(float(middle.sum(-2).max()) for *_, middle in middles)
        for head, (query, key, few_queries, few_keys, middle) in enumerate(middles):
            inverse, eye = middle.T / largest, torch.eye(marks, dtype=torch.float64)
            for _ in range(6):
                both = middle @ inverse
                inverse = 0.25 * inverse @ (13 * eye - both @ (15 * eye - both @ (7 * eye - both)))
            wanted = (query @ few_keys.T).softmax(-1) @ inverse @ (few_queries @ key.T).softmax(-1)
            taps = own.conv.weight[head, 0, :, 0].detach()
            for row in range(N):
                for tap in range(3):
                    if 0 <= row + tap - 1 < N:
                        wanted[row, row + tap - 1] += taps[tap]
            torch.testing.assert_close(layer.attention[head], wanted, rtol=0, atol=1e-9)


def test_convbert_longhand():
    """Half of the heads attend; in the other half a softmax over three taps, made of each row's own query."""
    model = MADE["convbert"][0]()
    for layer in cm.load(model).trace({"input_ids": token_ids(N)[0]}).layers:
        own, states, size = model.encoder.layer[layer.index].attention.self, layer.residual_in, 4
        with torch.no_grad():
            keys = own.key_conv_attn_layer(states.T[None])[0].T
            taps = own.conv_kernel_layer(keys * own.query(states))
        for head in range(2):
            query, key = (projected(states, one, head, size) for one in (own.query, own.key))
            wanted = (query @ key.T / size**0.5).softmax(-1)
            torch.testing.assert_close(layer.attention[head], wanted, rtol=0, atol=1e-9)
            near = torch.zeros(N, N, dtype=torch.float64)
            for row in range(N):
                weights = taps[row, 3 * head : 3 * head + 3].softmax(0)
                for tap in range(3):
                    if 0 <= row + tap - 1 < N:
                        near[row, row + tap - 1] = weights[tap]
            torch.testing.assert_close(layer.attention[2 + head], near, rtol=0, atol=1e-9)


# What is said of them ------------------------------------------------------------------------------------------------


def test_weights_of_two_kinds_of_values_are_those_of_one_head():
    model = MADE["longformer, a global token"][0]()
    trace = cm.load(model).trace({"input_ids": token_ids(N)[0]})
    layer, found = trace.layers[0], cm.measure(trace, "attention").values[0]
    np.testing.assert_allclose(found, layer.attention.sum(0) / 2, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.sum(-1), np.ones(N), rtol=0, atol=FLOAT32)
    with pytest.raises(UnsupportedModel, match="two kinds of values"):
        cm.measure(trace, "effective_attention")


@pytest.mark.parametrize(
    "method", ["attention", "attention_rollout", "attention_flow", "attention_residual", "effective_attention"]
)
def test_what_is_no_weight_is_not_shown_as_one(method: str):
    traced = cm.load(MADE["nystromformer"][0]())
    with pytest.raises(UnsupportedModel, match="no attention weights"):
        traced.explain({"input_ids": token_ids(N)[0]}, method)


def test_what_no_value_changes_is_computed_once():
    model = MADE["longformer"][0]()
    traced, calls = cm.load(model), []
    mixer = traced.anatomy().blocks[0].mixer
    assert set(mixer.routing) == {"query", "key"}
    with_hooks = model.encoder.layer[0].attention.self
    own = torch.nn.Linear.forward

    def counted(module: nn.Module, states: Tensor) -> Tensor:
        calls.append(module)
        return own(module, states)

    traced.trace({"input_ids": token_ids(N)[0]})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.nn.Linear, "forward", counted)
        traced.trace({"input_ids": token_ids(N)[0]})
    assert [calls.count(one) for one in (with_hooks.query, with_hooks.key, with_hooks.value)] == [1, 1, 1]


@pytest.mark.parametrize("name", MADE)
def test_all_kinds_of_methods_know_them(name: str):
    traced = cm.load(MADE[name][0]())
    for method in ("globenc", "value_zeroing_rollout", "alti", "hta", "norm"):
        values = traced.explain({"input_ids": token_ids(N)[0]}, method).values
        assert np.isfinite(values).all()
        assert values.shape[-2:] == (N, N)


# Refused -------------------------------------------------------------------------------------------------------------


class Keeps:
    """A listener that keeps the maps."""

    def __init__(self) -> None:
        self.maps: list[Tensor] = []

    def heard(self, module: nn.Module, attention: Tensor, value: Tensor, output: Tensor, scores: Any) -> None:
        self.maps.append(attention)


class Summed(nn.Module):
    """Each token is the sum of all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Linear(4, 4)

    def forward(self, states: Tensor) -> Tensor:
        return torch.cumsum(self.value(states), dim=1)


@torch.no_grad()
def test_hooks_of_the_user_on_what_makes_values_count_once():
    module, keeps, heads = Summed(), Keeps(), ((0, 1), (2, 3))
    mixers = {module: Woven("", (Strand("value", heads, heads),))}
    with hooks((module.value, lambda _, __, wrote: 3 * wrote)), heard_by(keeps), weaving(mixers, keeps):
        module(torch.randn(1, 5, 4))
    assert torch.equal(keeps.maps[0][0, 1], torch.ones(5, 5).tril())
    assert hook_count(module) == 0
    assert "forward" not in vars(module.value)


class Twice(Summed):
    """Makes values in two calls of one module."""

    def forward(self, states: Tensor) -> Tensor:
        return torch.cumsum(self.value(states), dim=1) + self.value(states)


def test_values_of_two_calls_of_one_module_are_refused():
    module, keeps, heads = Twice(), Keeps(), ((0, 1), (2, 3))
    mixers = {module: Woven("", (Strand("value", heads, heads),))}
    with (
        heard_by(keeps),
        weaving(mixers, keeps),
        pytest.raises(UnsupportedModel, match="in two calls of one Linear"),
    ):
        module(torch.randn(1, 5, 4))
    assert hook_count(module) == 0

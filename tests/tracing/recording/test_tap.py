"""The tap hears everything, changes nothing, and leaves no trace of itself."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from tests.tracing.tiny import DECODERS, ENCODERS, SIZES, build, hook_count, settings, token_ids, vivid
from torch import Tensor, nn
from transformers import AttentionMaskInterface, BertModel, CLIPConfig, CLIPModel, DeepseekV32Config, DeepseekV32Model
from transformers.models.bert import modeling_bert

import contextmix as cm
from contextmix.errors import TraceDoesNotAddUp, UnsupportedModel
from contextmix.plugins.plan import Plan
from contextmix.tracing.recording.record import record
from contextmix.tracing.recording.tap import NAME, name_over, own_eager, tapped

LAYERS = SIZES["num_hidden_layers"]


class Heard(list):
    """A listener that keeps the attention of every call."""

    def heard(self, module: nn.Module, attention: Tensor, *more: Tensor) -> None:
        self.append(attention)


@torch.no_grad()
def last_state(model: Any, **inputs: Tensor) -> Tensor:
    return model(**inputs).last_hidden_state


@pytest.fixture
def clip() -> CLIPModel:
    """Two towers, each with its own configuration and its own attention setting."""
    text = {name: size for name, size in SIZES.items() if name != "max_position_embeddings"}
    sizes = {name: size for name, size in text.items() if name != "vocab_size"}
    config = CLIPConfig(text_config=text, vision_config={**sizes, "image_size": 8, "patch_size": 4}, projection_dim=8)
    model = vivid(CLIPModel(config))
    model.set_attn_implementation({"text_config": "eager", "vision_config": "sdpa"})
    assert {"eager", "sdpa"} <= set(settings(model))
    return model


# The same model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS])
def test_outputs_are_equal_with_and_without_the_tap(family: str):
    model, inputs = build(family), {"input_ids": token_ids(9, batch=2)}
    fast = last_state(model, **inputs)
    model.set_attn_implementation("eager")
    eager = last_state(model, **inputs)
    with tapped(model, Heard()):
        traced = last_state(model, **inputs)
    assert torch.equal(traced, eager)
    torch.testing.assert_close(traced, fast, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS])
def test_a_padding_mask_still_acts_under_the_tap(family: str):
    model, heard = build(family), Heard()
    inputs = {"input_ids": token_ids(6, batch=2), "attention_mask": torch.tensor([[1] * 6, [1] * 4 + [0] * 2])}
    model.set_attn_implementation("eager")
    eager = last_state(model, **inputs)
    with tapped(model, heard):
        traced = last_state(model, **inputs)
    assert torch.equal(traced, eager)
    assert all(not attention[1, :, :, 4:].any() for attention in heard)


@pytest.mark.parametrize("family", DECODERS)
def test_a_causal_model_attends_to_nothing_that_comes_later(family: str):
    model, heard = build(family), Heard()
    with tapped(model, heard):
        last_state(model, input_ids=token_ids(8))
    assert len(heard) == LAYERS
    for attention in heard:
        assert not attention.triu(1).any()
        assert (attention.tril().sum(-1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("family", DECODERS)
def test_without_the_mask_registration_causality_and_parity_break(family: str, monkeypatch: pytest.MonkeyPatch):
    """The guard of the two tests above: transformers drops the mask of an unknown name without a word."""
    model, heard = build(family), Heard()
    traced = cm.load(model)
    traced.check()
    monkeypatch.delitem(AttentionMaskInterface._global_mapping, name_over("sdpa"))
    with tapped(model, heard):
        last_state(model, input_ids=token_ids(8))
    assert heard[0].triu(1).max() > 0.01
    with pytest.raises(TraceDoesNotAddUp, match="behaves differently under another attention implementation"):
        traced.check()


# Exactly as often ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS])
def test_the_tap_hears_every_layer_exactly_once(family: str):
    model, heard = build(family, num_hidden_layers=3), Heard()
    with tapped(model, heard):
        last_state(model, input_ids=token_ids(5))
    assert len(heard) == 3
    assert {tuple(attention.shape) for attention in heard} == {(1, 2, 5, 5)}


@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS])
def test_a_trace_counts_the_layers_that_spoke(family: str, request: pytest.FixtureRequest):
    trace = request.getfixturevalue(family).trace({"input_ids": token_ids(5)[0]})
    assert trace.checks.layers == len(trace.layers) == LAYERS
    assert [layer.index for layer in trace.layers] == list(range(LAYERS))


# Own attention -------------------------------------------------------------------------------------------------------


class UserBert(BertModel):
    """A model class of a user, in a file without attention of its own."""


class UserHeads(modeling_bert.BertSelfAttention):
    """Attention of a user, that inherits from BERT's."""


class Stranger(nn.Module):
    """Attention of a file that offers no eager function."""


def test_the_attention_of_a_users_subclass_is_that_of_its_family():
    model = vivid(UserBert(modeling_bert.BertConfig(**SIZES)))
    for layer in model.encoder.layer:
        layer.attention.self.__class__ = UserHeads
    assert own_eager(model.encoder.layer[0].attention.self) is modeling_bert.eager_attention_forward
    assert cm.load(model).check().checks.layers == LAYERS


def test_attention_without_an_eager_function_is_refused():
    with pytest.raises(UnsupportedModel, match="Stranger has no eager attention of its own"):
        own_eager(Stranger())


# Nothing left behind -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [None, ValueError, KeyboardInterrupt])
def test_every_attention_setting_comes_back_also_of_sub_configurations(clip: CLIPModel, ending: Any):
    before = settings(clip)
    with suppress(ValueError, KeyboardInterrupt), tapped(clip, Heard()):
        assert set(settings(clip)) == {name_over("eager"), name_over("sdpa")}
        if ending:
            raise ending
    assert settings(clip) == before


def test_the_setting_of_a_configuration_without_a_module_comes_back(clip: CLIPModel):
    clip.vision_model = nn.Identity()
    before = clip.config.vision_config._attn_implementation
    with tapped(clip, Heard()):
        pass
    assert clip.config.vision_config._attn_implementation == before


@pytest.mark.parametrize("ending", [None, ValueError, KeyboardInterrupt])
def test_a_visitor_that_fails_leaves_no_setting_and_no_hook(ending: Any):
    model, inputs = build("bert"), {"input_ids": token_ids(5)}
    before, plain = settings(model), last_state(model, **inputs)
    anatomy = cm.load(model).anatomy()

    def visit(layer: cm.LayerTrace) -> None:
        if ending:
            raise ending

    with suppress(ValueError, KeyboardInterrupt):
        record(model, anatomy, inputs, visit)
    assert settings(model) == before
    assert hook_count(model) == 0
    assert torch.equal(last_state(model, **inputs), plain)


def test_the_listener_is_silent_outside():
    model, heard, inputs = build("llama"), Heard(), {"input_ids": token_ids(6)}
    model.set_attn_implementation("eager")
    eager = last_state(model, **inputs)
    with tapped(model, heard):
        last_state(model, **inputs)
    model.set_attn_implementation(NAME)  # also where a user leaves the name set
    assert torch.equal(last_state(model, **inputs), eager)
    assert len(heard) == LAYERS


# Several at once -----------------------------------------------------------------------------------------------------


def test_nested_listeners_hear_only_their_own_model():
    outer_model, inner_model, outer, inner = build("bert"), build("gpt2"), Heard(), Heard()
    with tapped(outer_model, outer):
        with tapped(inner_model, inner):
            last_state(inner_model, input_ids=token_ids(5))
        last_state(outer_model, input_ids=token_ids(7))
    assert [attention.shape[-1] for attention in inner] == [5, 5]
    assert [attention.shape[-1] for attention in outer] == [7, 7]
    assert not any(name.startswith(NAME) for name in settings(outer_model) + settings(inner_model))


def test_a_visitor_may_explain_with_the_same_model(bert: cm.TracedModel):
    short, long = {"input_ids": token_ids(4)[0]}, {"input_ids": token_ids(9)[0]}
    alone, seen, nested = bert.explain(short).values, [], []

    def visit(layer: cm.LayerTrace) -> None:
        seen.append(layer.attention)
        nested.append(bert.explain(short).values)

    record(bert.model, bert.anatomy(), {"input_ids": long["input_ids"][None]}, visit)
    expected = [layer.attention for layer in bert.trace(long).layers]
    assert len(nested) == len(seen) == LAYERS
    assert all(np.array_equal(found, alone) for found in nested)
    assert all(torch.equal(found[0], true) for found, true in zip(seen, expected, strict=True))


def test_a_plain_run_in_another_thread_is_not_recorded(bert: cm.TracedModel):
    inputs = {"input_ids": token_ids(6)}
    plain, seen, found = last_state(bert.model, **inputs), [], []

    def visit(layer: cm.LayerTrace) -> None:
        seen.append(layer.index)
        other = threading.Thread(target=lambda: found.append(last_state(bert.model, **inputs)))
        other.start()
        other.join()

    record(bert.model, bert.anatomy(), {"input_ids": token_ids(9)}, visit)
    assert seen == list(range(LAYERS))
    assert len(found) == LAYERS
    for states in found:
        torch.testing.assert_close(states, plain, atol=1e-5, rtol=1e-5)


def test_a_plain_run_in_another_thread_does_not_disturb_discovery(bert: cm.TracedModel):
    model, found = build("bert"), []
    plain = last_state(model, input_ids=token_ids(7))

    def meanwhile(*_: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            other = threading.Thread(target=lambda: found.append(last_state(model, input_ids=token_ids(7))))
            other.start()
            other.join()

    model.encoder.layer[1].attention.register_forward_pre_hook(meanwhile)
    assert cm.load(model).anatomy() == bert.anatomy()
    assert len(found) == 2  # in the run, and when the block runs once more
    for states in found:
        torch.testing.assert_close(states, plain, atol=1e-5, rtol=1e-5)


@pytest.fixture
def _slow_measure(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets another thread in at every layer."""
    plain, pause = Plan.measure, threading.Event()

    def measure(self: Plan, layer: cm.LayerTrace) -> Tensor:
        pause.wait(0.005)
        return plain(self, layer)

    monkeypatch.setattr(Plan, "measure", measure)


@pytest.mark.usefixtures("_slow_measure")
@pytest.mark.parametrize("shared", ["traced model", "transformers model"])
def test_two_threads_find_the_numbers_that_each_finds_alone(shared: str):
    first = cm.load(build("bert"))
    before = settings(first.model)
    models = [first, first if shared == "traced model" else cm.load(first.model)]
    texts = [{"input_ids": token_ids(5, seed=1)[0]}, {"input_ids": token_ids(8, seed=2)[0]}]
    alone = [model.explain(text).values for model, text in zip(models, texts, strict=True)]

    def work(which: int) -> list[np.ndarray]:
        return [models[which].explain(texts[which]).values for _ in range(5)]

    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(work, range(2)))
    for found, true in zip(together, alone, strict=True):
        for values in found:  # threads add up in an order of their own
            np.testing.assert_allclose(values, true, rtol=0, atol=1e-5 * true.max())
    assert settings(first.model) == before


# Models that ask how they attend -------------------------------------------------------------------------------------


def test_a_setting_is_eager_to_whoever_asks_and_a_name_of_its_own_in_the_registry():
    model = build("bert")
    with tapped(model, Heard()):
        (setting,) = set(settings(model))
        other = name_over("flex_attention")
        assert setting == "eager"
        assert setting in ("eager", "sdpa")
        assert (setting != "eager") is False
        assert setting != other
        assert other != setting
        assert setting != "sdpa"
        assert {"eager": 1, str(setting): 2}[setting] == 2
    assert settings(model) == ["sdpa"]


def test_a_sparse_indexer_hides_the_keys_that_it_does_not_choose():
    """It makes a mask where the model says that it attends eagerly, and tells a kernel otherwise."""
    sizes = {**SIZES, "index_topk": 3, "index_n_heads": 2, "index_head_dim": 16, "q_lora_rank": 8, "kv_lora_rank": 8}
    heads = {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "head_dim": 8, "num_key_value_heads": 2}
    config = DeepseekV32Config(**sizes, **heads, mlp_layer_types=["dense"] * LAYERS)
    traced = cm.load(vivid(DeepseekV32Model(config)))
    assert traced.check().parity < 1e-5
    for layer in traced.trace({"input_ids": token_ids(9)[0]}).layers:
        seen = layer.attention.gt(0).any(0).sum(-1)
        assert seen.tolist() == [min(row + 1, 3) for row in range(9)]

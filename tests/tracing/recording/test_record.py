"""One proved layer after another while the model runs, and nothing kept that nobody asked for."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.tracing.tiny import build, hook_count, settings, token_ids
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import NotFinite, TapSilent, TraceDoesNotAddUp, UnsupportedModel
from contextmix.plugins.plan import Plan
from contextmix.traces.anatomy import Anatomy
from contextmix.tracing.recording import tap as tap_module
from contextmix.tracing.recording.record import record

SOURCE = {"input_ids": token_ids(9)[0]}


# What is recorded ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["bert", "albert", "llama", "gpt2"])
def test_a_layer_holds_what_the_model_itself_reports(family: str, request: pytest.FixtureRequest):
    traced = request.getfixturevalue(family)
    layers = traced.trace(SOURCE).layers
    model = build(family, attn_implementation="eager")
    with torch.no_grad():
        own = model(SOURCE["input_ids"][None], output_hidden_states=True, output_attentions=True)
    for number, layer in enumerate(layers):
        torch.testing.assert_close(layer.attention, own.attentions[number][0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(layer.residual_in, own.hidden_states[number][0], atol=1e-5, rtol=1e-5)
    last = layers[-1].residual_out if family in ("bert", "albert") else None
    if last is not None:
        torch.testing.assert_close(last, own.last_hidden_state[0], atol=1e-5, rtol=1e-5)


def test_grouped_keys_are_repeated_for_the_heads_that_share_them():
    traced = cm.load(build("llama", num_attention_heads=4, num_key_value_heads=2))
    value = traced.trace(SOURCE).layers[0].value
    assert value.shape == (4, 9, 4)
    assert [torch.equal(value[0], value[head]) for head in range(4)] == [True, True, False, False]
    assert torch.equal(value[2], value[3])


def test_no_gradient_is_kept(bert: cm.TracedModel):
    layer = bert.trace(SOURCE).layers[0]
    assert not any(getattr(layer, name).requires_grad for name in ("attention", "value", "residual_in", "ffn_out"))


# What is caught while it runs ----------------------------------------------------------------------------------------


def steered(model: nn.Module, path: str, change: Callable[[Tensor], Tensor]) -> None:
    """A hook of a user that changes what a module gives."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    model.get_submodule(path).register_forward_hook(hook)


def stretched(tensor: Tensor) -> Tensor:
    return tensor * 1.01


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("encoder.layer.1.attention.output.dense", "Layer 1: attention · value"),
        ("encoder.layer.1.attention.output.LayerNorm", "Layer 1: residual, attention and feed-forward"),
        ("encoder.layer.1", "Layer 1: residual, attention and feed-forward"),
    ],
)
def test_a_model_that_is_steered_from_outside_does_not_add_up(path: str, sentence: str):
    model = build("bert")
    traced = cm.load(model, anatomy=cm.load(model).anatomy())  # or its parts would be looked for once more
    traced.explain(SOURCE)
    steered(model, path, stretched)
    with pytest.raises(TraceDoesNotAddUp, match=sentence):
        traced.explain(SOURCE)


@pytest.mark.parametrize("what", ["attention", "value"])
def test_a_tap_that_hears_something_else_does_not_add_up(
    bert: cm.TracedModel, what: str, monkeypatch: pytest.MonkeyPatch
):
    plain = tap_module.own_eager

    def wrong(module: nn.Module) -> Callable[..., Any]:
        def attend(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
            output, attention = plain(module)(*args, **kwargs)
            return (output, attention.flip(-1)) if what == "attention" else (output * 0.9, attention)

        return attend

    bert.anatomy()
    monkeypatch.setattr(tap_module, "own_eager", wrong)
    with pytest.raises(TraceDoesNotAddUp, match="Layer 0: attention · value"):
        bert.explain(SOURCE)


@pytest.mark.parametrize("path", ["embeddings", "encoder.layer.0", "encoder.layer.1.output.dense"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_activation_that_is_not_a_number_is_refused(path: str, bad: float):
    model, seen = build("bert"), []
    anatomy = cm.load(model).anatomy()
    steered(model, path, lambda tensor: tensor.index_fill(1, torch.tensor([3]), bad))
    with pytest.raises(NotFinite, match="holds NaN or infinity"):
        record(model, anatomy, {"input_ids": token_ids(9)}, seen.append)
    assert len(seen) <= 1
    assert hook_count(model) == 1  # the one of this test


def test_a_block_without_an_attention_call_is_silent(monkeypatch: pytest.MonkeyPatch):
    model = build("bert")
    traced, before = cm.load(model, anatomy=cm.load(model).anatomy()), settings(model)
    traced.explain(SOURCE)
    monkeypatch.setattr(model.encoder.layer[1].attention.self, "forward", lambda states, *_, **__: (states, None))
    with pytest.raises(TapSilent, match="Block 1 of 2 made no attention call"):
        traced.explain(SOURCE)
    assert (settings(model), hook_count(model)) == (before, 0)


def test_a_block_that_is_gone_is_refused():
    model = build("bert")
    traced = cm.load(model, anatomy=cm.load(model).anatomy())
    traced.explain(SOURCE)
    model.encoder.layer = model.encoder.layer[:1]
    model.config.num_hidden_layers = 1
    with pytest.raises(UnsupportedModel, match=r"names the module 'encoder\.layer\.1', and BertModel has none"):
        traced.explain(SOURCE)


def test_a_shared_block_that_runs_too_rarely_is_silent():
    traced = cm.load(build("albert", num_hidden_layers=3))
    anatomy = Anatomy((*traced.anatomy().blocks, traced.anatomy().blocks[0]))
    with pytest.raises(TapSilent, match="Block 3 of 4 made no attention call"):
        cm.load(traced.model, anatomy=anatomy).explain(SOURCE)


# What is let go ------------------------------------------------------------------------------------------------------


def test_a_layer_is_let_go_before_the_next_one_is_shown(bert: cm.TracedModel):
    model, refs, alive = build("bert", num_hidden_layers=4), [], []
    anatomy = cm.load(model).anatomy()

    def visit(layer: cm.LayerTrace) -> None:
        _ = layer.out_parts.lengths()  # also what is derived
        alive.append(sum(ref() is not None for ref in refs))
        refs.extend(weakref.ref(tensor) for tensor in (layer.attention, layer.value, layer.out_parts.attention))

    gc.disable()  # let go at once, not when the collector comes round
    try:
        record(model, anatomy, {"input_ids": token_ids(9)}, visit)
    finally:
        gc.enable()
    assert alive == [0, 0, 0, 0]
    assert not any(ref() is not None for ref in refs)


def test_explain_keeps_no_layer_and_trace_keeps_all(monkeypatch: pytest.MonkeyPatch):
    traced, refs, most, plain = cm.load(build("bert", num_hidden_layers=4)), [], [], Plan.measure

    def measure(self: Plan, layer: cm.LayerTrace) -> Tensor:
        refs.append(weakref.ref(layer.attention))
        most.append(sum(ref() is not None for ref in refs))
        return plain(self, layer)

    monkeypatch.setattr(Plan, "measure", measure)
    traced.explain(SOURCE)
    assert most == [1, 1, 1, 1]
    trace = traced.trace(SOURCE)
    assert len({layer.attention.data_ptr() for layer in trace.layers}) == 4


# What is restored ----------------------------------------------------------------------------------------------------


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


@pytest.mark.parametrize("fails", [False, True])
def test_a_model_in_training_is_explained_without_dropout_and_gets_each_mode_back(fails: bool):
    model = build("bert", hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    traced = cm.load(model)
    expected = traced.explain(SOURCE).values
    model.train()
    model.embeddings.eval()
    model.encoder.layer[1].attention.self.eval()
    before = modes(model)
    assert len(set(before)) == 2
    if fails:
        with pytest.raises(ZeroDivisionError):
            record(model, traced.anatomy(), {"input_ids": token_ids(9)}, lambda _: 1 / 0)
    else:
        assert (traced.explain(SOURCE).values == expected).all()
    assert modes(model) == before
    assert torch.is_grad_enabled()


def test_the_key_value_cache_stays_off_and_the_users_wish_stays(llama: cm.TracedModel):
    assert llama.model.config.use_cache
    outputs, _ = record(llama.model, llama.anatomy(), {"input_ids": token_ids(5)}, lambda _: None)
    assert outputs.past_key_values is None
    assert llama.model.config.use_cache


# Half precision ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "gemma2"])
def test_half_precision_gives_float32_maps_close_to_those_of_float32(family: str, dtype: torch.dtype):
    half = cm.load(build(family).to(dtype))
    full = cm.load(build(family).to(dtype).float())  # the same rounded weights: what differs is the run
    for method in ("norm_encoder", "attention", "globenc"):
        found, true = half.explain(SOURCE, method), full.explain(SOURCE, method)
        assert str(found.values.dtype) == str(true.values.dtype) == ("float64" if method == "globenc" else "float32")
        assert abs(found.as_share().values - true.as_share().values).max() <= 2e-2
    layer = half.trace(SOURCE).layers[0]
    assert {getattr(layer, name).dtype for name in ("attention", "value", "residual_in", "ffn_out")} == {torch.float32}
    assert next(half.model.parameters()).dtype == dtype


def test_float64_stays_float64():
    traced = cm.load(build("bert").double())
    assert str(traced.explain(SOURCE, "norm_encoder").values.dtype) == "float64"
    assert traced.trace(SOURCE).layers[0].attention.dtype == torch.float64

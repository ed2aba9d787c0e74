"""The model as it is: its own attention, hooks, compiled parts, and the modes it is asked in."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.tracing.as_it_is import METHODS, SOURCE, classifier, values
from tests.tracing.tiny import build, one_thread
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask
from transformers.models.bert import modeling_bert
from transformers.models.llama import modeling_llama

import contextmix as cm
from contextmix.errors import TraceDoesNotAddUp, UnsupportedModel
from contextmix.tracing.inputs.unwrap import unwrapped


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


# Attention that the user registered ----------------------------------------------------------------------------------


def without_head_0(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **more: Any):
    """Weights of the first head are zero, and say so."""
    scores = query @ key.mT * more["scaling"]
    weights = (scores if mask is None else scores + mask).softmax(-1).clone()
    weights[:, 0] = 0
    return (weights @ value).transpose(1, 2).contiguous(), weights


def secretly_without_head_0(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *more: Any, **options: Any):
    """The first head gives nothing, and its weights do not say so."""
    value = value.clone()
    value[:, 0] = 0
    return modeling_bert.eager_attention_forward(module, query, key, value, *more, **options)


def without_weights(*told: Any, **options: Any):
    return modeling_bert.eager_attention_forward(*told, **options)[0], None


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], str]:
    def register(function: Any, mask: Any = eager_mask) -> str:
        monkeypatch.setitem(AttentionInterface._global_mapping, function.__name__, function)
        monkeypatch.setitem(AttentionMaskInterface._global_mapping, function.__name__, mask)
        return str(function.__name__)

    return register


def test_the_attention_that_the_user_registered_is_the_one_that_is_recorded(registered: Callable[[Any], str]):
    model = classifier()
    model.set_attn_implementation(registered(without_head_0))
    traced = cm.load(model)
    assert traced.check().parity < 1e-6
    weights = [layer.attention for layer in traced.trace(SOURCE).layers]
    assert all(not one[0].any() and one[1].any() for one in weights)
    assert model.config._attn_implementation == "without_head_0"


def test_attention_of_the_user_gets_the_mask_that_belongs_to_it(registered: Callable[..., str]):
    """Without a mask function of that name transformers gives none, so a decoder sees what comes later."""
    model = build("llama")
    model.set_attn_implementation(registered(without_head_0))
    assert not cm.load(model).trace(SOURCE).layers[0].attention.triu(1).any()
    blind = build("llama")
    name = registered(without_head_0)
    del AttentionMaskInterface._global_mapping[name]
    blind.set_attn_implementation(name)
    try:
        assert cm.load(blind).trace(SOURCE).layers[0].attention.triu(1).any()
    finally:
        AttentionMaskInterface._global_mapping[name] = eager_mask


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (secretly_without_head_0, "its weights times the values are not"),
        (without_weights, "returns no attention weights"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_attention_whose_weights_are_not_what_it_mixes_is_refused_by_name(
    registered: Callable[[Any], str], function: Any, sentence: str, late: bool
):
    model = classifier()
    traced = cm.load(model)
    if late:
        traced.explain(SOURCE)
    model.set_attn_implementation(registered(function))
    with pytest.raises(UnsupportedModel, match=f"'{function.__name__}', a function that you registered.*{sentence}"):
        traced.explain(SOURCE)


def test_the_libraries_own_attention_is_nobodys_function():
    for own in ("eager", "sdpa"):
        model = build("llama")
        model.set_attn_implementation(own)
        assert np.abs(values(model) - values(build("llama"))).max() < 1e-5
        assert model.config._attn_implementation == own
    assert modeling_llama.ALL_ATTENTION_FUNCTIONS["sdpa"].__module__.startswith("transformers.")


# Hooks of the user ---------------------------------------------------------------------------------------------------


def doubled(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output * 2


@pytest.mark.parametrize("method", ["value_zeroing", "hta"])
@pytest.mark.parametrize("part", ["intermediate.dense", "attention.self.value"])
@pytest.mark.parametrize("late", [False, True])
def test_a_hook_that_changes_a_part_counts_also_if_it_comes_later(method: str, part: str, late: bool):
    """The truth: the same change built into the weights."""
    model, other = classifier(), classifier()
    traced = cm.load(model)
    if late:
        traced.explain(SOURCE, method)
    model.bert.encoder.layer[0].get_submodule(part).register_forward_hook(doubled)
    with torch.no_grad():
        for weight in other.bert.encoder.layer[0].get_submodule(part).parameters():
            weight.mul_(2)
    wanted = values(other, method)
    assert np.abs(traced.explain(SOURCE, method).values - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert np.abs(values(classifier(), method) - wanted).max() > 1e-2 * np.abs(wanted).max()


@pytest.mark.parametrize("method", ["value_zeroing", "hta"])
@pytest.mark.parametrize("late", [False, True])
def test_so_does_a_hook_on_all_modules(method: str, late: bool):
    model, other = classifier(), classifier()
    traced, part = cm.load(model), model.bert.encoder.layer[0].intermediate.dense
    if late:
        traced.explain(SOURCE, method)
    with torch.no_grad():
        for weight in other.bert.encoder.layer[0].intermediate.dense.parameters():
            weight.mul_(2)
    wanted = values(other, method)
    handle = register_module_forward_hook(lambda module, args, output: output * 2 if module is part else None)
    try:
        assert np.abs(traced.explain(SOURCE, method).values - wanted).max() < 1e-4 * np.abs(wanted).max()
    finally:
        handle.remove()
    assert np.abs(values(classifier(), method) - wanted).max() > 1e-2 * np.abs(wanted).max()


def test_a_hook_that_only_looks_changes_nothing():
    model, seen = classifier(), []
    for part in model.modules():
        part.register_forward_hook(lambda *told: seen.append(1) and None)
        part.register_forward_pre_hook(lambda *told: None)
    for method in METHODS:
        assert np.array_equal(values(model, method), values(classifier(), method))
    assert seen


def test_a_hook_that_wakes_up_only_on_this_text_is_refused():
    model, awake = classifier(), []
    path = "bert.encoder.layer.0.intermediate.dense"
    model.get_submodule(path).register_forward_hook(lambda module, args, output: output * 2 if awake else None)
    traced = cm.load(model)
    traced.explain(SOURCE, "value_zeroing")
    awake.append(True)
    with pytest.raises(UnsupportedModel, match=f"Hooks that you put on {path} change what flows there"):
        traced.explain(SOURCE, "value_zeroing")


@pytest.mark.parametrize("part", ["intermediate.dense", "output.dense"])
@pytest.mark.parametrize("reads", [False, True])
def test_so_is_a_hook_on_all_modules(part: str, reads: bool):
    """Torch calls these before a module's own hooks; nobody's own hook sees what was there before them."""
    model, awake = classifier(), []
    module = model.bert.encoder.layer[0].get_submodule(part)

    def write(one: nn.Module, args: Any, output: Any) -> Any:
        return output * 2 if awake and one is module else None

    def read(one: nn.Module, args: Any) -> Any:
        return (args[0] * 2,) if awake and one is module else None

    handle = register_module_forward_pre_hook(read) if reads else register_module_forward_hook(write)
    try:
        traced = cm.load(model)
        plain = traced.explain(SOURCE, "value_zeroing").values
        assert np.array_equal(plain, values(classifier(), "value_zeroing"))
        awake.append(True)
        with pytest.raises(UnsupportedModel, match=rf"put on bert\.encoder\.layer\.0\.{part} change what flows there"):
            traced.explain(SOURCE, "value_zeroing")
    finally:
        handle.remove()
    assert np.array_equal(traced.explain(SOURCE, "value_zeroing").values, plain)


def test_a_hook_that_breaks_a_block_is_named():
    model = classifier()
    traced = cm.load(model, anatomy=cm.load(model).anatomy())
    model.bert.encoder.layer[1].attention.output.dense.register_forward_hook(doubled)
    with pytest.raises(
        TraceDoesNotAddUp, match=r"Layer 1.*Hooks that you put on bert.encoder.layer.1.attention.output"
    ):
        traced.explain(SOURCE)


def test_a_hook_on_what_the_first_block_reads_is_not_applied_twice():
    model = classifier()
    first = model.bert.encoder.layer[0]
    first.register_forward_pre_hook(lambda module, args: (args[0] + torch.linspace(-1, 1, 16), *args[1:]))
    layer = cm.load(model).trace(SOURCE).layers[0]
    found = layer.replay_zeroed(None, None)
    torch.testing.assert_close(found, layer.residual_out, rtol=1e-5, atol=1e-5)


# Parity --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "factor", "difference"),
    [(torch.float32, 1.01, r"9\.9e-03"), (torch.float16, 1.5, r"3\.3e-01"), (torch.bfloat16, 1.5, r"3\.\de-01")],
)
def test_a_recorded_run_is_compared_with_a_plain_one_before_the_first_number(dtype, factor, difference):
    """Half precision excuses rounding alone."""
    model = classifier().to(dtype)
    plain = model.forward

    def forward(input_ids: Tensor, **told: Any) -> Any:
        found = plain(input_ids, **told)
        if not model.config._attn_implementation.startswith("contextmix"):
            found.logits = found.logits * factor
        return found

    model.forward = forward
    for method in ("globenc", "gradient_inputs"):
        with pytest.raises(TraceDoesNotAddUp, match=f"differ by {difference}"):
            cm.load(model).explain(SOURCE, method)


def test_it_is_compared_once():
    traced, runs = cm.load(classifier()), []
    traced.explain(SOURCE)
    traced.model.bert.embeddings.register_forward_hook(lambda *_: runs.append(1) and None)
    traced.explain(SOURCE)
    assert len(runs) == 1


# Wrappers ------------------------------------------------------------------------------------------------------------


def whole(model: Any) -> Any:
    return torch.compile(model, backend="eager")


def in_place(model: Any) -> Any:
    model.compile(backend="eager")
    return model


def its_forward(model: Any) -> Any:
    model.forward = torch.compile(model.forward, backend="eager")
    return model


def its_blocks(model: Any) -> Any:
    for number, block in enumerate(model.bert.encoder.layer):
        model.bert.encoder.layer[number] = torch.compile(block, backend="eager")
    return model


@pytest.mark.parametrize("compiled", [whole, in_place, its_forward, its_blocks])
def test_a_compiled_model_is_explained_as_it_was_written(compiled: Callable[[Any], Any]):
    model = compiled(classifier())
    with torch.no_grad():
        before = model(input_ids=SOURCE["input_ids"][None]).logits
    traced = cm.load(model)
    for method in METHODS:
        assert np.array_equal(traced.explain(SOURCE, method).values, values(classifier(), method))
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=SOURCE["input_ids"][None]).logits, before)


def test_a_model_for_several_devices_is_unwrapped():
    model = classifier()
    assert unwrapped(nn.DataParallel(model)) is model
    assert isinstance(unwrapped(nn.Linear(2, 2)), nn.Linear)


# Modes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*METHODS, "hta", "alti", "effective_attention", "norm_encoder_ffn"])
@pytest.mark.parametrize("mode", ["inference", "autocast", "no_grad"])
def test_numbers_do_not_depend_on_where_they_are_asked_for(method: str, mode: str):
    traced, fresh = cm.load(classifier()), classifier()
    wanted = traced.explain(SOURCE, method).values
    modes = {
        "inference": torch.inference_mode(),
        "autocast": torch.autocast("cpu", torch.bfloat16),
        "no_grad": torch.no_grad(),
    }
    with modes[mode]:
        own = {name: value.clone() for name, value in SOURCE.items()}
        assert np.array_equal(traced.explain(own, method).values, wanted)
        assert np.array_equal(cm.load(fresh).explain(own, method).values, wanted)
        assert torch.is_inference_mode_enabled() == (mode == "inference")
        assert torch.is_autocast_enabled("cpu") == (mode == "autocast")


def test_weights_made_for_inference_pass_no_gradient_and_this_is_said():
    with torch.inference_mode():
        model = classifier()
    traced = cm.load(model)
    traced.explain(SOURCE, "globenc")
    with pytest.raises(UnsupportedModel, match=r"made inside torch.inference_mode\(\)"):
        traced.explain(SOURCE, "gradient_inputs")


@pytest.mark.parametrize(
    ("family", "head"), [("gpt2", "LMHeadModel"), ("llama", "ForCausalLM"), ("gpt2", "ForSequenceClassification")]
)
def test_a_configuration_that_asks_for_tuples_changes_nothing(family: str, head: str):
    model = build(family, head, **({"num_labels": 3} if "Sequence" in head else {}))
    wanted = [values(model, method) for method in ("globenc", "gradient_inputs")]
    model.config.return_dict = False
    for method, true in zip(("globenc", "gradient_inputs"), wanted, strict=True):
        assert np.array_equal(values(model, method), true)
    assert model.config.return_dict is False


def test_a_cache_in_the_configuration_changes_nothing_and_stays():
    model = build("llama", "ForCausalLM", use_cache=True)
    wanted = values(build("llama", "ForCausalLM", use_cache=False), "hta_inputs")
    assert np.array_equal(values(model, "hta_inputs"), wanted)
    assert model.config.use_cache is True


SETTINGS = [
    {"use_cache": False},
    {"num_return_sequences": 3},
    {"output_scores": True, "return_dict_in_generate": True},
    {"output_attentions": True, "output_hidden_states": True, "return_dict_in_generate": True},
    {"do_sample": True, "temperature": 0.1, "top_k": 3},
    {"cache_implementation": "static"},
    {"prompt_lookup_num_tokens": 2},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: next(iter(settings)))
def test_settings_of_generation_do_not_break_the_greedy_one(settings: dict[str, Any]):
    model = build("llama", "ForCausalLM")
    wanted = cm.load(model).explain_generation(SOURCE, max_new_tokens=4)
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    found = cm.load(model).explain_generation(SOURCE, max_new_tokens=4)
    assert found.query_tokens.ids == wanted.query_tokens.ids
    assert {name: getattr(model.generation_config, name) for name in settings} == settings


def test_rounding_of_half_precision_is_no_other_behaviour():
    """Sharp weights make the outputs of float16 differ by more between two orders of additions than parity allows."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=400, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        initializer_range=0.4,
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config).eval()
    inputs = {"input_ids": torch.arange(5, 25)}
    exact = cm.load(model).explain(inputs).values
    found = cm.load(model.half()).explain(inputs).values
    np.testing.assert_allclose(found / exact, 1, atol=0.1)

"""What is kept of weights between runs goes as soon as a weight changes, whoever changed it and however."""

import copy
import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.tracing.tiny import build, one_thread
from torch import nn
from torch.nn.utils import parametrize

import contextmix as cm
from contextmix.errors import TraceDoesNotAddUp
from contextmix.maths import pushed
from contextmix.tracing.recording import kept_weights

IDS = {"input_ids": torch.arange(3, 14)[None]}
FAMILIES = ("bert", "gemma2")  # norms behind the sub-layers, and on their outputs


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def explained(model: cm.TracedModel) -> np.ndarray:
    return model.explain(dict(IDS), "norm_encoder", layers="all")[0].values


def projection(model: nn.Module) -> nn.Linear:
    ends = ("attention.output.dense", "self_attn.o_proj")
    return [one for name, one in model.named_modules() if name.endswith(ends)][-1]


def norm(model: nn.Module) -> nn.Module:
    ends = ("attention.output.LayerNorm", "post_attention_layernorm")
    return [one for name, one in model.named_modules() if name.endswith(ends)][-1]


def uneven(own: torch.Tensor) -> torch.Tensor:
    """Factors: one factor for all would not be seen behind a norm."""
    return torch.linspace(0.5, 1.5, own.numel()).view(own.shape)


def in_place(model):
    with torch.no_grad():
        projection(model).weight.mul_(uneven(projection(model).weight))


def one_number(model):
    with torch.no_grad():
        projection(model).weight[1, 2] += 0.25


def one_number_behind_its_back(model):
    projection(model).weight.data[1, 2] += 0.25


def data(model):
    projection(model).weight.data.mul_(uneven(projection(model).weight))


def storage(model):
    projection(model).weight.data = projection(model).weight.data * uneven(projection(model).weight)


def numpys_memory(model):
    projection(model).weight.detach().numpy()[:] *= uneven(projection(model).weight).numpy()


def inference_mode(model):
    with torch.inference_mode():
        projection(model).weight.mul_(uneven(projection(model).weight))


def optimiser(model):
    own = projection(model).weight
    own.grad = uneven(own)
    torch.optim.SGD([own], lr=0.01).step()


def small_step(model):
    own = projection(model).weight
    own.grad = uneven(own)
    torch.optim.SGD([own], lr=1e-4).step()


def loaded(model):
    model.load_state_dict({name: one * uneven(one) for name, one in model.state_dict().items()})


def assigned(model):
    model.load_state_dict({name: one * uneven(one) for name, one in model.state_dict().items()}, assign=True)


def new_parameter(model):
    projection(model).weight = nn.Parameter(projection(model).weight.detach() * uneven(projection(model).weight))


def other_module(model):
    path, own = next((name, one) for name, one in model.named_modules() if one is projection(model))
    parent, _, name = path.rpartition(".")
    other = nn.Linear(own.in_features, own.out_features, bias=own.bias is not None)
    setattr(model.get_submodule(parent), name, other)


def parametrised(model):
    class Half(nn.Module):
        def forward(self, weight):
            return weight * uneven(weight)

    parametrize.register_parametrization(projection(model), "weight", Half())


def weights_of_a_norm(model):
    norm(model).weight.data.mul_(uneven(norm(model).weight))


def eps_of_a_norm(model):
    for name in ("eps", "variance_epsilon"):
        if hasattr(norm(model), name):
            setattr(norm(model), name, 0.5)


CHANGES = [in_place, one_number, one_number_behind_its_back, data, storage, numpys_memory, inference_mode, optimiser]
CHANGES += [small_step, loaded, assigned, new_parameter, other_module, parametrised, weights_of_a_norm, eps_of_a_norm]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_weight_is_seen(family: str, change: Callable[[nn.Module], None]):
    model = build(family)
    traced = cm.load(model)
    before = explained(traced)
    np.testing.assert_array_equal(explained(traced), before)  # from what was kept
    change(model)
    found, wanted = explained(traced), explained(cm.load(copy.deepcopy(model)))
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)
    assert np.abs(found - before).max() > 1e-6 * np.abs(before).max()  # else the test shows nothing


@pytest.mark.parametrize("change", [data, one_number_behind_its_back, in_place, other_module])
def test_a_stale_sketch_would_be_refused(monkeypatch: pytest.MonkeyPatch, change: Callable[[nn.Module], None]):
    """The test above can fail: where nobody looks, the checks of the run do not add up any more."""
    model = build("bert")
    traced = cm.load(model)
    explained(traced)
    monkeypatch.setattr(kept_weights, "same", lambda left, right: True)
    change(model)
    with pytest.raises(TraceDoesNotAddUp, match="differs from the recorded attention output"):
        explained(traced)


def test_a_stale_norm_would_give_other_numbers(monkeypatch: pytest.MonkeyPatch):
    model = build("bert")
    traced = cm.load(model)
    explained(traced)
    monkeypatch.setattr(kept_weights, "same", lambda left, right: True)
    weights_of_a_norm(model)
    wrong, wanted = explained(traced), explained(cm.load(copy.deepcopy(model)))
    assert np.abs(wrong - wanted).max() > 1e-2 * np.abs(wanted).max()


def test_another_precision_and_back():
    model = build("bert")
    traced = cm.load(model)
    before = explained(traced)
    wide = explained(cm.load(copy.deepcopy(model).double()))
    model.double()
    np.testing.assert_allclose(explained(traced), wide, rtol=1e-12)
    model.float()
    np.testing.assert_allclose(explained(traced), before, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks it
def test_adapters_added_merged_and_taken_off():
    base = build("bert")
    plain = explained(cm.load(copy.deepcopy(base)))
    config = LoraConfig(r=2, target_modules=["attention.output.dense"], init_lora_weights=False)
    tuned = get_peft_model(base, config)
    traced = cm.load(tuned)
    added = explained(traced)
    assert np.abs(added - plain).max() > 1e-3 * plain.max()
    tuned.merge_adapter()
    np.testing.assert_allclose(explained(traced), added, rtol=1e-4, atol=1e-6)
    tuned.unmerge_adapter()
    with tuned.disable_adapter():
        np.testing.assert_allclose(explained(traced), plain, rtol=1e-4, atol=1e-6)


def test_nothing_is_left_of_a_model_that_is_gone():
    model = build("bert")
    traced = cm.load(model)
    explained(traced)
    room = kept_weights._MODELS[model].room
    made = [one for kept in kept_weights._MODELS[model].blocks.values() for one in kept.pushed._made.values()]
    assert sum(one.numel() * one.element_size() for one in made) == kept_weights.ROOM - room[0] > 0
    gone = [weakref.ref(model), *map(weakref.ref, made)]
    del model, traced, made
    gc.collect()
    assert [one() for one in gone] == [None] * len(gone)


def test_what_is_thrown_away_gives_back_its_room():
    model = build("bert")
    traced = cm.load(model)
    explained(traced)
    room = kept_weights._MODELS[model].room[0]
    for _ in range(3):
        data(model)
        explained(traced)
    assert kept_weights._MODELS[model].room[0] == room


def test_without_room_nothing_is_kept_and_nothing_else_comes_out(monkeypatch: pytest.MonkeyPatch):
    model = build("bert")
    wanted = explained(cm.load(copy.deepcopy(model)))
    monkeypatch.setattr(kept_weights, "ROOM", 0)
    traced = cm.load(model)
    explained(traced)
    np.testing.assert_array_equal(explained(traced), wanted)
    assert not any(kept.pushed._made for kept in kept_weights._MODELS[model].blocks.values())


def test_a_weight_or_a_norm_that_is_put_in_by_hand_is_pushed_anew():
    trace = cm.load(build("bert")).trace(dict(IDS))[0]
    layer = trace.layers[-1]
    before = layer.out_parts.lengths()
    block = layer.block
    for other in (
        block.__class__(**{**vars(block), "output_weight": block.output_weight * 2}),
        block.__class__(**{**vars(block), "ffn": block.ffn.__class__(norm_after=None)}),
    ):
        found = layer.__class__(**{**_fields(layer), "block": other}).out_parts.lengths()
        alone = layer.__class__(**{**_fields(layer), "block": other.__class__(**{**vars(other), "pushed": None})})
        torch.testing.assert_close(found, alone.out_parts.lengths())
        assert not torch.allclose(found, before)


def _fields(layer):
    return {name: getattr(layer, name) for name in type(layer).__dataclass_fields__}


def test_same_compares_to_the_last_bit():
    one = torch.tensor([1.0, 2.0])
    assert pushed.same([one, 1.0, None], [one.clone(), 1.0, None])
    assert not pushed.same([one], [one.double()])
    assert not pushed.same([one], [torch.nextafter(one, one + 1)])
    assert not pushed.same([one], [None])
    assert not pushed.same([1.0], [2.0])
    assert not pushed.same([one], [one, one])


def test_copies_of_a_model_in_half_precision_go_with_the_run():
    model = build("bert").bfloat16()
    explained(cm.load(model))
    gc.collect()
    bases = [kept.pushed._base() for kept in kept_weights._MODELS[model].blocks.values()]
    assert bases == [None] * len(bases) != []

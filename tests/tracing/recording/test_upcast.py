"""Half precision: the anatomy is looked for in float32 with the model's own weights, and the maps stay near."""

import copy
import re
from functools import cache

import numpy as np
import pytest
import torch
from tests.tracing.mixing import FAMILIES
from tests.tracing.tiny import build, token_ids
from torch import nn

import contextmix as cm
from contextmix.plugins.contracts import Method
from contextmix.plugins.plan import METHODS
from contextmix.tracing.recording.upcast import in_float32

HALVES = [torch.bfloat16, torch.float16]
MAPS = sorted(name for name, one in METHODS.items() if isinstance(one, Method))
load = cache(lambda name, dtype: cm.load(name, dtype=dtype))


def shares(model, method):
    text = "a deep and meaningful film , though slow at times ."
    values = np.abs(model.explain(text, method, layers="all").values)
    return values / values.sum(-1, keepdims=True)


def rounded(anatomy):
    return re.sub(r"scale=([\d.]+)", lambda found: f"scale={float(found[1]):.3f}", anatomy)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("method", MAPS)
def test_maps_of_a_trained_model_are_near_those_in_float32(method, dtype):
    found, wanted = shares(load("demo", dtype), method), shares(load("demo", torch.float32), method)
    assert 0 < np.abs(found - wanted).max() <= 2e-2  # NaN is not


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "gemma2", "phi", "granite", "modernbert"])
def test_the_anatomy_is_that_of_the_same_model_in_float32(family, dtype):
    known, found = (str(cm.load(model).anatomy()) for model in (build(family), build(family).to(dtype)))
    assert rounded(found) == rounded(known)


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_that_are_read_without_a_call_are_in_float32_too(name):
    """A mixer convolves by itself, with the weights of a module that is never called."""
    torch.manual_seed(0)  # some of its weights are drawn by the model
    model = FAMILIES[name].build().to(torch.bfloat16)
    before = {path: (weight.dtype, weight.data_ptr()) for path, weight in model.named_parameters()}
    wanted = copy.deepcopy(model).float()(input_ids=token_ids(5), use_cache=False).last_hidden_state
    with in_float32(model), torch.no_grad():
        inside = model(input_ids=token_ids(5), use_cache=False).last_hidden_state
    torch.testing.assert_close(inside, wanted, rtol=0, atol=1e-5)
    assert {path: (weight.dtype, weight.data_ptr()) for path, weight in model.named_parameters()} == before
    known, found = (str(cm.load(one).anatomy()) for one in (copy.deepcopy(model).float(), model))
    assert found == known
    assert cm.load(model).check({"input_ids": token_ids(5)[0]}).checks.layers == 2


@pytest.mark.parametrize("dtype", HALVES)
def test_every_module_computes_in_float32_and_gets_its_own_tensors_back(dtype):
    model = build("llama").to(dtype)
    before = {name: (weight.dtype, weight.data_ptr()) for name, weight in model.named_parameters()}
    with in_float32(model), torch.no_grad():
        inside = model(input_ids=token_ids(5)).last_hidden_state
    wanted = build("llama").to(dtype).float()(input_ids=token_ids(5)).last_hidden_state
    torch.testing.assert_close(inside, wanted, rtol=0, atol=0)
    assert {name: (weight.dtype, weight.data_ptr()) for name, weight in model.named_parameters()} == before
    assert model(input_ids=token_ids(5)).last_hidden_state.dtype == dtype


def test_a_run_that_fails_gives_them_back_too():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(4, 4)).bfloat16()
    with pytest.raises(RuntimeError), in_float32(model):
        model(torch.ones(1, 3))
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())

"""Weights in fewer bits, and weights with an adapter beside them: what a module multiplies by is asked of it."""

import warnings
from functools import cache

import numpy as np
import pytest
import torch
from tests.tracing.tiny import build, token_ids
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM, TorchAoConfig

import contextmix as cm
from contextmix.errors import UnsupportedModel
from contextmix.tracing.recording.resolve import linear_weight
from contextmix.tracing.recording.upcast import in_float32
from contextmix.tracing.recording.verify import precision

IDS = {"input_ids": token_ids(9)[0]}


class EightBits(nn.Module):
    """A linear map of whole numbers and a scale per row."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.bias = linear.in_features, linear.bias
        weight = linear.weight.detach()
        self.scale = nn.Parameter(weight.abs().amax(1, keepdim=True) / 127)
        self.weight = nn.Parameter((weight / self.scale).round().to(torch.int8), requires_grad=False)

    def forward(self, states: Tensor) -> Tensor:
        return nn.functional.linear(states.to(self.scale.dtype), self.weight * self.scale, self.bias)


class Adapted(nn.Linear):
    """A linear map with a low-rank one beside it, as LoRA has it: the stored weight is half of the truth."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features)
        self.load_state_dict(linear.state_dict())
        self.down, self.up = nn.Linear(self.in_features, 2, bias=False), nn.Linear(2, self.out_features, bias=False)
        for part, seed in ((self.down, 1), (self.up, 2)):
            generator = torch.Generator().manual_seed(seed)
            part.weight.data = torch.randn(part.weight.shape, generator=generator)

    def forward(self, states: Tensor) -> Tensor:
        return super().forward(states) + self.up(self.down(states))


def changed(kind: type[nn.Module]) -> nn.Module:
    """A BERT in which every linear map of the blocks is of this kind."""
    model = build("bert")
    for path, module in [*model.encoder.named_modules()]:
        if isinstance(module, nn.Linear):
            parent, _, name = path.rpartition(".")
            setattr(model.encoder.get_submodule(parent), name, kind(module))
    return model.eval()


def test_what_a_module_multiplies_by_is_asked_of_it():
    linear = nn.Linear(3, 5)
    states = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for module in (linear, EightBits(linear), Adapted(linear)):
        found = states @ linear_weight(module, transposed=False) + linear.bias
        torch.testing.assert_close(found, module(states))
    assert linear_weight(linear, transposed=False).data_ptr() == linear.weight.data_ptr()  # no copy of a plain one


@pytest.mark.parametrize("kind", [EightBits, Adapted])
def test_maps_are_those_of_a_model_with_the_very_weights_it_multiplies_by(kind):
    model, plain = changed(kind), build("bert")
    for path, module in plain.encoder.named_modules():
        if isinstance(module, nn.Linear):
            module.weight.data = linear_weight(model.encoder.get_submodule(path), transposed=False).T.contiguous()
    # Lengths of ALTI: where nothing contributes, rounding is all that shares are made of.
    for method, options in (("globenc", {}), ("value_zeroing", {}), ("alti", {"normalise": False})):
        wanted, found = (cm.load(one).explain(IDS, method, **options).values for one in (plain, model))
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
    assert np.abs(found - cm.load(build("bert")).explain(IDS, method, **options).values).max() > 1e-4


def test_a_quantised_model_is_checked_as_coarsely_as_it_computes():
    assert precision(changed(EightBits), torch.ones(1)) == torch.bfloat16
    assert precision(changed(Adapted), torch.ones(1)) == torch.float32


def test_a_quantised_module_in_half_precision_stands_between_float32_states():
    model = changed(EightBits).bfloat16()
    with in_float32(model), torch.no_grad():
        assert model(**{"input_ids": token_ids(5)}).last_hidden_state.dtype == torch.float32
    assert "forward" not in vars(model.encoder.layer[0].output.dense)
    found, wanted = (cm.load(one).explain(IDS, "globenc").as_share().values for one in (model, build("bert")))
    assert np.abs(found - wanted).max() <= 2e-2


# Packed by torch itself ----------------------------------------------------------------------------------------------


def packed_dynamically(dtype: torch.dtype) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have its users take torchao
        found: nn.Module = torch.ao.quantization.quantize_dynamic(build("bert"), {nn.Linear}, dtype=dtype)
    return found


def packed_linear() -> nn.Module:
    model = build("bert")
    model.encoder.layer[0].output.dense = torch.ao.nn.quantized.Linear(32, 16)
    return model


def packed_and_activated() -> nn.Module:
    model = build("bert")
    model.encoder.layer[0].intermediate.dense = torch.ao.nn.intrinsic.quantized.LinearReLU(16, 32)
    return model


def packed_embeddings() -> nn.Module:
    model = build("bert")
    model.embeddings.word_embeddings = torch.ao.nn.quantized.Embedding(40, 16)
    return model


@pytest.mark.parametrize(
    ("packed", "kind", "what"),
    [
        (lambda: packed_dynamically(torch.qint8), "dynamic int8", "query is a torch.ao.nn.quantized.dynamic"),
        (lambda: packed_dynamically(torch.float16), "dynamic float16", "query is a torch.ao.nn.quantized.dynamic"),
        (packed_linear, "int8", "encoder.layer.0.output.dense is a torch.ao.nn.quantized"),
        (packed_and_activated, "int8", "encoder.layer.0.intermediate.dense is a torch.ao.nn.intrinsic.quantized"),
        (packed_embeddings, "uint8", "embeddings.word_embeddings is a torch.ao.nn.quantized"),
    ],
    ids=["dynamic int8", "dynamic float16", "static", "fused", "embeddings"],
)
def test_what_torch_packed_is_named_as_what_it_is(packed, kind, what):
    with pytest.raises(UnsupportedModel) as refusal:
        cm.load(packed())
    assert f"The model is quantised to {kind} by torch" in str(refusal.value)
    assert what in str(refusal.value)


# The libraries, where they are installed ------------------------------------------------------------------------------


@cache
def stored(folder: str) -> str:
    """A Llama large enough for four-bit kernels, in a folder."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=64,
    )
    model = LlamaForCausalLM(config)
    for weight in model.parameters():
        if weight.ndim == 2:
            nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)
    model.save_pretrained(folder)
    return folder


def eight_bits():
    pytest.importorskip("bitsandbytes")
    return BitsAndBytesConfig(load_in_8bit=True)


def four_bits():
    pytest.importorskip("bitsandbytes")
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")


def eight_bits_of_torchao():
    torchao = pytest.importorskip("torchao.quantization")
    return TorchAoConfig(torchao.Int8WeightOnlyConfig())


@pytest.mark.parametrize(("library", "near"), [(eight_bits, 2e-2), (four_bits, 6e-2), (eight_bits_of_torchao, 2e-2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_models_quantised_by_a_library_have_maps_near_the_full_ones(tmp_path_factory, library, near, dtype):
    settings, folder = library(), stored(str(tmp_path_factory.getbasetemp() / "llama"))
    traced = cm.load(AutoModelForCausalLM.from_pretrained(folder, quantization_config=settings, dtype=dtype))
    found = traced.explain(IDS, "globenc").as_share()
    wanted = cm.load(folder).explain(IDS, "globenc").as_share()
    assert 0 < np.abs(found.values - wanted.values).max() <= near
    with pytest.raises(UnsupportedModel, match="is quantised"):
        traced.explain(IDS, "hta", layers=[0])

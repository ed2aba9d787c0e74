"""What the block equation cannot see: tokens that mix beside attention."""

from collections.abc import Callable

import pytest
import torch
import transformers
from tests.tracing.tiny import MARKS, SIZES, build, token_ids, vivid
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import UnsupportedModel


class Blurred(nn.Module):
    """A module that reads the tokens beside each token, too."""

    def __init__(self, inner: nn.Module, blur: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.blur = inner, blur

    def forward(self, states: Tensor) -> Tensor:
        return self.inner(self.blur(states))


class Remembered(nn.Module):
    """A module that writes what another one wrote."""

    def __init__(self, other: nn.Module, factor: float = 1.0) -> None:
        super().__init__()
        self.kept, self.factor = torch.empty(0), factor
        other.register_forward_hook(self.keep)

    def keep(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        self.kept = output

    def forward(self, states: Tensor) -> Tensor:
        return self.kept * self.factor


def from_before(states: Tensor) -> Tensor:
    return states + 0.1 * states.roll(1, dims=1)


def from_after(states: Tensor) -> Tensor:
    return states + 0.1 * states.roll(-1, dims=1)


def from_all(states: Tensor) -> Tensor:
    return states + 0.1 * states.mean(1, keepdim=True)


@pytest.mark.parametrize("blur", [from_before, from_after, from_all])
@pytest.mark.parametrize(("family", "path"), [("bert", "encoder.layer.1.intermediate"), ("llama", "layers.1.mlp")])
def test_a_feed_forward_part_that_mixes_tokens_is_refused(family: str, path: str, blur: Callable[[Tensor], Tensor]):
    model = build(family)
    model.set_submodule(path, Blurred(model.get_submodule(path), blur))
    with pytest.raises(UnsupportedModel, match=r"layer(s|)\.1 .*something beside attention mixes tokens"):
        cm.load(model).anatomy()


def test_a_feed_forward_part_that_reads_each_token_for_itself_is_not_refused():
    model = build("bert")
    own = Blurred(model.encoder.layer[1].intermediate, lambda states: 2 * states)
    model.encoder.layer[1].intermediate = own
    assert len(cm.load(model).anatomy().blocks) == 2


def test_a_decoder_block_that_mixes_tokens_beside_its_two_attentions_is_refused():
    sizes = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "num_layers": 2, "num_heads": 2, "d_ff": 32}
    model = vivid(transformers.T5Model(transformers.T5Config(**sizes)))
    assert len(cm.load(model).anatomy().decoder) == 2
    last = model.decoder.block[1].layer[2]
    last.DenseReluDense = Blurred(last.DenseReluDense, from_before)
    with pytest.raises(UnsupportedModel, match=r"decoder\.block\.1 .*something beside attention mixes tokens"):
        cm.load(model).anatomy()


def test_values_made_of_several_tokens_are_refused():
    model = build("bert")
    attention = model.encoder.layer[0].attention.self
    attention.value = Blurred(attention.value, from_before)
    with pytest.raises(UnsupportedModel, match="the value of one token is made of several tokens"):
        cm.load(model).anatomy()


def test_values_made_from_those_of_another_layer_are_refused():
    model = build("llama")
    model.layers[1].self_attn.v_proj = Remembered(model.layers[0].self_attn.v_proj, factor=2.0)
    with pytest.raises(UnsupportedModel, match=r"layers\.1 .*come from another layer"):
        cm.load(model).anatomy()


def test_looking_for_it_leaves_the_model_as_it_was():
    model = build("gpt2")
    before = model(token_ids(7)).last_hidden_state
    cm.load(model).anatomy()
    assert torch.equal(model(token_ids(7)).last_hidden_state, before)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_an_inner_model_keeps_no_cache_to_which_a_second_run_would_add():
    text = {**SIZES, **MARKS, "model_type": "llama"}
    vision = {**SIZES, "image_size": 8, "patch_size": 4, "model_type": "siglip_vision_model"}
    model = vivid(transformers.LlavaModel(transformers.LlavaConfig(text_config=text, vision_config=vision)))
    assert model.config.text_config.use_cache
    traced = cm.load(model)
    last = traced.trace({"input_ids": token_ids(6)[0]}).layers[-1]
    torch.testing.assert_close(last.replay(last.residual_in), last.residual_out)
    assert model.config.text_config.use_cache


class Once(nn.Module):
    """A module that runs once."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.ran = inner, False

    def forward(self, states: Tensor) -> Tensor:
        if self.ran:
            raise ValueError("only once")
        self.ran = True
        return self.inner(states)


def test_a_block_that_does_not_run_again_is_refused():
    model = build("bert")
    model.encoder.layer[0].intermediate = Once(model.encoder.layer[0].intermediate)
    with pytest.raises(UnsupportedModel, match=r"does not run a second time \(ValueError: only once\)"):
        cm.load(model).anatomy()


def test_a_model_that_has_no_eager_attention_is_refused():
    model = build("llama")
    for layer in model.layers:
        del layer.self_attn.num_key_value_groups
    with pytest.raises(UnsupportedModel, match=r"not with its eager attention.*num_key_value_groups"):
        cm.load(model).anatomy()

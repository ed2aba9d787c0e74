"""A block that is refused says what else mixes tokens in it, and how that stands to attention."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import torch
import transformers
from tests.tracing.tiny import build, hook_count, token_ids, vivid
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import UnsupportedModel

_SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "mamba_d_state": 3,
}
ONE_AFTER_THE_OTHER = "behind attention: it reads what attention has changed"
CHAIN = "behind attention, and nothing carries what attention wrote around it"
BESIDE = "beside attention, and reads nothing of it"


def zamba() -> Any:
    kinds = ["linear_attention", "hybrid"] * 2  # hybrid layers share one attention block
    own = {"attention_hidden_size": 32, "attention_head_dim": 16, "mamba_dt_rank": 2, "n_mamba_heads": 2}
    return transformers.ZambaModel(
        transformers.ZambaConfig(**_SIZES, **own, num_hidden_layers=4, layers_block_type=kinds)
    )


def zamba2() -> Any:
    own = {"n_mamba_heads": 4, "mamba_ngroups": 1, "chunk_size": 4, "num_mem_blocks": 1, "adapter_rank": 2}
    kinds = ["mamba", "hybrid", "mamba"]
    return transformers.Zamba2Model(
        transformers.Zamba2Config(**_SIZES, **own, num_hidden_layers=3, layers_block_type=kinds)
    )


def rwkv() -> Any:
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "context_length": 32, "num_hidden_layers": 2}
    return transformers.RwkvModel(transformers.RwkvConfig(**sizes))


class Summed(nn.Module):
    """A module that adds up what it wrote for all tokens before."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, states: Tensor) -> Tensor:
        wrote: Tensor = self.inner(states)
        return wrote.cumsum(1)


def parallel() -> Any:
    model: Any = build("gpt_neox")  # its feed-forward part reads what attention reads
    model.layers[1].mlp = Summed(model.layers[1].mlp)
    return model


FAMILIES: dict[str, tuple[Callable[[], Any], str, str, str, str, str]] = {
    # block, what attends in it, what else mixes, its class, where it stands
    "zamba": (zamba, "layers.1", "shared_transf.self_attn", "mamba_decoder.mamba", "ZambaMambaMixer", CHAIN),
    "zamba2": (zamba2, "layers.1", "shared_transformer.self_attn", "mamba_decoder.mamba", "Zamba2MambaMixer", CHAIN),
    "rwkv": (rwkv, "blocks.1", "attention", "feed_forward.time_shift", "ZeroPad2d", ONE_AFTER_THE_OTHER),
    "parallel": (parallel, "layers.1", "attention", "mlp", "Summed", BESIDE),
}


def refusal(model: nn.Module) -> str:
    with pytest.raises(UnsupportedModel) as refused:
        cm.load(model).anatomy()
    return str(refused.value)


def first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


class Runs:
    """Runs of a plain model with some modules in one of its blocks writing something else, by hooks of this test."""

    def __init__(self, model: Any, block: str) -> None:
        self.model, self.block = model, model.get_submodule(block)

    def told(self, path: str, writing: dict[str, Callable[[Tensor], Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """What a module of the block read and wrote, and what the block wrote."""
        found: list[Tensor] = []

        def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            found.extend([(args[0] if args else kwargs["hidden_states"]).clone(), first(output).clone()])

        def change(own: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
            def hook(_: nn.Module, __: Any, output: Any) -> Any:
                return own(output) if isinstance(output, Tensor) else (own(output[0]), *output[1:])

            return hook

        with ExitStack() as stack, torch.no_grad():
            for where, own in writing.items():
                handle = self.block.get_submodule(where).register_forward_hook(change(own))
                stack.callback(handle.remove)
            for module in (self.block.get_submodule(path), self.block):
                stack.callback(module.register_forward_hook(note, with_kwargs=True).remove)
            self.model(token_ids(7), use_cache=False)
        read, wrote, _, left = found[:4]
        return read, wrote, left


@pytest.mark.parametrize("name", FAMILIES)
def test_the_module_is_named_and_where_it_stands_is_what_plain_runs_show(name: str):
    make, block, attention, second, kind, place = FAMILIES[name]
    model = vivid(make()).double().eval()
    told = refusal(model)
    assert f"{block}.{second} ({kind}) mixes tokens {place}" in told
    runs = Runs(model, block)
    read, wrote, left = runs.told(second, {})
    changed, _, other = runs.told(second, {attention: lambda states: states.flip(-1)})
    _, _, without = runs.told(second, {attention: lambda states: states.flip(-1), second: lambda _: wrote})
    assert not torch.allclose(other, left, atol=1e-6)
    assert torch.equal(changed, read) == (place == BESIDE)
    assert torch.equal(without, left) == (place == CHAIN)


def test_rwkv_is_told_of_its_values_too():
    assert "; and the value of one token is made of several tokens" in refusal(vivid(rwkv()).double().eval())


def test_looking_for_it_leaves_no_hook():
    model = vivid(zamba2()).double().eval()
    refusal(model)
    assert hook_count(model) == 0


def bent(_: nn.Module, __: tuple[Tensor, ...], output: Any) -> Any:
    """A forward hook: what attention adds is no linear map of what its heads give."""
    return torch.tanh(output[0]), *output[1:]


def test_a_module_that_mixes_is_told_from_its_parts_and_from_what_reads_it():
    model = build("llama")
    model.layers[1].mlp = Summed(model.layers[1].mlp)
    told = refusal(model)
    assert f"layers.1.mlp (Summed) mixes tokens {ONE_AFTER_THE_OTHER}" in told
    assert "mlp.inner" not in told


@pytest.mark.parametrize("mixing", [True, False])
def test_a_block_that_is_no_sum_says_whether_something_else_mixes_in_it(mixing: bool):
    model = build("llama")
    model.layers[1].self_attn.register_forward_hook(bent)
    if mixing:
        model.layers[1].mlp = Summed(model.layers[1].mlp)
    told = refusal(model)
    assert "cannot be read" in told
    assert ("mixes tokens" in told) == mixing
    assert (f"In that block layers.1.mlp (Summed) mixes tokens {ONE_AFTER_THE_OTHER}" in told) == mixing

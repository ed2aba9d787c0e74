"""Tiny models whose layers mix tokens without attention, and what each mixer does, by loops over its recurrence.

Nothing here knows contextmix: the tensors are what the model's own modules write, the formulas those of the papers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from tests.tracing.tiny import vivid
from torch import Tensor, nn

N = 7
SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 24,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_DELTA = {
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 8,
    "shared_expert_intermediate_size": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 6,
    "linear_value_head_dim": 5,
    "head_dim": 8,
    "layer_types": ["linear_attention", "linear_attention"],
    "experts_implementation": "eager",
}
MAMBA2 = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 2, "mamba_d_state": 3, "mamba_chunk_size": 4}
_MAMBA = {"mamba_d_state": 3, "mamba_dt_rank": 2, "num_experts": 1, "attn_layer_period": 2, "attn_layer_offset": 1}


@dataclass(frozen=True)
class Family:
    """A kind of mixer in a model that has it in its first layer.

    Attributes:
        kind: Prefix of its classes.
        sizes: Beside the usual ones.
        mixer: Path of the mixer in the first layer.
        maker: Path of the module that makes the values, in the mixer.
        columns: Which of its outputs are values, in the order of the channels.
        output: Path of the output projection, in the mixer.
        longhand: The mixer and its modules' own outputs → what each token brings each row, (row, token, channel), with
            the nonlinearities behind the values held; and what no token brings, (row, channel).
        routing: Modules behind the values whose output is routing.
        exact: What is left in float64 where the model computes in float32 itself.
        layers: Path of the layers.
    """

    kind: str
    sizes: dict[str, Any]
    mixer: str
    maker: str
    columns: Callable[[nn.Module], list[int]]
    output: str
    longhand: Callable[[Any, dict[str, Tensor]], tuple[Tensor, Tensor]]
    routing: tuple[str, ...] = ()
    exact: float = 1e-6
    layers: str = "layers"

    def build(self, head: str = "Model", **changes: Any) -> Any:
        """A fresh model in float64."""
        config = getattr(transformers, f"{self.kind}Config")(**{**SIZES, **self.sizes, **changes})
        model: Any = vivid(getattr(transformers, f"{self.kind}{head}")(config))
        return model.double().eval()

    def mixer_of(self, model: nn.Module, layer: int = 0) -> nn.Module:
        """The mixer of a layer."""
        return model.get_submodule(f"{self.layers}.{layer}.{self.mixer}")


def heard(module: nn.Module, run: Callable[[], Any]) -> dict[str, Tensor]:
    """What the modules inside a module write in a run, of one sequence."""
    said: dict[str, Tensor] = {}

    def keep(path: str) -> Callable[..., None]:
        def hook(_: Any, __: Any, output: Any) -> None:
            said[path] = (output if isinstance(output, Tensor) else output[0])[0].detach().clone()

        return hook

    handles = [part.register_forward_hook(keep(path)) for path, part in module.named_modules()]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return said


@contextmanager
def same_again(module: nn.Module, said: dict[str, Tensor], paths: tuple[str, ...]) -> Iterator[None]:
    """These modules write what they wrote before, whatever they read."""
    handles = [
        module.get_submodule(path).register_forward_hook(lambda _, __, output, own=said[path]: own[None].to(output))
        for path in paths
    ]
    yield
    for handle in handles:
        handle.remove()


@contextmanager
def same_gates(gates: list[Tensor], *, keep: bool) -> Iterator[None]:
    """Griffin's gates are products with parameters that no module holds: kept, or given again."""
    own, waiting = torch.baddbmm, list(gates)

    def product(*args: Any) -> Tensor:
        if keep:
            gates.append(own(*args))
            return gates[-1]
        return waiting.pop(0)

    torch.baddbmm = product
    try:
        yield
    finally:
        torch.baddbmm = own


class Squared(nn.Module):
    """A mixer that is linear in nothing, whatever is held: squares of sums over the tokens so far."""

    def __init__(self, own: Any) -> None:
        super().__init__()
        self.in_proj, self.out_proj = own.in_proj, own.out_proj

    def forward(self, hidden_states: Tensor, **_: Any) -> Tensor:
        """States to states."""
        read: Tensor = self.in_proj(hidden_states)[..., : self.out_proj.in_features]
        return self.out_proj(read.cumsum(1).square())  # type: ignore[no-any-return]


# Longhand ------------------------------------------------------------------------------------------------------------


def _convolved(conv: Any, values: Tensor, channels: slice) -> tuple[Tensor, Tensor]:
    """What each token brings to a causal convolution of channels, (token, row, channel), and its bias (channel,)."""
    kernel = conv.weight[channels, 0]
    width, found = kernel.shape[1], values.new_zeros(len(values), *values.shape)
    for token in range(len(values)):
        for row in range(token, min(token + width, len(values))):
            found[token, row] = kernel[:, width - 1 - (row - token)] * values[token]
    return found, values.new_zeros(values.shape[1]) if conv.bias is None else conv.bias[channels]


def _silu_held(conv: Any, values: Tensor, channels: slice) -> tuple[Tensor, Tensor]:
    """The same behind a SiLU whose sigmoid is held; the bias by row."""
    parts, bias = _convolved(conv, values, channels)
    factor = torch.sigmoid(parts.sum(0) + bias)
    return parts * factor, factor * bias


def _each(scan: Callable[[Tensor], Tensor], parts: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A linear scan of what each token brings and of what none brings: (row, token, channel) and (row, channel)."""
    return torch.stack([scan(part) for part in parts], dim=1), scan(bias)


def short_convolution(mixer: Any, said: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """LFM2: C ⊙ conv(B ⊙ x)."""
    b, c, x = said["in_proj"].chunk(3, dim=-1)
    parts, bias = _convolved(mixer.conv, b * x, slice(None))
    return c[:, None] * parts.transpose(0, 1), c * bias


def _scanned(mixer: Any, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """S_t = exp(Δ_t A) S_{t−1} + Δ_t x_t B_tᵀ,  y_t = S_t C_t + D x_t; and the gate, SiLU of z."""
    inner, state, groups = mixer.intermediate_size, mixer.ssm_state_size, mixer.n_groups
    z, x, b, c, step = projected.split([inner, inner, groups * state, groups * state, mixer.num_heads], dim=-1)
    parts, bias = _silu_held(mixer.conv1d, x, slice(0, inner))
    b = _silu_held(mixer.conv1d, b, slice(inner, inner + groups * state))
    c = _silu_held(mixer.conv1d, c, slice(inner + groups * state, None))
    b, c = ((own[0].sum(0) + own[1]).view(len(x), groups, state) for own in (b, c))
    step = nn.functional.softplus(step + mixer.dt_bias)

    def scan(read: Tensor) -> Tensor:
        found = torch.zeros_like(read)
        for channel in range(inner):
            head = channel // mixer.head_dim
            group = head // (mixer.num_heads // groups)
            kept = read.new_zeros(state)
            for row in range(len(read)):
                kept = kept * torch.exp(-step[row, head] * mixer.A_log[head].exp())
                kept = kept + step[row, head] * b[row, group] * read[row, channel]
                found[row, channel] = kept @ c[row, group] + mixer.D[head] * read[row, channel]
        return found

    return *_each(scan, parts, bias), nn.functional.silu(z)


def mamba2(mixer: Any, said: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The scan, gated, over its norm's denominator."""
    sent, rest, gate = _scanned(mixer, said["in_proj"])
    by_group = ((sent.sum(1) + rest) * gate).view(len(gate), -1, mixer.norm.group_size)
    size = (by_group.square().mean(-1, keepdim=True) + mixer.norm.variance_epsilon).sqrt().expand_as(by_group)
    factor = gate * mixer.norm.weight / size.reshape(gate.shape)
    return sent * factor[:, None], rest * factor


def scaled_mamba2(mixer: Any, said: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Falcon-H1: the scan of what is projected times fixed factors, gated, without a norm."""
    sent, rest, gate = _scanned(mixer, said["in_proj"] * mixer.mup_vector[0, 0])
    return sent * gate[:, None], rest * gate


def mamba(mixer: Any, said: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The same with a state for every channel: h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t x_t,  y_t = C_t h_t + D x_t."""
    x, z = said["in_proj"].chunk(2, dim=-1)
    parts, bias = _silu_held(mixer.conv1d, x, slice(None))
    step = nn.functional.softplus(said["dt_layernorm"] @ mixer.dt_proj.weight.T + mixer.dt_proj.bias)
    b, c = said["b_layernorm"], said["c_layernorm"]

    def scan(read: Tensor) -> Tensor:
        found = torch.zeros_like(read)
        for channel in range(read.shape[1]):
            kept = read.new_zeros(b.shape[1])
            for row in range(len(read)):
                kept = kept * torch.exp(-step[row, channel] * mixer.A_log[channel].exp())
                kept = kept + step[row, channel] * b[row] * read[row, channel]
                found[row, channel] = kept @ c[row] + mixer.D[channel] * read[row, channel]
        return found

    sent, rest = _each(scan, parts, bias)
    return sent * nn.functional.silu(z)[:, None], rest * nn.functional.silu(z)


def gated_delta(mixer: Any, said: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """S_t = γ_t S_{t−1} + β_t k_t (v_t − γ_t S_{t−1}ᵀ k_t)ᵀ,  o_t = S_tᵀ q_t, normed by head, gated."""
    heads, keys, d_key, d_value = mixer.num_v_heads, mixer.num_k_heads, mixer.head_k_dim, mixer.head_v_dim
    each = heads // keys
    mixed, n = said["in_proj_qkvz"].view(N, keys, -1), N
    q, k, v, z = mixed.split([d_key, d_key, each * d_value, each * d_value], dim=-1)
    beta, decay = (one.reshape(n, heads) for one in said["in_proj_ba"].view(n, keys, -1).split(each, dim=-1))
    parts, bias = _silu_held(mixer.conv1d, v.reshape(n, -1), slice(2 * keys * d_key, None))
    q, k = (
        _silu_held(mixer.conv1d, one.reshape(n, -1), slice(at, at + keys * d_key))[0].sum(0).view(n, keys, d_key)
        for one, at in ((q, 0), (k, keys * d_key))
    )
    q, k = (one / (one.square().sum(-1, keepdim=True) + 1e-6).sqrt() for one in (q, k))
    beta, decay = beta.sigmoid(), -mixer.A_log.exp() * nn.functional.softplus(decay + mixer.dt_bias)

    def scan(read: Tensor) -> Tensor:
        read, found = read.view(n, heads, d_value), read.new_zeros(n, heads, d_value)
        for head in range(heads):
            kept = read.new_zeros(d_key, d_value)
            for row in range(n):
                key, query = k[row, head // each], q[row, head // each] * d_key**-0.5
                kept = kept * decay[row, head].exp()
                kept = kept + beta[row, head] * torch.outer(key, read[row, head] - key @ kept)
                found[row, head] = query @ kept
        return found.view(n, -1)

    whole = scan(parts.sum(0)).view(n, heads, d_value)
    size = (whole.square().mean(-1, keepdim=True) + mixer.norm.variance_epsilon).sqrt()
    factor = (nn.functional.silu(z.reshape(whole.shape)) * mixer.norm.weight / size).view(n, -1)
    sent, rest = _each(scan, parts, bias)
    return sent * factor[:, None], rest * factor


def griffin(mixer: Any, said: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """h_t = a_t h_{t−1} + √(1 − a_t²) i_t x_t, where a is zero at the first token; times GELU of the other branch."""
    lru, x = mixer.rg_lru, said["linear_x"]
    parts, bias = _convolved(mixer.conv_1d, x, slice(None))
    read = (parts.sum(0) + bias).view(len(x), lru.num_attention_heads, -1)

    def gate(name: str) -> Tensor:
        weight, shift = getattr(lru, f"{name}_gate_weight"), getattr(lru, f"{name}_gate_bias")
        return torch.sigmoid(torch.einsum("thc,hcd->thd", read, weight) + shift).reshape(len(x), -1)

    kept_share = torch.exp(-8 * gate("recurrent") * nn.functional.softplus(lru.recurrent_param))
    entering = gate("input") * (1 - kept_share.square()).sqrt()
    entering[0] = gate("input")[0]
    kept_share[0] = 0

    def scan(part: Tensor) -> Tensor:
        kept, found = part.new_zeros(part.shape[1]), torch.zeros_like(part)
        for row in range(len(part)):
            kept = kept_share[row] * kept + entering[row] * part[row]
            found[row] = kept
        return found

    sent, rest = _each(scan, parts, bias.expand(len(x), -1))
    other = nn.functional.gelu(said["linear_y"], approximate="tanh")
    return sent * other[:, None], rest * other


def _delta_columns(mixer: Any) -> list[int]:
    each = mixer.num_v_heads // mixer.num_k_heads * mixer.head_v_dim
    width = 2 * mixer.head_k_dim + 2 * each
    return [head * width + 2 * mixer.head_k_dim + one for head in range(mixer.num_k_heads) for one in range(each)]


FAMILIES = {
    "short convolution": Family(
        "Lfm2",
        {"layer_types": ["conv", "full_attention"], "conv_bias": True},
        "conv",
        "in_proj",
        lambda mixer: list(range(32, 48)),
        "out_proj",
        short_convolution,
        exact=1e-9,
    ),
    "mamba 2": Family(
        "Bamba",
        {**MAMBA2, "attn_layer_indices": [1]},
        "mamba",
        "in_proj",
        lambda mixer: list(range(mixer.intermediate_size, 2 * mixer.intermediate_size)),
        "out_proj",
        mamba2,
    ),
    "mamba 1": Family(
        "Jamba",
        {**_MAMBA},
        "mamba",
        "in_proj",
        lambda mixer: list(range(mixer.intermediate_size)),
        "out_proj",
        mamba,
        routing=("x_proj",),
    ),
    "gated delta net": Family(
        "Qwen3Next", _DELTA, "linear_attn", "in_proj_qkvz", _delta_columns, "out_proj", gated_delta
    ),
    "gated recurrence": Family(
        "RecurrentGemma",
        {"lru_width": 16, "head_dim": 8, "attention_window_size": 8, "block_types": ["recurrent", "attention"]},
        "temporal_block",
        "linear_x",
        lambda mixer: list(range(16)),
        "linear_out",
        griffin,
    ),
}

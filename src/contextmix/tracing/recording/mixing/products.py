"""Products of two tensors: which calls of torch are one, and which axes they share, sum over and keep.

    O[s…, i, j] = Σ_k L[s…, i, k] · R[s…, k, j]        s shared, k summed over, i and j of one operand alone

Attention outside of the registry ends in such a product: of weights (query i, key k) and values (key k, channel j), or
the other way round. A fused attention is one too, whose weights are not kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from contextmix.traces.mixing import Mixer

_SHARED = "ABCDEFGH"  # names of axes that a matrix product has in front


@dataclass(frozen=True, eq=False)
class Product:
    """One call that multiplies two tensors.

    Attributes:
        operands: Both of them, or what computes them, in the order in which the call names them.
        axes: One letter per axis of both operands and of the result.
        again: The same call with another right operand, or with another left one (None: its own).
    """

    operands: tuple[Callable[[], Tensor], Callable[[], Tensor]]
    axes: tuple[str, str, str]
    again: Callable[[Tensor | None, Tensor | None], Tensor]

    @property
    def shared(self) -> str:
        """The axes of both operands and of the result, in the order of the result."""
        return "".join(axis for axis in self.axes[2] if all(axis in own for own in self.axes))


def product_of(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Product | None:
    """A call of a torch function as a product; None if it is none, or one of other axes than the formula's."""
    form = _FORMS.get(func)
    found = None if form is None else form(func, args, kwargs)
    if found is None:
        return None
    left, right, out = (set(own) for own in found.axes)
    once = all(len(set(own)) == len(own) for own in found.axes)
    plain = len((left & right) - out) == len((left & out) - right) == len((right & out) - left) == 1
    return found if once and plain and left | right | out == (left & right) | out and out <= left | right else None


def is_product(func: Callable[..., Any]) -> bool:
    """Whether a torch function may be a product at all; asked of every call."""
    return func in _FORMS


def _matrices(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Product | None:
    given = [*args, *(kwargs[name] for name in ("other", "mat2") if name in kwargs)]
    if len(given) != 2 or "out" in kwargs or not all(isinstance(one, Tensor) and one.ndim > 2 for one in given):
        return None
    left, right = given
    if max(left.ndim, right.ndim) - 2 > len(_SHARED):
        return None
    names = _SHARED[: max(left.ndim, right.ndim) - 2]
    axes = (names[len(names) - left.ndim + 2 :] + "ik", names[len(names) - right.ndim + 2 :] + "kj", names + "ij")
    return _of_tensors(left, right, axes, func)


def _einsum(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Product | None:
    operands = args[1:] if len(args) != 2 or isinstance(args[1], Tensor) else args[1]
    equation = args[0] if args else None
    if not isinstance(equation, str) or len(operands) != 2 or "." in equation or "->" not in equation:
        return None
    read, out = equation.replace(" ", "").split("->")
    left, right = read.split(",")
    return _of_tensors(operands[0], operands[1], (left, right, out), lambda *both: torch.einsum(equation, *both))


def _of_tensors(left: Tensor, right: Tensor, axes: tuple[str, str, str], multiply: Callable[..., Tensor]) -> Product:
    def again(other_left: Tensor | None, other_right: Tensor | None) -> Tensor:
        return multiply(left if other_left is None else other_left, right if other_right is None else other_right)

    return Product((lambda: left, lambda: right), axes, again)


def _fused(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Product | None:
    """Fused attention runs as it is; its weights are made beside it, by its documented formula."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    told = {**dict(zip(names, args, strict=False)), **kwargs}
    query, value = told.get("query"), told.get("value")
    if not (isinstance(query, Tensor) and isinstance(value, Tensor)) or query.ndim != value.ndim or query.ndim < 3:
        return None
    if told.get("dropout_p"):
        return None

    def again(_: Tensor | None, other: Tensor | None) -> Tensor:
        return func(**{**told, "value": value if other is None else other})  # type: ignore[no-any-return]

    front = _SHARED[: query.ndim - 2]
    return Product((lambda: _weights(told), lambda: value), (front + "ik", front + "kj", front + "ij"), again)


def _weights(told: Mapping[str, Any]) -> Tensor:
    """softmax(scale · Q Kᵀ + mask), as torch documents its fused attention."""
    query, key, mask, scale = told["query"], told["key"], told.get("attn_mask"), told.get("scale")
    if key.ndim > 3 and key.shape[-3] != query.shape[-3]:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if told.get("is_causal"):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype is torch.bool else scores + mask
    weights: Tensor = scores.softmax(-1)
    return weights


_MATRICES = (torch.matmul, torch.bmm, Tensor.matmul, Tensor.bmm, Tensor.__matmul__)
_FORMS: dict[Any, Callable[..., Product | None]] = {
    **dict.fromkeys(_MATRICES, _matrices),
    **dict.fromkeys((torch.einsum, torch.functional.einsum), _einsum),
    nn.functional.scaled_dot_product_attention: _fused,
}


class Reading:
    """A product of weights and values with its axes in the order of an attention function of the registry.

    Args:
        product: The call.
        mixer: Which operand is the values, and which of its axes is the batch.
    """

    def __init__(self, product: Product, mixer: Mixer) -> None:
        self.product, self.mixer = product, mixer
        self.value_axes, self.weight_axes = product.axes[mixer.value], product.axes[1 - mixer.value]
        (self.key,) = set(self.value_axes) & set(self.weight_axes) - set(product.axes[2])
        (self.query,) = set(self.weight_axes) - set(self.value_axes)
        (self.channel,) = set(self.value_axes) - set(self.weight_axes)
        shared = product.shared
        own = "" if mixer.batch is None else shared[mixer.batch]
        self.shared = own + shared.replace(own, "")

    def weights(self) -> Tensor:
        """(batch, head, query, key)."""
        return self._over_heads(self.product.operands[1 - self.mixer.value](), self.weight_axes, self.query + self.key)

    def values(self) -> Tensor:
        """(batch, key-value head, key, d_head)."""
        return self._over_heads(self.product.operands[self.mixer.value](), self.value_axes, self.key + self.channel)

    def output(self, wrote: Tensor) -> Tensor:
        """What the product gave, as (batch, query, head, d_head)."""
        return self._over_heads(wrote, self.product.axes[2], self.query + self.channel).transpose(1, 2)

    def with_values(self, values: Tensor) -> Tensor:
        """What the product gives with other values (batch, key-value head, key, d_head)."""
        order = self.shared + self.key + self.channel
        own = self.product.operands[self.mixer.value]()
        back = values.reshape([own.shape[self.value_axes.index(axis)] for axis in order])
        operand = back.permute([order.index(axis) for axis in self.value_axes])
        return self.product.again(*((operand, None) if self.mixer.value == 0 else (None, operand)))

    def _over_heads(self, tensor: Tensor, axes: str, last: str) -> Tensor:
        """(batch, head, …, …), heads of several axes or of one that holds the batch too side by side."""
        ordered = tensor.permute([axes.index(axis) for axis in self.shared + last])
        if self.mixer.batch is None:
            return ordered.reshape(-1, self.mixer.n_heads, *ordered.shape[-2:])
        return ordered.reshape(ordered.shape[0], -1, *ordered.shape[-2:])

"""Number what a mixer computes: its products with parameters, and its nonlinearities as factors that can be held.

Between the values and what the output projection reads, a mixer without attention multiplies, convolves, scans and
bends. With every product with a parameter and every factor held at what it was, what is left is linear in the values:

    f(x) = x · φ(x), φ held        activations that pass zero through (SiLU, GELU, ReLU), norms by their denominators
    g(x) held                      everything else that is no sum or product (sigmoid, exponential, roots)

No name of a model or an operator of a family is looked at; these are functions of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from contextmix.tracing.recording.quiet import first_states

_ROOMS = (torch, nn.functional, Tensor, torch.functional, torch.special, torch.linalg)


def _functions(*names: str) -> Iterator[Any]:
    for room in _ROOMS:
        yield from (getattr(room, name) for name in names if hasattr(room, name))


_PRODUCTS = frozenset(
    _functions("linear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "baddbmm", "einsum")
)
_CONVOLUTIONS = frozenset(_functions("conv1d", "conv2d"))
_FACTORED = frozenset(_functions("silu", "gelu", "relu", "hardswish", "mish", "leaky_relu", "elu"))
_RMS = frozenset(_functions("rms_norm"))
_UNIT = frozenset(_functions("normalize"))
_HELD = frozenset(
    _functions(
        *(
            "sigmoid",
            "logsigmoid",
            "expit",
            "tanh",
            "softplus",
            "softmax",
            "erf",
            "exp",
            "exp2",
            "expm1",
            "log",
            "log1p",
        ),
        *("sqrt", "rsqrt", "reciprocal", "norm", "vector_norm"),
    )
)
_POWERS = frozenset(_functions("pow", "__pow__"))


def is_parameter(tensor: Any) -> bool:
    """Whether a tensor is a parameter or a view of one."""
    return isinstance(tensor, nn.Parameter) or (
        isinstance(tensor, Tensor) and tensor._is_view() and isinstance(tensor._base, nn.Parameter)
    )


class Numbering(TorchFunctionMode):
    """Sees the products with parameters and the nonlinearities of a run, numbered apart from 0."""

    def __init__(self) -> None:
        super().__init__()
        self.products = self.points = self.before_output = 0

    def seen(self, *places: Any) -> Tensor | None:
        """What the output projection reads, when it does."""
        self.before_output = self.products
        return first_states(*places)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not self.acts():
            return func(*args, **kwargs)
        if func in _PRODUCTS and any(map(is_parameter, _operands(args, kwargs))):
            self.products += 1
            return self.product(self.products - 1, func, args, kwargs)
        if func in _CONVOLUTIONS and _is_pointwise(args, kwargs):
            self.products += 1
            return self.product(self.products - 1, func, args, kwargs)
        if func in _CONVOLUTIONS:
            return self.convolution(func, args, kwargs)
        if func in _FACTORED or func in _RMS or func in _UNIT:
            self.points += 1
            return self.factored(self.points - 1, func, args, kwargs)
        if func in _HELD or (func in _POWERS and _is_root(args, kwargs)):
            self.points += 1
            return self.held(self.points - 1, func, args, kwargs)
        return func(*args, **kwargs)

    def acts(self) -> bool:
        """Whether what runs now is to be seen."""
        return True

    def product(self, number: int, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A product with a parameter."""
        return func(*args, **kwargs)

    def convolution(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A convolution over tokens."""
        return func(*args, **kwargs)

    def factored(self, number: int, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A nonlinearity that is its input times a factor."""
        return func(*args, **kwargs)

    def held(self, number: int, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Any other nonlinearity."""
        return func(*args, **kwargs)


def _operands(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Any]:
    for one in (*args, *kwargs.values()):
        yield from one if isinstance(one, tuple | list) else (one,)


def _is_pointwise(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a convolution is a linear map of each token, and no convolution of each channel."""
    weight = args[1] if len(args) > 1 else kwargs["weight"]
    return all(size == 1 for size in weight.shape[2:]) and weight.shape[1] > 1


def _is_root(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    power = args[1] if len(args) > 1 else kwargs.get("exponent")
    return isinstance(args[0], Tensor) and (not isinstance(power, int | float) or power < 1)


def factor_of(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    """φ with f(x) = x · φ(x)."""
    read = args[0] if args else kwargs["input"]
    if func in _RMS:
        return _rms_factor(*args, **kwargs)
    if func in _UNIT:
        return _unit_factor(*args, **kwargs)
    wrote = func(*args, **_outplace(kwargs))
    return torch.where(read == 0, torch.zeros_like(wrote), wrote / torch.where(read == 0, torch.ones_like(read), read))


def _outplace(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name != "inplace"}


def _rms_factor(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    over = tuple(range(-len(normalized_shape), 0))
    small = torch.finfo(input.dtype).eps if eps is None else eps
    inverse = (input.square().mean(over, keepdim=True) + small).rsqrt()
    return inverse if weight is None else inverse * weight


def _unit_factor(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None) -> Tensor:
    size: Tensor = input.norm(p, dim, keepdim=True)
    return size.clamp_min(eps).reciprocal()

"""Write down what a mixer makes, and run it again with that in the place of what it would make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from contextmix.tracing.recording.mixing.frozen import Numbering, factor_of


@dataclass
class Held:
    """What one run of a mixer made, in order."""

    products: list[Tensor] = field(default_factory=list)
    points: list[Tensor] = field(default_factory=list)
    convolved: list[Tensor] = field(default_factory=list)


class Writing(Numbering):
    """Writes down what a run makes.

    Args:
        factors: Whether nonlinearities are asked for too.
    """

    def __init__(self, *, factors: bool = True) -> None:
        super().__init__()
        self.factors, self.made = factors, Held()

    def product(self, number: int, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """See `Numbering`; the mixer may write into what it gets."""
        wrote = func(*args, **kwargs)
        self.made.products.append(wrote.clone())
        return wrote

    def factored(self, number: int, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """See `Numbering`."""
        if self.factors:
            self.made.points.append(factor_of(func, args, kwargs))
        return func(*args, **kwargs)

    def held(self, number: int, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """See `Numbering`."""
        wrote = func(*args, **kwargs)
        if self.factors:
            self.made.points.append(wrote.clone())
        return wrote

    def convolution(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """See `Numbering`."""
        wrote = func(*args, **kwargs)
        if self.factors:
            self.made.convolved.append(wrote.clone())
        return wrote


class Again(Numbering):
    """Puts what was written down in the place of what would be made.

    Args:
        made: What was written down.
        value: Which product holds the values, and what to put there.
        frozen: Whether nonlinearities are held too.
        unbiased: Of each convolution the channels that carry values, whose bias is left out; None to leave out none.
    """

    def __init__(
        self, made: Held, value: tuple[int, Tensor], *, frozen: bool, unbiased: Sequence[Tensor] | None = None
    ) -> None:
        super().__init__()
        self.made, self.value, self.frozen, self.unbiased = made, value, frozen, unbiased
        self.convolved: list[Tensor] = []

    def product(self, number: int, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """See `Numbering`."""
        if number == self.value[0]:
            return self.value[1]
        if number >= len(self.made.products):  # the output projection and what follows it
            return func(*args, **kwargs)
        return self.made.products[number].clone()  # the mixer may write into it

    def convolution(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """See `Numbering`."""
        bias = args[2] if len(args) > 2 else kwargs.get("bias")
        if self.unbiased is None or bias is None:
            wrote = func(*args, **kwargs)
        else:
            told = [None if number == 2 else one for number, one in enumerate(args)]
            wrote = func(*told, **{name: None if name == "bias" else one for name, one in kwargs.items()})
            kept = bias.masked_fill(self.unbiased[len(self.convolved)], 0)
            wrote = wrote + kept.view(-1, *[1] * (wrote.ndim - 2))
        self.convolved.append(wrote)
        return wrote

    def factored(self, number: int, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """See `Numbering`."""
        if not self.frozen:
            return func(*args, **kwargs)
        read = args[0] if args else kwargs["input"]
        return read * self.made.points[number]

    def held(self, number: int, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """See `Numbering`."""
        if not self.frozen:
            return func(*args, **kwargs)
        return self.made.points[number].clone()

"""A mixer that is no attention: given its routing it is linear in its values, channel by channel.

    r[i, c] = Σ_j K[c, i, j] · v[j, c]  +  b[i, c]

v is the token's own projection, r what the output projection reads, b what no token brings (the bias of a convolution).
Held are the outputs of all other products with parameters (queries, keys, decays, gates, step sizes) and, for K, the
nonlinearities in between (`frozen`). Where all that is was found on a probe (`discovery.routed`). K is what the mixer
makes of unit values: its own code runs again, on many values in one batch, and nothing of it is written anew here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from contextmix.errors import UnsupportedModel
from contextmix.maths.kept import kept
from contextmix.traces.anatomy import Channels
from contextmix.tracing.recording.again import Again, Held
from contextmix.tracing.recording.frozen import Numbering
from contextmix.tracing.recording.listeners import unheard
from contextmix.tracing.recording.memory import room_for
from contextmix.tracing.recording.turns import before, undone

VALUES_AT_ONCE = 1 << 24
"""Numbers of values that a mixer reads in one batch: 64 MiB in float32."""
BACKWARD_ROWS = 3
"""A row of K costs a pass back, about three times what a column costs."""


@dataclass(frozen=True, eq=False)
class Routed:
    """One call of a mixer with its routing, to be made again with other values.

    Attributes:
        module: The mixer.
        place: Where its values and its output are.
        args: What it was called with.
        kwargs: The same.
        made: What it made.
        output: (batch, token, channel): what its output projection read.
    """

    module: nn.Module
    place: Channels
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    made: Held
    output: Tensor

    @property
    def value(self) -> Tensor:
        """(batch, channel, token, 1), as attention has it."""
        return self._values.transpose(1, 2).unsqueeze(-1)

    @property
    def _values(self) -> Tensor:
        """(batch, token, channel)."""
        return self.made.products[self.place.value][..., list(self.place.columns)]

    @kept
    def constant(self) -> Tensor:
        """b, (batch, token, channel): what there is without any value."""
        return self._without[0]

    @kept
    def _without(self) -> tuple[Tensor, list[Tensor]]:
        """b; and of each convolution which channels carry values."""
        mode = self._mode(torch.zeros_like(self._values)[None], frozen=True)
        found = self._run(mode, 1)[0]
        pairs = zip(self.made.convolved, mode.convolved, strict=True)
        return found, [(own != without).transpose(0, 1).flatten(1).any(1) for own, without in pairs]

    def attention(self, rows: slice | None = None) -> Tensor:
        """K, (batch, channel, query, key), of all rows or of some neighbours.

        Raises:
            BadInput: If it does not fit into memory.
        """
        batch, tokens, channels = self._values.shape
        count = tokens if rows is None else len(range(tokens)[rows])
        room_for(batch * count * tokens * channels * self._values.element_size(), tokens, type(self.module).__name__)
        if count * BACKWARD_ROWS < tokens:
            assert rows is not None  # some alone
            return self._rows(rows)
        found = self._values.new_empty(tokens, batch, count, channels)
        step = max(1, VALUES_AT_ONCE // (batch * tokens * self.made.products[self.place.value].shape[-1]))
        for start in range(0, tokens, step):
            some = torch.arange(start, min(start + step, tokens), device=found.device)
            unit = self._values.new_zeros(len(some), batch, tokens, channels)
            unit[torch.arange(len(some)), :, some] = 1
            made = self.again(unit, frozen=True)
            found[start : start + len(some)] = made if rows is None else made[:, :, rows]
        return found.permute(1, 3, 2, 0)

    def _rows(self, rows: slice) -> Tensor:
        """The same by a pass back for each row: all channels are served at once, as none reads another one's values."""
        with torch.enable_grad():
            values = self._values.detach().requires_grad_()
            made = self.again(values[None], frozen=True)[0]
            found = [torch.autograd.grad(row.sum(), values, retain_graph=True)[0] for row in made[:, rows].unbind(1)]
        return torch.stack(found, dim=1).permute(0, 3, 1, 2)  # of (batch, query, key, channel)

    def again(self, values: Tensor, *, frozen: bool = False) -> Tensor:
        """What the output projection would read with other values.

        Args:
            values: (variant, batch, token, channel).
            frozen: The nonlinearities are held at what they were and what no token brings is left out, so that this is
                linear in the values; left out, everything is as in the model.

        Returns:
            (variant, batch, token, channel).
        """
        unbiased = self._without[1] if frozen else None
        return self._run(self._mode(values, frozen=frozen, unbiased=unbiased), len(values))

    def _mode(self, values: Tensor, *, frozen: bool, unbiased: Sequence[Tensor] | None = None) -> Again:
        old = self.made.products[self.place.value]
        product = old.expand(len(values), *old.shape).flatten(0, 1).clone()
        product[..., list(self.place.columns)] = values.flatten(0, 1).to(product.dtype)
        return Again(self.made, (self.place.value, product), frozen=frozen, unbiased=unbiased)

    def _run(self, mode: Again, variants: int) -> Tensor:
        batch = len(self.output)
        args, kwargs = (_repeated(one, batch, variants) for one in (self.args, dict(self.kwargs)))
        found = read_by(self.module, self.place.projection, args, kwargs, mode)
        return found.view(variants, batch, *found.shape[1:])


def read_by(module: nn.Module, path: str, args: Any, kwargs: Any, mode: Numbering) -> Tensor:
    """Call a module, past the hooks on itself, and see what a module inside it reads."""
    read: list[Tensor | None] = []
    with unheard(), ExitStack() as stack:
        hook = before(module.get_submodule(path), lambda _, args, kwargs: read.append(mode.seen(args, kwargs)))
        stack.enter_context(undone(hook.remove))
        stack.enter_context(mode)
        module.forward(*args, **kwargs)
    if not read or read[-1] is None:
        raise UnsupportedModel(
            f"{type(module).__name__}: {path} read no states when it ran a second time, so what the mixer makes of "
            "other values cannot be known. No number was produced."
        )
    return read[-1]


def _repeated(place: Any, batch: int, times: int) -> Any:
    """Arguments for a batch that is so many times as large."""
    if times == 1:
        return place
    if isinstance(place, Tensor):
        fits = place.ndim > 1 and place.shape[0] == batch
        return place.repeat(times, *[1] * (place.ndim - 1)) if fits else place
    if type(place) is dict:
        return {name: _repeated(one, batch, times) for name, one in place.items()}
    return type(place)(_repeated(one, batch, times) for one in place) if type(place) in (tuple, list) else place

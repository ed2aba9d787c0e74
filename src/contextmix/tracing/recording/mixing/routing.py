"""A mixer that is no attention: given its routing it is linear in its values, channel by channel.

    r[i, c] = Σ_j K[c, i, j] · v[j, c]  +  b[i, c]

v is the token's own projection, r what the output projection reads, b what no token brings (the bias of a convolution).
Held are the outputs of all other products with parameters (queries, keys, decays, gates, step sizes) and, for K, the
nonlinearities in between (`frozen`). Where all that is was found on a probe (`discovery.routed`). For K the mixer's own
code runs again and each row is sent back through it; nothing of it is written anew here.
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
from contextmix.traces.mixing import Channels
from contextmix.tracing.recording.listeners import unheard
from contextmix.tracing.recording.mixing.again import Again, Held
from contextmix.tracing.recording.mixing.frozen import Numbering
from contextmix.tracing.recording.mixing.memory import room_for
from contextmix.tracing.recording.turns import before, undone


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
        mode = self._mode(torch.zeros_like(self._values), frozen=True)
        found = self._run(mode)
        pairs = zip(self.made.convolved, mode.convolved, strict=True)
        return found, [(own != without).transpose(0, 1).flatten(1).any(1) for own, without in pairs]

    def attention(self, rows: slice = slice(None)) -> Tensor:
        """K, (batch, channel, query, key), of all rows or of some neighbours.

        A row is a pass back: it serves all channels at once, as none reads another one's values, and goes by what is
        made of values alone, while a run on unit values would make the routing again for each token.

        Raises:
            BadInput: If it does not fit into memory.
            UnsupportedModel: If nothing can be sent back.
        """
        batch, tokens, channels = self._values.shape
        size = batch * len(range(tokens)[rows]) * tokens * channels * self._values.element_size()
        room_for(size, tokens, type(self.module).__name__)
        if any(weight.is_inference() for weight in self.module.parameters()):
            raise UnsupportedModel(
                f"{type(self.module).__name__}: its weights were made inside of torch.inference_mode, which keeps no "
                "derivatives, and by these its maps are found. No number was produced. Load the model outside of it."
            )
        with torch.enable_grad():
            values = self._values.detach().requires_grad_()
            made = self.again(values, frozen=True)[:, rows]
            found = [torch.autograd.grad(row.sum(), values, retain_graph=True)[0] for row in made.unbind(1)]
        return torch.stack(found, dim=1).permute(0, 3, 1, 2)  # of (batch, query, key, channel)

    def again(self, values: Tensor, *, frozen: bool = False) -> Tensor:
        """What the output projection would read with other values.

        Args:
            values: (batch, token, channel).
            frozen: The nonlinearities are held at what they were and what no token brings is left out, so that this is
                linear in the values; left out, everything is as in the model.

        Returns:
            (batch, token, channel).
        """
        return self._run(self._mode(values, frozen=frozen, unbiased=self._without[1] if frozen else None))

    def _mode(self, values: Tensor, *, frozen: bool, unbiased: Sequence[Tensor] | None = None) -> Again:
        product = self.made.products[self.place.value].clone()
        product[..., list(self.place.columns)] = values.to(product.dtype)
        return Again(self.made, (self.place.value, product), frozen=frozen, unbiased=unbiased)

    def _run(self, mode: Again) -> Tensor:
        return read_by(self.module, self.place.projection, self.args, dict(self.kwargs), mode)


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

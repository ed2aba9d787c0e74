"""Find mixers that are no attention: layers of a stack that made no attention call, and still mix tokens.

Each linear module in such a layer that writes states may be an output projection. The module around it runs again with
every product with a parameter as a leaf of the graph and the nonlinearities held. What the projection reads is then
sent back along three random directions over its channels: a column of a product that reaches one channel alone has
gradients in the ratio of that channel's three numbers, whatever else the mixer does; queries and keys reach many. The
values are columns of that kind, one per channel, that bring other tokens' numbers and give back all that is read
(r = Σ_j K v + b). No name is looked at, and what is found passes all checks of attention on every run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import UnsupportedModel
from contextmix.traces.mixing import Channels
from contextmix.tracing.discovery.diary import Call, Diary
from contextmix.tracing.discovery.other_token import same_elsewhere, with_other_token
from contextmix.tracing.recording.listeners import unheard
from contextmix.tracing.recording.mixing.again import Writing
from contextmix.tracing.recording.mixing.frozen import Numbering, factor_of
from contextmix.tracing.recording.mixing.routing import Routed, read_by
from contextmix.tracing.recording.mixing.watch import watch
from contextmix.tracing.recording.quiet import first_states
from contextmix.tracing.recording.replay import put
from contextmix.tracing.recording.resolve import linear_form
from contextmix.tracing.recording.verify import close, float32_tolerance


def find_routed(model: PreTrainedModel, diary: Diary) -> None:
    """Find the mixers of all layers that made no attention call, and have them heard from now on.

    Args:
        model: The model.
        diary: Of a run on a probe of one sequence.
    """
    for layer in silent_layers(model, diary):
        for mixer, projection in candidates(diary, layer):
            found = channels_of(mixer, projection)
            if found is not None:
                watch(mixer.module, found)
                break


def refuse_unheard(model: PreTrainedModel, diary: Diary) -> None:
    """Refuse a model with a layer that mixes tokens in a way that nobody hears.

    Raises:
        UnsupportedModel: If there is one; names it.
    """
    silent = [layer for layer in silent_layers(model, diary) if mixes(layer)]
    if silent:
        names = ", ".join(f"{layer.path} ({type(layer.module).__name__})" for layer in silent)
        raise UnsupportedModel(
            f"{model.config.model_type!r}: these layers mix tokens without attention, and not as a map of each channel "
            f"that some product with a parameter holds the values of: {names}. What they bring from a token cannot be "
            "told. No number was produced."
        )


def mixes(layer: Call) -> bool:
    """Whether another token's output moves when one token of the input does."""
    token, changed = with_other_token(layer.read)
    given = first_states(layer.args, layer.kwargs)
    args, kwargs = (put(one, given, changed) for one in (layer.args, dict(layer.kwargs)))
    with torch.no_grad(), unheard():
        wrote = first_states(layer.module(*args, **kwargs))
    return wrote is None or not same_elsewhere(wrote, layer.wrote, token, float32_tolerance(changed.dtype))


def silent_layers(model: PreTrainedModel, diary: Diary) -> list[Call]:
    """The layers of stacks that map states to states and made no attention call, outermost first."""
    found: list[Call] = []
    for call in sorted(diary.calls, key=lambda call: call.began):
        above = model.get_submodule(call.path.rpartition(".")[0]) if call.path else model
        if not isinstance(above, nn.ModuleList | nn.Sequential | nn.ModuleDict):
            continue
        if call.read.ndim != 3 or call.read.shape != call.wrote.shape or len(call.read) != 1:
            continue
        spoke = any(call.began < moment.time < call.ended for moment in diary.attended)
        if not spoke and not any(outer.began < call.began < outer.ended for outer in found):
            found.append(call)
    return found


def candidates(diary: Diary, layer: Call) -> Iterator[tuple[Call, Call]]:
    """Modules that may be a mixer, each with what may be its output projection."""
    within = [*diary.inside(layer), layer]
    for projection in within:
        if projection.wrote.shape != layer.read.shape or next(projection.module.children(), None) is not None:
            continue
        around = [call for call in within if call.began < projection.began and projection.ended < call.ended]
        allowed = float32_tolerance(projection.read.dtype)
        if around and linear_form(projection.module, projection.read, projection.wrote, allowed) is not None:
            yield max(around, key=lambda call: call.began), projection


class _Leaves(Numbering):
    """Makes each product with a parameter a leaf, and holds the nonlinearities."""

    def __init__(self) -> None:
        super().__init__()
        self.leaves: list[Tensor] = []

    def product(self, number: int, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """See `Numbering`; the mixer may write into what it gets."""
        leaf = func(*args, **kwargs).detach().requires_grad_()
        self.leaves.append(leaf)
        return leaf.clone()

    def factored(self, number: int, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """See `Numbering`."""
        read = args[0] if args else kwargs["input"]
        return read * factor_of(func, [_detached(one) for one in args], kwargs)

    def held(self, number: int, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """See `Numbering`."""
        wrote: Tensor = func(*args, **kwargs)
        return wrote.detach()


def _detached(one: Any) -> Any:
    return one.detach() if isinstance(one, Tensor) else one


def channels_of(mixer: Call, projection: Call) -> Channels | None:
    """The values of a mixer, if it is one and linear in them."""
    path = next(path for path, module in mixer.module.named_modules() if module is projection.module)
    mode = _Leaves()
    try:
        with torch.enable_grad():
            output = read_by(mixer.module, path, mixer.args, dict(mixer.kwargs), mode)
            found = _values(output, mode.leaves) if output.ndim == 3 and output.requires_grad else None
    except Exception:  # a module may refuse to run by itself in any way, and then it is not known as a mixer
        return None
    for number, columns in found or ():
        place = Channels("", path, number, columns)
        if _adds_up(mixer, place):
            return replace(place, held=_made_of_values(mixer, place))
    return None


def _values(output: Tensor, leaves: Sequence[Tensor]) -> list[tuple[int, tuple[int, ...]]]:
    """Columns of products that may be the values: one for each channel, and none reaches two."""
    tokens, channels = output.shape[1:]
    ratios = torch.stack([torch.ones(channels), *_spread(channels)]).to(output)
    rows = torch.linspace(1, 2, tokens).to(output)
    last = _gradients(output[:, -1].sum(), leaves)
    sent = [_gradients((output * rows[:, None] * ratio).sum(), leaves) for ratio in ratios]
    found = []
    for number, leaf in enumerate(leaves):
        gradients = [one[number] for one in sent]
        early = last[number]
        if early is None or leaf.ndim != 3 or leaf.shape[:2] != output.shape[:2] or leaf.shape[2] < channels:
            continue
        mixing = early[:, :-1].ne(0).any(1)[0]
        columns = _one_each(torch.stack([one[0] for one in gradients if one is not None]), mixing, ratios)
        found += [(number, one) for one in columns]
    return found


def _spread(channels: int) -> tuple[Tensor, Tensor]:
    """Two numbers for each channel, by which it is known."""
    order = torch.randperm(channels, generator=torch.Generator().manual_seed(0))
    steps = torch.arange(channels) / channels
    return 1 + steps, 1 + steps[order]


def _gradients(total: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    return torch.autograd.grad(total, leaves, retain_graph=True, allow_unused=True)


def _one_each(sent: Tensor, mixing: Tensor, ratios: Tensor) -> list[tuple[int, ...]]:
    """Which column belongs to which channel, (direction, token, column): as many answers as there are such columns."""
    size = sent[0].abs()
    strongest = size.argmax(0)
    first, second, _ = sent.gather(1, strongest.expand(len(sent), 1, -1))[:, 0]
    alive = mixing & (first != 0)
    place = ((second / first).nan_to_num(0) - 1) * ratios.shape[1]
    channel = place.round().long().clamp(0, ratios.shape[1] - 1)
    allowed = 10 * torch.finfo(torch.float32).eps ** 0.75  # some scans run in float32 whatever the model does
    expected = sent[0] * ratios[:, channel].unsqueeze(1)
    fits = ((sent - expected).abs() <= allowed * size.amax(0)).all(1).all(0) & alive
    columns: dict[int, list[int]] = {}
    for column in fits.nonzero().flatten().tolist():
        columns.setdefault(int(channel[column]), []).append(column)
    if len(columns) < ratios.shape[1]:
        return []
    count = min(map(len, columns.values()))
    return [tuple(columns[one][take] for one in range(ratios.shape[1])) for take in reversed(range(count))]


class _Moved(Writing):
    """Other values in the place of a mixer's own."""

    def __init__(self, place: Channels) -> None:
        super().__init__(factors=False)
        self.place = place

    def product(self, number: int, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """See `Numbering`."""
        wrote = super().product(number, func, args, kwargs)
        if number == self.place.value:
            wrote[..., list(self.place.columns)] *= -0.5
        return wrote


def _made_of_values(mixer: Call, place: Channels) -> tuple[int, ...]:
    """Which later products, up to the output projection, come out otherwise with other values."""
    modes = Writing(factors=False), _Moved(place)
    with torch.no_grad():
        for mode in modes:
            read_by(mixer.module, place.projection, mixer.args, dict(mixer.kwargs), mode)
    own, moved = (mode.made.products[: mode.before_output] for mode in modes)
    return tuple(number for number in range(place.value + 1, len(own)) if not torch.equal(own[number], moved[number]))


def _adds_up(mixer: Call, place: Channels) -> bool:
    """Whether the values give back what the output projection reads."""
    mode = Writing()
    with torch.no_grad():
        output = read_by(mixer.module, place.projection, mixer.args, dict(mixer.kwargs), mode)
        call = Routed(mixer.module, place, mixer.args, mixer.kwargs, mode.made, output)
        mixed = torch.einsum("bcij,bcj->bic", call.attention(), call.value[..., 0]) + call.constant
    return close(mixed, output, float32_tolerance(output.dtype))

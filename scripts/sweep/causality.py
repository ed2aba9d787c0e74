"""Does a map say which positions a position draws on? Asked of the model, by changing one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

import contextmix as cm
from contextmix.traces.trace import LayerTrace
from contextmix.tracing.recording.quiet import first_states, quiet_run
from contextmix.tracing.recording.record import layers_of
from contextmix.tracing.runs.two_stacks import both_inputs, record_both


class Wrong(Exception):
    """Every check passed, and yet a map does not say what the model does."""


def causality(traced: cm.TracedModel, inputs: Mapping[str, Tensor]) -> bool:
    """Whether no position draws on a later one, as the model behaves; the maps must say the same.

    Args:
        traced: The model; of an encoder–decoder both stacks are asked, and the answer is that of the decoder.
        inputs: Of one sequence.

    Raises:
        Wrong: If a map lets a position draw on a later one that does not reach it, or the other way round.
    """
    if not isinstance(traced, cm.TracedEncoderDecoder):
        layers = one_stack(traced, inputs)
        if layers[-1].replay_from_embeddings is None:
            return _agreed(_reached_by_id(traced, inputs, "input_ids"), layers)
        return _seen_as_shown(layers)
    causality(cm.load(traced.model.get_encoder()), both_inputs(inputs)[0])
    return _agreed(_reached_by_id(traced, inputs, "decoder_input_ids"), decoder_steps(traced, inputs))


def one_stack(traced: cm.TracedModel, inputs: Mapping[str, Tensor]) -> Sequence[LayerTrace]:
    """Every block of a trace, without the batch axis."""
    return layers_of(traced.model, traced.anatomy(), inputs)


def decoder_steps(traced: cm.TracedEncoderDecoder, inputs: Mapping[str, Tensor]) -> Sequence[LayerTrace]:
    """Self-attention of every block of a decoder."""
    layers: list[LayerTrace] = []
    read = both_inputs(inputs)
    record_both(traced.model, traced.anatomy(), *read, lambda _: None, lambda own, _: layers.append(own))
    return layers


def _seen_as_shown(layers: Sequence[LayerTrace]) -> bool:
    """Whether no position draws on a later one, of one stack.

    Some models let the first positions see each other, and no others. So where maps show none at an earlier one,
    positions in front and in the middle are changed as well as the last; and else the last that they show, after which
    there is no detour.
    """
    last = layers[0].attention.shape[-1] - 1
    shown = _last_shown_early(layers)
    if shown is None:
        return _agreed(any(_reached(layers[-1], position) for position in {1, last // 2, last} - {0}), layers)
    if shown == last:
        return _agreed(_reached(layers[-1], last), layers)
    if not _reached(layers[-1], shown) or _reached(layers[-1], last):
        raise Wrong(f"The maps show that positions up to {shown} of {last} are seen by earlier ones, and it is not so")
    return False


def _last_shown_early(layers: Sequence[LayerTrace]) -> int | None:
    """The last position on which a map lets an earlier one draw."""
    weights = torch.stack([layer.attention.abs().amax(0).triu(1).amax(0) for layer in layers]).amax(0)
    shown = weights.nonzero().flatten()
    return int(shown[-1]) if len(shown) else None


def _reached(last: LayerTrace, position: int) -> bool:
    """Whether a change of what enters the first block at a position reaches an earlier one."""
    assert last.replay_from_embeddings is not None
    assert last.embeddings is not None
    changed = last.embeddings.clone()
    changed[position] += torch.linspace(-1, 1, changed.shape[-1]) * changed.std()
    return _moved(last.replay_from_embeddings(changed), last.replay_from_embeddings(last.embeddings), position)


def _reached_by_id(traced: cm.TracedModel | cm.TracedEncoderDecoder, inputs: Mapping[str, Tensor], name: str) -> bool:
    """Whether another last token id reaches what the model says at an earlier position."""
    other = inputs[name].clone()
    other[:, -1] = (other[:, -1] + 1) % 5
    clean, changed = (first_states(quiet_run(traced.model, {**inputs, name: ids})) for ids in (inputs[name], other))
    assert clean is not None
    assert changed is not None
    return _moved(changed[0], clean[0])


def _moved(changed: Tensor, clean: Tensor, position: int = -1) -> bool:
    return bool((changed - clean).abs()[:position].max() > 1e-6 * clean.abs().max())


def _agreed(reached: bool, layers: Sequence[LayerTrace]) -> bool:
    above = max(float(layer.attention.triu(1).abs().max()) for layer in layers)
    if reached == (above == 0):
        raise Wrong(
            f"a change of the last position {'reaches' if reached else 'does not reach'} earlier ones, and the "
            f"attention above the diagonal is at most {above:.1e}"
        )
    return not reached

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
        chained = layers[-1].replay_from_embeddings is not None
        reached = _reached(layers[-1]) if chained else _reached_by_id(traced, inputs, "input_ids")
        return _agreed(reached, layers)
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


def _reached(last: LayerTrace) -> bool:
    """Whether a change of what enters the first block at the last position reaches an earlier one."""
    assert last.replay_from_embeddings is not None
    assert last.embeddings is not None
    changed = last.embeddings.clone()
    changed[-1] += torch.linspace(-1, 1, changed.shape[-1]) * changed.std()
    return _moved(last.replay_from_embeddings(changed), last.replay_from_embeddings(last.embeddings))


def _reached_by_id(traced: cm.TracedModel | cm.TracedEncoderDecoder, inputs: Mapping[str, Tensor], name: str) -> bool:
    """Whether another last token id reaches what the model says at an earlier position."""
    other = inputs[name].clone()
    other[:, -1] = (other[:, -1] + 1) % 5
    clean, changed = (first_states(quiet_run(traced.model, {**inputs, name: ids})) for ids in (inputs[name], other))
    assert clean is not None
    assert changed is not None
    return _moved(changed[0], clean[0])


def _moved(changed: Tensor, clean: Tensor) -> bool:
    return bool((changed - clean).abs()[:-1].max() > 1e-6 * clean.abs().max())


def _agreed(reached: bool, layers: Sequence[LayerTrace]) -> bool:
    above = max(float(layer.attention.triu(1).abs().max()) for layer in layers)
    if reached == (above == 0):
        raise Wrong(
            f"a change of the last position {'reaches' if reached else 'does not reach'} earlier ones, and the "
            f"attention above the diagonal is at most {above:.1e}"
        )
    return not reached

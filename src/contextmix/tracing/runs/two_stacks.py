"""Run an encoder–decoder stack by stack: the encoder by itself, then the decoder on what it gave."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import BadInput
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.checks import Checks
from contextmix.traces.encoder_decoder import EncoderDecoderAnatomy
from contextmix.tracing.discovery.blocks import has_two_stacks
from contextmix.tracing.inputs.probe import LENGTH, default_probe, source_probe
from contextmix.tracing.recording import record_decoder as decoder
from contextmix.tracing.recording.block_recorder import Visitor
from contextmix.tracing.recording.offload import device_of
from contextmix.tracing.recording.quiet import first_states
from contextmix.tracing.recording.record import record
from contextmix.tracing.runs.written import target_vocabulary


def record_both(
    model: PreTrainedModel,
    anatomy: EncoderDecoderAnatomy,
    inputs: Mapping[str, Tensor],
    target: Tensor,
    see_encoder: Visitor,
    see_decoder: decoder.Visitor,
) -> tuple[Any, Checks, int]:
    """One source and one target through both stacks, every block shown to a visitor.

    Args:
        model: The model.
        anatomy: Where its parts are.
        inputs: What the encoder reads, with a batch axis of one.
        target: Decoder input ids (1, n).
        see_encoder: Called once per block of the encoder, with tensors (1, …).
        see_decoder: Called once per block of the decoder, with both of its steps, without a batch axis.

    Returns:
        The model's outputs, how well the trace proved itself, and the number of encoder states.

    Raises:
        TraceDoesNotAddUp: If the parts of a block do not rebuild what the model computed.
        TapSilent: If a block did not make its attention calls.
        NotFinite: If an activation is NaN or infinite.
    """
    outputs, checks = record(model.get_encoder(), Anatomy(anatomy.blocks), inputs, see_encoder)
    states = first_states(outputs)
    assert states is not None  # an encoder gives hidden states
    given = {"encoder_outputs": outputs, "decoder_input_ids": target}
    found, second = decoder.record_decoder(model, anatomy.decoder, given, see_decoder)
    return found, checks.merged(second), states.shape[1]


def both_inputs(inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """What the encoder reads of the inputs of a whole model, and what its decoder reads.

    Raises:
        BadInput: If nothing says what the decoder reads.
    """
    if "decoder_input_ids" not in inputs:
        raise BadInput("A run of both stacks needs decoder_input_ids too, (sequence, token): what the decoder reads.")
    for name in ("input_ids", "decoder_input_ids"):
        ids = inputs.get(name, torch.zeros(1, 1, dtype=torch.long))
        if ids.dtype not in (torch.int64, torch.int32) or ids.ndim != 2 or not ids.numel():
            raise BadInput(
                f"{name} are whole numbers (sequence, token), one at least; got {ids.dtype} {tuple(ids.shape)}."
            )
    source = {name: value for name, value in inputs.items() if name != "decoder_input_ids"}
    return source, inputs["decoder_input_ids"]


def encoder_inputs(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the encoder reads of one sequence, with a batch axis.

    Raises:
        BadInput: If there is something that it does not read.
    """
    accepted = inspect.signature(model.get_encoder().forward).parameters
    unread = [name for name in tensors if name not in accepted]
    lost = [name for name in unread if name != "token_type_ids"]  # which many tokenizers write for any model
    if lost:
        raise BadInput(f"The encoder of {type(model).__name__} does not read {', '.join(lost)}. Leave it out.")
    return {name: value.unsqueeze(0) for name, value in tensors.items() if name not in unread}


def whole_probe(
    model: PreTrainedModel, limit: int | None = None, length: int = LENGTH - 1, seed: int = 0
) -> dict[str, Tensor]:
    """A short input on which a model can be tried, of two stacks with what the decoder reads; see `default_probe`.

    Args:
        model: Of one stack or of two.
        limit: The most tokens that it reads.
        length: Of what the decoder reads.
        seed: Of the same.
    """
    if not has_two_stacks(model):
        return default_probe(model, limit)
    return {**source_probe(model, limit), "decoder_input_ids": probe_target(model, length, seed)}


def probe_target(model: PreTrainedModel, length: int, seed: int = 0) -> Tensor:
    """Some decoder input ids, (1, length)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(target_vocabulary(model), (1, length), generator=generator).to(device_of(model))

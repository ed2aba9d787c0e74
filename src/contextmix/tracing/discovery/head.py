"""Find the head behind the blocks by looking at one run: norm, linear, activation, norm, linear, at one position.

All but the last may be missing. The classifiers of BERT, RoBERTa, ELECTRA, DistilBERT and ALBERT are linear,
activation, linear under five different names; a decoder is a norm and a matrix; a head of masked words has its norm in
the middle. As in `tracing.discover`, tensors are compared, never names; the activation may be a plain function call
between two modules, so the usual ones are tried. What is found must give the model's logits again, or it is no head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.maths.norms import Norm, times
from contextmix.maths.precision import at_least_float32
from contextmix.maths.projections import Affine
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.model_run import Head
from contextmix.traces.places import NormPlace
from contextmix.traces.readout import Readout
from contextmix.traces.target import Target
from contextmix.tracing.discovery.activations import ACTIVATIONS, Activation, identity
from contextmix.tracing.discovery.diary import Call, Diary
from contextmix.tracing.recording.offload import stored
from contextmix.tracing.recording.quiet import quiet_run
from contextmix.tracing.recording.resolve import linear_form, parameters, recognise_norm
from contextmix.tracing.recording.scores import scores_in
from contextmix.tracing.recording.tap import tapped
from contextmix.tracing.recording.turns import turn_of
from contextmix.tracing.recording.verify import tolerance


def find_head(
    model: PreTrainedModel,
    anatomy: Anatomy,
    tensors: Mapping[str, Tensor],
    explained: tuple[int, Target] | None = None,
) -> Head | None:
    """The head that makes the scores, proved on one input.

    Args:
        model: The model.
        anatomy: Where its blocks are.
        tensors: Model inputs with a batch axis of one.
        explained: For a model with scores at each token, the position (-1 for the last one) and the target: the head
            then has one column, the explained score. Left out, a classifier of the whole input, with all its classes.

    Returns:
        The head, in float32 at least, a soft cap replaced by the line through the origin that meets it; None if the
        model gives no such scores, if its head is of another kind (several positions averaged, a second layer, logits
        that are squashed), or if what was found does not give the logits again.
    """
    found = _found(model, anatomy, tensors, None if explained is None else explained[0])
    if found is None:
        return None
    readout, state, _ = found
    return Head.of(readout, state, None if explained is None else explained[1])


def find_readout(
    model: PreTrainedModel, anatomy: Anatomy, tensors: Mapping[str, Tensor], position: int | None = None
) -> tuple[Readout, int] | None:
    """The head with all its classes, without a copy of its matrix, and the row that it reads; see `find_head`.

    Args:
        model: The model.
        anatomy: Where its blocks are.
        tensors: Model inputs with a batch axis of one.
        position: For a model with scores at each token, one of them (-1 for the last one).
    """
    found = _found(model, anatomy, tensors, position)
    return None if found is None else (found[0], found[2])


def _found(
    model: PreTrainedModel, anatomy: Anatomy, tensors: Mapping[str, Tensor], position: int | None
) -> tuple[Readout, Tensor, int] | None:
    """The head that gives the logits again, and the row that it reads, (1, d_model), with its number."""
    diary, outputs = _diary_outside_blocks(model, anatomy, tensors, int(position == -1))
    logits = scores_in(outputs)
    last = next((call for call in reversed(diary.calls) if call.path == anatomy.blocks[-1].path), None)
    if last is None or logits is None or logits.ndim != (2 if position is None else 3):
        return None
    states, scores = (last.turned() if anatomy.blocks[-1].turned else last).wrote[0], logits[0]
    if position is not None:
        states, scores = states[position][None], scores[position if len(scores) > 1 else 0]
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    reader = _Reader(states, scores, tolerance(logits.dtype), cap)
    errors = [(*reader.error(head), head) for head in reader.heads([c for c in diary.calls if c.began > last.ended])]
    error, row, best = min(errors, key=lambda one: one[0], default=(torch.inf, 0, None))
    fits = best is not None and error <= reader.allowed
    if best is None or not fits:
        return None
    return best, at_least_float32(states[row][None]), row if position is None else position


def _diary_outside_blocks(
    model: PreTrainedModel, anatomy: Anatomy, tensors: Mapping[str, Tensor], last_logits: int
) -> tuple[Diary, Any]:
    """The calls of one run but those inside the blocks, which would fill the memory for nothing; and its outputs."""
    inside = tuple({place.path + "." for place in anatomy.blocks})
    diary = Diary()
    with turn_of(model), ExitStack() as stack:
        for path, module in model.named_modules():
            if not path.startswith(inside):
                diary.write_down(stack, path, module)
        with tapped(model, diary):
            outputs = quiet_run(model, tensors, last_logits=last_logits)
    return diary, outputs


class _Reader:
    """Reads a head from the calls after the last block; every question is answered by comparing vectors.

    Attributes:
        states: (position, d_model): the rows of the last block's output that it may read.
        logits: (class,).
        allowed: The relative difference between what is the same.
        cap: Where the model says that its logits are softly capped, or None.
    """

    def __init__(self, states: Tensor, logits: Tensor, allowed: float, cap: float | None) -> None:
        self.states, self.logits, self.allowed, self.cap = states, logits, allowed, cap

    def heads(self, calls: list[Call]) -> Iterator[Readout]:
        """Whatever leads from a row of the last block's output to the logits, to be proved."""
        linear = [(call, form) for call in calls if (form := self._form(call)) is not None]
        norms = {call: place for call in calls if (place := self._norm_place(call)) is not None}
        for classifier, form in linear:
            for read, wrote in _rows(classifier):
                found = self._after(wrote)
                if found is not None:
                    last = partial(Readout, *_stored(classifier.module, form), factor=found[0], cap=found[1])
                    for entry in self._entries(read, norms):
                        yield last(identity, norm=entry)
                    for pooled, norm in [(read, None), *self._before(read, norms)]:
                        yield from self._pooled(pooled, norm, last, linear, norms, calls)

    def error(self, head: Readout) -> tuple[float, int]:
        """How far the scores of the best position are from the logits, relative to the largest one; and which it is."""
        with torch.no_grad():
            gaps = (head.scores(at_least_float32(self.states)) - self.logits).abs().amax(-1)
        return float(gaps.min() / self.logits.abs().max()), int(gaps.argmin())

    def _pooled(
        self,
        read: Tensor,
        norm: Norm | None,
        last: Callable[..., Readout],
        linear: list[tuple[Call, bool]],
        norms: Mapping[Call, NormPlace],
        calls: list[Call],
    ) -> Iterator[Readout]:
        """Heads with a linear map and an activation in front of what is read, and a norm between the two."""
        for pooler, form in linear:
            entries = [entry for state, _ in _rows(pooler) for entry in self._entries(state, norms)]
            activation = self._activation(pooler, read, calls) if entries else None
            if activation is not None:
                first = Affine(*_parameters(pooler.module, form))
                yield last(activation, pooler=first, norm=entries[0], norm_pooled=norm)

    def _after(self, wrote: Tensor) -> tuple[float, float | None] | None:
        """What happens to the numbers that a linear map wrote until they are the logits; None if nothing fits.

        Nothing, one factor for all (Granite, Cohere), or a soft cap (Gemma 2).
        """
        if wrote.shape != self.logits.shape:
            return None
        numbers, logits = at_least_float32(wrote), at_least_float32(self.logits)
        if self._same(wrote, self.logits):
            return 1.0, None
        factor = (numbers * logits).sum() / numbers.square().sum()
        if bool(factor) and self._same(numbers * factor, logits):
            return float(factor), None
        if self.cap is not None and self._same(self.cap * torch.tanh(numbers / self.cap), logits):
            return 1.0, self.cap
        return None

    def _entries(self, read: Tensor, norms: Mapping[Call, NormPlace]) -> list[Norm | None]:
        """The ways in which a vector is a row of the last block's output: as it is, or behind a norm."""
        own: list[Norm | None] = [None] if self._is_state(read) else []
        return own + [norm for state, norm in self._before(read, norms) if self._is_state(state)]

    def _before(self, read: Tensor, norms: Mapping[Call, NormPlace]) -> list[tuple[Tensor, Norm]]:
        """What a norm made a vector of, with the norm; a factor behind it (T5) is part of its weight."""
        return [
            (state, times(parameters(call.module, place), factor))
            for call, place in norms.items()
            for state, wrote in _rows(call)
            if (factor := self._factor(wrote, read)) is not None
        ]

    def _factor(self, wrote: Tensor, read: Tensor) -> float | None:
        """The number that makes one vector the other; 1 for the same, None if none does."""
        if self._same(wrote, read):
            return 1.0
        if wrote.shape != read.shape or not bool(wrote.any()):
            return None
        found = float((at_least_float32(wrote) @ at_least_float32(read)) / at_least_float32(wrote).square().sum())
        return found if found and self._same(wrote * found, read) else None

    def _norm_place(self, call: Call) -> NormPlace | None:
        return recognise_norm(call.path, call.module, call.read, call.wrote, self.allowed)

    def _activation(self, pooler: Call, read: Tensor, calls: list[Call]) -> Activation | None:
        """What leads from the output of a linear module that reads the block's output to what the classifier reads.

        Compared in the model's own precision, where the right one gives the very same numbers.
        """
        own = [call for call in calls if call.read.shape == call.wrote.shape == pooler.wrote.shape]
        modules = [call.module for call in own if next(call.module.parameters(), None) is None]
        known: list[Activation] = [*ACTIVATIONS, *modules]
        fitting = [
            (float((activation(pooled) - read).abs().max()), number)
            for _, pooled in _rows(pooler)
            if pooled.shape == read.shape
            for number, activation in enumerate(known)
            if self._same(activation(pooled), read)
        ]
        return known[min(fitting)[1]] if fitting else None

    def _form(self, call: Call) -> bool | None:
        return linear_form(call.module, call.read, call.wrote, self.allowed)

    def _is_state(self, vector: Tensor) -> bool:
        return any(self._same(vector, state) for state in self.states)

    def _same(self, left: Tensor, right: Tensor) -> bool:
        return left.shape == right.shape and bool((left - right).abs().max() <= self.allowed * right.abs().max())


def _rows(call: Call) -> Iterator[tuple[Tensor, Tensor]]:
    """What a call read and wrote, vector by vector."""
    yield from zip(*(tensor.reshape(-1, tensor.shape[-1]) for tensor in (call.read, call.wrote)), strict=True)


def _stored(module: nn.Module, transposed: bool) -> tuple[Tensor, bool, Tensor | None]:
    """A classifier's weight as it is stored, how that is, and its bias."""
    weight, bias = _weight_and_bias(module)
    assert weight is not None  # it was recognised by it
    return weight.detach(), transposed, None if bias is None else bias.detach()


def _parameters(module: nn.Module, transposed: bool) -> tuple[Tensor, Tensor | None]:
    """Weight as (in, out), and bias."""
    weight, _, bias = _stored(module, transposed)
    return at_least_float32(weight if transposed else weight.T), None if bias is None else at_least_float32(bias)


def _weight_and_bias(module: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    return stored(module, "weight"), stored(module, "bias")

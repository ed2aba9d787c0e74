"""Find the head behind the blocks by looking at one run: norm, linear, activation, norm, linear, at one position.

All but the last may be missing. The classifiers of BERT, RoBERTa, ELECTRA, DistilBERT and ALBERT are linear,
activation, linear under five different names; a decoder is a norm and a matrix; a head of masked words has its norm in
the middle. As in `tracing.discover`, tensors are compared, never names; the activation may be a plain function call
between two modules, so the usual ones are tried. What is found must give the model's logits again, or it is no head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.maths.norms import Norm, normalise
from contextmix.traces.anatomy import Anatomy, NormPlace
from contextmix.traces.model_run import Head, Target
from contextmix.tracing.discovery.activations import ACTIVATIONS, Activation, identity
from contextmix.tracing.discovery.diary import Call, Diary
from contextmix.tracing.recording.quiet import quiet_run
from contextmix.tracing.recording.resolve import at_least_float32, linear_form, parameters, recognise_norm
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
        tensors: Model inputs with a batch axis of one, without padding.
        explained: For a model with scores at each token, the position (-1 for the last one) and the target: the head
            then has one column, the explained score. Left out, a classifier of the whole input, with all its classes.

    Returns:
        The head, in float32 at least; None if the model gives no such scores, if its head is of another kind (several
        positions averaged, a second layer, logits that are squashed), or if what was found does not give the logits
        again.
    """
    diary, outputs = _diary_outside_blocks(model, anatomy, tensors, int(explained is not None and explained[0] == -1))
    logits = scores_in(outputs)
    last = next((call for call in reversed(diary.calls) if call.path == anatomy.blocks[-1].path), None)
    if last is None or logits is None or logits.ndim != (2 if explained is None else 3):
        return None
    states, scores = last.wrote[0], logits[0]
    if explained is not None:
        position, _ = explained
        states, scores = states[position][None], scores[position if len(scores) > 1 else 0]
    target = None if explained is None else explained[1]
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    reader = _Reader(states, scores, tolerance(logits.dtype), target, cap)
    found = list(reader.heads([call for call in diary.calls if call.began > last.ended]))
    best = min(found, key=reader.error, default=None)
    return best if best is not None and reader.error(best) <= reader.allowed else None


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
        target: The explained score, if the head is to have that column alone.
        cap: Where the model says that its logits are softly capped, or None.
    """

    def __init__(
        self, states: Tensor, logits: Tensor, allowed: float, target: Target | None, cap: float | None
    ) -> None:
        self.states, self.logits, self.allowed, self.target, self.cap = states, logits, allowed, target, cap

    def heads(self, calls: list[Call]) -> Iterator[Head]:
        """Whatever leads from a row of the last block's output to the logits, to be proved."""
        linear = [(call, form) for call in calls if (form := self._form(call)) is not None]
        norms = {call: place for call in calls if (place := self._norm_place(call)) is not None}
        for classifier, form in linear:
            for read, wrote in _rows(classifier):
                slopes = self._slopes(wrote)
                if slopes is not None:
                    last = self._last(classifier.module, form, slopes)
                    for entry in self._entries(read, norms):
                        yield Head(None, None, identity, *last, norm=entry)
                    for pooled, norm in [(read, None), *self._before(read, norms)]:
                        yield from self._pooled(pooled, norm, last, linear, norms, calls)

    def error(self, head: Head) -> float:
        """How far the scores of the best position are from the logits, relative to the largest one."""
        true = self.logits if self.target is None else self.target.of(self.logits)[None]
        with torch.no_grad():
            scores = head_scores(head, at_least_float32(self.states))
        return float((scores - true).abs().amax(-1).min() / self.logits.abs().max())

    def _pooled(
        self,
        read: Tensor,
        norm: Norm | None,
        last: tuple[Tensor, Tensor | None],
        linear: list[tuple[Call, bool]],
        norms: Mapping[Call, NormPlace],
        calls: list[Call],
    ) -> Iterator[Head]:
        """Heads with a linear map and an activation in front of what is read, and a norm between the two."""
        for pooler, form in linear:
            entries = [entry for state, _ in _rows(pooler) for entry in self._entries(state, norms)]
            activation = self._activation(pooler, read, calls) if entries else None
            if activation is not None:
                yield Head(*_parameters(pooler.module, form), activation, *last, norm=entries[0], norm_pooled=norm)

    def _last(self, module: nn.Module, transposed: bool, slopes: Tensor) -> tuple[Tensor, Tensor | None]:
        """The classifier and its bias: all classes, or the one column that is explained."""
        if self.target is None:
            weight, bias = _parameters(module, transposed)
            return weight * slopes, None if bias is None else bias * slopes
        # the columns first: in float32, a whole vocabulary may not fit beside the model
        numbers = [number for number in (self.target.number, self.target.foil) if number is not None]
        columns = torch.tensor(numbers, device=slopes.device)
        weight, bias = _parameters(module, transposed, columns)
        signs = slopes[columns] * slopes.new_tensor([1.0, -1.0][: len(numbers)])
        bias = None if bias is None else (bias * signs).sum(-1, keepdim=True)
        return (weight * signs).sum(-1, keepdim=True), bias

    def _slopes(self, wrote: Tensor) -> Tensor | None:
        """What each number that a linear map wrote is multiplied by to make the logit (class,); None if nothing fits.

        One, one factor for all (Granite, Cohere), or the line through the origin that meets a soft cap (Gemma 2).
        """
        if wrote.shape != self.logits.shape:
            return None
        numbers, logits = at_least_float32(wrote), at_least_float32(self.logits)
        if self._same(wrote, self.logits):
            return torch.ones_like(numbers)
        factor = (numbers * logits).sum() / numbers.square().sum()
        if bool(factor) and self._same(numbers * factor, logits):
            return factor.expand(len(numbers))
        if self.cap is not None and self._same(self.cap * torch.tanh(numbers / self.cap), logits):
            return torch.where(numbers == 0, torch.ones_like(numbers), logits / numbers)
        return None

    def _entries(self, read: Tensor, norms: Mapping[Call, NormPlace]) -> list[Norm | None]:
        """The ways in which a vector is a row of the last block's output: as it is, or behind a norm."""
        own: list[Norm | None] = [None] if self._is_state(read) else []
        return own + [norm for state, norm in self._before(read, norms) if self._is_state(state)]

    def _before(self, read: Tensor, norms: Mapping[Call, NormPlace]) -> list[tuple[Tensor, Norm]]:
        """What a norm made a vector of, with the norm."""
        return [
            (state, parameters(call.module, place))
            for call, place in norms.items()
            for state, wrote in _rows(call)
            if self._same(wrote, read)
        ]

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


def head_scores(head: Head, states: Tensor) -> Tensor:
    """What a head makes of each row of states: (position, d_model) → (position, class)."""
    if head.norm is not None:
        states = normalise(states, head.norm)
    if head.pooler is not None:
        pooled = states @ head.pooler
        states = head.activation(pooled if head.pooler_bias is None else pooled + head.pooler_bias)
    if head.norm_pooled is not None:
        states = normalise(states, head.norm_pooled)
    scores = states @ head.classifier
    return scores if head.classifier_bias is None else scores + head.classifier_bias


def _rows(call: Call) -> Iterator[tuple[Tensor, Tensor]]:
    """What a call read and wrote, vector by vector."""
    yield from zip(*(tensor.reshape(-1, tensor.shape[-1]) for tensor in (call.read, call.wrote)), strict=True)


def _parameters(module: nn.Module, transposed: bool, columns: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Weight as (in, out), and bias; of some columns only, if they are named."""
    weight, bias = _weight_and_bias(module)
    assert weight is not None  # it was recognised by it
    weight = weight.detach() if transposed else weight.detach().T
    bias = None if bias is None else bias.detach()
    if columns is not None:
        columns = columns.to(weight.device)
        weight, bias = weight[:, columns], None if bias is None else bias[columns]
    return at_least_float32(weight), None if bias is None else at_least_float32(bias)


def _weight_and_bias(module: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    return getattr(module, "weight", None), getattr(module, "bias", None)

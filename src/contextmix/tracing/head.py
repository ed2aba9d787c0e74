"""Find the classification head behind the blocks by looking at one run: linear, activation, linear, at one position.

The head of BERT, RoBERTa, ELECTRA, DistilBERT and ALBERT has this form under five different names. As in
`tracing.discover`, tensors are compared, never names; the activation may be a plain function call between two modules,
so the usual ones are tried. What is found must give the model's logits again, or it is no head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.anatomy import Anatomy
from contextmix.modelrun import Head
from contextmix.tracing.diary import Call, Diary
from contextmix.tracing.resolve import at_least_float32, linear_form
from contextmix.tracing.run import quiet_run
from contextmix.tracing.tap import tapped
from contextmix.tracing.verify import tolerance

Activation = Callable[[Tensor], Tensor]


def identity(states: Tensor) -> Tensor:
    """No activation."""
    return states


def gelu_tanh(states: Tensor) -> Tensor:
    """GELU in its tanh form."""
    return nn.functional.gelu(states, approximate="tanh")


ACTIVATIONS: tuple[Activation, ...] = (
    identity,
    torch.tanh,
    torch.relu,
    nn.functional.gelu,
    gelu_tanh,
    nn.functional.silu,
)
"""What may stand between the two linear maps of a head without being a module."""


def find_head(model: PreTrainedModel, anatomy: Anatomy, tensors: Mapping[str, Tensor]) -> Head | None:
    """The classification head, proved on one input.

    Args:
        model: The model.
        anatomy: Where its blocks are.
        tensors: Model inputs with a batch axis of one, without padding.

    Returns:
        The head, in float32 at least; None if the model gives no score per class, if its head is of another kind
        (several positions averaged, a norm in between), or if what was found does not give the logits again.
    """
    diary, outputs = _diary_outside_blocks(model, anatomy, tensors)
    logits = getattr(outputs, "logits", None)
    last = next((call for call in reversed(diary.calls) if call.path == anatomy.blocks[-1].path), None)
    if last is None or not isinstance(logits, Tensor) or logits.ndim != 2:
        return None
    reader = _Reader(last.wrote[0], logits[0], tolerance(logits.dtype))
    found = list(reader.heads([call for call in diary.calls if call.began > last.ended]))
    best = min(found, key=reader.error, default=None)
    return best if best is not None and reader.error(best) <= reader.allowed else None


def _diary_outside_blocks(model: PreTrainedModel, anatomy: Anatomy, tensors: Mapping[str, Tensor]) -> tuple[Diary, Any]:
    """The calls of one run but those inside the blocks, which would fill the memory for nothing; and its outputs."""
    inside = tuple({place.path + "." for place in anatomy.blocks})
    diary, hooks = Diary(), []
    try:
        for path, module in model.named_modules():
            if not path.startswith(inside):
                hooks.append(module.register_forward_pre_hook(diary.enter, with_kwargs=True))
                hooks.append(module.register_forward_hook(diary.leave(path)))
        with tapped(model, diary):
            outputs = quiet_run(model, tensors)
    finally:
        for hook in hooks:
            hook.remove()
    return diary, outputs


class _Reader:
    """Reads a head from the calls after the last block; every question is answered by comparing vectors."""

    def __init__(self, states: Tensor, logits: Tensor, allowed: float) -> None:
        self.states, self.logits, self.allowed = states, logits, allowed

    def heads(self, calls: list[Call]) -> Iterator[Head]:
        """Whatever leads from a row of the last block's output to the logits, to be proved."""
        linear = [(call, form) for call in calls if (form := self._form(call)) is not None]
        for classifier, form in linear:
            for read, wrote in _rows(classifier):
                if self._same(wrote, self.logits):
                    last = _parameters(classifier.module, form)
                    if self._is_state(read):
                        yield Head(None, None, identity, *last)
                    for pooler, its_form in linear:
                        activation = self._activation(pooler, read, calls)
                        if activation is not None:
                            yield Head(*_parameters(pooler.module, its_form), activation, *last)

    def error(self, head: Head) -> float:
        """How far the scores of the best position are from the logits, relative to the largest one."""
        with torch.no_grad():
            scores = head_scores(head, at_least_float32(self.states))
        return float((scores - self.logits).abs().amax(-1).min() / self.logits.abs().max())

    def _activation(self, pooler: Call, read: Tensor, calls: list[Call]) -> Activation | None:
        """What leads from the output of a linear module that reads the block's output to what the classifier reads.

        Compared in the model's own precision, where the right one gives the very same numbers.
        """
        own = [call for call in calls if call.read.shape == call.wrote.shape == pooler.wrote.shape]
        modules = [call.module for call in own if next(call.module.parameters(), None) is None]
        known: list[Activation] = [*ACTIVATIONS, *modules]
        fitting = [
            (float((activation(pooled) - read).abs().max()), number)
            for state, pooled in _rows(pooler)
            if pooled.shape == read.shape and self._is_state(state)
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
    if head.pooler is not None:
        pooled = states @ head.pooler
        states = head.activation(pooled if head.pooler_bias is None else pooled + head.pooler_bias)
    scores = states @ head.classifier
    return scores if head.classifier_bias is None else scores + head.classifier_bias


def _rows(call: Call) -> Iterator[tuple[Tensor, Tensor]]:
    """What a call read and wrote, vector by vector."""
    yield from zip(*(tensor.reshape(-1, tensor.shape[-1]) for tensor in (call.read, call.wrote)), strict=True)


def _parameters(module: nn.Module, transposed: bool) -> tuple[Tensor, Tensor | None]:
    """Weight as (in, out), and bias."""
    weight, bias = (None if own is None else at_least_float32(own.detach()) for own in _weight_and_bias(module))
    assert weight is not None  # it was recognised by it
    return weight if transposed else weight.T, bias


def _weight_and_bias(module: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    return getattr(module, "weight", None), getattr(module, "bias", None)

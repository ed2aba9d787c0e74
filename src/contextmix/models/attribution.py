"""One attribution of the whole model: which score of which token is explained, and the result with its labels.

A classifier scores the whole input. A language model scores its vocabulary at each token: a causal one says there what
comes next, a masked one what stands there. Of a causal model only the tokens up to the explained one are run: later
ones cannot matter, and get exact zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import BadOption
from contextmix.options.asked import plain_target
from contextmix.options.values import Asked
from contextmix.plugins.plan import Plan
from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.checks import Origin
from contextmix.traces.meaning import probabilities
from contextmix.traces.model_run import ModelRun
from contextmix.tracing.inputs.encode import Inputs, numbered, token_axis
from contextmix.tracing.inputs.heads import answers_questions, scores_tokens, speaks
from contextmix.tracing.inputs.meaning import meaning_of
from contextmix.tracing.inputs.targets import names_of
from contextmix.tracing.recording.offload import device_of
from contextmix.tracing.recording.quiet import has_images
from contextmix.tracing.runs.rerun import Rerunner, model_run


@dataclass(frozen=True)
class Subject:
    """The model that is explained, and what is known about it.

    Attributes:
        model: The model.
        anatomy: Where its parts are.
        tokenizer: Its tokenizer, or None.
        causal: Whether it says at each token what comes next: its tokens see only what stands before them.
        origin: For provenance.
        looks_back: The same of any model, with a head or without, found out when it is asked for.
    """

    model: PreTrainedModel
    anatomy: Anatomy
    tokenizer: Any
    causal: bool
    origin: Origin
    looks_back: Callable[[], bool]


def attributed(
    subject: Subject,
    one: Inputs,
    plans: Sequence[Plan],
    target: Asked,
    position: int | str | None,
    memory_budget: int,
    tick: Callable[[], None] | None = None,
) -> Iterator[TokenMap]:
    """The attributions of one score by several methods, or of all classes where the method has them.

    Args:
        subject: The model.
        one: The input.
        plans: The methods; they share one run of the model on the input as it is.
        target: The class or token, two to contrast, ``"all"`` classes, or None for the predicted one.
        position: The token whose scores are explained, for a model with scores at each; None for the usual one.
        memory_budget: Bytes that the method may use for its own tensors.
        tick: Called before the method runs the model, each time; what it raises ends the work.

    Yields:
        For each method dims (key,), or (target, key) for all classes.

    Raises:
        BadOption: If this model has no such target or position.
    """
    target = plain_target(target)
    tokens = _labels(subject, one)
    place = scored_position(subject, tokens, position)
    if target == "all" and speaks(subject.model):
        raise BadOption(
            "target='all' asks for one map per class, but a language model has as many classes as vocabulary tokens. "
            "Name one token, two to contrast, such as target=('Lily', 'Tim'), or none to explain the prediction."
        )
    # What is behind the explained token cannot matter to a causal model; images may be read in both directions.
    cut = place is not None and subject.causal and (not has_images(one.tensors) or place == one.length - 1)
    own = one if place is None or not cut else until(one, place + 1)
    run = model_run(
        subject.model,
        subject.anatomy,
        _batched(subject, own),
        own.tokens or tokens or numbered(own.length),
        _first_of(subject, target),
        memory_budget,
        subject.tokenizer,
        -1 if cut else place,
        subject.looks_back,
    )
    if tokens is None:  # patches and frames are counted by the run
        tokens = one.labels(subject.model, subject.anatomy, len(run.embeddings))
        run = replace(run, tokens=tokens)
    shared = {**one.notes, **_notes(subject, run, tokens, place)}
    asked = run if tick is None else ticking(run, tick)
    for plan in plans:
        found = plan.attribute(asked)
        checks = {name: float(error) for name, error in found.checks.items()}
        made = subject.origin.provenance(checks, **plan.describe()).noting(**found.notes, **shared)
        values = found.values.detach().cpu()
        yield _of_all_classes(values, run, plan, made) if target == "all" else _of_one(values, run, plan, made, tokens)


def _of_one(values: Tensor, run: ModelRun, plan: Plan, made: Provenance, tokens: Tokens) -> TokenMap:
    selected = {"target": run.target.number} if values.ndim == 2 else {}
    values = run.target.of(values.T) if values.ndim == 2 else values
    values = torch.nn.functional.pad(values, (0, len(tokens) - len(values)))
    names = run.targets or None
    return TokenMap(values.numpy(), ("key",), tokens, plan.quantity, made, targets=names, selected=selected)


def _first_of(subject: Subject, target: Asked) -> Asked:
    """Of all classes the run itself explains the predicted one, or the first where none is predicted."""
    if target != "all":
        return target
    return None if meaning_of(subject.model, subject.model.config.num_labels or 0).has_probability else 0


def ticking(run: ModelRun, tick: Callable[[], None]) -> ModelRun:
    """The same run, which says so whenever the model is asked again."""

    def told(ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*arguments: Any) -> Any:
            tick()
            return ask(*arguments)

        return asked

    return replace(run, scores_from=told(run.scores_from), scores_of=told(run.scores_of), layers=told(run.layers))


def _of_all_classes(values: Tensor, run: ModelRun, plan: Plan, made: Provenance) -> TokenMap:
    if values.ndim == 1:
        options = "".join(f" with {name}={value!r}" for name, value in plan.options.items())
        raise BadOption(
            f"target='all' asks for one map per class, but {plan.name}{options} gives one value per token. Name one "
            f"class, or leave it out to explain the prediction."
        )
    return TokenMap(values.numpy(), ("target", "key"), run.tokens, plan.quantity, made, targets=run.targets)


def _notes(subject: Subject, run: ModelRun, tokens: Tokens, place: int | None) -> dict[str, Any]:
    """What was explained, and what the model says there."""
    target = run.target
    notes: dict[str, Any] = {"target": target.name}
    if target.foil is not None:
        notes["foil"] = target.foil_name
    if not run.targets:
        notes |= {"target_id": target.number}
        notes |= {} if target.foil is None else {"foil_id": target.foil}
    if place is not None:
        notes["position"] = place
    prediction = said(subject, run.scores, tokens, place)
    return {**notes, "prediction": prediction} if prediction else notes


def said(subject: Subject, scores: Tensor, tokens: Tokens, place: int | None) -> dict[str, Any]:
    """The class or token with the highest score, with its probability, and where that is said.

    Args:
        subject: The model.
        scores: (class,).
        tokens: The input.
        place: The token whose scores these are; None for scores of the whole input.

    Returns:
        Nothing of scores that have no probability, such as those of a regression: none of them is predicted.
    """
    meaning = meaning_of(subject.model, len(scores))
    if not meaning.has_probability:
        return {}
    chosen = int(scores.argmax())
    names = names_of(subject.model, subject.tokenizer, len(scores))
    found = {"label": names.name(chosen), "probability": float(probabilities(scores, meaning).max())}
    if place is not None:
        found |= {"id": chosen, "after" if subject.causal else "at": tokens.pieces[place]}
    return found


def _labels(subject: Subject, one: Inputs) -> Tokens | None:
    """The labels, where they are known before the run or needed for it: a position is one of them."""
    if one.tokens is not None or not scores_tokens(subject.model):
        return one.tokens
    tensors = _batched(subject, one)
    count = len(Rerunner(subject.model, subject.anatomy, tensors, 0).clean()[0])
    return one.labels(subject.model, subject.anatomy, count)


def _batched(subject: Subject, one: Inputs) -> dict[str, Tensor]:
    return {name: value.unsqueeze(0).to(device_of(subject.model)) for name, value in one.tensors.items()}


def scored_position(subject: Subject, tokens: Tokens | None, position: int | str | None) -> int | None:
    """The token whose scores are explained; None for a model that may have none at each.

    Left out, it is the last one of a causal language model, and the mask of a masked one.

    Raises:
        UnknownToken: If there is no such token.
        BadOption: If a masked language model has not exactly one mask, or the model scores the whole input.
    """
    if not scores_tokens(subject.model):
        if position is not None:
            raise BadOption(
                f"position={position!r} asks for the scores at one token, and {type(subject.model).__name__} is "
                f"neither a language model nor a token classifier: it has one score per class, or none. Leave it out."
            )
        return None
    assert tokens is not None
    if position is not None:
        return tokens.position(position)
    if subject.causal:
        return len(tokens) - 1
    if not speaks(subject.model):
        raise BadOption(
            f"{type(subject.model).__name__} scores every token, so it is unclear which score to explain. Choose one "
            f"with position=… (or query=… to explore), a number or the token's text{_ends(subject.model)}."
        )
    found = masks(subject.tokenizer, tokens)
    if len(found) != 1:
        raise BadOption(
            f"{type(subject.model).__name__} scores every token, and the input has {len(found)} masks, so it is "
            f"unclear which score to explain. Choose one with position=… (or query=… to explore), a number or the "
            f"token's text."
        )
    return found[0]


def _ends(model: PreTrainedModel) -> str:
    return ", and target='start' or target='end'" if answers_questions(model) else ""


def masks(tokenizer: Any, tokens: Tokens) -> list[int]:
    """Where the mask stands in an input."""
    mask = getattr(tokenizer, "mask_token_id", None)
    return [] if mask is None else [place for place, number in enumerate(tokens.ids or ()) if number == mask]


def until(one: Inputs, stop: int) -> Inputs:
    """The first tokens of an input."""
    tokens = None if one.tokens is None else one.tokens.part(slice(stop))
    stop = min(stop, one.length)
    axes = {name: token_axis(name, value, one.length) for name, value in one.tensors.items()}
    tensors = {
        name: value if (axis := axes[name]) is None else value.narrow(axis, 0, stop)
        for name, value in one.tensors.items()
    }
    return Inputs(tokens, tensors, stop, notes=one.notes)

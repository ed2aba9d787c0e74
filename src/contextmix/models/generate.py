"""A generation explained step by step: for each new token, which tokens before it made it.

A causal model sees the same at a token whatever follows. So one run over prompt and new tokens gives every step's maps:
the new token t was made by the row of the token before it. An attribution of the whole model is made once per step, of
the new token's own score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from contextmix.errors import BadInput, BadOption, UnsupportedModel
from contextmix.models.attribution import until
from contextmix.models.explain import explained, refuse_axes
from contextmix.models.loaded_model import LoadedModel
from contextmix.models.spans import explained_span, explained_together, in_one, refuse_later
from contextmix.options.values import Asked
from contextmix.plugins.contracts import ModelMethod
from contextmix.plugins.plan import Plan
from contextmix.results.token_map import TokenMap
from contextmix.tracing.inputs.chats import is_chat
from contextmix.tracing.inputs.encode import Inputs
from contextmix.tracing.inputs.sources import Source
from contextmix.tracing.inputs.targets import speaks
from contextmix.tracing.runs.generate import Continuation, Generated, Speaker

_OF_ONE_STEP = {"target", "target_id", "foil", "foil_id", "position", "prediction"}
"""Notes that say what one step explains: here the labels of the rows say it."""


def said_after(
    loaded: LoadedModel,
    prompt: Source,
    max_new_tokens: int,
    continuation: Continuation | None,
    generation: Mapping[str, Any] | None,
    add_special_tokens: bool | None = None,
) -> Generated:
    """A prompt and what a causal language model, or the user, says after it; see `TracedModel.explain_generation`."""
    refuse_other_models(loaded.model)
    prompts = loaded.encode(prompt, add_special_tokens=add_special_tokens)
    if len(prompts) != 1:
        raise BadInput(f"Only one prompt can be continued at a time; got {len(prompts)}.")
    with loaded.turn:
        added = bool(add_special_tokens) if is_chat(prompt) else add_special_tokens
        speaker = Speaker(loaded.model, loaded.tokenizer, loaded.limit, added)
        return speaker.goes_on(prompts[0], max_new_tokens, continuation, generation)


def explained_saying(
    loaded: LoadedModel,
    plans: Sequence[Plan],
    done: Generated,
    memory_budget: int,
    *,
    contrast: bool = False,
    layers: Any = None,
) -> tuple[Generated, list[TokenMap]]:
    """What made each new token, by each plan: dims that end in (query, key).

    The generation that it gives back knows the scores of the run that explained it, where there was one.

    Args:
        loaded: The model.
        plans: Those that read all new tokens in one run share it.
        done: A prompt and what follows it.
        memory_budget: Bytes that a method of the whole model may use for its own tensors.
        contrast: Whether each token is explained against its runner-up.
        layers: Blocks to show, of mixing maps.
    """
    for plan in plans:
        refuse_steps(plan, contrast=contrast, layers=layers)
    at_once, spans = [plan for plan in plans if plan.in_one_run], iter(list[TokenMap]())
    if at_once:
        done, found = explained_span(loaded, at_once, done, memory_budget, contrast=contrast)
        spans = iter([one.derive(provenance=one.provenance.noting(**_notes(done, contrast))) for one in found])
    return done, [
        next(spans) if plan.in_one_run else _step_by_step(loaded, plan, done, memory_budget, contrast, layers)
        for plan in plans
    ]


def explained_as_one(
    loaded: LoadedModel, plan: Plan, done: Generated, memory_budget: int, *, layers: Any = None
) -> TokenMap:
    """What made all new tokens together: dims (key,), with a layer axis in front where several layers are shown."""
    if isinstance(plan.method, ModelMethod) and plan.method.together == "score":
        done, found = explained_together(loaded, plan, done, memory_budget)
        return found.derive(provenance=found.provenance.noting(**_notes(done, contrast=False)))
    _, (rows,) = explained_saying(loaded, [plan], done, memory_budget, layers=layers)
    return in_one(rows, of_model=plan.of_model)


def _step_by_step(
    loaded: LoadedModel, plan: Plan, done: Generated, memory_budget: int, contrast: bool, layers: Any
) -> TokenMap:
    if plan.of_model:
        asked = steps_of(done, contrast=contrast)
        steps = [loaded.attribute(read, plan, target, None, memory_budget) for read, target in asked]
        return of_steps(done, steps, contrast=contrast)
    read = until(done.inputs, done.inputs.length - 1)
    ((whole,),) = explained(loaded, [read], [plan], None, layers)
    return of_maps(done, whole)


def refuse_other_models(model: PreTrainedModel) -> None:
    """Models that do not go on with a text, one token after the other.

    Raises:
        UnsupportedModel: With the reason.
    """
    name = type(model).__name__
    if getattr(model.config, "is_encoder_decoder", False):
        raise UnsupportedModel(
            f"{name} is an encoder–decoder: it reads in one stack and writes in another, so no single prompt "
            f"contains both. Use explain_generation(source, output) to see what produced each output token."
        )
    if not speaks(model) or not model.can_generate():  # type: ignore[no-untyped-call, unused-ignore]
        raise UnsupportedModel(
            f"{name} does not generate text. Load a causal language model with its head, such as 'demo-decoder'."
        )


def refuse_steps(plan: Plan, *, contrast: bool, layers: Any, together: bool = False) -> None:
    """A contrast or layers, where a method has none; or a contrast of all tokens together, which have none.

    Raises:
        BadOption: If one is asked of it.
    """
    refuse_contrast(plan, contrast)
    if together and contrast:
        raise BadOption("contrast=True explains each new token against another one, and together=True all of them.")
    if plan.of_model:
        refuse_axes(plan, layers=layers)


def refuse_contrast(plan: Plan, contrast: bool) -> None:
    """A contrast is between two scores, and mixing maps explain none.

    Raises:
        BadOption: If a contrast is asked of one.
    """
    if contrast and not plan.of_model:
        raise BadOption(
            f"{plan.name} explains what a token's representation is made of, not a score, so there is nothing to "
            "contrast. Use a method such as gradient_inputs or decompx."
        )


def steps_of(done: Generated, *, contrast: bool) -> list[tuple[Inputs, Asked]]:
    """For each new token what the model had read, and what to explain: the token, or it against its runner-up."""
    assert done.tokens.ids is not None
    found: list[tuple[Inputs, Asked]] = []
    for step, number in enumerate(done.tokens.ids[done.start :]):
        target: Asked = (number, done.runners_up[step]) if contrast else number
        found.append((until(done.inputs, done.start + step), target))
    return found


def of_steps(done: Generated, steps: Sequence[TokenMap], *, contrast: bool) -> TokenMap:
    """One row per attribution of the whole model.

    Args:
        done: The generation.
        steps: For each new token, an attribution to the tokens before it.
        contrast: Whether each token was contrasted with its runner-up.

    Returns:
        Dims (query, key): queries are the new tokens, keys all tokens; zeros from the new token itself on.
    """
    count = len(done.tokens)
    values = np.stack([np.pad(step.values, (0, count - len(step.values))) for step in steps])
    notes = [step.provenance.notes for step in steps]
    reports = {name: [each.get(name) for each in notes] for name in notes[0] if name not in _OF_ONE_STEP}
    names = dict.fromkeys(name for step in steps for name in step.provenance.checks)
    checks = {name: max(step.provenance.checks.get(name, 0.0) for step in steps) for name in names}
    made = steps[0].provenance.derive(notes=reports, checks=checks).noting(**_notes(done, contrast))
    return TokenMap(values, ("query", "key"), done.tokens, steps[0].quantity, made, query_tokens=done.new)


def of_maps(done: Generated, whole: TokenMap) -> TokenMap:
    """The rows of the new tokens, from the map of all tokens but the last new one.

    Args:
        done: The generation.
        whole: Dims that end in (query, key).

    Returns:
        Dims (…, query, key), as in `of_steps`.

    Raises:
        TraceDoesNotAddUp: If a token has a share in what was said before it, so that these are not the steps' rows.
    """
    rows = whole.values[..., done.start - 1 :, :]
    refuse_later(rows, done.start, whole.provenance.title)
    values = np.concatenate([rows, np.zeros_like(rows[..., :1])], axis=-1)
    notes = {name: note for name, note in whole.provenance.notes.items() if name != "prediction"}
    made = whole.provenance.derive(notes=notes).noting(**_notes(done, contrast=False))
    return whole.derive(values=values, tokens=done.tokens, query_tokens=done.new, provenance=made)


def _notes(done: Generated, contrast: bool) -> dict[str, Any]:
    found = {"prompt_tokens": done.start, "greedy": done.greedy, "probabilities": list(done.probabilities)}
    found |= {"settings": dict(done.settings)} if done.settings else {}
    found |= {"left_out": dict(done.left_out)} if done.left_out else {}
    return {"generation": {**found, "foil_ids": list(done.runners_up)} if contrast else found}

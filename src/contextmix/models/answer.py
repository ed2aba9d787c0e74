"""An answer explained by the sources of its prompt: placed, read, said, and cut into units and sources."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any

from contextmix.errors import BadInput
from contextmix.models.answer_prompt import Prompt, Question, fitting, tokens_of
from contextmix.models.generate import explained_saying, refuse_other_models, said_after
from contextmix.models.loaded_model import LoadedModel
from contextmix.plugins.contracts import ModelMethod, options_of
from contextmix.plugins.plan import Plan
from contextmix.results.answer import Answer
from contextmix.results.provenance import Quantity
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.sections import plain_cut
from contextmix.tokens.thoughts import MARKERS, NONE, Ends, plain_ends, plain_hops, thoughts_in
from contextmix.tracing.inputs.placing import Placed, Placer
from contextmix.tracing.inputs.replies import with_reply
from contextmix.tracing.inputs.thinking import thinking_in
from contextmix.tracing.runs.dependence import dependence
from contextmix.tracing.runs.generate import Generated


def explained_answer(loaded: LoadedModel, plan: Plan, asked: Question) -> Answer:
    """An answer and its sources; see `TracedModel.explain_answer`."""
    options, ends, hops = asked.options, plain_ends(asked.options["thoughts"]), plain_hops(asked.options["hops"])
    _refuse(loaded, asked)
    placer = Placer(loaded.model, loaded.tokenizer, options["template"])
    prompt = fitting(loaded, placer, asked)
    placed = prompt.placed
    given = None if asked.answer is None else _given(placer, placed, asked.answer, ends)
    how = options["max_new_tokens"], given, options["generation"], prompt.add_special_tokens
    done = said_after(loaded, placed.text, *how)
    tokens = with_reply(loaded.tokenizer, prompt.tokens, done.tokens, given, prompt.add_special_tokens)
    replies = len(placed.text) + (0 if given is None else len(given) - len(asked.answer or ""))
    thinking, begins = thinking_in(loaded.tokenizer, tokens, len(prompt.tokens), replies, ends)
    also = _with_signs(plan)
    plans = [plan] if also is None else [plan, also]
    done, (found, *signed) = explained_saying(loaded, plans, done, options["memory_budget"])
    flat = _flat(found, tokens)
    return Answer(
        token_map=flat.derive(provenance=flat.provenance.noting(answer=_told(loaded, prompt, asked, tokens))),
        begins=begins,
        passages=placed.passages,
        question=placed.question,
        sources_by=asked.sources,
        units_by=asked.units,
        rows="sum" if plan.of_model else "mean",
        signed=flat.derive(values=signed[0].values, quantity=Quantity.SIGNED, provenance=signed[0].provenance)
        if signed
        else None,
        dependence=_dependence(loaded, prompt, tokens, done) if options["dependence"] else None,
        thinking=thinking,
        hops=hops,
    )


def _refuse(loaded: LoadedModel, asked: Question) -> None:
    """What is wrong with a question, before any work."""
    for by in (asked.sources, asked.units):
        plain_cut(by)
    refuse_other_models(loaded.model)
    if loaded.tokenizer is None:
        raise BadInput(
            "Sources are found in texts, but the model was loaded without a tokenizer. Pass one to contextmix.load."
        )
    if asked.answer is not None and not asked.answer.strip():
        raise BadInput("The answer is empty (or only spaces), so no token of it can have a source.")


def _given(placer: Placer, placed: Placed, answer: str, ends: Ends) -> str:
    """An answer as it follows the prompt. A template of ours ends in a word, so a space comes before another one.

    Templates take thoughts out of the answers of earlier turns. In its own turn the model writes them itself, behind
    what the template wrote, so the template has a say in the answer alone.
    """
    thoughts = thoughts_in(answer, placed.text, ends)
    placer.refuse_altered(placed, answer if thoughts is None else answer[thoughts[1] :])
    wide = unicodedata.east_asian_width(answer[0]) in "WF"  # Chinese and Japanese write no spaces
    apart = placed.is_chat or placed.template == "none" or placed.text[-1].isspace()
    return answer if apart or wide or not answer[0].isalnum() else f" {answer}"


def _flat(found: TokenMap, tokens: Tokens) -> TokenMap:
    """The map over (query, key): the mean of layers and heads, where they were kept apart."""
    axes = tuple(place for place, axis in enumerate(found.dims) if axis not in ("query", "key"))
    joined = {found.dims[place]: "mean" for place in axes}
    made = found.provenance.noting(joined=joined) if joined else found.provenance
    start = len(found.tokens) - len(found.query_tokens)
    return found.derive(
        values=found.values.mean(axis=axes) if axes else found.values,
        dims=("query", "key"),
        tokens=tokens,
        query_tokens=tokens.part(slice(start, None)),
        provenance=made,
    )


def _with_signs(plan: Plan) -> Plan | None:
    """The same method with signs, where it leaves them out unless it is asked; both share one run."""
    if not isinstance(plan.method, ModelMethod) or "signed" not in options_of(plan.method.attribute):
        return None
    return None if plan.options.get("signed") else replace(plan, options={**plan.options, "signed": True})


def _told(loaded: LoadedModel, prompt: Prompt, asked: Question, tokens: Tokens) -> dict[str, Any]:
    """Who wrote the answer, what ended it, what placed the texts, and what told thoughts apart if not usual marks."""
    ends = asked.options["thoughts"]
    told = isinstance(ends, str) and ends not in (MARKERS, NONE)
    how = {"template": prompt.placed.template, **({"thoughts": ends} if told else {})}
    if asked.answer is not None:
        return {"by": "given", **how}
    assert tokens.ids is not None
    ends = getattr(loaded.model.generation_config, "eos_token_id", None)
    full = len(tokens) - len(prompt.tokens) >= asked.options["max_new_tokens"]
    at_end = tokens.ids[-1] in (ends if isinstance(ends, list) else [ends])
    stopped = "its end token" if at_end else "max_new_tokens" if full else "another rule of its generation"
    return {"by": "the model", "stopped": stopped, **how}


def _dependence(loaded: LoadedModel, prompt: Prompt, tokens: Tokens, done: Generated) -> tuple[float, ...]:
    if prompt.placed.without is None:
        raise BadInput(
            "Without the sources nothing remains of this prompt, so the model cannot be run without them. Give "
            "context and question separately, or leave out dependence."
        )
    bare = tokens_of(loaded, prompt.placed.without, prompt.add_special_tokens)
    with loaded.turn:
        return dependence(loaded.model, done.scores(), bare.ids or (), (tokens.ids or ())[len(prompt.tokens) :])

"""What can be asked for, and the checks that need no worker: a refusal comes at once, not after a wait in the queue."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import anyio.to_thread

import contextmix
from contextmix.errors import ContextMixError
from contextmix.models.explore import plans_to_explore, refuse_idle_target
from contextmix.options.option import accepted, declared
from contextmix.options.verbs import Answering
from contextmix.plugins.plan import make_plan
from contextmix.plugins.titles import QUESTIONS, asks, title_of
from contextmix.serve.documents import Asked, AskedAnswer, MethodFacts, ModelFacts
from contextmix.serve.limits import Limits
from contextmix.serve.worker import about
from contextmix.tokens.sections import plain_cut
from contextmix.tracing.inputs.texts import encode

_SLOW = re.compile(r"n(²·n?²?)?·?d³|n²·d|\bn (forward|maximum)|\d\d forward|·n forward|n/3")
"""Costs that grow with the text beyond one run of the model, or are many runs of it, as methods word them."""


class NotAcceptable(Exception):
    """Something that cannot be done as it was asked for.

    Attributes:
        reason: A sentence.
        field: The part of the request that it is about.
    """

    def __init__(self, reason: str, field: str | None) -> None:
        super().__init__(reason, field)
        self.reason, self.field = reason, field


class Asking:
    """The names that exist here, and what is checked of a request.

    Args:
        facts: For each model what `worker.facts` says.
        tokenizers: For each model its tokenizer.
        limits: Of the server.
    """

    def __init__(self, facts: Mapping[str, Mapping[str, Any]], tokenizers: Mapping[str, Any], limits: Limits) -> None:
        self._tokenizers, self._limits = tokenizers, limits
        self._turn = threading.Lock()  # a tokenizer keeps settings between calls
        self.models = [
            ModelFacts(**{**one, "name": name, "limit": min(one["limit"] or limits.tokens, limits.tokens)})
            for name, one in facts.items()
        ]
        self.methods = method_facts()

    async def accepted(self, asked: Asked) -> dict[str, Any]:
        """The request as the worker gets it.

        Raises:
            NotAcceptable: If it cannot be done; some reasons only the model knows, and these come later.
        """
        _refuse_broken({"text": [asked.text, asked.pair, asked.query, asked.target, asked.against]})
        if asked.against is not None and asked.target is None:
            raise NotAcceptable("It needs a target to compare with.", "against")
        wrong = _wrong_methods(tuple(asked.methods), asked.heads, asked.target)
        if wrong is not None:
            raise NotAcceptable(*wrong)
        model = self._model(asked.model)
        await anyio.to_thread.run_sync(self._read, asked, model)
        return asked.model_dump()

    async def accepted_answer(self, asked: AskedAnswer) -> dict[str, Any]:
        """A question as the worker gets it.

        Raises:
            NotAcceptable: As in `accepted`.
        """
        texts = {"question": [asked.question], "context": asked.context, "answer": [asked.answer or ""]}
        _refuse_broken(texts)
        model = self._model(asked.model)
        if not model.answers:
            known = ", ".join(one.name for one in self.models if one.answers)
            raise NotAcceptable(f"{model.name} does not generate text, so it cannot answer. Try {known}.", "model")
        own = asked.model_dump()
        for name, one in declared(Answering).items():
            if name in own:
                try:
                    accepted(name, own[name], one)
                    if name in ("sources", "units"):
                        plain_cut(own[name])
                except ContextMixError as refusal:
                    raise NotAcceptable(str(refusal), name) from None
        wrong = _wrong_method(asked.method)
        if wrong is not None:
            raise NotAcceptable(wrong, "method")
        await anyio.to_thread.run_sync(self._read_answer, asked, model)
        return own

    def _model(self, name: str) -> ModelFacts:
        model = next((model for model in self.models if model.name == name), None)
        if model is None:
            known = ", ".join(model.name for model in self.models)
            raise NotAcceptable(f"There is no model {name!r} here. Known: {known}.", "model")
        return model

    def _read_answer(self, asked: AskedAnswer, model: ModelFacts) -> None:
        """How long a prompt is at least, before it waits; the worker knows the template, and refuses exactly."""
        count, parts = 0 if asked.answer else asked.max_new_tokens, [asked.question, *asked.context, asked.answer or ""]
        try:
            with self._turn:
                read = self._tokenizers[asked.model]
                count += sum(encode(read, one, None, add_special_tokens=False).length for one in parts if one.strip())
        except ContextMixError as refusal:
            raise NotAcceptable(str(refusal), about(refusal)) from None
        most = self._limits.tokens if asked.truncate else model.limit
        if count > most:
            raise NotAcceptable(
                f"Texts, question and answer have {count} tokens or more, including the new ones, but {model.name} "
                f"accepts at most {most} here. Shorten the texts, or ask for fewer new tokens.",
                "context" if asked.context else "question",
            )

    def _read(self, asked: Asked, model: ModelFacts) -> None:
        text = asked.text if asked.pair is None else (asked.text, asked.pair)
        try:
            with self._turn:
                added = asked.add_special_tokens
                inputs = encode(self._tokenizers[asked.model], text, None, add_special_tokens=added)
            if inputs.length <= model.limit and asked.query is not None and inputs.tokens is not None:
                inputs.tokens.position(asked.query)
        except ContextMixError as refusal:
            raise NotAcceptable(str(refusal), about(refusal)) from None
        if inputs.length > model.limit:
            found = f"The text has {inputs.length} tokens, but {model.name} accepts at most {model.limit} here."
            raise NotAcceptable(f"{found} Shorten it.", "text")


def _refuse_broken(texts: Mapping[str, Sequence[Any]]) -> None:
    """Half of a surrogate pair, which JSON can spell and nobody can write."""
    for name, parts in texts.items():
        try:
            for part in parts:
                if isinstance(part, str):
                    part.encode()
        except UnicodeEncodeError:
            raise NotAcceptable("The text contains half of a surrogate pair, which is not a character.", name) from None


@lru_cache(maxsize=64)
def _wrong_method(method: str) -> str | None:
    try:
        make_plan(method)
    except ContextMixError as refusal:
        return str(refusal)
    return None


@lru_cache(maxsize=64)  # it takes longer than all else that is checked, and most requests ask for the same
def _wrong_methods(methods: tuple[str, ...], heads: bool, target: str | None) -> tuple[str, str] | None:
    """What is wrong with the methods, and the part of the request that it is about."""
    if len(set(methods)) < len(methods):
        return "A method is listed twice.", "methods"
    part = "methods"
    try:
        plans = plans_to_explore(methods, heads=False)
        part = "heads"
        plans = plans_to_explore(methods, heads) if heads else plans
        part = "target"
        refuse_idle_target(plans, target)
    except ContextMixError as refusal:
        return str(refusal), part
    return None


def method_facts() -> list[MethodFacts]:
    """All methods by the question that they answer, the cheap ones first."""
    found = [_facts(str(name), row) for name, row in contextmix.methods().iterrows()]
    questions = list(QUESTIONS.values())
    return sorted(found, key=lambda method: (questions.index(method.question), method.slow))


def _facts(name: str, row: Mapping[str, Any]) -> MethodFacts:
    own = {key: value for key, value in row.items() if key in MethodFacts.model_fields}
    said = {"name": name, "title": title_of(name), "question": QUESTIONS[asks(name)]}
    return MethodFacts(**{**own, **said, "slow": is_slow(row["cost"]), "of_model": make_plan(name).of_model})


def is_slow(cost: str) -> bool:
    """Whether a cost is more than a few runs of the model."""
    return _SLOW.search(cost) is not None


def display_names(models: Sequence[str]) -> dict[str, str]:
    """A short name for each model, which says no folder: the last part, numbered where two are alike."""
    found: dict[str, str] = {}
    for model in models:
        short = model.rstrip("/").rpartition("/")[2] or model
        name, number = short, 2
        while name in found:
            name, number = f"{short}-{number}", number + 1
        found[name] = model
    return found

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
from contextmix.plugins.plan import make_plan
from contextmix.serve.documents import Asked, MethodFacts, ModelFacts
from contextmix.serve.limits import Limits
from contextmix.serve.worker import about
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
        try:
            for part in (asked.text, asked.pair, asked.query, asked.target, asked.against):
                if isinstance(part, str):
                    part.encode()
        except UnicodeEncodeError:
            raise NotAcceptable("The text holds half of a surrogate pair, which is no character.", "text") from None
        if asked.against is not None and asked.target is None:
            raise NotAcceptable("It needs a target that it is compared with.", "against")
        wrong = _wrong_methods(tuple(asked.methods), asked.heads, asked.target)
        if wrong is not None:
            raise NotAcceptable(*wrong)
        model = next((model for model in self.models if model.name == asked.model), None)
        if model is None:
            known = ", ".join(model.name for model in self.models)
            raise NotAcceptable(f"There is no model {asked.model!r} here. Known: {known}.", "model")
        await anyio.to_thread.run_sync(self._read, asked, model)
        return asked.model_dump()

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
            found = f"The text has {inputs.length} tokens, and {model.name} is given at most {model.limit} here."
            raise NotAcceptable(f"{found} Shorten it.", "text")


@lru_cache(maxsize=64)  # it takes longer than all else that is checked, and most requests ask for the same
def _wrong_methods(methods: tuple[str, ...], heads: bool, target: str | None) -> tuple[str, str] | None:
    """What is wrong with the methods, and the part of the request that it is about."""
    if len(set(methods)) < len(methods):
        return "A method is named twice.", "methods"
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
    """All methods, the cheap ones first."""
    table = contextmix.methods()
    found = [
        MethodFacts(name=str(name), slow=is_slow(row["cost"]), of_model=make_plan(str(name)).of_model, **row)
        for name, row in table.iterrows()
    ]
    return sorted(found, key=lambda method: method.slow)


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

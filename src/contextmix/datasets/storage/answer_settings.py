"""How the questions of a run are answered: everything beside the model and the rows that decides the numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

from contextmix.datasets.storage.answer_table import SCHEMA
from contextmix.errors import BadOption
from contextmix.maths.relayed import Hops
from contextmix.options.values import ANSWERS_SIZE, MAX_NEW_TOKENS, OF_SCORE
from contextmix.plugins.plan import Plan, make_plan
from contextmix.tokens.sections import By, plain_cut
from contextmix.tokens.thoughts import plain_ends, plain_hops


@dataclass(frozen=True)
class AnswerSettings:
    """What is asked of each row: the options of `contextmix.run` of the same names."""

    task: ClassVar[str] = "answer"

    method: str = OF_SCORE
    options: Mapping[str, Any] = field(default_factory=dict)
    sources: By = "sentence"
    units: By = "sentence"
    max_new_tokens: int = MAX_NEW_TOKENS
    generation: Mapping[str, Any] | None = None
    template: str | None = None
    truncate: bool = False
    dependence: bool = False
    thoughts: str = "markers"
    hops: Hops = 1
    add_special_tokens: bool | None = None
    shard_size: int = ANSWERS_SIZE

    def __post_init__(self) -> None:
        for name in ("sources", "units"):
            object.__setattr__(self, name, plain_cut(getattr(self, name)))
        object.__setattr__(self, "hops", plain_hops(self.hops))
        if not isinstance(plain_ends(self.thoughts), str):
            raise BadOption(
                f"thoughts={self.thoughts!r:.60}: a run separates thoughts from answers by 'markers', by a text that "
                f"stands between them, or not at all ('none')."
            )
        _ = self.plan  # a method or an option of it that does not exist
        for name in ("options", "generation", "thoughts"):
            _refuse_unwritable(name, getattr(self, name))

    @cached_property
    def plan(self) -> Plan:
        """What the method does; options are checked here."""
        return make_plan(self.method, None, self.options)

    @property
    def methods(self) -> tuple[str, ...]:
        """The only one."""
        return (self.method,)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table."""
        return tuple(SCHEMA.names)

    @property
    def asked(self) -> dict[str, Any]:
        """What `explain_answer` is told, beside question, context, answer and memory."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("options", "shard_size")}
        return {**own, **self.options}

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("method", "options")}
        plain: dict[str, Any] = json.loads(json.dumps({"methods": {self.method: dict(self.options)}, **own}))
        return {"task": self.task, **plain}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AnswerSettings:
        """The inverse of `to_dict`."""
        known = {name: value for name, value in values.items() if name != "task"}
        ((method, options),) = known.pop("methods").items()
        return cls(method=method, options=options, **known)


def _refuse_unwritable(name: str, value: Any) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as reason:
        raise BadOption(
            f"{name}: a run records its settings as JSON, and this value cannot be recorded ({reason}). Use "
            "numbers, texts, lists and mappings."
        ) from reason

"""Whether a manifest holds what readers of a run rely on: each field of its type, and every column described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from contextmix.datasets.storage.answer_settings import AnswerSettings
from contextmix.datasets.storage.settings import Settings
from contextmix.datasets.storage.table import SCHEMA
from contextmix.errors import BadFile, ContextMixError
from contextmix.results.provenance import Provenance, Quantity

Fits = Callable[[Any], bool]
S = TypeVar("S")


def settings_of(manifest: Mapping[str, Any], where: str) -> Settings | AnswerSettings:
    """The settings of a run, once its manifest is known to be whole.

    Args:
        manifest: As it was read.
        where: What messages call it.

    Raises:
        BadFile: If it has another schema, or a field is missing or holds something else.
    """
    if manifest.get("schema") != SCHEMA or isinstance(manifest["schema"], bool):
        raise BadFile(
            f"{where} was written with schema {manifest.get('schema')!r:.40} and this version of contextmix reads "
            f"{SCHEMA}. Use the version that the manifest names."
        )
    _refuse({"summary": {}, **manifest}, {**_PARTS, "summary": _mapping}, "", where)  # a finished run has one
    _refuse(manifest["data"], {"rows": _count}, "data.", where)
    if manifest["settings"].get("task") == AnswerSettings.task:
        _refuse(manifest["settings"], _ANSWER_SETTINGS, "settings.", where)
        return _built(AnswerSettings.from_dict, manifest, where)
    _refuse(manifest["settings"], _SETTINGS, "settings.", where)
    _refuse({**_LATER, **manifest["settings"]}, _LATER_SETTINGS, "settings.", where)
    settings = _built(_settings, manifest, where)
    for name in settings.methods:
        _refuse(manifest["columns"], {name: _mapping}, "columns.", where)
        _refuse(manifest["columns"][name], _COLUMN, f"columns.{name}.", where)
    return settings


def _settings(values: Mapping[str, Any]) -> Settings:
    found = Settings.from_dict(values)
    found.plans, found.judges  # noqa: B018  names that this version does not know
    return found


def _built(build: Callable[[Mapping[str, Any]], S], manifest: Mapping[str, Any], where: str) -> S:
    try:
        return build(manifest["settings"])
    except (ContextMixError, TypeError, KeyError, ValueError) as reason:
        raise BadFile(
            f"The settings in the manifest of {where} were changed, or come from another version of contextmix: "
            f"{reason} "
            f"{RESTORE}"
        ) from reason


RESTORE = "Restore it from a copy; or run the same command again, which says what differs and repairs what does not."


def _refuse(part: Mapping[str, Any], fields: Mapping[str, Fits], path: str, where: str) -> None:
    for name, fits in fields.items():
        if name not in part:
            raise BadFile(f"The manifest of {where} lacks the field '{path}{name}': it was damaged. {RESTORE}")
        if not fits(part[name]):
            found = f"{part[name]!r:.60}"
            raise BadFile(
                f"The field '{path}{name}' in the manifest of {where} holds {found}, which is none of what may stand "
                f"there: it was damaged. {RESTORE}"
            )


def _mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(value: Any) -> bool:
    return _whole(value) and 0 < value < 2**63


def _name(value: Any) -> bool:
    return _text(value) or _whole(value)


def _maybe(fits: Fits) -> Fits:
    return lambda value: value is None or fits(value)


def _list_of(fits: Fits) -> Fits:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _options(value: Any) -> bool:
    return _mapping(value) and all(map(_mapping, value.values()))


def _target(value: Any) -> bool:
    return _name(value) or (_list_of(_name)(value) and len(value) == 2)


def _provenance(value: Any) -> bool:
    try:
        return _mapping(value) and isinstance(Provenance.from_dict(value), Provenance)
    except ContextMixError:
        return False


_PARTS: dict[str, Fits] = dict.fromkeys(("settings", "data", "model", "versions", "columns"), _mapping)
_SETTINGS: dict[str, Fits] = {
    "methods": _options,
    "query": _maybe(_name),
    "target": _maybe(_target),
    "layers": _maybe(lambda value: value == "all" or _whole(value) or _list_of(_whole)(value)),
    **dict.fromkeys(("words", "maps", "truncate"), _flag),
    "shard_size": _count,
}
_LATER = {
    **{"metrics": {}, "reference": "", "removal": "", "seed": 0},
    **{"randomised_rows": None, "add_special_tokens": None},
}
"""Runs of the first versions have none of these."""
_LATER_SETTINGS: dict[str, Fits] = {
    "metrics": _options,
    "reference": _text,
    "removal": _text,
    "seed": _whole,
    "randomised_rows": _maybe(_count),
    "add_special_tokens": _maybe(_flag),
}
_ANSWER_SETTINGS: dict[str, Fits] = {
    "methods": lambda value: _options(value) and len(value) == 1,
    **dict.fromkeys(("sources", "units"), lambda value: _name(value) or isinstance(value, list)),
    **dict.fromkeys(("max_new_tokens", "shard_size"), _count),
    "generation": _maybe(_mapping),
    "template": _maybe(_text),
    "thoughts": _text,
    "hops": lambda value: _count(value) or value in (0, "all"),
    **dict.fromkeys(("truncate", "dependence"), _flag),
    "add_special_tokens": _maybe(_flag),
}
_COLUMN: dict[str, Fits] = {
    "dims": lambda value: _list_of(_text)(value) and value[-1:] == ["key"],
    "quantity": lambda value: value in list(Quantity),
    "layers": _list_of(_whole),
    "targets": _maybe(_list_of(_text)),
    "provenance": _provenance,
}

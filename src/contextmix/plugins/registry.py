"""Find the plug-ins of a folder: every file exports one constant, and its name is the file's name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from contextmix.errors import UnknownName
from contextmix.plugins.contracts import Aggregation, Method, Metric, ModelMethod, Recipe, options_of
from contextmix.plugins.reading import constant_of

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """The plug-ins of one package folder by name, imported when first asked for.

    Args:
        package: For example ``"contextmix.methods"``.
        constant: The constant that each file exports, for example ``"METHOD"``.
        kind: The word for error messages, for example ``"method"``.
    """

    def __init__(self, package: str, constant: str, kind: str) -> None:
        self.package, self.constant, self.kind = package, constant, kind
        # Imported here, not later: a folder may share its name with a public function (contextmix.methods), and the
        # import binds that name on the package. `contextmix/__init__.py` binds the function afterwards, once and for
        # all.
        self._folder = importlib.import_module(package)
        self._found: dict[str, T] | None = None
        self._described: dict[str, T] = {}

    @property
    def names(self) -> list[str]:
        """The names of all plug-ins; none of them is imported."""
        return sorted(self._found or (module.name for module in pkgutil.iter_modules(self._folder.__path__)))

    def described(self, name: str) -> T:
        """The plug-in for all but computing: as its file says, where it was not imported yet; see `reading`.

        Raises:
            UnknownName: With near misses and all known names.

        Example:
            >>> METHODS.described("globenc").formula
            'rollout of N_Enc'
        """
        asked = as_typed(name)
        if self._found is not None:
            return self[name]
        if asked not in self._described:
            if asked not in self.names:
                raise UnknownName(self.kind, name, self.names)
            read = constant_of(f"{self.package}.{asked}", self.constant)
            self._described[asked] = self[asked] if read is None else read
        return self._described[asked]

    def _plugins(self) -> dict[str, T]:
        if self._found is None:
            self._found = {
                name: getattr(importlib.import_module(f"{self.package}.{name}"), self.constant) for name in self.names
            }
        return self._found

    def __getitem__(self, name: str) -> T:
        """The plug-in, in any case; ``-`` and a space count as ``_``.

        Raises:
            UnknownName: With near misses and all known names.
        """
        try:
            return self._plugins()[as_typed(name)]
        except (KeyError, AttributeError, TypeError):
            raise UnknownName(self.kind, name, self._plugins()) from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and as_typed(name) in self._plugins()

    def __iter__(self) -> Iterator[str]:
        return iter(self._plugins())

    def __len__(self) -> int:
        return len(self._plugins())


def as_typed(name: str) -> str:
    """The code name of what people write, such as "GlobEnc" or "ALTI rollout".

    Example:
        >>> as_typed("ALTI rollout"), as_typed("value-zeroing")
        ('alti_rollout', 'value_zeroing')
    """
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def check_options(kind: str, name: str, function: Any, options: Mapping[str, Any]) -> None:
    """Refuse options that the plug-in does not have.

    Raises:
        UnknownName: With near misses and the options that exist.
    """
    known = options_of(function)
    for option in options:
        if option not in known:
            raise UnknownName(f"option of the {kind} {name}", option, known or ["(none)"])


METHODS: Registry[Method | ModelMethod | Recipe] = Registry("contextmix.methods", "METHOD", "method")
AGGREGATIONS: Registry[Aggregation] = Registry("contextmix.aggregations", "AGGREGATION", "aggregation")
METRICS: Registry[Metric] = Registry("contextmix.metrics", "METRIC", "metric")

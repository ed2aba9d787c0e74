"""A value that is computed when it is first asked for, and kept; nobody waits for anybody."""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeVar, overload

T = TypeVar("T")


class kept(cached_property[T]):
    """`functools.cached_property` without the lock that Python 3.11 puts around it, one for all objects of a class.

    A thread that computes such a value and waits for a model would keep out the thread that has the model and needs
    the value, for ever; and a forked child would wait for a thread that it does not have. Two threads may compute the
    same value here, once each.

    Example:
        >>> class Square:
        ...     side = 3
        ...
        ...     @kept
        ...     def area(self):
        ...         return self.side**2
        >>> Square().area
        9
    """

    @overload
    def __get__(self, instance: None, owner: Any = None) -> kept[T]: ...

    @overload
    def __get__(self, instance: object, owner: Any = None) -> T: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """The value, from the object's own dictionary from the second time on."""
        if instance is None:
            return self
        assert self.attrname is not None  # given by the class body
        found = instance.__dict__.get(self.attrname, self)
        if found is self:
            found = instance.__dict__[self.attrname] = self.func(instance)
        return found

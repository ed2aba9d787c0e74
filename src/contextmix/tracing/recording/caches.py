"""Key-value caches among the arguments of a block: a block that runs again must find them as it found them first.

Most models make none when they are told to keep none. A few make one all the same, and a block that adds its keys to it
a second time would attend to every token twice.
"""

from __future__ import annotations

import copy
from typing import Any

from transformers import Cache


def untouched(place: Any) -> Any:
    """The same arguments with copies of the caches among them, to which a block may add without changing these.

    Their tensors are shared: a cache that grows joins what it holds and what it is given into new ones.
    """
    if isinstance(place, Cache):
        return _copied(place)
    if type(place) is dict:
        return {name: untouched(value) for name, value in place.items()}
    if type(place) in (tuple, list):
        return type(place)(untouched(value) for value in place)
    return place


def _copied(cache: Cache) -> Cache:
    found = copy.copy(cache)
    for name, value in vars(cache).items():
        if isinstance(value, Cache):  # one for self-attention, one for cross-attention
            setattr(found, name, _copied(value))
        elif isinstance(value, list):
            setattr(found, name, [copy.copy(one) for one in value])
    return found

"""Where models are: in the package, in a folder, or on the Hugging Face hub, if that can be asked at all.

Without a network its library would try again and again for half a minute.
"""

from __future__ import annotations

import socket
import threading
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants

from contextmix.results.files import at_home
from contextmix.tracing.inputs.names import BUILT_IN, is_here

PATIENCE = 0.8
"""Seconds that the hub has to answer a knock."""


def hub_options(place: str) -> dict[str, Any]:
    """What ``from_pretrained`` is told beside the name: to look only at what is here already, if the hub is away.

    Args:
        place: A folder, or a name on the hub.
    """
    if constants.HF_HUB_OFFLINE or (is_here(place) and Path(place).is_dir()) or answers(constants.ENDPOINT):
        return {}
    return {"local_files_only": True}


def answers(address: str) -> bool:
    """Whether somebody takes a connection at an address, or at the proxy on the way to it, within `PATIENCE`."""
    scheme = urlsplit(address).scheme
    place = urlsplit(getproxies().get(scheme, address))
    port = place.port or (443 if place.scheme == "https" else 80)
    found: list[bool] = []

    def knock() -> None:
        try:
            socket.create_connection((place.hostname or "", port), PATIENCE).close()
            found.append(True)
        except OSError:
            pass

    knocking = threading.Thread(target=knock, daemon=True)  # looking up a name cannot be told to be quick
    knocking.start()
    knocking.join(PATIENCE)
    return bool(found)


def place_of(name: str) -> str:
    """The folder that a name stands for, or the name itself, to be asked of the hub."""
    if name in BUILT_IN:
        return str(files("contextmix") / "demo" / BUILT_IN[name])
    folder = at_home(name)
    return str(folder) if is_here(name) and folder.is_dir() else name


def first_line(reason: Exception) -> str:
    """What an error says first."""
    return (str(reason).strip().splitlines() or [type(reason).__name__])[0].rstrip(".")

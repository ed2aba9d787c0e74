"""Reports: one HTML file with the explorer and its data, which needs no network and runs nothing else.

The file's content security policy lets one script run, by its hash, and one style sheet; data cannot become either.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from markupsafe import Markup

from contextmix.errors import BadOption
from contextmix.tokens.pieces import printable
from contextmix.views.page.fragment import templates

PAGE_STYLE = (
    ":root{color-scheme:light dark}"
    "body{margin:0;background:#fff;background:light-dark(#fff,#0f1115);font:16px/1.5 system-ui,sans-serif}"
    "main{padding:clamp(.5rem,2vw,2rem);max-width:100rem;margin:0 auto}"
    "section+section{margin-top:2rem}"
)
TITLE = 120
"""Most characters of a title, which stands on a tab."""

_STYLE = re.compile(r'style="([^"]*)"')
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}


@dataclass(frozen=True)
class Section:
    """One explorer of a report.

    Attributes:
        exhibit: The document; see `contextmix.views.page.exhibit`.
        still: HTML of what is shown where no script runs, from `contextmix.views.page.fragment`.
    """

    exhibit: Mapping[str, Any]
    still: str


def report(sections: Sequence[Section], title: str = "") -> str:
    """A page that stands alone.

    Args:
        sections: One at least; each becomes an explorer.
        title: Of the page; left out, that of the first exhibit.

    Returns:
        HTML in plain ASCII but for the still pictures and the title.

    Raises:
        BadOption: If there is nothing to show.
    """
    if not sections:
        raise BadOption("The report is empty. Give at least one exploration.")
    script, looks = bundle(), _Looks(PAGE_STYLE)
    shown = [{"data": embedded(one.exhibit), "still": looks.taken_from(one.still)} for one in sections]
    name = printable(title) if title else str(sections[0].exhibit["title"])
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            title=f"{name[:TITLE]} · contextmix",
            policy=policy(script, looks.sheet, heard=any(_is_heard(one.exhibit) for one in sections)),
            style=Markup(looks.sheet),
            script=Markup(script),
            sections=shown,
        )
    )


def _is_heard(exhibit: Mapping[str, Any]) -> bool:
    """Whether a sound travels in it, which the page must be allowed to play."""
    return (exhibit.get("media") or {}).get("kind") == "sound"


def embedded(document: Mapping[str, Any]) -> Markup:
    r"""JSON that can stand in a script element: whatever a text holds, it does not end there.

    Example:
        >>> str(embedded({"text": "</script>"}))
        '{"text":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_ESCAPES))


@lru_cache(maxsize=1)
def bundle() -> str:
    """The explorer as one script, built from ``explorer/`` in the repository."""
    script = resources.files("contextmix.views.page").joinpath("explorer/explorer.js").read_text(encoding="ascii")
    # A parser would end the script there, or turn the line ends and so change the hash.
    assert not re.search(r"</script|<!--|\r", script, re.IGNORECASE)
    return script


class _Looks:
    """One style sheet in the place of style attributes, which the policy forbids: each distinct one gets a class."""

    def __init__(self, sheet: str) -> None:
        self.sheet = sheet
        self._names: dict[str, str] = {}

    def taken_from(self, fragment: str) -> Markup:
        """The fragment with classes for styles. In data no attribute can begin: its quotes are escaped."""
        return Markup(_STYLE.sub(self._class, fragment))

    def _class(self, match: re.Match[str]) -> str:
        style = html.unescape(match[1])
        if style not in self._names:
            self._names[style] = f"s{len(self._names)}"
            self.sheet += f".{self._names[style]}{{{style}}}"
        return f'class="{self._names[style]}"'


def policy(script: str, sheet: str, *, heard: bool = False) -> str:
    """The content security policy of a page: a script, a style sheet, images as data, sounds where one is heard."""
    allowed = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(sheet),
        "img-src": "data:",
        **({"media-src": "data:"} if heard else {}),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{kind} {what}" for kind, what in allowed.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

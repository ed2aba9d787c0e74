"""The explorer as a widget of notebooks; only imported where anywidget is installed."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from contextmix.views.page.report import bundle


class ExplorerWidget(anywidget.AnyWidget):
    """Shows one exhibit; a new one may be set at any time.

    Attributes:
        exhibit: The document, see `contextmix.views.page.exhibit`.
    """

    _esm: Any = bundle()
    exhibit: Any = traitlets.Dict().tag(sync=True)

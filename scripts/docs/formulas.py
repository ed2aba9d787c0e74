"""How Sphinx writes formulas: LaTeX in the page, which `docs/_static/formulas.js` draws with the KaTeX beside it."""

from html import escape
from typing import Any

from docutils import nodes


def inline(translator: Any, node: Any) -> None:
    """A formula within a sentence."""
    translator.body.append(f'<span class="formula">{escape(node.astext())}</span>')
    raise nodes.SkipNode


def block(translator: Any, node: Any) -> None:
    """A formula that stands alone."""
    translator.body.append(f'<div class="formula">{escape(node.astext())}</div>')
    raise nodes.SkipNode

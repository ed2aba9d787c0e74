"""Names as people know them, and the questions that methods answer; read from plug-in files without running them."""

from __future__ import annotations

from contextmix.plugins.contracts import ModelMethod, Recipe
from contextmix.plugins.papers import Paper
from contextmix.plugins.registry import AGGREGATIONS, METHODS, METRICS

QUESTIONS = {
    "score": "Why this output?",
    "vector": "What is this vector made of?",
    "attention": "Where does attention look?",
}
"""What a method asks → the question as people read it, in the order in which pages show them."""


def title_of(name: str) -> str:
    """The name of a method, or of a method and its way across layers, as papers and people write it.

    Args:
        name: What users type, such as ``"globenc"`` or ``"norm+rollout"``.

    Returns:
        The title; what was typed, where no such plug-in is known, as in a file that another version wrote.

    Example:
        >>> title_of("globenc"), title_of("gradient_inputs"), title_of("norm+rollout"), title_of("my own")
        ('GlobEnc', 'Gradient × input', 'Norm-based attention, rollout', 'my own')
    """
    method, plus, way = name.partition("+")
    if not _known(METHODS, method) or (plus and not _known(AGGREGATIONS, way)):
        return name
    own = METHODS.described(method).title or method
    return f"{own}, {aggregation_title(way)[:1].lower()}{aggregation_title(way)[1:]}" if plus else own


def aggregation_title(name: str) -> str:
    """The name of a way across layers as people write it.

    Example:
        >>> aggregation_title("last")
        'Last layer'
    """
    return (AGGREGATIONS.described(name).title or name) if _known(AGGREGATIONS, name) else name


def metric_title(name: str) -> str:
    """The name of a metric as people write it.

    Example:
        >>> metric_title("aopc")
        'AOPC'
    """
    return (METRICS.described(name).title or name) if _known(METRICS, name) else name


def asks(name: str) -> str:
    """Which of `QUESTIONS` a method answers; ``"vector"`` for one that is not known.

    Example:
        >>> asks("gradient_inputs"), asks("globenc"), asks("attention_rollout")
        ('score', 'vector', 'attention')
    """
    method = name.partition("+")[0]
    if not _known(METHODS, method):
        return "vector"
    found = METHODS.described(method)
    if isinstance(found, Recipe):
        return asks(found.method)
    return "score" if isinstance(found, ModelMethod) else found.asks


def paper_of(name: str) -> Paper | None:
    """Where a method was published; None for one that is not known.

    Example:
        >>> paper_of("globenc").url
        'https://aclanthology.org/2022.naacl-main.19'
    """
    method = name.partition("+")[0]
    return METHODS.described(method).paper if _known(METHODS, method) else None


def _known(registry: object, name: str) -> bool:
    return name.replace("-", "_") in registry.names  # type: ignore[attr-defined]

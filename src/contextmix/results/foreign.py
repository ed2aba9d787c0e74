"""What other tools give: captum, inseq, interpreto and shap, told by the fields of their results; none is imported.

A tool's class may move between versions, its fields hardly do. Numbers of any array library are read as numpy reads
them; torch tensors that carry a gradient are detached first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contextmix.errors import BadInput, WrongShape


@dataclass(frozen=True)
class Foreign:
    """Numbers with whatever labels came with them.

    Attributes:
        values: (key,), (target, key) or (query, key); of a plain array as it was given.
        tokens: The keys, where the tool names them.
        query_tokens: The queries, where there are some.
        targets: Names of the outputs, where there are several.
        tool: Whose result it is; empty for a plain array.
    """

    values: Any
    tokens: Sequence[str] | None = None
    query_tokens: Sequence[str] | None = None
    targets: Sequence[str] | None = None
    tool: str = ""


def read(result: Any) -> Foreign:
    """A result of another tool, or a plain array.

    Raises:
        BadInput: If it holds several inputs, or numbers that the tool itself has to combine first.
        WrongShape: If it holds no rectangle of numbers.
    """
    for fields, reader in _READERS:
        if all(hasattr(result, name) for name in fields):
            return reader(result)
    return Foreign(numbers(result))


def numbers(values: Any) -> Any:
    """An array of floats, of any library.

    Raises:
        WrongShape: If it is none.
    """
    try:
        plain = values.detach().cpu() if hasattr(values, "detach") and hasattr(values, "cpu") else values
        plain = plain.float() if "bfloat16" in str(getattr(plain, "dtype", "")) else plain  # which numpy does not have
        found = np.asarray(plain)
        return found if found.dtype in (np.float32, np.float64) else found.astype(np.float64)
    except (ValueError, TypeError, RuntimeError) as reason:
        raise WrongShape(
            f"Scores must be a rectangular array of numbers; got {type(values).__name__}: {reason}"
        ) from None


def _captum(result: Any) -> Foreign:
    """`LLMAttributionResult`: one score per part of the prompt for each token of the answer, or for all together."""
    if result.token_attr is None:
        return Foreign(numbers(result.seq_attr), list(result.input_tokens), tool="captum")
    return Foreign(numbers(result.token_attr), list(result.input_tokens), list(result.output_tokens), tool="captum")


def _inseq(result: Any) -> Foreign:
    """`FeatureAttributionOutput`: its only sequence."""
    return _inseq_sequence(_only(result.sequence_attributions, "inseq", "result.sequence_attributions[0]"))


def _inseq_sequence(one: Any) -> Foreign:
    """`FeatureAttributionSequenceOutput`: (key, step), of the source, or of the prefix where there is no source."""
    start, stop = one.attr_pos_start, one.attr_pos_end
    of_prefix = one.source_attributions is None
    found = numbers(one.target_attributions if of_prefix else one.source_attributions)
    if found.ndim != 2:
        raise BadInput(
            f"This result of inseq has {found.ndim} axes: its numbers are still those of components or heads. Call its "
            "aggregate() first, and give what that returns."
        )
    keys = [each.token for each in (one.target if of_prefix else one.source)][: len(found)]
    values = found.T.copy()
    if of_prefix:  # inseq leaves NaN where a token comes later than the step
        later = np.arange(values.shape[1])[None] >= start + np.arange(len(values))[:, None]
        values[later & np.isnan(values)] = 0.0
    return Foreign(values, keys, [each.token for each in one.target[start:stop]], tool="inseq")


def _interpreto(result: Any) -> Foreign:
    """`AttributionOutput`: (element,), (class, element), or (written, element) of a text that was generated."""
    values, keys = numbers(result.attributions), [str(one) for one in result.elements]
    if values.ndim < 2:
        return Foreign(values, keys, tool="interpreto")
    if "gener" in str(getattr(result, "model_task", "")).lower():
        return Foreign(values, keys, keys[len(keys) - len(values) :], tool="interpreto")
    classes = getattr(result, "classes", None)
    names = range(len(values)) if classes is None else numbers(classes).astype(int).tolist()
    return Foreign(values, keys, targets=[f"class {one}" for one in names], tool="interpreto")


def _shap(result: Any) -> Foreign:
    """`Explanation`: (token,), (token, output), or a batch of one text of these."""
    values, data, names = result.values, result.data, getattr(result, "output_names", None)
    batched = len(np.shape(data)) > 1 or (len(data) > 0 and not isinstance(data[0], str))
    if batched:
        values, data = _only(values, "shap", "explanation[0]"), data[0]
    found = numbers(values)
    if found.ndim < 2:
        return Foreign(found, list(map(str, data)), tool="shap")
    names = [f"Output {one}" for one in range(found.shape[1])] if names is None else list(map(str, names))
    return Foreign(found.T, list(map(str, data)), targets=names, tool="shap")


def _only(inputs: Sequence[Any], tool: str, how: str) -> Any:
    if len(inputs) != 1:
        raise BadInput(f"This result of {tool} holds {len(inputs)} inputs, and a map is of one. Give one: {how}.")
    return inputs[0]


_READERS: tuple[tuple[tuple[str, ...], Callable[[Any], Foreign]], ...] = (
    (("seq_attr", "token_attr", "input_tokens"), _captum),
    (("sequence_attributions",), _inseq),
    (("source_attributions", "target_attributions", "attr_pos_start"), _inseq_sequence),
    (("attributions", "elements"), _interpreto),
    (("values", "base_values", "data"), _shap),
)

"""Load a model and ask it, in one call; who asks several times loads it once with `contextmix.load`."""

from __future__ import annotations

from typing import Any

from contextmix.models.traced_encoder_decoder import TracedEncoderDecoder
from contextmix.models.traced_model import TracedModel
from contextmix.models.traced_towers import TracedTowers
from contextmix.models.verbs import load
from contextmix.options.catalogue import AddSpecialTokens, MethodName, MethodNames, Query, Target, Truncate
from contextmix.options.option import takes
from contextmix.results.comparison import Comparison
from contextmix.tracing.inputs.sources import Source


def explain(source: Any, method: MethodName = None, *, model: Any = "demo", **options: Any) -> Any:
    """Which tokens a model's output is built from: `load` and `TracedModel.explain` in one call.

    Args:
        source: A text, a pair ``{"text": …, "text_pair": …}``, a chat, an image, a sound, model inputs, or a list.
        method: What to explain with; left out, what suits the model. See `methods`.
        model: What `load` takes, or a model that it gave.
        options: Those of `TracedModel.explain`, such as ``query="[CLS]"``, and of the method.

    Returns:
        A `TokenMap`; for a list, a list of them in order.

    Raises:
        UnknownName: If the method or an option does not exist; for the rest see `load` and `TracedModel.explain`.

    Example:
        >>> explain("a deep and meaningful film .", query="[CLS]").top(1)[0][0]
        'meaningful'
    """
    return _loaded(model).explain(source, method, **options)


@takes
def compare(
    source: Source,
    methods: MethodNames,
    *,
    model: Any = "demo",
    query: Query = None,
    target: Target = None,
    truncate: Truncate = False,
    add_special_tokens: AddSpecialTokens = None,
) -> Comparison:
    """Several methods on one text side by side: `load` and `TracedModel.compare` in one call.

    Args:
        source: A text, a pair ``{"text": …, "text_pair": …}``, or model inputs for one sequence.
        methods: Names of recipes, mixing maps or methods of the whole model; two at least.
        model: What `load` takes, or a model that it gave.
        query: The token whose row is compared; left out, the first one, or the last of a causal model.
        target: The class or token that methods of the whole model explain; left out, the predicted one.
        truncate: Cut a text that is too long instead of refusing it.
        add_special_tokens: Whether the tokenizer adds its special tokens; left out, unless the text holds them.

    Returns:
        The row of each method, and their pairwise Spearman correlations.

    Raises:
        UnknownName: If a method does not exist.
        BadOption: If fewer than two methods are named, or one twice.

    Example:
        >>> compare("a deep and meaningful film .", ["globenc", "value_zeroing"]).spearman.shape
        (2, 2)
    """
    how: Any = {"truncate": truncate, "add_special_tokens": add_special_tokens}
    found: Comparison = _loaded(model).compare(source, methods, query=query, target=target, **how)
    return found


def _loaded(model: Any) -> Any:
    """A model that can be asked."""
    return model if isinstance(model, TracedModel | TracedEncoderDecoder | TracedTowers) else load(model)

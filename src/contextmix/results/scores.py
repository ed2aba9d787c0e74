"""Scores from elsewhere as a `TokenMap`: of another tool, of a paper's code, of a function of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from contextmix.errors import BadInput, WrongShape, refuse_kind
from contextmix.results.foreign import Foreign, read
from contextmix.results.provenance import Provenance, Quantity
from contextmix.results.token_map import TokenMap
from contextmix.tokens.located import located
from contextmix.tokens.pieces import Tokens


def scores(
    values: Any,
    tokens: Tokens | Sequence[str] | None = None,
    *,
    method: str | None = None,
    quantity: Quantity | str = Quantity.SIGNED,
    text: str | None = None,
    query_tokens: Tokens | Sequence[str] | None = None,
    model: str = "",
) -> TokenMap:
    """Any tool's numbers as a `TokenMap`, to look at, save, and compare with ours.

    Args:
        values: One number per token, (token,); with ``query_tokens`` a map (query, token); vectors (token, component),
            such as captum's layer integrated gradients give, which are summed; or a result of captum, inseq, interpreto
            or shap, which brings its own tokens. An array may have a batch axis of one input in front.
        tokens: The tokens, as texts or as `Tokens` (such as ``model.encode(text)[0].tokens``). A result that names its
            own needs none.
        method: What tables and figures call it; left out, the name of the tool.
        quantity: What the numbers are.
        text: The text that the tokens are of. It is needed only where they are not a model's own tokens, such as words:
            each is looked up in it, so that a score can be given to the model's tokens.
        query_tokens: The tokens that the rows are of, for a map.
        model: The model that they explain.

    Returns:
        Dims (key,), (query, key), or (target, key) where a tool explained several outputs.

    Raises:
        WrongShape: If there are more or fewer scores than tokens.
        NotFinite: If one is NaN or infinite.
        BadInput: If nothing says which token a score belongs to, or a token is not in the text.

    Example:
        >>> scores([0.1, 0.7, 0.2], ["a", "good", "film"], method="mine", text="a good film").top(1)
        [('good', 0.7)]
    """
    refuse_kind("scores: method", method, str, type(None))
    refuse_kind("scores: text", text, str, type(None))
    found = read(values)
    keys = _tokens("tokens", found.tokens if tokens is None else tokens, text)
    if keys is None:
        raise BadInput(
            f"{np.size(found.values)} scores came without tokens, so it is unknown what they belong to. Give one "
            f"token per score: tokens=model.encode(text)[0].tokens, or their texts."
        )
    queries = _tokens("query_tokens", found.query_tokens if query_tokens is None else query_tokens, None)
    summed, array = _one_per_token(found, keys, queries)
    dims = ("target", "key") if found.targets else ("query", "key") if queries else ("key",)
    made = Provenance(method or found.tool or "scores", model=model).noting(from_elsewhere=found.tool or "numbers")
    made = made.noting(components="summed") if summed else made
    return TokenMap(array, dims, keys, quantity, made, query_tokens=queries, targets=found.targets)


def _tokens(name: str, given: Any, text: str | None) -> Tokens | None:
    if given is None or isinstance(given, Tokens):
        return given
    refuse_kind(f"scores: {name}", given, list, tuple, np.ndarray)
    pieces = tuple(given)
    for piece in pieces:
        refuse_kind(f"An entry of scores: {name}", piece, str)
    return Tokens(tuple(map(str, pieces))) if text is None else located(pieces, text)


def _one_per_token(found: Foreign, keys: Tokens, queries: Tokens | None) -> tuple[bool, Any]:
    """The numbers without an axis of one input in front and without components, and whether these were summed."""
    array = found.values
    several = queries is not None or found.targets is not None
    if array.ndim > 1 + several and len(array) == 1:
        array = array[0]
    if several or array.ndim != 2:
        return False, _fitting(array, 2 if several else 1, keys)
    if len(array) == array.shape[1] == len(keys):
        raise BadInput(
            f"{len(keys)} × {len(keys)} numbers may be a map or a vector per token, and these read alike. Give "
            "query_tokens=… for a map, or sum the vectors yourself: values.sum(-1)."
        )
    return True, _fitting(array, 2, keys, axis=0).sum(-1)


def _fitting(array: Any, axes: int, keys: Tokens, axis: int = -1) -> Any:
    if array.ndim != axes or array.shape[axis] != len(keys):
        raise WrongShape(
            f"Got scores of shape {array.shape} for {len(keys)} tokens ({keys.glimpse()}). Each token needs one "
            f"score, or scores would shift to a neighbour. Give the tokens that the tool itself read, including "
            f"special tokens."
        )
    return array

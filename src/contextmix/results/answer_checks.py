"""What an answer is made of: what does not fit is refused when it is made, not when it is first looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from contextmix.errors import BadInput, BadOption, refuse_entries, refuse_kind
from contextmix.results.losses import Losses
from contextmix.results.token_map import TokenMap
from contextmix.tokens.passages import Passage
from contextmix.tokens.sections import Span, checked_spans, plain_cut
from contextmix.tokens.thoughts import Thoughts, plain_hops

_KINDS: dict[str, tuple[type, ...]] = {
    "token_map": (TokenMap,),
    "begins": (int,),
    "rows": (str,),
    "signed": (TokenMap, type(None)),
    "thinking": (Thoughts, type(None)),
    "losses": (Losses, type(None)),
}


def checked(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an answer, spans and ways to cut as plain numbers, lists as tuples.

    Args:
        arguments: Under the names of the constructor.

    Raises:
        TypeError: If one is of another kind.
        BadInput: If they do not fit each other.
        BadOption: If there is no such way to cut or to join.
    """
    for name, kinds in _KINDS.items():
        refuse_kind(f"Answer: {name}", arguments[name], *kinds)
    refuse_entries("Answer: passages", arguments["passages"], Passage)
    token_map, begins, dependence = arguments["token_map"], arguments["begins"], arguments["dependence"]
    if arguments["rows"] not in ("sum", "mean"):
        raise BadOption(f"rows={arguments['rows']!r:.40}: the rows of a unit are joined by 'sum' or 'mean'.")
    _refuse_map(token_map, begins)
    _refuse_signed(token_map, arguments["signed"])
    _refuse_notes(token_map, dependence)
    thinking, question = arguments["thinking"], arguments["question"]
    _refuse_thoughts(token_map, thinking, begins)
    _refuse_losses(token_map, arguments["losses"])
    begins = begins if thinking is None else thinking.begins
    _refuse_passages(arguments["passages"], str(token_map.tokens.text)[:begins])
    return {
        **arguments,
        "passages": tuple(arguments["passages"]),
        "question": None if question is None else _question(question, begins),
        "sources_by": plain_cut(arguments["sources_by"]),
        "units_by": plain_cut(arguments["units_by"]),
        "dependence": None if dependence is None else tuple(dependence),
        "hops": plain_hops(arguments["hops"]),
    }


def _refuse_map(token_map: TokenMap, begins: int) -> None:
    tokens, new = token_map.tokens, token_map.query_tokens
    if token_map.dims != ("query", "key") or tokens.text is None or tokens.spans is None:
        raise BadInput(
            "An answer is made of a map over query and key, whose tokens know their text and where in it they stand."
        )
    if tokens.part(slice(max(0, len(tokens) - len(new)), None)) != new:
        raise BadInput("The queries of an answer's map are its last tokens, or rows would be told of other tokens.")
    if not 0 <= begins <= len(tokens.text):
        raise BadInput(f"The answer begins at character {begins} of a text of {len(tokens.text)}, which is not in it.")


def _refuse_thoughts(token_map: TokenMap, thinking: Thoughts | None, begins: int) -> None:
    """Thoughts behind the answer, or rows that draw on what was not written yet, so that nothing flows back."""
    if thinking is None:
        return
    if thinking.stop > begins:
        raise BadInput(f"The thoughts end at character {thinking.stop}, behind the first one of the answer ({begins}).")
    if np.triu(token_map.values, len(token_map.tokens) - len(token_map.query_tokens)).any():
        raise BadInput(
            "A row of the map draws on its own token or on later ones, so what an answer draws from thoughts cannot be "
            "followed back to what made them."
        )


def _refuse_signed(token_map: TokenMap, signed: TokenMap | None) -> None:
    if signed is not None and (signed.dims, signed.shape) != (token_map.dims, token_map.shape):
        raise BadInput(
            f"The map with signs has the axes {signed.dims} {signed.shape}, and the answer's {token_map.shape}: it is "
            "not of the same tokens."
        )


def _refuse_losses(token_map: TokenMap, losses: Losses | None) -> None:
    count = len(token_map.query_tokens)
    if losses is not None and losses.parts is None and len(losses.values) != count:
        raise BadInput(
            f"The losses have {len(losses.values)} rows, and the answer {count} tokens: they are of another one."
        )


def _refuse_notes(token_map: TokenMap, dependence: Any) -> None:
    notes, count = token_map.provenance.notes, len(token_map.query_tokens)
    generation = notes.get("generation")
    said = generation.get("probabilities") if isinstance(generation, Mapping) else None
    if not _are_numbers(said, count) or not (dependence is None or _are_numbers(dependence, count)):
        raise BadInput(
            "An answer has a probability for each of its tokens (the note 'generation' of its map), and as many "
            "dependences or none."
        )
    if not isinstance(notes.get("answer", {}), Mapping):
        raise BadInput("The note 'answer' of an answer's map says in a mapping who wrote it and what ended it.")


def _are_numbers(values: Any, count: int) -> bool:
    if not isinstance(values, list | tuple) or len(values) != count:
        return False
    return all(isinstance(one, int | float) and math.isfinite(one) for one in values)


def _refuse_passages(passages: Sequence[Passage], prompt: str) -> None:
    """Texts that do not stand in the prompt where they say, or share characters there."""
    there = [one for one in passages if one.offset is not None]
    for one in there:
        start, stop = one.place((0, one.length))
        if start < 0 or prompt[start:stop] != one.text[: one.length]:
            raise BadInput(
                f"The text {one.text!r:.60} does not stand at character {start} of the prompt, so tokens of other "
                "texts would be told of it."
            )
    for before, after in pairwise(there):
        if after.place((0, 0))[0] < before.place((0, before.length))[1]:
            raise BadInput(
                f"The texts {before.text!r:.60} and {after.text!r:.60} overlap in the prompt, or do not come in its "
                "order, so a token would be of both. Give texts that do not overlap."
            )


def _question(span: Any, begins: int) -> Span:
    (found,) = checked_spans([span], begins)
    return found

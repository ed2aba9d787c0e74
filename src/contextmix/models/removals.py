"""Ways of taking tokens away from a text: what the model reads in the place of one that is not kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from contextmix.errors import BadInput, BadOption, UnsupportedModel
from contextmix.models.traced_model import TracedModel
from contextmix.options.values import Removal
from contextmix.tokens.pieces import Tokens
from contextmix.tracing.inputs.heads import speaks
from contextmix.tracing.recording.quiet import quiet_run
from contextmix.tracing.runs.rerun import Rerunner

Changed = Callable[[Tensor], Tensor]
"""Kept tokens (variant, token), equally many in each variant where they are deleted → logits (variant, class)."""

LEAVE_SOMETHING: tuple[Removal, ...] = ("zero", "infill")
"""With these there is a text to read where no token is kept."""

_MARKS: dict[Removal, str] = {"mask": "mask_token_id", "unknown": "unk_token_id", "pad": "pad_token_id"}


def refuse_missing(model: TracedModel, removal: Removal) -> None:
    """Refuse a replacement that the tokenizer or the model does not have, and say what is possible.

    Raises:
        BadOption: If there is none.
    """
    has = {name: getattr(model.tokenizer, mark, None) is not None for name, mark in _MARKS.items()}
    has |= {"delete": True, "masked_keys": True, "zero": True, "infill": speaks(model.model) and model.is_causal}
    if not has[removal]:
        possible = " or ".join(f"removal={name!r}" for name in has if has[name])
        reason = "no tokenizer names a token for it for this model"
        if removal == "infill":
            reason = "the model writes no tokens, so it cannot say what else may stand in the place of one"
        raise BadOption(f"removal={removal!r} is not possible: {reason}. Use {possible}.")


def changing(model: TracedModel, again: Rerunner, removal: Removal, tokens: Tokens) -> Changed:
    """The logits of a text in which tokens are taken away.

    Args:
        model: The model.
        again: Runs it again for the text.
        removal: What stands in their place; see `contextmix.models.predictor.predictor`.
        tokens: Their labels.

    Raises:
        UnsupportedModel: If positions do not stay where keys are masked.
        BadInput: If nothing says what else could be the first token.
    """
    ids = again.tensors["input_ids"][0]
    if removal == "delete":
        return partial(_deleted, again, ids)
    if removal == "masked_keys":
        _refuse_moving(again, ids)
        return partial(_passed_over, again, ids)
    if removal == "zero":
        return partial(_zeroed, again, again.clean()[0])
    if removal == "infill":
        return partial(_replaced, again, ids, _likeliest_others(model, again, tokens), False)
    return partial(_replaced, again, ids, getattr(model.tokenizer, _MARKS[removal]), removal == "pad")


def _deleted(again: Rerunner, ids: Tensor, kept: Tensor) -> Tensor:
    places = kept.nonzero()[:, 1].reshape(len(kept), -1)
    return again.scores_of(ids.expand(kept.shape).gather(1, places), places)


def _passed_over(again: Rerunner, ids: Tensor, kept: Tensor) -> Tensor:
    return again.scores_of(ids.expand(kept.shape), seen=kept)


def _replaced(again: Rerunner, ids: Tensor, others: Tensor | int, unseen: bool, kept: Tensor) -> Tensor:
    changed = torch.where(kept, ids, torch.as_tensor(others, device=ids.device))
    return again.scores_of(changed, seen=kept if unseen else None)


def _zeroed(again: Rerunner, embeddings: Tensor, kept: Tensor) -> Tensor:
    with torch.no_grad():
        return again.scores_from(embeddings * kept.unsqueeze(-1).to(embeddings.dtype))


def _refuse_moving(again: Rerunner, ids: Tensor) -> None:
    """A model that counts positions by the mask: with keys masked, all that follows would be another text."""
    if len(ids) < 2:
        return
    seen = torch.ones((2, len(ids)), dtype=torch.bool, device=ids.device)
    seen[1, 0] = False
    intact, masked = again.embeddings_of(ids.expand(2, -1), seen)
    if not torch.allclose(intact[1:], masked[1:], rtol=1e-4, atol=1e-6):
        raise UnsupportedModel(
            f"{type(again.model).__name__} counts positions by the attention mask, so tokens after a masked one would "
            "move up, as if it were deleted, and removal='masked_keys' promises that they stay. Use removal='delete'."
        )


def _likeliest_others(model: TracedModel, again: Rerunner, tokens: Tokens) -> Tensor:
    """At each place the id (token,) that the model finds likeliest after what stands before, but not the one there."""
    ids = again.tensors["input_ids"][0]
    logits = quiet_run(model.model, dict(again.tensors)).logits[0]
    start = getattr(model.tokenizer, "bos_token_id", None)
    if start is not None:
        first = quiet_run(model.model, {"input_ids": ids.new_tensor([[start]])}).logits[0, -1:]
    elif tokens.special[0]:
        first = torch.zeros_like(logits[:1])
    else:
        raise BadInput(
            "removal='infill' asks what else could stand in a token's place after what stands before, and before the "
            "first token stands nothing: the tokenizer names no token that begins a text. Use another removal."
        )
    found = torch.cat([first, logits[:-1]]).float()
    found[
        :, sorted({one for one in getattr(model.tokenizer, "all_special_ids", []) if one < found.shape[1]})
    ] = -torch.inf
    found[torch.arange(len(ids)), ids] = -torch.inf
    return found.argmax(-1)

"""Occlusion: how much does the score of a class fall when one token is hidden?

s_i = p_c(x) − p_c(x without token i): positive where the token supports the class. No gradients, so it also works for
quantised models; but it asks about texts that nobody wrote, and of two words that say the same it credits neither.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Literal

import torch
from torch import Tensor

from contextmix.errors import BadInput, BadOption
from contextmix.plugins.contracts import Measured, ModelMethod
from contextmix.plugins.papers import ZEILER_2014
from contextmix.results.provenance import Quantity
from contextmix.tokens.sentences import sentence_ends
from contextmix.traces.meaning import NO_PROBABILITY, Meaning, probabilities
from contextmix.traces.model_run import ModelRun

ROWS_AT_ONCE = 64
"""More rows in a batch are not faster, only larger."""


def attribute(
    run: ModelRun,
    *,
    replace: Literal["auto", "mask", "delete", "unknown"] = "auto",
    score: Literal["probability", "logit"] = "probability",
    unit: Literal["token", "word", "sentence"] = "token",
) -> Measured:
    """The fall of the target's score for each token that is hidden alone.

    Args:
        run: The input, the model, and the explained score: of the predicted class or next token unless the user names
            another.
        replace: Put the ``"mask"`` or the ``"unknown"`` token in its place, or ``"delete"`` it, so that what follows
            moves up; ``"auto"`` masks where the tokenizer has a mask, and deletes elsewhere and in decoders: these were
            not trained with masks, also where the tokenizer has a token of that name. The note ``replaced_by`` says
            which it was.
        score: The ``"probability"`` of the class or token (softmax over all of them; of labels that do not exclude
            each other the logistic function of its own logit), or its ``"logit"``. Of a contrast the difference of the
            two.
        unit: What is hidden at once: each ``"token"``, all pieces of a ``"word"``, or a ``"sentence"``. Its fall is
            divided evenly among its tokens, so that their sum is the fall.

    Returns:
        (key,), signed, in probability or logits. Special tokens are not hidden and get zero, and so does the token of a
        masked language model whose scores are explained: the note ``not_replaced`` lists their positions.

    Raises:
        BadOption: If the model has no such token, a probability is asked of a regression or of an only class, or the
            memory budget does not hold one run.
        BadInput: If the input is no token ids, holds special tokens alone, is one unit to delete, or does not say which
            tokens are a word or a sentence.

    Source:
        Zeiler & Fergus (2014), section 4.2, with tokens for patches; "blank-out" or "erasure" in papers on text, which
        differ in the replacement and in the score: here the token is masked and the probability taken, as in the
        evaluation of DecompX, which also leaves special tokens out.
    """
    replace = _usual(run) if replace == "auto" else replace
    hidden = _hidden(run, replace, score)
    groups = _groups(run, hidden, unit)
    if replace == "delete" and any(len(group) == len(run.tokens) for group in groups):
        raise BadInput(f"Deleting the only {unit} leaves nothing to read. Use replace='mask' or 'unknown'.")
    clean = _read(run, run.scores[None], score)[0]
    step = _rows_at_once(run)
    found = torch.zeros(len(run.tokens), dtype=torch.float64, device=clean.device)
    for size in sorted({len(group) for group in groups}):  # texts that are left have one length in a batch
        alike = [group for group in groups if len(group) == size]
        ids, kept = _variants(run, alike, replace)
        chunks = [slice(start, start + step) for start in range(0, len(ids), step)]
        said = torch.cat([_read(run, run.scores_of(ids[rows], kept[rows]), score) for rows in chunks])
        places = torch.tensor(alike, device=found.device)
        found[places] = ((clean - said) / size)[:, None].expand(-1, size)
    left = torch.ones(len(run.tokens), dtype=torch.bool)
    left[hidden] = False
    return Measured(found, {"not_replaced": left.nonzero().flatten(), "replaced_by": replace})


def _usual(run: ModelRun) -> Literal["mask", "delete"]:
    return "delete" if run.mask_id is None or run.looks_back() else "mask"


def _groups(run: ModelRun, hidden: list[int], unit: str) -> list[list[int]]:
    """The positions that are hidden together, of those that may be hidden."""
    if unit == "token":
        return [[place] for place in hidden]
    tokens = run.tokens
    found: dict[int, list[int]] = {}
    if unit == "word":
        owners = {place: number for number, group in enumerate(tokens.merged()[1]) for place in group}
    elif tokens.text is None or tokens.spans is None:
        raise BadInput("unit='sentence' needs a text whose tokens have known positions in it. Use unit='token'.")
    else:
        ends = sentence_ends(tokens.text)
        owners = {place: bisect_right(ends, (tokens.spans[place] or (0, 0))[0]) for place in hidden}
    for place in hidden:
        found.setdefault(owners[place], []).append(place)
    return list(found.values())


def _variants(run: ModelRun, groups: list[list[int]], replace: str) -> tuple[Tensor, Tensor]:
    """The ids of the text without each group in turn, all of one size, and which position each id has in the text."""
    device, n = run.embeddings.device, len(run.tokens)
    ids, gone = torch.tensor(run.tokens.ids), torch.zeros(len(groups), n, dtype=torch.bool)
    gone[torch.arange(len(groups))[:, None], torch.tensor(groups)] = True
    if replace == "delete":
        kept = torch.stack([row.logical_not().nonzero().flatten() for row in gone])
        return ids[kept].to(device), kept.to(device)
    replacement = run.mask_id if replace == "mask" else run.unknown_id
    assert replacement is not None  # refused before
    everything = torch.arange(n).expand(len(groups), -1)
    return torch.where(gone, replacement, ids).to(device), everything.to(device)


def _hidden(run: ModelRun, replace: str, score: str) -> list[int]:
    """The positions to hide, once everything else is in order."""
    if run.tokens.ids is None:
        raise BadInput("occlusion replaces token ids, but this input has none. Use gradient_inputs.")
    if {"mask": run.mask_id, "unknown": run.unknown_id, "delete": 0}[replace] is None:
        raise BadOption(
            f"replace={replace!r} is not possible: no tokenizer names a {replace} token for this model. Use "
            "replace='delete', or another replacement."
        )
    if score == "probability":
        _refuse_no_probability(run)
    hidden = [
        position for position, special in enumerate(run.tokens.special) if not special and position != run.position
    ]
    if not hidden:
        raise BadInput(
            "The input contains only special tokens, which occlusion does not hide, so there is nothing to measure."
        )
    return hidden


def _rows_at_once(run: ModelRun) -> int:
    """How many rows the memory budget holds, by the widest moment of a block: the inner layer, or attention maps."""
    n, d_model = run.embeddings.shape
    needed = n * (16 * d_model + n * d_model // 16) * run.embeddings.element_size()
    if needed > run.memory_budget:
        raise BadOption(
            f"memory_budget={run.memory_budget:,} bytes do not hold one run of the model on {n} tokens, which takes "
            f"about {needed:,}. Give more, or shorten the text."
        )
    return min(ROWS_AT_ONCE, run.memory_budget // needed)


def _refuse_no_probability(run: ModelRun) -> None:
    if len(run.scores) == 1 and run.meaning is not Meaning.EACH:
        raise BadOption("The only class of this model always has probability 1. Use score='logit'.")
    if not run.meaning.has_probability:
        raise BadOption(NO_PROBABILITY)


def _read(run: ModelRun, scores: Tensor, score: str) -> Tensor:
    """The explained score of each row of logits (row, class): (row,)."""
    return run.target.of(probabilities(scores, run.meaning) if score == "probability" else scores.double())


METHOD = ModelMethod(
    name="occlusion",
    title="Occlusion",
    attribute=attribute,
    quantity=Quantity.SIGNED,
    formula="s_i = p_c(x) − p_c(x without token i)",
    paper=ZEILER_2014,
    cost="n forward passes",
    needs="scores of classes or next tokens, token ids",
)

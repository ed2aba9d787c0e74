"""The tokens of an answer explained together: one run of the model reads the rows that said them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contextmix.errors import TraceDoesNotAddUp
from contextmix.models.attribution import until
from contextmix.models.loaded_model import LoadedModel, own_probe
from contextmix.options.values import MEMORY_BUDGET
from contextmix.plugins.contracts import Measured
from contextmix.plugins.plan import Plan
from contextmix.results.token_map import TokenMap
from contextmix.traces.meaning import Meaning
from contextmix.traces.span_run import SpanRun
from contextmix.traces.target import Target
from contextmix.tracing.inputs.encode import stacked
from contextmix.tracing.inputs.targets import names_of
from contextmix.tracing.recording.quiet import on_device
from contextmix.tracing.runs.generate import Generated
from contextmix.tracing.runs.row_gradients import RowGradientsRun
from contextmix.tracing.runs.span import Reading
from contextmix.tracing.runs.spoken import spoken_run


def explained_span(
    loaded: LoadedModel, plans: Sequence[Plan], done: Generated, memory_budget: int, *, contrast: bool
) -> tuple[Generated, list[TokenMap]]:
    """What made each new token, by methods that read all of them in one run, which they share.

    Args:
        loaded: A causal language model.
        plans: Methods of the whole model for which `Plan.in_one_run` holds.
        done: A prompt and what follows it.
        memory_budget: Bytes that a method may use for its own tensors.
        contrast: Whether each new token is explained against its runner-up.

    Returns:
        The same generation, whose scores are those of this run; and for each plan dims (query, key): queries are the
        new tokens, keys all tokens, zero from the new token itself on.
    """
    with span_of(loaded, done, memory_budget, contrast=contrast) as run:
        found = [plan.steps(run) for plan in plans]
        for plan, each in zip(plans, found, strict=True):
            refuse_later(each.values.cpu().numpy(), done.start, plan.name)
        scores = run.scores  # by itself: what else was recorded is let go
    done = replace(done, scores=lambda: scores)
    return done, [_result(loaded, plan, done, each) for plan, each in zip(plans, found, strict=True)]


@contextmanager
def span_of(
    loaded: LoadedModel, done: Generated, memory_budget: int = MEMORY_BUDGET, *, contrast: bool = False
) -> Iterator[SpanRun]:
    """The rows that said the new tokens, while the model is this one's turn; see `explained_span`."""
    read = until(done.inputs, done.inputs.length - 1)
    tensors = stacked([read])
    with loaded.running(own_probe(tensors), tensors) as anatomy:
        loaded.prove_parity(tensors)
        rows = slice(done.start - 1, read.length)
        reading = Reading(loaded.model, anatomy, on_device(loaded.model, tensors), rows, causal=True)
        targets = tuple(_targets(loaded, done, contrast))
        run = reading.span(targets, Meaning.ONE_OF)
        assert run is not None  # its rows are known
        back = RowGradientsRun(loaded.model, anatomy, reading.tensors, -1, rows=rows, targets=targets)
        yield replace(run, record_gradients=back.recorded, memory_budget=memory_budget)


def explained_together(
    loaded: LoadedModel, plan: Plan, done: Generated, memory_budget: int
) -> tuple[Generated, TokenMap]:
    """What made all new tokens, as the one score that is the sum of their log-probabilities.

    Args:
        loaded: A causal language model.
        plan: A method of the whole model that explains such a score: `ModelMethod.together` is ``"score"``.
        done: A prompt and what follows it.
        memory_budget: Bytes that the method may use for its own tensors.

    Returns:
        The same generation, whose scores are those of this run if the method made one; and dims (key,): prompt and new
        tokens, zero for the last one, which nothing reads.
    """
    read = until(done.inputs, done.inputs.length - 1)
    tensors, ids = stacked([read]), done.inputs.tensors["input_ids"][done.start :]
    assert read.tokens is not None  # it is a text or token ids
    with loaded.running(own_probe(tensors), tensors) as anatomy:
        loaded.prove_parity(tensors)
        own = on_device(loaded.model, tensors)
        answer = (ids, "".join(done.new.pieces))
        heard: list[Tensor] = []
        run = spoken_run(loaded.model, anatomy, own, read.tokens, answer, memory_budget, heard.append)
        found = plan.attribute(run)
    if heard:
        done = replace(done, scores=lambda: heard[0])
    return done, _result(loaded, plan, done, found, target=answer[1])


def in_one(rows: TokenMap, *, of_model: bool) -> TokenMap:
    """The rows of new tokens as one: their sum, or of a mixing map their mean.

    Args:
        rows: Dims that end in (query, key).
        of_model: Whether a method of the whole model explained them.
    """
    axis, way = rows.dims.index("query"), "sum" if of_model else "mean"
    values = rows.values.sum(axis) if of_model else rows.values.mean(axis)
    dims = tuple(name for name in rows.dims if name != "query")
    made = rows.provenance.noting(together=way, target="".join(rows.query_tokens.pieces))
    return rows.derive(values=values, dims=dims, query_tokens=None, provenance=made)


def refuse_later(rows: NDArray[Any], start: int, name: str) -> None:
    """Rows that draw from what was said after them.

    Args:
        rows: (…, new token, key).
        start: The position of the first new token.
        name: Of the method.

    Raises:
        TraceDoesNotAddUp: If there is one.
    """
    later = np.triu(np.ones(rows.shape[-2:], dtype=bool), start)
    if rows[..., later].any():
        raise TraceDoesNotAddUp(
            f"{name} gives tokens a share in what was said before them: the model is not causal on this text, so the "
            "rows of one run are not those of the single steps. Explain each step with explain."
        )


def _targets(loaded: LoadedModel, done: Generated, contrast: bool) -> list[Target]:
    assert done.tokens.ids is not None
    new = done.tokens.ids[done.start :]
    names = names_of(loaded.model, loaded.tokenizer, loaded.model.get_output_embeddings().weight.shape[0])  # type: ignore[no-untyped-call]
    if not contrast:
        return [Target(number, names.name(number)) for number in new]
    pairs = zip(new, done.runners_up, strict=True)
    return [Target(number, names.name(number), foil, names.name(foil)) for number, foil in pairs]


def _result(loaded: LoadedModel, plan: Plan, done: Generated, found: Measured, **more: Any) -> TokenMap:
    """What was measured, with its labels: rows of new tokens over all tokens, or one row of all of them together."""
    values = torch.nn.functional.pad(found.values.detach().cpu(), (0, 1)).numpy()
    checks = {name: float(error) for name, error in found.checks.items()}
    notes = {name: note.tolist() if isinstance(note, torch.Tensor) else note for name, note in found.notes.items()}
    made = loaded.origin.provenance(checks, **plan.describe()).noting(**notes, **done.inputs.notes, **more)
    dims, rows = (("query", "key"), done.new) if values.ndim == 2 else (("key",), None)
    return TokenMap(values, dims, done.tokens, plan.quantity, made, query_tokens=rows)

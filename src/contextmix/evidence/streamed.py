"""Small numbers about each text that need its whole maps: measured text by text, kept, and gone on with.

`contextmix.run` keeps rows or whole maps. Here one text at a time is in memory, whatever the size of the data, and of
each only what an experiment asks for is kept: one line of JSON per text below the folder of results.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from contextmix.datasets.reading.problems import problem_of
from contextmix.datasets.reading.rows import Problem, Row
from contextmix.datasets.reading.source import Source, open_source
from contextmix.datasets.running.progress import reporter
from contextmix.datasets.running.stopping import stoppable
from contextmix.datasets.running.work import Advance
from contextmix.datasets.storage.identity import differences, model_identity
from contextmix.errors import BadFile, BadInput, BadOption, ContextMixError, Interrupted, OtherRun, UnsupportedModel
from contextmix.evidence.experiment import Setup
from contextmix.models.traced_encoder_decoder import TracedEncoderDecoder
from contextmix.models.traced_model import TracedModel
from contextmix.results.files import make_folder, write_atomically
from contextmix.tracing.inputs.encode import Inputs
from contextmix.tracing.inputs.probe import vocabulary
from contextmix.tracing.inputs.texts import encode

FIELDS = ("text_field", "pair_field", "label_field", "id_field", "query_field", "rationale_field", "split")
SCHEMA = 1

Measure = Callable[[Row, Inputs], Mapping[str, Any]]
"""A row and what the model reads of it → JSON values."""


@dataclass(frozen=True)
class Streamed:
    """What was found about each text.

    Attributes:
        entries: One per measured text in the order of the data: ``row``, ``tokens`` (their number), and what the
            measure gave.
        problems: Kind of problem → number of texts that have it, and no entry.
    """

    entries: Sequence[Mapping[str, Any]]
    problems: Mapping[str, int]


def source_of(setup: Setup) -> Source:
    """The rows of a setup."""
    return open_source(
        setup.data, **{name: setup.reading[name] for name in FIELDS if name in setup.reading}, limit=setup.limit
    )


def streamed(
    setup: Setup,
    name: str,
    measure: Measure,
    *,
    asked: Mapping[str, Any],
    most_tokens: int | None = None,
    models: Sequence[TracedModel] = (),
) -> Streamed:
    """Measure every text, or go on where an earlier call ended.

    Args:
        setup: What the experiment works on; texts that are too long are cut, unless its reading says otherwise.
        name: Of the file of results, ``texts/NAME.jsonl``.
        measure: What is kept of one text. A `ContextMixError` that it raises is recorded as a problem of the text;
            `BadOption` and `UnsupportedModel` end the work.
        asked: What decides the measure beside data and models, as JSON values.
        most_tokens: Cut texts to so many tokens; left out, to what the model reads.
        models: Others that take part, beside the one of the setup.

    Raises:
        OtherRun: If the file was made with other data, models or settings, or another process is writing it.
        BadFile: If the file is damaged.
        BadInput: If no text could be measured.
        Interrupted: If SIGTERM or Ctrl-C told it to stop.
    """
    model, source = setup.traced, source_of(setup)
    _refuse_readers(model, *models)
    limit = min((one for one in (model.limit, most_tokens) if one is not None), default=None)
    cut = bool(setup.reading.get("truncate", True))
    decides = {
        "schema": SCHEMA,
        "asked": {**asked, "limit": limit, "truncate": cut},
        "data": source.fingerprint,
        "fields": dict(zip(("text", "pair"), (source.fields.text, source.fields.pair), strict=True)),
        "models": [model_identity(one) for one in (model, *models)],
        "versions": dict(model.origin.versions),
    }
    path = setup.out / "texts" / f"{name}.jsonl"
    make_folder(path.parent)
    with _locked(path), stoppable() as stopped, reporter(source.count, show=setup.progress) as told:
        done = _kept(path, json.loads(json.dumps(decides)))
        told(Advance(len([row for row in done if row < source.count]), 0, 0, earlier=True))
        with path.open("a", encoding="utf-8") as file:
            for row in source.rows(0, source.count):
                if row.number in done:
                    continue
                entry = _measured(model, row, limit, measure, cut=cut)
                done[row.number] = entry
                _append(file, entry)
                told(Advance(1, entry.get("tokens", 0), "problem" in entry))
                if stopped():
                    raise Interrupted(
                        f"It was told to stop: {len(done):,} of {source.count:,} texts were measured. Run the same "
                        "command again to go on."
                    )
    return _found([done[number] for number in range(source.count)])


def _measured(model: TracedModel, row: Row, limit: int | None, measure: Measure, *, cut: bool) -> dict[str, Any]:
    if row.problem is not None or row.text is None:
        return _failed(row, row.problem)
    try:
        inputs = encode(model.tokenizer, row.text, limit, truncate=cut, known=vocabulary(model.model))
        return {"row": row.number, "tokens": inputs.length, **measure(row, inputs)}
    except (BadOption, UnsupportedModel):
        raise  # no fault of the text: the next ones would say the same
    except (ContextMixError, MemoryError) as failure:
        return _failed(row, problem_of(failure))


def _failed(row: Row, problem: Problem | None) -> dict[str, Any]:
    assert problem is not None
    return {"row": row.number, "problem": problem.kind, "reason": problem.reason}


def _found(lines: Sequence[Mapping[str, Any]]) -> Streamed:
    entries = [line for line in lines if "problem" not in line]
    failed = [line for line in lines if "problem" in line]
    if not entries:
        raise BadInput(f"None of the {len(lines):,} texts could be measured. The first one: {failed[0]['reason']}")
    return Streamed(entries, dict(Counter(line["problem"] for line in failed)))


# The file ------------------------------------------------------------------------------------------------------------


def _kept(path: Path, decides: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """What an earlier call kept, by row; a last line that was cut off is removed."""
    whole = b"".join(_whole_lines(path)) if path.exists() else b""
    lines = [_line(path, number, line) for number, line in enumerate(whole.splitlines())]
    if not lines:
        write_atomically(path, json.dumps(decides).encode() + b"\n", overwrite=True)
        return {}
    if changed := differences(decides, lines[0]):
        raise OtherRun(
            f"{path} was measured with other settings, so its numbers cannot be combined with new ones: "
            f"{'; '.join(changed[:5])}. Choose another folder, or remove the file."
        )
    if len(whole) < path.stat().st_size:
        write_atomically(path, whole, overwrite=True)
    return {line["row"]: line for line in lines[1:]}


def _line(path: Path, number: int, content: bytes) -> dict[str, Any]:
    """What a line says: the first one what decides the numbers, the others what was found about a text."""
    try:
        found = json.loads(content)
        sound = isinstance(found, dict) and (number == 0 or isinstance(found.get("row"), int))
    except (ValueError, RecursionError):
        sound = False
    if not sound:
        raise BadFile(
            f"Line {number + 1} of {path} is damaged, so the other lines cannot be trusted either. Remove the file "
            f"and run the same command again to measure its texts again."
        )
    return found  # type: ignore[no-any-return]


def _whole_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from (line for line in file if line.endswith(b"\n"))


def _append(file: IO[str], entry: Mapping[str, Any]) -> None:
    file.write(json.dumps(entry, allow_nan=False) + "\n")
    file.flush()


def _locked(path: Path) -> FileLock:
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OtherRun(f"Another process is writing {path} right now. Wait for it, or choose another folder.") from None
    return lock


def _refuse_readers(*models: TracedModel) -> None:
    for model in models:
        if isinstance(model, TracedEncoderDecoder):
            raise BadOption(
                f"{model.origin.model} is an encoder–decoder, with three kinds of attention. Give only its encoder: "
                "contextmix.load(model.get_encoder(), tokenizer)."
            )
        if model.tokenizer is None:
            raise BadOption("The experiment reads texts, but the model has no tokenizer. Pass one to contextmix.load.")

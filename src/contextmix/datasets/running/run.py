"""A data set of any size to a folder of results: one call that may be killed at any moment and then resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from contextmix.datasets.running.job import TASKS, Job
from contextmix.datasets.running.manifest import described
from contextmix.datasets.running.measure import Measurer
from contextmix.datasets.running.progress import Count, reporter
from contextmix.datasets.running.stopping import stoppable
from contextmix.datasets.running.work import Advance, Report, Work
from contextmix.datasets.running.workers import in_processes
from contextmix.datasets.storage.checksums import Record, Shape, checksums_of, number_of, trusted
from contextmix.datasets.storage.folder import RunFolder
from contextmix.datasets.storage.results import Run
from contextmix.errors import BadOption, ContextMixError, Interrupted, OutputUnwritable
from contextmix.options.option import declared, filled, takes
from contextmix.options.sets import Precision, RunOptions

TRIED = 16
"""Rows that are tried before a run is begun: what is wrong with all of them is wrong with the settings."""


@takes
def run(data: Any, out: Path | str, **options: Unpack[RunOptions]) -> Run:
    """Measure every text of a data set into a folder. Killed at any moment, the same call resumes where it stopped.

    Texts of equal length run together, so that nothing is padded; memory follows one shard, not the data set. Results
    are the same after any number of interruptions, and in every engine whose processes have as many threads each; other
    numbers of threads or tokens per batch change the last bits.

    Args:
        data: A file, a glob, several files (JSONL, CSV, TSV, Parquet, a text per line), a name for the library
            `datasets`, a DataFrame or a sequence of dictionaries; see `open_source`.
        out: The folder; new, empty, or of the same run.
        options: As declared in `contextmix.options.sets.RunOptions`.

    Returns:
        The results; see `Run`. Rows that could not be explained are in `Run.failures`, with their reasons.

    Raises:
        OtherRun: If the folder belongs to a run with other settings, data or model, or is not empty.
        Interrupted: If SIGTERM or Ctrl-C told it to stop, or the disk is full.
        BadRow: If a row fails and the run is strict.
        BadFile: If the data cannot be read.
        BadOption: If settings contradict each other.

    Example:
        >>> import tempfile
        >>> rows = [{"text": "a good film"}, {"text": "a bad film"}]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = run(rows, folder, methods="globenc", progress=False)
        ...     result.row(1).top(1)[0][0]
        'bad'
    """
    asked = filled(RunOptions, options, "run")
    task = TASKS[asked["task"]]
    task.refuse_foreign(options)
    settings = task.settings(asked)
    source = task.source(data, asked, settings)
    if asked["shard_size"] is None:
        settings = replace(settings, shard_size=task.shard_size(source.count))
    model = task.model if asked["model"] is None else asked["model"]
    named = {name: asked[name] for name in (*declared(Precision), "batch_tokens", "memory_budget", "strict")}
    job = Job(model, settings=settings, source=source, out=Path(out), retry=asked["retry_failed"], **named)
    engine = _engine(job, asked["engine"], asked["workers"], asked["address"])
    work = job.work()
    if asked["query_field"] is not None and isinstance(work.measurer, Measurer):
        work.measurer.refuse_query(f"query_field={asked['query_field']!r}")
    return _done(work, engine, asked["progress"])


def _done(work: Work, engine: Engine, progress: bool) -> Run:
    """All shards that are left, measured into the folder."""
    manifest = described(work)
    folder = work.folder
    with folder.locked(), reporter(work.source.count, show=progress) as told, stoppable() as stopped:
        begun = folder.open(manifest)
        there = folder.manifest()
        shards, known = _open_shards(work, told, checksums_of(there))
        summary = {name: there[name] for name in ("summary",) if isinstance(there.get(name), Mapping)}
        record = Record(folder, {**manifest, **summary}, known)
        with _forgotten(folder, begun):
            _try(work, shards)
        with _resumable(work), _recorded(record):
            for number in engine(work, manifest["model"], shards, told, stopped):
                record.add(number)
            record.keep(**({} if summary and not shards else {"summary": told.summary()}))
        folder.tidy()
    return Run(folder.path)


@contextmanager
def _forgotten(folder: RunFolder, begun: bool) -> Iterator[None]:
    """A run that is refused before its first row leaves nothing that other settings would differ from."""
    try:
        yield
    except ContextMixError:
        if begun:
            folder.forget()
        raise


@contextmanager
def _recorded(record: Record) -> Iterator[None]:
    """However the work ends, the manifest knows what was finished."""
    record.keep()
    try:
        yield
    except BaseException:
        with suppress(OutputUnwritable):  # the disk is full: what ended the work is told
            record.keep()
        raise


Engine = Callable[[Work, Mapping[str, Any], Sequence[int], Report, Callable[[], bool]], Iterator[int]]
"""Work, what the model must be, shards to finish, whom to tell, whether to stop → the shards as they are finished."""


def _engine(job: Job, engine: str, workers: int, address: str | None) -> Engine:
    """Who does the work; what cannot be is refused before it begins."""
    if engine not in ("local", "ray"):
        raise BadOption(f"engine={engine!r} is not known; it is 'local' or 'ray'.")
    if engine == "local" and address is not None:
        raise BadOption(f"address={address!r} is for a Ray cluster, but the engine is 'local'. Use engine='ray'.")
    if engine == "local" and workers == 1:
        return lambda work, identity, shards, report, stopped: work.run(shards, report, stopped)
    if not job.source.portable:
        raise BadOption(
            "The data is in this process's memory, which other processes cannot read. Use a file, or workers=1."
        )
    if functions := getattr(job.settings, "functions", ()):
        raise BadOption(
            f"{', '.join(functions)}: a function stays in the process that has it, and other processes cannot call it. "
            "Use workers=1, or leave it out."
        )
    if not isinstance(job.model, str | Path):
        raise BadOption(
            "A loaded model stays in the process that has it, and other processes load their own by name. Give the "
            "name or the folder of the model, or workers=1."
        )
    if engine == "local":
        return partial(in_processes, job, workers)
    from contextmix.datasets.running.cluster import on_ray

    return partial(on_ray, job, workers, address)


def _open_shards(work: Work, told: Count, known: Mapping[str, str]) -> tuple[list[int], dict[str, str]]:
    """The shards that are not finished, and the checksums of the others, of which it is told that they are there."""
    shape = Shape.of(work.measurer.settings, work.source.count)
    there, found = trusted(work.folder, shape, known)
    if work.retry:
        there = {number: (rows, failed) for number, (rows, failed) in there.items() if not failed}
    for rows, failed in there.values():
        told(Advance(rows, 0, failed, earlier=True))
    kept = {name: one for name, one in found.items() if number_of(name) in there}
    return [number for number in range(shape.count) if number not in there], kept


def _try(work: Work, shards: Sequence[int]) -> None:
    for number in shards[:1]:
        work.measurer.try_rows(list(islice(work.window(number), TRIED)))


@contextmanager
def _resumable(work: Work) -> Iterator[None]:
    """Whatever ends the work is told with what has been saved."""
    try:
        yield
    except (Interrupted, OutputUnwritable, KeyboardInterrupt) as end:
        full = isinstance(end, OutputUnwritable)
        if isinstance(end, OutputUnwritable):
            why = f"The run ended: {end.path} cannot be written ({end.reason})."
        else:
            why = str(end) or "Stopped at once."  # a second Ctrl-C says nothing
        rows, size = work.source.count, work.measurer.settings.shard_size
        raise Interrupted(
            f"{why} What was written so far is valid: {work.folder.saved(-(-rows // size)):,} of {rows:,} rows are "
            f"saved. "
            f"{'Make room, and r' if full else 'R'}un the same command again to resume."
        ) from end

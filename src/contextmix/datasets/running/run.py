"""A data set of any size to a folder of results: one call that may be killed at any moment and goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from contextmix.datasets.reading.source import open_source
from contextmix.datasets.running.job import Job
from contextmix.datasets.running.manifest import described
from contextmix.datasets.running.measure import BATCH_TOKENS, Ready
from contextmix.datasets.running.progress import Count, reporter
from contextmix.datasets.running.stopping import stoppable
from contextmix.datasets.running.work import Advance, Report, Work
from contextmix.datasets.running.workers import in_processes
from contextmix.datasets.storage.results import Run
from contextmix.datasets.storage.settings import GOLD, RANDOMISED, REFERENCE, SHARD_SIZE, Settings
from contextmix.errors import BadOption, Interrupted, OutputUnwritable
from contextmix.models.loaded_model import MEMORY_BUDGET
from contextmix.models.predictor import Removal
from contextmix.plugins.scoring import METRICS
from contextmix.tracing.inputs.targets import Asked

TRIED = 16
"""Rows that are tried before a run is begun: what is wrong with all of them is wrong with the settings."""


def run(
    data: Any,
    out: Path | str,
    *,
    model: Any = "demo",
    methods: str | Sequence[str] = "globenc",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    query: int | str | None = None,
    target: Asked = None,
    layers: Literal["all"] | Sequence[int] | None = None,
    words: bool = False,
    maps: bool = False,
    truncate: bool = False,
    metrics: str | Sequence[str] = (),
    metric_options: Mapping[str, Mapping[str, Any]] | None = None,
    reference: str = REFERENCE,
    removal: Removal = "mask",
    seed: int = 0,
    randomised_rows: int | None = None,
    text_field: str | None = None,
    pair_field: str | None = None,
    label_field: str | None = None,
    id_field: str | None = None,
    query_field: str | None = None,
    rationale_field: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    shard_size: int = SHARD_SIZE,
    batch_tokens: int = BATCH_TOKENS,
    memory_budget: int = MEMORY_BUDGET,
    device: str | None = None,
    dtype: str = "float32",
    workers: int = 1,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    strict: bool = False,
    retry_failed: bool = False,
    progress: bool = True,
) -> Run:
    """Measure every text of a data set into a folder. Killed at any moment, the same call goes on where it was.

    Texts of equal length run together, so that nothing is padded; memory follows one shard, not the data set. Results
    are the same after any number of interruptions, and in every engine whose processes have as many threads each; other
    numbers of threads or tokens per batch change the last bits.

    Args:
        data: A file, a glob, several files (JSONL, CSV, TSV, Parquet, a text per line), a name for the library
            `datasets`, a DataFrame or a sequence of dictionaries; see `open_source`.
        out: The folder; new, empty, or of the same run.
        model: What `load` takes, or a model that it gave (then in this process only).
        methods: Recipes, mixing maps and methods of the whole model; one run of the model serves all mixing maps.
        options: Method → its options, such as ``{"value_zeroing": {"distance": "euclidean"}}``.
        query: The token whose row is kept, by text or position; left out, the first one, or the last of a causal model.
        target: What methods of the whole model explain, as for `TracedModel.explain`; ``"gold"`` for each row's label,
            ``"all"`` for all classes.
        layers: Blocks to keep, or ``"all"``; left out, the last one.
        words: Merge sub-words.
        maps: Keep the whole maps too: n² numbers per text and method.
        truncate: Cut texts that are too long; otherwise they are recorded as failures.
        metrics: Computed for every method on every text, in columns ``metric:method``; see `contextmix.metrics`. Where
            one is not defined for a text there is no number but a reason, in the notes.
        metric_options: Metric → its options.
        reference: The method that metrics against a reference compare with; it is measured too.
        removal: What stands in the place of a token that is taken away, for metrics that ask the model; see
            `contextmix.models.predictor`.
        seed: Of the random weights of the metric ``randomised_weights``.
        randomised_rows: The first rows, for which alone this metric is computed; left out, all.
        text_field: Column of the texts; left out, see `open_source`.
        pair_field: Column of the second texts.
        label_field: Column of the labels.
        id_field: Column of the ids.
        query_field: Column of each row's own query, by text or position; instead of ``query``.
        rationale_field: Column of what people marked, for metrics against a rationale: 0 or 1 per word, [start, end)
            of characters, or such lists of several annotators.
        split: Of a data set by name.
        limit: Only so many rows.
        shard_size: Rows that are bucketed and written together.
        batch_tokens: Tokens that run together at most; other sizes change the last bits of the numbers.
        memory_budget: Bytes that a batch may take by estimate, beside the model.
        device: Where to run, such as ``"cuda"``.
        dtype: Precision in which a named model is loaded.
        workers: Processes, each with its own copy of the model; of ``engine="ray"`` the actors.
        engine: ``"local"`` or ``"ray"``.
        address: Of a Ray cluster; left out, one is started here.
        strict: End with an error at the first row that fails.
        retry_failed: Measure rows again that failed before.
        progress: Show how far it has come, on the standard error stream.

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
        ...     found = run(rows, folder, methods="globenc", progress=False)
        ...     found.row(1).top(1)[0][0]
        'bad'
    """
    names, judges = _names(methods), _names(metrics)
    if reference not in names and any(METRICS[one].against == "reference" and one != RANDOMISED for one in judges):
        names = (*names, reference)
    asked = (query, target, layers, words, maps, truncate, shard_size)
    own = {name.replace("-", "_"): chosen for name, chosen in (options or {}).items()}
    theirs = {name.replace("-", "_"): chosen for name, chosen in (metric_options or {}).items()}
    judging = (judges, theirs, reference, removal, seed, randomised_rows)
    settings = Settings(names, own, *asked, *judging)
    if query is not None and query_field is not None:
        raise BadOption(f"query={query!r} is one for all rows, query_field={query_field!r} one for each. Give one.")
    if settings.needs("rationale") and rationale_field is None:
        raise BadOption(
            f"{', '.join(judges)}: at least one of these compares scores with what people marked. Name the column that "
            "holds it with rationale_field (--rationale-field), or leave such metrics out."
        )
    fields = {"text_field": text_field, "pair_field": pair_field, "label_field": label_field, "id_field": id_field}
    more = {"query_field": query_field, "rationale_field": rationale_field}
    source = open_source(data, **fields, **more, split=split, limit=limit)
    if target == GOLD and source.fields.label is None:
        raise BadOption("target='gold' explains the label of each text, and the data has none. Name its label_field.")
    reading = (batch_tokens, memory_budget, strict, retry_failed)
    job = Job(model, dtype, device, settings, source, Path(out), *reading)
    engines = _engine(job, engine, workers, address)
    work = job.work()
    if query_field is not None:
        work.measurer.refuse_query(f"query_field={query_field!r}")
    manifest = described(work)
    folder = work.folder
    with folder.locked(), reporter(source.count, show=progress) as told, stoppable() as stopped:
        folder.open(manifest)
        shards = _open_shards(work, told)
        _try(work, shards)
        with _resumable(work):
            for _ in engines(work, manifest["model"], shards, told, stopped):
                pass
            if shards or "summary" not in folder.manifest():
                folder.write_manifest({**manifest, "summary": told.summary()})
        folder.tidy()
    return Run(folder.path)


def _names(asked: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(name.replace("-", "_") for name in ([asked] if isinstance(asked, str) else asked))


Engine = Callable[[Work, Mapping[str, Any], Sequence[int], Report, Callable[[], bool]], Iterator[int]]
"""Work, what the model must be, shards to finish, whom to tell, whether to stop → the shards as they are finished."""


def _engine(job: Job, engine: str, workers: int, address: str | None) -> Engine:
    """Who does the work; what cannot be is refused before it begins."""
    if engine not in ("local", "ray"):
        raise BadOption(f"engine={engine!r} is not known; it is 'local' or 'ray'.")
    if not isinstance(workers, int) or workers < 1:
        raise BadOption(f"workers={workers!r} is a number of processes, at least 1.")
    if engine == "local" and address is not None:
        raise BadOption(f"address={address!r} is that of a Ray cluster, and the engine is 'local'. Say engine='ray'.")
    if engine == "local" and workers == 1:
        return lambda work, identity, shards, report, stopped: work.run(shards, report, stopped)
    if not job.source.portable:
        raise BadOption(
            "The data is in the memory of this process, and other processes cannot read it. Give a file, or workers=1."
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


def _open_shards(work: Work, told: Count) -> list[int]:
    """The shards that are not finished; of the others it is told that they are there."""
    size, rows = work.measurer.settings.shard_size, work.source.count
    count = -(-rows // size)
    there = work.folder.finished(count)
    if work.retry:
        there = {number: (rows, failed) for number, (rows, failed) in there.items() if not failed}
    for rows, failed in there.values():
        told(Advance(rows, 0, failed, earlier=True))
    return [number for number in range(count) if number not in there]


def _try(work: Work, shards: Sequence[int]) -> None:
    for number in shards[:1]:
        rows = list(islice(work.window(number), TRIED))
        gold = work.measurer.settings.target == GOLD
        ready = [one for one in work.measurer.read(rows) if isinstance(one, Ready)]
        work.measurer.try_one([one for one in ready if not gold or one.row.label is not None])


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
            f"{why} What was written is valid: {work.folder.saved(-(-rows // size)):,} of {rows:,} rows are saved. "
            f"{'Make room, and r' if full else 'R'}un the same command again to go on."
        ) from end

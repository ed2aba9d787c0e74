"""The contract of an experiment, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from contextmix.datasets.running.run import run
from contextmix.datasets.storage.results import Run
from contextmix.errors import BadOption
from contextmix.evidence.report import Report
from contextmix.models.traced_model import TracedModel
from contextmix.models.verbs import load
from contextmix.options.option import declared
from contextmix.options.sets import Precision
from contextmix.plugins.papers import Paper
from contextmix.plugins.registry import Registry


@dataclass(frozen=True)
class Setup:
    """What an experiment works on.

    Attributes:
        model: What `load` takes, or a model that it gave.
        data: What `run` takes: a file, several, a name; None where the experiment needs none.
        out: The folder of its results; runs over the data lie below it and are gone on with.
        limit: Only so many rows.
        seed: Random seed.
        reading: Further arguments of `run`: names of fields, ``device``, ``workers``, ``batch_tokens`` …
        progress: Whether progress is shown.
        other_model: A second model, for experiments that compare two, such as the same one before it was fine-tuned.
        tags_field: The column of the data with one part of speech per word, for experiments that need them.
        tagger: The spaCy pipeline that finds them otherwise, such as ``"en_core_web_sm"``.
    """

    model: Any
    data: Any
    out: Path
    limit: int | None = None
    seed: int = 0
    reading: Mapping[str, Any] = field(default_factory=dict)
    progress: bool = True
    other_model: Any = None
    tags_field: str | None = None
    tagger: str | None = None

    @cached_property
    def traced(self) -> TracedModel:
        """The model, loaded once."""
        return self._loaded(self.model)

    @cached_property
    def other(self) -> TracedModel:
        """The second model, loaded once.

        Raises:
            BadOption: If there is none.
        """
        if self.other_model is None:
            raise BadOption(
                "This experiment compares two models: name the second one with other_model (--other-model)."
            )
        return self._loaded(self.other_model)

    def _loaded(self, model: Any) -> TracedModel:
        if isinstance(model, TracedModel):
            return model
        return load(model, **{name: self.reading[name] for name in declared(Precision) if name in self.reading})

    def measured(self, name: str, *, data: Any = None, **settings: Any) -> Run:
        """A run over the data, in the folder ``runs/NAME``; one that is there is gone on with.

        Args:
            name: Of its folder: experiments that ask for the same name and settings share it.
            data: Instead of the data of all experiments: what one made of it.
            settings: Further arguments of `run`, such as ``methods`` and ``layers``.
        """
        given = {"limit": self.limit, "truncate": True, **self.reading, **settings}
        spread = given.get("workers", 1) > 1 or given.get("engine", "local") != "local"
        model = self.model if spread else self.traced
        source = self.data if data is None else data
        return run(source, self.out / "runs" / name, model=model, progress=self.progress, **given)


def setup_of(
    data: Any, out: Path | str, asked: Mapping[str, Any], given: Mapping[str, Any], own: Collection[str]
) -> Setup:
    """What an experiment works on.

    Args:
        data: What `run` takes.
        out: The folder of its results.
        asked: All options of the verb.
        given: Those that were given.
        own: Options that the verb uses itself; the others go on to each run over the data, where they were given.
    """
    fields = {name: asked[name] for name in ("model", "limit", "seed", "progress")}
    reading = {
        name: value for name, value in given.items() if name not in own and name not in fields and value is not None
    }
    return Setup(data=data, out=Path(out), reading=reading, **fields)


@dataclass(frozen=True)
class Experiment:
    """One table or figure of a paper.

    Attributes:
        study: The paper, as in ``contextmix reproduce STUDY``.
        name: Which one, as in ``--only NAME``; the file is called ``STUDY_NAME``.
        title: What it asks, in a sentence.
        paper: Source.
        run: ``run(setup) -> Report``.
        needs: What data and model must have, for people.
    """

    study: str
    name: str
    title: str
    paper: Paper
    run: Callable[[Setup], Report]
    needs: str


EXPERIMENTS: Registry[Experiment] = Registry("contextmix.experiments", "EXPERIMENT", "experiment")

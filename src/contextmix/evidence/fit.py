"""Learn on a user's own texts what each head says of the sources of an answer, and show on others what it is worth."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import Progress
from typing_extensions import Unpack

from contextmix.errors import BadInput, BadOption
from contextmix.evidence.learning import Judged, Learner, Numbers, answers_of, each, parted, source_of
from contextmix.evidence.report import Report, Table
from contextmix.maths.learned import chosen_pull, fitted_weights
from contextmix.models.generate import refuse_other_models
from contextmix.models.traced_model import TracedModel
from contextmix.models.verbs import load
from contextmix.options.option import declared, filled, takes
from contextmix.options.sets import FitOptions, Precision
from contextmix.plugins.sources import lds
from contextmix.results.files import refuse_place
from contextmix.results.learned import Learned, refuse_ending
from contextmix.statistics.significance import holm, paired_test
from contextmix.statistics.summaries import interval
from contextmix.tracing.inputs.placing import refuse_template

FEWEST = 6
"""Answers to learn from; as many are held out at least."""
LEARNED = "learned"


@takes
def fit(data: Any, out: Path | str, **options: Unpack[FitOptions]) -> Report:
    """Learn one weight per layer and head, so that one pass predicts what taking sources away does to an answer.

    Each row is answered (or holds an answer), and the model is asked about the answer with random halves of the sources
    masked. Weights are learned on some answers and judged on others by their LDS: Spearman's correlation of what the
    scores predict and what the model says, over masks that nothing was fitted on. Use them as the method ``learned``
    with the option ``weights=out``.

    Args:
        data: What `run` takes: rows with a question, a context and perhaps an answer; or with ``text_field`` plain
            texts, whose sentences are the sources of what the model writes behind them.
        out: The file, which ends in ``.safetensors``. It is written only if the weights order held-out answers better
            than the mean of the same maps.
        options: As declared in `contextmix.options.sets.FitOptions`.

    Returns:
        The held-out figures, beside the mean, attention, evidence, recency and ContextCite.

    Raises:
        BadInput: If there are too few answers, or the weights do not beat the mean: nothing is written then, and the
            message holds the figures.
        BadOption: If an option has no meaning here, or scikit-learn is missing for ContextCite.
        OutputExists: If the file exists and may not be replaced.
        UnsupportedModel: If the model does not say what comes next, or has no such maps.
    """
    start = time.monotonic()
    asked = filled(FitOptions, options, "fit")
    refuse_ending(out)
    refuse_place(Path(out), asked["overwrite"])
    refuse_template(asked["template"])
    _refuse_passes(asked["passes"])
    model = _loaded(asked, options)
    refuse_other_models(model.model)
    source = source_of(data, asked)
    learner = Learner(model, asked)
    with Progress(console=Console(stderr=True), disable=not asked["progress"], transient=True) as bar:
        task = bar.add_task("answers", total=source.count)
        found, problems = answers_of(learner, source, lambda number: bar.update(task, completed=number + 1))
        held_out = _held_out(len(found), asked["held_out"], problems)
        own, others = parted(len(found), held_out, asked["seed"])
        task = bar.add_task("learning", total=len(own))
        examples = [_stepped(bar, task, learner.example(one)) for one in each(own, found)]
        pull = chosen_pull(examples)
        theta = fitted_weights(examples, pull)
        learning = time.monotonic() - start
        task = bar.add_task("held out", total=len(others))
        judged = [_stepped(bar, task, learner.judged(one)) for one in each(others, found)]
    values = held_out_lds(judged, theta)
    table = _table(values, f"mean of {asked['feature']}")
    record = {
        "model": model.origin.model,
        "versions": dict(model.origin.versions),
        "data": dict(source.fingerprint),
        "answers": {"learned from": len(own), "held out": len(others), "left out": problems},
        "asked": {name: asked[name] for name in ("feature", "masks", "seed", "sources", "max_new_tokens", "template")},
        "pull": pull,
        "held_out_lds": {name: float(np.mean(one["LDS"])) for name, one in values.items()},
        "p_values": {name: one for name, one in table.numbers["p against learned"].items() if name != LEARNED},
        "seconds": {"learning": round(learning, 1), "all": round(time.monotonic() - start, 1)},
    }
    report = Report("fit", "Learned weights of heads", _words(values, record, out), [table], record=record)
    _refuse_no_better(values, asked["feature"], report)
    assert learner.shape is not None  # there were examples
    ends = np.cumsum(learner.shape.heads)[:-1]
    Learned(asked["feature"], tuple(np.split(theta, ends)), learner.shape.sizes, record).save(out, asked["overwrite"])
    return report


def held_out_lds(judged: Sequence[Judged], theta: Numbers) -> dict[str, dict[str, list[float]]]:
    """Method → column → one LDS per held-out answer; 0 where scores order nothing.

    Args:
        judged: The held-out answers.
        theta: (head,): the learned weights.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for one in judged:
        for name, scores in {LEARNED: one.example.maps @ theta, **one.scores}.items():
            for column, counted in (("LDS", False), ("count removed", True)):
                value = lds(scores, one.example.masks, one.log_probs, count_removed=counted).value
                found.setdefault(name, {}).setdefault(column, []).append(0.0 if value is None else value)
    return found


def _table(values: Mapping[str, Mapping[str, Sequence[float]]], mean: str) -> Table:
    """Means with intervals, and the paired tests of the learned weights against each other method."""
    others = [name for name in values if name != LEARNED]
    tests = {name: paired_test(values[LEARNED]["LDS"], values[name]["LDS"]) for name in others}
    known = [name for name in others if tests[name].p_value is not None]
    corrected = dict(zip(known, holm([tests[name].p_value or 0.0 for name in known]).tolist(), strict=True))
    rows, shown = {}, {}
    for name, columns in values.items():
        bounds = interval(columns["LDS"])
        numbers = {"LDS": float(np.mean(columns["LDS"])), "low": bounds.low, "high": bounds.high}
        numbers["count removed"] = float(np.mean(columns["count removed"]))
        rows[name] = {**numbers, "p against learned": corrected.get(name)}
        p = corrected.get(name)
        between = "" if bounds.low is None else f" [{bounds.low:.2f}, {bounds.high:.2f}]"
        shown[name] = {
            "LDS ↑": f"{numbers['LDS']:.2f}{between}",
            "count removed ↑": f"{numbers['count removed']:.2f}",
            "learned minus it": "" if name == LEARNED else f"{tests[name].difference:+.2f}",
            "p": "" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001",
        }
    caption = (
        f"Held-out answers: {len(values[mean]['LDS'])}. Mean LDS [95 % interval]; the same with a straight line in the "
        "number of kept sources taken out; paired permutation tests of learned against each, Holm-corrected."
    )
    frames = (pd.DataFrame.from_dict(one, orient="index").rename_axis("method") for one in (rows, shown))
    return Table("fit", caption, *frames)


def _words(values: Mapping[str, Any], record: Mapping[str, Any], out: Path | str) -> list[str]:
    counts, seconds = record["answers"], record["seconds"]
    said = [
        f"Learned from {counts['learned from']} answers in {seconds['learning']:.0f} s (λ = {record['pull']}), judged "
        f"on {counts['held out']} others."
    ]
    said += [f"Left out: {number} × {why}" for why, number in counts["left out"].items()]
    return [*said, f'Use them as method="learned", weights="{out}".']


def _refuse_no_better(values: Mapping[str, Any], feature: str, report: Report) -> None:
    """Weights that were not worth learning are not kept: whoever finds the file would take them for better."""
    own, mean = (float(np.mean(values[name]["LDS"])) for name in (LEARNED, f"mean of {feature}"))
    if own <= mean:
        figures = "; ".join(f"{name} {np.mean(one['LDS']):.3f}" for name, one in values.items())
        raise BadInput(
            f"The learned weights are no better than the mean of the same maps on held-out answers (LDS: {figures}), "
            f"so they were not saved. Learn from more than {report.record['answers']['learned from']} answers, or "
            f"answers with "
            "more sources; or use the method evidence, which needs no learning."
        )


def _held_out(count: int, asked: int | None, problems: Mapping[str, int]) -> int:
    held_out = max(FEWEST, count // 3) if asked is None else asked
    if count - held_out < FEWEST:
        why = "".join(f" {number} × {reason}" for reason, number in list(problems.items())[:3])
        raise BadInput(
            f"{count} answers can be learned from or held out, and {held_out} held out leave "
            f"{max(0, count - held_out)} to learn from; {FEWEST} are the fewest, and some dozens are "
            "usual. Give more rows." + (f" Left out were:{why}" if why else "")
        )
    return held_out


def _refuse_passes(passes: Sequence[Any]) -> None:
    for one in passes:
        if not isinstance(one, int) or isinstance(one, bool) or not 4 <= one <= 4096:
            raise BadOption(
                f"passes={list(passes)!r:.80} are numbers of runs that ContextCite is fitted on, 4 to 4096."
            )
    if passes and find_spec("sklearn") is None:
        raise BadOption('ContextCite needs scikit-learn: pip install "contextmix[answers]", or passes=[].')


def _loaded(asked: Mapping[str, Any], given: Mapping[str, Any]) -> TracedModel:
    model = asked["model"]
    if isinstance(model, TracedModel):
        return model
    return load(model, **{name: given[name] for name in declared(Precision) if given.get(name) is not None})


def _stepped(bar: Progress, task: Any, found: Any) -> Any:
    bar.advance(task)
    return found

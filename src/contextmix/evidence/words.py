"""A comparison in plain sentences: what is significant, what is not, and what could not be said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from contextmix.evidence.contest import ALPHA, BASELINES, Contest, Entry

FEW_NAMES = 6


def sentence(found: Contest) -> str:
    """One metric.

    Example:
        >>> from contextmix.plugins.contracts import Scored
        >>> from contextmix.evidence.contest import contest
        >>> sentence(contest("aopc", {"a": [Scored(0.5)] * 8}, higher=True))
        'aopc: a comparison needs a number for at least 10 texts, and there are 8, so none is called best.'
    """
    best = found.best
    if best is None:
        reasons = Counter(reason for one in found.entries for reason in one.summary.undefined)
        why = f" ({listed(list(reasons))})" if reasons else ""
        return f"{found.label}: {_too_few(found)}{why}, so none is called best."
    better = "more" if found.higher else "less"
    head = f"{found.label} ({better} is better): {best.method} has the best mean"
    parts = [f"{head}, {in_numbers(best)}, of {_texts(best, found)}."]
    compared = [one for one in found.entries if one.test is not None and one.method not in BASELINES]
    if found.level:
        names = listed([f"{one.method} (p = {_p(one)})" for one in found.level])
        parts.append(f"Not significantly different: {names}.")
    elif compared:
        each = f"Each of the other {len(compared)} methods"
        parts.append(f"{each if len(compared) > 1 else compared[0].method} is worse.")
    for one in found.baselines:
        parts += _about(found, one)
    for one in found.entries:
        if one.out.startswith("values for"):
            parts.append(f"{one.method} is not compared: {one.out}.")
    return " ".join(parts)


def check_sentence(found: Contest) -> str:
    """The check with random weights, which has no winner."""
    known = [one for one in found.entries if one.summary.mean is not None and not one.out]
    if not known:
        return f"{found.label}: {_too_few(found)}."
    kept = [one for one in known if (one.interval.low or 0) > 0.5]
    need = [one for one in known if one not in kept]
    parts = [f"{found.label}: with random weights instead of the trained ones, on {found.texts} texts,"]
    if kept:
        names = listed([f"{one.method} ({in_numbers(one)})" for one in kept])
        parts.append(
            f"the order of the tokens stays much the same (Spearman's ρ above 0.5) for {names}: much of what they show "
            f"is the text or the architecture, not what was learnt. {len(need)} other "
            f"{'method changes' if len(need) == 1 else 'methods change'} more."
        )
    else:
        most = max(need, key=lambda one: one.summary.mean or 0.0)
        parts.append(
            f"the order of the tokens changes for every method; it is kept most by {most.method} ({in_numbers(most)})."
        )
    return " ".join(parts)


def overall(contests: Sequence[Contest], about: str) -> str:
    """Which methods are best, or level with the best, most often.

    Args:
        contests: Those that have a best method are counted.
        about: What the metrics are about.
    """
    counted = [one for one in contests if one.best is not None]
    if len(counted) < 2:
        return ""
    wins = Counter(entry.method for one in counted for entry in [one.best, *one.level] if entry is not None)
    top = max(wins.values())
    names = listed([method for method, count in wins.items() if count == top])
    following = [f"{method} ({count})" for method, count in wins.most_common() if count < top][:3]
    more = f" Next: {listed(following)}." if following else ""
    return (
        f"Of the {len(counted)} metrics {about}, most often best or not significantly worse than the best: {names} "
        f"({top} of {len(counted)}).{more}"
    )


def labels_said(frame: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """How labels and predictions fit together.

    Args:
        frame: With the columns ``label`` and ``prediction``.
        classes: The names of the model's classes, in order; empty for a model without.

    Example:
        >>> labels_said(pd.DataFrame({"label": ["1", "0"], "prediction": ["pos", "pos"]}), ["neg", "pos"])
        ['The model predicts the label of 50 % of the 2 labelled texts (neg 1, pos 1).']
    """
    known = frame[frame["label"].notna()]
    if not classes or known.empty:
        return ["The data has no labels, so the model's accuracy is not reported."] if classes else []
    names = {str(number): name for number, name in enumerate(classes)} | {name: name for name in classes}
    said = known["label"].map(names)
    if said.isna().any():
        strange = sorted(set(known["label"][said.isna()]))
        return [
            f"Labels that are no classes of the model: {listed(strange)}. It has {listed(list(classes))}. Accuracy "
            f"is not reported, and target='gold' would not work. No metric here uses labels."
        ]
    counts = Counter(said)
    right = (said == known["prediction"]).mean()
    numbers = ", ".join(f"{name} {counts[name]:,}" for name in classes)
    found = [f"The model predicts the label of {100 * right:.0f} % of the {len(known):,} labelled texts ({numbers})."]
    empty = [name for name in classes if not counts[name]]
    if empty:
        found.append(f"No text has the label {listed(empty)}: the results hold for the other classes.")
    return found


def in_numbers(one: Entry) -> str:
    """Mean and interval.

    Example:
        >>> from contextmix.statistics.summaries import Interval, Summary
        >>> in_numbers(Entry("a", Summary(0.5, 0.1, 20, {}), Interval(0.46, 0.54, 0.95, "bootstrap")))
        '0.50 [0.46, 0.54]'
    """
    if one.summary.mean is None:
        return "–"
    if one.interval.low is None or one.interval.high is None:
        return f"{one.summary.mean:.2f}"
    return f"{one.summary.mean:.2f} [{one.interval.low:.2f}, {one.interval.high:.2f}]"


def listed(names: Sequence[str]) -> str:
    """Names as in a sentence, the first of many.

    Example:
        >>> listed(["a", "b", "c"])
        'a, b and c'
    """
    if len(names) > FEW_NAMES:
        return ", ".join(names[: FEW_NAMES - 1]) + f" and {len(names) - FEW_NAMES + 1} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def undefined_said(contests: Sequence[Contest]) -> list[str]:
    """Which metrics have no number for some texts and why, those alike together."""
    together: dict[str, list[str]] = {}
    for found in contests:
        reasons: dict[str, int] = {}
        for one in found.entries:
            for reason, count in one.summary.undefined.items():
                reasons[reason] = max(reasons.get(reason, 0), count)
        counted = sorted(reasons.items(), key=lambda pair: -pair[1])
        if counted:
            together.setdefault("; ".join(f"{count:,} × {why}" for why, count in counted), []).append(found.label)
    return [
        f"No number for some texts, by {listed(names)}: {why} (of a method at most)." for why, names in together.items()
    ]


def left_out(what: str, reasons: Mapping[str, str]) -> list[str]:
    """Who takes no part and why, those with one reason together.

    Example:
        >>> left_out("Metrics", {"a": "slow", "b": "slow", "c": "alike"})
        ['Metrics left out: a and b (slow); c (alike).']
    """
    together: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        together.setdefault(reason.rstrip("."), []).append(name)
    said = "; ".join(
        f"{', '.join(names[:-1])}{' and ' * (len(names) > 1)}{names[-1]} ({why})" for why, names in together.items()
    )
    return [f"{what} left out: {said}."] if said else []


def _about(found: Contest, one: Entry) -> list[str]:
    """Whether the best method beats a baseline, and which methods do not."""
    name, beats, below = BASELINES[one.method], found.beats(one.method), found.not_above(one.method)
    if beats is None:
        return [f"Whether it beats {name} cannot be tested: {one.test.reason if one.test else one.out}."]
    if not beats:
        return [f"It does not beat {name} ({in_numbers(one)}, p = {_p(one)}), and so no method does."]
    said = [f"It beats {name} ({in_numbers(one)}, p = {_p(one)})."]
    return [*said, *([f"No better than {name} by the mean: {listed(below)}."] if below else [])]


def _texts(best: Entry, found: Contest) -> str:
    return (
        f"{best.summary.count} texts"
        if best.summary.count == found.texts
        else f"{best.summary.count} of {found.texts} texts"
    )


def _too_few(found: Contest) -> str:
    if found.texts < 10:
        return f"a comparison needs a number for at least 10 texts, and there are {found.texts}"
    return f"no method has a number for at least 10 of the {found.texts} texts"


def _p(one: Entry) -> str:
    assert one.p_value is not None
    return f"{one.p_value:.2g}" if one.p_value >= ALPHA else f"{one.p_value:.1g}"

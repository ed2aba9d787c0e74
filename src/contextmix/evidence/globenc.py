"""What GlobEnc's experiments share: its methods by their names in the paper, and how they agree with saliency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.dataset as ds

from contextmix.datasets.storage.results import Run
from contextmix.evidence.experiment import Setup
from contextmix.evidence.labelled import Labelled, labelled
from contextmix.plugins.contracts import Scored
from contextmix.plugins.scoring import score
from contextmix.statistics.summaries import Summary

MAPS = {
    "W": "attention",
    "W_FixedRes": "attention_fixed_residual",
    "W_Res": "attention_residual",
    "N": "norm",
    "N_FixedRes": "norm_fixed_residual",
    "N_Res": "norm_residual",
    "N_ResLN": "norm_attention_block",
    "N_Enc": "norm_encoder",
}
"""Name in the paper → name of the map here. The rollout of the last one is GlobEnc."""

SALIENCY = "gradient_inputs"
"""‖∂y_c/∂e⁰ ⊙ e⁰‖ of each token, with the logit of the true class and the output of the embedding layer."""

KINDS = ("single", "rollout")


def column_of(kind: str, name: str) -> str:
    """The column of a run: a map alone, or its rollout.

    Example:
        >>> column_of("rollout", "N_Enc"), column_of("single", "N_Enc")
        ('norm_encoder+rollout', 'norm_encoder')
    """
    return MAPS[name] + ("+rollout" if kind == "rollout" else "")


def saliency_run(setup: Setup) -> tuple[Run, Labelled]:
    """The [CLS] row of every map and rollout in every layer, and the saliency, of all texts; shared by experiments.

    Raises:
        BadInput: If the data have no labels, or labels that are no classes of the model.
        UnsupportedModel: If the model is no classifier.
    """
    found = labelled(setup)
    columns = [column_of(kind, name) for kind in reversed(KINDS) for name in MAPS]
    return setup.measured("saliency", methods=[*columns, SALIENCY], target="gold", layers="all"), found


@dataclass(frozen=True)
class Agreement:
    """Spearman's ρ with saliency of every text; entries without a value say why.

    Attributes:
        outcomes: (kind, name in the paper) → layer → text.
    """

    outcomes: Mapping[tuple[str, str], Sequence[Sequence[Scored]]]

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return len(next(iter(self.outcomes.values())))

    def last(self, kind: str = "rollout") -> dict[str, Sequence[Scored]]:
        """Name in the paper → text, at the last layer."""
        return {name: layers[-1] for (own, name), layers in self.outcomes.items() if own == kind}


def agreement(run: Run, kinds: Sequence[str] = KINDS, *, last: bool = False) -> Agreement:
    """The rank correlation of each row with the saliency of the same tokens, special ones included.

    Args:
        run: Of `saliency_run`.
        kinds: ``"single"`` layers, their ``"rollout"``, or both.
        last: Only the last layer.
    """
    columns = {(kind, name): column_of(kind, name) for kind in kinds for name in MAPS}
    outcomes: dict[tuple[str, str], list[list[Scored]]] = {}
    wanted = ds.field("problem").is_null()
    for batch in run.dataset.to_batches(columns=[*columns.values(), SALIENCY], filter=wanted):
        for row in batch.to_pylist():
            saliency = np.array(row[SALIENCY], float)
            for key, column in columns.items():
                layers = row[column][-1:] if last else row[column]
                found = outcomes.setdefault(key, [[] for _ in layers])
                for layer, scores in enumerate(layers):
                    found[layer].append(score("spearman", scores, saliency))
    return Agreement(outcomes)


def undefined(summaries: Mapping[str, Summary]) -> list[str]:
    """Sentences on what has no correlation: how often, and why."""
    return [
        f"{name} has no correlation on {count} of {count + summary.count} texts: {reason}."
        for name, summary in summaries.items()
        for reason, count in summary.undefined.items()
    ]


def short(number: float | None) -> str:
    """A number between −1 and 1 as papers print it.

    Example:
        >>> short(0.7712), short(-0.105), short(1.0), short(None)
        ('.77', '-.10', '1.00', '–')
    """
    if number is None:
        return "–"
    text = f"{number:.2f}".replace("-0.00", "0.00")
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def spread(mean: float | None, sd: float | None) -> str:
    """Mean and standard deviation as papers print them.

    Example:
        >>> spread(0.7712, 0.1189)
        '.77 ±.12'
    """
    return "–" if mean is None else f"{short(mean)} ±{short(sd)}"


def p_words(p_value: float | None) -> str:
    """A p-value as papers print it.

    Example:
        >>> p_words(0.0312), p_words(0.0001)
        ('p = .031', 'p < .001')
    """
    if p_value is None:
        return "no p-value"
    return "p < .001" if p_value < 0.001 else "p = " + f"{p_value:.3f}".lstrip("0")


def record_of(run: Run, labels: Labelled | None = None) -> dict[str, Any]:
    """What a report's record says of a run."""
    found = {"run": run.folder.path.name, "settings": run.manifest["settings"], "summary": run.summary()}
    return found if labels is None else {**found, "labels": labels.by_class}

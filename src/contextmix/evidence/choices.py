"""What "all" means in a comparison: which methods and metrics take part, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contextmix.datasets.storage.settings import RANDOMISED, Settings
from contextmix.errors import BadOption
from contextmix.evidence.contest import BASELINES, BLIND
from contextmix.plugins.plan import METHODS
from contextmix.plugins.scoring import METRICS
from contextmix.plugins.selection import spelled

SLOW_OR_ALIKE = {
    "attention_flow": "slow: a maximum flow for every token",
    "hta": "slow: a backward pass for every number of the first block's output",
    "hta_inputs": "slow: a backward pass for every number of the embeddings",
    "learned": "needs weights that contextmix fit learned (learned.weights=FILE)",
    "attention_residual": "one step of attention_rollout",
    "attention_fixed_residual": "one step of attention_rollout with fixed weights",
    "norm_residual": "norm_encoder without layer norms",
    "norm_fixed_residual": "norm with a fixed share for the residual",
    "norm_attention_block": "norm_encoder without its last layer norm",
    "norm_encoder_ffn": "norm_encoder with an approximation of the feed-forward part",
}
"""Methods that ``"all"`` leaves out: by name they take part."""

ALIKE = {
    "kendall": "near-duplicate of spearman",
    "pearson": "near-duplicate of spearman, on values instead of ranks",
    "average_precision": "near-duplicate of auprc",
    "probes_needed": "only considers the first marked token; auprc considers all",
    "reciprocal_rank": "only considers the first marked token; auprc considers all",
    "cue_dot_product": "needs scores without signs; for cues of a grammatical form",
    "needle_recall": "for a few marked tokens in a long text",
    "pointing": "only considers the first token; auprc considers all",
    "relevance_mass": "depends on the scale of the scores, which differs between methods; auprc uses ranks",
    "disruption": "deletion_area with zeroed embeddings",
    "recovery": "insertion_area with zeroed embeddings",
    "naopc": "slow: hundreds of variants of each text",
    "soft_comprehensiveness": "slow: 40 variants of each text for every method",
    "soft_sufficiency": "slow: 40 variants of each text for every method",
}
"""Metrics that ``"all"`` leaves out: by name they take part."""


@dataclass(frozen=True)
class Choice:
    """Names that take part, and name → why it does not."""

    names: tuple[str, ...]
    left_out: Mapping[str, str]

    def without(self, refused: Mapping[str, str]) -> Choice:
        """Fewer of them."""
        kept = tuple(name for name in self.names if name not in refused)
        return Choice(kept, {**self.left_out, **refused})


def methods_of(asked: str | Sequence[str]) -> Choice:
    """The methods of a comparison; the baselines are always among them.

    Raises:
        UnknownName: If there is no such method.

    Example:
        >>> methods_of(["globenc"]).names
        ('globenc', 'random', 'recency', 'attention+mean')
    """
    names = spelled(asked)
    if names == ("all",):
        names = tuple(name for name in METHODS if name not in SLOW_OR_ALIKE)
        left_out = SLOW_OR_ALIKE
    else:
        left_out = {}
    return Choice((*names, *(one for one in BASELINES if one not in names)), left_out)


def metrics_of(asked: str | Sequence[str], *, rationales: bool) -> Choice:
    """The metrics of a comparison.

    Args:
        asked: Names, or ``"all"``.
        rationales: Whether the data say what people marked.

    Raises:
        UnknownName: If there is no such metric.
        BadOption: If one was named for which the data lack what it needs.

    Example:
        >>> metrics_of("all", rationales=False).left_out["token_f1"]
        'the data has no rationales; name their column with rationale_field (--rationale-field)'
    """
    names = spelled(asked)
    found = Choice(tuple(METRICS), {}).without(ALIKE)
    if names != ("all",):
        found = Choice(tuple(METRICS[name].name for name in names), {})
    reason = "the data has no rationales; name their column with rationale_field (--rationale-field)"
    lacking = {name: reason for name in found.names if METRICS[name].against == "rationale" and not rationales}
    if lacking and names != ("all",):
        raise BadOption(f"{', '.join(lacking)} cannot be computed: {reason}.")
    return found.without(lacking)


def by_construction(metric: str, method: str, settings: Settings) -> str:
    """Why a metric says nothing of a method; empty where it does.

    Example:
        >>> asked = Settings(("gradient_inputs", "occlusion"), metrics=("spearman",))
        >>> by_construction("spearman", "gradient_inputs", asked), by_construction("spearman", "occlusion", asked)
        ('it is the reference', '')
    """
    if metric == RANDOMISED:
        own = "it is a function, so it cannot be run with other weights" if method in settings.functions else ""
        return "it does not use the weights" if method in BLIND else own
    if METRICS[metric].against == "reference" and method == settings.reference:
        return "it is the reference"
    return "it is a near-duplicate" if metric == "blank_out" and _asks_the_same(method, settings) else ""


def _asks_the_same(method: str, settings: Settings) -> bool:
    """Whether it is occlusion, by the same replacement and for the class that metrics look at."""
    options = settings.options.get(method, {})
    replacement, score = options.get("replace", "auto"), options.get("score", "probability")
    alike = replacement in ("auto", settings.removal) and settings.removal in ("mask", "delete")
    alone = options.get("unit", "token") == "token"
    return method == "occlusion" and alike and alone and score == "probability" and settings.target is None

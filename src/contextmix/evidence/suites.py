"""Fixed comparisons by name: for each kind of model, which methods, metrics and ways of taking tokens away.

A suite never changes under its name, so that tables of different models and days stand beside each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from contextmix.errors import UnsupportedModel
from contextmix.evidence.choices import SLOW_OR_ALIKE
from contextmix.models.traced_encoder_decoder import TracedEncoderDecoder
from contextmix.models.traced_model import TracedModel
from contextmix.options.values import Removal, SuiteName
from contextmix.tracing.inputs.targets import speaks

Kind = Literal["encoder classifier", "decoder"]

DEAR = 100
"""Plain runs of the model for one text, above which a report says that a method is dear."""
WAYS = 2
"""Removals under which each metric is computed: one alone may favour the methods that resemble it."""


@dataclass(frozen=True)
class Lineup:
    """Who takes part, of one kind of model.

    Attributes:
        methods: Beside the baselines.
        left_out: Method → why it is no part.
        metrics: Each is computed under each removal.
        removals: In order of preference; the first two that the model can do are used.
    """

    methods: tuple[str, ...]
    left_out: Mapping[str, str]
    metrics: tuple[str, ...]
    removals: tuple[Removal, ...]


METHODS_2026 = (
    "evidence",
    "decompx",
    "occlusion",
    "integrated_gradients",
    "smooth_gradient",
    "gradient_inputs",
    "gradient",
    "alti_rollout",
    "globenc",
    "value_zeroing_rollout",
    "attention_rollout",
    "alti",
    "value_zeroing",
    "norm_encoder",
    "norm_encoder_ffn",
    "norm_attention_block",
    "norm_residual",
    "norm",
    "attention",
    "attention_residual",
    "effective_attention",
)
METRICS_2026 = ("aopc", "comprehensiveness", "sufficiency", "mas")
LEFT_OUT_2026 = {
    **{name: SLOW_OR_ALIKE[name] for name in ("attention_flow", "hta", "hta_inputs", "learned")},
    "attention_fixed_residual": SLOW_OR_ALIKE["attention_fixed_residual"],
    "norm_fixed_residual": SLOW_OR_ALIKE["norm_fixed_residual"],
}

SUITES: Mapping[SuiteName, Mapping[Kind, Lineup]] = {
    "2026": {
        "encoder classifier": Lineup(METHODS_2026, LEFT_OUT_2026, METRICS_2026, ("mask", "masked_keys", "delete")),
        "decoder": Lineup(METHODS_2026, LEFT_OUT_2026, METRICS_2026, ("delete", "masked_keys", "zero")),
    }
}
"""Suite → kind of model → who takes part."""


def lineup_of(name: SuiteName, model: TracedModel) -> Lineup:
    """Who takes part in a suite with this model.

    Raises:
        UnsupportedModel: If the suite has nothing for its kind.
    """
    return SUITES[name][kind_of(name, model)]


def kind_of(name: SuiteName, model: TracedModel) -> Kind:
    """The kind of a model.

    Raises:
        UnsupportedModel: If the suite has nothing for it, before any work.
    """
    architecture = type(model.model).__name__
    asked = f"The suite {name} takes tokens of texts away and asks what a model then says. {model.origin.model} "
    if isinstance(model, TracedEncoderDecoder):
        raise UnsupportedModel(
            f"{asked}({architecture}) is an encoder–decoder, whose scores depend on what it has written so far: there "
            "is no one row per text to rank. Take a classifier or a decoder, or compare its methods on single texts "
            "with model.compare."
        )
    if model.model.main_input_name != "input_ids":
        raise UnsupportedModel(
            f"{asked}({architecture}) reads {model.model.main_input_name}, and no removal here is defined for it. Take "
            "a model of texts, or compare its methods on single inputs with model.compare."
        )
    if model.is_causal:
        return "decoder"
    if speaks(model.model) or not _has_head(model):
        raise UnsupportedModel(
            f"{asked}({architecture}) has no head that scores a whole text, so there is no answer that could change. "
            "Take a model with a classification head, fine-tuned on such data, or a decoder."
        )
    return "encoder classifier"


def _has_head(model: TracedModel) -> bool:
    """Whether it ends in classes: one that ends in vectors has its body as itself."""
    return model.model.base_model is not model.model

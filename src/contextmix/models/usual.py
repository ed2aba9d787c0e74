"""What a model is asked where nobody said how: which token, which method, with which options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel

from contextmix.errors import refuse_kind
from contextmix.maths.kept import kept
from contextmix.options.values import OF_REPRESENTATION, OF_SCORE
from contextmix.tracing.inputs.heads import speaks


class Usual:
    """The defaults of one model; see `contextmix.models.loaded_model.LoadedModel`, which has them."""

    model: PreTrainedModel

    if TYPE_CHECKING:

        @kept
        def is_causal(self) -> bool:
            """See `LoadedModel`."""

    @property
    def usual_query(self) -> int:
        """The token whose row is looked at first: the first one, or the last of a causal model, where it sees all."""
        return -1 if self.is_causal else 0

    def usual_method(self, *, mixing: bool = False, score: bool = False) -> str:
        """What explains this model where no method was named: `evidence` for a score, GlobEnc for a representation.

        Args:
            mixing: Whether the question is about a representation: a row, layers, or a way to combine them.
            score: Whether it names a score: a target, or the token that has it. A decoder is always asked for one.
        """
        refuse_kind("usual_method: mixing", mixing, bool)
        refuse_kind("usual_method: score", score, bool)
        alone = not getattr(self.model.config, "is_encoder_decoder", False)  # two stacks are asked for what they read
        says = alone and (score or (speaks(self.model) and self.is_causal))
        return OF_SCORE if says and not mixing else OF_REPRESENTATION

    def usual_options(self, method: str) -> Mapping[str, Any]:
        """How that method is asked where nobody said it: for and against, of a score that has an opposite.

        Args:
            method: What `usual_method` gave.
        """
        refuse_kind("usual_options: method", method, str)
        return {"signed": True} if method == OF_SCORE and not speaks(self.model) else {}

"""Joint maps of an encoder–decoder: measured while it runs, joined per decoder layer, and rolled out to the source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contextmix.errors import BadOption
from contextmix.maths.bounds import within
from contextmix.maths.joint import joint_rollout, side_by_side, through_residual
from contextmix.maths.shares import row_shares
from contextmix.models.spans import in_one
from contextmix.plugins.contracts import Measured, Method, options_of
from contextmix.plugins.plan import METHODS, Plan, layer_notes, layer_numbers, make_plan, measured
from contextmix.results.provenance import Provenance, Quantity
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.traces.encoder_decoder import Target, joined
from contextmix.traces.trace import LayerTrace


class JointMaps:
    """The maps of one source and target: a visitor of both recorders.

    Args:
        plan: A mixing map that can be joined, alone or with rollout; see `refuse_joint`.
    """

    def __init__(self, plan: Plan) -> None:
        assert isinstance(plan.method, Method)
        self.plan, self.method = plan, plan.method
        self.encoder: list[Measured] = []
        self.own: list[Measured] = []
        self.cross: list[Measured] = []

    def see_encoder(self, layer: LayerTrace) -> None:
        """A block of the encoder, with a batch axis of one."""
        if self.plan.aggregation is not None:
            self.encoder.append(self.plan.measure(layer[0]))

    def see_decoder(self, own: LayerTrace, cross: LayerTrace) -> None:
        """Both steps of a decoder block."""
        self.own.append(self._measured(own))
        self.cross.append(self._measured(cross))

    def _measured(self, layer: LayerTrace) -> Measured:
        options = dict(self.plan.options)
        if self.method.decoder == "output":
            options["normalise"] = False  # the two halves of a row are divided by one sum
        return measured(self.method.measure(layer, **options))

    @property
    def quantity(self) -> Quantity:
        """What the numbers of the joint map are."""
        raw = self.plan.aggregation is None and self.method.decoder == "output"
        return self.plan.quantity if raw else Quantity.SHARE

    def layers(self) -> Tensor:
        """The joint map of each decoder layer, (layer, target, source + target), in float64."""
        pairs = zip(self.own, self.cross, strict=True)
        return torch.stack([self._joined(own.values.double(), cross.values.double()) for own, cross in pairs])

    def _joined(self, own: Tensor, cross: Tensor) -> Tensor:
        if self.method.decoder == "stream":
            return through_residual(row_shares(own), row_shares(cross))
        maps = side_by_side(own, cross)
        return row_shares(maps) if self.quantity is Quantity.SHARE else maps

    def combined(self) -> Tensor:
        """What was asked for: the maps of the layers, or their joint rollout, (layer, target, source + target)."""
        if self.plan.aggregation is None:
            return self.layers()
        encoder = self.plan.combine(torch.stack([one.values for one in self.encoder])).values[-1]
        return joint_rollout(row_shares(encoder), self.layers())

    def result(
        self, source: Tokens, target: Target, made: Provenance, query: int | str | None, layers: Any
    ) -> TokenMap:
        """What was asked for with its labels; see `TracedEncoderDecoder.explain`."""
        combined, everything = self.combined(), self.plan.aggregation is None
        shown = layer_numbers(layers, len(combined), everything=everything)
        found = TokenMap(
            combined[shown].cpu().numpy(),
            ("layer", "query", "key"),
            joined(source, target.read),
            self.quantity,
            made,
            query_tokens=target.written,
            layers=shown,
        )
        found = found.layer(-1) if layers is None and not everything else found
        found = found if query is None else found.row(query)
        written = "generated" if target.generated else "given"
        notes = {**self.notes(), "source_tokens": len(source), "output": written}
        if target.generated:
            notes["generation"] = target.generation
        if self.quantity is Quantity.SHARE:
            notes["source_share"] = source_share(found.values, len(source)).tolist()
        return found.derive(provenance=found.provenance.noting(**notes))

    def notes(self) -> Mapping[str, Any]:
        """The reports of the maps, by stream."""
        streams = {"encoder": self.encoder, "decoder": self.own, "cross": self.cross}
        return {name: notes for name, maps in streams.items() if (notes := layer_notes(maps))}


def joined_rows(rows: TokenMap) -> TokenMap:
    """The mean row of a joint map, or the sum of rows of evidence, with its own source share.

    Args:
        rows: From `JointMaps.result`, dims that end in (query, key).
    """
    found = in_one(rows, of_model=rows.quantity in (Quantity.EVIDENCE, Quantity.SIGNED))
    notes = rows.provenance.notes
    if "source_share" not in notes:
        return found
    own = parts_of_rows(found.values) if found.quantity is Quantity.EVIDENCE else found.values
    share = source_share(own, notes["source_tokens"]).tolist()
    return found.derive(provenance=found.provenance.noting(source_share=share))


def parts_of_rows(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows ≥ 0 divided by their sums, of the same shape; rows of nothing at all stay zero."""
    parts: NDArray[np.float64] = values / values.sum(-1, keepdims=True).clip(min=1e-30)
    return parts


def source_share(shares: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """How much of each row comes from the source, whose tokens are the first columns: (..., key) → (...), 0 to 1.

    Example:
        >>> source_share(np.array([[0.75, 0.25, 0.0], [0.25, 0.25, 0.5]]), 2)
        array([1. , 0.5])
    """
    sums = shares[..., :count].sum(-1, keepdims=True)
    return np.asarray(within(sums, 0, 1, 2 * shares.shape[-1] * float(np.finfo(shares.dtype).eps))[..., 0])


def refuse_joint(plan: Plan) -> None:
    """What cannot be joined across an encoder and a decoder.

    Raises:
        BadOption: With the reason, and what can be.
    """
    method = plan.method
    if plan.reads_rows:
        return
    if not isinstance(method, Method) or method.decoder in (None, "attention"):
        why = (
            "explains a score of the whole model, which an encoder–decoder with its many outputs does not have"
            if not isinstance(method, Method)
            else "is not defined for a decoder block, which attends to two sequences"
            if method.decoder is None
            else "leaves out the residual stream, so it is unknown how much comes from the source and how much from "
            "the decoder's own input; measure(trace, …, stream='cross') gives its maps"
        )
        possible = [name for name, one in METHODS.items() if isinstance(one, Method) and one.decoder in _JOINED]
        possible += [name for name in METHODS if make_plan(name).reads_rows]
        raise BadOption(f"{plan.name} {why}. Can be joined: {', '.join(possible)}, and recipes that roll them out.")
    if plan.aggregation is not None and plan.aggregation.name != "rollout":
        raise BadOption(
            f"{plan.aggregation.name} is not defined across an encoder and a decoder; rollout is. Ask for "
            "aggregation='rollout', or for none to see the joint map of each decoder layer."
        )
    if plan.options.get("heads") == "each" and "heads" in options_of(method.measure):
        raise BadOption("heads='each' gives maps of single heads, which cannot be joined. Leave it out.")


_JOINED = ("stream", "output")

"""What made each token that an encoder–decoder wrote, by methods that read the rows of its decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from contextmix.errors import BadOption
from contextmix.models.joint import parts_of_rows, source_share
from contextmix.plugins.plan import Plan
from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.encoder_decoder import EncoderDecoderAnatomy, Target, joined
from contextmix.traces.span_run import ReadRows, SpanRun
from contextmix.traces.target import Target as Score
from contextmix.traces.trace import LayerTrace
from contextmix.tracing.discovery.head import find_readout


class JointSpan:
    """The rows of the decoder that said each token; a visitor of both steps of its blocks.

    Args:
        plan: A method that reads all rows in one run; see `Plan.reads_rows`.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.steps: list[tuple[LayerTrace, LayerTrace]] = []

    def see(self, own: LayerTrace, cross: LayerTrace) -> None:
        """Both steps of a decoder block."""
        self.steps.append((own, cross))

    def result(
        self,
        labels: tuple[Tokens, Target],
        scores: Tensor,
        readout: Callable[[], Any],
        made: Provenance,
        query: int | str | None,
    ) -> TokenMap:
        """What was asked for with its labels.

        Args:
            labels: The source, and what was written.
            scores: (written, class).
            readout: Finds the head behind the decoder.
            made: How; the report of the method is added.
            query: The written token whose row is kept; None for all.

        Returns:
            Dims (query, key) or (key,): keys are the source tokens, then what the decoder had read. Columns of the
            source are its encoder's outputs: what the encoder mixed is not followed further.
        """
        source, target = labels
        run = SpanRun(
            rows=slice(0, len(scores)),
            targets=tuple(map(Score, target.written.ids or (), target.written.pieces)),
            record=lambda visit: self._record(visit, len(source), scores),
            record_rows=_refuse_paths,
            record_all=_refuse_paths,
            readout=readout,
        )
        found = self.plan.steps(run)
        notes: dict[str, Any] = {name: note.tolist() for name, note in found.notes.items()}
        notes |= {"source_tokens": len(source), "output": "generated" if target.generated else "given"}
        notes |= {"generation": target.generation} if target.generated else {}
        values = found.values.cpu().numpy()
        if values.min(initial=0) >= 0:
            notes["source_share"] = source_share(parts_of_rows(values), len(source)).tolist()
        checks = {name: float(error) for name, error in found.checks.items()}
        made = made.derive(checks={**made.checks, **checks}).noting(**notes)
        tokens = joined(source, target.read)
        result = TokenMap(values, ("query", "key"), tokens, self.plan.quantity, made, query_tokens=target.written)
        return result if query is None else result.row(query)

    def _record(self, visit: Callable[[ReadRows], None], source: int, scores: Tensor) -> Tensor:
        for own, cross in self.steps:
            visit(ReadRows.of(own, first=source))
            visit(ReadRows.of(cross))
        return scores


def readout_of(model: Any, anatomy: EncoderDecoderAnatomy, inputs: Mapping[str, Tensor]) -> Callable[[], Any]:
    """Finds the head behind a decoder, when it is asked for.

    Args:
        model: The whole model.
        anatomy: Where its parts are.
        inputs: What the encoder reads, and ``decoder_input_ids``, with a batch axis of one.
    """
    blocks = Anatomy(tuple(block.cross for block in anatomy.decoder))

    def found() -> Any:
        read = find_readout(model, blocks, inputs, 0)
        return None if read is None else read[0]

    return found


def _refuse_paths() -> tuple[list[LayerTrace], Tensor]:
    raise BadOption(
        "reach='all' and reach='answer' follow paths through one stack of blocks, and an encoder–decoder has two. Use "
        "reach='direct': what each written token draws from the encoder's outputs and from what was written before."
    )

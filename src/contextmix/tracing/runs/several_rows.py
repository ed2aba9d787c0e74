"""A model as a function of what enters its first block, which is had without running the rest."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from contextmix.errors import UnsupportedModel
from contextmix.tracing.recording.blocks.by_token import by_token
from contextmix.tracing.recording.quiet import first_states, has_images, quiet_run
from contextmix.tracing.recording.turns import before, undone
from contextmix.tracing.runs.rerun import Rerunner


class _Entered(Exception):
    """The first block was reached, with these states; not an error."""


class SeveralRows(Rerunner):
    """A model and one input for it, several of whose rows have scores."""

    def entered(self) -> Tensor:
        """What enters the blocks (key, d_model; see `Entering.together`); without images nothing behind them runs."""
        if has_images(self.tensors):
            return self.clean()[0]

        def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _Entered(first_states(args, kwargs))

        try:
            with undone(before(self.first_block, stop).remove):
                quiet_run(self.model, self.tensors, last_logits=self.last_logits)
        except _Entered as found:
            states: Tensor = found.args[0]
            return by_token(states, self.anatomy.blocks[0]).detach()[0]
        return self.clean()[0]  # it caught what was to stop it

    def scored(self, embeddings: Tensor) -> Tensor:
        """The scores from other embeddings (1, key, d_model); gradients flow."""
        return self._scored(self.tensors, embeddings)

    def refuse_no_path(self, scores: Tensor, *states: Tensor) -> None:
        """Scores or states that no gradient reaches.

        Raises:
            UnsupportedModel: If there are some.
        """
        if not all(one.requires_grad for one in (scores, *states)):
            raise UnsupportedModel(
                f"The scores of {type(self.model).__name__} do not depend on the embeddings in a way that gradients "
                "can follow, so a gradient would be zero everywhere and say nothing. Use occlusion."
            )

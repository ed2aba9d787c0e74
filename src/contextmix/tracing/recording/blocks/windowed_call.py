"""One attention call in windows of a picture, as it is recorded: as one map over the tokens of its block."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from contextmix.traces.anatomy import BlockAnatomy
from contextmix.tracing.recording.blocks.picture_windows import Windows, refuse_unknown, windows_of
from contextmix.tracing.recording.replay import BlockReplay
from contextmix.tracing.recording.resolve import part


@dataclass
class WindowedCall:
    """What is known of the windows of the block that runs."""

    windows: Windows | None = None
    constant: Tensor | None = None
    """What each row draws from what fills its window up."""

    def heard(
        self, replay: BlockReplay, place: BlockAnatomy, module: nn.Module, heard: tuple[Tensor, Tensor], states: Tensor
    ) -> BlockReplay | None:
        """Find the windows of a call, and how its block is run again.

        Args:
            replay: The block as it was called.
            place: Its anatomy.
            module: Its attention.
            heard: Weights and values.
            states: (batch, token, d_model): the input of the block.

        Returns:
            The replay with its windows; None where all attend to all.

        Raises:
            UnsupportedModel: If its attention is over other tokens, and no windows explain it.
        """
        attention, value = heard
        sequences, tokens = attention.shape[::2]
        if (sequences, tokens) == states.shape[:2] or sequences * tokens < states.shape[:2].numel():
            return None  # all attend to all, or this call is over some of them
        norm = None if place.attention.norm_in is None else part(replay.block, place.attention.norm_in.path)
        windows = windows_of(replay.block, *replay.given(replay.as_read(states)), norm, module)
        if windows is None:
            refuse_unknown(module, attention, states)
        elif windows.fit(attention, len(states)):
            self.windows, self.constant = windows, windows.constant(attention, value)
            return replace(replay, cut=windows)
        return None

    def tokens(self, states: Tensor, batch: int) -> Tensor:
        """States over (batch, token) where they are over windows; others as they are."""
        held = self.windows is not None and self.windows.hold(states, batch)
        return self.windows.tokens(states) if held and self.windows is not None else states

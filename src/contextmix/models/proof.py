"""What has been proved of a model as it is: found once, and forgotten when someone changes the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import TraceDoesNotAddUp
from contextmix.traces.anatomy import Anatomy
from contextmix.traces.encoder_decoder import EncoderDecoderAnatomy
from contextmix.tracing.recording.quiet import first_states, has_images, on_device, quiet_run
from contextmix.tracing.recording.upcast import in_float32
from contextmix.tracing.recording.users_hooks import Hooks, state_of
from contextmix.tracing.recording.verify import parity

ROUNDING = 4.0
"""So many times the rounding error of a plain run in half precision may a recorded one have."""


class Proof:
    """Of one model: that a recorded run gives what a plain one gives, and what the user's hooks change.

    Args:
        model: The model.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.compared: set[bool] = set()
        self.in_blocks: dict[str, int | str] = {}
        """Method and options → heads of the model where blocks of rows give what whole maps do; elsewhere why not."""
        self._state: Any = None
        self._hooks: list[Hooks] | None = None

    def is_of_another_model(self, anatomy: Anatomy) -> bool:
        """Whether hooks, modules or attention of the blocks are others than when this was last asked.

        Weights may change freely: they are looked up in every run.
        """
        stacks = _stacks(self.model, anatomy)
        before, self._state = self._state, [state_of(stack, paths) for stack, paths in stacks]
        if before is None or before == self._state:
            return False
        self.compared, self._hooks, self._state = set(), None, None
        self.in_blocks = {}
        return True

    @contextmanager
    def watching(self, anatomy: Anatomy, probe: Callable[[], Mapping[str, Tensor]]) -> Iterator[None]:
        """Refuse what a run gives if the user's hooks change more in it than they did on the probe.

        Raises:
            UnsupportedModel: With the modules; see `Hooks`.
        """
        if self._hooks is None:
            self._hooks = [
                Hooks(stack, paths, lambda: quiet_run(self.model, on_device(self.model, probe())))
                for stack, paths in _stacks(self.model, anatomy)
            ]
        with ExitStack() as stack:
            for hooks in self._hooks:
                stack.enter_context(hooks.seen())
            yield

    def compare(self, inputs: Mapping[str, Tensor], outputs: Any, last_logits: int) -> None:
        """Once, and once with images: that the outputs of a recorded run are those of a plain one.

        Raises:
            TraceDoesNotAddUp: If they are not; see `parity`.
        """
        if has_images(inputs) not in self.compared:
            own = on_device(self.model, inputs)
            try:
                parity(self.model, own, outputs, last_logits=last_logits)
            except TraceDoesNotAddUp:
                if not self._is_rounding(own, outputs, last_logits):
                    raise
            self.compared.add(has_images(inputs))

    def _is_rounding(self, inputs: Mapping[str, Tensor], outputs: Any, last_logits: int) -> bool:
        """Whether a recorded run in half precision is about as near to the same run in float32 as a plain one is."""
        plain, found = first_states(quiet_run(self.model, inputs, last_logits=last_logits)), first_states(outputs)
        if plain is None or found is None or plain.dtype not in (torch.float16, torch.bfloat16):
            return False
        with in_float32(self.model):
            exact = first_states(quiet_run(self.model, inputs, last_logits=last_logits))
        assert exact is not None  # it gave some in half precision
        own, other = (float((one.float() - exact.float()).abs().max()) for one in (plain, found))
        return other <= ROUNDING * own


def _stacks(model: PreTrainedModel, anatomy: Anatomy) -> list[tuple[Any, list[str]]]:
    """Each stack of blocks: what their paths begin at, and the paths."""
    paths = [block.path for block in anatomy.blocks]
    if not isinstance(anatomy, EncoderDecoderAnatomy):
        return [(model, paths)]
    return [(model.get_encoder(), paths), (model, [block.path for block in anatomy.decoder])]

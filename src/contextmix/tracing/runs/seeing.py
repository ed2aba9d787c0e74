"""The image tower of a model of texts with images, as a model of its own, and which of its blocks the text reads."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import UnsupportedModel
from contextmix.traces.anatomy import Anatomy
from contextmix.tracing.inputs.patches import vision_config
from contextmix.tracing.inputs.tower import PIXELS, entering
from contextmix.tracing.recording.blocks import between
from contextmix.tracing.recording.quiet import BESIDE, first_states, on_device
from contextmix.tracing.recording.turns import after, of_this_thread, undone
from contextmix.tracing.runs.side import called_as

FEATURES = "get_image_features"
"""How transformers calls what makes the features of an image that enter the text."""


class Seeing(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Runs what a model does with images alone: its tower, and what brings that to the text.

    Args:
        whole: The model. It is part of this one and stays as it is.
    """

    base_model_prefix = "whole"
    main_input_name = "pixel_values"

    def __init__(self, whole: PreTrainedModel) -> None:
        config: Any = copy.deepcopy(vision_config(whole))
        config._attn_implementation_internal = "eager"  # nothing attends in this class itself
        config.is_decoder = False
        super().__init__(config)
        self.whole = whole

    def forward(self, **inputs: Any) -> Any:
        """What the method of features gives, and first of all what the tower does."""
        inputs.pop("use_cache", None)
        return getattr(self.whole, FEATURES)(**inputs)

    @property
    def base_model(self) -> nn.Module:
        """Itself: what it accepts is what the features are made of."""
        return self

    def get_output_embeddings(self) -> None:
        """None: it scores no vocabulary."""


def tower_of(whole: PreTrainedModel) -> Seeing:
    """The image tower of a model.

    Raises:
        UnsupportedModel: If the model has no method that makes features of images alone.
    """
    if not isinstance(getattr(whole, FEATURES, None), Callable):  # type: ignore[arg-type]
        raise UnsupportedModel(
            f"{type(whole).__name__} has no method that makes features of images alone ({FEATURES}), so its image "
            "tower cannot be run by itself. Leave tower=… out: the map ends at the image places."
        )
    return called_as(Seeing, f"the image tower of {type(whole).__name__}", getattr(whole, FEATURES))(whole)


def image_inputs(tower: Seeing, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a tower reads of a prompt: the inputs of images, by their own names and with their own axes."""
    known = inspect.signature(tower.forward).parameters
    named = {name.removeprefix(BESIDE): value for name, value in tensors.items() if name.startswith(BESIDE)}
    return {name: value for name, value in named.items() if name in known}


def last_read(
    whole: PreTrainedModel, anatomy: Anatomy, tower: Seeing, seeing: Anatomy, tensors: Mapping[str, Tensor]
) -> int:
    """The number of the block of the tower whose output enters the text: all that the text sees comes through it.

    Args:
        whole: The model.
        anatomy: Of its text.
        tower: Its tower.
        seeing: The anatomy of the tower.
        tensors: A prompt with images, without a batch axis.

    Raises:
        UnsupportedModel: If the text reads several blocks, or none.
    """
    first = whole.get_submodule(anatomy.blocks[0].path)
    blocks = [tower.get_submodule(place.path) for place in seeing.blocks]
    if len(set(map(id, blocks))) < len(blocks):
        raise UnsupportedModel("The image tower runs a block several times, so which run the text reads is unknown.")

    def entered(given: Mapping[str, Tensor], edits: Mapping[int, Callable[[Tensor], Tensor]]) -> Tensor:
        with ExitStack() as stack:
            for number, edit in edits.items():
                hook = of_this_thread(_edited(edit))  # in front of hooks by which models collect states
                stack.enter_context(undone(blocks[number].register_forward_hook(hook, prepend=True).remove))
            return entering(whole, first, given, lonely=False)

    several = (
        f"{whole.config.model_type!r} ({type(whole).__name__}): the text reads several blocks of the image tower, "
        "{how}, so one product of maps does not say what reaches a patch. Leave tower='through' out; tower='alone' "
        "shows the maps of the tower."
    )
    batched = {name: value.unsqueeze(0) for name, value in tensors.items()}
    if between.entering(whole, anatomy.blocks, on_device(whole, batched))[0].later:
        raise UnsupportedModel(several.format(how="some of them between its own blocks"))
    blocks = [_writer(block, partial(entered, tensors, {})) for block in blocks]
    clean, kept = entered(tensors, {}), []
    last = next((one for one in reversed(range(len(blocks))) if _moved(clean, entered(tensors, {one: _noisy}))), None)
    if last is None:
        raise UnsupportedModel("No block of the image tower reaches the text, so its maps cannot be multiplied in.")
    entered(tensors, {last: lambda states: kept.append(states.clone()) or states})  # type: ignore[func-returns-value]
    other = {**tensors, PIXELS: _noisy(tensors[PIXELS])}
    if _moved(clean, entered(other, {last: lambda _: kept[0]})):
        raise UnsupportedModel(several.format(how=f"and not block {last} alone"))
    return last


def _writer(block: nn.Module, run: Callable[[], Any]) -> nn.Module:
    """The first module of a block that writes what the block writes: others may have read it there already.

    A block may be a whole encoder with one layer, and the text may read what the layer said before the encoder ends.
    """
    wrote: list[tuple[nn.Module, Tensor]] = []

    def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        states = first_states(output)
        if states is not None:
            wrote.append((module, states))

    with ExitStack() as stack:
        for module in block.modules():
            stack.enter_context(undone(after(module, keep).remove))
        run()
    whole = next((states for module, states in reversed(wrote) if module is block), None)
    return next((module for module, states in wrote if whole is not None and _same(states, whole)), block)


def _same(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and bool(torch.equal(left, right))


def _noisy(states: Tensor) -> Tensor:
    noise = torch.randn(states.shape, generator=torch.Generator().manual_seed(0)).to(states)
    return states + noise * states.std()


def _moved(clean: Tensor, other: Tensor) -> bool:
    return bool((clean - other).abs().max() > 1e-5 * clean.abs().max())


def _edited(edit: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """A forward hook that changes the states that a block wrote, wherever in its output they stand."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        states = first_states(output)
        assert states is not None  # a block writes states
        return _exchanged(output, states, edit(states))

    return hook


def _exchanged(output: Any, states: Tensor, changed: Tensor) -> Any:
    """An output with other states; a block may be a whole encoder, with named outputs and lists of them."""
    if output is states:
        return changed
    if isinstance(output, Mapping):  # named outputs of transformers among them
        return type(output)(**{name: _exchanged(value, states, changed) for name, value in output.items()})
    if isinstance(output, tuple | list):
        return type(output)([_exchanged(value, states, changed) for value in output])
    return output


def has_pixels(tensors: Mapping[str, Any]) -> bool:
    """Whether model inputs are a prompt whose images are pixels."""
    return PIXELS in tensors

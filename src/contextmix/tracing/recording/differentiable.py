"""A model as a function of what enters its first block: input replaced, parameters held still, quantisation refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import UnsupportedModel
from contextmix.tracing.recording.blocks.picture_windows import flat
from contextmix.tracing.recording.quiet import first_states
from contextmix.tracing.recording.turns import before, undone
from contextmix.tracing.recording.verify import is_quantised


@contextmanager
def replaced_input(block: nn.Module, states: Tensor) -> Iterator[None]:
    """The block reads these states instead of its own input, the first time that it runs (a shared block runs again).

    In this thread: whoever else runs the model meanwhile gets its own states.

    Raises:
        UnsupportedModel: If it does not: the scores would be those of the clean input.
    """
    waiting = [states]

    def replace(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        own = first_states(args, kwargs) if waiting else None
        if (
            own is None
            or flat(own).shape != flat(states).shape
            or not any(value is own for value in (*args, *kwargs.values()))
        ):
            return None
        new = waiting.pop().view(own.shape)
        swapped = tuple(new if value is own else value for value in args)
        return swapped, {name: new if value is own else value for name, value in kwargs.items()}

    with undone(before(block, replace).remove):
        yield
    if waiting:
        raise UnsupportedModel(
            f"The first block ({type(block).__name__}) never read states of shape {tuple(states.shape)} as an argument "
            "of its own, so they could not be replaced. No number was produced."
        )


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No parameter asks for a gradient; each one's own flag comes back. A backward pass then keeps 40 % less."""
    asking = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def ask_again() -> None:
        for parameter in asking:
            parameter.requires_grad_(True)

    with undone(ask_again):
        for parameter in asking:
            parameter.requires_grad_(False)
        yield


def refuse_gradientless(model: PreTrainedModel) -> None:
    """Models through which no exact gradient passes.

    Raises:
        UnsupportedModel: If a part of the model is quantised, or its weights were made for inference alone.
    """
    refuse_quantised(model)
    if any(weight.is_inference() for weight in model.parameters()):
        raise UnsupportedModel(
            f"The weights of {type(model).__name__} were made inside torch.inference_mode(), so PyTorch lets no "
            "gradient pass them. Load the model outside of it, or use occlusion, which needs no gradients."
        )


def refuse_quantised(model: PreTrainedModel) -> None:
    """Gradients of rounded weights and activations are cut off somewhere, or those of another function.

    Raises:
        UnsupportedModel: If a part of the model is quantised.
    """
    config = model.config
    named = getattr(model, "hf_quantizer", None) or getattr(config, "quantization_config", None)
    rounded = [path for path, module in model.named_modules() if is_quantised(module)]
    if named is not None or rounded:
        where = f" ({rounded[0]})" if rounded else ""
        raise UnsupportedModel(
            f"{type(model).__name__} is quantised{where}, and gradients do not pass through rounded weights exactly, "
            "so the numbers would be wrong. Load it without quantisation, or use occlusion, which needs no gradients."
        )

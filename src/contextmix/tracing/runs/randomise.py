"""A copy of a model with random weights: what an explanation still says of it, it does not say of what was learned."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import BadOption, UnsupportedModel
from contextmix.traces.anatomy import Anatomy
from contextmix.tracing.inputs.probe import default_probe
from contextmix.tracing.recording.offload import is_offloaded
from contextmix.tracing.recording.quiet import on_device, quiet_run
from contextmix.tracing.recording.turns import turn_of
from contextmix.tracing.recording.verify import is_quantised


def randomised(model: PreTrainedModel, anatomy: Anatomy, *, seed: int, from_top: int | None = None) -> PreTrainedModel:
    """A copy with weights as before training.

    Weights are drawn by the model's own initialisation; those that it does not know, from a normal distribution with
    the mean and standard deviation of the trained tensor. One seed draws the same weights for every ``from_top``, so
    that the steps of a cascade are nested, and on every device.

    Args:
        model: The trained model; it is left as it is, and so is the global state of random numbers.
        anatomy: Where its blocks are.
        seed: Of the random weights.
        from_top: None: all weights. Otherwise those of the head, which is all that comes after the blocks, and of this
            many blocks, from the last one down; the embeddings stay trained. Weights that head and embeddings share
            are parted in the copy.

    Returns:
        A model of the same class on the same device, which shares no tensor with the original.

    Raises:
        BadOption: If there are not so many blocks.
        UnsupportedModel: If weights are quantised, blocks share theirs, or there are two stacks of blocks.

    Source:
        Adebayo et al. (2018), section 3.1: full and cascading randomisation.

    Example:
        >>> import contextmix
        >>> demo = contextmix.load("demo")
        >>> fresh = randomised(demo.model, demo.anatomy(), seed=0, from_top=1)
        >>> bool((fresh.classifier.weight == demo.model.classifier.weight).any())
        False
        >>> bool(
        ...     (
        ...         fresh.bert.encoder.layer[0].output.dense.weight
        ...         == demo.model.bert.encoder.layer[0].output.dense.weight
        ...     ).all()
        ... )
        True
    """
    for path, module in model.named_modules():
        if is_quantised(module):
            raise UnsupportedModel(
                f"{type(model).__name__} is quantised ({path}), and random weights cannot be drawn in a form that is "
                "made from trained ones. Load it without quantisation."
            )
    if is_offloaded(model):
        raise UnsupportedModel(
            f"{type(model).__name__} keeps weights on disk or beside its device, and a copy with random weights needs "
            "all of them in memory. Load it without a device_map."
        )
    with turn_of(model):  # or the copy would keep what a recording in another thread has put on it
        fresh = copy.deepcopy(model)
    kept = set() if from_top is None else _kept_modules(fresh, anatomy, from_top)
    _part(fresh, kept)
    stay = {id(weight) for path in kept for weight in _own(fresh.get_submodule(path)).values()}
    trained = {name: tensor.detach().clone() for name, tensor in _state(fresh) if id(tensor) in stay}
    _initialise(fresh.cpu(), seed)
    with torch.no_grad():
        for name, tensor in _state(fresh):
            if name in trained:
                tensor.copy_(trained[name])
    fresh.to(model.device)  # type: ignore[arg-type, unused-ignore]
    return fresh


def _own(module: nn.Module) -> dict[str, Tensor]:
    """A module's own parameters and buffers, without those of its parts."""
    found = {**module._parameters, **module._buffers}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _state(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _kept_modules(model: PreTrainedModel, anatomy: Anatomy, from_top: int) -> set[str]:
    """Modules that stay trained: those that are called before the first block, and the lower blocks."""
    blocks = [block.path for block in anatomy.blocks]
    if not 0 <= from_top <= len(blocks):
        raise BadOption(
            f"from_top={from_top} is no number of blocks: the model has {len(blocks)}. 0 is the head alone; leave it "
            "out for all weights."
        )
    if getattr(model.config, "is_encoder_decoder", False):
        raise UnsupportedModel(
            f"{type(model).__name__} has two stacks of blocks, so none is the top. Leave from_top out for all weights."
        )
    lower, upper = blocks[: len(blocks) - from_top], blocks[len(blocks) - from_top :]
    if set(lower) & set(upper):
        raise UnsupportedModel(
            f"Blocks of {type(model).__name__} are one module that runs several times, so the upper ones cannot be "
            "random while the lower ones are trained. Use from_top=0, all blocks, or leave it out for all weights."
        )
    inside = tuple(f"{path}." for path in blocks)
    early = {path for path in _called_before(model, blocks[0]) if not f"{path}.".startswith(inside)}
    stay = tuple(f"{path}." for path in lower)
    return early | {path for path, _ in model.named_modules() if f"{path}.".startswith(stay)}


def _called_before(model: PreTrainedModel, first: str) -> list[str]:
    """Modules that have been called when the first block starts, on a short probe."""
    called: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda module, args, path=path: called.append(path))
        for path, module in model.named_modules()
    ]
    probe = on_device(model, default_probe(model))
    try:
        quiet_run(model, probe)
    finally:
        for handle in handles:
            handle.remove()
    return called[: called.index(first)]


def _part(model: PreTrainedModel, kept: set[str]) -> None:
    """Give random modules weights of their own where they share them with modules that stay trained."""
    stay = {id(weight) for path in kept for weight in _own(model.get_submodule(path)).values()}
    parted: dict[int, nn.Parameter] = {}
    for path, module in model.named_modules():
        for name, weight in module._parameters.items():
            if weight is not None and path not in kept and id(weight) in stay:
                own = parted.setdefault(id(weight), nn.Parameter(weight.detach().clone(), weight.requires_grad))
                module._parameters[name] = own
                model.config.tie_word_embeddings = False


def _initialise(model: PreTrainedModel, seed: int) -> None:
    """Every weight drawn anew, on the CPU and from a state of random numbers of its own."""
    trained = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for module in model.modules():
        module.__dict__.pop("_is_hf_initialized", None)  # transformers passes over what it has drawn or loaded
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for weight in model.parameters():
            weight.__dict__.pop("_is_hf_initialized", None)
            weight.fill_(torch.nan)  # what is NaN afterwards, the model's own initialisation does not know
        model.initialize_weights()  # type: ignore[no-untyped-call]
        for name, weight in model.named_parameters():
            if weight.isnan().any():
                old = trained[name].double()
                weight.normal_(float(old.mean()), float(old.std(correction=0)))

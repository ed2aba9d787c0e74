"""Find the anatomy of a model's blocks by looking at one run: which module read and wrote which tensor.

The *block* of an attention call is the largest module call that holds just this one and maps hidden states to hidden
states; smaller ones are tried when `reader` cannot read it. Then nothing may lie between one block and the next.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from torch import Tensor, nn
from transformers import PreTrainedModel

from contextmix.errors import ContextMixError, NotFinite, UnsupportedModel
from contextmix.traces.anatomy import Anatomy, BlockAnatomy
from contextmix.tracing.discovery.beside import with_beside
from contextmix.tracing.discovery.borrowed import lender
from contextmix.tracing.discovery.claims import NotABlock
from contextmix.tracing.discovery.diary import Attended, Call, Diary, keep_diary
from contextmix.tracing.discovery.flat import telling
from contextmix.tracing.discovery.local import is_local
from contextmix.tracing.discovery.locality import Suspect, refuse_hidden_mixing
from contextmix.tracing.discovery.mixers import heard_diary, placed
from contextmix.tracing.discovery.other_token import with_other_token
from contextmix.tracing.discovery.reader import BlockReader
from contextmix.tracing.discovery.second_mixer import second_mixer
from contextmix.tracing.discovery.streams import InnerReader, StreamReader
from contextmix.tracing.discovery.sums import FurtherReader
from contextmix.tracing.recording.mixing.watch import unwatch
from contextmix.tracing.recording.quiet import quiet_run
from contextmix.tracing.recording.upcast import in_float32
from contextmix.tracing.recording.verify import close, tolerance

_READERS: tuple[type[BlockReader], ...] = (BlockReader, FurtherReader, StreamReader, InnerReader)
"""The plain equation anywhere before a wider one."""


def discover(model: PreTrainedModel, probe: Mapping[str, Tensor]) -> Anatomy:
    """The anatomy of a model, found on one short input and proved on it.

    Args:
        model: Any Hugging Face model whose attention goes through the registry.
        probe: Model inputs, one short sequence.

    Returns:
        The anatomy, one entry per block in running order.

    Raises:
        UnsupportedModel: If attention bypasses the registry, a block does not fit the block equation, or something
            else mixes tokens, between the blocks or in them; says which.
        NotFinite: If an activation is NaN or infinite.
    """
    if has_two_stacks(model):
        raise UnsupportedModel(
            f"{model.config.model_type!r} ({type(model).__name__}) is an encoder with a decoder, whose blocks attend "
            "to two sequences, and one map per block cannot say that. No number was produced. contextmix.load reads "
            "both; or load one half: model.get_encoder()."
        )
    diary, parts = None, list(model.modules())
    unwatch(model)
    try:
        with in_float32(model):
            diary = _diary(model, probe)
            _refuse_other_parts(model, parts)
            return _found(model, telling(model, probe, diary)[0])
    except UnsupportedModel as refusal:
        if diary is not None:
            as_it_runs = keep_diary(model, probe) if model.dtype.itemsize < 4 else diary  # it may overflow in float16
            _refuse_non_finite(as_it_runs.attended)
        raise UnsupportedModel(f"{refusal}{_hint(model)}") from None


def _refuse_other_parts(model: PreTrainedModel, before: Sequence[nn.Module]) -> None:
    """A model that puts other modules in its place for a short input (BigBird) is another one for a long input."""
    after = list(model.modules())
    changed = [module for module in after if all(module is not other for other in before)]
    if changed:
        kinds = ", ".join(dict.fromkeys(type(module).__name__ for module in changed))
        raise UnsupportedModel(
            f"{model.config.model_type!r} ({type(model).__name__}) exchanged its own modules when it read a short "
            f"input (now there is {kinds}), as it does without contextmix: on short inputs it is another model than "
            "on long ones, and stays so. Choose which of them you mean before loading it here, such as "
            "model.set_attention_type('original_full'). No number was produced."
        )


def _diary(model: PreTrainedModel, probe: Mapping[str, Tensor]) -> Diary:
    try:
        return heard_diary(model, probe)
    except ContextMixError:
        raise
    except Exception as failure:  # a model may raise anything
        quiet_run(model, probe)  # and does so here too if the input is at fault
        raise UnsupportedModel(
            f"{model.config.model_type!r} ({type(model).__name__}) runs with its usual attention, but not with its "
            f"eager attention, whose weights would be recorded ({type(failure).__name__}: {failure}). No number was "
            "produced."
        ) from failure


def _found(model: PreTrainedModel, diary: Diary) -> Anatomy:
    found = [_block(model, diary, number) for number in range(len(diary.attended))]
    local = refuse_gaps(model, diary, [one.outer for one, _ in found])
    found = [(one, replace(place, values_of=lender(diary, number))) for number, (one, place) in enumerate(found)]
    suspects = [
        replace(
            Suspect.of(diary, one.outer, one.moment, *_projections(place), turned=place.turned),
            beside=place.beside is not None,
            borrows=place.values_of is not None,
            cut=one.cut,
            picture=place.picture,
        )
        for one, place in found
    ]
    refuse_hidden_mixing(model, suspects)
    return Anatomy(tuple(place for _, place in found), local=local)


def _projections(place: BlockAnatomy) -> tuple[str, ...]:
    """What writes what a block mixes."""
    return place.attention.output, *(() if place.beside is None else (place.beside.output,))


def _hint(model: PreTrainedModel) -> str:
    """A model of several modalities may be readable one part at a time."""
    inner = [path for path, part in model.named_modules() if path and isinstance(part, PreTrainedModel)]
    parts = [path for path in inner if not any(path.startswith(f"{outer}.") for outer in inner)]
    listed = " or ".join(f"model.{path}" for path in parts)
    return f" It is made of several models; load one by itself: {listed}." if len(parts) > 1 else ""


def _refuse_non_finite(attended: Sequence[Attended]) -> None:
    for number, moment in enumerate(attended):
        if not moment.output.isfinite().all():
            raise NotFinite(
                f"Attention call {number} ({type(moment.module).__name__}) gave NaN or infinity on a short probe, so "
                "every number that follows would be wrong. Check the weights; in float16, large activations overflow: "
                "load in float32 or bfloat16."
            )


def has_two_stacks(model: PreTrainedModel) -> bool:
    """Whether a model is an encoder with a decoder that attends to it."""
    two = bool(getattr(model.config, "is_encoder_decoder", False))
    return two and "decoder_input_ids" in inspect.signature(model.forward).parameters


def refuse_gaps(model: PreTrainedModel, diary: Diary, blocks: Sequence[Call]) -> tuple[str, ...]:
    """Layers that mix tokens without attention (convolutions, state spaces) would be skipped by every attribution.

    Returns:
        The paths of layers beside the blocks that read one token at a time.
    """
    paths = {block.path for block in blocks}
    above = {path.rsplit(".", depth)[0] for path in paths for depth in range(1, path.count(".") + 1)}
    stacks = {path for path in above if isinstance(model.get_submodule(path), nn.ModuleList | nn.Sequential)}
    silent = [call for call in diary.calls if call.path.rpartition(".")[0] in stacks and call.path not in paths | above]
    local = [call for call in silent if call.read.shape == blocks[0].read.shape and is_local(model, call)]
    silent = [call for call in silent if call not in local]
    if silent:
        names = ", ".join(dict.fromkeys(f"{call.path} ({type(call.module).__name__})" for call in silent))
        raise UnsupportedModel(
            f"{model.config.model_type!r}: layers beside the attention blocks made no attention call: {names}. They "
            "may mix tokens in another way, and an attribution across layers would skip them. No number was produced."
        )
    for before, after in pairwise(sorted([*blocks, *local], key=lambda call: call.began)):
        if not close(after.read, before.wrote, tolerance(after.read.dtype)):
            raise UnsupportedModel(
                f"{model.config.model_type!r}: what {after.path} reads is not what {before.path} wrote, so something "
                "acts between these blocks and an attribution across layers would miss it. No number was produced."
            )
    return tuple(dict.fromkeys(call.path for call in local))


def _block(model: PreTrainedModel, diary: Diary, number: int) -> tuple[BlockReader, BlockAnatomy]:
    moment, reasons = diary.attended[number], dict[str, str]()
    largest = next(diary.around(moment), None)
    for kind in _READERS:
        for call in filter(kind.fits, diary.around(moment)):
            try:
                reader = kind(diary, call, moment)
                place = replace(reader.block(model), mixer=placed(moment.module, call.module))
                if not place.ffn.output and call is not largest:
                    raise NotABlock("it has no feed-forward part, and lies in a module that does more")
                return reader, replace(with_beside(diary, call, moment, place), picture=reader.picture)
            except NotABlock as reason:
                reasons.setdefault(f"{call.path or 'the model'} ({type(call.module).__name__})", str(reason))
    listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    listed = listed or "no module around it maps hidden states to hidden states"
    found = "" if largest is None else second_mixer(model, largest, moment, *with_other_token(largest.read))
    listed += f". In that block {found}" if found else ""
    raise UnsupportedModel(
        f"{model.config.model_type!r}: the block of attention call {number} ({type(moment.module).__name__}) cannot "
        f"be read: {listed}. A decomposition of it would not add up, so no number was produced. For an odd model, "
        "pass a hand-written anatomy=… to contextmix.load."
    )

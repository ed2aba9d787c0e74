"""One model type: build a tiny random model of it, and see whether contextmix proves that it can be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from scripts.sweep.build import InsideAnother, NotTried, build, run, short
from scripts.sweep.causality import Wrong, causality
from scripts.sweep.kinds import kinds_of
from scripts.sweep.pictured import NoPicture, pictured, reads_both, with_images
from transformers import PreTrainedModel

import contextmix as cm
from contextmix.errors import ContextMixError
from contextmix.tracing.recording.quiet import plain_names


@dataclass(frozen=True)
class Finding:
    """What came of one model type.

    Attributes:
        status: ``"verified"``, ``"refused"``, ``"not tried"``, ``"inside another"`` or ``"wrong"``.
        name: The class that was built.
        part: The sub-models that were proved where the whole is refused; empty for the whole.
        inputs: What the probe gave it.
        layouts: Of the blocks.
        kinds: Of layers that the config named.
        blocks: How many there were.
        causal: Whether no position draws on a later one.
        conservation: Largest relative error.
        block_equation: The same.
        parity: The same.
        reason: Why it is refused or not tried; for a part, why the whole is refused.
    """

    status: str
    name: str = ""
    part: str = ""
    inputs: tuple[str, ...] = ()
    layouts: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    blocks: int = 0
    causal: bool | None = None
    conservation: float | None = None
    block_equation: float | None = None
    parity: float | None = None
    reason: str = ""

    def plain(self) -> dict[str, Any]:
        """As it is kept: short, and the same on every run."""
        kept = {"class" if name == "name" else name: value for name, value in asdict(self).items()}
        kept |= {name: ", ".join(kept[name]) for name in ("layouts", "kinds", "inputs")}
        rounded = {
            name: float(f"{kept[name]:.0e}") for name in ("conservation", "block_equation", "parity") if kept[name]
        }
        return {**kept, **rounded}


def examine(model_type: str) -> dict[str, Any]:
    """The finding on one model type, as plain data; never raises."""
    try:
        return _examine(model_type).plain()
    except InsideAnother as reason:
        return Finding("inside another", reason=str(reason)).plain()
    except NotTried as reason:
        return Finding("not tried", reason=str(reason)).plain()
    except Wrong as reason:
        return Finding("wrong", reason=str(reason)).plain()


def _examine(model_type: str) -> Finding:
    model = build(model_type)
    name, refused, silent = type(model).__name__, {}, {}
    tried: set[int] = set()
    found: list[Finding] = []
    for parts in alternatives(model):
        for path, part in parts:
            if id(part) in tried or any(path.startswith(f"{one.part}.") for one in found):
                continue
            tried.add(id(part))
            try:
                found.append(with_images(prove(part, path), part))
            except NotTried as reason:
                silent[path] = str(reason)
            except ContextMixError as reason:
                refused[path] = short(reason)
        if not found and model in [part for _, part in parts] and (shown := _with_images_alone(model)):
            found.append(shown)
        if found and not parts[0][0]:  # all of it, if only for some inputs
            break
    if found:
        return _together(name, found, refused.get("", silent.get("", "")))
    if not refused:
        raise NotTried(_listed(silent))
    return Finding("refused", name, reason=_listed(refused))


def _with_images_alone(model: PreTrainedModel) -> Finding | None:
    """The finding on a model that is refused on text alone, on a prompt with an image; None if it is refused there."""
    if not reads_both(model):
        return None
    try:
        report, given, causal = pictured(model)
    except (NoPicture, ContextMixError):
        return None
    return _finding(model, "", tuple(given), report, causal)


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{path}: {reason}" if path else reason for path, reason in reasons.items())


def alternatives(model: PreTrainedModel) -> Iterator[list[tuple[str, PreTrainedModel]]]:
    """What is tried of a model, in this order: all of it, its encoder, its sub-models; what was proved is not opened.

    A decoder without its encoder is another model, so it is never tried by itself as a part.
    """
    yield [("", model)]
    if getattr(model.config, "is_encoder_decoder", False):
        with suppress(AttributeError, NotImplementedError):
            yield [("encoder", model.get_encoder())]
        return
    towers: list[tuple[str, PreTrainedModel]] = [("", model)]
    while towers := [inner for path, tower in towers for inner in _inside(tower, path)]:
        yield towers


def _inside(model: PreTrainedModel, path: str) -> list[tuple[str, PreTrainedModel]]:
    """The outermost sub-models of a model."""
    found: list[tuple[str, PreTrainedModel]] = []
    for name, module in model.named_modules():
        within = any(name.startswith(f"{outer}.") for outer, _ in found)
        if name and not within and isinstance(module, PreTrainedModel):
            found.append((name, module))
    return [(f"{path}.{name}" if path else name, module) for name, module in found]


def prove(model: PreTrainedModel, path: str = "") -> Finding:
    """All checks of `TracedModel.check`, and causality.

    Raises:
        NotTried: If the model itself does not run on the probe.
        ContextMixError: If contextmix refuses it.
        Wrong: If it does not, and should.
    """
    traced = cm.load(model)
    sides = list(traced.towers.values()) if isinstance(traced, cm.TracedTowers) else [traced]
    probes = [run(side.model) for side in sides]
    inputs = {name: value for probe in probes for name, value in probe.items()}
    report = traced.check()
    causal = all([causality(side, probe) for side, probe in zip(sides, probes, strict=True)])
    return _finding(model, path, plain_names(inputs), report, causal)


def _finding(
    model: PreTrainedModel, path: str, inputs: tuple[str, ...], report: cm.CheckReport, causal: bool
) -> Finding:
    return Finding(
        "verified",
        type(model).__name__,
        path,
        inputs,
        report.anatomy.layouts,
        kinds_of(model.config),
        report.checks.layers,
        causal,
        report.checks.conservation,
        report.checks.block_equation,
        report.parity,
    )


def _together(name: str, found: list[Finding], whole: str) -> Finding:
    """Several proved parts as one finding with the largest errors."""
    return Finding(
        "verified",
        name,
        ", ".join(one.part for one in found),
        tuple(dict.fromkeys(name for one in found for name in one.inputs)),
        tuple(dict.fromkeys(layout for one in found for layout in one.layouts)),
        tuple(dict.fromkeys(kind for one in found for kind in one.kinds)),
        sum(one.blocks for one in found),
        all(one.causal for one in found),
        *(max(getattr(one, name) for one in found) for name in ("conservation", "block_equation", "parity")),
        reason=whole or next((one.reason for one in found if one.reason), ""),
    )

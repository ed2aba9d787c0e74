"""Things of every public class, and a good value of every argument: what broken values are put in the place of."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.models.two_stacks import models as two_stacks
from tests.tracing.tiny import word_pieces

import contextmix as cm
from contextmix.evidence.report import Report
from contextmix.plugins.contracts import Scored
from contextmix.plugins.plan import make_plan
from contextmix.tokens.places import Frames, Patches
from contextmix.views.figures.dots import Dot, Panel

FILM = "a good film"
ROWS = [{"text": f"a {word} film", "label": number % 2} for number, word in enumerate(("good", "bad", "dull", "warm"))]


_KEPT = tempfile.TemporaryDirectory(prefix="contextmix-robustness-")


def new_folder() -> Path:
    """A folder that goes when the process ends."""
    return Path(tempfile.mkdtemp(dir=_KEPT.name))


@dataclass(frozen=True)
class In:
    """A path in a folder of the test, made when the call is: nothing is written elsewhere."""

    name: str


@cache
def model(name: str) -> Any:
    """A loaded model: built in, or a tiny one of two stacks."""
    if name in ("t5", "bart"):
        return cm.load(two_stacks.build(name), word_pieces())
    return cm.load(name)


def figure(kind: str) -> Any:
    """Axes to draw on, or a figure: new ones each time."""
    from matplotlib.figure import Figure

    drawn = Figure()
    return drawn if kind == "figure" else drawn.subplots()


@cache
def run(maps: bool = True) -> cm.Run:
    """A finished run of four rows, the last of which failed."""
    folder = new_folder()
    rows = [*ROWS, {"text": " ", "label": 0}]
    asked: dict[str, Any] = {"methods": ["globenc", "occlusion"], "shard_size": 2, "progress": False, "maps": maps}
    return cm.run(rows, folder / "run", metrics=["aopc"], **asked)


@cache
def stored(name: str) -> Path:
    """A map in a file."""
    path = new_folder() / name
    samples(cm.TokenMap)[0].save(path)
    return path


def damaged(how: str) -> cm.Run:
    """A run whose folder was changed after it was opened."""
    folder = new_folder() / "run"
    shutil.copytree(run().folder.path, folder)
    found = cm.open_run(folder)
    first = found.folder.shards()[0]
    if how == "cut":
        first.write_bytes(first.read_bytes()[:100])
    elif how == "folder":
        first.unlink()
        first.mkdir()
    elif how == "gone":
        shutil.rmtree(folder)
    elif how == "maps":
        for one in (folder / "maps").iterdir():
            one.write_bytes(b"no maps")
    return found


@cache
def samples(kind: type) -> Sequence[Any]:
    """Things of a class, the most usual one first."""
    return tuple(_SAMPLES[kind]())


def _maps() -> list[Any]:
    demo = model("demo")
    whole = demo.explain(FILM)
    layers = demo.explain(FILM, "attention")
    return [
        layers, whole, whole.row(0), layers.layer(0), demo.explain(FILM, "attention", heads="each"),
        demo.explain(FILM, "gradient_inputs"), demo.explain(FILM, "decompx", target="all"),
        model("bart").explain("a good film", output=[7, 8, 2]), whole.words(),
        cm.TokenMap(0.5, (), cm.Tokens(("a",)), "share", cm.Provenance("x")), _picture(), _sound(),
    ]  # fmt: skip


def _picture() -> Any:
    places = Patches(size=(20, 10), grid=(1, 2), window=(0, 0, 20, 10), cells=(None, (0, 0), (0, 1)))
    return cm.TokenMap([0.1, 0.2, 0.3], ("key",), cm.Tokens(("a", "b", "c"), places=places), "norm", cm.Provenance("x"))


def _sound() -> Any:
    places = Frames(rate=10, samples=20, step=10, first=0, reach=10, numbers=(0, 1))
    return cm.TokenMap([0.1, -0.2], ("key",), cm.Tokens(("a", "b"), places=places), "signed", cm.Provenance("x"))


def _tokens() -> list[Any]:
    return [
        cm.Tokens(("[CLS]", "un", "##s"), (1, 2, 3), (True, False, False), (None, 0, 0), (None, (0, 2), (2, 3)), "uns"),
        cm.Tokens(("a", "a", "b")),
        cm.Tokens(()),
        _picture().tokens,
    ]  # fmt: skip


def _traces() -> list[Any]:
    return [model(name).trace(FILM) for name in ("demo", "demo-decoder")]


def _batch() -> Any:
    """A block as it passes while a batch is recorded."""
    names = ("attention", "value", "residual_in", "attention_out", "ffn_out", "residual_out")
    one = _traces()[0].layers[0]
    own = {name: torch.stack([getattr(one, name)] * 2) for name in names}
    return replace(one, **own, scores=None, replay=None, replay_zeroed=None, embeddings=None)


def _anatomies() -> list[Any]:
    return [model(name).anatomy() for name in ("demo", "demo-decoder", "bart", "t5")]


_SAMPLES: Mapping[type, Callable[[], Sequence[Any]]] = {
    cm.Anatomy: _anatomies,
    cm.BlockAnatomy: lambda: [one.blocks[0] for one in _anatomies()],
    cm.CheckReport: lambda: [model("demo").check(), model("bart").check()],
    cm.Comparison: lambda: [
        model("demo").compare(FILM, ["globenc", "attention", "gradient_inputs"]),
        cm.Comparison({"a": _picture(), "b": _picture()}),
    ],
    cm.ContextMixError: lambda: [cm.ContextMixError("a sentence")],
    cm.EncoderDecoderTrace: lambda: [model("bart").trace(FILM, output=[7, 8, 2])],
    cm.Exploration: lambda: [
        model("demo").explore(FILM),
        model("demo").explore(FILM, ["attention"], heads=True),
        cm.Exploration({"a": _picture()}),
        model("t5").explore(FILM, ["globenc"], output=[7, 8]),
    ],
    cm.LayerTrace: lambda: [_traces()[0].layers[0], _batch(), *samples(cm.EncoderDecoderTrace)[0].cross.layers],
    cm.NormPlace: lambda: [cm.NormPlace("norm", "layer")],
    cm.Provenance: lambda: [cm.Provenance("attention"), samples(cm.TokenMap)[1].provenance],
    cm.Quantity: lambda: list(cm.Quantity),
    cm.Run: lambda: [run(), *map(damaged, ("cut", "folder", "gone", "maps"))],
    cm.Sublayer: lambda: [one.blocks[0].attention for one in _anatomies()],
    cm.TokenMap: _maps,
    cm.Tokens: _tokens,
    cm.Trace: lambda: [*_traces(), samples(cm.EncoderDecoderTrace)[0].cross],
    cm.TracedModel: lambda: [model("demo"), model("demo-decoder")],
    cm.TracedEncoderDecoder: lambda: [model("bart"), model("t5")],
    Report: lambda: [Report("name", "Title", ["A sentence."])],
}


@cache
def encoded(batch: bool = False) -> Any:
    """Model inputs as the library itself makes them."""
    own = model("demo").encode(FILM)[0].tensors
    return {name: one[None] for name, one in own.items()} if batch else own


@cache
def outputs() -> Any:
    """What a model gives."""
    with torch.no_grad():
        return model("demo").model(**encoded(batch=True))


def first_of(kind: type) -> Callable[[], Sequence[Any]]:
    """Things of a class as a list of good values."""
    return lambda: samples(kind)


_OUT = [In("out"), In("no/out")]
_PAGE = [In("x.html"), In("x.json"), In("x.gif"), In("no/x.html"), In("x")]
_PICTURE = [In("x.pdf"), In("x.svg"), In("x.png"), In("x.jpg"), In("no/x.pdf")]

GOOD: Mapping[str, Callable[[], Sequence[Any]]] = {
    "source": lambda: [FILM, {"text": "a film", "text_pair": "good"}, ["a film", ("a", "b")], {"input_ids": [[5, 6]]}],
    "prompt": lambda: [FILM, {"input_ids": [5, 6]}],
    "method": lambda: ["globenc", *sorted(cm.methods().index), "norm+rollout"],
    "methods": lambda: [
        ["globenc", "attention"],
        "globenc",
        ["gradient_inputs", "random"],
        "all",
        ["norm+rollout", "norm"],
    ],
    "model": lambda: ["demo"],
    "trace": lambda: [*samples(cm.Trace), *samples(cm.EncoderDecoderTrace)],
    "token_map": first_of(cm.TokenMap),
    "aggregation": lambda: ["rollout", "mean", "flow", "last"],
    "found": lambda: [samples(cm.TokenMap)[7], *samples(cm.TokenMap)],
    "data": lambda: [ROWS],
    "out": lambda: _OUT,
    "study": lambda: ["globenc"],
    "path": lambda: _PAGE,
    "stream": lambda: ["cross", "encoder", None],
    "name": lambda: ["encoder"],
    "query": lambda: [0, -1, "film", None],
    "layer": lambda: [0, -1],
    "index": lambda: [0, -1],
    "number": lambda: [0, 3, 4, -1, 99],
    "token": lambda: ["b", 0, -1],
    "rows": lambda: [slice(0, 1)],
    "k": lambda: [1, 99],
    "example": lambda: [0],
    "folder": lambda: [In("report"), In("no/report")],
    "probe": lambda: [None, encoded(batch=True)],
    "tensors": lambda: [encoded(batch=True)],
    "outputs": lambda: [outputs()],
    "row": lambda: [0],
    "limit": lambda: [1, 99],
    "inputs": lambda: [model("demo").encode(FILM)[0]],
    "axes": lambda: [figure("axes")],
    "drawn": lambda: [figure("axes"), figure("figure")],
    "only": lambda: [["rows"]],
    "output": lambda: ["a good film", [7, 8, 2]],
    "continuation": lambda: [" a film"],
    "target": lambda: ["positive", 1, (0, 1), "all"],
    "position": lambda: [-1],
    "layers": lambda: ["all", [0], -1],
    "options": lambda: [{}, {"value_zeroing": {"distance": "euclidean"}}],
    "progress": lambda: [None],
    "device": lambda: ["cpu"],
    "dtype": lambda: ["float32", "float64"],
    "text_field": lambda: ["text"],
    "label_field": lambda: ["label"],
    "removal": lambda: ["mask", "delete"],
    "reference": lambda: ["gradient_inputs"],
    "sanity": lambda: [1],
    "seed": lambda: [0, 7],
    "generation": lambda: [{"num_beams": 2}],
    "columns": lambda: [["id"]],
    "count": lambda: [3],
    "one": lambda: [model("demo").encode(FILM)[0]],
    "plans": lambda: [[make_plan("globenc")]],
    "plan": lambda: [make_plan("gradient_inputs")],
    "batch_size": lambda: [2],
}
"""Argument → good values, the most usual one first."""

OF_VERB: Mapping[str, Callable[[], Sequence[Any]]] = {
    "TracedModel.explain.method": lambda: ["globenc", "gradient_inputs", "attention", "random", "occlusion", "decompx"],
    "measure.method": lambda: ["norm", "attention", "alti", "effective_attention"],
    "mixing_ratio.method": lambda: ["norm_residual", "norm_encoder"],
    "aggregate.token_map": lambda: [samples(cm.TokenMap)[0]],
    "models.model_type": lambda: ["bert"],
    "models.status": lambda: ["verified"],
    "open_run.path": lambda: [run().folder.path],
    "Run.row.method": lambda: ["globenc", "occlusion"],
    "Run.map.method": lambda: ["globenc", "occlusion"],
    "TokenMap.target.name": lambda: [0, "positive"],
    "TokenMap.overlay.source": lambda: [np.zeros((10, 20, 3), np.uint8), np.zeros(20, np.float32)],
    "TokenMap.save.over": lambda: [np.zeros((10, 20, 3), np.uint8)],
    "Tokens.position.token": lambda: [0, -1, "un"],
    "TracedModel.prediction.tokens": lambda: [model("demo").encode(FILM)[0].tokens],
    "TracedModel.attribute_all.plans": lambda: [[make_plan("gradient_inputs")], [make_plan("globenc")]],
    "TracedEncoderDecoder.compare.methods": lambda: [["globenc", "alti"], ["globenc", "attention"]],
    "TracedEncoderDecoder.measure_batch.tensors": lambda: [
        {"input_ids": torch.tensor([[5, 6, 7]]), "decoder_input_ids": torch.tensor([[2, 7]])}
    ],
    "TokenMap.show.over": lambda: [np.zeros((10, 20, 3), np.uint8)],
    "TokenMap.from_dict.document": lambda: [one.to_dict() for one in samples(cm.TokenMap)],
    "Tokens.from_dict.fields": lambda: [one.to_dict() for one in samples(cm.Tokens)],
    "Provenance.from_dict.values": lambda: [one.to_dict() for one in samples(cm.Provenance)],
    "TokenMap.load.path": lambda: [stored("x.json"), stored("x.safetensors"), In("x.json")],
    "Exploration.row.method": lambda: ["globenc", "attention"],
    "Exploration.beside": lambda: [samples(cm.Exploration)[:1]],
    "TracedModel.name": lambda: ["demo"],
    "TracedEncoderDecoder.name": lambda: ["bart"],
    "TracedEncoderDecoder.labels.one": lambda: [model("bart").encode(FILM)[0]],
    "Run.path": lambda: [run().folder.path],
    "plots.grid.maps": lambda: [{"a": samples(cm.TokenMap)[1], "b": samples(cm.TokenMap)[1]}, *samples(cm.TokenMap)],
    "run.methods": lambda: ["globenc", ["globenc", "occlusion"]],
    "run.metrics": lambda: [["aopc"], ()],
    "run.progress": lambda: [False],
    "evaluate.progress": lambda: [False],
    "reproduce.progress": lambda: [False],
    "run.options": lambda: [{}],
    "run.target": lambda: ["gold", "positive"],
    "evaluate.methods": lambda: [["globenc", "attention"]],
    "evaluate.metrics": lambda: [["aopc"]],
    "evaluate.options": lambda: [{}],
    "evaluate.target": lambda: ["gold"],
    "reproduce.only": lambda: [["rows"]],
    "reproduce.study": lambda: ["globenc", "value_zeroing", "effective_attention"],
    "plots.bands.x": lambda: [[0, 1]],
    "plots.bands.lines": lambda: [{"a": ([0, 1], [0, 1], [0, 1])}],
    "plots.scatter.groups": lambda: [{"a": ([0, 1], [0, 1])}],
    "plots.heat.values": lambda: [[[0, 1]]],
    "plots.heat.rows": lambda: [["a"]],
    "plots.heat.columns": lambda: [["a", "b"]],
    "plots.by_layer.values": lambda: [{"a": [[0.1, 0.5], [0.3, 0.7]]}],
    "plots.by_layer.layers": lambda: [[0, 1]],
    "plots.curves.outcomes": lambda: [{"a": [Scored(0.2, curve={"10%": 0.1, "50%": 0.3})]}],
    "plots.bands.xlabel": lambda: ["layer"],
    "plots.bands.ylabel": lambda: ["share"],
    "plots.scatter.xlabel": lambda: ["layer"],
    "plots.scatter.ylabel": lambda: ["share"],
    "plots.dots.panel": lambda: [Panel("a", [Dot("globenc", 0.5, 0.4, 0.6, "best")], True)],
    "plots.column.width": lambda: ["single", 5],
    "plots.save.path": lambda: _PICTURE,
    "plots.layers.token_map": lambda: samples(cm.TokenMap),
    "plots.tokens.token_map": lambda: [samples(cm.TokenMap)[1], *samples(cm.TokenMap)],
    "plots.bars.token_map": lambda: [samples(cm.TokenMap)[2], *samples(cm.TokenMap)],
    "plots.patches.token_map": lambda: [_picture(), *samples(cm.TokenMap)],
    "plots.plot.token_map": lambda: [samples(cm.TokenMap)[1], *samples(cm.TokenMap)],
}
"""The same of one verb, ``verb.argument``; a class stands for its constructor."""

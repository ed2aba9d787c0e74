"""A good value of every argument: what broken values are put in the place of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tests.robustness.samples import (
    FILM,
    ROWS,
    In,
    encoded,
    figure,
    model,
    outputs,
    picture,
    run,
    samples,
    stored,
)

import contextmix as cm
from contextmix.plugins.contracts import Scored
from contextmix.plugins.plan import make_plan
from contextmix.views.figures.dots import Dot, Panel


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
    "plots.patches.token_map": lambda: [picture(), *samples(cm.TokenMap)],
    "plots.plot.token_map": lambda: [samples(cm.TokenMap)[1], *samples(cm.TokenMap)],
}
"""The same of one verb, ``verb.argument``; a class stands for its constructor."""

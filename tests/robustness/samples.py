"""Things of every public class, the most usual ones first."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tests.models.two_stacks import models as two_stacks
from tests.results.answers import answer as answer_by_hand
from tests.tracing.tiny import word_pieces
from tests.tracing.twin import twin

import contextmix as cm
from contextmix.evidence.report import Report
from contextmix.results.losses import Losses
from contextmix.results.source_scores import SourceScores
from contextmix.tokens.passages import Passage
from contextmix.tokens.places import Frames, Patches

FILM = "a good film"
CHAT = [{"role": "system", "content": "Tom had a big dog."}, {"role": "user", "content": "Who ran?"}]
TEXTS = ["Tom had a big dog.", "Lily had a red ball. She ran."]
ROWS = [{"text": f"a {word} film", "label": number % 2} for number, word in enumerate(("good", "bad", "dull", "warm"))]

_CHAT = "{% for one in messages %}{{ one['role'] }}: {{ one['content'] }}\n{% endfor %}"

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
    """A loaded model: built in, or a tiny one of two stacks or towers."""
    if name == "chatty":
        found = cm.load("demo-decoder")
        found.tokenizer.chat_template = _CHAT
        return found
    if name in ("t5", "bart"):
        return cm.load(two_stacks.build(name), word_pieces())
    if name == "clip":
        return twin()
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
    """A map in a file, or an answer."""
    path = new_folder() / name
    samples(cm.Answer if name.startswith("answer") else cm.TokenMap)[0].save(path)
    return path


@cache
def answers() -> cm.Run:
    """A finished run of three questions, the last of which was refused."""
    rows = [{"id": "a", "question": "Who ran?", "context": TEXTS}, {"question": "Who ran?", "context": TEXTS, "id": 1}]
    rows.append({"id": "c", "question": "Who ran?", "context": []})
    asked: dict[str, Any] = {"model": model("demo-decoder"), "max_new_tokens": 2, "progress": False}
    return cm.run(rows, new_folder() / "run", task="answer", **asked)


def damaged(how: str, whole: Callable[[], cm.Run] = run) -> cm.Run:
    """A run whose folder was changed after it was opened."""
    folder = new_folder() / "run"
    shutil.copytree(whole().folder.path, folder)
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
        cm.TokenMap(0.5, (), cm.Tokens(("a",)), "share", cm.Provenance("x")), picture(), _sound(),
    ]  # fmt: skip


def picture() -> Any:
    places = Patches(size=(20, 10), grid=(1, 2), window=(0, 0, 20, 10), cells=(None, (0, 0), (0, 1)))
    return cm.TokenMap([0.1, 0.2, 0.3], ("key",), cm.Tokens(("a", "b", "c"), places=places), "norm", cm.Provenance("x"))


def _sound() -> Any:
    places = Frames(rate=10, samples=20, step=10, first=0, reach=10, numbers=(0, 1))
    return cm.TokenMap([0.1, -0.2], ("key",), cm.Tokens(("a", "b"), places=places), "signed", cm.Provenance("x"))


def _answers() -> list[Any]:
    stories = model("demo-decoder")
    said = stories.explain_answer("Who ran?", TEXTS, max_new_tokens=3, dependence=True)
    given = stories.explain_answer("Who ran?", TEXTS[0], " Tom ran. He did.", method="attention", sources=[(0, 3)])
    signed = answer_by_hand(quantity="signed", passages=(Passage("Tom had a dog. It", 3, 14), Passage("No.", None)))
    thought = stories.explain_answer("Who ran?", TEXTS[0], "<think>Tom did.</think> Tom ran.", hops="all")
    taken = [stories.ablate(said, rewrite=1).answer, stories.ablate(given, "source_surrogate", masks=8).answer]
    return [said, *taken, given, said.by(sources=2, units="token"), answer_by_hand(), signed, thought]


def _tokens() -> list[Any]:
    return [
        cm.Tokens(("[CLS]", "un", "##s"), (1, 2, 3), (True, False, False), (None, 0, 0), (None, (0, 2), (2, 3)), "uns"),
        cm.Tokens(("a", "a", "b")),
        cm.Tokens(()),
        picture().tokens,
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
    cm.Answer: _answers,
    cm.BlockAnatomy: lambda: [one.blocks[0] for one in _anatomies()],
    cm.CheckReport: lambda: [model("demo").check(), model("bart").check()],
    cm.Comparison: lambda: [
        model("demo").compare(FILM, ["globenc", "attention", "gradient_inputs"]),
        cm.Comparison({"a": picture(), "b": picture()}),
    ],
    cm.ContextMixError: lambda: [cm.ContextMixError("a sentence")],
    cm.EncoderDecoderTrace: lambda: [model("bart").trace(FILM, output=[7, 8, 2])],
    cm.Exploration: lambda: [
        model("demo").explore(FILM),
        model("demo").explore(FILM, ["attention"], heads=True),
        cm.Exploration({"a": picture()}),
        model("t5").explore(FILM, ["globenc"], output=[7, 8]),
    ],
    cm.LayerTrace: lambda: [_traces()[0].layers[0], _batch(), *samples(cm.EncoderDecoderTrace)[0].cross.layers],
    cm.NormPlace: lambda: [cm.NormPlace("norm", "layer")],
    cm.Provenance: lambda: [cm.Provenance("attention"), samples(cm.TokenMap)[1].provenance],
    cm.Quantity: lambda: list(cm.Quantity),
    cm.Run: lambda: [
        run(),
        answers(),
        *(damaged(how, whole) for whole in (run, answers) for how in ("cut", "folder", "gone", "maps")),
    ],
    cm.Sublayer: lambda: [one.blocks[0].attention for one in _anatomies()],
    cm.TokenMap: _maps,
    cm.Tokens: _tokens,
    cm.Trace: lambda: [*_traces(), samples(cm.EncoderDecoderTrace)[0].cross],
    cm.TracedModel: lambda: [model("demo"), model("demo-decoder"), model("chatty")],
    cm.TracedEncoderDecoder: lambda: [model("bart"), model("t5")],
    cm.TracedTowers: lambda: [model("clip")],
    SourceScores: lambda: [model("demo-decoder").ablate(samples(cm.Answer)[0])],
    Losses: lambda: [one.losses for one in samples(cm.Answer) if one.losses is not None],
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

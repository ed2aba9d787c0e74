"""Whatever people hold prints on a screen, says what matters, and no token or name in it can do anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.strategies import LAYOUTS, toy_layer
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

import contextmix as cm
from contextmix.evidence.report import Report, Table
from contextmix.results.provenance import Provenance
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.places import Frames, Patches
from contextmix.views.drawing.picture import picture

HOSTILE = ("<script>alert(1)</script>", "\x1b[2J", "a\nb\r\n", "\u202egnp", "\ud800", "'\"&", "{{ x }}", "é" * 400)
LINES, WIDTH = 10, 120
SMALL = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


GPT2 = {
    "vocab_size": 40,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 600,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def bert() -> Any:
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**SMALL, max_position_embeddings=600)).eval()


def gpt2() -> Any:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(**GPT2)).eval()


def t5() -> Any:
    torch.manual_seed(0)
    config = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0)
    return T5ForConditionalGeneration(config).eval()


REACHED = {
    "CheckReport",
    "Checks",
    "Origin",
    "Provenance",
    "TokenMap",
    "Tokens",
    "Trace",
    "LayerTrace",
    "Block",
    "Norm",
}
REACHED |= {"Parts", "Scores", "BlockStates", "Sublayer", "NormPlace", "BlockAnatomy"}
ONE_STACK = {"Anatomy", "Comparison", "Exploration", "TracedModel"}
TWO_STACKS = {"EncoderDecoderTrace", "TracedEncoderDecoder", "EncoderDecoderAnatomy", "DecoderBlockAnatomy", "Target"}
REACHED_OF = {"encoder": ONE_STACK, "decoder": ONE_STACK, "encoder-decoder": TWO_STACKS}
FAMILIES = {"encoder": bert, "decoder": gpt2, "encoder-decoder": t5}


def hostile(tokens: Tokens) -> Tokens:
    return Tokens(tuple(HOSTILE[place % len(HOSTILE)] for place in range(len(tokens))), tokens.ids, tokens.special)


def renamed(found: cm.TokenMap) -> cm.TokenMap:
    made = found.provenance.derive(model=HOSTILE[0] + HOSTILE[1])
    return found.derive(tokens=hostile(found.tokens), query_tokens=hostile(found.query_tokens), provenance=made)


def held(family: str, count: int) -> Iterator[Any]:
    """All that a session with a model gives, with hostile tokens wherever tokens can be given."""
    model = cm.load(FAMILIES[family]())
    inputs = {"input_ids": torch.arange(count)[None] % 37 + 3}
    methods = ["globenc", "norm_encoder"]
    yield model
    yield model.check()
    if family == "encoder-decoder":
        yield model.trace(inputs, output=[5, 6, 7])
        explained = model.explain(inputs, "globenc", output=[5, 6, 7])
    else:
        yield model.trace(inputs)[0]
        explained = model.explain(inputs, "globenc")[0]
        yield model.explain(inputs, "norm_encoder")[0]
        maps = {name: renamed(model.explain(inputs, name)[0]) for name in methods}
        yield cm.Comparison(
            {HOSTILE[0] + name: one.row(0, None if "layer" not in one.dims else -1) for name, one in maps.items()}
        )
        yield cm.Exploration({HOSTILE[0] + name: one for name, one in maps.items()})
    yield explained
    yield renamed(explained)
    yield renamed(explained).row(0)
    yield hostile(explained.tokens)


def reached(thing: Any, seen: set[type], deep: int = 0) -> Iterator[Any]:
    """A thing of ours, and one of each kind that its attributes give."""
    if isinstance(thing, (tuple, list, dict)):
        for one in list(thing.values() if isinstance(thing, dict) else thing)[:2]:
            yield from reached(one, seen, deep)
        return
    ours = type(thing).__module__.startswith("contextmix.")
    if not (ours or isinstance(thing, partial)) or isinstance(thing, type) or (deep and type(thing) in seen):
        return
    seen.add(type(thing))
    yield thing
    for name in dir(thing) if ours and deep < 6 else ():
        if not name.startswith("_"):
            try:
                found = getattr(thing, name)
            except cm.ContextMixError:
                continue
            yield from reached(found, seen, deep + 1)


def fits(text: str) -> bool:
    return len(text) <= LINES * WIDTH and text.count("\n") < LINES


class Seen(HTMLParser):
    """What a browser makes of it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}


def assert_prints(thing: Any) -> None:
    text = repr(thing)
    assert fits(text), (type(thing), len(text), text[:300])
    assert all(sign.isprintable() or sign == "\n" for sign in text), (type(thing), text)
    if hasattr(type(thing), "_repr_html_"):
        html = thing._repr_html_()
        page = Seen(html)
        assert "script" not in page.tags
        assert not [name for name in page.names if name.startswith("on")]
        assert "\x1b" not in html
        if "<table" in html:
            assert "max-height" in html


@pytest.mark.parametrize("count", [5, 500])
@pytest.mark.parametrize("family", FAMILIES)
def test_all_that_a_model_gives_prints_on_a_screen(family: str, count: int):
    kinds: set[type] = set()
    for one in held(family, count):
        for thing in reached(one, kinds):
            assert_prints(thing)
    names = {kind.__name__ for kind in kinds}
    assert names >= (REACHED | REACHED_OF[family]), REACHED | REACHED_OF[family] - names


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layers_without_a_model_print_too(layout: str):
    for thing in reached(toy_layer(layout), set()):
        assert_prints(thing)


def test_what_matters_is_said():
    model = cm.load("demo")
    trace = model.trace("a deep film .")
    assert re.fullmatch(
        r"<Trace of 'demo': 6 tokens, 3 layers, 12 heads, d_model 384; conservation \S+, block equation \S+>",
        repr(trace),
    )
    assert repr(trace.layers[1]) == "<LayerTrace 1: 6 queries × 6 keys, 12 heads, d_model 384>"
    assert repr(trace.tokens) == "<Tokens 6: [CLS] a deep film . [SEP]>"
    found = model.check()
    assert re.fullmatch(
        r"<CheckReport of 'demo': 3 blocks \(post-norm\), 12 heads; conservation \S+, block equation \S+, parity \S+>",
        repr(found),
    )
    assert repr(found.anatomy) == "<Anatomy: 3 blocks, bert.encoder.layer.0 … bert.encoder.layer.2; post-norm>"
    assert repr(found.anatomy.blocks[0]).startswith("<BlockAnatomy bert.encoder.layer.0: post-norm; attention ")
    compared = model.compare("a deep film .", ["globenc", "attention"])
    assert repr(compared) == "<Comparison on 'demo': globenc, attention; 6 tokens>"
    assert repr(compared.rows["globenc"].provenance).startswith(
        "<Provenance globenc (norm_encoder + rollout) of 'demo'; "
    )


def test_of_many_tokens_a_comparison_shows_the_strongest():
    row = cm.load("demo").explain("a deep film .").row(0)
    many = row.derive(tokens=Tokens(tuple(map(str, range(500)))), values=np.arange(500.0))
    html = cm.Comparison({"one": many})._repr_html_()
    assert html.count("<tr>") == 1 + 20
    assert ">499<" in html
    assert ">479<" not in html
    assert "The 20 strongest of 500 tokens" in html


def test_a_page_makes_the_labels_of_its_columns_once():
    """They were made anew for each cell: 500 tokens took minutes."""
    found = picture(cm.load("demo").explain("a deep film .").row(0))
    assert found.columns is found.columns


def test_a_comparison_is_a_coloured_table_in_a_notebook():
    found = cm.load("demo").compare("a deep film .", ["globenc", "attention"])
    html = found._repr_html_()
    assert html.count("<tr>") == 1 + 6
    assert html.count("background:light-dark(") >= 12
    largest = [row.values.max() for row in found.rows.values()]
    for row, most in zip(found.rows.values(), largest, strict=True):
        for value in row.values:
            assert f">{value / most:.3f}<" in html
    assert ">film<" in html


def test_a_proof_is_a_table_in_a_notebook():
    found = cm.load("demo").check()
    html = found._repr_html_()
    assert f"{found.parity:.1e}" in html
    assert f"{found.checks.conservation:.1e}" in html
    assert "3 of 3" in html


def test_other_things_that_people_hold_print_on_a_screen(tmp_path: Path):
    import pandas as pd

    frame = pd.DataFrame(np.zeros((500, 30)))
    table = Table("numbers", HOSTILE[1] * 500, frame)
    patches = Patches((224, 224), (20, 25), (0, 0, 224, 224), tuple((n // 25, n % 25) for n in range(500)))
    frames = Frames(16000, 160000, 320, 0, 400, tuple(range(490)))
    (tmp_path / "texts.txt").write_text("a film\na book\n", encoding="utf-8")
    run = cm.run(tmp_path / "texts.txt", tmp_path / "out", progress=False)
    long = Provenance("m" * 5000, options={"o": "\x1b" * 5000}, notes={str(n): list(range(99)) for n in range(500)})
    for thing in (table, Report("r", HOSTILE[1] * 500, [], [table]), patches, frames, run, long):
        assert_prints(thing)
    assert repr(patches) == "<Patches: 500 tokens in 20 × 25 patches of an image of 224 × 224 pixels>"
    assert repr(frames) == "<Frames: 490 tokens of a sound of 10.00 s, one each 20 ms>"

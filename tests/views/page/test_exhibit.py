"""Exhibits, read back by a second derivation of the format: byte by byte, number by number."""

import base64
import gzip
import json
import struct
from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contextmix.errors import BadInput, BadOption, UnknownToken, WrongShape
from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.places import Frames, Patches
from contextmix.views.page.axes import axis
from contextmix.views.page.exhibit import Shown, exhibit

CODES = {(8, False): ("B", 255), (16, False): ("<H", 65535), (8, True): ("b", 127), (16, True): ("<h", 32767)}


def decoded(entry: dict) -> dict[tuple[int, ...], float]:
    """Place → number, as the explorer reads it."""
    data = entry["data"]
    code, limit = CODES[data["bits"], entry["signed"]]
    raw, scales = gzip.decompress(base64.b64decode(data["values"])), base64.b64decode(data["scales"])
    assert (len(raw) / struct.calcsize(code), len(scales) / 4) == (
        prod(entry["shape"]),
        prod(entry["shape"]) / data["columns"],
    )
    found = {}
    for number, place in enumerate(product(*map(range, entry["shape"]))):
        (stored,) = struct.unpack_from(code, raw, number * struct.calcsize(code))
        (scale,) = struct.unpack_from("<f", scales, number // data["columns"] * 4)
        found[place] = stored / limit * scale
    return found


def tokens(count: int, text: str | None = None) -> Tokens:
    return Tokens(tuple(f"t{number}" for number in range(count)), text=text)


def a_map(values, dims=("query", "key"), quantity="signed", made: Provenance | None = None, **labels) -> TokenMap:
    values = np.asarray(values)
    labels = {"tokens": tokens(values.shape[-1]), **labels}
    return TokenMap(values, dims, quantity=quantity, provenance=made or Provenance("example"), **labels)


@st.composite
def maps(draw: st.DrawFn) -> TokenMap:
    """Of any axes, with numbers of any size, with signs, zeros, rows of zeros, or nothing above the diagonal."""
    dims = draw(st.sampled_from([("key",), ("query", "key"), ("layer", "query", "key"), ("head", "query", "key")]))
    count = draw(st.integers(1, 4))
    shape = tuple(count if name in ("query", "key") else 2 for name in dims)
    kind = draw(st.sampled_from(["float32", "float64"]))
    size = 10.0 ** draw(st.sampled_from([-320, -310, -45, -44, -40, -9, 0, 7, 38])) if kind == "float64" else 1.0
    low = draw(st.sampled_from([0.0, -1.0]))
    numbers = draw(st.lists(st.just(0.0) | st.floats(low, 1), min_size=prod(shape), max_size=prod(shape)))
    values = np.array(numbers, kind).reshape(shape) * size
    if draw(st.booleans()) and "query" in dims:
        values = np.tril(values)
    return a_map(values.astype(kind), dims, "signed" if low else "norm")


@given(maps(), st.sampled_from([8, 16, None]))
@example(a_map([[0.0]], quantity="share"), 8)
@example(a_map([[1.4e-45, 2.2e-45], [1e-300, 5e-324]]), 16)  # float32 has one subnormal below, and none
@example(a_map([[3.4028234e38, -1.0], [0.0, -0.0]]), 8)
def test_what_is_read_is_what_was_written(one: TokenMap, bits: int | None):
    (entry,) = json.loads(json.dumps(exhibit({"one": one}, bits=bits)))["maps"]
    found, limit = decoded(entry), CODES[entry["data"]["bits"], entry["signed"]][1]
    differences = [0.0]
    for place, value in found.items():
        true = float(one.values[place])
        largest = max(abs(float(other)) for other in one.values[place[:-1]])
        differences.append(abs(value - true))
        if largest > 1e-36:  # below, float32 is coarser than a step
            assert differences[-1] <= largest * (0.5001 / limit + 2**-24)
            assert value * true >= 0
        assert true or value == 0
    assert entry["data"]["error"] == max(differences)
    assert entry["data"]["bits"] == (bits or 16)
    assert entry["shape"] == list(one.shape)


def test_many_numbers_get_eight_bits_and_the_same_result_the_same_bytes():
    few, many = (a_map(np.random.default_rng(0).random((side, side)), quantity="share") for side in (632, 633))
    written = [json.dumps(exhibit({"map": one})) for one in (few, many, many)]
    assert [json.loads(one)["maps"][0]["data"]["bits"] for one in written] == [16, 8, 8]
    assert written[1] == written[2]
    half = a_map(few.values[:400], quantity="share", query_tokens=tokens(400))
    assert [one["data"]["bits"] for one in exhibit({"a": half, "b": half})["maps"]] == [8, 8]  # together they are many


def test_very_many_numbers_take_coarser_steps_and_say_so(monkeypatch):
    monkeypatch.setattr("contextmix.views.page.exhibit.FEW", 1000)
    monkeypatch.setattr("contextmix.views.page.exhibit.MANY", 10_000)
    values = np.random.default_rng(0).random((3, 100, 100))
    for signed, steps in ((False, 85), (True, 42)):
        one = a_map(values - 0.5 * signed, ("layer", "query", "key"), "signed" if signed else "share")
        (entry,) = exhibit({"one": one})["maps"]
        (fine,) = exhibit({"one": one}, bits=8)["maps"]
        assert entry["data"]["bits"] == 8
        assert len(entry["data"]["values"]) < 0.85 * len(fine["data"]["values"])
        largest = 0.5 if signed else 1.0
        assert fine["data"]["error"] < entry["data"]["error"] < largest / steps
        stored = np.frombuffer(gzip.decompress(base64.b64decode(entry["data"]["values"])), "i1" if signed else "u1")
        read = stored.reshape(values.shape) / (127 if signed else 255) * np.abs(one.values).max(-1, keepdims=True)
        assert entry["data"]["error"] == pytest.approx(np.abs(read - one.values).max(), rel=1e-5)


def test_a_number_that_float32_cannot_hold_is_refused():
    with pytest.raises(BadInput, match=r"1e\+300.*float32"):
        exhibit({"one": a_map([[1e300, 1.0], [0.0, 1.0]])})
    with pytest.raises(BadOption, match="bits=4"):
        exhibit({"one": a_map([[1.0]])}, bits=4)


def test_what_cannot_be_shown_together_is_refused():
    one, other = a_map(np.eye(2)), a_map(np.eye(2), tokens=Tokens(("t0", "film")))
    with pytest.raises(BadInput, match=r"one and other are maps of different inputs: 2 tokens, t0 t1 and .* t0 film"):
        exhibit({"one": one, "other": other})
    with pytest.raises(BadInput, match="rows of different tokens"):
        exhibit({"one": one, "other": a_map(np.eye(2), query_tokens=Tokens(("a", "b")))})
    made = [Provenance("gradient", notes={"target": target}) for target in ("positive", "negative")]
    with pytest.raises(BadInput, match="different outputs: 0 “positive”, 1 “negative”"):
        exhibit({str(number): a_map([1.0], ("key",), made=one) for number, one in enumerate(made)})
    with pytest.raises(WrongShape, match=r"mixing has no key axis: \('layer', 'query'\)"):
        exhibit({"mixing": a_map(np.eye(2), ("layer", "query"))})
    with pytest.raises(BadOption, match="no map"):
        exhibit({})
    with pytest.raises(UnknownToken):
        exhibit({"one": one}, query="film")
    with pytest.raises(BadOption, match="tokens of these maps are text"):
        exhibit({"one": one}, over="image.png")


def test_all_that_the_page_needs_is_said():
    read = Tokens((" a", " film"), special=(True, False), words=(None, 3), text="a film")
    written = Tokens(("ein", "##s"))
    notes = {"prediction": {"label": "good", "probability": 0.5, "after": "\u202ea"}, "target": "good", "foil": "bad"}
    rolled = Provenance("attention", aggregation="rollout", model="mo\x1bdel", notes=notes)
    one = a_map(np.ones((2, 3, 2, 2)), ("layer", "head", "query", "key"), "share", tokens=read, query_tokens=written)
    row = a_map([1.0, 2.0], ("key",), "norm", rolled, tokens=read, query_tokens=written, selected={"query": 1})
    score = a_map([1.0, -2.0], ("key",), made=rolled.derive(aggregation=None), tokens=read)
    found = exhibit({"one": Shown(one, "α", "Me 1999"), "row": row, "score": score}, query="##s")
    assert (found["title"], found["model"]) == ("a film", "mo␛del")
    assert found["prediction"] == {"label": "good", "probability": 0.5, "after": "⟨U+202E⟩a"}
    assert found["target"] == {"label": "good", "foil": "bad"}
    assert found["keys"] == axis(read)
    assert found["keys"] == {
        "pieces": ["a", "film"],
        "gaps": ["", " "],
        "tokens": [" a", " film"],
        "special": [0],
        "words": [None, 3],
        "places": None,
    }
    assert found["queries"]["pieces"] == ["ein", "s"]
    assert found["start"] == {"map": 0, "layer": 1, "query": 1}
    assert [entry["cumulative"] for entry in found["maps"]] == [False, True, True]
    assert [entry["signed"] for entry in found["maps"]] == [False, False, True]
    assert [entry["layers"] for entry in found["maps"]] == [[0, 1], None, None]
    assert [entry["selected"] for entry in found["maps"]] == [{}, {"query": 1}, {}]
    assert (found["maps"][0]["formula"], found["maps"][0]["paper"]) == ("α", "Me 1999")
    assert ["model", "mo␛del"] in found["maps"][1]["facts"]
    assert found["maps"][1]["unit"] == "units of the residual stream"


def test_the_first_row_is_one_that_sees_the_text():
    causal = a_map(np.tril(np.ones((3, 3))))
    score = a_map([1.0, 2.0, 3.0], ("key",))
    starts = [exhibit({"a": one})["start"]["query"] for one in (causal, a_map(np.ones((3, 3))), score)]
    assert starts == [2, 0, 0]
    assert exhibit({"score": score, "causal": causal})["start"]["query"] == 2


def test_an_image_and_its_patches():
    pytest.importorskip("PIL")
    patches = Patches((200, 100), (2, 2), (50, 0, 150, 100), (None, (0, 0), (1, 1)))
    one = a_map([1.0, 2.0, 3.0], ("key",), tokens=Tokens(("[CLS]", "r0c0", "r1c1"), places=patches))
    found = exhibit({"one": one})
    assert found["media"] == {"kind": "image", "source": "", "width": 200, "height": 100}
    assert found["keys"]["places"] == [None, [0.25, 0.0, 0.25, 0.5], [0.5, 0.5, 0.25, 0.5]]
    assert found["title"] == "an image"
    shown = exhibit({"one": one}, over=np.zeros((100, 200, 3), np.uint8))["media"]["source"]
    head, _, data = shown.partition(",")
    assert (head, base64.b64decode(data)[:3]) == ("data:image/jpeg;base64", b"\xff\xd8\xff")
    with pytest.raises(BadInput, match="200 × 100"):
        exhibit({"one": one}, over=np.zeros((100, 100, 3), np.uint8))


def test_a_sound_and_its_frames():
    frames = Frames(10, 25, 10, 0, 10, (0, 1, 2, 3, None))
    one = a_map([1.0, 2.0, 3.0, 4.0, 5.0], ("key",), tokens=Tokens(("0", "1", "2", "3", "sep"), places=frames))
    found = exhibit({"one": one}, over=(np.linspace(-0.5, 1, 25, dtype=np.float32), 10))
    assert found["keys"]["places"] == [[0.0, 1.0], [1.0, 2.0], [2.0, 2.5], None, None]  # the fourth is added silence
    assert (found["media"]["kind"], found["media"]["seconds"]) == ("sound", 2.5)
    assert (found["media"]["wave"][0], found["media"]["wave"][-1]) == ([-0.5, -0.5], [1.0, 1.0])
    assert exhibit({"one": one})["media"]["wave"] == []

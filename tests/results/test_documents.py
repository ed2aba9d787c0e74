"""Files: every bit comes back, nothing is half written, and what is no result is refused with a sentence."""

import json
import os
import stat
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open
from safetensors.numpy import save_file

from contextmix.errors import BadFile, OutputExists, OutputUnwritable, WrongQuantity
from contextmix.results.documents import SCHEMA
from contextmix.results.files import refuse_place, write_atomically
from contextmix.results.labels import AXES
from contextmix.results.token_map import Provenance, Quantity, TokenMap
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.places import Frames, Patches

SUFFIXES = (".json", ".safetensors")
MADE = Provenance(
    "norm_encoder",
    options={"ratio": 0.1},
    aggregation="rollout",
    model="démo",
    revision="abc",
    versions={"torch": "2.13.0"},
    checks={"conservation": 1.5e-7},
    notes={"zero_rows": 2},
)


def example(value=0.25):
    return TokenMap(
        [value, 0.125], ("key",), Tokens(("[CLS]", "film")), "share", MADE, selected={"query": 1, "layer": 4}
    )


def assert_same(one, other):
    assert one.values.dtype == other.values.dtype
    assert one.values.tobytes() == other.values.tobytes()
    assert (one.tokens, one.query_tokens, one.provenance) == (other.tokens, other.query_tokens, other.provenance)
    for name in ("dims", "shape", "quantity", "layers", "targets", "selected"):
        assert getattr(one, name) == getattr(other, name)


# Not st.text(): it leaves lone surrogates out, also where its alphabet names them.
any_text = st.lists(st.characters() | st.sampled_from(["\ud800", "\0", "\n", '"', "\\"]), max_size=6).map("".join)


@st.composite
def maps(draw):
    dims = tuple(axis for axis in AXES if draw(st.booleans()))
    shape = tuple(draw(st.integers(1, 4)) for _ in dims)
    lengths = dict(zip(dims, shape, strict=True))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    width, quantity = 32 if dtype is np.float32 else 64, draw(st.sampled_from(Quantity))
    finite = st.floats(allow_nan=False, allow_infinity=False, width=width)
    if quantity is Quantity.SHARE:  # at most four in a row
        finite = st.floats(0, 0.25, width=width)

    def labels(axis):
        count = lengths.get(axis, draw(st.integers(1, 3)))
        return tuple(draw(st.lists(any_text, min_size=count, max_size=count)))

    keys, queries = Tokens(labels("key"), text=draw(st.none() | any_text)), Tokens(labels("query"))
    count = lengths.get("layer", 0)
    layers = (
        draw(st.none() | st.lists(st.integers(0, 99), min_size=count, max_size=count, unique=True)) if count else None
    )
    return TokenMap(
        draw(hnp.arrays(dtype, shape, elements=finite)),
        dims,
        keys,
        quantity,
        Provenance(draw(any_text), notes={draw(any_text): draw(any_text)}),
        query_tokens=draw(st.sampled_from([None, queries])) if lengths.get("query") in (None, len(keys)) else queries,
        layers=layers,
        targets=labels("target") if "target" in dims else None,
        selected={} if "query" in dims else {"query": 0},
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(token_map=maps())
@settings(max_examples=60)
def test_every_bit_comes_back(tmp_path_factory, suffix, token_map):
    path = tmp_path_factory.mktemp("maps") / f"map{suffix}"
    token_map.save(path)
    assert_same(TokenMap.load(path), token_map)


@given(maps())
def test_dictionaries_come_back_through_json(token_map):
    assert_same(TokenMap.from_dict(json.loads(json.dumps(token_map.to_dict()))), token_map)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("values", [[5e-324, -0.0], [1.7976931348623157e308, 0.1 + 0.2]])
def test_the_smallest_and_largest_numbers(tmp_path, suffix, values):
    token_map = TokenMap(values, ("key",), Tokens(("a", "b")), "signed", MADE)
    token_map.save(tmp_path / f"map{suffix}")
    assert_same(TokenMap.load(tmp_path / f"map{suffix}"), token_map)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_transposed_array_is_not_stored_askew(tmp_path, suffix):
    values = np.arange(6.0).reshape(3, 2).T
    token_map = TokenMap(values, ("head", "key"), Tokens(("a", "b", "c")), "norm", MADE)
    token_map.save(tmp_path / f"map{suffix}")
    assert TokenMap.load(tmp_path / f"map{suffix}").values.tolist() == values.tolist()


def test_json_is_readable(tmp_path):
    token_map = TokenMap([0.5], ("key",), Tokens(("電影",)), "share", MADE)
    token_map.save(tmp_path / "map.json")
    lines = (tmp_path / "map.json").read_text(encoding="utf-8").splitlines()
    assert '"format": "contextmix.tokenmap",' in lines
    assert '"schema": 1,' in lines
    assert any("電影" in line for line in lines)
    assert json.loads("".join(lines))["unit"] == "1"


def test_safetensors_holds_a_plain_tensor(tmp_path):
    example().save(str(tmp_path / "map.SAFETENSORS"))
    with safe_open(tmp_path / "map.SAFETENSORS", framework="numpy") as file:
        assert file.get_tensor("values").tolist() == [0.25, 0.125]
        assert json.loads(file.metadata()["contextmix"])["provenance"]["method"] == "norm_encoder"


# Writing


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_existing_file_is_kept(tmp_path, suffix):
    path = tmp_path / f"map{suffix}"
    example(0.25).save(path)
    with pytest.raises(OutputExists, match=r"already exists.*overwrite=True"):
        example(0.75).save(path)
    assert_same(TokenMap.load(path), example(0.25))
    example(0.75).save(path, overwrite=True)
    assert_same(TokenMap.load(path), example(0.75))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_an_interrupted_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch, failure, step):
    path = tmp_path / "map.json"
    example(0.25).save(path)

    def fail(*_):
        assert len(list(tmp_path.iterdir())) == 2  # the part lies beside the file: it had begun
        raise failure

    with monkeypatch.context() as patched:
        patched.setattr(step, fail)
        with pytest.raises(KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else OutputUnwritable):
            example(0.75).save(path, overwrite=True)
    assert list(tmp_path.iterdir()) == [path]
    assert_same(TokenMap.load(path), example(0.25))


def test_a_failed_first_write_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputUnwritable, match="No space left on device"):
        example().save(tmp_path / "map.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/map.json", "there is no folder"),
        ("folder.json", "it is a folder"),
        ("file.txt/map.json", "there is no folder"),
        ("x" * 300 + ".json", "name too long"),
        ("a\0b.json", "null"),
        ("map.txt", r"its name ends in '\.txt'.*\.json, \.safetensors or \.html"),
        ("map", "its name ends in ''"),
        ("map.pickle", r"'\.pickle'"),
    ],
)
@pytest.mark.parametrize("overwrite", [True, False])
def test_places_that_cannot_be_written(tmp_path, name, reason, overwrite):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file.txt").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputUnwritable, match=f"(?i){reason}"):
        example().save(tmp_path / name, overwrite=overwrite)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["missing/map.json", "folder.json", "x" * 300 + ".json", "old.json"])
def test_a_place_is_refused_before_any_work(tmp_path, name):
    (tmp_path / "folder.json").mkdir()
    example().save(tmp_path / "old.json")
    with pytest.raises(OutputExists if name == "old.json" else OutputUnwritable):
        refuse_place(tmp_path / name)
    refuse_place(tmp_path / "old.json", overwrite=True)
    refuse_place(tmp_path / "new.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.json", "old.json"]


@pytest.mark.skipif(
    os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind here"
)
def test_a_closed_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputUnwritable, match="Permission denied"):
        example().save(tmp_path / "map.json")
    tmp_path.chmod(0o700)


def test_no_permission(tmp_path, monkeypatch):
    def closed(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", closed)
    with pytest.raises(OutputUnwritable, match="Permission denied"):
        write_atomically(tmp_path / "note.txt", b"x")


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_files_are_as_readable_as_the_user_has_others_be(tmp_path):
    before = os.umask(0o027)
    try:
        example().save(tmp_path / "map.json")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "map.json").stat().st_mode) == 0o640


# Reading


def written(path, **changes):
    document = {**example().to_dict(), **changes}
    path.write_text(json.dumps({name: value for name, value in document.items() if value != "leave out"}))
    return path


@pytest.mark.parametrize("name", sorted(set(example().to_dict()) - {"unit"}))
def test_a_missing_field_is_refused(tmp_path, name):
    with pytest.raises(BadFile, match=r"Cannot read .*map\.json"):
        TokenMap.load(written(tmp_path / "map.json", **{name: "leave out"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "another"}, "does not say that its format is 'contextmix.tokenmap'"),
        ({"schema": SCHEMA + 1}, f"schema is {SCHEMA + 1} and this version of contextmix reads up to {SCHEMA}"),
        ({"quantity": "length"}, "'quantity'"),
        ({"dims": "key"}, "'dims'"),
        ({"dims": ["query", "key"]}, "2 axes"),
        ({"dims": ["colour"]}, "Axes are any of"),
        ({"dtype": "float16"}, "'dtype'"),
        ({"layers": [0.5]}, "'layers'"),
        ({"selected": {"query": "a"}}, "'selected'"),
        ({"selected": {"query": 9}}, "number 9"),
        ({"tokens": {"pieces": ["a"]}}, "'ids'"),
        ({"query_tokens": 3}, "'query_tokens'"),
        ({"provenance": {"method": 3}}, "'method'"),
        ({"values": [0.1, 0.2, 0.3]}, "3 entries and 2 labels"),
        ({"values": [[0.1], [0.2, 0.3]]}, "do not fit"),
        ({"values": ["0.1", "0.2"]}, "not a rectangular array of numbers"),
        ({"values": [True, False]}, "not a rectangular array of numbers"),
        ({"values": [None, 1.0]}, "not a rectangular array of numbers"),
        ({"values": [float("nan"), 1.0]}, "NaN or infinite"),
        ({"values": {"a": 1}}, "'values'"),
    ],
)
def test_malformed_fields_are_named(tmp_path, changes, message):
    with pytest.raises(BadFile, match=message):
        TokenMap.load(written(tmp_path / "map.json", **changes))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("map.json", b""),
        ("map.json", b"{"),
        ("map.json", b"\xff\xfe"),
        ("map.json", b"null"),
        ("map.json", b"[1, 2]"),
        ("map.json", b"[" * 100_000),
        ("map.json", b'{"format": "contextmix.tokenmap", "schema": 1}'),
        ("map.safetensors", b""),
        ("map.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "),
        ("map.safetensors", b"\xff" * 64),
        ("map.txt", b"{}"),
        ("map", b"{}"),
    ],
)
def test_files_that_are_something_else(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFile, match=f"Cannot read .*{name}"):
        TokenMap.load(tmp_path / name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_truncated_file_is_refused(tmp_path, suffix):
    example().save(tmp_path / f"whole{suffix}")
    whole = (tmp_path / f"whole{suffix}").read_bytes().rstrip()
    part = tmp_path / f"part{suffix}"
    for length in range(0, len(whole), 37):
        part.write_bytes(whole[:length])
        with pytest.raises(BadFile):
            TokenMap.load(part)


@pytest.mark.parametrize("metadata", [None, {"contextmix": "null"}, {"contextmix": "{"}, {"contextmix": "{}"}])
def test_tensors_of_someone_else(tmp_path, metadata):
    save_file({"values": np.ones(2)}, tmp_path / "map.safetensors", metadata)
    with pytest.raises(BadFile):
        TokenMap.load(tmp_path / "map.safetensors")


def test_labels_without_their_tensor(tmp_path):
    document = {**example().to_dict(), "values": None}
    save_file({"other": np.ones(2)}, tmp_path / "map.safetensors", {"contextmix": json.dumps(document)})
    with pytest.raises(BadFile, match="values"):
        TokenMap.load(tmp_path / "map.safetensors")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_file(tmp_path, suffix):
    with pytest.raises(BadFile, match="No such file"):
        TokenMap.load(tmp_path / f"map{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_is_no_file(tmp_path, suffix):
    (tmp_path / f"map{suffix}").mkdir()
    with pytest.raises(BadFile, match="Cannot read"):
        TokenMap.load(tmp_path / f"map{suffix}")


PLACES = {
    "patches": Patches((300, 200), (1, 2), (-0.1, 1 / 3, 300, 200), (None, (0, 0), (0, 1))),
    "frames": Frames(16000, 1600, 320, -520, 1040, (0, 1, 2)),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", PLACES)
def test_places_come_back(tmp_path, suffix, kind):
    tokens = Tokens(("a", "b", "c"), special=(True, False, False), places=PLACES[kind])
    token_map = TokenMap(np.eye(3), ("query", "key"), tokens, "share", MADE)
    token_map.save(tmp_path / f"map{suffix}")
    assert_same(TokenMap.load(tmp_path / f"map{suffix}"), token_map)
    assert TokenMap.load(tmp_path / f"map{suffix}").tokens.places == PLACES[kind]


def test_a_file_says_the_oldest_schema_that_holds_it_all():
    assert example().to_dict()["schema"] == 1
    assert "places" not in example().to_dict()["tokens"]
    placed = example().derive(tokens=Tokens(("a", "b"), places=Frames(16000, 800, 320, 0, 400, (0, 1))))
    assert placed.to_dict()["schema"] == 2
    assert "places" in placed.to_dict()["tokens"]
    assert_same(TokenMap.from_dict({**example().to_dict(), "schema": 1}), example())


def test_damaged_places_name_the_field():
    placed = example().derive(tokens=Tokens(("a", "b"), places=Frames(16000, 800, 320, 0, 400, (0, 1)))).to_dict()
    placed["tokens"]["places"]["step"] = "wide"
    with pytest.raises(BadFile, match="places of the tokens"):
        TokenMap.from_dict(placed)


# Numbers that cannot be what they say they are


def stored(path, document):
    """A document as other hands may have written it, in either format."""
    if path.suffix == ".json":
        path.write_text(json.dumps(document))
    else:
        labels = {name: value for name, value in document.items() if name != "values"}
        values = np.array(document["values"], dtype=document["dtype"])
        save_file({"values": values}, path, {"contextmix": json.dumps(labels)})
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("dims", "values", "aggregation", "said"),
    [
        (["key"], [0.5, 0.5], None, None),
        (["key"], [0.0, 0.0], None, None),
        (["key"], [0.2, 0.1], None, None),  # others took part, such as a sink
        (["key"], [0.5, 0.503], None, None),  # a row that bfloat16 rounded, as 0.1.0 kept it
        (["key"], [0.5, 0.51], None, "the row sums to 1.01"),
        (["key"], [0.5, 0.55], "rollout", None),
        (["key"], [0.5, 0.6], "rollout", "the row sums to 1.1"),
        (["key"], [1.2, -0.2], None, "one of them is -0.2"),
        (["key"], [float("nan"), 0.5], None, "NaN or infinite"),
        (["key"], [float("inf"), 0.5], None, "NaN or infinite"),
        (["query", "key"], [[0.5, 0.5], [0.5, 0.75]], None, "the row at query 1 sums to 1.25"),
        (["layer", "query", "key"], [[[0.5, 0.5], [1, 0]], [[0.7, 0.9], [0, 1]]], None, "layer 1, query 0 sums to 1.6"),
        (["layer", "query"], [[0.5, 0.5]], None, None),  # ratios
        (["layer", "query"], [[0.5, 1.5]], None, "the one at layer 0, query 1 is 1.5"),
        ([], 2.0, None, "it is 2"),
    ],
)
def test_shares_that_cannot_be_shares_are_refused(tmp_path, suffix, dims, values, aggregation, said):
    document = {**example().to_dict(), "dims": dims, "values": values, "dtype": "float64", "selected": {}}
    document["provenance"] = {**document["provenance"], "aggregation": aggregation}
    path = stored(tmp_path / f"map{suffix}", document)
    if said is None:
        assert np.array_equal(TokenMap.load(path).values, np.array(values))
        return
    with pytest.raises(BadFile, match=said):
        TokenMap.load(path)
    with pytest.raises(BadFile, match=said):
        TokenMap.from_dict(document)
    signed = stored(tmp_path / f"signed{suffix}", {**document, "quantity": "signed"})
    if "NaN" not in said:
        assert np.array_equal(TokenMap.load(signed).values, np.array(values))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_could_not_be_read_back_is_not_written(tmp_path, suffix):
    wrong = example().derive(values=[0.5, 0.75])
    with pytest.raises(WrongQuantity, match=r"the row sums to 1\.25.*quantity='signed'.*as_share"):
        wrong.save(tmp_path / f"map{suffix}")
    assert list(tmp_path.iterdir()) == []
    wrong.derive(quantity="signed").save(tmp_path / f"map{suffix}")
    assert_same(TokenMap.load(tmp_path / f"map{suffix}"), wrong.derive(quantity="signed"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int8", "int64", "bool", "uint8", "complex64"])
def test_numbers_of_another_precision_than_the_labels_say(tmp_path, dtype):
    import torch
    from safetensors.torch import save_file as save_torch

    labels = {**example().to_dict(), "dtype": "float32"}
    del labels["values"]
    tensor = torch.tensor([0.25, 0.125]).to(getattr(torch, dtype))
    save_torch({"values": tensor}, tmp_path / "map.safetensors", {"contextmix": json.dumps(labels)})
    with pytest.raises(BadFile, match="Its values are stored as"):
        TokenMap.load(tmp_path / "map.safetensors")


def test_numbers_that_are_too_large_for_their_precision(tmp_path):
    document = {**example().to_dict(), "quantity": "norm", "dtype": "float32", "values": [1e39, 1.0]}
    with pytest.raises(BadFile, match="NaN or infinite"):
        TokenMap.load(stored(tmp_path / "map.json", document))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pipe_is_not_waited_for(tmp_path, suffix):
    os.mkfifo(tmp_path / f"map{suffix}")
    said = []

    def read():
        try:
            TokenMap.load(tmp_path / f"map{suffix}")
        except BadFile as reason:
            said.append(str(reason))

    reading = threading.Thread(target=read, daemon=True)  # whoever waits must not hold up the tests
    reading.start()
    reading.join(10)
    assert not reading.is_alive()
    assert "is a named pipe" in said[0]


# Damage of every kind

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=6,
)


def places_in(value, path=()):
    """Every place in a document, as the keys that lead to it."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from places_in(inner, (*path, key))


def damaged(document, path, value):
    """The document with another value in one place, or without it where the value is ``...``."""
    copied = json.loads(json.dumps(document))
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copied


WHOLE = TokenMap(
    np.full((2, 2, 3), 0.25),
    ("layer", "query", "key"),
    Tokens(("a", "b", "c"), (1, 2, 3), (True, False, False), (None, 0, 0), (None, (0, 1), (1, 2)), "bc"),
    "share",
    MADE,
    query_tokens=Tokens(("x", "y"), places=Frames(16000, 800, 320, 0, 400, (0, 1))),
    layers=(3, 5),
).to_dict()


@given(st.sampled_from(list(places_in(WHOLE))), st.just(...) | json_values)
@settings(max_examples=400)
def test_a_field_of_any_other_content_is_refused_or_fits(path, value):
    changed = damaged(WHOLE, path, value)
    try:
        found = TokenMap.from_dict(changed)
    except BadFile:
        return
    repr(found)
    found.to_dataframe()


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(data=st.data())
@settings(max_examples=200)
def test_bytes_that_were_flipped_or_cut_are_refused_or_fit(tmp_path_factory, suffix, data):
    folder = tmp_path_factory.getbasetemp() / "flipped"
    folder.mkdir(exist_ok=True)
    TokenMap.from_dict(WHOLE).save(folder / f"whole{suffix}", overwrite=True)
    content = bytearray((folder / f"whole{suffix}").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path = folder / f"part{suffix}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    try:
        found = TokenMap.load(path)
    except BadFile:
        return
    assert np.isfinite(found.values).all()
    if found.quantity is Quantity.SHARE and "key" in found.dims:
        assert found.values.min() > -1e-4
        assert found.values.sum(found.dims.index("key")).max() < 1.07

"""TokenMap: labels, meaning and origin stay with the numbers, and every operation is written out longhand here."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from contextmix.errors import (
    AmbiguousToken,
    BadFile,
    BadInput,
    BadOption,
    NotFinite,
    UnknownName,
    UnknownPosition,
    UnknownToken,
    WrongQuantity,
    WrongShape,
)
from contextmix.results.token_map import Provenance, Quantity, TokenMap
from contextmix.tokens.pieces import Tokens

WORDS = (None, 0, 0, 1)
TOKENS = Tokens(("[CLS]", "fi", "##lm", "!"), special=(True, False, False, False), words=WORDS)
MADE = Provenance("norm_encoder", model="demo")
VALUES = np.arange(3 * 4 * 4, dtype=np.float64).reshape(3, 4, 4) + 1


def layers_map(values=VALUES, quantity="norm", **options):
    return TokenMap(values, ("layer", "query", "key"), TOKENS, quantity, MADE, **options)


def key_map(values, quantity="norm"):
    return TokenMap(np.asarray(values), ("key",), Tokens(tuple("abcdef"[: len(values)])), quantity, MADE)


# Birth


def test_labels_at_birth():
    result = layers_map(layers=(4, 5, 6))
    array = result.to_xarray()
    assert result.dims == array.dims == ("layer", "query", "key")
    assert result.shape == (3, 4, 4)
    assert result.layers == (4, 5, 6)
    assert array.coords["layer"].values.tolist() == [4, 5, 6]
    assert array.coords["key"].values.tolist() == array.coords["query"].values.tolist() == [0, 1, 2, 3]
    assert array.coords["key_token"].values.tolist() == list(TOKENS.pieces)
    assert array.coords["query_token"].dims == ("query",)
    assert set(array.indexes) == {"layer", "query", "key"}
    assert array.attrs["quantity"] == "norm"
    assert array.attrs["units"] == Quantity.NORM.unit
    assert array.attrs["long_name"] == Quantity.NORM.meaning
    assert "rows (query) are the tokens that receive" in array.attrs["orientation"]
    assert float(array.sel(layer=5, query=1, key=2)) == VALUES[1, 1, 2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_keep_their_type_and_are_copied(dtype):
    mine = np.ones((3, 4, 4), dtype)
    result = layers_map(mine)
    mine[0] = 7
    assert result.values.dtype == dtype
    assert result.values.max() == 1
    with pytest.raises(ValueError, match="read-only"):
        result.values[0, 0, 0] = 2
    result.to_xarray().values[:] = 9
    assert result.values.max() == 1


def test_other_numbers_become_float64():
    assert key_map(np.array([1, 2], dtype=np.int32)).values.dtype == np.float64
    assert key_map(np.array([1, 2], dtype=np.float16)).values.dtype == np.float64


@pytest.mark.parametrize(
    "values", [np.array(["1", "2"]), np.array([1j, 2]), np.array([True, False]), np.array([None, 1])]
)
def test_what_is_no_real_number_is_refused(values):
    with pytest.raises(WrongShape, match="real numbers"):
        key_map(values)


def test_nothing_can_be_reassigned_silently():
    with pytest.raises(AttributeError):
        layers_map().colour = "red"
    with pytest.raises(AttributeError):
        layers_map().values = np.zeros((3, 4, 4))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(bad):
    values = VALUES.copy()
    values[1, 2, 3] = bad
    with pytest.raises(NotFinite, match=r"1 of 48 values .* \{'layer': 1, 'query': 2, 'key': 3\}"):
        layers_map(values)


@pytest.mark.parametrize(
    ("shape", "dims", "message"),
    [
        ((4, 4), ("key", "query"), "in this order"),
        ((4, 4), ("key", "key"), "each once"),
        ((4,), ("token",), "Axes are any of"),
        ((4,), ("query", "key"), r"shape \(4,\) for the 2 axes"),
        ((4, 3), ("query", "key"), "key axis has 3 entries and 4 labels"),
        ((5, 4), ("query", "key"), "query axis has 5 entries and 4 labels"),
        ((0, 4), ("head", "key"), "at least one entry"),
        ((2, 4), ("target", "key"), r"target axis has 2 entries and 0 labels.*targets=…"),
    ],
)
def test_axes_that_do_not_fit(shape, dims, message):
    with pytest.raises(WrongShape, match=message):
        TokenMap(np.zeros(shape), dims, TOKENS, "share", MADE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": (0, 1)}, "layer axis has 3 entries and 2 labels"),
        ({"layers": (0, 1, 1)}, "different numbers"),
        ({"layers": (-1, 0, 1)}, "different numbers from 0"),
        ({"selected": {"query": 0}}, "cannot be number 0 on the axis 'query'"),
        ({"selected": {"head": -1}}, "cannot be number -1 on the axis 'head'"),
        ({"selected": {"colour": 1}}, "'colour'"),
        ({"selected": {"target": 0}}, "'target'"),
    ],
)
def test_labels_that_do_not_fit(options, message):
    with pytest.raises(WrongShape, match=message):
        layers_map(**options)


def test_layers_need_their_axis():
    with pytest.raises(WrongShape, match="no layer axis"):
        TokenMap(np.zeros(4), ("key",), TOKENS, "share", MADE, layers=(0,))


def test_a_quantity_that_does_not_exist():
    with pytest.raises(UnknownName, match="length"):
        key_map([1.0], quantity="length")


@pytest.mark.parametrize("quantity", Quantity)
def test_every_quantity_says_meaning_and_unit(quantity):
    assert quantity.meaning
    assert quantity.unit
    assert key_map([1.0], quantity).to_xarray().name == str(quantity) == quantity.value


def test_repr_is_short():
    assert repr(layers_map()) == "<TokenMap norm_encoder: norm, layer 3 × query 4 × key 4, of 'demo'>"
    assert repr(layers_map().row(1, 2)) == "<TokenMap norm_encoder: norm, key 4, at layer 2, at query 1, of 'demo'>"


# Choosing


def test_row():
    row = layers_map().row("##lm")
    assert row.dims == ("layer", "key")
    assert row.selected == {"query": 2}
    np.testing.assert_array_equal(row.values, VALUES[:, 2])
    assert row.query_tokens.pieces[row.selected["query"]] == "##lm"


def test_row_of_a_layer_counts_layers_by_their_number():
    row = layers_map(layers=(4, 5, 6)).row(-1, layer=5)
    assert row.dims == ("key",)
    assert row.selected == {"layer": 5, "query": 3}
    assert row.layers == ()
    np.testing.assert_array_equal(row.values, VALUES[1, 3])


@pytest.mark.parametrize(("index", "place"), [(4, 0), (6, 2), (-1, 2), (-3, 0)])
def test_layer(index, place):
    chosen = layers_map(layers=(4, 5, 6)).layer(index)
    np.testing.assert_array_equal(chosen.values, VALUES[place])
    assert chosen.selected == {"layer": 4 + place}


@pytest.mark.parametrize("index", [0, 3, 7, -4])
def test_a_layer_that_is_not_there(index):
    with pytest.raises(UnknownPosition, match=rf"no layer {index} in this result. It contains layer 4, 5, 6"):
        layers_map(layers=(4, 5, 6)).layer(index)


def test_head_and_target():
    values = np.random.default_rng(0).random((2, 3, 4))
    result = TokenMap(values, ("target", "head", "key"), TOKENS, "signed", MADE, targets=("bad", "good"))
    np.testing.assert_array_equal(result.head(-1).values, values[:, 2])
    np.testing.assert_array_equal(result.target("good").head(0).values, values[1, 0])
    np.testing.assert_array_equal(result.target(-2).values, values[0])
    assert result.target("good").head(0).selected == {"target": 1, "head": 0}
    assert result.target("good").to_xarray().coords["target_name"] == "good"
    with pytest.raises(UnknownPosition, match=r"no head 3 in this result\. It contains head 0, 1, 2"):
        result.head(3)
    with pytest.raises(UnknownPosition, match=r"no target 'fine' in this result\. It contains target bad, good"):
        result.target("fine")


@pytest.mark.parametrize(
    ("ask", "axis"),
    [
        (lambda m: m.row(0), "query"),
        (lambda m: m.layer(0), "layer"),
        (lambda m: m.head(0), "head"),
        (lambda m: m.target(0), "target"),
    ],
)
def test_an_axis_that_is_not_there(ask, axis):
    with pytest.raises(WrongShape, match=f"{axis} axis; this map has key"):
        ask(key_map([1.0, 2.0]))


def test_tokens_of_rows_are_looked_up_among_the_queries():
    queries = Tokens(("der", "Film", "der"))
    cross = TokenMap(np.arange(12.0).reshape(3, 4), ("query", "key"), TOKENS, "share", MADE, query_tokens=queries)
    np.testing.assert_array_equal(cross.row("Film").values, [4, 5, 6, 7])
    with pytest.raises(AmbiguousToken):
        cross.row("der")
    with pytest.raises(UnknownToken):
        cross.row("##lm")


def test_top():
    row = key_map([0.1, -0.7, 0.3, 0.7], "signed")
    assert row.top(3) == [("b", -0.7), ("d", 0.7), ("c", 0.3)]
    assert len(row.top(99)) == 4
    with pytest.raises(BadOption, match=r"top\(0\)"):
        row.top(0)
    with pytest.raises(WrongShape, match="top\\(\\) lists one row"):
        layers_map().top()


# Words and shares


def test_words_longhand():
    result = layers_map().words()
    assert result.tokens.pieces == result.query_tokens.pieces == ("[CLS]", "film", "!")
    groups = ((0,), (1, 2), (3,))
    for layer in range(3):
        for row, queries in enumerate(groups):
            for column, keys in enumerate(groups):
                total = sum(VALUES[layer, query, key] for query in queries for key in keys) / len(queries)
                assert result.values[layer, row, column] == pytest.approx(total, rel=1e-15)
    assert result.provenance.notes["words"] == {"keys": "sum", "queries": "mean"}
    assert result.quantity is Quantity.NORM


def test_words_keep_the_sum_of_a_row():
    values = np.random.default_rng(0).dirichlet(np.ones(4), 4)
    merged = TokenMap(values, ("query", "key"), TOKENS, "share", MADE).words()
    np.testing.assert_allclose(merged.values.sum(axis=1), 1)


def test_words_of_a_chosen_row_keep_the_row_of_its_piece():
    row = layers_map().row("##lm", 0).words()
    np.testing.assert_array_equal(row.values, [VALUES[0, 2, 0], VALUES[0, 2, 1] + VALUES[0, 2, 2], VALUES[0, 2, 3]])
    assert row.query_tokens.pieces[row.selected["query"]] == "##lm"


def test_words_of_cross_attention_merge_each_side_by_its_own():
    queries = Tokens(("un", "##real"), words=(0, 0))
    values = np.arange(8, dtype=np.float32).reshape(2, 4)
    merged = TokenMap(values, ("query", "key"), TOKENS, "share", MADE, query_tokens=queries).words()
    assert merged.values.tolist() == [[2.0, 7.0, 5.0]]
    assert merged.values.dtype == np.float32
    assert merged.query_tokens.pieces == ("unreal",)


def test_words_need_to_be_known():
    with pytest.raises(BadInput, match="do not say which word"):
        key_map([1.0, 2.0]).words()


def test_as_share_longhand():
    values = VALUES.copy()
    values[1, 2] = 0
    shares = layers_map(values).as_share()
    for layer in range(3):
        for query in range(4):
            total = sum(values[layer, query])
            for key in range(4):
                expected = values[layer, query, key] / total if total else 0
                assert shares.values[layer, query, key] == pytest.approx(expected, rel=1e-14)
    assert shares.quantity is Quantity.SHARE
    assert shares.provenance.notes["as_share"] == {"from": "norm", "zero_rows": 1}


@given(hnp.arrays(np.float64, (2, 3), elements=st.floats(0, allow_nan=False, allow_infinity=False)))
def test_shares_sum_to_one_for_any_size_of_number(values):
    shares = TokenMap(
        values, ("query", "key"), Tokens(("a", "b", "c")), "norm", MADE, query_tokens=Tokens(("a", "b"))
    ).as_share()
    sums = shares.values.sum(axis=1)
    np.testing.assert_allclose(sums, np.where(values.any(axis=1), 1, 0), rtol=1e-14)


@pytest.mark.parametrize(("values", "quantity"), [([0.5, 0.5], "signed"), ([0.5, -0.1], "norm")])
def test_numbers_with_signs_have_no_shares(values, quantity):
    with pytest.raises(WrongQuantity, match="Signs cancel out"):
        key_map(values, quantity).as_share()


def test_derive_keeps_all_but_what_changes():
    before = layers_map(layers=(4, 5, 6)).row(1)
    after = before.derive(quantity="share", values=before.values * 2)
    assert (after.layers, after.selected, after.dims, after.tokens) == (
        before.layers,
        before.selected,
        before.dims,
        TOKENS,
    )
    assert after.quantity is Quantity.SHARE
    assert before.quantity is Quantity.NORM


# Other forms


def test_dataframe_is_long_and_complete():
    frame = layers_map(layers=(4, 5, 6)).to_dataframe()
    assert list(frame.columns) == ["layer", "query", "query_token", "key", "key_token", "value"]
    assert len(frame) == VALUES.size
    line = frame[(frame.layer == 5) & (frame["query"] == 2) & (frame.key == 3)].iloc[0]
    assert (line.query_token, line.key_token, line.value) == ("##lm", "!", VALUES[1, 2, 3])


def test_dataframe_of_a_row_says_which_row():
    frame = layers_map().row("!", -1).to_dataframe()
    assert list(frame.columns) == ["layer", "query", "query_token", "key", "key_token", "value"]
    assert set(frame.query_token) == {"!"}
    assert set(frame.layer) == {2}
    assert frame.value.tolist() == VALUES[2, 3].tolist()


def test_dataframe_of_one_number():
    frame = TokenMap(np.array(2.5), (), TOKENS, "share", MADE, selected={"layer": 1}).to_dataframe()
    assert frame.to_dict("records") == [{"layer": 1, "value": 2.5}]
    assert TokenMap(np.array(2.5), (), TOKENS, "share", MADE).to_dataframe().value.tolist() == [2.5]


def test_broken_texts_are_escaped_in_tables_and_kept_in_tokens():
    result = TokenMap([1, 2], ("key",), Tokens(("\ud800", "b")), "share", MADE)
    assert result.to_dataframe().key_token.tolist() == ["\\ud800", "b"]
    assert result.tokens.pieces[0] == "\ud800"
    row = result.derive(values=np.eye(2), dims=("query", "key")).row(0)
    assert row.to_dataframe().query_token.tolist() == ["\\ud800"] * 2


def test_derive_drops_the_labels_of_an_axis_that_goes():
    values = VALUES[:1]
    assert layers_map(values, layers=(5,)).derive(dims=("head", "query", "key")).layers == ()


def test_labels_survive_pieces_that_numpy_would_shorten():
    pieces = ("a\0", "b" * 300)
    assert TokenMap([1, 2], ("key",), Tokens(pieces), "share", MADE).to_dataframe().key_token.tolist() == list(pieces)


# Provenance


def test_provenance_copies_what_it_is_given():
    options = {"layers": (1, 2), "ratio": np.float32(0.5)}
    made = Provenance("alti", options=options, checks={"conservation": np.float64(1e-7)})
    options["layers"] = ()
    assert made.options == {"layers": [1, 2], "ratio": 0.5}
    assert made.checks == {"conservation": 1e-7}


def test_provenance_refuses_what_could_not_be_saved():
    for notes in ({"a": object()}, {"a": float("nan")}, {(1, 2): 3}):
        with pytest.raises(BadInput, match="notes of a result must be JSON values"):
            Provenance("alti", notes=notes)


def test_provenance_derives_copies():
    made = Provenance("norm", notes={"a": 1})
    after = made.derive(aggregation="rollout").noting(b=2, a=3)
    assert (made.title, made.notes) == ("norm", {"a": 1})
    assert (after.title, after.notes) == ("norm + rollout", {"a": 3, "b": 2})


@pytest.mark.parametrize(("name", "value"), [("method", 1), ("options", []), ("aggregation", 2), ("checks", None)])
def test_provenance_names_malformed_fields(name, value):
    fields = {**Provenance("norm").to_dict(), name: value}
    with pytest.raises(BadFile, match=f"'{name}'"):
        Provenance.from_dict(fields)
    del fields[name]
    with pytest.raises(BadFile, match=f"'{name}'"):
        Provenance.from_dict(fields)

"""A `TokenMap` in the habits of Python."""

import numpy as np
import pandas as pd
import pytest

from contextmix.errors import AmbiguousToken, UnknownToken, WrongShape
from contextmix.results.provenance import Provenance
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens

TOKENS = Tokens(("a", "good", "film", "film"))


def token_map(*shape, dims=("query", "key")):
    values = np.arange(np.prod(shape), dtype=float).reshape(shape)
    return TokenMap(values, dims, TOKENS, "norm", Provenance("example"))


def test_items_of_a_map_are_its_rows():
    found = token_map(4, 4)
    assert len(found) == 4
    assert found["good"].dims == ("key",)
    assert found["good"].values.tolist() == found[1].values.tolist() == [4, 5, 6, 7]
    assert [row.values[0] for row in found] == [0, 4, 8, 12]


def test_items_of_a_row_are_its_numbers():
    row = token_map(4, dims=("key",))
    assert (len(row), row["good"], row[-1], list(row)) == (4, 1.0, 3.0, [0.0, 1.0, 2.0, 3.0])
    layers = token_map(2, 4, dims=("layer", "key"))
    assert layers["good"].tolist() == [1.0, 5.0]


def test_a_token_that_is_missing_or_not_alone_is_refused():
    with pytest.raises(UnknownToken, match="bad"):
        token_map(4, 4)["bad"]
    with pytest.raises(AmbiguousToken, match="film"):
        token_map(4, dims=("key",))["film"]
    with pytest.raises(WrongShape, match="key axis"):
        len(token_map(4, dims=("query",))["a"])


def test_numpy_reads_it_and_a_copy_may_be_changed():
    found = token_map(4, 4)
    assert np.asarray(found).tolist() == np.array(found).tolist() == found.values.tolist()
    assert np.asarray(found, dtype=np.float32).dtype == np.float32
    copy = found.to_numpy()
    copy[0, 0] = 9
    np.array(found)[0, 0] = 9
    assert found.values[0, 0] == 0


def test_pandas_gets_the_labels():
    table = token_map(4, 4).to_pandas()
    assert isinstance(table, pd.DataFrame)
    assert (table.index.name, table.columns.name) == ("query", "key")
    assert table.loc["good", "a"] == 4
    row = token_map(4, dims=("key",)).to_pandas()
    assert isinstance(row, pd.Series)
    assert (row["good"], row.name) == (1.0, "norm")
    layers = TokenMap(np.ones((2, 4)), ("layer", "key"), TOKENS, "norm", Provenance("example"), layers=(3, 5))
    assert layers.to_pandas().index.tolist() == [3, 5]
    with pytest.raises(WrongShape, match="to_dataframe"):
        token_map(2, 4, 4, dims=("layer", "query", "key")).to_pandas()

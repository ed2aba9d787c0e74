"""Whole numbers of any library, and what is none: fractions, truth, texts, and rows of numbers, one long or not."""

from typing import Any

import numpy as np
import pytest
import torch

from contextmix.maths.whole import index_of, plain, whole_number

WHOLE = [3, np.int8(3), np.uint64(3), np.array(3), torch.tensor(3), torch.tensor(3, dtype=torch.uint8)]
NONE = [3.0, np.float32(3), torch.tensor(3.0), True, np.True_, np.array(True), torch.tensor(True), "3", None]
ROWS = [[3], np.array([3]), torch.tensor([3]), torch.tensor([[3]]), torch.tensor([3, 4]), torch.tensor([])]


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_a_whole_number_is_one_of_python(value: Any):
    found = whole_number(value)
    assert type(found) is int
    assert found == 3
    assert index_of("row: query", value) == 3


@pytest.mark.parametrize("value", [*NONE, *ROWS], ids=repr)
def test_what_is_no_whole_number_is_none(value: Any):
    assert whole_number(value) is None
    with pytest.raises(TypeError, match="row: query must be a whole number; got "):
        index_of("row: query", value)


def test_what_cannot_be_read_stays_as_it_is():
    meta = torch.empty(2, device="meta")
    assert plain(meta) is meta
    assert plain(np.float32) is np.float32
    assert plain(torch.tensor([1, 2])) == [1, 2]

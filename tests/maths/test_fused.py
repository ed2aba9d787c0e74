"""The formula of the accelerator's kernel, on a processor: as it is, in tiles, and compiled."""

import math
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.maths import longhand
from tests.strategies import tensors

from contextmix.maths import fused
from contextmix.maths.fused import fused_forms
from contextmix.maths.quadratic import quadratic_forms


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.data())
def test_it_is_the_sum_over_all_pairs_of_heads(n_heads, n_queries, n_keys, data):
    attention, half = data.draw(tensors(n_heads, n_queries, n_keys)), data.draw(tensors(n_keys, n_heads, n_heads))
    gram = half + half.mT
    found = fused_forms(attention, gram, compiled=False)
    torch.testing.assert_close(found, longhand.quadratic_forms(attention, gram), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("rows", [0, 1, 2, 5, 100])
def test_tiles_give_what_one_step_gives(monkeypatch, batch, rows):
    torch.manual_seed(0)
    attention, half = torch.rand(*batch, 3, 5, 4).double(), torch.randn(*batch, 4, 3, 3).double()
    gram = half + half.mT
    monkeypatch.setattr(fused, "ELEMENTS", rows * math.prod(batch) * 3 * 4)
    found = fused_forms(attention, gram, compiled=False)
    torch.testing.assert_close(found, quadratic_forms(attention, gram), rtol=1e-9, atol=1e-9)


@pytest.mark.campaign
@pytest.mark.filterwarnings("ignore:.torch.jit.:DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_the_compiled_kernel_gives_the_same():
    torch.manual_seed(0)
    for n_heads, n_queries, n_keys in ((3, 5, 4), (8, 17, 33)):
        attention, half = torch.rand(n_heads, n_queries, n_keys), torch.randn(n_keys, n_heads, n_heads)
        gram = half + half.mT
        found = torch.compile(fused._forms, dynamic=True)(attention, gram)
        torch.testing.assert_close(found, fused_forms(attention, gram, compiled=False), rtol=1e-5, atol=1e-5)

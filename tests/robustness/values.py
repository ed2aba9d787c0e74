"""Values that people give by mistake, of every kind and for every argument."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from hypothesis import strategies as st

LOOP: list[Any] = []
LOOP.append(LOOP)

TEXTS = ["", " ", "~nobody-here/x", "\n", "\x00", "a good film", "é e\u0301 我 \U0001f469\u200d\U0001f467", "\ud800",
         "a" * 3000, "<s>", "[MASK] [CLS]", "##", "\u2581", "\u202e", "nan", "-1", "[MASK]", "all"]  # fmt: skip
NUMBERS = [0, 1, -1, 7, 10**9, -(10**9), 2**70, True, False, 0.5, -0.5, 2.0, 1e308, math.nan, math.inf, 1j,
           decimal.Decimal("0.5")]  # fmt: skip
ARRAYS = [
    np.int64(1), np.float32(0.5), np.bool_(True), np.array(1), np.array([0, 1]), np.array([]), np.array([[0.5]]),
    np.array(["a"]), np.str_("a"), np.array([None]), np.array([True, False]), np.ma.masked, np.zeros((2, 0)),
    np.datetime64("2020-01-01"), np.full((2, 2), np.nan),
    torch.tensor(1), torch.tensor([0, 1]), torch.tensor(0.5), torch.tensor(True), torch.zeros(0),
    torch.zeros(2, 2, 2, 2, 2), torch.full((3,), float("nan")), torch.ones(2, requires_grad=True),
    torch.empty(2, device="meta"), torch.eye(2).to_sparse(), torch.zeros(2, dtype=torch.bfloat16),
    torch.zeros(2, dtype=torch.complex64),
]  # fmt: skip
THINGS = [None, b"bytes", bytearray(b"ab"), Path("none"), object(), int, len, dict, SimpleNamespace(), ..., range(2),
          slice(0, 2), pd.DataFrame({"text": ["a"]}), pd.Series([1, 2]), pd.NA, pd.NaT, datetime.date(2020, 1, 1),
          torch.nn.Linear(2, 2), torch.float32, torch.device("cpu"), LOOP, ValueError("given")]  # fmt: skip
ONCE: list[Callable[[], Any]] = [lambda: iter([1, "a"]), lambda: (part for part in "ab"), lambda: {"a": 1}.items()]
"""Things that are made anew, as reading them once uses them up."""


def anything() -> st.SearchStrategy[Any]:
    """One broken value, or a small list, tuple, set or mapping of them."""
    plain = st.one_of(
        st.sampled_from(TEXTS), st.sampled_from(NUMBERS), st.sampled_from(ARRAYS), st.sampled_from(THINGS)
    )
    hashable = st.sampled_from([*TEXTS, *NUMBERS, None, (), ("a", "b")])
    names = st.sampled_from(
        ["globenc", "attention", "norm", "random", "occlusion", "aopc", "text", "input_ids", "role"]
    )
    return st.one_of(
        plain,
        st.sampled_from(ONCE).map(lambda make: make()),
        st.lists(plain, max_size=3),
        st.lists(plain, max_size=2).map(tuple),
        st.frozensets(hashable, max_size=2),
        st.dictionaries(st.one_of(hashable, names), plain, max_size=2),
        st.dictionaries(names, st.dictionaries(st.one_of(hashable, names), plain, max_size=1), max_size=1),
        st.lists(st.lists(plain, max_size=2), max_size=2),
        st.lists(st.one_of(names, plain), max_size=2),
    )


_IDS = [[101, 102], [[101, 102]], [[1.5]], [[True]], [], [[]], [[-1]], [[2**70]], [[10**9]], "abc", None, [[1, 2], [3]],
        torch.tensor([[0, 1], [2, 3]]), torch.tensor([[True]]), torch.tensor([[1.0, 2.0]]), [["a"]], np.array([[5, 6]]),
        torch.zeros(1, 0, dtype=torch.long), torch.zeros(0, 2, dtype=torch.long), torch.zeros(2, 2, 2),
        torch.tensor(3), [5, 6, 7, 8, 9], torch.tensor([[1j]]), np.array([["a"]]), np.array([[2**63]], dtype=np.uint64),
        np.array([[1, 2]], dtype=np.uint16), torch.empty(1, 2, dtype=torch.long, device="meta")]  # fmt: skip
_NAMES = ["attention_mask", "token_type_ids", "position_ids", "inputs_embeds", "labels", "pixel_values", "head_mask",
          "past_key_values", "use_cache", "nonsense", "decoder_input_ids", "encoder_outputs", "input_values",
          "output_attentions", "return_dict", "text", "text_pair", "cache_position", 3, None, ""]  # fmt: skip
_WHOLE = [torch.rand(1, 2, 128), torch.rand(2, 128), torch.ones(1, 2), torch.ones(2), torch.tensor([[0, 1]]), [1, 1]]


def rows() -> st.SearchStrategy[Any]:
    """What may be taken for the rows of a data set."""
    names = st.sampled_from(["text", "text_pair", "label", "id", "sentence", "", "query"])
    row = st.one_of(st.dictionaries(names, anything(), max_size=2), st.fixed_dictionaries({"text": anything()}))
    return st.one_of(anything(), st.lists(st.one_of(row, anything()), max_size=3), sources())


def sources() -> st.SearchStrategy[Any]:
    """What may be asked to be explained, and what only looks like it."""
    ids = st.sampled_from([*_IDS, *_WHOLE])
    beside = st.dictionaries(st.sampled_from(_NAMES), st.one_of(ids, anything()), max_size=2)
    inputs = st.tuples(ids, beside).map(lambda both: {"input_ids": both[0], **both[1]})
    message = st.fixed_dictionaries({"role": anything(), "content": anything()})
    pair = st.fixed_dictionaries({"text": anything(), "text_pair": anything()})
    one = st.one_of(inputs, st.sampled_from(TEXTS), beside, st.lists(message, min_size=1, max_size=2), pair, anything())
    return st.one_of(inputs, inputs, one, one, st.lists(one, max_size=2))

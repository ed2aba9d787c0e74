"""The rollout of Value Zeroing multiplies its maps, no identity added."""

import numpy as np
from tests.tracing.tiny import build, token_ids

import contextmix as cm


def test_it_is_the_product_of_the_maps_later_times_earlier():
    traced, ids = cm.load(build("bert").double()), {"input_ids": token_ids(5)[0]}
    first, second = traced.explain(ids, "value_zeroing").values
    found = traced.explain(ids, "value_zeroing_rollout").values
    np.testing.assert_allclose(found, second @ first, rtol=1e-12)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-12)

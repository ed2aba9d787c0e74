"""Which tokens of a tower a place is made of."""

import numpy as np
import pytest

from contextmix.errors import UnsupportedModel
from contextmix.tracing.inputs.bridge import bridge

PATCHES = np.eye(4, dtype=bool)


def test_a_token_that_sees_nothing_makes_no_place() -> None:
    tokens = np.concatenate([np.zeros((1, 4), dtype=bool), PATCHES])
    places = np.concatenate([PATCHES[::-1], np.zeros((1, 4), dtype=bool)])
    expected = np.zeros((5, 5))
    for place in range(4):
        expected[place, 4 - place] = 1
    np.testing.assert_array_equal(bridge(places, tokens), expected)


@pytest.mark.parametrize(
    ("places", "tokens"),
    [
        (np.ones((2, 4), dtype=bool), PATCHES),  # a resampler: every place sees everything
        (PATCHES, np.array([[1, 1, 0, 0], [0, 0, 1, 1]], dtype=bool)),  # a place is half a token
        (PATCHES, np.array([[1, 1, 0, 0], [0, 1, 1, 1]], dtype=bool)),  # tokens overlap
        (np.zeros((2, 4), dtype=bool), PATCHES),
    ],
)
def test_what_is_no_rectangle_of_whole_tokens_is_refused(places: np.ndarray, tokens: np.ndarray) -> None:
    with pytest.raises(UnsupportedModel, match="another way than side by side"):
        bridge(places, tokens)

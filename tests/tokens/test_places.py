"""Places: the geometry of patches and frames, by hand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contextmix.errors import BadFile, WrongShape
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.places import Frames, Patches, places_from_dict

GRID = tuple((row, column) for row in range(2) for column in range(3))


def test_boxes_divide_the_window():
    patches = Patches((300, 200), (2, 3), (0, 0, 300, 200), (None, *GRID))
    boxes = [patches.box(token) for token in range(7)]
    assert boxes[0] is None
    assert boxes[1:4] == [(0, 0, 100, 100), (100, 0, 200, 100), (200, 0, 300, 100)]
    assert boxes[4:] == [(0, 100, 100, 200), (100, 100, 200, 200), (200, 100, 300, 200)]


def test_boxes_end_where_the_image_does():
    patches = Patches((100, 100), (2, 3), (-50, 0, 100, 150), GRID)
    assert [patches.box(token) for token in range(3)] == [None, (0, 0, 50, 75), (50, 0, 100, 75)]
    assert patches.box(4) == (0, 75, 50, 100)


@given(st.integers(1, 9), st.integers(1, 9), st.floats(-50, 50), st.floats(1, 500))
def test_neighbours_share_their_edge_exactly(rows, columns, start, length):
    cells = tuple((row, column) for row in range(rows) for column in range(columns))
    patches = Patches((97, 61), (rows, columns), (start, start, start + length, start + length), cells)
    boxes = {cell: patches.box(token) for token, cell in enumerate(cells)}
    for (row, column), box in boxes.items():
        right, below = boxes.get((row, column + 1)), boxes.get((row + 1, column))
        assert not (box and right) or box[2] == right[0]
        assert not (box and below) or box[3] == below[1]


def test_times_and_slots():
    frames = Frames(rate=100, samples=50, step=10, first=-5, reach=20, numbers=(0, 1, None, 4, 5))
    assert [frames.time(token) for token in range(5)] == [(0, 0.15), (0.05, 0.25), None, (0.35, 0.55), (0.45, 0.65)]
    assert [frames.slot(token) for token in range(5)] == [(0, 0.1), (0.1, 0.2), None, (0.4, 0.5), (0.5, 0.6)]
    assert [frames.is_added(token) for token in range(5)] == [False] * 5
    later = Frames(rate=100, samples=45, step=10, first=-5, reach=20, numbers=(4, 5))
    assert [later.is_added(token) for token in range(2)] == [False, True]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Patches((300, 200), (2, 3), (0, 0, 300, 200), ((0, 0), (0, 0))),
        lambda: Patches((300, 200), (2, 3), (0, 0, 300, 200), ((2, 0),)),
        lambda: Patches((300, 200), (2, 3), (0, 0, 300, 200), ((0, -1),)),
        lambda: Patches((0, 200), (2, 3), (0, 0, 300, 200), GRID),
        lambda: Patches((300, 200), (2, 3), (300, 0, 0, 200), GRID),
        lambda: Frames(100, 50, 10, 0, 20, (0, 0)),
        lambda: Frames(100, 50, 10, 0, 20, (-1,)),
        lambda: Frames(100, 0, 10, 0, 20, (0,)),
        lambda: Frames(100, 50, 0, 0, 20, (0,)),
        lambda: Tokens(("a", "b"), places=Patches((3, 2), (1, 1), (0, 0, 3, 2), ((0, 0),))),
    ],
)
def test_what_does_not_fit_is_refused(wrong):
    with pytest.raises(WrongShape):
        wrong()


PLACES = [
    Patches((300, 200), (2, 3), (-1.5, 0.1, 300, 200.7), (None, *GRID)),
    Frames(100, 50, 10, -5, 20, (0, None, 1)),
]


@pytest.mark.parametrize("places", PLACES)
def test_places_come_back_through_json(places):
    assert places_from_dict(json.loads(json.dumps(places.to_dict()))) == places
    tokens = Tokens(tuple("abcdefg"[: len(places)]), places=places)
    assert Tokens.from_dict(json.loads(json.dumps(tokens.to_dict()))) == tokens


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "cubes"},
        {"size": None},
        {"size": [300]},
        {"window": "all"},
        {"cells": [["0", "1"]]},
        {"cells": [[0, True]]},
        {"cells": 3},
        {"colour": 1},
        {"grid": [1, 1]},
    ],
)
def test_damaged_places_are_refused(change):
    with pytest.raises(BadFile, match="places of the tokens"):
        places_from_dict({**PLACES[0].to_dict(), **change})


@pytest.mark.parametrize("fields", [None, 3, [], {}])
def test_what_is_no_place_is_refused(fields):
    with pytest.raises(BadFile, match="neither patches nor frames"):
        places_from_dict(fields)

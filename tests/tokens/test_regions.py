"""Regions: rectangles in the images of a prompt, by hand."""

import json

import pytest

from contextmix.errors import BadFile, WrongShape
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.places import placed, places_from_dict, where
from contextmix.tokens.regions import Regions

SIZES = ((200, 100), (50, 80))
BOXES = (None, (0, 0, 0, 100, 100), (0, 0.5, 10, 200, 100), (1, 0, 0, 50, 80))


def test_each_token_says_its_image_and_its_box():
    regions = Regions(SIZES, BOXES)
    assert [regions.image(token) for token in range(4)] == [None, 0, 0, 1]
    assert [regions.box(token) for token in range(4)] == [None, *(box[1:] for box in BOXES[1:])]
    assert repr(regions) == "<Regions: 3 of 4 tokens in 2 images of 200 × 100, 50 × 80 pixels>"


def test_one_image_by_itself():
    alone = Regions(SIZES, BOXES).of_image(1)
    assert alone.sizes == ((50, 80),)
    assert alone.boxes == (None, None, None, (0, 0, 0, 50, 80))


@pytest.mark.parametrize(
    "box", [(2, 0, 0, 1, 1), (-1, 0, 0, 1, 1), (0, 5, 0, 5, 1), (0, 0, 0, 201, 1), (1, 0, 0, 1, 81), (0, -1, 0, 1, 1)]
)
def test_what_lies_outside_of_its_image_is_refused(box):
    with pytest.raises(WrongShape, match="no rectangle in one of 2 images"):
        Regions(SIZES, (box,))


def test_they_are_kept_as_json_and_by_parts_of_the_tokens():
    regions = Regions(SIZES, BOXES)
    assert places_from_dict(json.loads(json.dumps(regions.to_dict()))) == regions
    tokens = Tokens(("a", "b", "c", "d"), places=regions)
    assert Tokens.from_dict(json.loads(json.dumps(tokens.to_dict()))) == tokens
    assert where(tokens.part(slice(1, 3)).places) == BOXES[1:3]
    assert tokens.part(slice(0, 1)).places is None
    assert placed(regions, [None, *BOXES]).boxes == (None, *BOXES)


@pytest.mark.parametrize(
    "change",
    [{"sizes": [[1, 2, 3]]}, {"boxes": [[0.5, 0, 0, 1, 1]]}, {"boxes": [[0, 0, 1, 1]]}, {"boxes": [[7, 0, 0, 1, 1]]}],
)
def test_files_that_hold_something_else(change):
    with pytest.raises(BadFile):
        places_from_dict({**Regions(SIZES, BOXES).to_dict(), **change})

"""The example that asks for a disc: its parts by hand, on a model that has hardly learnt anything."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

import contextmix as cm

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("ask_for_the_disc", ROOT / "examples/ask_for_the_disc.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_picture_says_its_colours(example):
    pixels, names = example.painted(np.random.default_rng(0), 90.0)
    for number, name in enumerate(names):
        middle = pixels[16 + 32 * (number // 2), 16 + 32 * (number % 2)].astype(int)
        assert (middle[0] > middle[1]) == (name == "red")


def test_the_strongest_quadrant_is_counted_in_reading_order(example):
    found = np.zeros((4, 4))
    found[0, 3], found[3, 0], found[2, 1] = 2.0, 1.5, 1.0  # northeast 2, southwest 2.5
    assert [example.is_strongest(found, number) for number in range(4)] == [0.0, 0.0, 1.0, 0.0]


def test_ranks_are_those_of_scipy(example):
    left, right = np.array([[0.0, 2.0], [1.0, 1.0]]), np.array([[3.0, 1.0], [1.0, 0.0]])
    assert example.spearman(left, right) == pytest.approx(spearmanr(left.ravel(), right.ravel()).statistic)


def test_every_method_gives_each_region_what_lies_in_it(example):
    random = np.random.default_rng(0)
    processor = example.reader()
    model = cm.load(example.trained(processor, random, steps=2), processor)
    (test,) = example.tests(random, 1)
    for how in example.METHODS.values():
        row = example.row_of(model.explain(test.prompt, **how))
        found = example.regions(row)
        first = row.tokens.position("r0c0")
        assert found[0, 0] == row.values[first]
        assert found[3, 3] == row.values[row.tokens.position("r3c3")]
        assert found.sum() == pytest.approx(row.values[first : first + 16].sum())
    assert example.left_out(model, test.picture, test.prompt["text"], test.colour).shape == (4, 4)

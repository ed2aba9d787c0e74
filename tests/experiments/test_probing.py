"""The online code against sums by hand and closed forms."""

import math

import numpy as np
import pytest
import torch

from contextmix.errors import BadInput
from contextmix.evidence.probing import HIDDEN, block_ends, online_code, trained_probe

PORTIONS = (0.25, 0.5, 1.0)


def states(count, seed=0, dimension=8):
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def halves(count):
    return np.arange(count) % 2


def counting(seen):
    """A probe by hand: Laplace's rule of succession on the labels it saw, and what it was shown."""

    def train(shown, labels, classes):
        odds = torch.bincount(labels, minlength=classes).double() + 1
        seen.append((len(shown), odds / odds.sum()))
        return lambda new: (odds / odds.sum()).log().expand(len(new), classes)

    return train


def test_the_length_is_the_sum_of_its_blocks_in_bits():
    seen = []
    labels = np.array([0] * 12 + [1] * 28)
    code = online_code(states(40), labels, 2, portions=PORTIONS, train=counting(seen), seed=3)
    assert [count for count, _ in seen] == [10, 20]
    order = np.random.default_rng(3).permutation(40)
    by_hand = 10 * 1.0  # the first block: one bit each
    for (count, odds), stop in zip(seen, (20, 40), strict=True):
        for example in order[count:stop]:
            by_hand += -math.log2(odds[labels[example]].item())
    assert code.length == pytest.approx(by_hand, rel=1e-12)
    assert code.compression == pytest.approx(40 / by_hand, rel=1e-12)
    assert (code.bits[order[:10]] == 1).all()


def test_probes_see_only_what_was_sent_before():
    shown = []

    def train(given, labels, classes):
        shown.append((given.clone(), labels.clone()))
        return lambda new: torch.full((len(new), classes), -math.log(classes))

    vectors, labels = states(40), halves(40)
    online_code(vectors, labels, 2, portions=PORTIONS, train=train, seed=1)
    order = np.random.default_rng(1).permutation(40)
    for given, said in shown:
        np.testing.assert_array_equal(given.numpy(), vectors[order[: len(given)]])
        np.testing.assert_array_equal(said.numpy(), labels[order[: len(given)]])


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_a_probe_that_knows_nothing_compresses_nothing(classes):
    def fair(given, labels, classes):
        return lambda new: torch.full((len(new), classes), -math.log(classes), dtype=torch.float64)

    labels = np.arange(400) % classes
    assert online_code(states(400), labels, classes, train=fair).compression == pytest.approx(1, rel=1e-12)


def test_a_probe_that_is_sure_and_wrong_pays_for_it():
    """1/4 to the true label: two bits each after the first block."""

    def wrong(given, labels, classes):
        return lambda new: torch.tensor([[0.25, 0.75]]).log().expand(len(new), 2)

    labels = np.zeros(40, dtype=np.int64)
    labels[np.random.default_rng(0).permutation(40)[0]] = 1  # in the first block, so no label of a later one
    code = online_code(states(40), labels, 2, portions=PORTIONS, train=wrong, seed=0)
    assert code.length == pytest.approx(10 + 30 * 2, rel=1e-6)


def test_separable_labels_are_cheap_and_shuffled_ones_are_not():
    labels = halves(400)
    vectors = states(400, dimension=32) + 2 * (2 * labels[:, None] - 1).astype(np.float32)
    told = online_code(vectors, labels, 2).compression
    control = online_code(vectors, np.random.default_rng(5).permutation(labels), 2).compression
    assert told > 10
    assert 0.7 < control < 1.1


def test_the_same_seed_gives_the_same_code_and_leaves_the_global_draws_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again, other = (online_code(states(200), halves(200), 2, seed=seed).bits for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_probe_gives_logarithms_of_probabilities_once():
    """The released code takes the softmax twice, so that no probability is above e / (e + 1) = 0.73."""
    labels = torch.from_numpy(halves(200))
    vectors = torch.from_numpy(states(200)) + 4 * (2 * labels[:, None] - 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = trained_probe(vectors, labels, 2)(vectors)
    np.testing.assert_allclose(found.exp().sum(-1).detach().numpy(), 1, rtol=1e-5)
    assert found.exp().max() > 0.95
    assert HIDDEN == 128


def test_the_blocks_of_the_paper():
    assert block_ends(10_000) == [80, 160, 320, 625, 1250, 2500, 5000, 10_000]
    assert block_ends(188)[0] == 2


def test_too_few_examples_and_one_label_are_refused():
    with pytest.raises(BadInput, match=r"187 examples are too few for an online code.*at least 188"):
        online_code(states(187), halves(187), 2)
    with pytest.raises(BadInput, match="same label"):
        online_code(states(200), np.zeros(200, dtype=np.int64), 2)

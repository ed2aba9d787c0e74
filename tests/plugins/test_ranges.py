"""Numbers that are promised to lie in a range lie in it, whatever a processor rounds; what is wrong by more shows.

Rows of weights add up to 1 + 2⁻⁵² here, in any order: every partial sum is a number of float64.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.strategies import toy_layer

import contextmix as cm
from contextmix.aggregations.rollout import AGGREGATION as ROLLOUT
from contextmix.errors import UnsupportedModel
from contextmix.experiments.effective_attention_finetuning import similarity
from contextmix.models.joint import source_share
from contextmix.plugins.plan import METHODS, make_plan
from contextmix.plugins.scoring import METRICS
from contextmix.results.comparison import Comparison
from contextmix.results.provenance import Provenance, Quantity
from contextmix.results.token_map import TokenMap
from contextmix.tokens.pieces import Tokens

ABOVE = 2.0**-52
ROW = [0.5, 0.25, 0.25 + ABOVE]
MADE = Provenance("toy", model="toy")
TOKENS = Tokens(("un", "##re", "##al"), words=(0, 0, 0))


def two_layers(row):
    """First everything on the first token, then each token by this row: what it draws is the sum of the row."""
    return torch.tensor([[[1.0, 0.0, 0.0]] * 3, [row] * 3], dtype=torch.float64)


def test_the_row_is_above_one():
    assert sum(ROW) == sum(reversed(ROW)) == 1 + ABOVE
    assert ROLLOUT.combine(two_layers(ROW))[-1, 0, 0] == 1 + ABOVE


@pytest.mark.parametrize(("row", "wanted"), [(ROW, 1.0), ([0.5, 0.25, 0.375], 1.125)])
def test_no_rolled_out_share_is_above_one(row, wanted):
    maps = two_layers(row)
    token_map = TokenMap(maps.numpy(), ("layer", "query", "key"), TOKENS, Quantity.SHARE, MADE)
    assert cm.aggregate(token_map, "rollout").values[-1, :, 0].tolist() == [wanted] * 3
    assert cm.aggregate(token_map, "rollout", query=1).values[0] == wanted
    plan = make_plan("attention_rollout")
    assert plan.combine(maps).values[-1, :, 0].tolist() == [wanted] * 3
    assert plan.combine_row(maps, 1).values[0] == wanted


def test_lengths_may_be_above_one_by_as_little_as_they_like():
    lengths = TokenMap(two_layers(ROW).numpy(), ("layer", "query", "key"), TOKENS, Quantity.NORM, MADE)
    assert cm.aggregate(lengths, "rollout").values[-1, 0, 0] == 1 + ABOVE
    assert lengths.words().values.max() == 1 + ABOVE


@pytest.mark.parametrize(("row", "wanted"), [(ROW, 1.0), ([0.5, 0.25, 0.375], 1.125)])
def test_a_word_holds_no_more_than_the_whole(row, wanted):
    assert TokenMap(np.array(row), ("key",), TOKENS, Quantity.SHARE, MADE).words().values.tolist() == [wanted]


def test_the_source_gives_no_more_than_the_whole():
    assert source_share(np.array([[*ROW, 0.0], [0.5, 0.25, 0.375, 0.0]]), 3).tolist() == [1, 1.125]
    assert source_share(np.array([*ROW, 0.0]), 3).tolist() == 1


def test_cross_attention_mixes_no_more_than_the_whole():
    def ratio(row: list[float]) -> list[float]:
        attention = torch.tensor([[row]], dtype=torch.float64)
        return METHODS["attention"].ratio(replace(toy_layer(n=3, n_heads=1), attention=attention, cross=True)).tolist()

    assert ratio(ROW) == [1.0]
    with pytest.raises(UnsupportedModel, match="no attention weights"):
        ratio([0.5, 0.25, 0.375])


@pytest.mark.parametrize("name", ["deletion_area", "insertion_area"])
def test_the_area_under_certainty_is_at_most_one(name):
    for n in range(2, 60):
        found = (
            METRICS[name].score(np.arange(n), lambda kept: np.array([[0.0, 1.0]] * len(kept)), np.ones(n, bool)).value
        )
        assert found <= 1
        assert found == pytest.approx(1, rel=0, abs=n * 2 * ABOVE)


def test_correlations_and_cosines_are_at_most_one():
    for n in range(3, 60):
        tokens = Tokens(tuple(map(str, range(n))))
        numbers = np.random.default_rng(n).normal(size=n)
        rows = {"one": numbers, "same": 3 * numbers, "other": -numbers}
        maps = {name: TokenMap(row, ("key",), tokens, Quantity.SIGNED, MADE) for name, row in rows.items()}
        found = Comparison(maps).spearman.to_numpy()
        assert np.abs(found).max() <= 1
        np.testing.assert_allclose(found, [[1, 1, -1], [1, 1, -1], [-1, -1, 1]], rtol=0, atol=n * 2 * ABOVE)
        heads = numbers.reshape(1, 1, n)
        assert float(similarity(heads, 3 * heads)[0]) <= 1

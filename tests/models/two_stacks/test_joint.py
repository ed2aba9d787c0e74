"""The joint rollout against the recursion of ALTI+ written out with loops, and what its shares promise."""

import numpy as np
import pytest
from tests.models.two_stacks.models import WRITTEN

import contextmix as cm
from contextmix.errors import BadOption, UnknownToken, WrongShape
from contextmix.plugins.plan import METHODS

STEPS = ["alti", "norm_encoder", "norm_residual", "norm_attention_block", "norm_fixed_residual"]
STEPS += ["attention_fixed_residual", "attention_residual"]
RECIPES = ["globenc", "alti_rollout", "value_zeroing_rollout", "attention_rollout"]


def shares(rows: np.ndarray) -> np.ndarray:
    return np.stack([row / row.sum() if row.sum() > 0 else row for row in rows])


def local_maps(case, method):
    """[A | B] of every decoder layer, entry by entry."""
    options = {"normalise": False} if method == "value_zeroing" else {}
    own = cm.measure(case.trace, method, stream="decoder", **options).values.astype(np.float64)
    cross = cm.measure(case.trace, method, stream="cross", **options).values.astype(np.float64)
    maps = []
    for self_map, cross_map in zip(own, cross, strict=True):
        if method == "value_zeroing":
            maps.append(shares(np.concatenate([cross_map, self_map], axis=1)))
            continue
        self_map, cross_map = shares(self_map), shares(cross_map)
        n_target, n_source = len(self_map), cross_map.shape[1] - 1
        joint = np.zeros((n_target, n_source + n_target))
        for t in range(n_target):
            for s in range(n_source):
                joint[t, s] = cross_map[t, s]
            for u in range(n_target):
                joint[t, n_source + u] = cross_map[t, n_source] * self_map[t, u]
        maps.append(joint)
    return maps


def recursion(encoder: np.ndarray, maps: list[np.ndarray]) -> list[np.ndarray]:
    """R_src and R_tgt of each layer, rows divided by their sums after it."""
    n_source, n_target = len(encoder), len(maps[0])
    source, target = np.zeros((n_target, n_source)), np.eye(n_target)
    found = []
    for joint in maps:
        new_source, new_target = np.zeros_like(source), np.zeros_like(target)
        for t in range(n_target):
            for s in range(n_source):
                new_source[t, s] += sum(joint[t, r] * encoder[r, s] for r in range(n_source))
                new_source[t, s] += sum(joint[t, n_source + u] * source[u, s] for u in range(n_target))
            for v in range(n_target):
                new_target[t, v] = sum(joint[t, n_source + u] * target[u, v] for u in range(n_target))
        both = shares(np.concatenate([new_source, new_target], axis=1))
        source, target = both[:, :n_source], both[:, n_source:]
        found.append(both)
    return found


@pytest.mark.parametrize("method", [*STEPS, "value_zeroing"])
def test_the_joint_rollout_is_the_recursion_of_alti_plus(case, method):
    encoder = np.eye(len(case.trace.encoder.tokens))
    for layer in cm.measure(case.trace, method, stream="encoder").values.astype(np.float64):
        encoder = layer @ encoder
    maps = local_maps(case, method)
    found = case.traced.explain(case.flat, method, output=WRITTEN, aggregation="rollout", layers="all")
    np.testing.assert_allclose(found.values, recursion(shares(encoder), maps), rtol=1e-9, atol=1e-12)
    local = case.traced.explain(case.flat, method, output=WRITTEN)
    np.testing.assert_allclose(local.values, maps, rtol=1e-9, atol=1e-12)
    assert (found.quantity, local.quantity) == (cm.Quantity.SHARE, cm.Quantity.SHARE)


def test_value_zeroing_shows_distances_where_shares_are_not_wanted(case):
    found = case.traced.explain(case.flat, "value_zeroing", output=WRITTEN, normalise=False)
    halves = (cm.measure(case.trace, "value_zeroing", stream=s, normalise=False).values for s in ("cross", "decoder"))
    np.testing.assert_allclose(found.values, np.concatenate(list(halves), axis=-1), rtol=1e-12)
    assert found.quantity is cm.Quantity.DISTANCE


@pytest.mark.parametrize("recipe", RECIPES)
def test_rows_are_shares_that_never_look_ahead(case, recipe):
    found = case.traced.explain(case.flat, recipe, output=WRITTEN)
    count = len(case.trace.encoder.tokens)
    assert found.dims == ("query", "key")
    assert found.query_tokens.pieces == case.trace.target.written.pieces
    assert found.tokens.pieces == case.trace.encoder.tokens.pieces + case.trace.target.read.pieces
    np.testing.assert_allclose(found.values.sum(-1), 1, rtol=1e-12)
    assert (found.values >= 0).all()
    later = np.triu_indices(len(WRITTEN), 1)
    assert (found.values[:, count:][later] == 0).all()
    source, target = cm.source_and_target(found)
    share = np.array(found.provenance.notes["source_share"])
    assert ((share > 0) & (share <= 1)).all()
    np.testing.assert_allclose(source.values.sum(-1), share, rtol=1e-12)  # the sum may be above one by rounding
    np.testing.assert_allclose(share + target.values.sum(-1), 1, rtol=1e-12)
    assert source.tokens.pieces == case.trace.encoder.tokens.pieces
    assert target.tokens.pieces == case.trace.target.read.pieces


def test_a_later_output_changes_no_earlier_row(case):
    found = case.traced.explain(case.flat, "alti_rollout", output=WRITTEN)
    shorter = case.traced.explain(case.flat, "alti_rollout", output=[*WRITTEN[:2], WRITTEN[-1]])  # mBART starts with it
    count = len(case.trace.encoder.tokens) + 3
    np.testing.assert_allclose(found.values[:3, :count], shorter.values, rtol=1e-9, atol=1e-12)


def test_one_row_and_its_halves(case):
    found = case.traced.explain(case.flat, "alti_rollout", output=WRITTEN)
    row = case.traced.explain(case.flat, "alti_rollout", output=WRITTEN, query=3)
    np.testing.assert_array_equal(row.values, found.values[3])
    assert row.selected["query"] == 3
    source, target = cm.source_and_target(row)
    assert source.values.sum() == pytest.approx(row.provenance.notes["source_share"])
    assert len(target.top(2)) == 2


@pytest.mark.parametrize("options", [{"aggregation": "rollout"}, {}])
def test_written_tokens_together_are_the_mean_of_their_rows(case, options):
    given = {"continuation": WRITTEN, **options}
    rows = case.traced.explain_generation(case.flat, "alti", **given)
    found = case.traced.explain_generation(case.flat, "alti", together=True, **given)
    assert found.dims == tuple(name for name in rows.dims if name != "query")
    np.testing.assert_allclose(found.values, sum(np.moveaxis(rows.values, -2, 0)) / rows.shape[-2], rtol=1e-6)
    sources, targets = cm.source_and_target(found)
    np.testing.assert_allclose(found.provenance.notes["source_share"], sources.values.sum(-1), rtol=1e-6)
    assert (found.provenance.notes["together"], len(targets.tokens)) == ("mean", len(WRITTEN))


def test_all_layers_and_single_ones(case):
    whole = case.traced.explain(case.flat, "alti_rollout", output=WRITTEN, layers="all")
    last = case.traced.explain(case.flat, "alti_rollout", output=WRITTEN)
    assert whole.layers == (0, 1)
    np.testing.assert_array_equal(whole.layer(-1).values, last.values)
    first = case.traced.explain(case.flat, "alti_rollout", output=WRITTEN, layers=[0])
    np.testing.assert_array_equal(first.values[0], whole.values[0])


def test_several_sources_are_each_of_them(case):
    many = case.traced.explain([case.flat, case.flat], "globenc", output=[WRITTEN, WRITTEN[:2]])
    for one, written in zip(many, (WRITTEN, WRITTEN[:2]), strict=True):
        alone = case.traced.explain(case.flat, "globenc", output=written)
        np.testing.assert_array_equal(one.values, alone.values)


def test_methods_can_be_compared_on_one_written_token(case):
    found = case.traced.compare(case.flat, ["alti_rollout", "value_zeroing_rollout", "alti"], query=2, output=WRITTEN)
    np.testing.assert_array_equal(
        found.rows["alti_rollout"].values,
        case.traced.explain(case.flat, "alti_rollout", output=WRITTEN, query=2).values,
    )
    assert found.spearman.shape == (3, 3)


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("attention", "leaves out the residual"),
        ("norm", "leaves out the residual"),
        ("effective_attention", "leaves out the residual"),
        ("hta", "attends to two sequences"),
        ("norm_encoder_ffn", "attends to two sequences"),
        ("gradient_inputs", "explains a score of the whole model"),
        ("occlusion", "explains a score of the whole model"),
        ("attention_flow", "flow is not defined"),
    ],
)
def test_what_cannot_be_joined_is_refused_with_the_reason(case, method, reason):
    with pytest.raises(BadOption, match=rf"{reason}"):
        case.traced.explain(case.flat, method, output=WRITTEN)
    assert method in METHODS


@pytest.mark.parametrize("aggregation", ["mean", "flow", "last"])
def test_only_rollout_crosses_from_one_stack_to_the_other(case, aggregation):
    with pytest.raises(BadOption, match=f"{aggregation} is not defined across"):
        case.traced.explain(case.flat, "alti", output=WRITTEN, aggregation=aggregation)


def test_bad_questions_are_refused(case):
    with pytest.raises(UnknownToken):
        case.traced.explain(case.flat, output=WRITTEN, query=9)
    with pytest.raises(BadOption, match="names a class"):
        case.traced.explain(case.flat, output=WRITTEN, target="positive")
    with pytest.raises(BadOption, match="at least two different"):
        case.traced.compare(case.flat, ["alti"], output=WRITTEN)
    with pytest.raises(WrongShape, match="no source and target halves"):
        cm.source_and_target(cm.measure(case.trace, "norm", stream="cross"))


def test_saved_and_loaded_it_is_the_same(case, tmp_path):
    found = case.traced.explain(case.flat, "alti_rollout", output=WRITTEN)
    found.save(tmp_path / "joint.json")
    again = cm.TokenMap.load(tmp_path / "joint.json")
    np.testing.assert_array_equal(again.values, found.values)
    assert again.query_tokens == found.query_tokens
    np.testing.assert_array_equal(cm.source_and_target(again)[0].values, cm.source_and_target(found)[0].values)

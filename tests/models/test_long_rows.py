"""Rows of long inputs, made in blocks from the top layer down: the same numbers as whole maps give."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.models.gated import gated
from tests.tracing.tiny import SIZES, build, in_float64, token_ids, vivid
from torch import Tensor

import contextmix as cm
from contextmix.errors import BadOption, TraceDoesNotAddUp
from contextmix.models import long_rows
from contextmix.models.descent import Carried, goes_down
from contextmix.models.explain import explained
from contextmix.plugins.contracts import Method
from contextmix.plugins.plan import AGGREGATIONS, METHODS, Plan, make_plan

N = 17
OF_ROWS = sorted(name for name, one in METHODS.items() if isinstance(one, Method) and one.by_rows)
WAYS = sorted(name for name, one in AGGREGATIONS.items() if one.alike or one.carry)
SMALL: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "num_key_value_heads": 1}


def made(prefix: str, **settings: Any) -> Any:
    """A tiny decoder of a family that `tiny` has not got."""
    kind = "Gemma3Text" if prefix == "Gemma3" else prefix
    config = getattr(transformers, f"{kind}Config")(**{**SIZES, **SMALL, **settings})
    return vivid(getattr(transformers, f"{prefix}ForCausalLM")(config))


FAMILIES = {
    "post-norm": lambda: build("bert"),
    "shared blocks": lambda: build("albert"),
    "pre-norm": lambda: build("llama", "ForCausalLM"),
    "learned positions": lambda: build("gpt2", "LMHeadModel"),
    "parallel": lambda: build("phi", "ForCausalLM"),
    "parallel, one projection": lambda: build("gpt_neox", "ForCausalLM"),
    "norms on outputs": lambda: build("olmo2", "ForCausalLM"),
    "scaled": lambda: build("granite", "ForCausalLM"),
    "sandwich, soft cap, windows": lambda: build(
        "gemma2", "ForCausalLM", sliding_window=5, attn_logit_softcapping=1.0, num_hidden_layers=3
    ),
    "sandwich, windows": lambda: made("Gemma3", head_dim=8, sliding_window=5, num_hidden_layers=3),
    "windows": lambda: made("Mistral", sliding_window=5),
    "sinks": lambda: made(
        "GptOss", head_dim=8, sliding_window=5, num_local_experts=2, num_experts_per_tok=1, attn_implementation="eager"
    ),
    "encoder with windows": lambda: build("modernbert", local_attention=6, num_hidden_layers=3),
    "gates": lambda: gated("qwen3_next", "ForCausalLM"),
    "eager": lambda: build("llama", "ForCausalLM", attn_implementation="eager"),
}


def both(model: Any, plan: Plan, query: int, most: int, n: int = N) -> tuple[Tensor, Tensor]:
    """The rows of all layers in blocks of so many, and by whole maps."""
    traced = cm.load(model)
    (one,) = traced.encode({"input_ids": token_ids(n)})
    found = long_rows.gone_down(traced, one, [plan], query, "all", most)
    maps = traced.measure_batch({"input_ids": token_ids(n)}, [plan]).maps(0)[:, 0]
    return found.descents[0].found(found.depth), plan.combine(maps).values[..., query, :]


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_in_blocks_are_those_of_whole_maps(family: str):
    """Blocks of 4 of 17 rows: some end in the middle, and the last one is of one row."""
    model = FAMILIES[family]()
    exact = family not in ("sinks", "gates")  # their experts have no kernel for float64
    for query in (N - 1, 6):
        found, true = both(in_float64(model) if exact else model, make_plan("globenc"), query, 4)
        torch.testing.assert_close(found, true, rtol=1e-6 if exact else 1e-5, atol=1e-9)


@pytest.mark.parametrize("method", OF_ROWS)
@pytest.mark.parametrize("family", ["post-norm", "sandwich, windows"])
def test_every_method_of_rows(method: str, family: str):
    model = in_float64(FAMILIES[family]())
    for options in ({}, {"aggregation": "rollout"}, {"aggregation": "mean"}):
        found, true = both(model, make_plan(method, **options), N - 2, 5)
        torch.testing.assert_close(found, true, rtol=1e-5, atol=1e-9, msg=lambda text, o=options: f"{o}: {text}")


@pytest.mark.parametrize("way", WAYS)
def test_every_way_across_layers(way: str):
    found, true = both(in_float64(FAMILIES["pre-norm"]()), make_plan("norm_fixed_residual", way), 9, 3)
    torch.testing.assert_close(found, true, rtol=1e-6, atol=1e-9)


def test_an_option_of_the_way_is_obeyed():
    plan = make_plan("globenc", options={"normalise": True})
    found, true = both(in_float64(FAMILIES["pre-norm"]()), plan, N - 1, 4)
    torch.testing.assert_close(found, true, rtol=1e-6, atol=1e-9)
    assert float(found[-1].sum()) == pytest.approx(1)


def test_heads_stay_apart():
    plan = make_plan("norm", options={"heads": "each"})
    found, true = both(in_float64(FAMILIES["sandwich, windows"]()), plan, N - 3, 4)
    assert found.shape == (3, 2, N)
    torch.testing.assert_close(found, true, rtol=1e-6, atol=1e-9)


LONG: dict[str, Any] = {"max_position_embeddings": long_rows.LONG + 40}
ASKED: list[dict[str, Any]] = [{"query": -1}, {"query": 700, "layers": [0]}, {"query": 5, "layers": "all"}]


@pytest.fixture(scope="module")
def long() -> cm.TracedModel:
    return cm.load(build("llama", "ForCausalLM", **LONG))


@pytest.mark.parametrize("asked", ASKED, ids=str)
@pytest.mark.parametrize("method", ["globenc", "norm_residual"])
def test_a_long_input_is_explained_like_a_short_one(long: cm.TracedModel, method: str, asked: dict[str, Any]):
    """Values, axes, labels and what is said of the run; the rows in blocks are said beside it."""
    ids = token_ids(long_rows.LONG + 3)[0].tolist()
    found = long.explain({"input_ids": ids}, method, **asked)
    every = {name: one for name, one in asked.items() if name != "query"}
    true = long.explain({"input_ids": ids}, method, **every).row(asked["query"])
    assert (found.dims, found.layers, found.quantity) == (true.dims, true.layers, true.quantity)
    assert found.selected["query"] == true.selected["query"]
    np.testing.assert_allclose(found.values, true.values, rtol=1e-4, atol=1e-7 * np.abs(true.values).max())
    notes = dict(found.provenance.notes)
    blocks = notes.pop("in_blocks")
    assert blocks["rows"] == 256
    assert 0 <= blocks["sampled_row"] < 1e-5
    assert notes.keys() - {"first_two"} == true.provenance.notes.keys() - {"first_two"}
    assert found.provenance.checks["layers"] == true.provenance.checks["layers"] == 2


def test_whole_maps_of_a_short_input(long: cm.TracedModel):
    found = long.explain({"input_ids": token_ids(long_rows.LONG - 1)[0].tolist()}, "globenc", query=-1)
    assert "in_blocks" not in found.provenance.notes


def test_whole_maps_where_a_method_needs_all_rows(long: cm.TracedModel):
    plan = make_plan("attention_rollout")
    assert goes_down(plan)
    assert isinstance(plan.method, Method)
    assert not goes_down(replace(plan, method=replace(plan.method, by_rows=False)))
    assert not goes_down(make_plan("attention_flow"))


def test_whole_maps_where_a_layer_is_no_attention():
    """BLOOM attends outside of the registry."""
    traced = cm.load(build("bloom", "ForCausalLM", **LONG))
    (one,) = traced.encode({"input_ids": token_ids(long_rows.LONG + 1)})
    assert long_rows.long_rows(traced, one, [make_plan("globenc")], -1, None) is None


def test_whole_maps_where_both_ways_differ_and_the_result_says_so(long: cm.TracedModel):
    """A method that counts the rows it is shown, so that its rows do not stand by themselves."""
    plan = make_plan("attention")
    assert isinstance(plan.method, Method)
    wrong = replace(plan.method, measure=lambda layer: layer.attention.mean(-3) / layer.attention.shape[-2])
    plan = replace(plan, method=wrong)
    found = {}
    for n in (long_rows.LONG - 1, long_rows.LONG + 1):
        one = long.encode({"input_ids": token_ids(n)[0].tolist()})
        ((found[n],),) = explained(long, one, [plan], -1, [0], batch_size=1)
    short, other = (one.provenance.notes for one in found.values())
    assert "not_in_blocks" not in short
    assert re.match(r"attention: rows in blocks differ by .*on the first 96 tokens", other["not_in_blocks"])
    long.proof.in_blocks.clear()


def test_a_budget_too_small_for_one_row_says_what_would_fit(long: cm.TracedModel):
    ids = token_ids(long_rows.LONG + 3)[0].tolist()
    with pytest.raises(BadOption, match=r"one row of 2 heads over 1027 tokens.*a text of 15 tokens at most"):
        long.explain({"input_ids": ids}, "globenc", query=-1, memory_budget=1000)


def test_both_ways_are_compared_once_per_method_and_again_if_the_model_changes():
    traced = cm.load(build("llama", "ForCausalLM", **LONG))
    ids = token_ids(long_rows.LONG + 3)[0].tolist()
    traced.explain({"input_ids": ids}, "globenc", query=-1)
    assert list(traced.proof.in_blocks.values()) == [2]
    traced.explain({"input_ids": ids}, "attention_rollout", query=-1)
    assert len(traced.proof.in_blocks) == 2
    layer = traced.model.model.layers[0]
    layer.mlp.register_forward_hook(lambda *_: None)
    traced.explain({"input_ids": ids}, "globenc", query=-1)
    assert len(traced.proof.in_blocks) == 1


def test_a_row_that_differs_from_itself_made_from_scratch_is_refused():
    """A layer whose shared Gram matrices are wrong: conservation cannot see that, the sampled row can."""
    traced = cm.load(FAMILIES["pre-norm"]())
    plan = make_plan("globenc")
    _, blocks, _ = long_rows.record_tiles(traced.model, traced.anatomy(), {"input_ids": token_ids(N)})
    way = Carried(plan, N - 1, [1], blocks[1].said["entered"][0])
    long_rows._through(blocks[1], [way], 4)
    plan.measure(blocks[0].rows(slice(0, 1))[0])  # makes them
    ((_, gram),) = blocks[0].grams.made
    gram.mul_(1.1)
    with pytest.raises(TraceDoesNotAddUp, match=r"Layer 0: row 10 of globenc.*made by itself over all 17 tokens"):
        long_rows._through(blocks[0], [way], 4)

"""Evidence for each token that an encoder–decoder wrote, against loops over heads and positions."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.methods.longhand_evidence import log_odds_weights, normed, to_the_end
from tests.models.two_stacks.models import FAMILIES, WRITTEN, build, read_ids, source
from torch import Tensor

import contextmix as cm
from contextmix.errors import BadOption
from contextmix.results.provenance import Quantity


def direction(family: str, model: Any, state: Tensor, weights: Tensor) -> Tensor:
    """u: a weighted sum of logits pulled back to the last block's output, by the family's own modules."""
    pulled = weights @ model.get_output_embeddings().weight
    if family in ("bart", "marian"):
        return pulled
    t5 = family in ("t5", "gated_t5")
    norm = model.decoder.final_layer_norm if t5 else model.model.decoder.layer_norm
    if t5:
        pulled = pulled * model.config.d_model**-0.5
        return pulled * norm.weight / (state.square().mean() + norm.variance_epsilon).sqrt()
    pulled = pulled * norm.weight / (state.var(unbiased=False) + norm.eps).sqrt()
    return pulled - pulled.mean()


def longhand(family: str, model: Any, signed: bool) -> np.ndarray:
    """(written token, source + read): every vector built one by one, heads summed before the positive part."""
    inputs = source(family)
    trace = cm.load(model).trace(inputs, output=WRITTEN)
    steps = [step for pair in zip(trace.decoder.layers, trace.cross.layers, strict=True) for step in pair]
    with torch.no_grad():
        logits = model(**inputs, decoder_input_ids=read_ids(model)).logits[0]
    n_source = trace.cross.layers[0].attention.shape[-1]
    found = torch.zeros(len(WRITTEN), n_source + len(WRITTEN), dtype=torch.float64)
    for row, token in enumerate(WRITTEN):
        u = direction(family, model, steps[-1].residual_out[row], log_odds_weights(logits[row], token))
        for number, step in enumerate(steps):
            for j in range(step.attention.shape[-1]):
                part = sum(
                    step.attention[h, row, j] * (step.value[h, j] @ step.block.output_weight[h])
                    for h in range(len(step.attention))
                )
                part = normed(part, step.block.attention.norm_out, step.attention_out[row]) * step.block.attention.scale
                said = u @ to_the_end(part, row, steps, number, of_attention=True)
                found[row, j if step.cross else n_source + j] += said if signed else said.clamp(min=0)
    return found.detach().numpy()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_longhand(family: str, signed: bool):
    model = build(family)
    # T5 takes the softmax of its attention and the norms in float32 whatever the precision of its weights
    rounding = 1e-5 if family in ("t5", "gated_t5") else 1e-9
    found = cm.load(model).explain(source(family), "evidence", output=WRITTEN, signed=signed)
    np.testing.assert_allclose(found.values, longhand(family, model, signed), rtol=0, atol=rounding)
    assert found.provenance.checks["completeness"] < rounding
    notes = found.provenance.notes
    sums = np.add(notes["signed"], notes["elsewhere"])
    np.testing.assert_allclose(sums, notes["linear"], rtol=0, atol=10 * rounding)


def test_nothing_is_drawn_from_what_was_not_yet_read():
    found = cm.load(build("bart")).explain(source("bart"), "evidence", output=WRITTEN)
    first = found.provenance.notes["source_tokens"]
    assert not np.triu(found.values[:, first:], 1).any()
    assert found.quantity is Quantity.EVIDENCE
    assert found.query_tokens.ids == tuple(WRITTEN)


def test_it_stands_beside_joint_maps_and_says_the_share_of_the_source():
    loaded = cm.load(build("mbart"))
    explored = loaded.explore(source("mbart"), ["evidence", "alti_rollout"], output=WRITTEN)
    assert list(explored.maps) == ["evidence", "alti_rollout"]
    found = explored.maps["evidence"]
    shares = found.values / found.values.sum(-1, keepdims=True)
    first = found.provenance.notes["source_tokens"]
    np.testing.assert_allclose(found.provenance.notes["source_share"], shares[:, :first].sum(-1), atol=1e-9)


def test_all_written_tokens_together_add_their_evidence():
    loaded = cm.load(build("bart"))
    rows = loaded.explain(source("bart"), "evidence", output=WRITTEN)
    found = loaded.explain_generation(source("bart"), "evidence", continuation=WRITTEN, together=True)
    np.testing.assert_allclose(found.values, rows.values.sum(0), rtol=1e-12)
    first = rows.provenance.notes["source_tokens"]
    assert found.provenance.notes["source_share"] == pytest.approx(found.values[:first].sum() / found.values.sum())


def test_all_paths_and_layers_are_refused():
    loaded = cm.load(build("bart"))
    for reach in ("all", "answer"):
        with pytest.raises(BadOption, match="an encoder–decoder has two"):
            loaded.explain(source("bart"), "evidence", output=WRITTEN, reach=reach)
    with pytest.raises(BadOption, match="no layers to choose"):
        loaded.explain(source("bart"), "evidence", output=WRITTEN, layers="all")

"""Integrated gradients: the midpoint sum longhand, and completeness, which the result must report truly."""

import numpy as np
import pytest
import torch
from tests.methods.classifiers import (
    MASK,
    TEXT,
    autograd,
    bert,
    embedded,
    encoded,
    finite_differences,
    function_run,
    linear,
    loaded,
    scores_after,
)
from tests.tracing.tiny import one_thread, word_pieces

import contextmix as cm
from contextmix.errors import BadInput, BadOption
from contextmix.plugins.plan import METHODS


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


UNKNOWN = 1  # [UNK] in tiny.WORDS


def start_of(model, baseline: str):
    if baseline == "zero":
        return torch.zeros_like(embedded(model))
    inputs = encoded()
    inputs["input_ids"][0, 1:-1] = {"mask": MASK, "unknown": UNKNOWN}[baseline]
    return embedded(model, inputs)


def longhand(model, start, target: int, steps: int, derivative=autograd):
    """(e − b) ⊙ average of the gradients at the middles of equal pieces of the path, (key, d_model)."""
    end = embedded(model)
    total = torch.zeros_like(end)
    for k in range(1, steps + 1):
        total += derivative(model, start + (k - 0.5) / steps * (end - start), target)
    return (end - start) * total / steps


def difference(model, start, target: int) -> float:
    with torch.no_grad():
        end, begin = scores_after(model, torch.stack([embedded(model), start]))[:, target].tolist()
    return end - begin


@pytest.mark.parametrize("target", [0, 1, 2])
@pytest.mark.parametrize("baseline", ["zero", "mask", "unknown"])
def test_each_token_has_its_part_of_the_midpoint_sum(baseline, target):
    model = loaded()
    products = longhand(model.model, start_of(model.model, baseline), target, 4)
    options = {"method": "integrated_gradients", "steps": 4, "baseline": baseline, "target": target}
    found = model.explain(TEXT, **options)
    np.testing.assert_allclose(found.values, products.sum(-1), rtol=1e-9, atol=1e-12)
    assert found.quantity == "signed"
    lengths = model.explain(TEXT, **options, reduce="norm")
    np.testing.assert_allclose(lengths.values, products.norm(dim=-1), rtol=1e-9, atol=1e-12)
    assert lengths.quantity == "gradient"


def test_finite_differences_give_the_same_sum():
    model = loaded()
    wanted = longhand(model.model, start_of(model.model, "mask"), 1, 3, finite_differences).sum(-1)
    found = model.explain(TEXT, method="integrated_gradients", steps=3, baseline="mask", target=1)
    np.testing.assert_allclose(found.values, wanted, rtol=1e-6, atol=1e-8)


def test_zero_vectors_fifty_steps_and_the_sum_are_the_default():
    model = loaded()
    plain = model.explain(TEXT, method="integrated_gradients")
    said = model.explain(TEXT, method="integrated_gradients", steps=50, baseline="zero", reduce="sum")
    np.testing.assert_array_equal(plain.values, said.values)


def test_special_tokens_and_what_is_masked_already_get_nothing_from_a_mask_baseline():
    found = loaded().explain("a [MASK] film .", method="integrated_gradients", baseline="mask")
    assert found.tokens.pieces[2] == "[MASK]"
    assert [found.values[place] for place in (0, 2, -1)] == [0, 0, 0]
    assert (found.values[[1, 3, 4]] != 0).all()


# Completeness


@pytest.mark.parametrize("reduce", ["sum", "norm"])
@pytest.mark.parametrize("baseline", ["zero", "mask"])
def test_the_reported_error_is_the_true_one(baseline, reduce):
    model = loaded()
    start = start_of(model.model, baseline)
    wanted = difference(model.model, start, 2)
    options = {"method": "integrated_gradients", "steps": 5, "baseline": baseline, "target": 2}
    notes = model.explain(TEXT, **options, reduce=reduce).provenance.notes
    error = abs(model.explain(TEXT, **options).values.sum() - wanted)
    assert error > 1e-5  # five steps are few, so there is something to report
    assert notes["completeness_error"] == pytest.approx(error, rel=1e-6)
    assert notes["completeness_error_relative"] == pytest.approx(error / abs(wanted), rel=1e-6)


def test_more_steps_are_more_complete():
    model = loaded()
    errors = [
        model.explain(TEXT, method="integrated_gradients", steps=steps, baseline="mask", target=0).provenance.notes
        for steps in (10, 100, 1000)
    ]
    coarse, fine, finest = (one["completeness_error_relative"] for one in errors)
    assert finest < 1e-4
    assert finest < fine / 50 < coarse / 50


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("baseline", ["zero", "mask"])
def test_a_linear_model_is_divided_exactly_in_any_number_of_steps(steps, baseline):
    scores, weights = linear()
    run = function_run(scores)
    found = METHODS["integrated_gradients"].attribute(run, steps=steps, baseline=baseline)
    start = torch.zeros(3, 4, dtype=torch.float64) if baseline == "zero" else run.embeddings_of(torch.tensor([9] * 3))
    wanted = [float(weights[i, :, 1] @ (run.embeddings[i] - start[i])) for i in range(3)]
    np.testing.assert_allclose(found.values, wanted, rtol=1e-12)
    assert float(found.notes["completeness_error"]) < 1e-12


@pytest.mark.parametrize("steps", [1, 4])
def test_a_cube_is_missed_by_a_quarter_of_the_squared_step(steps):
    run = function_run(lambda points: points.pow(3).sum((1, 2))[:, None].expand(-1, 2))
    found = METHODS["integrated_gradients"].attribute(run, steps=steps)
    total = float(run.embeddings.pow(3).sum())
    assert float(found.notes["completeness_error_relative"]) == pytest.approx(1 / (4 * steps**2))
    assert float(found.notes["completeness_error"]) == pytest.approx(abs(total) / (4 * steps**2))


def test_a_score_that_is_the_same_at_both_ends_has_no_relative_error():
    cancelling = torch.tensor([[1.0, -1.0, 0.0, 0.0]] * 3, dtype=torch.float64)
    run = function_run(lambda points: points.sum((1, 2))[:, None].expand(-1, 2), embeddings=cancelling)
    found = METHODS["integrated_gradients"].attribute(run, reduce="norm")
    assert found.notes.keys() == {"completeness_error"}
    assert found.values.tolist() == pytest.approx([2**0.5] * 3)


# Memory


def test_a_small_memory_takes_the_path_in_pieces_and_gives_the_same_numbers():
    model, sizes = bert(), []
    model.classifier.register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    traced = cm.load(model, word_pieces())
    options = {"method": "integrated_gradients", "steps": 12, "target": 0}
    whole = traced.explain(TEXT, **options).values
    assert max(sizes) == 11
    with pytest.raises(BadOption, match="memory_budget=1,000 bytes do not hold the backward pass") as caught:
        traced.explain(TEXT, **options, memory_budget=1000)
    needed = int(str(caught.value).split("takes ")[1].split(".")[0].replace(",", ""))
    sizes.clear()
    pieces = traced.explain(TEXT, **options, memory_budget=3 * needed).values
    np.testing.assert_allclose(pieces, whole, rtol=1e-10)
    assert max(sizes) == 3


# Refusals


@pytest.mark.parametrize("steps", [0, -1, 2.5, True, "50"])
def test_steps_that_are_no_positive_number_are_refused(steps):
    wrong = "is not a number of points on the path" if type(steps) is int else "must be a whole number"
    with pytest.raises(BadOption, match=wrong):
        loaded().explain(TEXT, method="integrated_gradients", steps=steps)


def test_another_baseline_is_refused():
    with pytest.raises(BadOption, match="baseline is 'zero' or 'mask' or 'unknown'"):
        loaded().explain(TEXT, method="integrated_gradients", baseline="pad")


def test_a_baseline_of_a_token_that_does_not_exist_is_refused():
    model = cm.load(bert(), word_pieces())  # a tokenizer without a mask
    with pytest.raises(BadOption, match=r"baseline='mask' is not possible: there is no mask token.*baseline='zero'"):
        model.explain(TEXT, method="integrated_gradients", baseline="mask")
    with pytest.raises(BadOption, match="baseline='unknown' is not possible: there is no unknown token"):
        cm.load(bert()).explain(encoded(), method="integrated_gradients", baseline="unknown")


def test_a_text_that_is_its_own_baseline_is_refused():
    with pytest.raises(BadInput, match="its own mask baseline"):
        loaded().explain("[MASK] [MASK]", method="integrated_gradients", baseline="mask")

"""Features of an image that are added between blocks: whose they are, in every method, by hooks of the tests' own."""

import numpy as np
import pytest
import torch
from tests.tracing.pictured import QUESTION, built, picture
from tests.tracing.tiny import in_float64

import contextmix as cm
from contextmix.errors import UnsupportedModel
from contextmix.tracing.recording.blocks.between import Between
from contextmix.tracing.recording.quiet import as_called, quiet_run

SOURCE = {"image": picture(), "text": QUESTION}


def loaded_in_float64():
    model, reader = built("qwen3_vl")
    model = in_float64(model)
    model.set_attn_implementation("eager")
    return cm.load(model, reader)


@pytest.fixture(scope="module")
def qwen3():
    """Qwen3-VL, which adds image features behind its first block."""
    return loaded_in_float64()


@pytest.fixture(scope="module")
def called(qwen3):
    (inputs,) = qwen3.encode(SOURCE)
    return as_called({name: value.unsqueeze(0) for name, value in inputs.tensors.items()})


def blocks_of(loaded):
    return [loaded.model.get_submodule(block.path) for block in loaded.anatomy().blocks]


def first(output):
    return output[0] if isinstance(output, tuple) else output


def run(loaded, called, hooks=(), pre=()):
    """A plain run with hooks and pre-hooks: (module, hook) pairs."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    handles += [module.register_forward_pre_hook(hook, with_kwargs=True) for module, hook in pre]
    try:
        return loaded.model(**called, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()


def feature(loaded, called):
    """What is added behind the first block, (token, d_model), from what it writes and the next one reads."""
    one, two = blocks_of(loaded)
    seen = {}
    with torch.no_grad():
        run(
            loaded,
            called,
            [(one, lambda module, args, output: seen.update(wrote=first(output)[0].clone()))],
            [(two, lambda module, args, kwargs: seen.update(read=(*args, *kwargs.values())[0][0].clone()))],
        )
    return seen["read"] - seen["wrote"]


def test_the_trace_knows_what_was_added_and_where(qwen3, called):
    trace, wanted = qwen3.trace(SOURCE), feature(qwen3, called)
    assert trace.layers[0].added is None
    assert torch.allclose(trace.layers[1].added, wanted, rtol=0, atol=1e-12)
    marks = called["input_ids"][0] == qwen3.model.config.image_token_id
    assert (trace.layers[1].added[~marks] == 0).all()
    assert (trace.layers[1].added[marks].norm(dim=-1) > 0.1).all()
    assert trace.checks.added == (1,)
    error = trace.layers[1].residual_in - trace.layers[0].residual_out - wanted
    assert float(error.abs().max()) <= 1e-9


def test_value_zeroing_is_what_zeroed_values_change(qwen3, called):
    found = qwen3.explain(SOURCE, "value_zeroing", layers="all")
    assert found.provenance.notes["images_added_before_layers"] == [1]
    block = blocks_of(qwen3)[1]
    states = {}
    count = found.shape[-1]
    look = lambda name: (block, lambda module, args, output: states.update({name: first(output)[0].clone()}))  # noqa: E731
    with torch.no_grad():
        run(qwen3, called, [look("clean")])
        distances = np.zeros((count, count))
        for token in range(count):

            def zero(module, args, output, token=token):
                output = output.clone()
                output[:, token] = 0
                return output

            run(qwen3, called, [(block.self_attn.v_proj, zero), look("other")])
            alike = torch.nn.functional.cosine_similarity(states["clean"], states["other"], eps=0)
            distances[:, token] = (1 - alike).numpy()
    expected = distances / distances.sum(-1, keepdims=True)
    assert np.abs(found.values[1] - expected).max() <= 1e-9


@pytest.mark.parametrize("method", ["value_zeroing", "norm_encoder", "alti", "attention_residual"])
def test_rolled_out_maps_are_the_products_of_those_of_the_layers(qwen3, method):
    """A feature is its own token's, so between two blocks each row stays with its token."""
    layers = qwen3.explain(SOURCE, method, layers="all")
    wanted = layers.values[1] @ layers.values[0]
    found = qwen3.explain(SOURCE, method, aggregation="rollout")
    assert np.abs(found.values - wanted).max() <= 1e-9 * wanted.max()
    assert (np.triu(found.values, 1) == 0).all()
    assert found.provenance.notes["images_added_before_layers"] == [1]
    assert np.array_equal(cm.aggregate(layers, "rollout").values[-1], found.values)


@pytest.mark.parametrize("reach", ["direct", "all"])
def test_evidence_adds_up_also_at_the_place_of_an_image(qwen3, reach):
    count = len(qwen3.encode(SOURCE)[0].tokens)
    for position in (None, qwen3.explain(SOURCE).tokens.position("r0c0"), count - 2):
        found = qwen3.explain(SOURCE, position=position, signed=True, reach=reach)
        notes = found.provenance.notes
        assert found.provenance.checks["completeness"] <= 1e-9
        if reach == "direct":
            assert notes["signed"] + notes["elsewhere"] == pytest.approx(notes["linear"], abs=1e-9)


def test_gradients_are_taken_at_the_embeddings_and_at_the_features(qwen3, called):
    """Σ_d g·e + Σ_d g'·f for each token, with leaves of the test's own put into a plain run."""
    one, two = blocks_of(qwen3)
    added = feature(qwen3, called)
    leaves = {}

    def entering(module, args, kwargs):
        states = (*args, *kwargs.values())[0]
        leaves["embeddings"] = states.detach().clone().requires_grad_()
        return (leaves["embeddings"], *args[1:]), kwargs

    def later(module, args, kwargs):
        leaves["features"] = added.clone().requires_grad_()
        return (args[0] - added + leaves["features"], *args[1:]), kwargs

    logits = run(qwen3, called, pre=[(one, entering), (two, later)]).logits[0, -1]
    own, behind = torch.autograd.grad(logits.max(), [leaves["embeddings"], leaves["features"]])
    wanted = (own * leaves["embeddings"])[0].sum(-1) + (behind * leaves["features"]).sum(-1)
    wanted = wanted.detach().numpy()
    found = qwen3.explain(SOURCE, "gradient_inputs", reduce="sum")
    assert np.abs(found.values - wanted).max() <= 1e-6 * np.abs(wanted).max()
    lengths = torch.cat([own[0], behind], -1).norm(dim=-1).numpy()
    assert np.abs(qwen3.explain(SOURCE, "gradient").values - lengths).max() <= 1e-6 * lengths.max()


def test_a_path_from_nothing_begins_without_the_features_too(qwen3, called):
    """What the path says of its own gap is that to a plain run whose blocks are given nothing of any token."""
    one, two = blocks_of(qwen3)
    added = feature(qwen3, called)
    nothing = lambda module, args, kwargs: ((torch.zeros_like(args[0]), *args[1:]), kwargs)  # noqa: E731
    without = lambda module, args, kwargs: ((args[0] - added, *args[1:]), kwargs)  # noqa: E731
    with torch.no_grad():
        whole = run(qwen3, called).logits[0, -1]
        empty = run(qwen3, called, pre=[(one, nothing), (two, without)]).logits[0, -1]
    target = int(whole.argmax())
    found = qwen3.explain(SOURCE, "integrated_gradients", steps=4, reduce="sum")
    gap = abs(found.values.sum() - float(whole[target] - empty[target]))
    assert found.provenance.notes["completeness_error"] == pytest.approx(gap, abs=1e-6)


def test_parts_of_a_vector_keep_the_feature_with_its_token():
    """Where blocks add nothing, all that an image place says is its own: embedding and feature."""
    qwen3 = loaded_in_float64()
    place = qwen3.explain(SOURCE).tokens.position("r0c0")
    assert qwen3.explain(SOURCE, "decompx").provenance.checks["completeness"] <= 1e-6
    with torch.no_grad():
        for block in blocks_of(qwen3):
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        logits = quiet_run(qwen3.model, qwen3_tensors(qwen3)).logits[0, place]
    found = qwen3.explain(SOURCE, "decompx", position=place)
    others = np.delete(found.values, place)
    assert (others == 0).all()
    assert found.values[place] == pytest.approx(float(logits.max()), rel=1e-6)


def qwen3_tensors(loaded):
    (inputs,) = loaded.encode(SOURCE)
    return {name: value.unsqueeze(0) for name, value in inputs.tensors.items()}


def test_derivatives_of_a_later_block_reach_embeddings_and_features(qwen3):
    """By central differences at one token: its embedding and its feature moved together in all directions."""
    trace = qwen3.trace(SOURCE)
    layer, place = trace.layers[1], qwen3.explain(SOURCE).tokens.position("r0c0")
    assert layer.embeddings.shape[-1] == 2 * layer.residual_in.shape[-1]
    assert trace.layers[0].embeddings.shape == trace.layers[0].residual_in.shape
    size, total = 1e-3, 0.0  # norms compute in float32
    for number in range(layer.embeddings.shape[-1]):
        moved = [layer.embeddings.clone() for _ in range(2)]
        moved[0][place, number] += size
        moved[1][place, number] -= size
        there, back = (layer.replay_from_embeddings(one) for one in moved)
        total += ((there - back)[-1] / (2 * size)).square().sum()
    found = qwen3.explain(SOURCE, "hta", span="embeddings", layers=[1])
    assert found.values[0, -1, place] == pytest.approx(float(total.sqrt()), rel=1e-4)


def test_new_tokens_are_explained_as_in_their_own_steps(qwen3):
    for method in ("evidence", "gradient_inputs", "decompx", "value_zeroing_rollout"):
        given = qwen3.explain_generation(SOURCE, method, continuation=" the disc")
        count = len(given.tokens) - len(given.query_tokens)
        about = {} if method == "value_zeroing_rollout" else {"target": "the"}
        alone = qwen3.explain(SOURCE, method, **about).values
        alone = alone if alone.ndim == 1 else alone[-1]
        assert given.values[0, :count] == pytest.approx(alone, rel=1e-6, abs=1e-9)
        assert (given.values[0, count:] == 0).all()
    together = qwen3.explain_generation(SOURCE, "gradient_inputs", continuation=" the disc", together=True)
    assert np.isfinite(together.values).all()


def test_prompts_together_are_as_alone(qwen3):
    sources = [SOURCE, {"image": picture(seed=1), "text": QUESTION}]
    together = qwen3.explain(sources, "globenc", batch_size=2)
    for found, source in zip(together, sources, strict=True):
        assert np.abs(found.values - qwen3.explain(source, "globenc").values).max() <= 1e-9 * found.values.max()
    assert np.abs(together[0].values - together[1].values).max() > 1e-3 * together[0].values.max()


def test_a_change_in_place_between_blocks_is_refused(qwen3):
    places = qwen3.anatomy().blocks
    states = torch.randn(1, 3, 4)
    between = Between("llava")
    between.wrote(states)
    assert between.added(places, 1, (states,), {}) is None
    between.wrote((states,))
    assert between.added(places, 1, (states.clone(),), {}) is None  # a copy is the same
    between.wrote(states)
    states[0, 0] += 1
    with pytest.raises(UnsupportedModel, match=r"layers.1 reads is not what model.language_model.layers.0 wrote"):
        between.added(places, 1, (states,), {})


def test_something_added_to_words_is_refused(qwen3):
    between = Between("llava", torch.tensor([[False, True, False]]))
    places = qwen3.anatomy().blocks
    for token in range(3):
        states = torch.randn(1, 3, 4)
        between.wrote(states)
        other = states.clone()
        other[0, token] += 1
        if token == 1:
            found = between.added(places, 1, (other,), {})
            assert torch.allclose(found, torch.tensor([[[0.0], [1.0], [0.0]]]).expand(1, 3, 4))
        else:
            with pytest.raises(UnsupportedModel, match="at other tokens than the places of images"):
                between.added(places, 1, (other,), {})
    assert between.changed == [1]


def test_a_model_that_adds_to_words_too_is_refused_on_its_real_input():
    loaded = loaded_in_float64()
    loaded.explain(SOURCE, "globenc")
    stack = loaded.model.model.language_model
    own = stack._deepstack_process

    def wider(states, marks, features):
        return own(states, marks, features) + 1e-3

    stack._deepstack_process = wider
    with pytest.raises(UnsupportedModel, match="at other tokens than the places of images"):
        loaded.explain(SOURCE, "globenc")
    with pytest.raises(UnsupportedModel, match="at other tokens than the places of images"):
        loaded.explain(SOURCE, "gradient_inputs")
    with pytest.raises(UnsupportedModel, match="at other tokens than the places of images"):
        loaded.explain(SOURCE)

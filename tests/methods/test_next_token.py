"""Methods of the whole model explain what a language model says next, at any position, alone or against a foil."""

import numpy as np
import pytest
import torch
from tests.methods.speakers import CAUSAL, IDS, MASKED, explained, logits, speaker
from tests.tracing.tiny import one_thread
from torch import Tensor

import contextmix as cm
from contextmix.errors import AmbiguousTarget, BadInput, BadOption, NotInVocabulary, TooLong, UnknownToken
from contextmix.plugins.plan import METHODS

LAST = len(IDS) - 1
GIRL = "Once upon a time, there was a little girl named"
WHOLE = sorted(name for name, one in METHODS.items() if hasattr(one, "attribute"))
each_family = pytest.mark.parametrize("family", ["llama", "gpt2", "gemma", "gemma2"])


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def stories() -> cm.TracedModel:
    return cm.load("demo-decoder")


def gradient_by_hand(model, position: int, weights: dict[int, float], part: float = 1.0) -> tuple[Tensor, Tensor]:
    """e⁰ and the gradient of Σ w·logit at a position: the word embeddings moved, nothing of the package in it.

    e⁰ is what enters the first block; a hook puts a leaf there, or a part of it for a point on the way from zero.
    """
    block = next(module for name, module in model.named_modules() if name.endswith(("layers.0", "h.0")))
    leaf: list[Tensor] = []

    def swap(module, args, kwargs):
        states = args[0] if args else kwargs["hidden_states"]
        leaf.append((part * states.detach()).requires_grad_())
        return ((leaf[0], *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": leaf[0]})

    handle = block.register_forward_pre_hook(swap, with_kwargs=True)
    scores = model(IDS[None]).logits[0, position]
    handle.remove()
    (found,) = torch.autograd.grad(sum(weight * scores[token] for token, weight in weights.items()), leaf[0])
    return leaf[0][0].detach(), found[0]


# Gradients -----------------------------------------------------------------------------------------------------------


@each_family
@pytest.mark.parametrize(("position", "target"), [(LAST, None), (2, None), (LAST, 7), (3, (7, 9))])
def test_gradients_are_those_of_the_score_at_the_position(family, position, target):
    model = speaker(family)
    chosen = int(logits(model)[position].argmax()) if target is None else target
    weights = {chosen[0]: 1.0, chosen[1]: -1.0} if isinstance(chosen, tuple) else {chosen: 1.0}
    embeddings, gradient = gradient_by_hand(model, position, weights)
    found = explained(model, "gradient", target=target, position=position)
    np.testing.assert_allclose(found.values, gradient.norm(dim=-1).numpy(), rtol=1e-6, atol=1e-12)
    products = (gradient * embeddings).norm(dim=-1)
    found = explained(model, "gradient_inputs", target=target, position=position)
    np.testing.assert_allclose(found.values, products.numpy(), rtol=1e-6, atol=1e-12)
    assert found.values[position] > 0


@pytest.mark.parametrize("method", WHOLE)
def test_tokens_after_the_position_get_exact_zeros_and_those_before_the_numbers_of_the_shorter_text(method):
    model = speaker("llama")
    found = explained(model, method, position=2)
    assert found.shape == (len(IDS),)
    assert not found.values[3:].any()
    short = explained(model, method, ids=IDS[:3])
    np.testing.assert_array_equal(found.values[:3], short.values)
    assert found.provenance.notes["target_id"] == short.provenance.notes["target_id"]


@each_family
def test_integrated_gradients_are_the_mean_gradient_on_the_way_from_zero(family):
    model, steps = speaker(family), 5
    embeddings, _ = gradient_by_hand(model, LAST, {7: 1.0})
    way = [gradient_by_hand(model, LAST, {7: 1.0, 9: -1.0}, (k + 0.5) / steps)[1] for k in range(steps)]
    wanted = (embeddings * sum(way) / steps).sum(-1)
    found = explained(model, "integrated_gradients", target=(7, 9), steps=steps)
    np.testing.assert_allclose(found.values, wanted.numpy(), rtol=1e-6, atol=1e-12)


# Occlusion -----------------------------------------------------------------------------------------------------------


@each_family
@pytest.mark.parametrize("score", ["probability", "logit"])
def test_occlusion_deletes_one_token_after_the_other_and_reads_the_end(family, score):
    model, position, (target, foil) = speaker(family), 4, (7, 9)

    def read(ids: Tensor) -> float:
        last = logits(model, ids)[-1]
        last = last.softmax(-1) if score == "probability" else last
        return float(last[target] - last[foil])

    own = IDS[: position + 1]
    wanted = [read(own) - read(torch.cat([own[:place], own[place + 1 :]])) for place in range(position + 1)]
    found = explained(model, "occlusion", target=(target, foil), position=position, score=score)
    np.testing.assert_allclose(found.values[: position + 1], wanted, rtol=1e-6, atol=1e-12)
    assert not found.values[position + 1 :].any()


# A masked word -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", MASKED)
def test_a_masked_model_says_what_stands_at_a_position(family):
    model = speaker(family)
    found = explained(model, "decompx", position=2)
    scores = logits(model)[2]
    assert found.provenance.notes["target_id"] == int(scores.argmax())
    np.testing.assert_allclose(found.values.sum(), float(scores.max()), rtol=1e-6)
    assert (found.values != 0).all()  # later tokens count as much
    hidden = explained(model, "occlusion", position=2, replace="delete", target=7)
    without = torch.cat([IDS[:4], IDS[5:]])
    gone = logits(model, without)[2].softmax(-1)[7]
    np.testing.assert_allclose(hidden.values[4], float(scores.softmax(-1)[7] - gone), rtol=1e-6, atol=1e-12)
    assert hidden.values[2] == 0
    assert hidden.provenance.notes["not_replaced"] == [2]


def test_the_only_mask_is_what_is_explained():
    from tests.methods.classifiers import tokenizer

    model = cm.load(speaker("bert"), tokenizer())
    found = model.explain("a deep [MASK] film .", "gradient_inputs")
    assert found.provenance.notes["position"] == 3
    assert found.provenance.notes["prediction"]["at"] == "[MASK]"
    same = model.explain("a deep [MASK] film .", "gradient_inputs", position="[MASK]")
    np.testing.assert_array_equal(found.values, same.values)
    assert model.trace("a deep [MASK] film .").prediction == pytest.approx(found.provenance.notes["prediction"])
    for text, count in (("a film .", 0), ("a [MASK] [MASK]", 2)):
        with pytest.raises(BadOption, match=f"the input has {count} masks.*position="):
            model.explain(text, "gradient_inputs")
        assert model.trace(text).prediction == {}


def test_each_token_of_a_tagger_has_classes():
    from tests.tracing.tiny import build

    model = build("bert", "ForTokenClassification", num_labels=3).double()
    found = explained(model, "decompx", position=1, target="LABEL_2")
    np.testing.assert_allclose(found.values.sum(), float(logits(model)[1, 2]), rtol=1e-9)
    assert found.provenance.notes["target"] == "LABEL_2"
    with pytest.raises(BadOption, match="scores every token"):
        explained(model, "gradient")


# What is asked for ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", WHOLE)
def test_the_next_token_of_a_story_is_explained(stories, method):
    found = stories.explain(GIRL, method)
    notes = found.provenance.notes
    assert (notes["target"], notes["target_id"], notes["position"]) == (" Lily", 317, 13)
    assert notes["prediction"]["label"] == " Lily"
    assert notes["prediction"]["after"] == " named"
    assert 0.9 < notes["prediction"]["probability"] < 0.95
    assert found.dims == ("key",)
    if method != "random":  # the baseline without an idea: its order changes with the text alone
        assert found.top(1)[0][0] in {" named", " a", "l"}  # the last piece of "girl"


@pytest.mark.parametrize("target", ["Lily", " Lily", "▁Lily", 317, "317"])
def test_a_token_is_named_by_its_text_or_id(stories, target):
    assert stories.explain(GIRL, "gradient", target=target).provenance.notes["target_id"] == 317


def test_a_contrast_is_the_difference_of_two_scores(stories):
    one, other = (stories.explain(GIRL, "decompx", target=name).values for name in ("Lily", "Tim"))
    found = stories.explain(GIRL, "decompx", target=("Lily", "Tim"))
    np.testing.assert_allclose(found.values, one - other, atol=1e-5 * np.abs(one).max())
    notes = found.provenance.notes
    assert (notes["target"], notes["foil"], notes["target_id"], notes["foil_id"]) == (" Lily", " Tim", 317, 326)


@pytest.mark.parametrize("method", ["gradient_inputs", "integrated_gradients", "decompx"])
def test_classes_are_contrasted_too(method):
    options = {} if method == "decompx" else {"reduce": "sum"}
    demo = cm.load("demo")
    one, other = (
        demo.explain("a good film", method, target=name, **options).values for name in ("positive", "negative")
    )
    found = demo.explain("a good film", method, target=("positive", "negative"), **options)
    np.testing.assert_allclose(found.values, one - other, atol=1e-5 * np.abs(one).max())
    assert found.provenance.notes["foil"] == "negative"


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"target": "Tom"}, NotInVocabulary, r"'Tom' is not one token.*' T' \(274\), 'om' \(287\).*target=274"),
        ({"target": 512}, NotInVocabulary, "no token with the id 512: the model scores 512 tokens, with ids from 0 to"),
        ({"target": -1}, NotInVocabulary, "no token with the id -1"),
        ({"target": "a"}, AmbiguousTarget, "2 tokens for 'a'.*261 for ' a' or 412 for 'a'"),
        ({"target": ("Lily", " Lily")}, BadOption, "contrasts ' Lily' with itself"),
        ({"target": ("Lily", "Tim", "a")}, BadOption, "A contrast is of two"),
        ({"target": "all"}, BadOption, "as many classes as vocabulary tokens"),
        ({"position": 14}, UnknownToken, "no token at position 14"),
        ({"position": "cat"}, UnknownToken, "no token 'cat'"),
    ],
    ids=str,
)
def test_what_cannot_be_explained_is_refused(stories, options, error, sentence):
    with pytest.raises(error, match=sentence):
        stories.explain(GIRL, "gradient", **options)


def test_a_text_needs_a_tokenizer_and_an_id_does_not():
    model = speaker("llama")
    with pytest.raises(BadOption, match=r"target='Lily' is a text.*without a tokenizer"):
        explained(model, "gradient", target="Lily")
    assert explained(model, "gradient", target="7").provenance.notes["target"] == "7"


@pytest.mark.parametrize("option", ["position", "target"])
def test_what_explains_no_score_takes_no_position_and_no_target(stories, option):
    with pytest.raises(BadOption, match=f"globenc explains what a token's .* so {option}=2 has no effect"):
        stories.explain(GIRL, "globenc", **{option: 2})


def test_a_classifier_has_no_positions():
    with pytest.raises(BadOption, match=r"position=1 asks for the scores at one token.*it has one score per class"):
        cm.load("demo").explain("a good film", "gradient", position=1)


def test_prompts_that_are_too_long_and_ids_that_do_not_exist_are_refused(stories):
    with pytest.raises(TooLong, match="has 602 tokens and the model reads at most 512"):
        stories.explain("a " * 600, "gradient")
    with pytest.raises(BadInput, match="the model knows 0 to 511"):
        stories.explain({"input_ids": [1, 512]}, "gradient")


# What the model says by itself ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", CAUSAL)
def test_a_trace_says_the_next_token(family):
    model = speaker(family)
    batch = torch.stack([IDS, IDS.flip(0)])
    for trace, ids in zip(cm.load(model).trace({"input_ids": batch}), batch, strict=True):
        last = logits(model, ids)[-1]
        assert trace.prediction["id"] == int(last.argmax())
        assert trace.prediction["probability"] == pytest.approx(float(last.softmax(-1).max()), rel=1e-5)


def test_a_comparison_of_a_decoder_looks_at_its_last_token(stories):
    found = stories.compare(GIRL, ["globenc", "decompx", "occlusion"])
    np.testing.assert_allclose(found.rows["globenc"].values, stories.explain(GIRL, query=-1).values, rtol=1e-12)
    np.testing.assert_array_equal(found.rows["decompx"].values, stories.explain(GIRL, "decompx").values)
    earlier = stories.compare(GIRL, ["globenc", "decompx"], query=4)
    np.testing.assert_array_equal(earlier.rows["decompx"].values, stories.explain(GIRL, "decompx", position=4).values)

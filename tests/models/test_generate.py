"""A generation explained step by step, against single steps explained one by one."""

import numpy as np
import pytest
import torch
from tests.methods.speakers import IDS, speaker
from tests.tracing.tiny import build, byte_pairs, one_thread

import contextmix as cm
from contextmix.errors import (
    BadInput,
    BadOption,
    NotInVocabulary,
    TooLong,
    TraceDoesNotAddUp,
    UnknownName,
    UnsupportedModel,
)
from contextmix.models.generate import of_maps
from contextmix.plugins.plan import METHODS
from contextmix.tracing.runs.generate import Generated, labelled

GIRL = "Once upon a time, there was a little girl named"
NEW = (" Lily", ".", " She", " lo", "ved", " to", " play", " ", "out", "s")
RECIPES = ["globenc", "attention_rollout", "attention_flow", "value_zeroing_rollout", "alti_rollout"]
WHOLE = sorted(name for name, one in METHODS.items() if hasattr(one, "attribute"))


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def stories() -> cm.TracedModel:
    return cm.load("demo-decoder")


def test_ten_tokens_of_a_story_each_have_a_row(stories):
    found = stories.explain_generation(GIRL)
    assert found.query_tokens.pieces == NEW
    assert found.tokens.pieces[-10:] == NEW
    assert found.tokens.text == GIRL + "".join(NEW)
    assert (found.dims, found.shape, found.quantity) == (("query", "key"), (10, 24), "evidence")
    notes = found.provenance.notes["generation"]
    assert (notes["prompt_tokens"], notes["greedy"]) == (14, True)
    assert len(notes["probabilities"]) == 10
    assert "prediction" not in found.provenance.notes
    assert found.words().query_tokens.pieces == ("Lily.", "She", "loved", "to", "play", "outs")


@pytest.mark.parametrize("method", [*RECIPES, *WHOLE])
def test_each_row_is_that_step_explained_alone(stories, method):
    found = stories.explain_generation(GIRL, method, max_new_tokens=4)
    ids = found.tokens.ids
    whole = method in WHOLE
    for step, new in enumerate(ids[14:]):
        read = {"input_ids": torch.tensor(ids[: 14 + step])}
        alone = stories.explain(read, method, **({"target": new} if whole else {"query": -1}))
        row = found.values[step]
        # the labels of ids alone know that <s> is special, so occlusion agrees too
        np.testing.assert_allclose(row[: 14 + step], alone.values, rtol=2e-4, atol=1e-5 * np.abs(row).max())
        assert not row[14 + step :].any()
        assert row[: 14 + step].any()


def test_maps_of_every_layer_and_head_have_their_rows(stories):
    found = stories.explain_generation(GIRL, "attention", heads="each", max_new_tokens=3)
    assert found.dims == ("layer", "head", "query", "key")
    assert found.shape == (5, 8, 3, 17)
    whole = stories.explain(GIRL, "attention", heads="each")
    np.testing.assert_allclose(found.values[:, :, 0, :14], whole.values[:, :, -1], atol=1e-5)
    one = stories.explain_generation(GIRL, "norm_encoder", layers=[1], max_new_tokens=3)
    assert one.layers == (1,)


def test_probabilities_and_contrasts_are_those_of_each_step():
    model = speaker("llama")
    found = cm.load(model).explain_generation({"input_ids": IDS}, "decompx", max_new_tokens=3, contrast=True)
    ids, notes = torch.tensor(found.tokens.ids), found.provenance.notes["generation"]
    for step in range(len(found.query_tokens)):
        place = len(IDS) + step
        with torch.no_grad():
            last = model(ids[None, :place]).logits[0, -1]
        best, second = last.topk(2).indices.tolist()
        assert ids[place] == best
        assert notes["foil_ids"][step] == second
        assert notes["probabilities"][step] == pytest.approx(float(last.softmax(-1)[best]))
        assert found.values[step].sum() == pytest.approx(float(last[best] - last[second]), rel=1e-7)


def test_a_given_continuation_is_explained_instead(stories):
    found = stories.explain_generation(GIRL, "decompx", continuation=" Tim. He")
    assert found.query_tokens.pieces == (" Tim", ".", " He")
    assert found.provenance.notes["generation"]["greedy"] is False
    assert found.provenance.notes["generation"]["probabilities"][0] < 0.001
    same = stories.explain_generation(GIRL, "decompx", continuation=found.tokens.ids[14:])
    np.testing.assert_array_equal(same.values, found.values)
    assert same.tokens == found.tokens


def test_the_generation_config_and_the_model_stay_as_they_were():
    model = speaker("llama")
    model.generation_config.update(do_sample=True, temperature=0.1, max_new_tokens=1)
    model.train()
    before, weights = model.generation_config.to_dict(), [weight.clone() for weight in model.parameters()]
    traced = cm.load(model)
    first, second = (traced.explain_generation({"input_ids": IDS}, max_new_tokens=5) for _ in range(2))
    assert first.tokens == second.tokens
    assert first.provenance.notes["generation"]["left_out"] == {"do_sample": True}
    ids = IDS  # not sampled: the likeliest token after each step
    for _ in range(5):
        with torch.no_grad():
            ids = torch.cat([ids, model.eval()(ids[None]).logits[0, -1:].argmax(-1)])
    assert first.tokens.ids == tuple(ids.tolist())
    model.train()
    np.testing.assert_array_equal(first.values, second.values)
    assert model.generation_config.to_dict() == before
    assert model.training
    assert all(torch.equal(*pair) for pair in zip(weights, model.parameters(), strict=True))


def test_a_model_that_writes_with_beams_does_so_here():
    model = speaker("llama")
    model.generation_config.update(num_beams=4, length_penalty=2.0)
    found = cm.load(model).explain_generation({"input_ids": IDS}, "attention", max_new_tokens=8)
    wanted = model.generate(IDS[None], attention_mask=torch.ones(1, len(IDS)), max_new_tokens=8, pad_token_id=0)
    greedy = cm.load(model).explain_generation(
        {"input_ids": IDS}, "attention", max_new_tokens=8, generation={"num_beams": 1}
    )
    assert found.tokens.ids == tuple(wanted[0].tolist()) != greedy.tokens.ids
    notes = found.provenance.notes["generation"]
    assert (notes["greedy"], notes["settings"]["num_beams"], "left_out" in notes) == (False, 4, False)
    assert greedy.provenance.notes["generation"]["greedy"] is True


def test_an_end_token_ends_the_story():
    model = speaker("llama")
    traced = cm.load(model)
    long = traced.explain_generation({"input_ids": IDS}, max_new_tokens=5).tokens.ids
    model.generation_config.eos_token_id = [long[len(IDS) + 1]]
    found = traced.explain_generation({"input_ids": IDS}, max_new_tokens=5)
    assert found.tokens.ids == long[: len(found.tokens)]
    assert found.tokens.ids[-1] == long[len(IDS) + 1]
    assert len(found.query_tokens) <= 2


def test_the_last_new_token_need_not_fit_into_the_context():
    traced = cm.load(speaker("gpt2"))
    assert traced.limit == 24
    found = traced.explain_generation({"input_ids": IDS}, continuation=[5] * 19)
    assert len(found.tokens) == 25
    with pytest.raises(BadOption, match=r"20 new tokens after a prompt of 6 do not fit.*at most 24 tokens.*at most 19"):
        traced.explain_generation({"input_ids": IDS}, max_new_tokens=20)


# Labels --------------------------------------------------------------------------------------------------------------


def test_new_tokens_without_a_text_are_spelled_one_by_one():
    tokenizer = byte_pairs()
    prompt = cm.load(build("gpt2", vocab_size=300), tokenizer).encode("a deep")[0].tokens
    both = labelled(tokenizer, prompt, tokenizer(" film")["input_ids"])
    assert both.pieces == ("a", "deep", "film")
    assert both.text == "a deep film"
    letters = [tokenizer(letter)["input_ids"][0] for letter in "film"]  # the tokenizer would have joined them
    apart = labelled(tokenizer, prompt, letters)
    assert apart.pieces == (*prompt.pieces, "f", "i", "l", "m")
    assert (apart.text, apart.spans, apart.words) == (None, None, None)
    assert labelled(None, prompt.part(slice(1)), [7]).pieces == (prompt.pieces[0], "7")


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"max_new_tokens": 0}, BadOption, "max_new_tokens=0 would say nothing"),
        ({"max_new_tokens": 600}, BadOption, "600 new tokens after a prompt of 14 do not fit.*Take at most 499"),
        ({"continuation": ""}, BadInput, "The continuation holds no token"),
        ({"continuation": []}, BadInput, "The continuation holds no token"),
        ({"continuation": "y"}, BadInput, "changes the last tokens of the prompt"),
        ({"continuation": [512]}, NotInVocabulary, "no token with the id 512"),
        ({"contrast": True, "method": "globenc"}, BadOption, "globenc explains what .* nothing to contrast"),
        ({"method": "decompx", "layers": "all"}, BadOption, "has no layers to choose"),
        ({"method": "globenk"}, UnknownName, "globenc"),
    ],
    ids=str,
)
def test_what_cannot_be_said_is_refused(stories, options, error, sentence):
    prompt = "a girl named Lil" if options.get("continuation") == "y" else GIRL
    with pytest.raises(error, match=sentence):
        stories.explain_generation(prompt, **options)


def test_prompts_that_are_none_are_refused(stories):
    with pytest.raises(TooLong):
        stories.explain_generation("a " * 600)
    with pytest.raises(BadInput, match="got 2"):
        stories.explain_generation([GIRL, GIRL])
    with pytest.raises(BadInput, match="Give both as texts, or both as ids"):
        stories.explain_generation({"input_ids": [1, 5]}, continuation=" Tim")
    embeds = torch.randn(1, 4, 64)
    with pytest.raises(BadInput, match="the prompt holds inputs_embeds"):
        stories.explain_generation({"inputs_embeds": embeds})


def test_models_that_do_not_go_on_with_a_text_are_refused():
    with pytest.raises(UnsupportedModel, match="BertForSequenceClassification does not generate text"):
        cm.load("demo").explain_generation("a film")
    with pytest.raises(UnsupportedModel, match="LlamaModel does not generate text"):
        cm.load(build("llama")).explain_generation({"input_ids": IDS})


def test_rows_that_draw_from_later_tokens_are_refused(stories):
    inputs = stories.encode(GIRL)[0]
    done = Generated(inputs, 12, True, lambda: torch.zeros(2, 512))
    tokens = inputs.tokens.part(slice(13))
    values = np.tril(np.ones((13, 13)))
    made = cm.Provenance("attention")
    fine = of_maps(done, cm.TokenMap(values, ("query", "key"), tokens, "share", made))
    assert fine.shape == (2, 14)
    values[11, 12] = 1e-9
    with pytest.raises(TraceDoesNotAddUp, match="the model is not causal on this text"):
        of_maps(done, cm.TokenMap(values, ("query", "key"), tokens, "share", made))

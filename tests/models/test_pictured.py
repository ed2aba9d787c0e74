"""What models say behind a prompt with images, token by token; against the single steps."""

import numpy as np
import pytest
import torch
from tests.tracing.pictured import QUESTION, built, picture, seeing_and_reading

import contextmix as cm
from contextmix.errors import BadInput, BadOption
from contextmix.tracing.recording.quiet import as_called, quiet_run

SOURCE = {"image": picture(), "text": QUESTION}


@pytest.fixture(scope="module", params=["llava", "paligemma", "gemma3", "qwen2_5_vl", "idefics3"])
def loaded(request):
    return seeing_and_reading(request.param)


def test_a_generation_is_the_models_own(loaded):
    found = loaded.explain_generation(SOURCE, max_new_tokens=3)
    (prompt,) = loaded.encode(SOURCE)
    read = as_called({name: value.unsqueeze(0) for name, value in prompt.tensors.items()})
    own = loaded.model.generate(**read, max_new_tokens=3, do_sample=False, pad_token_id=0)
    assert found.query_tokens.ids == tuple(own[0, -3:].tolist())
    count = len(prompt.tokens)
    assert found.shape == (3, count + 3)
    assert found.tokens.pieces[:count] == prompt.tokens.pieces
    assert found.tokens.places.boxes == (*prompt.tokens.places.boxes, None, None, None)
    assert found.query_tokens.places is None
    assert found.provenance.notes["generation"]["greedy"]
    assert (np.triu(found.values, count) == 0).all()


@pytest.mark.parametrize("method", ["evidence", "value_zeroing", "gradient_inputs"])
def test_each_new_token_is_explained_as_in_its_own_step(loaded, method):
    given = loaded.explain_generation(SOURCE, method, continuation=" the disc")
    (prompt,) = loaded.encode(SOURCE)
    count = len(prompt.tokens)
    row = given.values[..., 0, :count]
    alone = (
        loaded.explain(SOURCE, method, target="the") if method != "value_zeroing" else loaded.explain(SOURCE, method)
    )
    expected = alone.values if method != "value_zeroing" else alone.values[..., -1, :]
    assert row == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert (given.values[..., 0, count:] == 0).all()


def test_all_tokens_together_and_contrasts(loaded):
    one = loaded.explain_generation(SOURCE, "gradient_inputs", continuation=" the disc", together=True)
    assert one.dims == ("key",)
    assert loaded.explain_generation(SOURCE, max_new_tokens=1, contrast=True).shape[0] == 1


def test_a_position_in_the_middle_is_scored_with_the_whole_prompt(loaded):
    (inputs,) = loaded.encode(SOURCE)
    place = len(inputs.tokens) - 3
    found = loaded.explain(SOURCE, position=place)
    tensors = {name: value.unsqueeze(0) for name, value in inputs.tensors.items()}
    logits = quiet_run(loaded.model, tensors).logits[0, place]
    assert found.provenance.notes["target_id"] == int(logits.argmax())


def test_gradients_from_several_steps_at_once(loaded):
    found = loaded.explain(SOURCE, "integrated_gradients", steps=4)
    assert np.isfinite(found.values).all()
    assert np.abs(found.values).max() > 0


def test_ids_in_the_place_of_an_image_are_refused(loaded):
    with pytest.raises(BadInput, match="An image place of the prompt is to be replaced or left out"):
        loaded.explain(SOURCE, "occlusion")


def test_sources_of_an_answer_are_texts(loaded):
    chat = [{"role": "user", "content": [{"type": "image", "image": picture()}, {"type": "text", "text": QUESTION}]}]
    for question, context in ((SOURCE, None), (chat, None), (QUESTION, [picture()]), (QUESTION, [SOURCE])):
        with pytest.raises(BadInput, match=r"images are no sources yet\. Ask explain_generation"):
            loaded.explain_answer(question, context=context)


def test_a_plain_text_after_an_image_is_read_as_before():
    model, reader = built("llava")
    alone, loaded = cm.load(model, reader.tokenizer).explain(QUESTION), cm.load(model, reader)
    loaded.explain(SOURCE)
    assert np.array_equal(loaded.explain(QUESTION).values, alone.values)


def test_several_positions_of_qwen_do_not_stay_with_the_model():
    model, reader = built("qwen2_5_vl")
    loaded = cm.load(model, reader)
    with torch.no_grad():
        before = model(input_ids=torch.tensor([[2, 5, 6, 7]])).logits
        loaded.explain(SOURCE)
        assert torch.equal(model(input_ids=torch.tensor([[2, 5, 6, 7]])).logits, before)


def test_settings_of_a_generation_that_is_given():
    with pytest.raises(BadOption, match="generation settings have no effect"):
        seeing_and_reading("llava").explain_generation(SOURCE, continuation=" the", generation={"do_sample": True})

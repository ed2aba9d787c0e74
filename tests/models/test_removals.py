"""Ways of taking tokens away that need more than another token id, against one longhand run per variant."""

import numpy as np
import pytest
import torch
import transformers
from tests.methods.classifiers import TEXT, loaded
from tests.methods.speakers import IDS, speaker
from tests.tracing.tiny import build, one_thread, token_ids

import contextmix as cm
from contextmix.errors import BadInput, BadOption, UnsupportedModel
from contextmix.models.predictor import predictor, removable


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def softmax(logits: torch.Tensor) -> np.ndarray:
    return (logits.double().exp() / logits.double().exp().sum()).numpy()


def some(n: int, seed: int = 0, always: int = 0) -> np.ndarray:
    kept = np.random.default_rng(seed).random((10, n)) < 0.6
    kept[:, always] = kept[0] = True
    return kept


# Masked keys


def test_masked_keys_leave_the_token_and_its_position_where_they_are():
    model = loaded(torch.float64)
    (inputs,) = model.encode(TEXT)
    kept = some(inputs.length) | ~removable(inputs.tokens)
    wanted = []
    for row in kept:
        tensors = {name: value[None] for name, value in inputs.tensors.items()}
        tensors["attention_mask"] = torch.tensor(row[None]).long()
        with torch.no_grad():
            wanted.append(softmax(model.model(**tensors).logits[0]))
    found = predictor(model, inputs, removal="masked_keys")(kept)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    others = [predictor(model, inputs, removal=name)(kept) for name in ("delete", "mask")]
    assert all(np.abs(found - other).max() > 1e-4 for other in others)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_nobody_attends_to_a_masked_key_of_a_decoder(family):
    """The same as an attention mask given to each layer by hand: −∞ in the masked columns."""
    model = speaker(family)
    traced = cm.load(model)
    (inputs,) = traced.encode({"input_ids": IDS})
    kept, n = some(len(IDS)), len(IDS)
    causal = torch.tril(torch.ones(n, n, dtype=torch.bool))
    likely = int(model(IDS[None]).logits[0, -1].argmax())
    wanted = []
    for row in kept:
        seen = causal & torch.tensor(row)[None]
        least = torch.finfo(torch.float64).min
        added = torch.zeros(n, n, dtype=torch.float64).masked_fill(~seen, least)
        with torch.no_grad():
            wanted.append(softmax(model(IDS[None], attention_mask=added[None, None]).logits[0, -1])[likely])
    found = predictor(traced, inputs, removal="masked_keys")(kept)
    np.testing.assert_allclose(found[:, 0], wanted, rtol=0, atol=1e-12)
    assert np.ptp(wanted) > 1e-4


def test_masked_keys_are_refused_where_positions_would_move():
    sizes = {"hidden_size": 16, "ffn_dim": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "vocab_size": 40}
    torch.manual_seed(0)
    config = transformers.OPTConfig(**sizes, word_embed_proj_dim=16, max_position_embeddings=32)
    model = cm.load(transformers.OPTForCausalLM(config).double().eval())
    (inputs,) = model.encode({"input_ids": token_ids(6)[0]})
    with pytest.raises(UnsupportedModel, match="counts positions by the attention mask"):
        predictor(model, inputs, removal="masked_keys")


def test_roberta_keeps_its_positions_where_keys_are_masked():
    model = cm.load(build("roberta", "ForSequenceClassification", num_labels=2, pad_token_id=0).double())
    (inputs,) = model.encode({"input_ids": token_ids(6)[0]})
    kept = some(6)
    moved = predictor(model, inputs, removal="delete")(kept)
    assert np.abs(predictor(model, inputs, removal="masked_keys")(kept) - moved).max() > 1e-5


# Zeros


def test_zeroed_embeddings_are_zeros_before_the_first_block():
    model = loaded(torch.float64)
    (inputs,) = model.encode(TEXT)
    kept, wanted = some(inputs.length), []
    kept[1] = False  # zeros can be read too
    for row in kept:
        hook = model.model.bert.embeddings.register_forward_hook(
            lambda module, args, output, row=row: output * torch.tensor(row)[None, :, None]
        )
        with torch.no_grad():
            tensors = {name: value[None] for name, value in inputs.tensors.items()}
            wanted.append(softmax(model.model(**tensors).logits[0]))
        hook.remove()
    np.testing.assert_allclose(predictor(model, inputs, removal="zero")(kept), wanted, rtol=0, atol=1e-12)
    assert np.ptp(wanted, axis=0).max() > 1e-2


def test_zeroed_embeddings_of_a_decoder():
    model = speaker("llama")
    traced = cm.load(model)
    (inputs,) = traced.encode({"input_ids": IDS})
    kept, wanted = some(len(IDS)), []
    likely = int(model(IDS[None]).logits[0, -1].argmax())
    for row in kept:
        with torch.no_grad():
            embedded = model.get_input_embeddings()(IDS)[None] * torch.tensor(row)[None, :, None]
            wanted.append(softmax(model(inputs_embeds=embedded).logits[0, -1])[likely])
    found = predictor(traced, inputs, removal="zero")(kept)
    np.testing.assert_allclose(found[:, 0], wanted, rtol=0, atol=1e-12)


# Infill


def test_a_language_model_fills_in_what_it_finds_likeliest_beside_the_token_that_is_there():
    stories = cm.load("demo-decoder")
    (inputs,) = stories.encode("Once upon a time, there was a little girl")
    ids, model, special = inputs.tensors["input_ids"], stories.model, set(stories.tokenizer.all_special_ids)
    others, start = [], stories.tokenizer.bos_token_id
    for place in range(len(ids)):
        read = ids[:place] if place else torch.tensor([start])
        with torch.no_grad():
            logits = model(read[None]).logits[0, -1].tolist()
        allowed = [one for one in range(len(logits)) if one not in special and one != int(ids[place])]
        others.append(max(allowed, key=lambda one: logits[one]))
    kept = some(len(ids))
    kept[1] = False
    kept[1, 0] = True
    with torch.no_grad():
        likely = int(model(ids[None]).logits[0, -1].argmax())
        wanted = [
            softmax(model(torch.where(torch.tensor(row), ids, torch.tensor(others))[None]).logits[0, -1])[likely]
            for row in kept
        ]
    found = predictor(stories, inputs, removal="infill")(kept)
    np.testing.assert_allclose(found[:, 0], wanted, rtol=0, atol=1e-6)
    assert np.ptp(wanted) > 1e-2


def test_infill_is_refused_where_nobody_writes_or_nothing_stands_before_the_first_token():
    (inputs,) = loaded().encode(TEXT)
    with pytest.raises(BadOption, match=r"the model writes no tokens.*Use removal='mask'"):
        predictor(loaded(), inputs, removal="infill")
    traced = cm.load(speaker("gpt2"))  # without a tokenizer
    (bare,) = traced.encode({"input_ids": IDS})
    with pytest.raises(BadInput, match="before the first token stands nothing"):
        predictor(traced, bare, removal="infill")


def test_with_every_key_masked_there_is_nothing_to_read():
    (inputs,) = loaded().encode(TEXT)
    with pytest.raises(BadInput, match="keeps no token at all"):
        predictor(loaded(), inputs, removal="masked_keys")(np.zeros((1, inputs.length), bool))

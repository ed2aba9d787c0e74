"""The model side of metrics, against one longhand forward pass per variant."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.methods.classifiers import MASK, TEXT, bert, loaded, tokenizer
from tests.methods.speakers import IDS, speaker
from tests.tracing.tiny import build, one_thread, token_ids, word_pieces

import contextmix as cm
from contextmix.errors import BadInput, BadOption, NotInVocabulary, UnsupportedModel, WrongShape
from contextmix.models.predictor import predictor, removable

PAIR = {"text": "a deep film .", "text_pair": "the film was good ."}
REMOVALS = ["mask", "delete", "unknown", "pad"]
each_removal = pytest.mark.parametrize("removal", REMOVALS)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def variants(tokens, count: int = 20, seed: int = 0) -> np.ndarray:
    """Random ones, with everything, without anything that may go, and one twice."""
    may_go = removable(tokens)
    kept = np.random.default_rng(seed).random((count, len(tokens))) < 0.5
    kept[0], kept[1], kept[2] = True, False, kept[3]
    return kept | ~may_go


def by_hand(model, inputs, kept: np.ndarray, removal: str) -> np.ndarray:
    """One text after another through the model itself, each as it is: no batch, no padding of lengths."""
    found = []
    for row in kept:
        tensors = {name: value[None].clone() for name, value in inputs.tensors.items()}
        if removal == "delete":
            tensors = {name: value[:, row] for name, value in tensors.items()}
        else:
            tensors["input_ids"][0, ~row] = {"mask": MASK, "unknown": 1, "pad": 0}[removal]
            if removal == "pad":
                tensors["attention_mask"] = torch.tensor(row[None]).long()
        with torch.no_grad():
            logits = model(**tensors).logits[0].double()
        found.append((logits.exp() / logits.exp().sum()).numpy())
    return np.array(found)


# Equal to single runs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("batch_tokens", [12, 40, 10_000])
@pytest.mark.parametrize("text", [TEXT, PAIR], ids=["text", "pair"])
@each_removal
def test_each_variant_has_the_probabilities_of_its_own_text(removal, text, batch_tokens, dtype, allowed):
    model = loaded(dtype)
    (inputs,) = model.encode(text)
    kept = variants(inputs.tokens)
    wanted = by_hand(model.model, inputs, kept, removal)
    found = predictor(model, inputs, removal=removal, batch_tokens=batch_tokens)(kept)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, wanted, rtol=0, atol=allowed)
    assert np.ptp(wanted, axis=0).max() > 1e-2  # the variants differ, or nothing was shown


@settings(max_examples=15)
@given(seed=st.integers(0, 2**16), removal=st.sampled_from(REMOVALS))
def test_any_variants_in_any_order(seed, removal):
    (inputs,) = loaded().encode(PAIR)
    kept = variants(inputs.tokens, 6, seed)
    wanted = by_hand(loaded().model, inputs, kept, removal)
    np.testing.assert_allclose(predictor(loaded(), inputs, removal=removal)(kept), wanted, rtol=0, atol=1e-12)


def test_a_deleted_token_takes_its_segment_with_it():
    """The second text of the pair keeps its own segment; with the segments cut off at the end it would be another."""
    model = loaded()
    (inputs,) = model.encode(PAIR)
    kept = np.ones((1, inputs.length), bool)
    kept[0, 1:3] = False
    shifted = {
        "input_ids": inputs.tensors["input_ids"][kept[0]],
        "token_type_ids": inputs.tensors["token_type_ids"][:-2],
    }
    with torch.no_grad():
        wrong = model.model(**{name: value[None] for name, value in shifted.items()}).logits.softmax(-1).numpy()
    found = predictor(model, inputs, removal="delete")(kept)
    assert np.abs(found - wrong).max() > 1e-4
    np.testing.assert_allclose(found, by_hand(model.model, inputs, kept, "delete"), rtol=0, atol=1e-12)


def test_a_token_of_padding_moves_the_positions_of_a_model_that_counts_without_it():
    """RoBERTa: the same as deleting."""
    marked = word_pieces()
    model = build("roberta", "ForSequenceClassification", num_labels=2, pad_token_id=0).double()
    model = cm.load(model, marked)
    (inputs,) = model.encode(TEXT)
    kept = variants(inputs.tokens)
    pad, deleted = (predictor(model, inputs, removal=one)(kept) for one in ("pad", "delete"))
    np.testing.assert_allclose(pad, deleted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", [0, None])
def test_a_decoder_is_asked_with_fewer_tokens_also_where_it_refuses_batches(padding):
    model = cm.load(build("gpt2", "ForSequenceClassification", num_labels=2, pad_token_id=padding).double())
    (inputs,) = model.encode({"input_ids": token_ids(6)[0]})
    kept = np.random.default_rng(1).random((12, 6)) < 0.6
    kept[~kept.any(1), 0] = True
    wanted = by_hand(model.model, inputs, kept, "delete")
    np.testing.assert_allclose(predictor(model, inputs, removal="delete")(kept), wanted, rtol=0, atol=1e-12)


def test_classes_that_do_not_exclude_each_other_have_probabilities_of_their_own():
    model = cm.load(bert(problem_type="multi_label_classification"), tokenizer())
    (inputs,) = model.encode(TEXT)
    found = predictor(model, inputs)(np.ones((1, inputs.length), bool))
    with torch.no_grad():
        logits = model.model(**{name: value[None] for name, value in inputs.tensors.items()}).logits[0]
    np.testing.assert_allclose(found[0], 1 / (1 + np.exp(-logits.numpy())), rtol=1e-12)


# Language models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("targets", [None, [7], [9, 3, 30]])
def test_a_language_model_says_the_next_token(family, targets):
    model = speaker(family)
    traced = cm.load(model)
    (inputs,) = traced.encode({"input_ids": IDS})
    kept = np.random.default_rng(1).random((12, len(IDS))) < 0.6
    kept[:, 0] = True
    with torch.no_grad():
        rows = [model(IDS[torch.from_numpy(row)][None]).logits[0, -1].softmax(-1) for row in kept]
        likely = int(model(IDS[None]).logits[0, -1].argmax())
    wanted = torch.stack(rows)[:, [likely] if targets is None else targets]
    found = predictor(traced, inputs, removal="delete", targets=targets)(kept)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_targets_are_named_by_their_text():
    stories = cm.load("demo-decoder")
    (inputs,) = stories.encode("Once upon a time, there was a little girl named")
    kept = np.ones((1, inputs.length), bool)
    said = stories.explain("Once upon a time, there was a little girl named", "gradient").provenance.notes["prediction"]
    wanted = predictor(stories, inputs, removal="delete")(kept)
    assert wanted[0, 0] == pytest.approx(said["probability"], abs=1e-6)
    found = predictor(stories, inputs, removal="delete", targets=[" Tim", said["label"]])(kept)
    assert found[0, 1] == wanted[0, 0] > found[0, 0]
    with pytest.raises(NotInVocabulary):
        predictor(stories, inputs, removal="delete", targets=["a whole sentence"])
    with pytest.raises(BadOption, match="targets is empty"):
        predictor(stories, inputs, removal="delete", targets=[])


# What it costs --------------------------------------------------------------------------------------------------------


def test_a_variant_runs_once_however_often_it_is_asked_for():
    model, sizes = bert(), []
    traced = cm.load(model, tokenizer())
    traced.anatomy()
    model.classifier.register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    (inputs,) = traced.encode(TEXT)
    predict = predictor(traced, inputs)
    assert sizes == [1]  # the intact text
    kept = variants(inputs.tokens, 8)
    different = len(np.unique(kept, axis=0))
    assert different < len(kept)
    first = predict(kept)
    assert sizes == [1, different - 1]
    np.testing.assert_array_equal(predict(kept[::-1]), first[::-1])
    assert sizes == [1, different - 1]


@pytest.mark.parametrize("removal", ["mask", "delete"])
def test_no_more_tokens_run_together_than_a_batch_holds(removal):
    model, shapes = bert(), []
    traced = cm.load(model, tokenizer())
    traced.anatomy()
    (inputs,) = traced.encode(TEXT)
    model.bert.embeddings.register_forward_hook(lambda module, args, output: shapes.append(output.shape[:2]))
    predictor(traced, inputs, removal=removal, batch_tokens=35)(variants(inputs.tokens, 60))
    assert max(rows * length for rows, length in shapes) <= 35
    assert max(rows for rows, length in shapes) >= 3
    lengths = {length for _, length in shapes}
    assert (lengths == {inputs.length}) == (removal == "mask")


def test_a_model_is_left_as_it_was():
    model = bert(hidden_dropout_prob=0.5)
    (inputs,) = loaded().encode(TEXT)
    kept = variants(inputs.tokens)
    wanted = predictor(cm.load(model, tokenizer()), inputs)(kept)
    model.train()
    np.testing.assert_array_equal(predictor(cm.load(model, tokenizer()), inputs)(kept), wanted)
    assert all(module.training for module in model.modules())


# Refusals -------------------------------------------------------------------------------------------------------------


def test_special_tokens_may_not_go():
    (inputs,) = loaded().encode(PAIR)
    assert np.flatnonzero(~removable(inputs.tokens)).tolist() == [0, 5, 11]


def test_a_token_that_the_tokenizer_does_not_have_is_refused_with_what_is_possible():
    model = cm.load(bert(), word_pieces())
    (inputs,) = model.encode(TEXT)
    message = "removal='mask' is not possible: .* Use removal='unknown' or removal='pad' or removal='delete'"
    with pytest.raises(BadOption, match=message):
        predictor(model, inputs)
    bare = cm.load(bert())
    with pytest.raises(BadOption, match="Use removal='delete'"):
        predictor(bare, inputs, removal="pad")


def test_an_unknown_token_that_means_padding_is_refused():
    marked = word_pieces()
    marked.unk_token = "[PAD]"
    model = cm.load(bert(), marked)
    (inputs,) = model.encode(TEXT)
    with pytest.raises(BadInput, match="The id 0 means padding"):
        predictor(model, inputs, removal="unknown")(variants(inputs.tokens))


def test_a_text_that_does_not_fit_a_batch_is_refused():
    (inputs,) = loaded().encode(TEXT)
    with pytest.raises(BadOption, match="batch_tokens=5 is too few for one run of the model on 10 tokens"):
        predictor(loaded(), inputs, batch_tokens=5)


@pytest.mark.parametrize(
    "kept", [np.ones((1, 3), bool), np.ones(10, bool), np.ones((1, 10), int), np.ones((0, 10), bool)]
)
def test_what_does_not_say_for_each_token_whether_it_is_kept_is_refused(kept):
    (inputs,) = loaded().encode(TEXT)
    with pytest.raises(WrongShape, match=r"bool, \(variant, 10\)"):
        predictor(loaded(), inputs)(kept)


@each_removal
def test_nothing_to_read_is_refused(removal):
    (inputs,) = loaded().encode(TEXT)
    with pytest.raises(BadInput, match="keeps no token at all"):
        predictor(loaded(), inputs, removal=removal)(np.zeros((1, inputs.length), bool))


def test_models_without_probabilities_of_the_whole_text_are_refused():
    ask = partial(predictor, inputs=loaded().encode(TEXT)[0])
    with pytest.raises(UnsupportedModel, match="predicts no next token"):
        ask(cm.load(build("bert", "ForMaskedLM"), tokenizer()))
    with pytest.raises(UnsupportedModel, match="gives one score"):
        ask(cm.load(build("bert", "ForSequenceClassification", num_labels=1), tokenizer()))
    for head in ("Model", "ForTokenClassification"):
        with pytest.raises(UnsupportedModel, match="gives no score per class"):
            ask(cm.load(build("bert", head), tokenizer()))
    with pytest.raises(BadOption, match="targets chooses tokens"):
        ask(loaded(), targets=[1])


def test_a_model_that_cannot_pass_over_tokens_is_refused():
    class Deaf(type(bert())):
        def forward(self, input_ids=None, token_type_ids=None, return_dict=True):
            return super().forward(input_ids=input_ids, token_type_ids=token_type_ids)

    model = cm.load(bert(), tokenizer())
    model.model.__class__ = Deaf
    (inputs,) = model.encode(TEXT)
    predict = predictor(model, inputs, removal="pad")
    with pytest.raises(UnsupportedModel, match="takes no attention_mask"):
        predict(variants(inputs.tokens))


def test_an_input_without_token_ids_is_refused():
    model = cm.load(bert())
    (inputs,) = model.encode({"inputs_embeds": torch.zeros(3, 16)})
    with pytest.raises(BadInput, match="this input has no token ids"):
        predictor(model, inputs, removal="delete")

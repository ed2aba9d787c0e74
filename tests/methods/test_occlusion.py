"""Occlusion, one changed text after another through the model itself."""

import numpy as np
import pytest
import torch
from tests.methods.classifiers import MASK, TEXT, bert, encoded, function_run, linear, loaded, tokenizer
from tests.tracing.tiny import ROUNDOFF, build, byte_pairs, one_thread, token_ids, word_pieces

import contextmix as cm
from contextmix.errors import BadInput, BadOption, UnknownName, UnsupportedModel
from contextmix.plugins.plan import METHODS
from contextmix.tokens.pieces import Tokens


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


PAIR = {"text": "a deep film .", "text_pair": "the film was good ."}
UNKNOWN = 1


def inputs_of(text) -> dict[str, torch.Tensor]:
    texts = (text,) if isinstance(text, str) else tuple(text.values())
    found = tokenizer()(*texts, return_tensors="pt")
    return {name: found[name] for name in ("input_ids", "token_type_ids")}


def score(model, inputs, target: int, kind: str) -> float:
    with torch.no_grad():
        logits = model(**inputs).logits[0]
    return float((logits.exp() / logits.exp().sum() if kind == "probability" else logits)[target])


def without(inputs, token: int, replace: str):
    """The text without one token; what else the model reads of the other tokens stays."""
    if replace != "delete":
        ids = inputs["input_ids"].clone()
        ids[0, token] = {"mask": MASK, "unknown": UNKNOWN}[replace]
        return {**inputs, "input_ids": ids}
    kept = [place for place in range(inputs["input_ids"].shape[1]) if place != token]
    return {name: value[:, kept] for name, value in inputs.items()}


@pytest.mark.parametrize("text", [TEXT, PAIR], ids=["text", "pair"])
@pytest.mark.parametrize("kind", ["probability", "logit"])
@pytest.mark.parametrize("replace", ["mask", "delete", "unknown"])
def test_each_token_has_the_fall_of_the_score_without_it(replace, kind, text):
    model = loaded()
    inputs = inputs_of(text)
    for target in range(3):
        clean, wanted = score(model.model, inputs, target, kind), []
        for token, mark in enumerate(inputs["input_ids"][0].tolist()):
            special = mark in (2, 3)
            changed = None if special else without(inputs, token, replace)
            wanted.append(0.0 if changed is None else clean - score(model.model, changed, target, kind))
        found = model.explain(text, method="occlusion", replace=replace, score=kind, target=target)
        np.testing.assert_allclose(found.values, wanted, rtol=1e-9, atol=1e-12)
        assert found.quantity == "signed"
        assert max(map(abs, wanted)) > 1e-3


@pytest.mark.parametrize("replace", ["mask", "delete", "unknown"])
@pytest.mark.parametrize("unit", ["word", "sentence"])
def test_units_are_hidden_whole_and_their_fall_is_divided(unit, replace):
    """Longhand: the units by the text itself, one changed input after another."""
    model = cm.load("demo")
    text = "A deep, unforgettable film. The rest bores me! Heartbreakingly good"
    tokens = model.encode(text)[0].tokens
    ids, mask = list(tokens.ids), model.tokenizer.mask_token_id
    starts = [0, text.index("The"), text.index("Heart")]
    owner = {
        place: (tokens.words[place] if unit == "word" else sum(span[0] >= start for start in starts))
        for place, span in enumerate(tokens.spans) if span is not None
    }  # fmt: skip
    target = int(model.model(torch.tensor([ids])).logits.argmax())
    with torch.no_grad():
        clean = model.model(torch.tensor([ids])).logits[0].double().softmax(-1)[target]
        wanted = [0.0] * len(ids)
        for one in set(owner.values()):
            own = [place for place in owner if owner[place] == one]
            filler = {"mask": [mask], "unknown": [model.tokenizer.unk_token_id], "delete": []}[replace]
            changed = [new for place, old in enumerate(ids) for new in (filler if place in own else [old])]
            fall = clean - model.model(torch.tensor([changed])).logits[0].double().softmax(-1)[target]
            for place in own:
                wanted[place] = float(fall) / len(own)
    found = model.explain(text, "occlusion", unit=unit, replace=replace)
    np.testing.assert_allclose(found.values, wanted, atol=1e-5)
    assert max(map(len, ([place for place in owner if owner[place] == one] for one in owner.values()))) > 1
    assert np.ptp(found.values) > 0.01


def test_units_that_nobody_knows_and_the_only_one():
    with pytest.raises(BadInput, match="unit='sentence' needs a text"):
        cm.load("demo").explain({"text": "a film", "text_pair": "good"}, "occlusion", unit="sentence")
    with pytest.raises(BadInput, match="Deleting the only sentence leaves nothing"):
        cm.load("demo").explain("a film", "occlusion", unit="sentence", replace="delete", add_special_tokens=False)


def test_the_mask_and_the_probability_are_the_default():
    plain = loaded().explain(TEXT, method="occlusion")
    said = loaded().explain(TEXT, method="occlusion", replace="mask", score="probability")
    np.testing.assert_array_equal(plain.values, said.values)


def test_special_tokens_stay_get_zero_and_are_noted():
    found = loaded().explain(PAIR, method="occlusion")
    assert found.provenance.notes["not_replaced"] == [0, 5, 11]
    assert [found.tokens.pieces[place] for place in (0, 5, 11)] == ["[CLS]", "[SEP]", "[SEP]"]
    assert all((value == 0) == (place in (0, 5, 11)) for place, value in enumerate(found.values))


def test_a_token_that_supports_the_class_is_positive():
    weights = torch.zeros(3, 4, 2, dtype=torch.float64)
    weights[0, :, 1], weights[2, :, 1] = 1.0, -1.0
    embeddings = torch.ones(3, 4, dtype=torch.float64)
    run = function_run(
        lambda points: torch.einsum("bkd,kdc->bc", points, weights),
        scores_of=lambda ids, kept: torch.einsum("bkd,kdc->bc", (ids != 9).double()[..., None] * embeddings, weights),
        clean=lambda: torch.zeros(2, dtype=torch.float64),
        embeddings=embeddings,
    )
    found = METHODS["occlusion"].attribute(run, score="logit")
    assert found.values.tolist() == [4.0, 0.0, -4.0]
    probability = METHODS["occlusion"].attribute(run).values.tolist()
    assert probability == pytest.approx([0.5 - 1 / (1 + np.exp(4)), 0.0, 0.5 - 1 / (1 + np.exp(-4))])


def test_a_linear_model_loses_each_tokens_term():
    scores, weights = linear()
    run = function_run(scores)
    found = METHODS["occlusion"].attribute(run, score="logit").values
    mask = run.embeddings_of(torch.tensor([9]))[0]
    wanted = [float(weights[i, :, 1] @ (run.embeddings[i] - mask)) for i in range(3)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_a_small_memory_takes_the_texts_in_pieces_and_gives_the_same_numbers():
    model, sizes = bert(), []
    traced = cm.load(model, tokenizer())
    traced.explain(TEXT)  # the parts are found, and a plain run is compared with a recorded one, once
    model.classifier.register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    whole = traced.explain(TEXT, method="occlusion").values
    assert sizes == [1, 8]  # the clean text, and one for each token
    with pytest.raises(
        BadOption, match="memory_budget=100 bytes do not hold one run of the model on 10 tokens"
    ) as caught:
        traced.explain(TEXT, method="occlusion", memory_budget=100)
    needed = int(str(caught.value).split("about ")[1].split(".")[0].replace(",", ""))
    sizes.clear()
    found = traced.explain(TEXT, method="occlusion", memory_budget=3 * needed).values
    np.testing.assert_allclose(found, whole, rtol=1e-10)
    assert sizes == [1, 3, 3, 2]


def test_one_word_between_special_tokens_may_be_deleted():
    model = loaded()
    inputs = inputs_of("film")
    found = model.explain("film", method="occlusion", replace="delete", score="logit", target=0)
    fall = score(model.model, inputs, 0, "logit") - score(model.model, without(inputs, 1, "delete"), 0, "logit")
    np.testing.assert_allclose(found.values, [0, fall, 0], rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_precision_gives_finite_numbers_near_the_exact_ones(dtype):
    exact = loaded().explain(TEXT, method="occlusion", score="logit", target=1).values
    found = loaded(dtype).explain(TEXT, method="occlusion", score="logit", target=1).values
    assert found.dtype == np.float64
    logits = loaded().model(**encoded()).logits.abs().max().item()  # whose rounding is left when they are subtracted
    assert np.abs(found - exact).max() <= {torch.float32: ROUNDOFF, torch.bfloat16: 0.02}[dtype] * logits


def test_a_model_is_left_as_it_was_and_a_quantised_one_is_welcome():
    model = bert(hidden_dropout_prob=0.5)
    wanted = cm.load(model, tokenizer()).explain(TEXT, method="occlusion").values
    model.train()
    model.config.quantization_config = {"quant_method": "none"}
    np.testing.assert_array_equal(cm.load(model, tokenizer()).explain(TEXT, method="occlusion").values, wanted)
    assert all(module.training for module in model.modules())


# A decoder: no special tokens, no mask, the last token decides


def decoder(**changes) -> cm.TracedModel:
    return cm.load(build("gpt2", "ForSequenceClassification", num_labels=2, **changes).double())


@pytest.mark.parametrize("padding", [0, None])
def test_a_decoder_is_read_without_each_token_also_where_it_refuses_batches(padding):
    model, ids = decoder(pad_token_id=padding), token_ids(6)
    found = model.explain({"input_ids": ids[0]}, method="occlusion", replace="delete", score="logit", target=0)
    clean, wanted = score(model.model, {"input_ids": ids}, 0, "logit"), []
    for token in range(6):
        wanted.append(clean - score(model.model, without({"input_ids": ids}, token, "delete"), 0, "logit"))
    np.testing.assert_allclose(found.values, wanted, rtol=1e-9, atol=1e-12)
    assert found.provenance.notes["not_replaced"] == []


def test_deleting_the_only_token_is_refused():
    with pytest.raises(BadInput, match="Deleting the only token leaves nothing to read"):
        decoder().explain({"input_ids": [7]}, method="occlusion", replace="delete")


def test_an_unknown_token_that_means_padding_is_refused():
    model = bert()
    marked = word_pieces()
    marked.unk_token = "[PAD]"
    with pytest.raises(BadInput, match="The id 0 means padding to BertForSequenceClassification"):
        cm.load(model, marked).explain(TEXT, method="occlusion", replace="unknown")


# Refusals


@pytest.mark.parametrize(("replace", "marks"), [("mask", word_pieces()), ("mask", None), ("unknown", None)])
def test_a_replacement_that_does_not_exist_is_refused(replace, marks):
    with pytest.raises(BadOption, match=f"replace={replace!r} is not possible: no tokenizer names a {replace} token"):
        cm.load(bert(), marks).explain(encoded(), method="occlusion", replace=replace)


@pytest.mark.parametrize("option", [{"replace": "pad"}, {"score": "loss"}])
def test_other_options_are_refused(option):
    with pytest.raises(BadOption, match="is not allowed"):
        loaded().explain(TEXT, method="occlusion", **option)


def test_an_input_without_token_ids_is_refused():
    run = function_run(linear()[0], tokens=Tokens(("#0", "#1", "#2")))
    with pytest.raises(BadInput, match="occlusion replaces token ids, but this input has none"):
        METHODS["occlusion"].attribute(run)


def test_special_tokens_alone_are_refused():
    with pytest.raises(BadInput, match="contains only special tokens"):
        loaded().explain({"input_ids": [2, 3]}, method="occlusion")


def test_the_probability_of_an_only_class_is_refused():
    model = cm.load(build("bert", "ForSequenceClassification", num_labels=1), tokenizer())
    with pytest.raises(BadOption, match=r"always has probability 1.*score='logit'"):
        model.explain(TEXT, method="occlusion")
    assert np.abs(model.explain(TEXT, method="occlusion", score="logit").values).max() > 1e-3


def test_a_class_or_a_head_that_does_not_exist_is_refused():
    with pytest.raises(UnknownName, match="There is no class '3'"):
        loaded().explain(TEXT, method="occlusion", target=3)
    with pytest.raises(UnsupportedModel, match="gives no score per class"):
        cm.load(bert().bert, tokenizer()).explain(TEXT, method="occlusion")


def with_mask(tokenizer):
    """As Gemma's: a decoder's tokenizer that declares a mask, with which the model was never trained."""
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    return tokenizer


@pytest.mark.parametrize("head", ["LMHeadModel", "ForSequenceClassification"])
def test_a_decoder_is_not_asked_about_a_mask_that_its_tokenizer_declares(head):
    model = cm.load(build("gpt2", head, vocab_size=301, num_labels=3), with_mask(byte_pairs()))
    usual, deleted, masked = (
        model.explain("a deep film", "occlusion", target=1, replace=how) for how in ("auto", "delete", "mask")
    )
    np.testing.assert_array_equal(usual.values, deleted.values)
    assert np.abs(usual.values - masked.values).max() > 1e-6
    assert [found.provenance.notes["replaced_by"] for found in (usual, deleted, masked)] == ["delete", "delete", "mask"]


@pytest.mark.parametrize(("replace", "said"), [("auto", "mask"), ("delete", "delete"), ("unknown", "unknown")])
def test_what_stood_in_the_place_of_a_token_is_said(replace, said, tmp_path):
    found = loaded().explain(TEXT, "occlusion", replace=replace)
    assert found.provenance.notes["replaced_by"] == said
    found.save(tmp_path / "found.json")
    assert cm.TokenMap.load(tmp_path / "found.json").provenance == found.provenance

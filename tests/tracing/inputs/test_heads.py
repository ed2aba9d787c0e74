"""What heads' scores mean: probabilities, predictions and targets of every kind of head, against plain transformers."""

import numpy as np
import pytest
import torch
import transformers
from tests.tracing.senses import SPEECH
from tests.tracing.tiny import build, byte_pairs, one_thread, vivid, word_pieces

import contextmix as cm
from contextmix.errors import BadOption, UnsupportedModel
from contextmix.models.predictor import predictor

TEXT, QUESTION = "a deep film .", ("a deep film .", "the film was good .")
PAIR = {"text": QUESTION[0], "text_pair": QUESTION[1]}
MASK = 4


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def tokenizer():
    found = word_pieces()
    found.add_special_tokens({"mask_token": "[MASK]"})
    return found


def classifier(problem: str | None, count: int = 3):
    model = build("bert", "ForSequenceClassification", num_labels=count).double()
    model.config.problem_type = problem
    return model


def masked_logits(model) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the text, and of the text with each word masked, by the model alone."""
    own = tokenizer()(TEXT, return_tensors="pt")
    changed = own["input_ids"].repeat(own["input_ids"].shape[1], 1)
    changed.fill_diagonal_(MASK)
    with torch.no_grad():
        whole = model(**own).logits[0]
        return whole, torch.cat([model(input_ids=one[None]).logits for one in changed[1:-1]])


def softmax(logits: torch.Tensor) -> torch.Tensor:
    return logits.exp() / logits.exp().sum(-1, keepdim=True)


def logistic(logits: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + (-logits).exp())


CHANCES = [(None, softmax), ("single_label_classification", softmax), ("multi_label_classification", logistic)]


@pytest.mark.parametrize(("problem", "chance"), CHANCES)
def test_everything_that_shows_a_probability_shows_that_of_the_problem(problem, chance, tmp_path):
    model = classifier(problem)
    traced, (whole, masked) = cm.load(model, tokenizer()), masked_logits(model)
    top = int(whole.argmax())
    expected = {"label": f"LABEL_{top}", "probability": pytest.approx(float(chance(whole)[top]), abs=1e-12)}
    for method in ("globenc", "gradient_inputs", "occlusion", "decompx"):
        assert traced.explain(TEXT, method).provenance.notes["prediction"] == expected, method
    assert traced.trace(TEXT).prediction == expected
    assert traced.explore(TEXT).prediction == expected
    found = traced.explain(TEXT, "occlusion", target=1).values
    np.testing.assert_allclose(found[1:-1], chance(whole)[1] - chance(masked)[:, 1], atol=1e-12)
    (encoded,) = traced.encode(TEXT)
    kept = np.ones((1, encoded.length), dtype=bool)
    np.testing.assert_allclose(predictor(traced, encoded)(kept)[0], chance(whole), atol=1e-12)
    run = cm.run([{"text": TEXT}], tmp_path, model=traced, methods=["globenc", "random"], progress=False).to_pandas()
    assert (run.prediction[0], run.probability[0]) == (expected["label"], expected["probability"])


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("problem", ["regression", None, "something_new"])
def test_a_regression_predicts_nothing_and_has_no_probability(problem, count, tmp_path):
    if problem is None and count == 2:
        pytest.skip("two classes")
    model = classifier(None if problem == "something_new" else problem, count)
    if problem == "something_new":
        object.__setattr__(model.config, "problem_type", problem)
    traced, (whole, masked) = cm.load(model, tokenizer()), masked_logits(model)
    for method in ("globenc", "gradient_inputs"):
        assert "prediction" not in traced.explain(TEXT, method, **target_of(method)).provenance.notes
    assert traced.trace(TEXT).prediction == {}
    with pytest.raises(BadOption, match="score='logit'"):
        traced.explain(TEXT, "occlusion", target=0)
    found = traced.explain(TEXT, "occlusion", target=0, score="logit").values
    np.testing.assert_allclose(found[1:-1], whole[0] - masked[:, 0], atol=1e-12)
    with pytest.raises(UnsupportedModel, match=r"not a probability|no probability"):
        predictor(traced, traced.encode(TEXT)[0])
    run = cm.run([{"text": TEXT}], tmp_path, model=traced, methods=["globenc"], progress=False)
    assert run.to_pandas().isna()[["prediction", "probability"]].all(axis=None)
    assert "prediction" not in run.row(0).provenance.notes
    assert traced.explore(TEXT).to_exhibit()["prediction"] is None


def target_of(method: str) -> dict:
    return {"target": 0} if method == "gradient_inputs" else {}


def test_of_several_amounts_one_must_be_named():
    traced = cm.load(classifier("regression", 2), tokenizer())
    with pytest.raises(BadOption, match=r"2 outputs.*Name one as the target, of 0: LABEL_0, 1: LABEL_1"):
        traced.explain(TEXT, "gradient_inputs")
    assert traced.explain(TEXT, "decompx", target="all").dims == ("target", "key")


@pytest.mark.parametrize("target", ["start", "end"])
def test_the_start_and_the_end_of_an_answer_are_explained(target):
    model = build("bert", "ForQuestionAnswering").double()
    traced, own = cm.load(model, tokenizer()), tokenizer()(*QUESTION, return_tensors="pt")
    place = 8
    embedded = model.bert.embeddings(own["input_ids"], own["token_type_ids"]).detach().requires_grad_()
    states = embedded
    for layer in model.bert.encoder.layer:
        states = layer(states)
    score = model.qa_outputs(states)[0, place, ("start", "end").index(target)]
    plain = model(**own)
    torch.testing.assert_close(score, getattr(plain, f"{target}_logits")[0, place])
    (gradient,) = torch.autograd.grad(score, embedded)
    found = traced.explain(PAIR, "gradient_inputs", position=place, target=target)
    np.testing.assert_allclose(found.values, (gradient * embedded)[0].norm(dim=-1).detach(), rtol=1e-9)
    assert found.provenance.notes["target"] == target
    assert found.provenance.notes["position"] == place
    parts = traced.explain(PAIR, "decompx", position=place, target=target)
    assert parts.values.sum() == pytest.approx(score.item(), abs=1e-9)


def test_an_answer_must_be_asked_for_fully_and_has_no_probability():
    traced = cm.load(build("bert", "ForQuestionAnswering"), tokenizer())
    with pytest.raises(BadOption, match=r"scores every token.*position=…"):
        traced.explain(PAIR, "gradient_inputs")
    with pytest.raises(BadOption, match="0: start, 1: end"):
        traced.explain(PAIR, "gradient_inputs", position=3)
    with pytest.raises(BadOption, match="score='logit'"):
        traced.explain(PAIR, "occlusion", position=3, target="end")


def test_a_letter_at_a_frame_is_explained():
    names = {"vocab_size": 6, "pad_token_id": 0}
    model = vivid(transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**SPEECH, **names))).eval()
    traced, sound = cm.load(model), torch.randn(1, 400, generator=torch.Generator().manual_seed(0))
    seen = []
    handle = model.wav2vec2.encoder.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0].detach().requires_grad_()) or ((seen[-1], *args[1:]), kwargs),
        with_kwargs=True,
    )
    logits = model(sound).logits
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, 3, 5], seen)
    (found,) = traced.explain({"input_values": sound}, "gradient_inputs", position=3, target=5)
    np.testing.assert_allclose(found.values, (gradient * seen[0])[0].norm(dim=-1).detach(), rtol=1e-4)
    said = found.provenance.notes["prediction"]
    assert said["label"] == str(int(logits[0, 3].argmax()))
    assert said["probability"] == pytest.approx(softmax(logits[0, 3]).max().item(), abs=1e-6)


def test_several_choices_at_once_are_refused_and_the_part_below_the_head_reads_one():
    model = build("bert", "ForMultipleChoice")
    with pytest.raises(UnsupportedModel, match=r"all choices.*contextmix\.load\(model\.bert, tokenizer\)"):
        cm.load(model, tokenizer())
    assert cm.load(model.bert, tokenizer()).explain(PAIR).shape == (12, 12)


def test_a_classifier_without_padding_reads_texts_of_equal_length(tmp_path):
    model = build("gpt2", "ForSequenceClassification", num_labels=3, vocab_size=300)
    model.config.pad_token_id = None
    traced, texts = cm.load(model, byte_pairs()), ["a deep film", "the deep film"]
    assert len({one.length for one in traced.encode(texts)}) == 1
    alone = [traced.explain(text, "globenc").values for text in texts]
    for one, other in zip(traced.explain(texts, "globenc", batch_size=8), alone, strict=True):
        np.testing.assert_allclose(one.values, other, rtol=1e-5)
    assert [len(trace.layers) for trace in traced.trace(texts)] == [2, 2]
    rows = [{"text": text} for text in texts]
    run = cm.run(rows, tmp_path, model=traced, methods=["globenc", "occlusion"], progress=False)
    assert run.failures().empty
    for number, values in enumerate(alone):
        np.testing.assert_allclose(run.row(number, "globenc").values, values[-1], rtol=1e-5)


@pytest.mark.parametrize("one", [np.int64(1), np.int32(1), np.array(1), torch.tensor(1), "LABEL_1", np.str_("1")])
def test_a_target_is_a_number_of_any_library(one, tmp_path):
    traced = cm.load(classifier(None), tokenizer())
    expected = traced.explain(TEXT, "gradient_inputs", target=1)
    assert (traced.explain(TEXT, "gradient_inputs", target=one).values == expected.values).all()
    pair = traced.explain(TEXT, "gradient_inputs", target=(1, 0))
    for given in ((one, np.int64(0)), np.array([1, 0]), torch.tensor([1, 0])):
        assert (traced.explain(TEXT, "gradient_inputs", target=given).values == pair.values).all()
    run = cm.run([{"text": TEXT}], tmp_path, model=traced, methods="gradient_inputs", target=one, progress=False)
    np.testing.assert_allclose(run.row(0).values, expected.values, rtol=1e-6)


@pytest.mark.parametrize("one", [True, np.True_, 1.0, np.float64(1), torch.tensor(1.0), torch.tensor(True), {}, b"1"])
def test_what_is_no_number_of_a_score_is_refused(one):
    with pytest.raises(BadOption, match="neither a name nor a whole number"):
        cm.load(classifier(None), tokenizer()).explain(TEXT, "gradient_inputs", target=one)


@pytest.mark.parametrize("layers", [np.array([0, 1]), torch.tensor([0, 1]), (np.int64(0), np.int32(1)), range(2)])
def test_layers_are_numbers_of_any_library(layers):
    traced = cm.load(classifier(None), tokenizer())
    assert traced.explain(TEXT, "globenc", layers=layers).layers == (0, 1)


@pytest.mark.parametrize("layers", [np.array([0.0]), [True], np.array([True, False]), np.array(1), "0", [None]])
def test_other_layers_are_refused(layers):
    with pytest.raises(BadOption, match="neither 'all' nor a list of layer numbers"):
        cm.load(classifier(None), tokenizer()).explain(TEXT, "globenc", layers=layers)

"""Scores from elsewhere: arrays, and results of other tools by the fields that they have."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import contextmix as cm
from contextmix.errors import BadInput, NotFinite, WrongShape

WORDS = ["a", "good", "film"]


def test_an_array_becomes_a_map_with_its_labels_and_origin(tmp_path):
    found = cm.scores([0.1, -0.7, 0.2], WORDS, method="mine", model="demo")
    assert found.dims == ("key",)
    assert found.top(1) == [("good", -0.7)]
    assert found.quantity is cm.Quantity.SIGNED
    assert (found.provenance.short, found.provenance.model) == ("mine", "demo")
    found.save(tmp_path / "x.json")
    assert cm.TokenMap.load(tmp_path / "x.json").values.tolist() == found.values.tolist()


def test_a_map_has_queries():
    found = cm.scores(np.arange(6.0).reshape(2, 3), WORDS, query_tokens=["x", "y"], quantity="norm")
    assert found.dims == ("query", "key")
    assert found.row("y").values.tolist() == [3, 4, 5]
    one = cm.scores([[1.0, 2.0, 3.0]], WORDS, query_tokens=["x"])  # one row, and no batch
    assert one.row(0).values.tolist() == [1, 2, 3]


def test_vectors_of_tokens_are_summed_and_it_says_so():
    vectors = torch.arange(15.0).reshape(1, 3, 5).requires_grad_()
    found = cm.scores(vectors, WORDS)
    assert found.values.tolist() == [10, 35, 60]
    assert found.provenance.notes["components"] == "summed"
    assert "components" not in cm.scores([[1.0, 2.0, 3.0]], WORDS).provenance.notes
    half = cm.scores(torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16), WORDS)
    assert half.values.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("values", "tokens", "error", "said"),
    [
        ([0.1, 0.2], WORDS, WrongShape, r"\(2,\).* 3 tokens"),
        ([[0.1, 0.2]], WORDS, WrongShape, "3 tokens"),
        (np.ones((3, 3)), WORDS, BadInput, "query_tokens"),
        (np.ones((2, 3, 4)), WORDS, WrongShape, "3 tokens"),
        ([0.1, 0.2, 0.3], None, BadInput, "without tokens"),
        ([0.1, float("nan"), 0.3], WORDS, NotFinite, "NaN"),
        (["x", "y", "z"], WORDS, WrongShape, "rectangular array of numbers"),
        ([[1], [2, 3]], WORDS, WrongShape, "rectangular array of numbers"),
        ([0.1, 0.2, 0.3], "abc", TypeError, "tokens must be"),
        ([0.1, 0.2, 0.3], [1, 2, 3], TypeError, "An entry of scores: tokens"),
        (torch.ones(3, device="meta"), WORDS, WrongShape, "Tensor"),
    ],
)
def test_what_does_not_fit_is_refused(values, tokens, error, said):
    with pytest.raises(error, match=said):
        cm.scores(values, tokens)


# Results of other tools: whatever has their fields is read. Those that are installed are tried too. ------------------


def test_captum():
    parts = {"input_tokens": ["Dave", " lives"], "output_tokens": ["play", "ing", "."]}
    whole = SimpleNamespace(seq_attr=torch.tensor([0.5, -1.0]), token_attr=None, **parts)
    assert cm.scores(whole).top(1) == [(" lives", -1.0)]
    each = SimpleNamespace(seq_attr=torch.ones(2), token_attr=torch.arange(6.0).reshape(3, 2), **parts)
    found = cm.scores(each, method="captum_ig")
    assert found.provenance.short == "captum_ig"
    assert found.row("ing").values.tolist() == [2, 3]


def test_captum_itself():
    result = pytest.importorskip("captum.attr").LLMAttributionResult
    made = result(input_tokens=["x", "y"], output_tokens=["z"], seq_attr=[1.0, 2.0], token_attr=[[3.0, 4.0]])
    found = cm.scores(made)
    assert (found.values.tolist(), found.provenance.short) == ([[3, 4]], "captum")


def words(*texts):
    return [SimpleNamespace(token=text, id=number) for number, text in enumerate(texts)]


def test_inseq():
    nan = float("nan")
    of_source = {"source_attributions": torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), "target_attributions": None}
    translated = SimpleNamespace(
        source=words(*WORDS), target=words("un", "film"), **of_source, attr_pos_start=0, attr_pos_end=2
    )
    found = cm.scores(SimpleNamespace(sequence_attributions=[translated]))
    assert found.row("film").values.tolist() == [2, 4, 6]  # inseq's columns are steps
    prefix = torch.tensor([[1.0, 2.0], [3.0, 4.0], [nan, 5.0], [nan, nan]])
    written = SimpleNamespace(
        source=words("a", "b"), target=words("a", "b", "c", "d"), source_attributions=None, target_attributions=prefix,
        attr_pos_start=2, attr_pos_end=4,
    )  # fmt: skip
    found = cm.scores(written)
    assert found.query_tokens.pieces == ("c", "d")
    assert found.tokens.pieces == ("a", "b", "c", "d")
    assert found.values.tolist() == [[1, 3, 0, 0], [2, 4, 5, 0]]
    written.target_attributions = torch.where(torch.isnan(prefix), prefix, nan)
    with pytest.raises(NotFinite):  # NaN where no token comes later
        cm.scores(written)
    translated.source_attributions = torch.ones(3, 2, 7)
    with pytest.raises(BadInput, match=r"aggregate\(\)"):
        cm.scores(translated)
    with pytest.raises(BadInput, match="holds 2 inputs"):
        cm.scores(SimpleNamespace(sequence_attributions=[translated, translated]))


def test_inseq_itself():
    data = pytest.importorskip("inseq.data.attribution")
    token = pytest.importorskip("inseq.utils.typing").TokenWithId
    one = data.FeatureAttributionSequenceOutput(
        source=[token("a", 1), token("b", 2)], target=[token("c", 3)], source_attributions=torch.tensor([[1.0], [2.0]])
    )
    assert cm.scores(one).values.tolist() == [[1, 2]]


def test_interpreto():
    one = SimpleNamespace(attributions=torch.tensor([1.0, 2.0, 3.0]), elements=WORDS, classes=torch.tensor([1]))
    assert cm.scores(one).top(1) == [("film", 3.0)]
    both = SimpleNamespace(attributions=torch.arange(6.0).reshape(2, 3), elements=WORDS, classes=torch.tensor([1, 0]))
    assert cm.scores(both).target("class 0").values.tolist() == [3, 4, 5]
    wrote = SimpleNamespace(attributions=torch.arange(6.0).reshape(2, 3), elements=WORDS, model_task="GENERATION")
    assert cm.scores(wrote).row("film").values.tolist() == [3, 4, 5]


def test_interpreto_itself():
    base = pytest.importorskip("interpreto.attributions.base")
    task = next(one for one in base.ModelTask if "CLASS" in one.name.upper())
    made = base.AttributionOutput(
        attributions=torch.tensor([[1.0, 2.0, 3.0]]), elements=WORDS, model_inputs_to_explain={}, targets=torch.ones(1),
        model_task=task, classes=torch.tensor([0]),
    )  # fmt: skip
    assert cm.scores(made).target("class 0").values.tolist() == [1, 2, 3]


def test_shap():
    data = np.array(WORDS)
    one = SimpleNamespace(values=np.array([1.0, 2.0, 3.0]), base_values=0.0, data=data, output_names=None)
    assert cm.scores(one).top(1) == [("film", 3.0)]
    names = ["bad", "good"]
    both = SimpleNamespace(values=np.arange(6.0).reshape(3, 2), base_values=[0, 0], data=data, output_names=names)
    assert cm.scores(both).target("good").values.tolist() == [1, 3, 5]
    batch = SimpleNamespace(values=both.values[None], base_values=[[0, 0]], data=(data,), output_names=names)
    assert cm.scores(batch).target("good").values.tolist() == [1, 3, 5]
    with pytest.raises(BadInput, match=r"holds 2 inputs.*explanation\[0\]"):
        cm.scores(SimpleNamespace(values=np.ones((2, 3)), base_values=[0, 0], data=(data, data), output_names=None))


def test_shap_itself():
    shap = pytest.importorskip("shap")
    values, names = np.arange(6.0).reshape(3, 2), ["bad", "good"]
    made = shap.Explanation(values, [0.0, 0.0], data=np.array(WORDS), output_names=names)
    assert cm.scores(made).target("good").values.tolist() == [1, 3, 5]

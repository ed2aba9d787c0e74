"""What explains a model where nobody named a method, and what a reader is told before believing a map."""

import numpy as np
import pytest
from tests.methods.speakers import speaker

import contextmix as cm
from contextmix.errors import BadOption
from contextmix.models.explain import cautious

GIRL = "Once upon a time, there was a little girl named"


@pytest.fixture(scope="module")
def stories() -> cm.TracedModel:
    return cm.load("demo-decoder")


def test_a_decoder_is_asked_why_it_says_what_it_says(stories):
    found = stories.explain(GIRL)
    assert (found.provenance.method, found.provenance.notes["target"]) == ("evidence", " Lily")
    assert stories.explain_generation(GIRL, max_new_tokens=2).provenance.method == "evidence"
    assert cm.load("demo").explain("a good film").provenance.short == "globenc"


@pytest.mark.parametrize("asked", [{"query": -1}, {"layers": "all"}])
def test_a_question_about_a_row_or_layers_is_about_a_representation(stories, asked):
    assert stories.explain(GIRL, **asked).provenance.short == "globenc"


def test_no_map_of_a_decoder_is_multiplied_over_layers_unasked(stories):
    found = stories.explore(GIRL)
    assert next(iter(found.maps)) == "evidence"
    assert [one.provenance.aggregation for one in found.maps.values()] == [None] * len(found.maps)


def test_a_map_that_has_moved_to_the_first_positions_says_so():
    """Sixteen causal layers: the product of their maps ends in the first token, as on real decoders."""
    deep = cm.load(speaker("llama", num_hidden_layers=16))
    ids = list(range(3, 15))
    found = deep.explain({"input_ids": ids}, "attention_rollout", query=-1)
    share = found.values[:2].sum() / found.values.sum()
    assert share > 0.5
    assert found.provenance.notes["first_two"] == pytest.approx(share, abs=1e-4)
    assert found.provenance.caution.startswith(f"{share:.0%}".replace("%", " %"))
    local = deep.explain({"input_ids": ids}, "attention", query=-1)
    assert "first_two" not in local.provenance.notes, "a map of one layer is what it is"


def test_the_caution_is_seen_wherever_the_map_is(capsys):
    made = cm.Provenance("norm_encoder", aggregation="rollout")
    values = np.array([0.9, *[0.1 / 9] * 9])
    found = cautious(cm.TokenMap(values, ("key",), cm.Tokens(tuple("abcdefghij")), "share", made))
    found.show()
    told = " ".join(capsys.readouterr().out.split())
    assert "Caution: 91 % of the row lies on the first two positions." in told
    assert "use evidence" in found._repr_html_()


@pytest.mark.parametrize("values", [np.full(10, 0.1), np.array([0.9, 0.1]), np.zeros(10)])
def test_a_row_that_is_spread_out_short_or_empty_needs_none(values):
    tokens = cm.Tokens(tuple("abcdefghij"[: len(values)]))
    assert not cautious(cm.TokenMap(values, ("key",), tokens, "norm", cm.Provenance("a"))).provenance.caution


def test_lengths_grown_beyond_reading_are_shown_as_shares(capsys):
    made = cm.Provenance("norm_encoder", aggregation="rollout")
    cm.TokenMap([3e78, 1e78], ("key",), cm.Tokens(("a", "b")), "norm", made).show()
    told = capsys.readouterr().out
    assert "0.750" in told
    assert "e+78" not in told


def test_the_token_that_a_text_begins_with_does_not_set_the_scale(capsys):
    tokens = cm.Tokens(("<s>", "a", "b"), special=(True, False, False))
    cm.TokenMap([100.0, 1.0, 2.0], ("key",), tokens, "norm", cm.Provenance("norm")).show()
    assert "divided by the largest of the words (2); special tokens may exceed it" in capsys.readouterr().out


def test_the_maximum_over_layers_keeps_what_one_layer_shows():
    maps = np.array([[[1.0, 0.0], [0.25, 0.75]], [[1.0, 0.0], [0.5, 0.5]]])
    tokens, made = cm.Tokens(("a", "b")), cm.Provenance("alti")
    lengths = cm.TokenMap(maps, ("layer", "query", "key"), tokens, "norm", made)
    np.testing.assert_allclose(cm.aggregate(lengths, "max", query=1).values, [0.5, 0.75])
    shares = cm.TokenMap(maps, ("layer", "query", "key"), tokens, "share", made)
    np.testing.assert_allclose(cm.aggregate(shares, "max", query=1).values, [0.4, 0.6])


def test_a_target_without_a_method_is_explained_for_and_against():
    model = cm.load("demo")
    found = model.explain("a dull but warm film .", target="Positive")
    assert found.provenance.method == "evidence"
    assert found.provenance.notes["target"] == "positive"
    assert found.values[2] < 0 < found.values[4]  # dull, warm
    assert (model.explain("a dull but warm film .", target="positive", signed=False).values >= 0).all()
    with pytest.raises(BadOption, match="not a score"):
        model.explain("a dull film", target="positive", query="dull")

"""Random weights: which ones are drawn, from what, and that nothing else changes."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import transformers
from tests.methods.classifiers import TEXT, tokenizer
from tests.tracing.tiny import build, one_thread, token_ids
from torch import nn

import contextmix as cm
from contextmix.errors import BadOption, UnsupportedModel
from contextmix.tracing.runs.randomise import randomised


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def fresh(model, **options):
    return randomised(model, cm.load(model).anatomy(), **{"seed": 0, **options})


def changed(model, other) -> set[str]:
    """Names of the weights that differ; shared ones under each of their names."""
    mine, theirs = model.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    return {name for name in mine if not torch.equal(mine[name], theirs[name])}


def bert(**changes):
    return build("bert", "ForSequenceClassification", num_labels=3, num_hidden_layers=3, **changes)


HEAD = ("bert.pooler.", "classifier.")


def test_all_weights_are_drawn_by_the_models_own_initialisation():
    model = bert(hidden_size=64, vocab_size=200, intermediate_size=64)
    found = fresh(model)
    assert changed(model, found) == set(dict(model.named_parameters()))
    for name, weight in found.state_dict().items():
        if "LayerNorm.weight" in name:
            assert (weight == 1).all()
        elif name.endswith("bias"):
            assert (weight == 0).all()
        elif weight.numel() > 1000:
            assert float(weight.std()) == pytest.approx(model.config.initializer_range, rel=0.1)
            assert abs(float(weight.mean())) < 0.002
    assert not found.bert.embeddings.word_embeddings.weight[0].any()  # padding, as the initialisation has it


@pytest.mark.parametrize("blocks", range(4))
def test_a_cascade_goes_from_the_head_down(blocks):
    model = bert()
    upper = tuple(f"bert.encoder.layer.{number}." for number in range(3 - blocks, 3))
    wanted = {name for name in model.state_dict() if name.startswith((*HEAD, *upper))}
    assert changed(model, fresh(model, from_top=blocks)) == wanted


def test_the_steps_of_a_cascade_are_nested():
    model = bert()
    steps = [fresh(model, from_top=blocks).state_dict() for blocks in range(4)] + [fresh(model).state_dict()]
    for less, more in pairwise(steps):
        for name, weight in less.items():
            assert torch.equal(weight, more[name]) or torch.equal(weight, model.state_dict()[name])


def test_a_seed_decides_and_the_global_state_does_not():
    model = bert()
    torch.manual_seed(5)
    state, before = torch.get_rng_state(), {name: weight.clone() for name, weight in model.state_dict().items()}
    first = fresh(model, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    again, other = fresh(model, seed=3), fresh(model, seed=4)
    assert changed(first, again) == set()
    assert "classifier.weight" in changed(first, other)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    apart = {weight.data_ptr() for weight in model.parameters()} & {weight.data_ptr() for weight in first.parameters()}
    assert apart == set()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_head_that_shares_its_weight_with_the_embeddings_gets_its_own(family):
    head = "LMHeadModel" if family == "gpt2" else "ForCausalLM"
    model = build(family, head, tie_word_embeddings=True)
    embeddings, output = model.get_input_embeddings(), model.get_output_embeddings()
    assert embeddings.weight is output.weight
    norm = "transformer.ln_f." if family == "gpt2" else "model.norm."
    found = fresh(model, from_top=0)
    assert changed(model, found) == {name for name in model.state_dict() if name.startswith(("lm_head.", norm))}
    assert embeddings.weight is output.weight  # of the original
    whole = fresh(model)
    assert whole.get_input_embeddings().weight is whole.get_output_embeddings().weight
    assert not torch.equal(whole.get_input_embeddings().weight, embeddings.weight)


def test_a_weight_that_the_initialisation_does_not_know_is_drawn_like_the_trained_one():
    class Stranger(transformers.BertForSequenceClassification):
        def __init__(self, config):
            super().__init__(config)
            self.added = nn.Parameter(3 + 0.5 * torch.randn(5000, generator=torch.Generator().manual_seed(1)))

    model = Stranger(bert().config)
    found = fresh(model)
    added = found.added.detach()
    assert not torch.equal(added, model.added)
    assert float(added.mean()) == pytest.approx(3, abs=0.05)
    assert float(added.std()) == pytest.approx(0.5, rel=0.1)
    assert all(weight.isfinite().all() for weight in found.parameters())


def test_a_loaded_model_is_drawn_anew_although_transformers_marks_it_as_done(tmp_path):
    bert().save_pretrained(tmp_path)
    model = transformers.BertForSequenceClassification.from_pretrained(tmp_path)
    assert changed(model, fresh(model)) == set(dict(model.named_parameters()))


@pytest.mark.parametrize("blocks", [None, 0, 1])
def test_the_copy_runs_is_traced_and_says_something_else(blocks):
    model = bert().double()
    found = fresh(model, from_top=blocks)
    report = cm.load(found, tokenizer()).check(TEXT)
    assert report.parity < 1e-10
    ids = token_ids(6)
    with torch.no_grad():
        assert (found(ids).logits - model(ids).logits).abs().max() > 1e-2
    assert found.dtype == torch.float64
    assert found.training == model.training


def test_an_explanation_of_the_demo_does_not_survive_random_weights():
    """Adebayo's check on Value Zeroing: below what the same method says of the trained model."""
    demo = cm.load("demo")
    random = cm.load(fresh(demo.model), demo.tokenizer)
    text = "a deep and meaningful film that falls apart at the end ."
    trained, drawn = (one.explain(text, "value_zeroing_rollout", query=0).values for one in (demo, random))
    assert np.abs(trained / trained.sum() - drawn / drawn.sum()).max() > 0.05


def test_one_block_that_runs_several_times_has_no_upper_half():
    model = build("albert", "ForSequenceClassification")
    with pytest.raises(UnsupportedModel, match="one module that runs several times"):
        fresh(model, from_top=1)
    everything = {name for name in model.state_dict() if not name.startswith("albert.embeddings.")}
    assert changed(model, fresh(model, from_top=2)) >= {name for name in everything if "layer_groups" in name}


@pytest.mark.parametrize("blocks", [-1, 4])
def test_more_blocks_than_there_are_is_refused(blocks):
    with pytest.raises(BadOption, match=f"from_top={blocks} is no number of blocks: the model has 3"):
        fresh(bert(), from_top=blocks)


def test_quantised_weights_are_refused():
    model = bert()
    anatomy = cm.load(model).anatomy()
    model.classifier.weight = nn.Parameter(torch.zeros(3, 16, dtype=torch.int8), requires_grad=False)
    with pytest.raises(UnsupportedModel, match="is quantised \\(classifier\\)"):
        randomised(model, anatomy, seed=0)


def test_two_stacks_have_no_top():
    config = transformers.BartConfig(
        vocab_size=40, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=24, num_labels=2,
    )  # fmt: skip
    model = transformers.BartForSequenceClassification(config).eval()
    anatomy = cm.load(bert()).anatomy()
    with pytest.raises(UnsupportedModel, match="two stacks of blocks"):
        randomised(model, anatomy, seed=0, from_top=0)
    found = randomised(model, anatomy, seed=0)
    assert "model.encoder.layers.0.fc1.weight" in changed(model, found)

"""The classification head is found by looking and gives the logits again, or there is none."""

from typing import Any

import pytest
import torch
from tests.methods.speakers import CAUSAL, MASKED, speaker
from tests.tracing.tiny import ENCODERS, MARKS, build, hook_count, settings, token_ids
from torch import nn

import contextmix as cm
from contextmix.traces.model_run import Head
from contextmix.traces.target import Target
from contextmix.tracing.discovery.head import find_head

IDS = {"input_ids": token_ids(6, seed=2)}
ACTIVATIONS = {"bert": "tanh", "roberta": "tanh", "electra": "gelu", "distilbert": "relu", "albert": "tanh"}


def found(model: Any) -> Head | None:
    return find_head(model, cm.load(model).anatomy(), IDS)


def classifier(family: str, **changes: Any) -> Any:
    return build(family, "ForSequenceClassification", num_labels=3, **changes).double()


def linear(module: nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
    return module.weight.detach().T, module.bias.detach()


MODULES = {
    "bert": lambda model: (model.bert.pooler.dense, model.classifier),
    "roberta": lambda model: (model.classifier.dense, model.classifier.out_proj),
    "electra": lambda model: (model.classifier.dense, model.classifier.out_proj),
    "distilbert": lambda model: (model.pre_classifier, model.classifier),
    "albert": lambda model: (model.albert.pooler, model.classifier),
}


@pytest.mark.parametrize("family", ENCODERS)
def test_the_heads_of_the_encoders_are_found(family):
    model = classifier(family)
    head = found(model)
    pooler, last = MODULES[family](model)
    for mine, theirs in zip((head.pooler, head.pooler_bias), linear(pooler), strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip((head.classifier, head.classifier_bias), linear(last), strict=True):
        assert torch.equal(mine, theirs)
    states = torch.linspace(-2, 2, 7, dtype=torch.float64)
    activation = {"tanh": torch.tanh, "gelu": nn.functional.gelu, "relu": torch.relu}[ACTIVATIONS[family]]
    assert torch.equal(head.activation(states), activation(states))


@pytest.mark.parametrize("family", ENCODERS)
def test_its_scores_at_the_first_token_are_the_logits(family):
    model = classifier(family)
    anatomy = cm.load(model).anatomy()
    seen = []
    handle = model.get_submodule(anatomy.blocks[-1].path).register_forward_hook(lambda m, a, out: seen.append(out))
    with torch.no_grad():
        logits = model(**IDS).logits[0]
    handle.remove()
    states = seen[-1][0] if isinstance(seen[-1], torch.Tensor) else seen[-1][0][0]
    torch.testing.assert_close(found(model).scores(states)[0], logits)


def test_a_classifier_that_reads_the_block_itself_has_no_pooler():
    model = classifier("bert")
    model.bert.pooler.forward = lambda states: states[:, 0]
    head = found(model)
    assert head.pooler is None
    assert torch.equal(head.classifier, model.classifier.weight.T)


def test_another_position_than_the_first_is_found_too():
    model = classifier("roberta")
    inner = model.classifier.forward
    model.classifier.forward = lambda features, **kwargs: inner(features.flip(1), **kwargs)
    assert found(model) is not None


def test_an_activation_that_is_a_module_is_found():
    model = classifier("bert")
    model.bert.pooler.activation = nn.Softplus()
    assert found(model).activation is model.bert.pooler.activation


def test_an_unknown_function_between_the_linear_maps_is_not():
    model = classifier("roberta")
    head = model.classifier
    head.forward = lambda features, **kwargs: head.out_proj(torch.sin(head.dense(features[:, 0])))
    assert found(model) is None


def test_half_precision_does_not_take_a_weak_tanh_for_the_identity():
    model = classifier("bert")
    with torch.no_grad():
        model.bert.pooler.dense.weight.mul_(0.05)
        model.bert.pooler.dense.bias.mul_(0.05)
    head = found(model.to(torch.bfloat16))
    assert head.activation is torch.tanh
    assert head.classifier.dtype == torch.float32


@pytest.mark.parametrize(
    ("family", "head", "changes"),
    [
        ("bert", "Model", {}),
        ("bert", "ForMaskedLM", {}),
        ("bert", "ForTokenClassification", {}),
        ("modernbert", "ForSequenceClassification", {**MARKS, "classifier_pooling": "mean"}),
    ],
)
def test_what_is_no_such_head_is_none(family, head, changes):
    assert found(build(family, head, **changes)) is None


def test_a_mean_over_positions_is_no_head_of_one_position():
    model = classifier("roberta")
    inner = model.classifier.forward
    model.classifier.forward = lambda features, **kwargs: inner(features.mean(1, keepdim=True), **kwargs)
    assert found(model) is None


def test_the_model_stays_as_it_was():
    model = classifier("bert")
    before = settings(model)
    found(model)
    assert settings(model) == before
    assert hook_count(model) == 0


# Heads with norms, and of vocabularies -------------------------------------------------------------------------------


def of_tokens(model: Any, target: Target, position: int) -> Head | None:
    return find_head(model, cm.load(model).anatomy(), IDS, (position, target))


@pytest.mark.parametrize("family", [*CAUSAL, *MASKED])
@pytest.mark.parametrize("target", [Target(7, "7"), Target(7, "7", 9, "9")])
def test_the_head_of_a_vocabulary_has_the_explained_column(family: str, target: Target):
    model, position = speaker(family), -1 if family in CAUSAL else 2
    seen = []
    block = model.get_submodule(cm.load(model).anatomy().blocks[-1].path)
    handle = block.register_forward_hook(lambda m, a, out: seen.append(out))
    with torch.no_grad():
        wanted = target.of(model(**IDS).logits[0, position])
    handle.remove()
    states = seen[-1][0] if isinstance(seen[-1], torch.Tensor) else seen[-1][0][0]
    head = of_tokens(model, target, position)
    assert head.classifier.shape[1] == 1
    torch.testing.assert_close(head.scores(states[position][None])[0, 0], wanted)
    assert (head.norm is None) == (family in {"bert", "roberta", "albert", "distilbert", "electra"})
    assert (head.norm_pooled is None) == (family in CAUSAL)


def test_a_soft_cap_is_a_line_and_a_factor_is_folded_in():
    capped, scaled = speaker("gemma2", final_logit_softcapping=2.0), speaker("granite", logits_scaling=4.0)
    weights = [model.lm_head.weight.detach()[7] for model in (capped, scaled)]
    heads = [of_tokens(model, Target(7, "7"), -1).classifier[:, 0] for model in (capped, scaled)]
    torch.testing.assert_close(heads[1], weights[1] / 4)
    slope = heads[0] / weights[0]
    torch.testing.assert_close(slope, slope[:1].expand_as(slope))
    assert 0 < slope[0] < 0.99


def test_logits_that_are_squashed_otherwise_have_no_head():
    model = speaker("llama")
    model.lm_head.register_forward_hook(lambda module, args, out: out.sin())
    assert of_tokens(model, Target(7, "7"), -1) is None


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_classifier_behind_the_final_norm_is_found(family: str):
    model = build(family, "ForSequenceClassification", num_labels=3, pad_token_id=0).double()
    head = found(model)
    assert head.norm.kind == ("layer" if family == "gpt2" else "rms")
    assert head.classifier.shape == (16, 3)

"""The model asked again about one input: from other embeddings, with gradients, or on other token ids."""

from dataclasses import replace

import pytest
import torch
from tests.methods.speakers import speaker
from tests.tracing.tiny import ENCODERS, build, hook_count, settings, token_ids, word_pieces
from torch import Tensor, nn

import contextmix as cm
from contextmix.errors import BadInput, BadOption, UnknownName, UnsupportedModel
from contextmix.tokens.pieces import Tokens
from contextmix.tracing.inputs.targets import class_number
from contextmix.tracing.recording.differentiable import frozen, refuse_quantised, replaced_input
from contextmix.tracing.runs.rerun import Rerunner, model_run

IDS = token_ids(7)
TOKENS = Tokens(tuple("abcdefg"), tuple(IDS[0].tolist()))


def again(family: str = "bert", tensors: dict[str, Tensor] | None = None, **changes) -> Rerunner:
    model = build(family, "ForSequenceClassification", num_labels=3, **changes).double()
    return Rerunner(model, cm.load(model).anatomy(), tensors or {"input_ids": IDS})


def ran(rerunner: Rerunner, target: int | str | None = None, tokenizer=None):
    return model_run(rerunner.model, rerunner.anatomy, rerunner.tensors, TOKENS, target, 2**30, tokenizer)


# From embeddings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [*ENCODERS, "gpt2", "llama"])
def test_clean_embeddings_give_the_clean_scores_exactly(family: str):
    rerunner = again(family)
    embeddings, scores = rerunner.clean()
    with torch.no_grad():
        own = rerunner.model(IDS, output_hidden_states=True)
    assert torch.equal(embeddings, own.hidden_states[0][0])
    assert torch.equal(scores, own.logits[0])
    assert torch.equal(rerunner.scores_from(embeddings[None])[0], own.logits[0])


@pytest.mark.parametrize("family", [*ENCODERS, "gpt2", "llama"])
def test_the_scores_are_those_of_the_embeddings_that_are_given(family: str):
    rerunner = again(family)
    embeddings, scores = rerunner.clean()
    moved = torch.stack([embeddings, embeddings * 1.1, embeddings.flip(0)])
    found = rerunner.scores_from(moved)
    torch.testing.assert_close(found[0], scores)
    assert (found[1:] - scores).abs().amax(-1).min() > 1e-4
    for row in range(3):
        torch.testing.assert_close(found[row], rerunner.scores_from(moved[row : row + 1])[0])


def test_a_shared_block_reads_the_given_states_the_first_time_and_its_own_afterwards():
    rerunner = again("albert", num_hidden_layers=3)
    model, states = rerunner.model, 2 * rerunner.clean()[0][None]
    found = rerunner.scores_from(states)
    block = model.get_submodule(rerunner.anatomy.blocks[0].path)
    assert {place.path for place in rerunner.anatomy.blocks} == {rerunner.anatomy.blocks[0].path}
    for _ in range(3):
        written = block(states)
        states = written[0] if isinstance(written, tuple) else written
    pooled = model.albert.pooler_activation(model.albert.pooler(states[:, 0]))
    torch.testing.assert_close(found, model.classifier(pooled))


def test_gradients_flow_to_the_embeddings_and_to_nothing_else():
    rerunner = again()
    points = rerunner.clean()[0][None].requires_grad_()
    rerunner.scores_from(points).sum().backward()
    assert points.grad.abs().min() > 0
    assert all(parameter.grad is None for parameter in rerunner.model.parameters())
    assert all(parameter.requires_grad for parameter in rerunner.model.parameters())


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_decoder_without_a_padding_id_is_run_row_by_row(family: str):
    rerunner = again(family, pad_token_id=None)
    embeddings, scores = rerunner.clean()
    found = rerunner.scores_from(torch.stack([embeddings, embeddings]))
    torch.testing.assert_close(found, scores.expand(2, -1))
    torch.testing.assert_close(rerunner.scores_of(IDS.expand(2, -1)), scores.expand(2, -1))


def test_everything_is_restored_also_after_an_error():
    rerunner = again(hidden_dropout_prob=0.5)
    model, embeddings = rerunner.model.train(), rerunner.clean()[0]
    model.classifier.weight.requires_grad_(False)
    before = settings(model), hook_count(model)
    first, second = (rerunner.scores_from(embeddings[None]) for _ in range(2))
    assert torch.equal(first, second)
    with pytest.raises(UnsupportedModel):
        rerunner.scores_from(embeddings[None, :3])
    assert (settings(model), hook_count(model)) == before
    assert all(module.training for module in model.modules())
    asking = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert asking == ["classifier.weight"]


def test_states_of_another_shape_are_never_silently_ignored():
    rerunner = again()
    with pytest.raises(UnsupportedModel, match=r"never read states of shape \(1, 3, 16\)"):
        rerunner.scores_from(rerunner.clean()[0][None, :3])


def test_a_block_that_does_not_run_is_an_error():
    with pytest.raises(UnsupportedModel, match="never read states"), replaced_input(nn.Linear(2, 2), torch.ones(1, 2)):
        pass


def test_an_error_of_the_model_itself_is_not_covered_up():
    with pytest.raises(ZeroDivisionError), replaced_input(nn.Linear(2, 2), torch.ones(1, 2)):
        _ = 1 / 0


def test_frozen_parameters_keep_less_for_the_backward_pass():
    rerunner, kept = again(), []

    def count(tensor: Tensor) -> Tensor:
        kept[-1].add(tensor.untyped_storage().data_ptr())
        return tensor

    points = rerunner.clean()[0][None].requires_grad_()
    for run in (rerunner.scores_from, lambda at: rerunner.model(inputs_embeds=at).logits):
        kept.append(set())
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            run(points).sum()
    assert len(kept[0]) < len(kept[1])
    with frozen(rerunner.model):
        assert not any(parameter.requires_grad for parameter in rerunner.model.parameters())


# Quantised models and detached scores --------------------------------------------------------------------------------


def eight_bits(model: nn.Module) -> None:
    model.classifier.weight = nn.Parameter(model.classifier.weight.detach().to(torch.int8), requires_grad=False)


def by_configuration(model: nn.Module) -> None:
    model.config.quantization_config = {"quant_method": "gptq"}


def by_module(model: nn.Module) -> None:
    kind = type("Linear4bit", (nn.Linear,), {"__module__": "bitsandbytes.nn.modules"})
    model.classifier.__class__ = kind


@pytest.mark.parametrize("quantise", [eight_bits, by_configuration, by_module])
def test_gradients_of_a_quantised_model_are_refused(quantise):
    rerunner = again()
    refuse_quantised(rerunner.model)
    points = rerunner.clean()[0][None].requires_grad_()
    quantise(rerunner.model)
    with pytest.raises(UnsupportedModel, match="BertForSequenceClassification is quantised"):
        rerunner.scores_from(points)


def test_scores_of_a_quantised_model_are_given():
    rerunner = again()
    embeddings, scores = rerunner.clean()
    by_configuration(rerunner.model)
    assert torch.equal(rerunner.scores_from(embeddings[None])[0], scores)


def test_scores_that_are_cut_off_from_the_embeddings_are_refused():
    rerunner = again()
    embeddings, scores = rerunner.clean()
    rerunner.model.classifier.register_forward_hook(lambda module, args, output: output.detach())
    with pytest.raises(UnsupportedModel, match="do not depend on the embeddings"):
        rerunner.scores_from(embeddings[None].requires_grad_())
    assert torch.equal(rerunner.scores_from(embeddings[None])[0], scores)


# On other token ids --------------------------------------------------------------------------------------------------


def pair() -> dict[str, Tensor]:
    encoded = word_pieces()("a deep film", "the film was good", return_tensors="pt")
    return {name: encoded[name] for name in ("input_ids", "token_type_ids")}


@pytest.mark.parametrize("family", [*ENCODERS, "gpt2", "llama"])
def test_scores_of_ids_are_the_models_own(family: str):
    rerunner = again(family)
    for length in (7, 4, 9):
        ids = token_ids(length, batch=3, seed=1)
        with torch.no_grad():
            torch.testing.assert_close(rerunner.scores_of(ids), rerunner.model(ids).logits)
    assert not rerunner.scores_of(IDS).requires_grad


@pytest.mark.parametrize("family", ENCODERS)
def test_embeddings_of_ids_are_what_the_first_block_reads(family: str):
    rerunner = again(family)
    ids = token_ids(7, batch=3, seed=1)
    with torch.no_grad():
        own = rerunner.model(ids, output_hidden_states=True).hidden_states[0]
    torch.testing.assert_close(rerunner.embeddings_of(ids), own)
    torch.testing.assert_close(rerunner.embeddings_of(IDS)[0], rerunner.clean()[0])


def test_what_is_read_beside_the_ids_goes_with_them():
    rerunner = again(tensors=pair())
    ids, types = rerunner.tensors["input_ids"], rerunner.tensors["token_type_ids"]
    torch.testing.assert_close(rerunner.scores_of(ids)[0], rerunner.clean()[1])
    kept = torch.tensor([[0, 1, 2, 4, 5, 7, 9], [0, 2, 3, 5, 6, 8, 9]])
    with torch.no_grad():
        own = [rerunner.model(ids[:, row], token_type_ids=types[:, row]).logits[0] for row in kept]
        without = rerunner.model(ids[:, kept[0]]).logits[0]
    torch.testing.assert_close(rerunner.scores_of(ids[0][kept], kept), torch.stack(own))
    assert (own[0] - without).abs().max() > 1e-4
    with pytest.raises(BadInput, match="reads token_type_ids for each token"):
        rerunner.scores_of(ids[0][kept])


def test_what_is_the_same_for_every_token_fits_any_length():
    rerunner = again(tensors={"input_ids": IDS, "token_type_ids": torch.ones_like(IDS)})
    with torch.no_grad():
        own = rerunner.model(IDS[:, :4], token_type_ids=torch.ones(1, 4, dtype=torch.long)).logits
    torch.testing.assert_close(rerunner.scores_of(IDS[:, :4]), own)


@pytest.mark.parametrize("family", ["roberta", "gpt2"])
def test_an_id_that_would_be_taken_for_padding_is_refused(family: str):
    rerunner = again(family)
    padding = rerunner.model.config.pad_token_id
    ids = IDS.clone()
    ids[0, -1] = padding
    with pytest.raises(BadInput, match=f"The id {padding} means padding"):
        rerunner.scores_of(ids)
    own = replace(rerunner, tensors={"input_ids": ids})  # a text that holds it is what the user asked for
    torch.testing.assert_close(own.scores_of(ids)[0], own.clean()[1])


def test_an_input_without_ids_has_no_other_ids():
    rerunner = again(tensors={"inputs_embeds": torch.randn(1, 7, 16, dtype=torch.float64)})
    for ask in (rerunner.scores_of, rerunner.embeddings_of):
        with pytest.raises(BadInput, match="was given no token ids"):
            ask(IDS)


# A run ---------------------------------------------------------------------------------------------------------------


def test_a_run_says_what_the_model_is_and_explains_the_predicted_class():
    rerunner = again()
    run = ran(rerunner, tokenizer=word_pieces())
    assert run.target.number == int(rerunner.clean()[1].argmax())
    assert run.targets == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert (run.mask_id, run.unknown_id) == (None, 1)
    assert torch.equal(run.embeddings, rerunner.clean()[0])
    assert len(list(run.layers())) == 2
    torch.testing.assert_close(run.embeddings_of(IDS)[0], run.embeddings)
    torch.testing.assert_close(run.scores_of(IDS)[0], run.scores)
    torch.testing.assert_close(run.scores_from(run.embeddings[None])[0], run.scores)


def test_gradients_of_a_run_come_with_the_scores_and_row_by_row_are_the_same():
    run = ran(again(), target=2)
    points = torch.stack([run.embeddings, 2 * run.embeddings])
    scores, gradients = run.gradients(points)
    torch.testing.assert_close(scores, run.scores_from(points)[:, 2])
    torch.testing.assert_close(gradients[1:], run.gradients(points[1:])[1])


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_model_without_a_head_is_refused(family: str):
    model = build(family)
    with pytest.raises(UnsupportedModel, match="gives no score per class"):
        model_run(model, cm.load(model).anatomy(), {"input_ids": IDS}, TOKENS, None, 2**30, None)


def test_a_head_of_words_gives_no_class_scores():
    model = build("bert", "ForMaskedLM")
    with pytest.raises(UnsupportedModel, match="BertForMaskedLM gives no score per class"):
        model_run(model, cm.load(model).anatomy(), {"input_ids": IDS}, TOKENS, None, 2**30, None)


# A score at one token ------------------------------------------------------------------------------------------------


def at(family: str, position: int) -> Rerunner:
    model = speaker(family)
    return Rerunner(model, cm.load(model).anatomy(), {"input_ids": IDS}, position)


@pytest.mark.parametrize(("family", "position"), [("llama", -1), ("gpt2", -1), ("gemma2", -1), ("bert", 2)])
def test_the_scores_at_a_token_are_the_models_own(family: str, position: int):
    rerunner = at(family, position)
    embeddings, scores = rerunner.clean()
    with torch.no_grad():
        own = rerunner.model(IDS).logits[0, position]
    torch.testing.assert_close(scores, own)
    torch.testing.assert_close(rerunner.scores_from(torch.stack([embeddings, embeddings]))[1], own)
    torch.testing.assert_close(rerunner.scores_of(IDS.expand(3, -1))[2], own)


def test_only_the_last_tokens_logits_are_made_where_the_model_can_leave_the_others_out():
    rerunner, shapes = at("llama", -1), []
    rerunner.model.lm_head.register_forward_hook(lambda module, args, out: shapes.append(tuple(out.shape)))
    embeddings, _ = rerunner.clean()
    rerunner.scores_from(embeddings[None].expand(2, -1, -1))
    rerunner.scores_of(IDS.expand(3, -1))
    assert shapes == [(1, 1, 40), (2, 1, 40), (3, 1, 40)]


def test_a_token_that_stays_is_read_where_it_moves_to_and_one_that_goes_is_missed():
    rerunner = at("bert", 3)
    kept = torch.tensor([[0, 1, 2, 3, 5, 6], [1, 2, 3, 4, 5, 6]])
    found = rerunner.scores_of(IDS[0][kept], kept)
    with torch.no_grad():
        own = rerunner.model(IDS[0][kept]).logits
    torch.testing.assert_close(found, torch.stack([own[0, 3], own[1, 2]]))
    with pytest.raises(BadInput, match="The token at position 3 was left out"):
        rerunner.scores_of(IDS[:, :3], torch.tensor([[0, 1, 2]]))


def test_a_classifier_has_no_scores_at_a_token():
    rerunner = replace(again(), position=-1)
    with pytest.raises(UnsupportedModel, match="no scores at each token"):
        rerunner.clean()


NAMES = ("negative", "neutral", "neutral", "7")


@pytest.mark.parametrize(("target", "number"), [(0, 0), (3, 3), ("3", 3), ("negative", 0), ("7", 3)])
def test_a_class_is_found_by_name_or_number(target: int | str, number: int):
    assert class_number(target, NAMES) == number


@pytest.mark.parametrize("target", [4, -1, "4", "negatve"])
def test_a_class_that_does_not_exist_is_refused_with_those_that_do(target: int | str):
    with pytest.raises(UnknownName, match=rf"There is no class '{target}'.*negative"):
        class_number(target, NAMES)


def test_a_name_of_two_classes_is_refused():
    with pytest.raises(BadOption, match="2 classes are called 'neutral'; name one by its number"):
        class_number("neutral", NAMES)

"""Evidence against longhand: one part per layer, head and pair in loops; paths by autograd through a frozen model."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.methods.longhand_evidence import log_odds_weights, normed, to_the_end
from tests.methods.speakers import CAUSAL, MASKED, speaker
from tests.tracing.tiny import ENCODERS, MARKS, SIZES, build, in_float64, token_ids, vivid
from torch import Tensor
from transformers.models.llama import modeling_llama as llama

import contextmix as cm
from contextmix.errors import BadOption, TraceDoesNotAddUp, UnsupportedModel
from contextmix.methods import evidence
from contextmix.plugins.plan import METHODS
from contextmix.results.provenance import Quantity
from contextmix.traces.trace import LayerTrace

IDS = token_ids(6, seed=2)
EXACT = {"rtol": 0, "atol": 1e-9}


def longhand(layers: list[LayerTrace], row: int, direction: Tensor) -> Tensor:
    """(layer, key): ⟨u, T_tj⟩, the vectors T built one by one."""
    found = torch.zeros(len(layers), layers[0].attention.shape[-1], dtype=direction.dtype)
    for number, layer in enumerate(layers):
        block = layer.block
        for j in range(layer.attention.shape[-1]):
            part = torch.zeros_like(direction)
            for h in range(len(layer.attention)):
                part = part + layer.attention[h, row, j] * (layer.value[h, j] @ block.output_weight[h])
            part = normed(part, block.attention.norm_out, layer.attention_out[row]) * block.attention.scale
            found[number, j] = direction @ to_the_end(part, row, layers, number, of_attention=True)
    return found


def plain_logits(model: Any, ids: Tensor = IDS) -> Tensor:
    with torch.no_grad():
        return model(input_ids=ids).logits[0]


def frozen_head(family: str, model: Any, state: Tensor, weights: Tensor) -> Tensor:
    """u by autograd through the model's own head, its first norm replaced by one with a held denominator."""
    norm, classifier = {
        "gpt2": lambda: (model.transformer.ln_f, model.lm_head),
        "gpt_neox": lambda: (model.gpt_neox.final_layer_norm, model.lm_head),
        "opt": lambda: (model.model.decoder.final_layer_norm, model.lm_head),
        "phi": lambda: (model.model.final_layernorm, model.lm_head),
    }.get(family, lambda: (model.model.norm, model.lm_head))()
    leaf = state.clone().requires_grad_()
    if hasattr(norm, "bias"):
        read = (leaf - leaf.mean()) / (state.var(unbiased=False) + norm.eps).sqrt() * norm.weight + norm.bias
    else:
        eps = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
        read = leaf / (state.square().mean() + eps).sqrt() * norm.weight
    scores = read @ classifier.weight.T + (0 if getattr(classifier, "bias", None) is None else classifier.bias)
    cap = getattr(model.config, "final_logit_softcapping", None)
    scores = cap * torch.tanh(scores / cap) if cap else scores / getattr(model.config, "logits_scaling", 1.0)
    (scores @ weights).backward()
    return leaf.grad


def layers_of(model: Any, ids: Tensor = IDS) -> list[LayerTrace]:
    return list(cm.load(model).trace({"input_ids": ids[0]}).layers)


# The direct reach ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", CAUSAL)
def test_it_is_the_longhand_of_a_decoder(family: str):
    """Pre-norm, sandwich, norms on the output, grouped queries, parallel parts, soft caps and factors of logits."""
    model = speaker(family)
    layers, logits = layers_of(model), plain_logits(model)
    token = int(logits[-1].argmax())
    u = frozen_head(family, model, layers[-1].residual_out[-1], log_odds_weights(logits[-1], token))
    parts = longhand(layers, len(IDS[0]) - 1, u)
    loaded = cm.load(model)
    positive = loaded.explain({"input_ids": IDS[0]}, "evidence")
    signed = loaded.explain({"input_ids": IDS[0]}, "evidence", signed=True)
    np.testing.assert_allclose(positive.values, parts.clamp(min=0).sum(0), **EXACT)
    np.testing.assert_allclose(signed.values, parts.sum(0), **EXACT)
    notes = signed.provenance.notes
    assert notes["linear"] == pytest.approx(float(u @ layers[-1].residual_out[-1]), abs=1e-8)
    assert notes["signed"] + notes["elsewhere"] == pytest.approx(notes["linear"], abs=1e-8)


@pytest.mark.parametrize("family", ENCODERS)
def test_it_is_the_longhand_of_a_classifier(family: str):
    """Post-norm: what a layer adds passes every later norm; the head's activation is followed by its tangent."""
    model = build(family, "ForSequenceClassification", num_labels=3).double()
    layers, logits = layers_of(model), plain_logits(model)
    heads = {
        "bert": lambda x: model.classifier(model.bert.pooler(x[None, None])[0]),
        "albert": lambda x: model.classifier(model.albert.pooler_activation(model.albert.pooler(x))),
        "distilbert": lambda x: model.classifier(model.pre_classifier(x).relu()),
    }
    head = heads.get(family, lambda x: model.classifier(x[None, None])[0])
    state = layers[-1].residual_out[0].clone().requires_grad_()
    scores = head(state).flatten()
    torch.testing.assert_close(scores, logits, rtol=1e-9, atol=1e-9)
    (u,) = torch.autograd.grad(scores @ log_odds_weights(logits, 2), state)
    found = cm.load(model).explain({"input_ids": IDS[0]}, "evidence", target=2)
    np.testing.assert_allclose(found.values, longhand(layers, 0, u).clamp(min=0).sum(0), **EXACT)
    assert found.quantity is Quantity.EVIDENCE


@pytest.mark.parametrize("family", MASKED)
def test_all_parts_of_a_masked_word_add_up(family: str):
    model = speaker(family)
    found = cm.load(model).explain({"input_ids": IDS[0]}, "evidence", position=2, signed=True)
    notes = found.provenance.notes
    assert found.provenance.checks["completeness"] < 1e-9
    assert found.values.sum() == pytest.approx(notes["signed"], abs=1e-9)
    assert notes["signed"] + notes["elsewhere"] == pytest.approx(notes["linear"], abs=1e-9)


def test_a_linear_form_without_bias_and_norm_bias_is_the_log_odds_of_the_logits():
    """Σ_w c_w y_w, from plain logits: what all parts of a Llama add up to."""
    model = speaker("llama")
    logits = plain_logits(model)[-1]
    found = cm.load(model).explain({"input_ids": IDS[0]}, "evidence", target=7)
    wanted = float(log_odds_weights(logits, 7) @ logits)
    assert found.provenance.notes["linear"] == pytest.approx(wanted, rel=1e-5)


def test_scores_against_others_a_logit_and_a_foil():
    model = speaker("gpt2")
    layers, logits = layers_of(model), plain_logits(model)[-1]
    size = len(logits)
    one, other = (torch.nn.functional.one_hot(torch.tensor(n), size).double() for n in (7, 9))
    loaded = cm.load(model)
    for weights, target, options in (
        (one - 1 / size, 7, {"score": "logit"}),
        (one - other, (7, 9), {}),
        (one - other, (7, 9), {"score": "logit"}),
    ):
        u = frozen_head("gpt2", model, layers[-1].residual_out[-1], weights)
        parts = longhand(layers, len(IDS[0]) - 1, u)
        found = loaded.explain({"input_ids": IDS[0]}, "evidence", target=target, signed=True, **options)
        np.testing.assert_allclose(found.values, parts.sum(0), **EXACT)


def test_a_label_that_may_hold_with_others_is_explained_by_its_own_logit():
    model = build("bert", "ForSequenceClassification", num_labels=3, problem_type="multi_label_classification").double()
    weights = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    layers = layers_of(model)
    state = layers[-1].residual_out[0].clone().requires_grad_()
    scores = model.classifier(model.bert.pooler(state[None, None])[0])
    (u,) = torch.autograd.grad(scores @ weights, state)
    found = cm.load(model).explain({"input_ids": IDS[0]}, "evidence", target=1)
    np.testing.assert_allclose(found.values, longhand(layers, 0, u).clamp(min=0).sum(0), **EXACT)


# Several rows in one run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"signed": True}, {"score": "logit"}, {"reach": "all"}], ids=str)
@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_an_answer_in_one_run_is_each_token_by_itself(family: str, options: dict[str, Any]):
    loaded = cm.load(speaker(family))
    ids = token_ids(9, seed=4)[0].tolist()
    found = loaded.explain_generation({"input_ids": ids[:5]}, "evidence", continuation=ids[5:], **options)
    assert found.shape == (4, 9)
    for step in range(4):
        alone = loaded.explain({"input_ids": ids[: 5 + step]}, "evidence", target=ids[5 + step], **options)
        np.testing.assert_allclose(found.values[step, : 5 + step], alone.values, **EXACT)
        assert not found.values[step, 5 + step :].any()


def test_a_contrast_is_with_the_runner_up():
    loaded = cm.load(speaker("gpt2"))
    ids = token_ids(7, seed=4)[0].tolist()
    found = loaded.explain_generation({"input_ids": ids[:5]}, "evidence", continuation=ids[5:], contrast=True)
    foils = found.provenance.notes["generation"]["foil_ids"]
    alone = loaded.explain({"input_ids": ids[:5]}, "evidence", target=(ids[5], foils[0]))
    np.testing.assert_allclose(found.values[0, :5], alone.values, **EXACT)


@pytest.mark.parametrize("reach", ["direct", "answer", "all"])
def test_the_model_runs_once_for_all_new_tokens(reach: str):
    model = speaker("gpt2")
    loaded = cm.load(model)
    ids = token_ids(12, seed=4)[0].tolist()
    loaded.explain_generation({"input_ids": ids[:8]}, "evidence", continuation=ids[8:])  # proves the model
    seen = []
    handle = model.transformer.h[0].register_forward_hook(lambda module, args, out: seen.append(args[0].shape[1]))
    loaded.explain_generation({"input_ids": ids[:8]}, "evidence", continuation=ids[8:], reach=reach)
    handle.remove()
    assert seen.count(11) == 1, "more than one run over the whole"
    assert seen.count(8) == 1, "the head is found on the first tokens"


# A fused attention ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text", "mistral", "opt", "gpt_neox", "qwen2"])
def test_rows_of_a_fused_attention_are_those_of_the_eager_one(family: str):
    """Causal without a mask, sliding windows with one, grouped queries; the model's setting is what runs."""
    model = fused(family)
    ids = token_ids(12, seed=4)[0].tolist()
    found = {}
    for name in ("eager", "sdpa"):
        model.set_attn_implementation(name)
        loaded = cm.load(model)
        found[name] = loaded.explain_generation({"input_ids": ids[:7]}, "evidence", continuation=ids[7:]).values
        assert model.config._attn_implementation == name
    np.testing.assert_allclose(found["sdpa"], found["eager"], rtol=1e-4, atol=1e-7)  # OPT: softmax in float32
    assert np.abs(found["eager"]).max() > 1e-3


def fused(family: str) -> Any:
    if family not in {"gemma3_text", "mistral"}:
        return speaker(family)
    prefix = {"gemma3_text": "Gemma3", "mistral": "Mistral"}[family]
    kinds = {"layer_types": ["sliding_attention", "full_attention"]} if family == "gemma3_text" else {}
    own = {**SIZES, **MARKS, "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 4, **kinds}
    config = getattr(transformers, f"{prefix}{'Text' if kinds else ''}Config")(**own)
    return in_float64(vivid(getattr(transformers, f"{prefix}ForCausalLM")(config)))


def test_a_fused_attention_never_makes_a_whole_map():
    """Everything that the model's eager attention is asked for has as many queries as rows are read."""
    model = speaker("llama")
    model.set_attn_implementation("sdpa")
    loaded = cm.load(model)
    ids = token_ids(20, seed=4)[0].tolist()
    run = lambda: loaded.explain_generation({"input_ids": ids[:18]}, "evidence", continuation=ids[18:])  # noqa: E731
    run()  # the proof of the model looks at whole maps of a short probe
    asked = []
    eager = llama.eager_attention_forward

    def counting(module, query, *more, **told):
        asked.append(query.shape[2])
        return eager(module, query, *more, **told)

    llama.eager_attention_forward = counting
    try:
        run()
    finally:
        llama.eager_attention_forward = eager
    assert set(asked) <= {2, 8}, "rows of the answer, and the first tokens, on which the head is found"


# All paths -----------------------------------------------------------------------------------------------------------


def frozen_forward(layers: list[LayerTrace], states: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The blocks with weights, denominators and activation ratios held, by autograd's own rules; and what attention
    gave in each block, before its projection's norms."""
    given = []
    for layer in layers:
        block, own = layer.block, layer.states
        value = block.value() if block.value else block.projections.value
        read = held(states, block.attention.norm_in, layer.residual_in)
        values = (read @ value.weight + (0 if value.bias is None else value.bias)).view(
            len(states), len(layer.value), -1
        )
        mixed = torch.einsum("hij,jhc,hcd->id", layer.attention, values, block.output_weight)
        given.append(mixed)
        out = mixed if block.output_bias is None else mixed + block.output_bias
        out = held(out, block.attention.norm_out, layer.attention_out) * block.attention.scale
        middle = held(states + out, block.attention.norm_after, own.attention_sum)
        entered, true = (states, layer.residual_in) if block.parallel else (middle, own.residual_mid)
        ffn = held_ffn(block, held(entered, block.ffn.norm_in, true), held(true, block.ffn.norm_in, true))
        ffn = held(ffn, block.ffn.norm_out, layer.ffn_out) * block.ffn.scale
        states = held(middle + ffn, block.ffn.norm_after, own.ffn_sum)
    return states, given


def held(states: Tensor, norm: Any, true: Tensor) -> Tensor:
    if norm is None:
        return states
    rows = torch.stack([normed(row, norm, full) for row, full in zip(states, true, strict=True)])
    return rows if norm.bias is None else rows + norm.bias


def held_ffn(block: Any, read: Tensor, true: Tensor) -> Tensor:
    gated = block.gated() if block.gated else None
    if gated is None:
        ffn = block.feed_forward
        before, at = ffn.before_activation(read), ffn.before_activation(true)
        return before * (ffn.activation(at) / at) @ ffn.second + (0 if ffn.second_bias is None else ffn.second_bias)
    ratio = (gated.activation(gated.gate(true)) / gated.gate(true)).detach()
    half = 0.5 * ratio * gated.gate(true) * gated.up(read) + 0.5 * ratio * gated.gate(read) * gated.up(true)
    return gated.second(half)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "olmo2", "gpt_neox", "bert"])
def test_all_paths_are_those_of_the_frozen_model(family: str):
    """g_i by autograd; each message that leaves its token, one by one."""
    if family == "bert":
        model = build("bert", "ForSequenceClassification", num_labels=3).double()
        logits, row = plain_logits(model), 0
    else:
        model = speaker(family)
        logits, row = plain_logits(model)[-1], len(IDS[0]) - 1
    layers = layers_of(model)
    weights = log_odds_weights(logits, 2)
    last = layers[-1].residual_out[row]
    if family == "bert":
        state = last.clone().requires_grad_()
        (u,) = torch.autograd.grad(model.classifier(model.bert.pooler(state[None, None])[0]) @ weights, state)
    else:
        u = frozen_head(family, model, last, weights)
    start = layers[0].residual_in.clone().requires_grad_()
    states, given = frozen_forward(layers, start)
    torch.testing.assert_close(states, layers[-1].residual_out, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(states[row] @ u, given)
    signed, positive = torch.zeros(len(IDS[0]), dtype=u.dtype), torch.zeros(len(IDS[0]), dtype=u.dtype)
    for layer, gradient in zip(layers, gradients, strict=True):
        for i in range(len(IDS[0])):
            for j in range(len(IDS[0])):
                if i != j or i == row:
                    vectors = [layer.value[h, j] @ layer.block.output_weight[h] for h in range(len(layer.attention))]
                    message = sum(layer.attention[h, i, j] * vector for h, vector in enumerate(vectors)) @ gradient[i]
                    signed[j] += message
                    positive[j] += message.clamp(min=0)
    for options, wanted in (({}, positive), ({"signed": True}, signed)):
        found = cm.load(model).explain({"input_ids": IDS[0]}, "evidence", target=2, reach="all", **options)
        np.testing.assert_allclose(found.values, wanted.detach(), **EXACT)


# Paths through the answer --------------------------------------------------------------------------------------------


def read_by_rows(layers: list[LayerTrace], rows: slice, gates: Tensor, own: Tensor) -> Tensor:
    """The frozen model in some rows alone, by autograd's own rules: other positions send the values that they have,
    times a gate each."""
    states = own
    for layer in layers:
        block, true = layer.block, layer.states
        value = block.value() if block.value else block.projections.value
        read = held(states, block.attention.norm_in, layer.residual_in[rows])
        fresh = (read @ value.weight + (0 if value.bias is None else value.bias)).view(
            len(states), len(layer.value), -1
        )
        sent = layer.value.transpose(0, 1) * gates[:, None, None]
        values = torch.cat([sent[: rows.start], fresh, sent[rows.stop :]])
        out = torch.einsum("hij,jhc,hcd->id", layer.attention[:, rows], values, block.output_weight)
        out = out if block.output_bias is None else out + block.output_bias
        out = held(out, block.attention.norm_out, layer.attention_out[rows]) * block.attention.scale
        middle = held(states + out, block.attention.norm_after, true.attention_sum[rows])
        entered, full = (states, layer.residual_in) if block.parallel else (middle, true.residual_mid)
        ffn_in = held(full[rows], block.ffn.norm_in, full[rows])
        ffn = held_ffn(block, held(entered, block.ffn.norm_in, full[rows]), ffn_in)
        ffn = held(ffn, block.ffn.norm_out, layer.ffn_out[rows]) * block.ffn.scale
        states = held(middle + ffn, block.ffn.norm_after, true.ffn_sum[rows])
    return states


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "olmo2", "gpt_neox"])
def test_paths_through_the_answer_are_those_of_the_frozen_rows(family: str):
    """What a position sends is the derivative with its gate; what an earlier token of the answer adds, that with its
    embedding; both add up to the score with what is elsewhere."""
    model, prompt = speaker(family), 3
    ids = token_ids(7, seed=2)[0]
    rows = slice(prompt - 1, len(ids) - 1)
    layers, logits = layers_of(model, ids[None, :-1]), plain_logits(model, ids[None])
    found = {
        signed: cm.load(model).explain_generation(
            {"input_ids": ids[:prompt]}, "evidence", continuation=ids[prompt:].tolist(), reach="answer", signed=signed
        )
        for signed in (True, False)
    }
    for step, row in enumerate(range(rows.start, rows.stop)):
        last = layers[-1].residual_out[row]
        u = frozen_head(family, model, last, log_odds_weights(logits[row], int(ids[row + 1])))
        gates = torch.ones(len(ids) - 1, dtype=u.dtype, requires_grad=True)
        own = layers[0].residual_in[rows].clone().requires_grad_()
        states = read_by_rows(layers, rows, gates, own)
        torch.testing.assert_close(states, layers[-1].residual_out[rows], rtol=1e-5, atol=1e-5)
        sent, direction = torch.autograd.grad(states[step] @ u, [gates, own])
        wanted = sent.clone()
        wanted[rows] = (direction * own).sum(-1)
        wanted[row] = 0
        np.testing.assert_allclose(found[True].values[step, :-1], wanted.detach(), **EXACT)
        np.testing.assert_allclose(found[False].values[step, :-1], wanted.detach().clamp(min=0), **EXACT)
        notes = found[True].provenance.notes
        assert notes["signed"][step] + notes["elsewhere"][step] == pytest.approx(float(u @ last), abs=1e-9)
    assert found[True].provenance.checks["completeness"] < 1e-12


def test_a_long_answer_is_carried_down_in_several_parts(monkeypatch: pytest.MonkeyPatch):
    loaded, ids, seen = cm.load(speaker("llama")), token_ids(9, seed=4)[0].tolist(), []

    def explained(rows: int) -> np.ndarray:
        seen.clear()
        monkeypatch.setattr(evidence, "_ROWS_AT_ONCE", rows)
        given = {"continuation": ids[4:], "reach": "answer", "signed": True}
        return loaded.explain_generation({"input_ids": ids[:4]}, "evidence", **given).values

    once = evidence.drawn_by_rows
    monkeypatch.setattr(evidence, "drawn_by_rows", lambda *args: seen.append(len(args[2])) or once(*args))
    whole = explained(1024)
    assert seen == [5]
    np.testing.assert_allclose(explained(10), whole, **EXACT)
    assert seen == [2, 2, 1]


# What is refused -----------------------------------------------------------------------------------------------------


def test_a_head_that_averages_positions_is_refused():
    model = build("bert", "ForSequenceClassification", num_labels=3).double()
    inner = model.bert.pooler.forward
    model.bert.pooler.forward = lambda states: inner(states.mean(1, keepdim=True))
    with pytest.raises(UnsupportedModel, match="found no head"):
        cm.load(model).explain({"input_ids": IDS[0]}, "evidence")


def test_experts_have_no_paths_through_them_and_a_direct_reach():
    model = speaker("mixtral").float()
    loaded = cm.load(model)
    assert loaded.explain({"input_ids": IDS[0]}, "evidence").provenance.checks["completeness"] < 1e-5
    with pytest.raises(UnsupportedModel, match="reach='direct'"):
        loaded.explain({"input_ids": IDS[0]}, "evidence", reach="all")
    with pytest.raises(UnsupportedModel, match="reach='direct'"):
        loaded.explain({"input_ids": IDS[0]}, "evidence", reach="answer")


def test_what_acts_between_last_block_and_head_is_noticed():
    """A change of the last block's output that is there for the whole text and not for its first tokens."""
    model = speaker("gpt2")
    ids = token_ids(12, seed=4)[0]

    def shift(module, args):
        return (args[0] * torch.linspace(0.5, 2, args[0].shape[-1]) if args[0].shape[1] > 8 else args[0],)

    handle = model.transformer.ln_f.register_forward_pre_hook(shift)
    with pytest.raises((TraceDoesNotAddUp, UnsupportedModel)):
        cm.load(model).explain({"input_ids": ids}, "evidence")
    handle.remove()


class Between(torch.nn.ModuleList):
    """Blocks with something between them that is no module, and that acts on long texts alone."""

    def __iter__(self):
        first, second = super().__iter__()
        yield first
        yield lambda states, *told, **more: second(self.change(states), *told, **more)

    @staticmethod
    def change(states: Tensor) -> Tensor:
        return states * torch.linspace(0.5, 2, states.shape[-1]) if states.shape[1] > 8 else states


@pytest.mark.parametrize("reach", ["direct", "answer", "all"])
def test_what_acts_between_two_blocks_is_noticed(reach: str):
    model = speaker("llama")
    model.model.layers = Between(model.model.layers)
    loaded = cm.load(model)
    assert loaded.explain({"input_ids": IDS[0]}, "evidence", reach=reach).provenance.checks["completeness"] < 1e-6
    with pytest.raises(
        UnsupportedModel, match=r"layers\.1 reads is not what model\.layers\.0 wrote. Something acts between"
    ):
        loaded.explain({"input_ids": token_ids(12, seed=4)[0]}, "evidence", reach=reach)


def test_options_are_checked_and_those_of_one_step_are_those_of_several():
    with pytest.raises(BadOption):
        cm.load("demo").explain("a good film", "evidence", reach="far")
    method = METHODS["evidence"]
    one, several = (inspect.signature(f).parameters for f in (method.attribute, method.steps))
    assert {name: p.default for name, p in one.items() if name != "run"} == {
        name: p.default for name, p in several.items() if name != "run"
    }

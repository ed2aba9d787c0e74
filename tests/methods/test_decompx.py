"""DecompX (Modarressi et al. 2023): every vector of the model split by input token, down to class scores."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.methods.classifiers import function_run
from tests.methods.longhand import affine, g, gelu, length, read
from tests.methods.speakers import CAUSAL, MASKED, explained, logits, speaker
from tests.methods.speakers import IDS as WORDS
from tests.strategies import LAYOUTS, toy_layers
from tests.tracing.tiny import ENCODERS, build, token_ids
from transformers import BertConfig, BertForSequenceClassification

import contextmix as cm
from contextmix.errors import BadOption, TraceDoesNotAddUp, UnsupportedModel
from contextmix.plugins.plan import METHODS
from contextmix.results.provenance import Quantity
from contextmix.traces.model_run import ModelRun
from contextmix.tracing.discovery.head import find_head

IDS = torch.tensor([3, 1, 4, 1, 15])
VARIANTS = [
    {},
    *({"bias": rule} for rule in ("abssim", "norm", "equal", "cls", "none")),
    *({"ffn": rule} for rule in ("tangent", "relu", "none")),
    *({"head": rule} for rule in ("tangent", "none")),
    {"ffn": "tangent", "head": "tangent", "bias": "norm"},
]
each_variant = pytest.mark.parametrize("options", VARIANTS, ids=str)


def classifier(**changes) -> BertForSequenceClassification:
    """Two layers, two heads, d = 8, three classes, float64; no weight, bias or norm trivial."""
    config = BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=changes.pop("layers", 2),
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=16,
        layer_norm_eps=1e-2,
        num_labels=3,
        **changes,
    )
    model = BertForSequenceClassification(config).double().eval()
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2
    return model


def explain(model, ids=IDS, **options):
    target = None if options.get("head") == "none" else "all"  # without the head there are no classes
    return cm.load(model).explain({"input_ids": ids}, "decompx", target=target, **options)


def run(**changes) -> ModelRun:
    """A run made by hand, for what can only be said to the method itself."""
    model = classifier()
    with torch.no_grad():
        scores = model(IDS[None]).logits[0]
    traced = cm.load(model)
    parts = {
        "clean": lambda: scores,
        "layers": lambda: traced.trace({"input_ids": IDS}).layers,
        "head": lambda: find_head(model, traced.anatomy(), {"input_ids": IDS[None]}),
    }
    return function_run(lambda points: points.sum(1), **{**parts, **changes})


def changed(layer, **parts):
    """A layer whose block is another one."""
    return replace(layer, block=replace(layer.block, **parts))


def attribute(one: ModelRun, **options):
    return METHODS["decompx"].attribute(one, **options)


# Longhand ------------------------------------------------------------------------------------------------------------


def with_bias(vectors, bias, rule):
    """The vectors of one row, with a bias shared out over them."""
    if rule == "none":
        return vectors
    weights = [_weight(k, vector, bias, rule) for k, vector in enumerate(vectors)]
    return [vector + weight / sum(weights) * bias for vector, weight in zip(vectors, weights, strict=True)]


def _weight(k, vector, bias, rule):
    return {
        "absdot": abs(float(vector @ bias)),
        "abssim": abs(float(vector @ bias)) / length(vector) / length(bias),
        "norm": length(vector),
        "equal": 1.0,
        "cls": float(k == 0),
    }[rule]


def activated(vectors, full, function, slope_at, rule, bias):
    """The vectors after the line that replaces an activation, number by number."""
    if rule == "tangent":
        slope = np.array([slope_at(number) for number in full])
        intercept = np.array([function(number) for number in full]) - slope * full
        return with_bias([vector * slope for vector in vectors], intercept, bias)
    slope = np.array([float(number > 0) if rule == "relu" else function(number) / number for number in full])
    return [vector * slope for vector in vectors]


def gelu_slope(number):
    density = math.exp(-(number**2) / 2) / math.sqrt(2 * math.pi)
    return 0.5 * (1 + math.erf(number / math.sqrt(2))) + number * density


def numbers(linear):
    return linear.weight.detach().numpy(), linear.bias.detach().numpy()


def encoder_parts(model, bias, ffn):
    """x_{i⇐k} of the last layer as a list over i of lists over k, from the paper and the authors' code."""
    parts = None
    layers = read(model.bert, IDS)
    n, width = len(IDS), 4
    for layer, block in zip(layers, model.bert.encoder.layer, strict=True):
        w_v, b_v = numbers(block.attention.self.value)
        w_o, b_o = numbers(block.attention.output.dense)
        beta1, beta2 = (
            norm.bias.detach().numpy() for norm in (block.attention.output.LayerNorm, block.output.LayerNorm)
        )
        heads = [slice(h * width, (h + 1) * width) for h in layer.heads]
        rows = []
        for i in range(n):
            if parts is None:
                u = [sum(layer.alpha[h, i, k] * layer.f[h, k] for h in layer.heads) for k in range(n)]
                u[i] = u[i] + layer.x[i]
                attention_bias = b_o
            else:
                u = [
                    parts[i][k]
                    + sum(
                        layer.alpha[h, i, j] * (w_o[:, own] @ (w_v[own] @ parts[j][k]))
                        for h, own in enumerate(heads)
                        for j in range(n)
                    )
                    for k in range(n)
                ]
                attention_bias = w_o @ b_v + b_o
            u = with_bias(u, attention_bias, bias)
            u = with_bias([g(part, layer.z_plus[i], layer.gamma1, layer.eps) for part in u], beta1, bias)
            if ffn != "none":
                o = feed_forward(u, layer.z_tilde[i], block, bias, ffn)
                u = [part + added for part, added in zip(u, o, strict=True)]
            rows.append(with_bias([g(part, layer.z_tilde_plus[i], layer.gamma2, layer.eps) for part in u], beta2, bias))
        parts = rows
    return parts, layers[-1].x_tilde


def feed_forward(u, z_tilde, block, bias, rule):
    (w_1, b_1), (w_2, b_2) = numbers(block.intermediate.dense), numbers(block.output.dense)
    inner = with_bias([w_1 @ part for part in u], b_1, bias)
    inner = activated(inner, affine(z_tilde, block.intermediate.dense), gelu, gelu_slope, rule, bias)
    return with_bias([w_2 @ part for part in inner], b_2, bias)


def longhand(bias="absdot", ffn="zero_origin", head="zero_origin"):
    model = classifier()
    parts, x_tilde = encoder_parts(model, bias, ffn)
    row = parts[0]
    if head == "none":
        return [length(part) for part in row]
    (w_p, b_p), (w_c, b_c) = numbers(model.bert.pooler.dense), numbers(model.classifier)
    pooled = with_bias([w_p @ part for part in row], b_p, bias)
    full = affine(x_tilde[0], model.bert.pooler.dense)
    pooled = activated(pooled, full, math.tanh, lambda number: 1 - math.tanh(number) ** 2, head, bias)
    return np.stack(with_bias([w_c @ part for part in pooled], b_c, bias)).T


@each_variant
def test_the_scores_are_the_papers_number_by_number(options):
    found = explain(classifier(), **options)
    wanted = longhand(**options)
    np.testing.assert_allclose(found.values, wanted, rtol=1e-9, atol=1e-11)


def test_the_variants_are_all_different():
    found = [explain(classifier(), **options).values for options in VARIANTS if options.get("head") != "none"]
    for number, one in enumerate(found):
        assert all(np.abs(one - other).max() > 1e-3 for other in found[:number])


# Adding up -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("options", [{}, {"bias": "norm", "ffn": "tangent", "head": "tangent"}], ids=str)
def test_the_parts_add_up_to_the_logits(family, options):
    model = build(family, "ForSequenceClassification", num_labels=3).double()
    ids = token_ids(7, seed=5)
    with torch.no_grad():
        logits = model(ids).logits[0].numpy()
    found = explain(model, ids[0], **options)
    np.testing.assert_allclose(found.values.sum(-1), logits, rtol=0, atol=1e-9 * np.abs(logits).max())
    assert found.provenance.notes["completeness"] <= 1e-12
    single = explain(model.float(), ids[0], **options)
    np.testing.assert_allclose(single.values.sum(-1), logits, rtol=0, atol=1e-4 * np.abs(logits).max())
    np.testing.assert_allclose(single.values, found.values, rtol=0, atol=1e-4 * np.abs(found.values).max())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_explained_in_float32(dtype):
    model = build("bert", "ForSequenceClassification", num_labels=3).to(dtype)
    found = explain(model, token_ids(7, seed=5)[0])
    assert found.values.dtype == np.float32
    assert 0 < found.provenance.notes["completeness"] < 0.02


@pytest.mark.parametrize("act", ["relu", "gelu_new", "silu", "quick_gelu", "tanh", "relu2"])
def test_any_activation_that_is_zero_at_zero_adds_up(act):
    assert explain(classifier(hidden_act=act)).provenance.notes["completeness"] <= 1e-12


@pytest.mark.parametrize("layers", [1, 3])
def test_any_number_of_layers_adds_up(layers):
    model = classifier(layers=layers)
    with torch.no_grad():
        logits = model(IDS[None]).logits[0].numpy()
    np.testing.assert_allclose(explain(model).values.sum(-1), logits, rtol=1e-10)


def test_one_token_has_the_whole_score():
    model = classifier()
    with torch.no_grad():
        logits = model(IDS[None, :1]).logits[0].numpy()
    np.testing.assert_allclose(explain(model, IDS[:1]).values[:, 0], logits, rtol=1e-10)


def test_what_is_left_out_is_missing_and_said():
    for options in ({"bias": "none"}, {"ffn": "none"}, {"ffn": "relu"}):
        assert explain(classifier(), **options).provenance.notes["completeness"] > 1e-3


def test_a_target_is_its_row_and_the_quantity_says_what_it_is():
    traced, inputs = cm.load(classifier()), {"input_ids": IDS}
    every = traced.explain(inputs, "decompx", target="all")
    one = traced.explain(inputs, "decompx", target=2)
    np.testing.assert_array_equal(one.values, every.values[2])
    assert every.dims == ("target", "key")
    assert every.quantity == Quantity.SIGNED
    assert (every.values < 0).any()
    bare = traced.explain(inputs, "decompx", head="none")
    assert (bare.dims, bare.quantity) == (("key",), Quantity.NORM)
    with pytest.raises(BadOption, match=r"decompx with head='none' gives one value per token"):
        traced.explain(inputs, "decompx", target="all", head="none")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"bias": "norm", "ffn": "tangent"}, {"bias": "equal"}, {"bias": "abssim"}, {"bias": "cls"}], ids=str
)
def test_the_parts_of_every_layout_add_up_to_the_last_row(layout, causal, options):
    """Norms with biases everywhere, a scale that is a vector, sub-layers in parallel; three layers."""
    found = attribute(
        run(layers=lambda: toy_layers(layout, 3, causal=causal), head=lambda: None), head="none", **options
    )
    assert found.notes["completeness"] <= 1e-12


@pytest.mark.parametrize("family", [*CAUSAL, *MASKED])
@pytest.mark.parametrize("gate", ["half", "frozen"])
def test_the_parts_add_up_to_the_logit_of_a_token(family, gate):
    model, position = speaker(family), 4
    for target in (7, (7, 9)):
        scores = logits(model)[position]
        wanted = float(scores[7] - scores[9]) if isinstance(target, tuple) else float(scores[7])
        found = explained(model, "decompx", target=target, position=position, gate=gate)
        assert found.values.sum() == pytest.approx(wanted, rel=1e-9)
        assert found.provenance.notes["completeness"] <= 1e-9


@pytest.mark.parametrize("family", CAUSAL)
def test_single_precision_adds_up_within_its_own(family):
    model = speaker(family)
    exact = explained(model, "decompx", target=7)
    single = explained(model.float(), "decompx", target=7)
    np.testing.assert_allclose(single.values, exact.values, rtol=0, atol=1e-4 * np.abs(exact.values).max())
    assert single.provenance.notes["completeness"] <= 1e-5


def test_serial_blocks_never_hold_a_second_vector_for_each_pair(monkeypatch):
    def refuse(states):
        raise AssertionError("the state of before the first block is only read by parallel sub-layers")

    monkeypatch.setattr("contextmix.maths.decompx.own_parts", refuse)
    explained(speaker("llama"), "decompx")
    with pytest.raises(AssertionError, match="parallel"):
        explained(speaker("phi"), "decompx")


def test_a_small_budget_gives_the_same_numbers_for_a_decoder_too():
    model = speaker("llama")
    with pytest.raises(BadOption, match="memory_budget=1000 is too small") as refusal:
        explained(model, "decompx", memory_budget=1000)
    least = int(re.search(r"takes (\d+) bytes", str(refusal.value))[1])
    whole, narrow = (explained(model, "decompx", memory_budget=budget) for budget in (2**30, least))
    np.testing.assert_allclose(narrow.values, whole.values, rtol=1e-10, atol=1e-12)


# A decoder, longhand -------------------------------------------------------------------------------------------------


def llama_by_hand(model, gate, words=WORDS):
    """A Llama in the words of its paper, one vector of one source at a time; (source, d) parts of the last row."""
    rows = model.model.embed_tokens(words).detach().numpy()
    n = len(rows)
    parts = [[rows[i] * (k == i) for k in range(n)] for i in range(n)]  # parts[i][k]: what token k put into row i
    recorded = cm.load(model).trace({"input_ids": words}).layers
    for layer, seen in zip(model.model.layers, recorded, strict=True):
        alpha = seen.attention.numpy()
        w_v, w_o = (getattr(layer.self_attn, name).weight.detach().numpy() for name in ("v_proj", "o_proj"))
        normed = [rms_parts(rows[i], parts[i], layer.input_layernorm) for i in range(n)]
        d_head = w_v.shape[0]  # one head of keys and values for both heads of queries
        mixed = [[part.copy() for part in row] for row in parts]
        for i in range(n):
            for k in range(n):
                for h in range(len(alpha)):
                    for j in range(n):
                        value = w_v @ normed[j][k]
                        mixed[i][k] = mixed[i][k] + alpha[h, i, j] * (w_o[:, h * d_head : (h + 1) * d_head] @ value)
        rows, parts = np.stack([sum(row) for row in mixed]), mixed
        g, u, down = (
            getattr(layer.mlp, name).weight.detach().numpy() for name in ("gate_proj", "up_proj", "down_proj")
        )
        for i in range(n):
            read = rms_parts(rows[i], parts[i], layer.post_attention_layernorm)
            gate_sum, up_sum = g @ sum(read), u @ sum(read)
            logistic = 1 / (1 + np.exp(-gate_sum))
            for k in range(n):
                to_up = gate_sum * logistic * (u @ read[k])
                to_gate = logistic * (g @ read[k]) * up_sum
                parts[i][k] = parts[i][k] + down @ (to_up if gate == "frozen" else (to_up + to_gate) / 2)
        rows = np.stack([sum(row) for row in parts])
    return rms_parts(rows[-1], parts[-1], model.model.norm)


def rms_parts(row, parts, norm):
    """Each part times γ over the root mean square of the whole row."""
    spread = math.sqrt(sum(float(number) ** 2 for number in row) / len(row) + norm.eps)
    return [part * norm.weight.detach().numpy() / spread for part in parts]


@pytest.mark.parametrize("gate", ["half", "frozen"])
def test_a_llama_is_split_number_by_number(gate):
    model = speaker("llama")
    last = llama_by_hand(model, gate)
    for target, foil in ((7, None), (7, 9)):
        column = model.lm_head.weight.detach().numpy()[target]
        column = column if foil is None else column - model.lm_head.weight.detach().numpy()[foil]
        found = explained(model, "decompx", target=target if foil is None else (target, foil), gate=gate)
        np.testing.assert_allclose(found.values, [part @ column for part in last], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("gate", ["half", "frozen"])
def test_each_word_of_an_answer_is_split_number_by_number(gate):
    model, start = speaker("llama"), 3
    found = saying(model, start, gate=gate)
    for step, new in enumerate(WORDS[start:]):
        column = model.lm_head.weight.detach().numpy()[int(new)]
        wanted = [part @ column for part in llama_by_hand(model, gate, WORDS[: start + step])]
        np.testing.assert_allclose(found.values[step, : start + step], wanted, rtol=1e-9, atol=1e-12)


def saying(model, start, **options):
    """Words from a position on, explained as what a model says."""
    prompt, rest = {"input_ids": WORDS[:start]}, WORDS[start:].tolist()
    return cm.load(model).explain_generation(prompt, "decompx", continuation=rest, **options)


@pytest.mark.parametrize("family", CAUSAL)
@pytest.mark.parametrize(
    "options",
    [{}, {"bias": "equal", "gate": "frozen"}, {"bias": "cls", "head": "none"}, {"contrast": True, "bias": "abssim"}],
    ids=str,
)
def test_an_answer_in_one_split_is_its_words_one_by_one(family, options):
    model, start = speaker(family), 3
    found = saying(model, start, **options)
    own = {name: one for name, one in options.items() if name != "contrast"}
    foils = found.provenance.notes["generation"].get("foil_ids")
    gaps = []
    for step, new in enumerate(WORDS[start:].tolist()):
        target = None if "head" in options else (new, foils[step]) if foils else new
        alone = explained(model, "decompx", WORDS[: start + step], target=target, **own)
        largest = np.abs(alone.values).max()
        np.testing.assert_allclose(found.values[step, : start + step], alone.values, rtol=0, atol=1e-9 * largest)
        assert not found.values[step, start + step :].any()
        gaps.append(alone.provenance.notes["completeness"])
    assert len(found.provenance.notes["completeness"]) == len(gaps)
    assert found.provenance.checks["completeness"] <= 1e-9
    assert found.quantity == alone.quantity


def test_a_budget_holds_for_an_answer_too():
    model = speaker("llama")
    with pytest.raises(BadOption, match=r"memory_budget=1000 is too small.* takes (\d+) bytes") as refusal:
        saying(model, 3, memory_budget=1000)
    least = int(re.search(r"takes (\d+) bytes", str(refusal.value))[1])
    whole, narrow = saying(model, 3), saying(model, 3, memory_budget=least)
    np.testing.assert_allclose(narrow.values, whole.values, rtol=1e-10, atol=1e-12)


def test_an_answer_runs_the_model_once_however_long_it_is():
    model = speaker("llama")
    counts = []
    for start in (5, 2):
        calls = []
        handle = model.model.layers[0].register_forward_hook(lambda *_, calls=calls: calls.append(1))
        saying(model, start)
        handle.remove()
        counts.append(len(calls))
    assert counts[0] == counts[1]


def test_the_gate_rules_are_two():
    half, frozen = (explained(speaker("llama"), "decompx", gate=gate).values for gate in ("half", "frozen"))
    assert np.abs(half - frozen).max() > 1e-3
    with pytest.raises(BadOption, match="gate='shapley' is not allowed; gate is 'half' or 'frozen'"):
        explained(speaker("llama"), "decompx", gate="shapley")


# Memory --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"bias": "abssim", "ffn": "tangent"}], ids=str)
def test_a_budget_for_one_row_at_a_time_gives_the_same_numbers(options):
    with pytest.raises(BadOption, match=r"memory_budget=1000 is too small.* takes (\d+) bytes") as refusal:
        explain(classifier(), memory_budget=1000, **options)
    least = int(re.search(r"takes (\d+) bytes", str(refusal.value))[1])
    whole, narrow = (explain(classifier(), memory_budget=budget, **options) for budget in (2**30, least))
    np.testing.assert_allclose(narrow.values, whole.values, rtol=1e-11, atol=1e-13)
    with pytest.raises(BadOption, match=f"memory_budget={least - 1} is too small"):
        explain(classifier(), memory_budget=least - 1, **options)


# Refusals ------------------------------------------------------------------------------------------------------------


def test_scores_that_are_not_the_models_are_refused():
    attribute(run())
    with pytest.raises(TraceDoesNotAddUp, match="miss what the model computed by"):
        attribute(run(clean=lambda: run().scores + 1e-6))


def test_without_a_head_only_the_vectors_before_it_can_be_split():
    bare = run(head=lambda: None)
    with pytest.raises(UnsupportedModel, match=r"found no head.*head='none'"):
        attribute(bare)
    assert torch.equal(attribute(bare, head="none").values, attribute(run(), head="none").values)


def test_layers_that_do_not_add_up_are_refused_without_a_head_too():
    *first, last = run().layers()
    layers = [*first, replace(last, residual_out=last.residual_out + 1e-6)]
    with pytest.raises(TraceDoesNotAddUp):
        attribute(run(layers=lambda: layers, head=lambda: None), head="none")


def test_a_feed_forward_part_that_is_not_two_matrices_is_refused():
    layers = [changed(layer, feed_forward=torch.relu) for layer in run().layers()]
    with pytest.raises(UnsupportedModel, match=r"Layer 0.*neither two matrices.*nor gated"):
        attribute(run(layers=lambda: layers))


def test_values_that_no_linear_map_gives_are_refused():
    layers = [changed(layer, projections=None, value=None) for layer in run().layers()]
    with pytest.raises(UnsupportedModel, match="values are no linear map"):
        attribute(run(layers=lambda: layers))


def test_experts_are_refused_by_name():
    with pytest.raises(UnsupportedModel, match=r"Layer 0: decompx cannot split this block.*experts"):
        explained(speaker("mixtral").float(), "decompx")


def test_an_activation_that_is_not_zero_at_zero_has_no_line_through_the_origin():
    model = classifier(hidden_act="sigmoid")
    with pytest.raises(BadOption, match=r"not zero at zero.*ffn='tangent'"):
        explain(model)
    assert explain(model, ffn="tangent").provenance.notes["completeness"] <= 1e-12


def test_nothing_of_the_trace_is_overwritten():
    one = run()
    layers = one.layers()
    before = [layer.residual_in.clone() for layer in layers]
    kept = run(layers=lambda: layers)
    first = attribute(kept).values
    assert torch.equal(attribute(kept).values, first)
    assert all(torch.equal(layer.residual_in, old) for layer, old in zip(layers, before, strict=True))

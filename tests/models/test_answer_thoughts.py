"""Answers of models that think first: told apart, explained in one call, and passed on through the thoughts."""

import re

import numpy as np
import pytest
import torch
from tests.methods.speakers import speaker
from tests.tracing.inputs.chatting import chatty
from tests.tracing.tiny import one_thread

import contextmix as cm
from contextmix.errors import BadInput, BadOption
from contextmix.traces.readout import Readout

TEXTS = ["Tom had a big dog. The sun was hot.", "Lily had a red ball."]
QUESTION = "Lily wanted to play with her"
REPLY = "<think> ball. She liked the red ball. </think> red ball."


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def stories() -> cm.TracedModel:
    return cm.load("demo-decoder")


@pytest.fixture(scope="module")
def found(stories) -> cm.Answer:
    return stories.explain_answer(QUESTION, TEXTS, REPLY, dependence=True)


def chatting(template: str = "chatml", marks: tuple[str, ...] = ()) -> cm.TracedModel:
    """A tiny model in float64 with a template for chats; some marks are special tokens of it."""
    tokenizer = chatty(template)
    tokenizer.add_special_tokens({"additional_special_tokens": list(marks)})
    model = speaker("llama", vocab_size=len(tokenizer), max_position_embeddings=512)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return cm.load(model, tokenizer)


def writing(model: cm.TracedModel, reply: str) -> dict:
    """Settings under which a model writes this: the further it got, the more its next token is favoured."""
    ids = [*model.tokenizer(reply, add_special_tokens=False)["input_ids"], model.tokenizer.eos_token_id]
    return {"sequence_bias": [[ids[: count + 1], 1000.0 * (count + 1)] for count in range(len(ids))]}


def test_the_answer_is_what_comes_after_the_thoughts(found):
    assert (found.text, found.thoughts) == ("red ball.", "ball. She liked the red ball.")
    assert found.prompt == "\n\n".join([*TEXTS, QUESTION])
    assert found.hops == 1
    assert [one.text for one in found.units] == ["red ball."]
    assert len(found.tokens()) == len(found.probabilities) < len(found.dependence)


def test_one_hop_longhand(stories, found):
    whole = stories.explain_generation(found.prompt, "evidence", continuation=REPLY)
    values, start = whole.values.astype(np.float64), len(whole.tokens) - len(whole.query_tokens)
    text, spans = whole.tokens.text, whole.tokens.spans
    first, last = text.index(" ball. She"), text.index(" </think>")
    answer = text.index("red ball.", last)
    thoughts = [n for n, span in enumerate(spans) if span and first <= span[0] and span[1] <= last]
    rows = [n for n, span in enumerate(spans) if span and span[1] > answer]
    place = text.index("Lily had a red ball.")
    source = [n for n, span in enumerate(spans) if span and place < span[1] and span[0] < place + 20]
    direct = relayed = stays = 0.0
    for row in rows:
        direct += sum(values[row - start, token] for token in source)
        for thought in thoughts:
            drawn, own = values[row - start, thought], values[thought - start]
            relayed += drawn * sum(own[token] for token in source) / sum(own)
            stays += drawn * sum(own[token] for token in thoughts) / sum(own)
    assert relayed > 0.1 * direct
    assert found.by("document").values[0, 1] == pytest.approx(direct + relayed, rel=1e-6)
    assert found.by("document", hops=0).values[0, 1] == pytest.approx(direct, rel=1e-6)
    assert found.elsewhere[0, 3] == pytest.approx(stays, rel=1e-6)
    total = sum(values[row - start].sum() for row in rows)
    assert found.values.sum() + found.elsewhere.sum() == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("method", ["evidence", "attention", "gradient_inputs", "norm+rollout", "occlusion"])
@pytest.mark.parametrize("hops", [1, "all"])
def test_every_kind_of_method_is_passed_on_and_nothing_is_lost(method: str, hops):
    model = chatting()
    found = model.explain_answer("Who?", ["A deep film. Bad."], "<think>Hm.</think>The film.", method=method, hops=hops)
    assert (found.text, found.thoughts) == ("The film.", "Hm.")
    rows = found.token_map.values.astype(float)[found.own]
    own = rows[[one is not None for one in found.spoken[found.own]]]
    expected = own.sum() if found.rows == "sum" else own.mean(0).sum()
    assert found.values.sum() + found.elsewhere.sum() == pytest.approx(expected, rel=1e-9)
    assert found.shares.sum() + found.shares_elsewhere.sum() == pytest.approx(1)


def test_what_the_model_writes_itself_is_told_apart_by_its_special_tokens():
    model = chatting("thoughts", ("[THINK]", "[/THINK]"))
    reply = "[THINK]It is Tom.[/THINK]Tom has it."
    found = model.explain_answer(
        "Who has it?", ["Tom has a dog."], max_new_tokens=60, generation=writing(model, reply), method="attention"
    )
    assert (found.text, found.thoughts) == ("Tom has it.", "It is Tom.")
    assert found.token_map.tokens.text.endswith("It is Tom.Tom has it."), "special tokens are no text"
    assert found.provenance.notes["answer"]["stopped"] == "its end token"
    pieces = found.token_map.tokens.pieces
    template = len(found.sources) + 1
    for mark in ("[THINK]", "[/THINK]"):
        assert found.columns[pieces.index(mark)] == template
    given = model.explain_answer("Who has it?", ["Tom has a dog."], reply, method="attention")
    assert (given.text, given.thoughts) == (found.text, found.thoughts)
    np.testing.assert_allclose(given.values, found.values, rtol=1e-6)


def test_channels_that_are_special_tokens():
    marks = ("<|channel|>", "<|message|>", "<|start|>", "<|end|>")
    model = chatting("chatml", marks)
    reply = "<|channel|>analysis<|message|>It is Tom.<|end|><|start|>assistant<|channel|>final<|message|>Tom."
    own = {"max_new_tokens": 90, "generation": writing(model, reply), "method": "attention"}
    found = model.explain_answer("Who?", ["Tom has a dog."], **own)
    assert (found.text, found.thoughts) == ("Tom.", "It is Tom.")
    given = model.explain_answer("Who?", ["Tom has a dog."], reply, method="attention")
    assert (given.text, given.thoughts) == ("Tom.", "It is Tom.")


def test_thoughts_that_never_end_are_no_answer():
    model = chatting()
    written = writing(model, "<think>On and on and on</think>Tom.")
    with pytest.raises(BadInput, match=re.escape("began to think (<think>) and had not ended when it stopped")):
        model.explain_answer("Who?", ["Tom has a dog."], max_new_tokens=12, generation=written, method="attention")
    own = {"max_new_tokens": 12, "generation": writing(model, "<think>On and on"), "method": "attention"}
    whole = model.explain_answer("Who?", ["Tom has a dog."], thoughts="none", **own)
    assert whole.text.startswith("<think>On")
    assert whole.thoughts is None


def test_a_template_that_takes_thoughts_out_of_answers_has_a_say_in_the_answer_alone():
    model = chatting("thoughts")  # as DeepSeek R1: content.split('</think>')[-1]
    found = model.explain_answer("Who?", ["Tom has a dog."], "<think>Hm.</think>Tom.", method="attention")
    assert (found.text, found.thoughts) == ("Tom.", "Hm.")
    for how in ({"thoughts": "none"}, {"thoughts": "Hm."}):
        with pytest.raises(BadInput, match="template changes the answer"):
            model.explain_answer("Who?", ["Tom has a dog."], "<think>Hm.</think>Tom.", method="attention", **how)
    earlier = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "<think>a</think>b"}]
    chat = [*earlier, {"role": "user", "content": "Who?"}]
    with pytest.raises(BadInput, match="template changes the text"):  # thoughts of earlier turns are never read
        model.explain_answer(chat, answer="Tom.", method="attention")


def test_marks_in_the_sources_are_text(stories):
    texts = ["Tom said <think> and ran. Then </think> he sat.", "Lily had a ball."]
    found = stories.explain_answer(QUESTION, texts, " ball.", method="attention")
    assert found.thoughts is None
    assert found.elsewhere.shape[1] == 3


def test_a_text_a_pattern_or_a_span_ends_them(stories):
    reply = "She has a ball. Answer: a red ball."
    for ends in ("Answer:", re.compile(r"Answ\w+:"), (0, 23)):
        found = stories.explain_answer(QUESTION, TEXTS, reply, thoughts=ends, method="attention")
        assert found.text == "a red ball."
        assert found.thoughts == ("She has a ball. Answer:" if isinstance(ends, tuple) else "She has a ball.")


def test_bad_options_are_refused_before_the_model_runs(stories, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "__call__", None)
    with pytest.raises(BadOption, match="hops='two'"):
        stories.explain_answer(QUESTION, TEXTS, hops="two")
    with pytest.raises(BadOption, match="thoughts=3"):
        stories.explain_answer(QUESTION, TEXTS, thoughts=3)


def test_ablations_keep_the_thoughts_as_they_were_written(stories, found):
    lost = stories.ablate(found)
    assert lost.values.shape == (1, 3)
    ids = torch.tensor([found.token_map.tokens.ids])
    count = len(found.tokens())
    with torch.no_grad():
        logits = stories.model(ids).logits[0].double().log_softmax(-1)
    whole = sum(float(logits[place - 1, ids[0, place]]) for place in range(ids.shape[1] - count, ids.shape[1]))
    assert np.log(found.probabilities).sum() == pytest.approx(whole, rel=1e-4)


def test_a_surrogate_starts_from_what_sources_do_beside_the_thoughts(stories, found):
    assert not np.allclose(found.values, found.by(hops=0).values)
    one, other = (stories.ablate(each, "source_surrogate", masks=6) for each in (found, found.by(hops=0)))
    np.testing.assert_array_equal(one.values, other.values)


@pytest.mark.parametrize("reach", ["direct", "all"])
def test_with_and_without_signs_the_work_is_done_once(stories, monkeypatch, reach):
    asked = {"continuation": " a red ball.", "reach": reach}
    prompt = "\n\n".join([*TEXTS, QUESTION])
    positive, signed = (stories.explain_generation(prompt, "evidence", signed=one, **asked) for one in (False, True))
    made, own = [], Readout.direction

    def counted(*arguments):
        made.append(1)
        return own(*arguments)

    monkeypatch.setattr(Readout, "direction", counted)
    found = stories.explain_answer(QUESTION, TEXTS, " a red ball.", reach=reach)
    assert len(made) == 1
    np.testing.assert_array_equal(found.token_map.values, positive.values)
    np.testing.assert_array_equal(found.signed.values, signed.values)
    assert found.signed.provenance.options["signed"] is True


def test_dependence_takes_one_run_more(stories, monkeypatch):
    runs, own = [], type(stories.model).forward

    def counted(*arguments, **more):
        runs.append(1)
        return own(*arguments, **more)

    monkeypatch.setattr(type(stories.model), "forward", counted)
    counts = []
    for asked in (False, True):
        runs.clear()
        stories.explain_answer(QUESTION, TEXTS, " a red ball.", dependence=asked)
        counts.append(len(runs))
    assert counts[1] == counts[0] + 1

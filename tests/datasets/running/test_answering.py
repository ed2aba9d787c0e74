"""A run over questions gives what `explain_answer` gives, refuses rows one by one, and goes on after any end."""

import json
import os
import re
import shutil
import signal

import numpy as np
import pytest
import torch
from tests.datasets.questions import (
    BAD,
    CHAT,
    GOOD,
    ROWS,
    TEXTS,
    answered,
    assert_same,
    assert_same_answers,
    many,
)
from tests.datasets.runs import assert_same_content, table_of
from tests.models.two_stacks import models as two_stacks
from tests.tracing.tiny import word_pieces

import contextmix as cm
from contextmix.datasets.running import work
from contextmix.datasets.running.answering import Answerer
from contextmix.errors import BadFile, BadInput, BadOption, BadRow, Interrupted, OtherRun, UnsupportedModel

SMALL = {"shard_size": 4}
CHATTY = "{% for one in messages %}{{ one['role'] }}: {{ one['content'] | replace('&', '&amp;') }}\n{% endfor %}"


@pytest.fixture(scope="module")
def stories():
    return cm.load("demo-decoder")


@pytest.fixture(scope="module")
def whole(stories, tmp_path_factory):
    """Good and bad rows, by a run that nothing interrupts."""
    return answered(ROWS, tmp_path_factory.mktemp("whole") / "out", model=stories, dependence=False, **SMALL)


@pytest.fixture
def calls(monkeypatch):
    """How many rows are worked on, without those that are tried; ``before`` is asked before each."""
    seen = {"rows": 0, "before": lambda rows: None}
    real = Answerer.measure

    def measure(self, batch):
        seen["before"](seen["rows"])
        seen["rows"] += 1
        return real(self, batch)

    monkeypatch.setattr(Answerer, "measure", measure)
    return seen


def asked_of(model, row, **more):
    return model.explain_answer(row["question"], row["context"], row.get("answer"), **{"max_new_tokens": 3, **more})


# What comes out ------------------------------------------------------------------------------------------------------


def test_thoughts_are_kept_apart_and_passed_on(stories, tmp_path):
    row = {
        "id": "thought",
        "question": "Who has a ball?",
        "context": TEXTS,
        "answer": "<think>Lily ran.</think> Lily. Tom has none.",
    }
    run = answered([row, GOOD[1]], tmp_path / "out", model=stories, hops="all")
    expected = asked_of(stories, row, hops="all")
    assert_same(run.answer("thought"), expected)
    assert expected.thoughts == "Lily ran."
    assert run.to_pandas().loc[0, "thoughts"] == expected.thoughts
    assert list(run.to_pandas().loc[0, "tokens"]) == expected.tokens()["token"].tolist()
    lines = run.lines()
    wanted = expected.to_pandas()
    assert lines[lines["id"] == "thought"]["source_text"].tolist() == wanted["source_text"].tolist()
    assert np.array_equal(lines[lines["id"] == "thought"]["direct"], wanted["direct"])
    assert lines[lines["id"] != "thought"]["source_text"].iloc[-1] == "[answer so far]"


def test_every_answer_is_the_one_that_explain_answer_gives(stories, whole):
    assert [name for name, _ in whole.answers()] == [row["id"] for row in GOOD]
    for place, (row, (_, found)) in enumerate(zip(GOOD, whole.answers(), strict=True)):
        expected = asked_of(stories, row)
        for one in (found, whole.answer(place), whole.answer(row["id"])):
            assert_same(one, expected)


def test_bad_rows_are_refused_one_by_one_and_the_run_goes_on(whole):
    failed = whole.failures()
    assert failed.problem.tolist() == [kind for _, kind in BAD]
    assert failed.id.tolist() == [row["id"] for row, _ in BAD]
    assert failed.reason.str.endswith(".").all()
    assert re.search(r"of 200 sources fit; these would be dropped: \d+ 'Tom ran\.'", failed.reason[len(GOOD) + 19])
    told = whole.summary()
    assert (told["rows"], told["results"], told["failed"], told["cut"]) == (len(ROWS), len(GOOD), len(BAD), 0)
    with pytest.raises(BadInput, match=r"Row 4 \(item 4\) has no answer\. The row has no question"):
        whole.answer("b0")


def test_the_tables_say_what_the_answers_say(stories, whole):
    rows = whole.to_pandas()
    assert rows.by.tolist() == ["given", "the model", "the model", "the model"]
    assert rows.stopped.fillna("").tolist() == ["", *["max_new_tokens"] * 3]
    assert rows.label.fillna("").tolist() == ["gold", "", "", ""]
    lines = whole.lines()
    for place, row in enumerate(GOOD):
        answer = asked_of(stories, row)
        assert rows.answer[place] == answer.text
        assert rows.probabilities[place].tolist() == list(answer.probabilities)
        assert rows.tokens[place].tolist() == list(answer.token_map.query_tokens.pieces)
        own = lines.loc[[place]].drop(columns="id").reset_index(drop=True)
        assert own.equals(answer.to_pandas())
    assert lines.id.unique().tolist() == [row["id"] for row in GOOD]


def test_options_reach_the_answer(stories, tmp_path):
    how = {"sources": "document", "units": [(0, 5)], "template": "question", "dependence": True}
    methods = {"methods": "integrated-gradients", "options": {"integrated-gradients": {"steps": 4}}}
    rows = [{"question": "Who has a ball?", "context": TEXTS, "answer": "Lily. She ran."}]
    found = answered(rows, tmp_path, model=stories, **{**how, **methods})
    expected = asked_of(stories, rows[0], method="integrated_gradients", steps=4, **how)
    assert_same(found.answer(0), expected)
    assert found.to_pandas().dependence[0].tolist() == list(expected.dependence)
    assert found.to_pandas().template[0] == "question"
    assert cm.open_run(tmp_path).settings == found.settings


def test_mixing_maps_have_no_signs(stories, tmp_path):
    found = answered(GOOD[:1], tmp_path, model=stories, methods="attention")
    assert_same(found.answer(0), asked_of(stories, GOOD[0], method="attention"))
    assert "signed" not in found.lines()


def test_a_context_that_is_too_long_is_cut_only_if_asked(stories, tmp_path):
    row = {"question": "Who ran?", "context": ["Tom ran. " * 100, "Lily ran. " * 100]}
    cut = answered([row], tmp_path, model=stories, truncate=True)
    assert cut.summary()["cut"] == 1
    answer = cut.answer(0)
    assert_same(answer, asked_of(stories, row, truncate=True))
    assert cut.to_pandas().cut[0].tolist() == [one.text for one in answer.cut] != []


def test_chats_and_a_template_that_alters_a_text(tmp_path):
    model = cm.load("demo-decoder")
    model.tokenizer.chat_template = CHATTY
    rows = [{"messages": CHAT}, {"question": "Who & why?", "context": TEXTS}, {"question": "Who?", "context": TEXTS}]
    found = answered(rows, tmp_path, model=model)
    assert found.failures().problem.tolist() == ["bad_input"]
    assert "&" in found.failures().reason[1]
    assert_same(found.answer(0), model.explain_answer(CHAT, max_new_tokens=3))
    assert_same(found.answer(2), model.explain_answer("Who?", TEXTS, max_new_tokens=3))
    model.tokenizer.chat_template = CHATTY.replace("&amp;", "and")
    with pytest.raises(OtherRun, match=r"model\.chat_template"):
        answered(rows, tmp_path, model=model)


def test_what_is_drawn_at_random_comes_out_the_same(stories, tmp_path):
    rows = [{"question": "Lily wanted to play with", "context": TEXTS}] * 3
    how = {"generation": {"do_sample": True, "temperature": 2.0}, "model": stories}
    torch.manual_seed(1)
    one = answered(rows, tmp_path / "one", **how)
    torch.manual_seed(2)
    assert_same_answers(one, answered(rows, tmp_path / "other", **how))
    assert len(set(one.to_pandas().answer)) > 1


def test_how_the_model_writes_means_nothing_to_an_answer_that_is_given(stories, tmp_path):
    found = answered(GOOD[:2], tmp_path, model=stories, generation={"num_beams": 2})
    assert_same(found.answer("given"), asked_of(stories, GOOD[0]))
    assert_same(found.answer("written"), asked_of(stories, GOOD[1], generation={"num_beams": 2}))


# Ends ----------------------------------------------------------------------------------------------------------------


def interrupted(rows):
    if rows in (2, 6):  # inside of a shard
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("part_seconds", [0.0, 30.0])
def test_sigterm_inside_of_a_shard_and_the_same_call_again(stories, tmp_path, calls, whole, monkeypatch, part_seconds):
    monkeypatch.setattr(work, "PART_SECONDS", part_seconds)
    calls["before"] = interrupted
    with pytest.raises(Interrupted, match=r"[1-9]\d* of 25 rows are saved"):
        answered(ROWS, tmp_path, model=stories, **SMALL)
    found = answered(ROWS, tmp_path, model=stories, **SMALL)
    assert_same_content(table_of(found), table_of(whole))
    assert_same_answers(found, whole)
    assert calls["rows"] == len(GOOD) + 2  # the two that only the model refuses; none twice


def test_a_process_that_dies_after_the_maps_and_before_their_rows(stories, tmp_path, calls, whole, monkeypatch):
    """Numbers of a row that was not saved lie there; those of the row that was are given out."""
    monkeypatch.setattr(work, "PART_SECONDS", 0.0)
    real = work.RunFolder.write_part

    def die(*_):
        raise ZeroDivisionError  # nothing of the package catches it, as SIGKILL

    monkeypatch.setattr(work.RunFolder, "write_part", die)
    with pytest.raises(ZeroDivisionError):
        answered(ROWS, tmp_path, model=stories, **SMALL)
    (orphan,) = (tmp_path / "maps").iterdir()
    orphan.write_bytes(orphan.read_bytes()[:-8] + b"\0" * 8)  # another draw of a model that is not the same twice
    monkeypatch.setattr(work.RunFolder, "write_part", real)
    found = answered(ROWS, tmp_path, model=stories, **SMALL)
    assert_same_content(table_of(found), table_of(whole))
    assert_same_answers(found, whole)


@pytest.mark.parametrize("damage", ["shards/00000.parquet", "maps/00000-000.safetensors"])
def test_what_was_damaged_is_noticed_and_made_anew(stories, tmp_path, calls, whole, damage):
    shutil.copytree(whole.folder.path, tmp_path / "out")
    path = tmp_path / "out" / damage
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BadFile, match=damage):
        cm.open_run(tmp_path / "out").answer(0)
    found = answered(ROWS, tmp_path / "out", model=stories, **SMALL)
    assert_same_content(table_of(found), table_of(whole))
    assert_same_answers(found, whole)
    assert calls["rows"] == 4


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sources": "word"}, r'settings\.sources: "word" now, "sentence" there'),
        ({"max_new_tokens": 4}, r"settings\.max_new_tokens: 4 now, 3 there"),
        ({"template": "question"}, r'settings\.template: "question" now, null there'),
        ({"methods": "attention"}, r"settings\.methods\.attention: \{\} now, null there"),
        ({"options": {"evidence": {"score": "logit"}}}, r"settings\.methods\.evidence\.score"),
        ({"context_field": "id"}, r'data\.fields\.context: "id" now, "context" there'),
    ],
    ids=str,
)
def test_other_settings_are_refused_and_named(stories, whole, changes, named):
    with pytest.raises(OtherRun, match=named):
        answered(ROWS, whole.folder.path, model=stories, **{**SMALL, **changes})


def test_a_run_of_texts_is_another_run(stories, tmp_path):
    cm.run([{"text": "Tom ran."}], tmp_path, model=stories, methods="norm", progress=False)
    with pytest.raises(OtherRun, match=r'settings\.task: "answer" now, null there'):
        answered(GOOD, tmp_path, model=stories)


def test_a_second_process_is_refused(stories, tmp_path, calls):
    said = []

    def second(rows):
        with pytest.raises(OtherRun, match="Another process is writing") as refusal:
            answered(GOOD, tmp_path, model=stories)
        said.append(refusal)

    calls["before"] = lambda rows: said or second(rows)
    answered(GOOD, tmp_path, model=stories)
    assert len(said) == 1


def test_a_strict_run_ends_at_the_first_bad_row_and_retries_what_failed(stories, tmp_path):
    rows = [GOOD[0], {**GOOD[1], "context": "Tom ran. " * 200}]
    with pytest.raises(BadRow, match=r"item 1 \(id 'written'\)"):
        answered(rows, tmp_path / "strict", model=stories, strict=True)
    first = answered(rows, tmp_path / "out", model=stories)
    again = answered(rows, tmp_path / "out", model=stories, retry_failed=True)
    assert_same_content(table_of(again), table_of(first))
    assert_same(again.answer(0), first.answer(0))


# What cannot be ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task": "answers"}, r"task='answers' is not one of explain, answer"),
        ({"methods": ["evidence", "attention"]}, r"explained by one method; got 2"),
        ({"options": {"globenc": {}}}, r"Got options for globenc, but answers are explained by evidence"),
        ({"sources": "chapter"}, r"A text is not cut by 'chapter'"),
        ({"words": True}, r"words=True has no effect in a run with task='answer'"),
        ({"text_field": "question"}, r"text_field='question' has no effect in a run with task='answer'"),
        ({"template": "no place"}, r"\{context\}"),
        ({"generation": {"nonsense": 1}}, r"does not write with these settings of its generation \(nonsense=1\)"),
        ({"generation": {"eos_token_id": {1, 2}}}, r"generation: a run records its settings as JSON"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused_and_leave_nothing(stories, tmp_path, options, said):
    with pytest.raises(BadOption, match=said):
        answered(GOOD, tmp_path, model=stories, **options)
    assert answered(GOOD, tmp_path, model=stories).finished


def test_options_of_answers_mean_nothing_to_a_run_of_texts(tmp_path):
    with pytest.raises(BadOption, match=r"units='word' has no effect in a run with task='explain'"):
        cm.run([{"text": "Tom ran."}], tmp_path, units="word")


def test_models_that_answer_nothing(tmp_path):
    with pytest.raises(UnsupportedModel):
        answered(GOOD, tmp_path, model="demo")
    with pytest.raises(UnsupportedModel, match="encoder–decoder"):
        answered(GOOD, tmp_path, model=cm.load(two_stacks.build("t5"), word_pieces()))


def test_each_kind_of_run_refuses_what_the_other_gives(whole, tmp_path):
    for ask in (lambda: whole.row(0), lambda: whole.map(0), whole.outcomes):
        with pytest.raises(BadOption, match=r"answered questions and did not explain texts"):
            ask()
    scores = cm.run([{"text": "Tom ran."}], tmp_path, progress=False)
    for ask in (lambda: scores.answer(0), scores.answers, scores.lines):
        with pytest.raises(BadOption, match=r"explained texts and did not answer questions"):
            ask()


def test_a_manifest_that_was_changed(whole, tmp_path):
    shutil.copytree(whole.folder.path, tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    for name, value in {"methods": {}, "sources": None, "truncate": 1, "units": "chapter", "shard_size": 0}.items():
        document = json.loads((whole.folder.path / "manifest.json").read_text())
        document["settings"][name] = value
        path.write_text(json.dumps(document))
        with pytest.raises(BadFile, match=r"manifest"):
            cm.open_run(tmp_path / "out")


@pytest.mark.campaign
def test_two_processes_give_what_one_gives(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in many(24)))
    one, two = (answered(path, tmp_path / str(count), workers=count, **SMALL) for count in (1, 2))
    assert_same_content(table_of(one), table_of(two))
    assert_same_answers(one, two)

"""What the built-in model that answers questions learns from: stories, questions with one answer, rows of a batch."""

import random
from dataclasses import replace

import pytest
import torch
from scripts.demo_answers.kinds import KINDS, slots
from scripts.demo_answers.reader import make_tokenizer
from scripts.demo_answers.stories import THINK, UNKNOWN, Story, some_questions
from scripts.demo_answers.training import HALFWAY, STAGES, batches, loss_of, make_model, optimizers, row_of, tensors


def drawn(count: int, size: int = 9, crowded: float = 0.0) -> list[Story]:
    return [Story(random.Random(seed), size, crowded_share=crowded) for seed in range(count)]


@pytest.fixture(scope="module")
def reader():
    return make_tokenizer(0, stories=400)


def test_the_same_seed_tells_the_same_story_in_so_many_sentences():
    for size in (2, 3, 10):
        one, same, other = (Story(random.Random(seed), size) for seed in (5, 5, 6))
        assert one.text == same.text != other.text
        assert len(one.sentences) == size
        assert 1 <= len(one.texts) <= 4


def test_an_answer_rests_on_sentences_of_the_story_and_an_unknown_one_on_none():
    kinds = set()
    for story in drawn(200):
        for asked in some_questions(story, 8):
            kinds.add(asked.kind)
            assert set(asked.gold) <= set(story.sentences)
            assert len(asked.gold) == {"one-hop": 1, "unknown": 0}.get(asked.kind, 2)
            assert (asked.answer == UNKNOWN) == (asked.kind == "unknown")
            assert asked.kind != "one-hop" or asked.answer == asked.gold[0]
            assert "{" not in asked.question + asked.answer
    assert kinds == {"one-hop", "two-hop told", "two-hop silent", "unknown"}


@pytest.mark.parametrize("crowded", [0.0, 1.0])
def test_no_question_has_two_answers(crowded):
    for story in drawn(300, crowded=crowded):
        answers: dict[str, set[str]] = {}
        for asked in (one for group in story.questions().values() for one in group):
            answers.setdefault(asked.question, set()).add(asked.answer)
        assert {question: found for question, found in answers.items() if len(found) > 1} == {}


def test_a_crowded_story_holds_rivals_alone():
    for story in drawn(100, size=8, crowded=1.0):
        kinds = [fact.kind for fact in story.facts]
        assert len(story.sentences) == len(kinds) == 8
        assert len(set(kinds)) == 2
        assert all(kinds.count(kind) <= 5 for kind in kinds)


def test_a_chain_told_again_leaves_a_silent_question_several_ends():
    for seed in range(50):
        story = Story(random.Random(seed), 8, crowded_share=1.0, chained_share=1.0)
        origins = {fact.kind for fact in story.facts} - {story.facts[0].kind}
        assert len(origins) == 1
        assert len(story.questions()["two-hop silent"]) >= 2
        assert sum(fact.kind in origins for fact in story.facts) >= 2


def test_silent_questions_come_first_where_they_weigh_most():
    story = Story(random.Random(0), 8, crowded_share=1.0, chained_share=1.0)
    count = len(story.questions()["two-hop silent"])
    asked = some_questions(story, count, silent=10**9)
    assert [one.kind for one in asked] == ["two-hop silent"] * count


def test_what_the_origin_alone_says_is_the_end_of_a_silent_answer():
    """The relay has none of it: a model that reads one sentence alone cannot be right."""
    for story in drawn(200):
        for asked in story.questions().get("two-hop silent", []):
            relay, origin = asked.gold
            last = asked.answer.rstrip(".").split()[-1]
            assert last in origin.rstrip(".").split()
            assert last not in relay.rstrip(".").split()


@pytest.mark.parametrize("kind", KINDS)
def test_questions_know_no_slot_that_the_fact_lacks(kind):
    told = KINDS[kind].told
    assert len({frozenset(slots(text)) for text in told}) == 1
    assert all(set(slots(question)) < set(slots(told[0])) for question in KINDS[kind].asked)


def test_a_word_is_one_token_wherever_it_stands(reader):
    first, inside, behind = (reader.tokenize(text) for text in ("Lily sat.", "The Lily sat.", "A cat.\n\nLily sat."))
    assert first[0] == inside[1] == behind[-3] == "▁Lily"
    assert reader.tokenize("<think>") == ["<think>"]


@pytest.mark.parametrize("text", ["Lily has 25 coins.\n\nWho?", "Ünïcödé, 🦄 & 3.14!", "a_b <0x41> $x"])
def test_decoding_gives_any_text_back(reader, text):
    assert reader.decode(reader(text)["input_ids"]) == text
    assert reader.unk_token_id not in reader(text)["input_ids"]


def test_a_question_sees_the_story_and_itself_alone(reader):
    story = Story(random.Random(0), 3)
    row = row_of(reader, story, [("Who?", "Tom."), ("Where?", "Here.")])
    _, positions, mask, weights = tensors([row])
    blocks = torch.tensor(row.blocks)
    seen = mask[0, 0] == 0
    second = blocks == 2
    assert not seen[second][:, blocks == 1].any()
    assert seen[second][:, blocks == 0].all()
    assert not seen.triu(1).any()
    starts = [int(positions[0][blocks == block][0]) for block in (1, 2)]
    assert starts == [int((blocks == 0).sum())] * 2
    assert (weights == 1).sum() == sum(len(reader(f"{one}</s>")["input_ids"]) for one in ("Tom.", "Here."))


def test_a_row_is_what_the_template_writes(reader):
    story = Story(random.Random(1), 4)
    asked = some_questions(story, 1)[0]
    for thinks in (False, True):
        said = asked.thoughts if thinks else asked.answer
        row = row_of(reader, story, [(asked.question + THINK * thinks, said)])
        chat = [
            {"role": "user", "content": f"{story.text}\n\n{asked.question}"},
            {"role": "assistant", "content": said},
        ]
        wanted = reader.apply_chat_template(
            chat[:1], tokenize=False, add_generation_prompt=True, enable_thinking=thinks
        )
        assert row.ids == reader(wanted + said + "</s>", add_special_tokens=False)["input_ids"]


def test_the_loss_falls(reader):
    torch.manual_seed(0)
    model, course = make_model(), replace(STAGES[0], steps=12, batch=4, asked=2)
    rows = next(batches(reader, course, seed=0))
    both = optimizers(model, course)
    losses = []
    for _ in range(course.steps):
        loss = loss_of(model, rows)
        losses.append(loss.item())
        loss.backward()
        for one in both:
            one.step()
            one.zero_grad()
    assert losses[-1] < 0.7 * losses[0]


def test_a_silent_answer_alone_is_asked_for_the_word_between_its_facts(reader):
    story = Story(random.Random(3), 8, odd_share=0.0, crowded_share=1.0, chained_share=1.0)
    groups = story.questions()
    asked = [groups["two-hop silent"][0], groups["one-hop"][0]]
    row = row_of(reader, story, [(one.question, one.answer) for one in asked], between=[one.between for one in asked])
    relay, origin = asked[0].gold
    assert asked[0].between in relay
    assert asked[0].between in origin
    assert asked[0].between not in asked[0].question + asked[0].answer
    known = {reader.convert_ids_to_tokens(one) for one in row.between if one >= 0}
    assert known == {f"▁{asked[0].between}"}
    blocks = [block for block, one in zip(row.blocks, row.between, strict=True) if one >= 0]
    assert blocks == [1] * len(reader(f"{asked[0].answer}</s>")["input_ids"])


def test_the_second_loss_falls_and_leaves_the_last_layers_alone(reader):
    torch.manual_seed(0)
    model, course = make_model(), replace(STAGES[-1], steps=1, batch=4, asked=4)
    rows = next(batches(reader, course, seed=0))
    reads = torch.nn.Linear(model.config.hidden_size, model.config.hidden_size, bias=False)
    plain, both = loss_of(model, rows), loss_of(model, rows, 0.5, reads)
    assert both > plain
    (both - plain).backward()
    assert reads.weight.grad.abs().max() > 0
    grads = [layer.mlp.down_proj.weight.grad.abs().max().item() for layer in model.model.layers]
    assert max(grads[HALFWAY:]) < 1e-3 * min(grads[:HALFWAY])

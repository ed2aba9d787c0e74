"""The training: one story, and behind it questions that each see the story and nothing of each other."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from scripts.demo_answers.reader import LONGEST, PIECES
from scripts.demo_answers.stories import THINK, Asked, Story, some_questions
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LONGEST_STORY = 10
HALFWAY = 4
"""Of six layers: two are left for the second step."""


@dataclass(frozen=True)
class Course:
    """How long, how fast, how much at once.

    Attributes:
        steps: How many batches.
        batch: Stories in one.
        asked: Questions about each.
        rate: Of learning, at its height.
        warm_up: Steps until then.
        down: The share of the steps, at the end, in which the rate falls to nothing.
        first: The longest stories at first, in sentences.
        easy: The steps in which they grow to `LONGEST_STORY`.
        story: The weight in the loss of a token of the story or of a question; one of an answer or a thought weighs 1.
        crowded: The share of stories that hold nothing but rivals.
        chained: The share of those that are one chain, many times.
        silent: The weight of two-hop silent questions; one-hop ones weigh 9.
        thoughtful: The share of questions that ask to think first.
        halfway: The weight of a second loss: after layer `HALFWAY`, the states of a silent answer have to know the word
            that leads from one fact to the other.
    """

    steps: int
    batch: int
    asked: int
    rate: float
    warm_up: int
    down: float
    first: int
    easy: int
    story: float
    crowded: float = 0.0
    chained: float = 0.6
    silent: int = 6
    thoughtful: float = 0.25
    halfway: float = 0.0


TWO_STEPS: dict[str, Any] = {
    **{"batch": 16, "asked": 8, "rate": 2e-3, "warm_up": 20, "first": 10, "easy": 1, "story": 0.0},
    **{"crowded": 0.75, "chained": 0.9, "silent": 30, "thoughtful": 0.1},
}
STAGES = (
    Course(1000, batch=16, asked=6, rate=4e-3, warm_up=60, down=0.0, first=3, easy=500, story=0.1),
    Course(2000, batch=8, asked=8, rate=1e-3, warm_up=20, down=0.0, first=4, easy=1, story=0.0),
    Course(3000, batch=16, asked=8, rate=2e-3, warm_up=20, down=0.6, first=8, easy=300, story=0.0),
    Course(1000, batch=16, asked=8, rate=1.5e-3, warm_up=20, down=0.0, first=10, easy=1, story=0.0, crowded=0.6),
    Course(300, **TWO_STEPS, down=0.0),
    Course(1000, **TWO_STEPS, down=0.6, halfway=0.5),
)
"""First the language; then answers alone: what a story says next cannot be known, and is noise to them. Stories of
rivals alone taught one step and not two: after 1,000 steps of them silent answers were as they had been, and 300 steps
with more of those did not lower the loss. With the second loss the second step came within 300. The fourth stage was
stopped when its rate had fallen to four fifths."""


@dataclass(frozen=True)
class Row:
    """A story and its questions.

    Attributes:
        ids: Of all tokens.
        positions: Of each; a question begins where the story ends.
        blocks: 0 is the story, then a number for each question.
        weights: Of what each id predicts.
        between: At each token of a silent answer the id that begins the word between its two facts, else -1.
    """

    ids: list[int]
    positions: list[int]
    blocks: list[int]
    weights: list[float]
    between: list[int]


def make_model() -> LlamaForCausalLM:
    """Untrained."""
    config = LlamaConfig(
        vocab_size=PIECES,
        hidden_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=320,
        max_position_embeddings=LONGEST,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=None,
        attn_implementation="eager",  # twice as fast as the fused one for rows this short
    )
    return LlamaForCausalLM(config)


def row_of(
    reader: PreTrainedTokenizerFast,
    story: Story,
    asked: list[tuple[str, str]],
    weight: float = 0.0,
    between: list[str] | None = None,
) -> Row:
    """One row of a batch.

    Args:
        reader: The tokenizer.
        story: The story.
        asked: Questions and what is to be written.
        weight: In the loss, of a token of the story or of a question.
        between: For each question the word between two facts that a silent answer leaves out, or nothing.
    """
    texts = [f"<s><|user|>{story.text}\n\n"]
    for question, answer in asked:
        texts += [f"{question}</s><|assistant|>\n", f"{answer}</s>"]
    parts = reader(texts, add_special_tokens=False)["input_ids"]
    ids, weights = list(parts[0]), [weight] * len(parts[0])
    positions, blocks = list(range(len(ids))), [0] * len(ids)
    start = len(ids)
    weights[-1] = 0.0  # what follows is several things
    hidden = [-1] * len(ids)
    words = between or [""] * len(asked)
    for block, (question, answer, word) in enumerate(zip(parts[1::2], parts[2::2], words, strict=True), start=1):
        own = question + answer
        ids += own
        positions += range(start, start + len(own))
        blocks += [block] * len(own)
        weights += [weight] * (len(question) - 1) + [1.0] * len(answer) + [0.0]
        first = reader(word, add_special_tokens=False)["input_ids"][0] if word else -1
        hidden += [-1] * (len(question) - 1) + [first] * len(answer) + [-1]
    return Row(ids, positions, blocks, weights, hidden)


def batches(reader: PreTrainedTokenizerFast, course: Course, seed: int) -> Iterator[list[Row]]:
    """Batches of rows of about the same length, drawn 32 batches at a time."""
    chance = random.Random(f"stories {seed}")
    done = 0
    while done < course.steps:
        longest = course.first + (LONGEST_STORY - course.first) * min(1.0, done / course.easy)
        rows = []
        for _ in range(32 * course.batch):
            size = chance.randint(2 if longest < 8 else 3, round(longest))
            story = Story(chance, size, crowded_share=course.crowded, chained_share=course.chained)
            asked = some_questions(story, course.asked, course.silent)
            thinks = [chance.random() < course.thoughtful for _ in asked]
            pairs = [_pair(one, first) for one, first in zip(asked, thinks, strict=True)]
            between = ["" if first else one.between for one, first in zip(asked, thinks, strict=True)]
            rows.append(row_of(reader, story, pairs, course.story, between))
        rows.sort(key=lambda row: len(row.ids))
        found = [rows[start : start + course.batch] for start in range(0, len(rows), course.batch)]
        chance.shuffle(found)
        yield from found[: course.steps - done]
        done += 32


def _pair(one: Asked, thinks: bool) -> tuple[str, str]:
    return (one.question + THINK, one.thoughts) if thinks else (one.question, one.answer)


def tensors(rows: list[Row]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, positions, the mask that is added to attention scores, and weights."""
    size = max(len(row.ids) for row in rows)

    def padded(values: list[list[int]] | list[list[float]], fill: float) -> torch.Tensor:
        return torch.tensor([[*one, *[fill] * (size - len(one))] for one in values])

    ids = padded([row.ids for row in rows], 2).long()
    blocks = padded([row.blocks for row in rows], -1).long()
    same = (blocks[:, :, None] == blocks[:, None, :]) | (blocks[:, None, :] == 0)
    seen = same & torch.ones(size, size, dtype=torch.bool).tril()
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.bfloat16).min)[:, None]
    return ids, padded([row.positions for row in rows], 0).long(), mask, padded([row.weights for row in rows], 0.0)


def loss_of(
    model: LlamaForCausalLM, rows: list[Row], halfway: float = 0.0, reads: torch.nn.Linear | None = None
) -> torch.Tensor:
    """Weighted cross entropy.

    Args:
        model: The model.
        rows: One batch.
        halfway: The weight of the second loss.
        reads: What it reads the states after layer `HALFWAY` with; no part of the model.
    """
    ids, positions, mask, weights = tensors(rows)
    row = {"input_ids": ids, "position_ids": positions, "attention_mask": mask, "use_cache": False}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model.model(**row, output_hidden_states=reads is not None)
        kept = weights[:, :-1] > 0
        logits = model.lm_head(out.last_hidden_state[:, :-1][kept])
    losses = cross_entropy(logits.float(), ids[:, 1:][kept], reduction="none")
    own = weights[:, :-1][kept]
    loss = (losses * own).sum() / own.sum()
    return loss if reads is None else loss + halfway * _second_loss(model, rows, out.hidden_states[HALFWAY], reads)


def _second_loss(
    model: LlamaForCausalLM, rows: list[Row], states: torch.Tensor, reads: torch.nn.Linear
) -> torch.Tensor:
    """Cross entropy of the word between two facts, wherever a silent answer is written."""
    wanted = torch.full(states.shape[:2], -1)
    for place, row in enumerate(rows):
        wanted[place, : len(row.between)] = torch.tensor(row.between)
    asked = wanted >= 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model.lm_head(reads(model.model.norm(states[asked])))
    return cross_entropy(logits.float(), wanted[asked], reduction="sum") / max(1, int(asked.sum()))


def rate_at(step: int, course: Course) -> float:
    """Up, level, and down in a straight line, as a part of the rate."""
    falling = (course.steps - step) / (course.down * course.steps) if course.down else 1.0
    return min(1.0, (step + 1) / course.warm_up, falling)


def optimizers(model: LlamaForCausalLM, course: Course) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings and norms."""
    inside = [one for one in model.model.layers.parameters() if one.ndim == 2]
    rest = [one for one in model.parameters() if not any(one is other for other in inside)]
    muon = torch.optim.Muon(inside, lr=course.rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, lr=course.rate, betas=(0.9, 0.98), weight_decay=0.0)]


def train(model: LlamaForCausalLM, reader: PreTrainedTokenizerFast, course: Course, seed: int) -> None:
    """Train.

    Args:
        model: Changed in place.
        reader: Its tokenizer.
        course: How.
        seed: Of the stories.
    """
    both = optimizers(model, course)
    reads = torch.nn.Linear(model.config.hidden_size, model.config.hidden_size, bias=False) if course.halfway else None
    if reads is not None:
        torch.nn.init.eye_(reads.weight)
        both[1].add_param_group({"params": list(reads.parameters())})
    started, seen, shown = time.monotonic(), 0, []
    for step, rows in enumerate(batches(reader, course, seed)):
        loss = loss_of(model, rows, course.halfway, reads)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in both:
            for group in optimizer.param_groups:
                group["lr"] = course.rate * rate_at(step, course)
            optimizer.step()
            optimizer.zero_grad()
        seen += sum(len(row.ids) for row in rows)
        shown.append(loss.item())
        if step % 50 == 49:
            spent, mean = time.monotonic() - started, sum(shown) / len(shown)
            print(f"step {step + 1}: loss {mean:.3f}, {seen / 1e6:.1f} M tokens, {spent:.0f} s", flush=True)
            shown = []

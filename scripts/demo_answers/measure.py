"""How often the model is right about stories that it has not seen: the whole answer, to the letter."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator

import torch
from scripts.demo_answers.stories import THINK, Story, some_questions
from scripts.demo_answers.training import row_of, tensors
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

HELD_OUT = "held out"
"""Begins the seed of stories that training never draws from."""


def exact_matches(
    model: LlamaForCausalLM,
    reader: PreTrainedTokenizerFast,
    *,
    thinks: bool = False,
    odd_share: float = 0.0,
    crowded_share: float = 0.0,
    sizes: tuple[int, int] = (3, 10),
    stories: int = 400,
) -> dict[str, list[bool]]:
    """For each kind of question, whether each answer is what the model writes, token by token, up to its end.

    An answer is what a model writes greedily if and only if each of its tokens is the likeliest behind those before it:
    one run tells.

    Args:
        model: The model.
        reader: Its tokenizer.
        thinks: Whether it is told to think first; the thoughts have to be right as well.
        odd_share: The share of stories with made-up words.
        crowded_share: The share of stories that hold nothing but rivals.
        sizes: The fewest and the most sentences.
        stories: How many.
    """
    chance = random.Random(f"{HELD_OUT} {odd_share} {sizes}")
    found: dict[str, list[bool]] = defaultdict(list)
    for _ in range(stories // 16):
        rows, kinds = [], []
        for _ in range(16):
            story = Story(chance, chance.randint(*sizes), odd_share, crowded_share)
            asked = some_questions(story, 6)
            pairs = [(one.question + THINK, one.thoughts) if thinks else (one.question, one.answer) for one in asked]
            rows.append(row_of(reader, story, pairs))
            kinds.append([one.kind for one in asked])
        for own, right in zip(kinds, _right(model, rows), strict=True):
            for kind, one in zip(own, right, strict=True):
                found[kind].append(one)
    return dict(found)


@torch.no_grad()
def _right(model: LlamaForCausalLM, rows: list) -> Iterator[list[bool]]:
    """For each row and question, whether all tokens of the answer are the likeliest."""
    ids, positions, mask, weights = tensors(rows)
    logits = model(input_ids=ids, position_ids=positions, attention_mask=mask.float(), use_cache=False).logits
    hit = (logits[:, :-1].argmax(-1) == ids[:, 1:]) | (weights[:, :-1] < 1)
    for row, own in zip(rows, hit, strict=True):
        blocks = torch.tensor(row.blocks)
        yield [bool(own[: len(blocks) - 1][blocks[:-1] == block].all()) for block in range(1, max(row.blocks) + 1)]


def shares(found: dict[str, list[bool]]) -> dict[str, tuple[float, int]]:
    """Kind → share of right answers, number of questions."""
    return {kind: (sum(one) / len(one), len(one)) for kind, one in sorted(found.items())}

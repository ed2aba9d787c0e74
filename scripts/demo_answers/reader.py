"""The tokenizer: byte pairs learned on stories, bytes for all else, one form of a word wherever it stands."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from scripts.demo_answers.stories import THINK, Story, some_questions
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PIECES = 1536
LONGEST = 256
MARKS = ["<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
THOUGHTS = ["<think>", "</think>"]
TEMPLATE = (
    "{{ bos_token }}{% for one in messages %}{{ '<|' + one.role + '|>' + one.content }}"
    "{% if loop.last and one.role == 'user' and enable_thinking is defined and enable_thinking %}"
    "{{ '" + THINK + "' }}{% endif %}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def make_tokenizer(seed: int, stories: int = 20_000) -> PreTrainedTokenizerFast:
    """Learn the pieces.

    Each word begins with a mark for the space before it, at the beginning of a text too: an answer that begins with
    "Lily" then copies the very token that stands in the middle of the story.
    """
    raw = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    splits = [
        pre_tokenizers.Split(Regex(r"\n+"), "merged_with_previous"),
        pre_tokenizers.Metaspace(prepend_scheme="always"),
        pre_tokenizers.Split(Regex(r"\n|[^\s▁\p{L}\p{N}]|\p{N}"), "isolated"),
    ]
    raw.pre_tokenizer = pre_tokenizers.Sequence(splits)
    raw.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace("\n ", "\n"),
            decoders.Strip(" ", 1, 0),
        ]
    )
    alphabet = ["▁", "\n", *map(chr, range(33, 127))]
    fallback = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES - len(THOUGHTS),
        special_tokens=[*MARKS, *fallback],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    raw.train_from_iterator(_texts(seed, stories), trainer)
    found = PreTrainedTokenizerFast(
        tokenizer_object=_without_special_bytes(raw, fallback),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="</s>",
        model_max_length=LONGEST,
        extra_special_tokens=MARKS[3:],
        chat_template=TEMPLATE,
    )
    found.add_tokens([AddedToken(one, special=False, normalized=False) for one in THOUGHTS])
    return found


def _without_special_bytes(raw: Tokenizer, fallback: list[str]) -> Tokenizer:
    """The bytes are pieces like others: a text that spells one out is no byte."""
    import json

    told = json.loads(raw.to_str())
    told["added_tokens"] = [one for one in told["added_tokens"] if one["content"] not in fallback]
    return Tokenizer.from_str(json.dumps(told))


def _texts(seed: int, stories: int) -> Iterator[str]:
    chance = random.Random(f"words {seed}")
    for _ in range(stories):
        story = Story(chance, chance.randint(3, 10), odd_share=0.2)
        yield from story.texts
        for asked in some_questions(story, 4):
            yield asked.question + THINK * (chance.random() < 0.1)
            yield asked.answer


def write_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """In the format of Hugging Face."""
    tokenizer.save_pretrained(folder)

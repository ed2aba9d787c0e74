"""The tokenizer: byte pairs learned on stories, bytes for all else, one form of a word wherever it stands."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from scripts.demo_answers.stories import THINK, Story, some_questions
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PIECES = 1536
LONGEST = 256
MARKS = ["<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
THOUGHTS = ["<think>", "</think>"]
ANSWERS = "<|assistant|>"
TEMPLATE = (
    "{{ bos_token }}{% for one in messages %}{{ '<|' + one.role + '|>' + ('\\n' if one.role == 'assistant' else '') }}"
    "{{ one.content }}"
    "{% if loop.last and one.role == 'user' and enable_thinking is defined and enable_thinking %}"
    "{{ '" + THINK + "' }}{% endif %}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
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
            decoders.Replace("<think>", "<think>\n"),
            decoders.Replace("</think>", "\n</think>\n\n"),
            decoders.Replace(ANSWERS, f"{ANSWERS}\n"),
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
        tokenizer_object=_with_plain_marks(raw, fallback),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="</s>",
        model_max_length=LONGEST,
        extra_special_tokens=[one for one in MARKS[3:] if one != ANSWERS],
        chat_template=TEMPLATE,
    )
    marks = [
        AddedToken(one, special=False, normalized=False, lstrip=one == "</think>", rstrip=True) for one in THOUGHTS
    ]
    found.add_tokens(marks)
    return found


def _with_plain_marks(raw: Tokenizer, fallback: list[str]) -> Tokenizer:
    """The bytes are pieces like others: a text that spells one out is no byte.

    What begins an answer is no special token, so that decoders see it: no space comes behind it. It swallows its line
    break, as the marks of thoughts do.
    """
    told = json.loads(raw.to_str())
    told["added_tokens"] = [one for one in told["added_tokens"] if one["content"] not in fallback]
    for one in told["added_tokens"]:
        if one["content"] == ANSWERS:
            one |= {"special": False, "rstrip": True}
    return Tokenizer.from_str(json.dumps(told))


def _texts(seed: int, stories: int) -> Iterator[str]:
    chance = random.Random(f"words {seed}")
    for _ in range(stories):
        story = Story(chance, chance.randint(3, 10), odd_share=0.2)
        yield from story.texts
        for asked in some_questions(story, 4):
            yield asked.question + THINK * (chance.random() < 0.1)
            yield asked.answer

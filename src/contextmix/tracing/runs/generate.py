"""A prompt and what follows it: what the model says by itself, or what a user wants explained instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from contextmix.errors import BadInput, BadOption, NotInVocabulary
from contextmix.maths.kept import kept
from contextmix.maths.whole import plain, whole_number
from contextmix.tokens.pieces import Tokens
from contextmix.tokens.places import placed, where
from contextmix.traces.meaning import Meaning, probabilities
from contextmix.tracing.inputs.encode import Inputs, stacked, token_axis
from contextmix.tracing.inputs.probe import vocabulary
from contextmix.tracing.inputs.targets import texts_of
from contextmix.tracing.inputs.texts import encode
from contextmix.tracing.recording.quiet import has_images, on_device, quiet_run
from contextmix.tracing.runs.own_generate import Written, own_writing

Continuation = str | Sequence[int]
"""What is explained in place of what the model would say: a text that goes on where the prompt ends, or token ids."""


@dataclass(frozen=True)
class Generated:
    """A prompt and what follows it.

    Attributes:
        inputs: Both together, labelled.
        start: The position of the first new token.
        greedy: Whether the model chose the new tokens, each the likeliest one.
        scores: Gives the logits of the rows that said the new tokens, (new token, class); asked once.
        settings: How the model was asked to choose them; nothing where they were given.
        left_out: What its own configuration says of that and was not followed.
    """

    inputs: Inputs
    start: int
    greedy: bool
    scores: Callable[[], Tensor]
    settings: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, Any] = field(default_factory=dict)

    @kept
    def _chances(self) -> tuple[tuple[float, ...], tuple[int, ...]]:
        scores = self.scores().double()
        new = self.inputs.tensors["input_ids"][self.start :].to(scores.device).unsqueeze(-1)
        own = probabilities(scores, Meaning.ONE_OF).gather(-1, new)[:, 0]
        return tuple(own.tolist()), tuple(scores.scatter(-1, new, -torch.inf).argmax(-1).tolist())

    @property
    def probabilities(self) -> tuple[float, ...]:
        """What the model gave each new token."""
        return self._chances[0]

    @property
    def runners_up(self) -> tuple[int, ...]:
        """For each new token the most probable other one."""
        return self._chances[1]

    @property
    def tokens(self) -> Tokens:
        """The labels of all tokens."""
        assert self.inputs.tokens is not None
        return self.inputs.tokens

    @property
    def new(self) -> Tokens:
        """The labels of the new tokens."""
        return self.tokens.part(slice(self.start, None))


@dataclass(frozen=True)
class Speaker:
    """A causal language model that goes on with a text.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer, or None.
        limit: The most tokens that it reads; None for no limit.
        add_special_tokens: How its prompts are read; see `contextmix.tracing.inputs.texts.encode`.
    """

    model: PreTrainedModel
    tokenizer: Any
    limit: int | None
    add_special_tokens: bool | None = None

    def goes_on(
        self,
        prompt: Inputs,
        max_new_tokens: int,
        continuation: Continuation | None,
        settings: Mapping[str, Any] | None = None,
    ) -> Generated:
        """A prompt with what the model, or the user, goes on with.

        Args:
            prompt: One sequence of token ids.
            max_new_tokens: How many tokens the model may say; it stops earlier at its end token.
            continuation: What to explain instead.
            settings: Of the model's generation; see `own_writing`.

        Raises:
            BadInput: If the prompt is no token ids, or the continuation is empty or merges with the prompt.
            BadOption: If the tokens do not fit into the model's context, or none is asked for.
            NotInVocabulary: If an id does not exist.
        """
        pictured = has_images(prompt.tensors) and "input_ids" in prompt.tensors
        plain_ids = pictured or set(prompt.tensors) == {"input_ids"}
        if prompt.tokens is None or prompt.tokens.ids is None or not plain_ids:
            raise BadInput(
                f"A generation goes on from token ids alone, and the prompt holds {', '.join(sorted(prompt.tensors))}. "
                "Give a text, or {'input_ids': …}."
            )
        start = len(prompt.tokens)
        new = None if continuation is None else self._given(prompt.tokens, continuation)
        self._refuse_count(max_new_tokens if new is None else len(new), start)
        done = Written([])
        if new is None:
            done = self._own(prompt, max_new_tokens, settings)
            new = done.ids
        elif settings:
            raise BadOption("What follows is given, so nothing is generated, and generation settings have no effect.")
        inputs = longer(self.model, self.tokenizer, prompt, new)
        how = done.settings
        greedy = continuation is None and not how.get("do_sample") and how.get("num_beams") == 1
        return Generated(inputs, start, greedy, partial(self._scores, inputs, len(new)), how, done.left_out)

    def _own(self, prompt: Inputs, count: int, settings: Mapping[str, Any] | None) -> Written:
        """What the model says by itself after the prompt, and how it was asked to; see `own_writing`."""
        read, ids = on_device(self.model, stacked([prompt])), prompt.tensors["input_ids"]
        found = own_writing(self.model, read, count, settings)
        if found.ids[: len(ids)] != ids.tolist() or len(found.ids) == len(ids):
            raise BadInput(
                f"{type(self.model).__name__} gave no tokens that follow the prompt. Say with continuation=… what it "
                "wrote."
            )
        return replace(found, ids=found.ids[len(ids) :])

    def _given(self, prompt: Tokens, continuation: Continuation) -> list[int]:
        """The ids of what the user wants explained."""
        if isinstance(continuation, str):
            new = self._following(prompt, continuation)
        else:
            new = _ids(continuation)
            known = self.model.get_output_embeddings().weight.shape[0]  # type: ignore[no-untyped-call]
            for number in new:
                if not 0 <= number < known:
                    raise NotInVocabulary(number, known)
        if not new:
            raise BadInput("The continuation holds no token, so there is nothing to explain.")
        return new

    def _following(self, prompt: Tokens, continuation: str) -> list[int]:
        """The ids of a text that goes on where the prompt ends."""
        if prompt.text is None or self.tokenizer is None:
            raise BadInput(
                "The continuation is a text and the prompt is token ids, so nobody knows how they join. Give both as "
                "texts, or both as ids."
            )
        how: dict[str, Any] = {"add_special_tokens": self.add_special_tokens, "known": vocabulary(self.model)}
        both = encode(self.tokenizer, prompt.text + continuation, None, **how).tokens
        ids, own = both.ids if both else None, prompt.ids
        if ids is None or own is None or ids[: len(own)] != own:
            raise BadInput(
                f"The continuation {continuation!r} changes the last tokens of the prompt, so it does not follow them. "
                "Begin it with a space, end the prompt elsewhere, or give token ids."
            )
        return list(ids[len(own) :])

    def _refuse_count(self, count: int, start: int) -> None:
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise BadOption(f"max_new_tokens={count!r} would say nothing; it is a number of tokens, at least 1.")
        room = None if self.limit is None else self.limit - start + 1  # the last new token need not be read
        if room is not None and count > room:
            raise BadOption(
                f"{count} new tokens after a prompt of {start} do not fit: the model reads at most {self.limit} "
                f"tokens. Take at most {room}, or a shorter prompt."
            )

    def _scores(self, inputs: Inputs, count: int) -> Tensor:
        """The logits of the rows that say the last tokens, (count, class)."""
        last = inputs.length - 1
        axes = {name: token_axis(name, value, inputs.length) for name, value in inputs.tensors.items()}
        read = {
            name: value if (axis := axes[name]) is None else value.narrow(axis, 0, last)
            for name, value in inputs.tensors.items()
        }
        outputs = quiet_run(self.model, on_device(self.model, stacked([Inputs(None, read, last)])), last_logits=count)
        found: Tensor = outputs.logits[0, -count:]
        return found


def longer(model: PreTrainedModel, tokenizer: Any, prompt: Inputs, new: Sequence[int]) -> Inputs:
    """A prompt and new tokens as one input.

    What a model with images reads of each token goes on as the model's own ``generate`` lets it go on.

    Args:
        model: The model.
        tokenizer: Hugging Face's, or None.
        prompt: With labels and ids.
        new: The ids of the new tokens.
    """
    assert prompt.tokens is not None
    assert prompt.tokens.ids is not None
    whole: Any = model
    kinds = {name: value[None] for name, value in prompt.tensors.items() if name.endswith("token_type_ids")}
    for _ in new if kinds else ():
        kinds = whole._update_model_kwargs_for_generation({}, kinds, num_new_tokens=1)
    own = {name: value[0] for name, value in kinds.items()}
    ids = torch.tensor([*prompt.tokens.ids, *new])
    tokens = labelled(tokenizer, prompt.tokens, new)
    return Inputs(tokens, {**prompt.tensors, **own, "input_ids": ids}, len(ids), notes=prompt.notes)


def labelled(tokenizer: Any, prompt: Tokens, new: Sequence[int]) -> Tokens:
    """Prompt and new tokens with the labels that their text would have.

    Where the tokenizer cuts that text into the very same tokens, they are its labels, words and spans included;
    elsewhere the new tokens are spelled one by one.

    Args:
        tokenizer: Hugging Face's, or None.
        prompt: The labels of the prompt, with ids.
        new: The ids of the new tokens.
    """
    assert prompt.ids is not None
    ids = (*prompt.ids, *new)
    said = None if prompt.text is None or tokenizer is None else _said(tokenizer, prompt.ids, new)
    if said is not None:
        tokens = encode(tokenizer, f"{prompt.text}{said}", None).tokens
        if tokens is not None and tokens.ids == ids:
            return _with_places(prompt, tokens)
    marks = set() if tokenizer is None else set(tokenizer.all_special_ids)
    special = (*prompt.special, *(number in marks for number in new))
    return _with_places(prompt, Tokens((*prompt.pieces, *texts_of(tokenizer, new)), ids, special))


def _with_places(prompt: Tokens, found: Tokens) -> Tokens:
    """Labels of a longer text with the image places of its beginning."""
    if prompt.places is None:
        return found
    there = (*where(prompt.places), *(None for _ in found.pieces[len(prompt) :]))
    words = None
    if found.words is not None:
        words = tuple(None if place else word for word, place in zip(found.words, there, strict=True))
    return replace(
        found,
        pieces=(*prompt.pieces, *found.pieces[len(prompt) :]),
        special=(*prompt.special, *found.special[len(prompt) :]),
        words=words,
        places=placed(prompt.places, there),
    )


def _said(tokenizer: Any, prompt: Sequence[int], new: Sequence[int]) -> str | None:
    """The text of new tokens behind a prompt; None if a decoder joins the two otherwise."""
    before, after = (
        tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for ids in (prompt, [*prompt, *new])
    )
    return after[len(before) :] if after.startswith(before) else None


def _ids(continuation: Any) -> list[int]:
    """Token ids that a user gave."""
    given = plain(continuation)
    found = [whole_number(one) for one in given] if isinstance(given, list | tuple | range) else [None]
    if None in found:
        raise BadInput(f"The continuation {continuation!r:.80} is neither a text nor a list of token ids. Give one.")
    return [number for number in found if number is not None]

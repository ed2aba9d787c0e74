"""What a decoder is to have written: a text, token ids, what the user fed to it, or what the model itself writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationMixin, PreTrainedModel

from contextmix.errors import BadInput, BadOption, TooLong
from contextmix.tokens.pieces import Tokens
from contextmix.traces.encoder_decoder import Target, joined, part_of
from contextmix.tracing.inputs.encode import as_tensor, length_limit, split
from contextmix.tracing.inputs.texts import encode
from contextmix.tracing.recording.offload import device_of
from contextmix.tracing.recording.quiet import quiet_run
from contextmix.tracing.runs.own_generate import own_writing

Output = str | Sequence[int] | Tensor
"""What can be given as written: a text, or the ids of its tokens as the tokenizer ends them."""


def target_vocabulary(model: PreTrainedModel) -> int:
    """How many token ids the decoder knows."""
    whole: Any = model
    try:
        return int(whole.get_decoder().get_input_embeddings().num_embeddings)
    except (AttributeError, NotImplementedError):  # a decoder that does not show its embeddings
        return int(model.config.get_text_config(decoder=True).vocab_size)


def target_limit(model: PreTrainedModel, tokenizer: Any) -> int | None:
    """The most tokens that the decoder reads; None if nothing says so."""
    whole: Any = model
    config = model.config.get_text_config(decoder=True)
    names = ("max_target_positions", "max_position_embeddings")
    limits = [getattr(one, name, None) for one in (config, model.config) for name in names]
    own = length_limit(whole.get_decoder(), tokenizer)
    return min((limit for limit in (*limits, own) if limit is not None), default=None)


def given(model: PreTrainedModel, tokenizer: Any, output: Output) -> Target:
    """A target that the user names.

    Raises:
        BadInput: If it is empty, a text comes without a tokenizer, or ids are unknown to the model.
        TooLong: If the decoder cannot read it.
    """
    limit = target_limit(model, tokenizer)
    if isinstance(output, str):
        if tokenizer is None:
            raise BadInput("The output is a text, and the model was loaded without a tokenizer. Give its token ids.")
        written = encode(_AsTarget(tokenizer), output, limit, known=target_vocabulary(model)).tokens
        assert written is not None  # texts have tokens
    else:
        written = _labelled(model, tokenizer, output, limit)
    start = start_id(model, written)
    if isinstance(output, str) and written.ids is not None and written.ids[0] == start and len(written) > 1:
        written = part_of(written, 1, len(written))  # some tokenizers write the start themselves (Whisper's)
    return Target(_labelled(model, tokenizer, [start], None), written)


def read(model: PreTrainedModel, tokenizer: Any, inputs: Mapping[str, Tensor], decoder_ids: Any) -> Target:
    """A target from decoder input ids, the last token of which is what the model would write next.

    Args:
        model: The model.
        tokenizer: For labels; may be None.
        inputs: What the encoder reads, with a batch axis of one.
        decoder_ids: (n,) or (1, n).

    Raises:
        BadInput: If they are not one sequence of ids that the model knows, or it has no head to write with.
        TooLong: If there are too many.
    """
    tokens = _labelled(model, tokenizer, decoder_ids, target_limit(model, tokenizer))
    ids = torch.tensor([tokens.ids], device=device_of(model))
    logits = getattr(quiet_run(model, {**inputs, "decoder_input_ids": ids}), "logits", None)
    if logits is None:
        raise BadInput(
            f"{type(model).__name__} has no language-model head, so it is unknown which token follows "
            "decoder_input_ids. Give output=[ids of what is written] instead, or load the model with its head."
        )
    following = _labelled(model, tokenizer, [int(logits[0, -1].argmax())], None)
    return Target(part_of(tokens, 0, 1), joined(part_of(tokens, 1, len(tokens)), following))


def generated(
    model: PreTrainedModel,
    tokenizer: Any,
    inputs: Mapping[str, Tensor],
    max_new_tokens: int,
    settings: Mapping[str, Any] | None = None,
) -> Target:
    """What the model itself writes, by its own ``generate`` and under its own rules (forced and suppressed tokens).

    Args:
        model: The model.
        tokenizer: For labels; may be None.
        inputs: What the encoder reads, with a batch axis of one.
        max_new_tokens: The most that it writes.
        settings: Of its generation; see `own_writing`.

    Raises:
        BadInput: If the model cannot write.
        BadOption: If it is to write less than one token, or refuses a setting.
    """
    if max_new_tokens < 1:
        raise BadOption(f"max_new_tokens={max_new_tokens} lets the model write nothing; give at least 1.")
    writer: Any = model
    if not isinstance(model, GenerationMixin) or writer.get_output_embeddings() is None:
        raise BadInput(
            f"{type(model).__name__} has no head to write with, and no output was given. Give output='the text' (or "
            "its token ids), or load the model with its language-model head."
        )
    limit = target_limit(model, tokenizer)
    count = max_new_tokens if limit is None else min(max_new_tokens, limit)
    done = own_writing(model, inputs, count, settings, limit)
    ids = done.ids
    if len(ids) < 2:
        raise BadInput("The model wrote nothing at all, so there is nothing to explain. Give output=…")
    start, written = (_labelled(model, tokenizer, part, None) for part in (ids[:1], ids[1:]))
    made = {"ids": ids, "settings": dict(done.settings)}
    if done.left_out:
        made["left_out"] = dict(done.left_out)
    if tokenizer is not None:
        made["text"] = tokenizer.decode(ids, skip_special_tokens=True)
    return Target(start, _with_words(tokenizer, written), generated=True, generation=made)


def start_id(model: PreTrainedModel, written: Tokens) -> int:
    """The token that the decoder begins with, as the model prepares it for training or generation.

    Raises:
        BadInput: If nothing says so.
    """
    prepare = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if prepare is not None:  # mBART begins with the last token of what is written, its language
        return int(prepare(labels=torch.tensor([written.ids], device=device_of(model)))[0, 0])
    text = model.config.get_text_config(decoder=True)
    places = [getattr(model, "generation_config", None), model.config, text]
    known = [getattr(place, "decoder_start_token_id", None) for place in places] + [getattr(text, "bos_token_id", None)]
    found = next((one for one in known if one is not None), None)
    if found is None:
        raise BadInput(
            f"{type(model).__name__} does not say with which token its decoder begins. Give decoder_input_ids among "
            "the model inputs."
        )
    return int(found)


def _labelled(model: PreTrainedModel, tokenizer: Any, ids: Any, limit: int | None) -> Tokens:
    """Token ids with their labels."""
    try:
        flat = as_tensor("output", ids)
    except BadInput as reason:
        raise BadInput(f"The output is neither a text nor token ids. {reason}") from reason
    flat = flat.squeeze(0) if flat.ndim == 2 else flat
    if flat.ndim != 1 or flat.is_floating_point() or len(flat) == 0:
        raise BadInput(
            f"The output holds numbers of shape {tuple(flat.shape)} and type {flat.dtype}; one sequence of token ids "
            "(whole numbers), not empty, is needed."
        )
    if limit is not None and len(flat) > limit:
        raise TooLong(len(flat), limit)
    (one,) = split({"input_ids": flat}, target_vocabulary(model), None, tokenizer)
    assert one.tokens is not None  # ids have tokens
    words = None if len(flat) > 1 else (None,)
    return Tokens(one.tokens.pieces, one.tokens.ids, one.tokens.special, words)


def _with_words(tokenizer: Any, tokens: Tokens) -> Tokens:
    """Tokens that a model wrote, with the words that the tokenizer would cut into the same ones, if it does."""
    if tokenizer is None or tokens.ids is None:
        return tokens
    own = [position for position, special in enumerate(tokens.special) if not special]
    try:
        again = encode(_AsTarget(tokenizer), tokenizer.decode([tokens.ids[position] for position in own]), None).tokens
    except BadInput:  # it wrote nothing but marks
        return tokens
    assert again is not None  # texts have tokens
    same = [position for position, special in enumerate(again.special) if not special]
    if again.words is None or [again.ids[p] for p in same] != [tokens.ids[p] for p in own]:  # type: ignore[index]
        return tokens
    words: list[int | None] = [None] * len(tokens)
    pieces = list(tokens.pieces)
    for position, there in zip(own, same, strict=True):
        words[position], pieces[position] = again.words[there], again.pieces[there]
    return Tokens(tuple(pieces), tokens.ids, tokens.special, tuple(words))


class _AsTarget:
    """A tokenizer in its target mode: Marian and mBART write other marks, or another vocabulary, on that side."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, text: str, **options: Any) -> Any:
        return self._tokenizer(text_target=text, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

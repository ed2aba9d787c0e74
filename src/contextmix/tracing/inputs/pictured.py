"""Prompts with images, as `Inputs`: through the model's own processor and its own template for chats."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from contextmix.errors import BadInput, TooLong
from contextmix.tokens.media import is_image, read_image
from contextmix.tokens.pieces import Tokens
from contextmix.tracing.inputs.absent import why_absent
from contextmix.tracing.inputs.beside import accepted_names, reads_both
from contextmix.tracing.inputs.encode import Inputs
from contextmix.tracing.inputs.imaged import ENDS, image_tensors, refuse_other_marks
from contextmix.tracing.inputs.labels import labelled
from contextmix.tracing.inputs.regions import Process, Windows, place_images, windows_of
from contextmix.tracing.inputs.spelled import spelled
from contextmix.tracing.recording.quiet import BESIDE
from contextmix.tracing.recording.stack import image_id

_KNOWN: WeakKeyDictionary[PreTrainedModel, dict[Any, Windows | None]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Asked:
    """A prompt with images: its text, with a mark where each stands, or its chat messages."""

    images: list[Any]
    text: str | None = None
    messages: Sequence[Mapping[str, Any]] = ()


def asked_of(source: Any) -> Asked | None:
    """A source as a prompt with images; None if it is something else.

    Raises:
        BadInput: If it holds no text, an image that is none, or one that would have to be fetched.
    """
    if isinstance(source, Mapping):
        return _of_mapping(source)
    if isinstance(source, str) or not isinstance(source, Sequence):
        return None
    if not any(isinstance(one, Mapping) and _is_parts(one.get("content")) for one in source):
        return None
    images: list[Any] = []
    messages = [{**one, "content": _parts(one["content"], images)} for one in source]
    return Asked(images, messages=messages) if images else None


def is_pictured(source: Any) -> bool:
    """Whether this is one prompt with images by name: ``{"image": …, "text": …}``."""
    return isinstance(source, Mapping) and bool(source) and source.keys() <= {"image", "images", "text"}


def refuse_image_sources(question: Any, context: Any) -> None:
    """Images where the sources of an answer are asked for.

    Raises:
        BadInput: If the question or the context holds one.
    """
    parts = [question, *(context if isinstance(context, list | tuple) else [context])]
    chat = isinstance(question, list | tuple) and any(
        isinstance(one, Mapping) and _is_parts(one.get("content")) for one in question
    )
    if chat or any(is_image(one) or (is_pictured(one) and one.keys() != {"text"}) for one in parts):
        raise BadInput(
            "An answer is explained by pieces of its prompt's text, character by character, and an image stands in no "
            "text, so images are no sources yet. Ask explain_generation for what each new token draws from image "
            "places and words."
        )


def _of_mapping(source: Mapping[str, Any]) -> Asked | None:
    if not is_pictured(source) or not source.keys() & {"image", "images"}:
        return None
    if "image" in source and "images" in source:
        raise BadInput("A prompt has one image, or several as images=[…]; got both. Leave one out.")
    given = [source["image"]] if "image" in source else source["images"]
    if not isinstance(given, list | tuple) or not given:
        raise BadInput("images must be a list with at least one image. Pass a single one as image.")
    if not isinstance(source.get("text"), str) or not source["text"].strip():
        raise BadInput("Got an image without a text. Give both: {'image': …, 'text': 'What is this?'}.")
    return Asked([read_image(one) for one in given], source["text"])


def _is_parts(content: Any) -> bool:
    """Whether the content of a message is a list of parts, of which one is an image."""
    several = isinstance(content, list | tuple)
    return several and any(isinstance(part, Mapping) and part.get("type") == "image" for part in content)


def _parts(content: Any, images: list[Any]) -> list[dict[str, Any]]:
    """The parts of a message for a template, which only wants to know where images stand; the images are put aside."""
    found: list[dict[str, Any]] = []
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        if not isinstance(part, Mapping) or part.get("type") not in ("text", "image"):
            raise BadInput(
                f"A part of a chat message is {{'type': 'text', 'text': …}} or {{'type': 'image', 'image': …}}; this "
                f"one is {part!r:.80}."
            )
        if part["type"] == "image":
            own = next((part[name] for name in ("image", "path") if part.get(name) is not None), None)
            if own is None or (isinstance(own, str) and own.startswith(("http://", "https://"))):
                raise BadInput(
                    "An image of a chat message is given as {'type': 'image', 'image': …} with a path, a PIL image or "
                    f"an array; contextmix fetches nothing. This part holds {', '.join(part)}."
                )
            images.append(read_image(own))
        found.append({"type": "image"} if part["type"] == "image" else {"type": "text", "text": part.get("text")})
    return found


def read_pictured(
    model: PreTrainedModel, processor: Any, asked: Asked, limit: int | None, add_special_tokens: bool | None
) -> Inputs:
    """A prompt with images as model inputs.

    Args:
        model: A model of texts with images.
        processor: Its processor, which holds a tokenizer and an image processor.
        asked: The prompt.
        limit: The most tokens that the model reads; None for no limit.
        add_special_tokens: Whether the tokenizer adds its special tokens; None: as the processor does for itself.

    Raises:
        BadInput: If the model reads no images, the processor is missing or belongs to another model, or marks and
            images are not equally many.
        TooLong: If the prompt has more than ``limit`` tokens.
    """
    if not reads_both(model):
        _refuse_one_of_both(model)
    if not isinstance(processor, ProcessorMixin):
        why = f" ({reason})" if (reason := why_absent(model)) else ""
        raise BadInput(
            f"Got an image with a text, but {type(model).__name__} was loaded without its processor{why}, which "
            f"contains an image processor and a tokenizer. Pass the folder with both to contextmix.load, or pass the "
            f"processor together with the model (images need Pillow: pip install 'contextmix[image]'; a processor "
            f"that reads videos too, "
            "as Qwen's, needs torchvision)."
        )
    prompt, notes = _prompt(model, processor, asked)
    bos = getattr(processor.tokenizer, "bos_token", None)
    added = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
    if asked.text is None or notes.get("template"):  # as the processors of transformers do with their own templates
        added = added or ({"add_special_tokens": False} if bos and prompt.startswith(bos) else {})
    run = partial(_processed, model, processor, prompt, added)
    text, found = run(asked.images)
    ids = found["input_ids"][0]
    if limit is not None and len(ids) > limit:
        raise TooLong(len(ids), limit)
    refuse_other_marks(model, ids)
    tensors = image_tensors(model, processor, found)
    tokens = _labels(model, processor.tokenizer, text, ids.tolist(), added)
    windows = _windows(model, processor, tensors, asked.images, run)
    place = partial(place_images, tokens=tokens, windows=windows)
    notes |= {"images": len(asked.images), "rows_end_at": ENDS}
    return Inputs(tokens, tensors, len(ids), place, notes, windows)


def _refuse_one_of_both(model: PreTrainedModel) -> None:
    kind = type(model).__name__
    if {"input_ids", "pixel_values"} <= (accepted_names(model) or set()):
        raise BadInput(
            f"Got an image with a text, but {kind} runs with an image alone (its first input is "
            f"{model.main_input_name}), while contextmix finds the blocks of a model on a text without one. Load its "
            "parts by themselves, such as model.language_model and model.vision_model."
        )
    read = "text" if model.main_input_name == "input_ids" else f"{model.main_input_name} alone"
    raise BadInput(f"Got an image with a text, but {kind} reads {read}.")


def _windows(
    model: PreTrainedModel, processor: Any, tensors: Mapping[str, Tensor], images: list[Any], run: Callable[..., Any]
) -> Windows | None:
    """Where patches stand in the images; found once for images of the same sizes, of which alone it depends."""
    shapes = tuple((name, tuple(value.shape)) for name, value in sorted(tensors.items()) if name.startswith(BESIDE))
    key = repr(processor.image_processor), tuple(image.size for image in images), shapes
    known = _KNOWN.setdefault(model, {})
    if key not in known:
        process: Process = lambda shown: image_tensors(model, processor, run(shown)[1])  # noqa: E731
        known[key] = windows_of(model, tensors, images, process)
    return known[key]


def _prompt(model: PreTrainedModel, processor: Any, asked: Asked) -> tuple[str, dict[str, Any]]:
    """The text for the processor, with a mark for each image; and what results say about it."""
    template = next((one for part in (processor, processor.tokenizer) if (one := _template(part)) is not None), None)
    mark = getattr(processor, "image_token", None)
    if asked.text is not None and mark is not None and mark in asked.text:
        return asked.text, {}
    if template is None and asked.text is not None and mark is not None:
        return mark * len(asked.images) + asked.text, {"image_marks": "put in front of the text"}
    if template is None:
        raise BadInput(
            f"Got a chat with images, but {type(processor).__name__} has no chat template, so it cannot be turned "
            "into a text. Give {'image': …, 'text': …}, or set processor.chat_template."
        )
    messages = list(asked.messages)
    if asked.text is not None:
        parts = [*({"type": "image"} for _ in asked.images), {"type": "text", "text": asked.text}]
        messages = [{"role": "user", "content": parts}]
    answers = messages[-1]["role"] != "assistant" and model.get_output_embeddings() is not None  # type: ignore[no-untyped-call]
    try:
        found = template(messages, tokenize=False, add_generation_prompt=answers)
    except Exception as reason:  # a template is a programme of the model's makers
        raise BadInput(f"The processor's template cannot render these chat messages: {reason}.") from reason
    return str(found), {"template": "chat"}


def _template(part: Any) -> Callable[..., Any] | None:
    """The template of a processor or a tokenizer, as a function; None if it has none."""
    if getattr(part, "chat_template", None) is None:
        return None
    found: Callable[..., Any] = part.apply_chat_template
    return found


class _Overheard:
    """A tokenizer that remembers which text it was given: the processor has put marks for each image place into it."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.text = tokenizer, ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def __call__(self, text: Any, *args: Any, **kwargs: Any) -> Any:
        self.text = text if isinstance(text, str) else text[0]
        return self.tokenizer(text, *args, **kwargs)


def _processed(
    model: PreTrainedModel, processor: Any, prompt: str, added: Mapping[str, bool], images: list[Any]
) -> tuple[str, Mapping[str, Any]]:
    """The text that was tokenized, and what the processor made of it and the images."""
    own, ear = copy.copy(processor), _Overheard(processor.tokenizer)
    own.tokenizer = ear
    try:
        found = own(images=[images], text=[prompt], return_tensors="pt", **added)
    except Exception as reason:  # processors raise what they like
        raise BadInput(
            f"{type(processor).__name__} does not read this text with {len(images)} image"
            f"{'s' if len(images) > 1 else ''}: {str(reason).strip()}"
        ) from reason
    if not {"input_ids", "pixel_values"} <= found.keys():
        raise BadInput(
            f"{type(processor).__name__} makes {', '.join(found)} of a text with an image, and {type(model).__name__} "
            "reads input_ids and pixel_values. Load the processor that belongs to the model."
        )
    return ear.text, found


def _labels(model: PreTrainedModel, tokenizer: Any, text: str, ids: Sequence[int], added: Mapping[str, bool]) -> Tokens:
    """The labels of all tokens; those of image places are replaced when their place is known."""
    marks = set(tokenizer.all_special_ids) - {tokenizer.mask_token_id, tokenizer.unk_token_id, image_id(model)}
    special = tuple(number in marks for number in ids)
    read = tokenizer(text, verbose=False, **added)
    if getattr(read, "encodings", None) and list(read["input_ids"]) == list(ids):
        return labelled(tokenizer, (text,), read.encodings[0], special)
    return Tokens(spelled(tokenizer, tokenizer.convert_ids_to_tokens(list(ids)), special), tuple(ids), special)

"""What reads inputs for a model: its tokenizer, its image processor or feature extractor, named or given."""

from __future__ import annotations

from inspect import isclass, isroutine
from pathlib import Path
from typing import Any

import tokenizers
from transformers import AutoProcessor, AutoTokenizer, PreTrainedModel

from contextmix.errors import BadOption, ModelNotFound
from contextmix.tracing.inputs.absent import note_absent
from contextmix.tracing.inputs.beside import reads_both
from contextmix.tracing.inputs.hub import first_line, hub_options, place_of
from contextmix.tracing.inputs.media import kind_of, sorted_readers
from contextmix.tracing.inputs.names import is_here
from contextmix.tracing.inputs.towers import towers_of


def load_tokenizer(name: str | Path, **options: Any) -> Any | None:
    """The tokenizer of a model alone; None if it has none.

    Args:
        name: As for `load_pretrained`.
        options: Of ``from_pretrained``.

    Raises:
        ModelNotFound: If there is one and it cannot be read.
    """
    place = place_of(str(name))
    try:
        found = AutoTokenizer.from_pretrained(place, **hub_options(place) | options)
    except Exception as reason:
        if is_here(place) and _has_vocabulary(Path(place)):
            raise ModelNotFound(
                f"The tokenizer in {name} cannot be read: {first_line(reason)}. Save it again, or load the model with "
                "transformers and give it to contextmix.load with a tokenizer or without."
            ) from reason
        return None  # models of images and sound have none; token ids can be passed instead of a text
    return None if knows_no_words(found) else found


def given_readers(given: Any, model: PreTrainedModel) -> tuple[Any, Any]:
    """The tokenizer and the processor in what a user gave for a model: the things themselves, or a name of them.

    Raises:
        BadOption: If it is neither, or a tokenizer that knows no words.
        ModelNotFound: If there is none of this name.
    """
    if isinstance(given, str | Path):
        return _named_readers(str(given), model)
    tokenizer, processor = sorted_readers(given, model)
    if isinstance(tokenizer, tokenizers.Tokenizer):
        raise BadOption(
            "The tokenizer is a bare one of the library tokenizers, which does not say which of its tokens stand for a "
            "mask, padding or the unknown. Wrap it: transformers.PreTrainedTokenizerFast(tokenizer_object=…, "
            "mask_token=…, pad_token=…, unk_token=…), or name the folder that it comes from."
        )
    if tokenizer is not None and (not callable(tokenizer) or isroutine(tokenizer) or isclass(tokenizer)):
        raise BadOption(
            f"The tokenizer is a {type(tokenizer).__module__}.{type(tokenizer).__name__}. Give a tokenizer of "
            "transformers, an image processor or a feature extractor, or the name or folder of one."
        )
    if tokenizer is not None and knows_no_words(tokenizer):
        raise BadOption(
            f"The {type(tokenizer).__name__} knows only its special tokens, so every text would become unknown "
            f"tokens. transformers creates such a tokenizer for a folder without one. Load the right one."
        )
    return tokenizer, processor


def _named_readers(name: str, model: PreTrainedModel) -> tuple[Any, Any]:
    place = place_of(name)
    found = load_tokenizer(name), load_processor(model, place, hub_options(place))
    if found == (None, None):
        raise ModelNotFound(
            f"There is no tokenizer {name!r}: not a folder with a tokenizer, and not found on the Hugging Face Hub."
        )
    return found


def knows_no_words(tokenizer: Any) -> bool:
    """Whether a tokenizer has special tokens alone, as transformers makes one for a folder without its files."""
    own = getattr(tokenizer, "get_vocab", None)
    if own is None or not getattr(tokenizer, "is_fast", False):
        return False  # one written in Python may need no files: its words are bytes or characters
    return not {piece for piece in own() if piece != "▁"} - {
        *tokenizer.all_special_tokens,
        *tokenizer.get_added_vocab(),
    }


def load_processor(model: PreTrainedModel, place: str, options: dict[str, Any]) -> Any | None:
    """What reads images or sounds for a model, saved beside it; None if there is none or Pillow is missing.

    For texts with images it holds the tokenizer too. Images are read by PIL, as in `kinds.image`.
    """
    kind = kind_of(model)
    try:
        if kind is None:
            both = reads_both(model) or bool(towers_of(model))
            return AutoProcessor.from_pretrained(place, backend="pil", **options) if both else None  # type: ignore[no-untyped-call]
        return kind.load(place, **options)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as reason:
        note_absent(model, reason)
        return None


def _has_vocabulary(folder: Path) -> bool:
    names = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "*.model")
    return folder.is_dir() and any(next(folder.glob(name), None) is not None for name in names)

"""What decides the numbers of a run: which model exactly, which tokenizer, which versions of which libraries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from contextmix.models.traced_model import TracedModel
from contextmix.tracing.recording.offload import stored


def model_identity(model: TracedModel) -> dict[str, Any]:
    """A model by its content: two that share it give the same numbers.

    Returns:
        JSON values: name, revision, class, dtype, and SHA-256 of the weights, the configuration and the tokenizer.
    """
    config = {name: value for name, value in model.model.config.to_dict().items() if name not in _NO_CONTENT}
    return {
        "name": model.origin.model,
        "revision": model.origin.revision,
        "class": type(model.model).__name__,
        "dtype": str(model.model.dtype).removeprefix("torch."),
        "weights": weights_hash(model.model),
        "config": _hash(json.dumps(config, sort_keys=True, default=str).encode()),
        "tokenizer": _tokenizer_hash(model.tokenizer),
    }


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over the hashes of all weights and buffers, each with its name, type and shape."""
    tied = getattr(model, "all_tied_weights_keys", None) or {}  # twins, which no longer share a tensor when offloaded
    names = sorted({name for name, _ in (*model.named_parameters(), *model.named_buffers())} - set(tied))

    def hashed(name: str) -> str:
        path, _, own = name.rpartition(".")
        tensor = stored(model.get_submodule(path), own)  # one at a time: offloaded weights may not fit together
        assert tensor is not None
        return _tensor_hash(tensor)

    with ThreadPoolExecutor() as threads:  # hashing lets other threads run
        hashes = threads.map(hashed, names)
        return _hash("".join(f"{name} {one}\n" for name, one in zip(names, hashes, strict=True)).encode())


def differences(mine: Mapping[str, Any], theirs: Mapping[str, Any], path: str = "") -> list[str]:
    """Where two records differ, one line each: name, what it is here, what it is there."""
    found: list[str] = []
    for name in sorted({*mine, *theirs}):
        one, other = mine.get(name), theirs.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += differences(one, other, f"{path}{name}.")
        elif one != other:
            found.append(f"{path}{name}: {_short(one)} now, {_short(other)} there")
    return found


_NO_CONTENT = {"_name_or_path", "transformers_version", "torch_dtype", "dtype"}


def _tensor_hash(tensor: Tensor) -> str:
    raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(raw.data).hexdigest()}"


def _tokenizer_hash(tokenizer: Any) -> str:
    """What a fast tokenizer does is all in one file; of a slow one the vocabulary and the special tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        # Truncation is a setting of the last call, not of the tokenizer.
        document = json.loads(backend.to_str())
        document.update(truncation=None, padding=None)
    else:
        document = {"vocabulary": tokenizer.get_vocab(), "special": tokenizer.special_tokens_map}
    return _hash(json.dumps(document, sort_keys=True, default=str).encode())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _short(value: Any) -> str:
    said = json.dumps(value)
    return said if len(said) <= 60 else f"{said[:57]}…"

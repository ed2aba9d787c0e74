"""A folder with an adapter of peft alone: the model that it was trained on is loaded, and the adapter put into it."""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from contextmix.errors import ModelNotFound, UnsupportedModel
from contextmix.tracing.inputs.unwrap import unwrapped

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_CLASSES = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "FEATURE_EXTRACTION": "AutoModel",
}
_HEADS = ("classifier", "score", "qa_outputs")


def is_adapter(place: str) -> bool:
    """Whether a folder holds an adapter and no model of its own."""
    folder = Path(place)
    return (folder / _CONFIG).is_file() and not (folder / "config.json").is_file()


def base_of(place: str) -> str:
    """The name or folder of the model that an adapter was trained on.

    Raises:
        ModelNotFound: If the adapter does not say.
    """
    name = _settings(place).get("base_model_name_or_path")
    if not name:
        raise ModelNotFound(
            f"The folder {place} holds an adapter, and its {_CONFIG} does not name the model that it was trained on. "
            "Load that model, put the adapter into it with peft, and pass what peft gives."
        )
    return str(name)


def load_adapter(place: str, *, dtype: str | torch.dtype, trust_remote_code: bool) -> PreTrainedModel:
    """The model of an adapter folder, with the adapter in place.

    Args:
        place: The folder.
        dtype: Precision to load the model in; ``"auto"`` keeps the stored one.
        trust_remote_code: Whether code that comes with the model may run.

    Raises:
        UnsupportedModel: If peft is not installed, or the adapter cannot be put into a transformers model.
        ModelNotFound: If the model or the adapter cannot be read, or weights are in neither.
    """
    try:
        peft: Any = importlib.import_module("peft")
    except ImportError as reason:
        raise UnsupportedModel(
            f"The folder {place} holds an adapter of the library peft, which is not installed. Install it (pip install "
            "peft), or merge the adapter into its model where it was trained (merge_and_unload) and save that."
        ) from reason
    model = _base(place, dtype, trust_remote_code)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            adapted = peft.PeftModel.from_pretrained(model, place)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, UserWarning, SafetensorError) as reason:
        raise ModelNotFound(
            f"The adapter in {place} cannot be put into the model that it names, {base_of(place)}: "
            f"{_first(reason)} The adapter is damaged, or was trained on another version of the model."
        ) from reason
    found: PreTrainedModel = unwrapped(adapted).eval()
    return found


def _base(place: str, dtype: Any, trust_remote_code: bool) -> PreTrainedModel:
    """The model that an adapter was trained on; what neither of them holds weights for is refused."""
    name, task = base_of(place), _settings(place).get("task_type")
    saved = _shapes(place)
    options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": trust_remote_code, "output_loading_info": True}
    heads = [shape for key, shape in saved.items() if key.endswith(tuple(f"{head}.weight" for head in _HEADS))]
    if heads and task in ("SEQ_CLS", "TOKEN_CLS"):
        options |= {"num_labels": heads[0][0]}
    try:
        model, info = _class(name, task, trust_remote_code).from_pretrained(name, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as reason:
        raise ModelNotFound(
            f"The folder {place} holds an adapter for the model {name!r}, and that model cannot be loaded: "
            f"{_first(reason)} Load it yourself, put the adapter into it with peft, and pass what peft gives."
        ) from reason
    missing = [key for key in info["missing_keys"] if not any(one.endswith(f".{key}") for one in saved)]
    if missing:
        raise ModelNotFound(
            f"Neither the adapter in {place} nor its model {name!r} holds weights for "
            f"{', '.join(sorted(missing)[:5])}, so they would be random numbers. Save the adapter with these layers "
            "(modules_to_save in its settings)."
        )
    loaded: PreTrainedModel = model
    return loaded


def _class(name: str, task: str | None, trust_remote_code: bool) -> Any:
    """The class for what the adapter was trained for; where it does not say, the one that the model was saved as."""
    if task in _CLASSES:
        return getattr(transformers, _CLASSES[task])
    config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    known = (getattr(transformers, one, None) for one in config.architectures or ())
    return next((one for one in known if one is not None), transformers.AutoModel)


def _settings(place: str) -> dict[str, Any]:
    try:
        found = json.loads((Path(place) / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as reason:
        raise ModelNotFound(f"The adapter in {place} cannot be read: {_first(reason)}") from reason
    return found if isinstance(found, dict) else {}


def _shapes(place: str) -> dict[str, list[int]]:
    """What the adapter holds weights for, with their shapes."""
    try:
        with safe_open(Path(place) / _WEIGHTS, framework="np") as file:
            return {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as reason:
        raise ModelNotFound(
            f"The adapter in {place} has no readable {_WEIGHTS}: {_first(reason)} Save it with save_pretrained, which "
            "writes that file."
        ) from reason


def _first(reason: Exception) -> str:
    lines = str(reason).strip().splitlines()
    return f"{type(reason).__name__}: {lines[0].rstrip('.')}." if lines else f"{type(reason).__name__}."

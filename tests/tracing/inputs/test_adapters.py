"""Adapters of peft, in a model or in a folder of their own: explained like the merged model, or refused."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tracing.as_it_is import METHODS, classifier, values
from tests.tracing.tiny import one_thread

import contextmix as cm
from contextmix.errors import ModelNotFound, UnsupportedModel

peft = pytest.importorskip("peft", reason="needs peft")
OLD_NAME = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks it


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def adapted(model: Any, **changes: Any) -> Any:
    settings = {"task_type": "SEQ_CLS", "r": 4, "target_modules": ["query", "value"], "init_lora_weights": False}
    torch.manual_seed(0)
    return peft.get_peft_model(model, peft.LoraConfig(**settings | changes)).eval()


@OLD_NAME
@pytest.mark.parametrize("method", METHODS)
def test_an_adapted_model_is_explained_like_the_merged_one(method: str):
    model = adapted(classifier())
    merged = values(copy.deepcopy(model).merge_and_unload().eval(), method)
    assert np.abs(values(model, method) - merged).max() < 1e-4 * np.abs(merged).max()
    assert np.abs(values(classifier(), method) - merged).max() > 1e-3 * np.abs(merged).max()


@OLD_NAME
def test_a_trained_prompt_is_refused_with_the_way_out():
    model = peft.get_peft_model(classifier(), peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3))
    with pytest.raises(UnsupportedModel, match=r"PROMPT_TUNING.*virtual tokens.*get_base_model"):
        cm.load(model)


@OLD_NAME
def test_an_adapter_that_does_more_than_stand_in_layers_is_refused(monkeypatch: pytest.MonkeyPatch):
    model = adapted(classifier())
    plain = model.forward
    monkeypatch.setattr(model, "forward", lambda **told: (plain(**told).logits * 2,))
    with pytest.raises(UnsupportedModel, match=r"LORA.*gives other outputs.*merge_and_unload"):
        cm.load(model)


def folders(place: Path, **changes: Any) -> tuple[Any, str, str]:
    base, adapter = str(place / "base"), str(place / "adapter")
    classifier(**changes).save_pretrained(base)
    model = adapted(classifier(**changes))
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(adapter)
    return model, base, adapter


@OLD_NAME
@pytest.mark.parametrize("labels", [2, 5])
def test_a_folder_with_an_adapter_is_loaded(tmp_path: Path, labels: int):
    model, _, adapter = folders(tmp_path, num_labels=labels)
    wanted = values(model.merge_and_unload().eval())
    assert np.abs(values(adapter) - wanted).max() < 1e-4 * np.abs(wanted).max()


@OLD_NAME
def test_an_adapter_whose_head_the_base_does_not_have_brings_it_along(tmp_path: Path):
    model, base, adapter = folders(tmp_path, num_labels=3)
    wanted = values(model.merge_and_unload().eval(), "gradient_inputs")
    classifier().bert.save_pretrained(base)
    settings = json.loads((tmp_path / "base" / "config.json").read_text())
    assert settings["architectures"] == ["BertModel"]
    assert np.abs(values(adapter, "gradient_inputs") - wanted).max() < 1e-4 * np.abs(wanted).max()


@OLD_NAME
def test_a_head_that_neither_adapter_nor_base_has_is_refused(tmp_path: Path):
    model, base, adapter = folders(tmp_path)
    classifier().bert.save_pretrained(base)
    del model
    place = Path(adapter) / "adapter_model.safetensors"
    save_file({name: one for name, one in load_file(place).items() if "classifier" not in name}, place)
    with pytest.raises(ModelNotFound, match=r"holds weights for classifier\.bias, classifier\.weight"):
        cm.load(adapter)


@OLD_NAME
@pytest.mark.filterwarnings("default:.*missing adapter keys.*")  # as outside of tests, where a warning is no error
def test_an_adapter_that_lacks_a_weight_of_its_own_is_refused(tmp_path: Path):
    """Peft fills it with the number it starts with, and only warns."""
    _, _, adapter = folders(tmp_path)
    place = Path(adapter) / "adapter_model.safetensors"
    kept = {name: one for name, one in load_file(place).items() if "layer.1" not in name}
    assert 0 < len(kept) < len(load_file(place))
    save_file(kept, place)
    with pytest.raises(ModelNotFound, match=r"cannot be put into the model that it names.*missing adapter keys"):
        cm.load(adapter)


@OLD_NAME
def test_an_adapter_without_its_model_says_so(tmp_path: Path):
    _, _, adapter = folders(tmp_path)
    place = Path(adapter) / "adapter_config.json"
    settings = json.loads(place.read_text())
    place.write_text(json.dumps(settings | {"base_model_name_or_path": str(tmp_path / "gone")}))
    with pytest.raises(ModelNotFound, match=r"an adapter for the model '.*gone', and that model cannot be loaded"):
        cm.load(adapter)
    place.write_text(json.dumps(settings | {"base_model_name_or_path": None}))
    with pytest.raises(ModelNotFound, match="does not name the model that it was trained on"):
        cm.load(adapter)
    place.write_text("{")
    with pytest.raises(ModelNotFound, match="cannot be read"):
        cm.load(adapter)

"""A checkpoint is whole, or refused with what is wrong with it; a name that nobody knows is refused at once."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests.tracing.tiny import build, word_pieces

import contextmix as cm
from contextmix.errors import BadOption, ModelNotFound, UnsupportedModel
from contextmix.tracing.inputs import hub
from contextmix.tracing.inputs.readers import knows_no_words


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build("bert", "ForSequenceClassification", num_labels=2).save_pretrained(tmp_path)
    return tmp_path


def drop(folder: Path, *parts: str) -> None:
    weights = folder / "model.safetensors"
    kept = {name: one for name, one in load_file(weights).items() if not any(part in name for part in parts)}
    save_file(kept, weights, metadata={"format": "pt"})


def test_missing_weights_are_refused_by_name(folder: Path):
    cm.load(folder)
    drop(folder, "layer.1.output.dense")
    with pytest.raises(ModelNotFound, match=r"lacks 2 of the weights .*layer\.1\.output\.dense\.bias") as refusal:
        cm.load(folder)
    assert "new_head" not in str(refusal.value)
    with pytest.raises(ModelNotFound, match="lacks 2 of the weights"):
        cm.load(folder, new_head=True)


def test_a_new_head_is_allowed_where_it_is_asked_for(folder: Path):
    drop(folder, "classifier", "pooler")
    with pytest.raises(ModelNotFound, match=r"classifier\.bias.*use new_head=True"):
        cm.load(folder)
    assert cm.load(folder, new_head=True).model.config.num_labels == 2


def test_tied_weights_are_not_missing(tmp_path: Path):
    build("gpt2", "LMHeadModel").save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    cm.load(tmp_path)


def test_code_of_a_model_does_not_run_unless_it_is_allowed(folder: Path):
    (folder / "own.py").write_text("raise SystemError('it ran')")
    settings = folder / "config.json"
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    settings.write_text(json.dumps({**json.loads(settings.read_text()), **own, "architectures": ["Model"]}))
    with pytest.raises(ModelNotFound, match=r"was not loaded: it comes with its own code, .*trust_remote_code=True"):
        cm.load(folder)


class _Programme:
    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("size", [0, 5, 2000])
def test_weights_that_are_cut_off(folder: Path, size: int):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(ModelNotFound, match="file of weights is empty, cut off or damaged"):
        cm.load(folder)


def test_pickled_weights_that_are_none(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    (folder / "model.safetensors").unlink()
    weights = folder / "pytorch_model.bin"
    weights.write_bytes(pickle.dumps({"a": _Programme()}))
    with pytest.raises(ModelNotFound, match=r"pickled file of weights \(\.bin\)"):
        cm.load(folder)
    assert not Path("ran").exists()
    weights.write_bytes(b"")
    with pytest.raises(ModelNotFound, match="empty or cut off"):
        cm.load(folder)


def test_a_folder_without_a_tokenizer_has_none(folder: Path):
    made_up = transformers.AutoTokenizer.from_pretrained(folder)
    assert knows_no_words(made_up)
    assert cm.load(folder).tokenizer is None
    with pytest.raises(BadOption, match="knows only its special tokens"):
        cm.load(build("bert"), made_up)
    assert not knows_no_words(word_pieces())


def test_a_tokenizer_that_cannot_be_read_is_refused(folder: Path):
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelNotFound, match=r"The tokenizer in .* cannot be read"):
        cm.load(folder)


def test_a_tokenizer_may_be_named(tmp_path: Path):
    word_pieces().save_pretrained(tmp_path)
    traced = cm.load(build("bert"), tmp_path)
    assert traced.explain("a film").tokens.pieces == ("[CLS]", "a", "film", "[SEP]")
    with pytest.raises(ModelNotFound, match="There is no tokenizer 'none/such'"):
        cm.load(build("bert"), "none/such")


@pytest.mark.parametrize(
    ("given", "way"),
    [
        (word_pieces()._tokenizer, "a bare one .*Wrap it: transformers.PreTrainedTokenizerFast"),
        (5, "a builtins.int. Give a tokenizer of transformers"),
        (len, "a builtins.builtin_function_or_method. Give a tokenizer of transformers"),
        (transformers.BertTokenizerFast, r"a builtins.type\. Give a tokenizer of transformers"),
    ],
)
def test_what_is_no_tokenizer_is_refused(given: Any, way: str):
    with pytest.raises(BadOption, match=f"The tokenizer is {way}"):
        cm.load(build("bert"), given)


def test_other_models_are_named_as_what_they_are():
    with pytest.raises(UnsupportedModel, match=r"torch\.nn\.modules\.linear\.Linear.*PreTrainedModel"):
        cm.load(torch.nn.Linear(2, 2))


def test_an_own_class_with_a_plain_forward_is_read():
    class Own(transformers.BertPreTrainedModel):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.bert = transformers.BertModel(config)
            self.post_init()

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return self.bert(input_ids).last_hidden_state

    inner = build("bert")
    own = Own(inner.config).eval()
    own.bert.load_state_dict(inner.state_dict())
    ids = {"input_ids": [7, 8, 9]}
    assert (cm.load(own).explain(ids).values == cm.load(inner).explain(ids).values).all()


def test_without_a_network_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch):
    knocks: list[str] = []
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "answers", lambda address: knocks.append(address) or False)
    assert hub.hub_options("no/such") == {"local_files_only": True}
    with pytest.raises(ModelNotFound, match="There is no model 'nosuchmodel'") as refusal:
        cm.load("nosuchmodel")
    assert "Did you mean" not in str(refusal.value)
    assert len(knocks) == 2


def test_nobody_answers_at_a_closed_port():
    assert not hub.answers("http://127.0.0.1:9")

"""The language model that travels inside the package: small, safe to load, offline, and it tells stories."""

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

import contextmix as cm

FOLDER = Path(__file__).parents[2] / "src" / "contextmix" / "demo" / "stories"
FILES = {"README.md", "LICENSE", "config.json", "generation_config.json", "model.safetensors"}
FILES |= {"tokenizer.json", "tokenizer_config.json"}
GIRL = "Once upon a time, there was a little girl named"


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    return LlamaForCausalLM.from_pretrained(FOLDER).eval()


def test_the_folder_is_small_and_holds_no_pickle():
    assert {path.name for path in FOLDER.iterdir()} == FILES
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 1_200_000


def test_the_files_name_no_machine_and_the_card_names_source_and_licence():
    texts = [path.read_text(encoding="utf-8") for path in FOLDER.iterdir() if path.suffix != ".safetensors"]
    assert not [word for word in ("/work", "/home", "/tmp", "_name_or_path") for text in texts if word in text]
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "karpathy/tinyllamas" in card
    assert "license: mit" in card
    assert "MIT License" in (FOLDER / "LICENSE").read_text(encoding="utf-8")


def test_it_loads_without_missing_weights_and_the_tokenizer_fits(tokenizer):
    model, notes = LlamaForCausalLM.from_pretrained(FOLDER, output_loading_info=True)
    assert not any(notes.values())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(260_000, rel=0.01)
    assert len(tokenizer) == model.config.vocab_size == 512
    assert tokenizer.model_max_length == model.config.max_position_embeddings


@pytest.mark.parametrize("text", [GIRL, "The cat sat.", "Ünïcödé, 🦄 & 3.14!"])
def test_decoding_gives_the_text_back(tokenizer, text: str):
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_it_goes_on_as_a_story(model, tokenizer):
    ids = tokenizer(GIRL, return_tensors="pt")["input_ids"]
    said = model.generate(ids, do_sample=False, max_new_tokens=30, pad_token_id=0)
    text = tokenizer.decode(said[0], skip_special_tokens=True)
    assert text.startswith(GIRL + " Lily. She loved to play outside")


def test_it_has_a_name_of_its_own():
    traced = cm.load("demo-decoder")
    assert traced.origin.model == "demo-decoder"
    assert (traced.limit, traced.is_causal) == (512, True)
    report = traced.check()
    assert report.anatomy.layouts == ("pre-norm",)
    assert max(report.parity, report.checks.conservation, report.checks.block_equation) < 1e-5

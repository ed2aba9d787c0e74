"""The sentiment model that travels inside the package: small, safe to load, offline, and right most of the time."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "src" / "contextmix" / "demo" / "sentiment"
SIZE_LIMIT = 16_000_000
FILES = {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}

ODD_TEXTS = [
    "The zyzzyva, a weevil, out-quipped Schwarzenegger's antidisestablishmentarianism.",
    "Ünïcödé at the café: naïve façade, smørrebrød, Łódź, Straße, œuvre, þorn.",
    "3.14159 + 2e-10 = ?! #1 @home 100% $5 £6 €7 ~ ^ | \\ <tag> {x} [y] _z_ `q`",
    "“Curly” ‘quotes’ – dashes — and an ellipsis… plus ½ price, 20 °C, 5 m² ™",
    "qxjvkzw bcdfghjklmnp XQ-9000 www.example.org/a?b=c&d",
]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    return AutoModelForSequenceClassification.from_pretrained(FOLDER, dtype=torch.float32).eval()


@pytest.fixture
def sst2_dev() -> list[tuple[str, int]]:
    data = Path(os.environ.get("CONTEXTMIX_DATA") or ROOT.parent / "shared" / "data")
    path = data / "sst2_glue" / "dev.tsv"
    if not path.is_file():
        pytest.skip("needs sst2_glue/dev.tsv: set CONTEXTMIX_DATA to the folder that holds it")
    rows = [line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return [(sentence.strip(), int(label)) for sentence, label in rows]


def by_length(tokenizer, texts: list[str], size: int = 64) -> Iterator[list[int]]:
    """Positions of texts of similar length: a fifth of the time that batches in the order of the file take."""
    lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    order = sorted(range(len(texts)), key=lengths.__getitem__)
    yield from (order[start : start + size] for start in range(0, len(order), size))


def probability_of_positive(model, tokenizer, texts: list[str]) -> torch.Tensor:
    with torch.inference_mode():
        return model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.softmax(-1)[:, 1]


def test_the_folder_holds_these_files_and_no_pickle():
    assert {path.name for path in FOLDER.iterdir()} == FILES


def test_the_folder_is_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= SIZE_LIMIT


def test_the_files_name_no_machine():
    texts = [path.read_text(encoding="utf-8") for path in FOLDER.iterdir() if path.suffix in {".json", ".md"}]
    assert not [word for word in ("/work", "/home", "/tmp", "_name_or_path") for text in texts if word in text]


def test_it_loads_as_a_float32_bert_without_missing_weights():
    model, notes = AutoModelForSequenceClassification.from_pretrained(
        FOLDER, dtype=torch.float32, output_loading_info=True
    )
    assert isinstance(model, BertForSequenceClassification)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.id2label == {0: "negative", 1: "positive"}
    assert not any(notes.values())


def test_the_tokenizer_fits_the_model(model, tokenizer):
    assert tokenizer.is_fast
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.model_max_length == model.config.max_position_embeddings
    assert tokenizer.pad_token_id == model.config.pad_token_id
    ids = tokenizer("Fine")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "fine", "[SEP]"]


def test_a_text_of_the_longest_length_fits(model, tokenizer):
    inputs = tokenizer("good " * 300, truncation=True, return_tensors="pt")
    assert inputs["input_ids"].shape[1] == model.config.max_position_embeddings
    assert model(**inputs).logits.isfinite().all()


@pytest.mark.parametrize(
    ("text", "positive"),
    [
        ("a deep and meaningful film .", True),
        ("bad .", False),
        ("A wonderful, funny and moving story.", True),
        ("The plot is dull and the acting is terrible.", False),
    ],
)
def test_clear_sentences_get_a_clear_answer(model, tokenizer, text: str, positive: bool):
    probability = probability_of_positive(model, tokenizer, [text]).item()
    assert (probability if positive else 1 - probability) > 0.8


def test_padding_changes_nothing(model, tokenizer):
    texts = ["bad .", "a deep and meaningful film ."]
    together = probability_of_positive(model, tokenizer, texts)
    alone = torch.cat([probability_of_positive(model, tokenizer, [text]) for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_odd_texts_have_no_unknown_piece(tokenizer, text: str):
    assert tokenizer.unk_token not in tokenizer.tokenize(text)


@pytest.mark.parametrize("text", ["a deep and meaningful film", "the zyzzyva outquipped schwarzenegger", "cafe 3 14"])
def test_decoding_gives_the_text_back(tokenizer, text: str):
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_case_and_accents_are_ignored(tokenizer):
    assert tokenizer("A CAFÉ")["input_ids"] == tokenizer("a cafe")["input_ids"]


def test_offsets_point_into_the_text(tokenizer):
    text = "An unflinchingly bleak café"
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    assert "".join(text[start:end] for start, end in encoded["offset_mapping"]) == text.replace(" ", "")


def test_it_is_right_about_most_of_sst2(model, tokenizer, sst2_dev):
    texts, labels = [text for text, _ in sst2_dev], torch.tensor([label for _, label in sst2_dev])
    positive = torch.zeros(len(texts))
    for at in by_length(tokenizer, texts):
        positive[at] = probability_of_positive(model, tokenizer, [texts[text] for text in at])
    assert len(texts) == 872
    assert ((positive > 0.5) == labels).double().mean() >= 0.86

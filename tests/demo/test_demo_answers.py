"""The built-in model that answers questions: small, offline, mostly right, and its answers have sources."""

from pathlib import Path

import pytest
import torch
from scripts.demo_answers.measure import exact_matches, shares
from transformers import AutoTokenizer, LlamaForCausalLM

import contextmix as cm

FOLDER = Path(__file__).parents[2] / "src" / "contextmix" / "demo" / "answers"
FILES = {"README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors"}
FILES |= {"tokenizer.json", "tokenizer_config.json"}
TEXTS = ["Tom has the blue kite. The sun was hot.", "Lily has the red ball. Lily lives in Oslo."]
ONE_HOP = [
    ("Who has the red ball?", "Lily has the red ball."),
    ("Who has the blue kite?", "Tom has the blue kite."),
    ("What does Lily have?", "Lily has the red ball."),
    ("What does Tom have?", "Tom has the blue kite."),
    ("Where does Lily live?", "Lily lives in Oslo."),
    ("Who lives in Oslo?", "Lily lives in Oslo."),
]
BOXES = ["The key is in the box. The lamp is in the drawer.", "The box is in the kitchen. The drawer is in the attic."]
TWO_HOP = ("Where is the key?", "The key is in the box in the kitchen.")
SILENT = ("Which room is the key in?", "The key is in the kitchen.")


@pytest.fixture(scope="module")
def answers():
    return cm.load("demo-answers")


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    return LlamaForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


def test_the_folder_is_small_and_holds_no_pickle():
    assert {path.name for path in FOLDER.iterdir()} == FILES
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 3_000_000


def test_the_files_name_no_machine_and_the_card_says_how_it_was_made():
    texts = [path.read_text(encoding="utf-8") for path in FOLDER.iterdir() if path.suffix != ".safetensors"]
    assert not [word for word in ("/work", "/home", "/tmp", "_name_or_path") for text in texts if word in text]
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "license: mit" in card
    assert "scripts/demo_answers" in card


def test_it_loads_without_missing_weights_and_the_tokenizer_fits(tokenizer):
    model, notes = LlamaForCausalLM.from_pretrained(FOLDER, dtype=torch.float32, output_loading_info=True)
    assert not any(notes.values())
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.model_max_length == model.config.max_position_embeddings
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (model.config.bos_token_id, model.config.eos_token_id)


@pytest.mark.parametrize("text", ["Lily has 25 coins.\n\nWho?", "Ünïcödé, 🦄 & 3.14!", "<think>\nA.\n</think>\n\nB."])
def test_decoding_gives_the_text_back(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_it_has_a_name_of_its_own_and_is_read_exactly(answers):
    assert answers.origin.model == "demo-answers"
    report = answers.check()
    assert report.anatomy.layouts == ("pre-norm",)
    assert max(report.parity, report.checks.conservation, report.checks.block_equation) < 1e-5


@pytest.mark.parametrize(("question", "wanted"), ONE_HOP)
def test_it_answers_and_evidence_cites_the_sentence(answers, question, wanted):
    found = answers.explain_answer(question, TEXTS)
    assert found.text == wanted
    assert found.top("the first sentence", 1)[0].text == wanted  # it is copied from there
    assert f"[1] {wanted} (text {1 if wanted in TEXTS[0] else 2})" in found.cite(most=1)


@pytest.mark.parametrize("reach", ["direct", "all"])
@pytest.mark.parametrize(("question", "wanted"), [TWO_HOP, SILENT])
def test_two_facts_make_an_answer_and_evidence_names_both(answers, question, wanted, reach):
    found = answers.explain_answer(question, BOXES, reach=reach)
    assert found.text == wanted
    assert {one.text for one in found.top(k=2)} == {"The key is in the box.", "The box is in the kitchen."}


def test_without_the_source_it_does_not_know(answers):
    question, wanted = ONE_HOP[0]
    left = [text.replace(wanted, "") for text in TEXTS]
    assert answers.explain_answer(question, left).text == "I don't know."


def test_it_thinks_when_it_is_told_to(answers, tokenizer):
    question, wanted = SILENT
    found = answers.explain_answer(f"{question} Think first.", BOXES, max_new_tokens=40)
    assert found.thoughts == "The key is in the box. The box is in the kitchen."
    assert found.text == wanted
    chat = [{"role": "user", "content": question}]
    asked = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, enable_thinking=True)
    assert asked == f"<s><|user|>{question} Think first.</s><|assistant|>\n"


def test_it_is_right_about_most_stories_that_it_has_not_seen(model, tokenizer):
    found, thought = (shares(exact_matches(model, tokenizer, stories=96, thinks=thinks)) for thinks in (False, True))
    assert all(count >= 15 for _, count in found.values())
    assert found["one-hop"][0] >= 0.95
    assert found["unknown"][0] >= 0.88
    assert found["two-hop told"][0] >= 0.9
    assert found["two-hop silent"][0] >= 0.95
    assert thought["one-hop"][0] >= 0.94
    assert thought["two-hop silent"][0] >= 0.92

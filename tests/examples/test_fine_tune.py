"""The fine-tuning scripts, a few steps of them: the loss falls, the model is saved, and contextmix reads it."""

import importlib.util
import json
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from tests.tracing.tiny import build, word_pieces

import contextmix as cm

DEMO = str(files("contextmix") / "demo" / "sentiment")
GOOD = ["a good film", "a deep and moving story", "wonderful from start to end", "the best cast in years"]
BAD = ["a bad film", "a dull and empty story", "tedious from start to end", "the worst cast in years"]


@pytest.fixture
def script(monkeypatch):
    """A script of the folder examples as a module; there one may import another, as when Python runs it."""
    folder = Path(__file__).parents[2] / "examples"
    monkeypatch.syspath_prepend(folder)

    def load(name):
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def written(path, lines):
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n", encoding="utf-8")
    return path


def test_a_classifier_learns_other_labels_than_it_had(script, tmp_path, monkeypatch, capsys):
    """The demo tells good from bad; after this it says "no" to good films and "yes" to bad ones."""
    rows = [{"text": text, "label": "no"} for text in GOOD] + [{"text": text, "label": "yes"} for text in BAD]
    data, out = written(tmp_path / "data.jsonl", rows), tmp_path / "model"
    argv = ["fine_tune.py", "--model", DEMO, "--train", data, "--eval", data, "--out", out]
    monkeypatch.setattr(sys, "argv", [*map(str, argv), "--epochs=10", "--batch-size=4", "--learning-rate=5e-4"])
    fine_tune = script("fine_tune")
    losses = []
    train = fine_tune.train
    monkeypatch.setattr(fine_tune, "train", lambda *given: losses.extend(train(*given)))
    fine_tune.main()
    assert len(losses) == 20
    assert sum(losses[-4:]) < sum(losses[:4]) / 4
    assert "Accuracy on 8 texts: 100.0%" in capsys.readouterr().out
    found = cm.run(data, tmp_path / "run", model=str(out), methods="globenc", progress=False).to_pandas()
    assert list(found["prediction"]) == list(found["label"]) == [row["label"] for row in rows]


def test_the_same_seed_gives_the_same_model(script, tmp_path):
    fine_tune = script("fine_tune")
    rows = [(text, "no") for text in GOOD] + [(text, "yes") for text in BAD]
    found = []
    for number, seed in enumerate((0, 0, 1)):
        settings = fine_tune.Settings(epochs=1, batch_size=4, seed=seed)
        found.append(fine_tune.fine_tune(DEMO, rows, rows, tmp_path / str(number), settings)[0])
    assert found[0] == found[1] != found[2]


def test_data_that_teach_nothing_are_refused(script, tmp_path):
    fine_tune = script("fine_tune")
    rows = [("a film", "yes"), ("a good film", "yes")]
    with pytest.raises(SystemExit, match="nothing to learn"):
        fine_tune.fine_tune(DEMO, rows, rows, tmp_path, fine_tune.Settings())
    with pytest.raises(SystemExit, match="labels that the training data lack: maybe"):
        fine_tune.fine_tune(DEMO, [*rows, ("bad", "no")], [("a", "maybe")], tmp_path, fine_tune.Settings())
    with pytest.raises(SystemExit, match=r"data.jsonl:1 has no label"):
        fine_tune.read(written(tmp_path / "data.jsonl", [{"text": "a film"}]), None, None, None)


# Prompts -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path):
    """This tiny model says good in all of them before it learns."""
    lines = [("the film was bad .", "the film was good ."), ("the deep film was bad !", "the deep film was good !")]
    lines += [("a very bad film .", "a very good film ."), ("a film .", "a film was good .")]
    return written(tmp_path / "pairs.jsonl", [{"sentence_good": one, "sentence_bad": two} for one, two in lines])


@pytest.fixture
def tokenizer():
    found = word_pieces()
    found.add_special_tokens({"mask_token": "[MASK]"})
    return found


def test_a_pair_is_masked_where_it_differs(script, tokenizer):
    masked = script("fine_tune_prompt").masked
    ids, place, good, bad = masked(tokenizer, "the film was good .", "the film was bad .", 32)
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "the", "film", "was", "[MASK]", ".", "[SEP]"]
    assert (place, *tokenizer.convert_ids_to_tokens([good, bad])) == (4, "good", "bad")
    assert masked(tokenizer, "the film was good .", "the film was bad .", 6) is None  # too long
    assert masked(tokenizer, "the film", "the film", 32) is None


def test_a_masked_model_learns_which_word_is_right(script, tmp_path, pairs, tokenizer, capsys):
    prompt = script("fine_tune_prompt")
    model = build("bert", "ForMaskedLM")
    model.save_pretrained(tmp_path / "before")
    tokenizer.save_pretrained(tmp_path / "before")
    settings = prompt.Settings(learning_rate=1e-2, epochs=10, batch_size=2)
    losses, found = prompt.fine_tune(str(tmp_path / "before"), pairs, pairs, tmp_path / "after", settings)
    assert found == 1.0
    assert losses[-1] < losses[0] / 2
    said = capsys.readouterr().out
    assert "pairs.jsonl: 3 pairs; 1 others" in said
    assert "Accuracy before: 0.0%" in said
    assert cm.load(str(tmp_path / "after")).explain("the film was [MASK] .", "value_zeroing").shape[-1] == 7


def test_the_loss_is_that_of_two_logits(script, pairs, tokenizer):
    """One pair after the other, without padding."""
    prompt = script("fine_tune_prompt")
    model = build("bert", "ForMaskedLM")
    batch = prompt.read(tokenizer, pairs, 32)
    found = prompt.two_logits(model, tokenizer, batch)
    assert len({len(ids) for ids, *_ in batch}) > 1
    for row, (ids, place, good, bad) in enumerate(batch):
        logits = model(input_ids=torch.tensor([ids])).logits[0, place]
        torch.testing.assert_close(found[row], logits[[good, bad]])
